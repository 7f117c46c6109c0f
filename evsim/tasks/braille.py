"""Braille: read letters by touch, given as spikes of a robot's finger.

The data are those of Müller-Cleve et al. 2022, the networks and their training those of Table 5 of
D.  Where the table and the program published with D disagree, the default follows the table.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from evsim.arguments.keywords import helpful
from evsim.data import BRAILLE_LETTERS
from evsim.tasks.base import Parts
from evsim.tasks.hidden_layer_settings import HiddenLayerSettings, Hyperparameters
from evsim.tasks.hidden_layers import (
    class_names,
    data,
    evaluate,
    experiment_with,
    loss,
    network,
    optimizers,
    pictures,
    train,
)
from evsim.tasks.quick import QuickForm
from evsim.training.history import Watch

__all__ = [
    "Settings",
    "class_names",
    "data",
    "evaluate",
    "loss",
    "network",
    "optimizers",
    "pictures",
    "train",
]


@helpful
@dataclass(frozen=True)
class Settings(HiddenLayerSettings):
    """The settings of a run on Braille.

    The table is Table 5 of D: Mészáros, Knight, Nowotny, Efficient event-based delay learning in
    spiking neural networks. The program was published with it. L is Nowotny, Turner, Knight,
    Loss shaping enhances exact gradient learning with EventProp.
    """

    inputs: ClassVar[int] = 24
    all_names: ClassVar[tuple[str, ...]] = BRAILLE_LETTERS
    # As in the program.  The table's 4 ms do not divide the trial of 1350 ms, only one of 1352 ms.
    grid_step: ClassVar[float] = 1.0
    # The numbers for spoken digits, with weights for Braille's few inputs.
    quick_form = QuickForm(
        {
            "hidden": 64,
            "layers": 1,
            "delays": True,
            "input_weight_mean": 0.5,
            "input_weight_deviation": 0.3,
            "output_weight_deviation": 1.0,
            "weight_rate": 0.01,
            "batch_size": 32,
            "epochs": 12,
            "patience": 0,
            "existence": 1.0,
        },
        engine={"engine": "grid", "dt": 5.0, "precision": "float32"},
    )

    download: bool = False
    """Download files that are missing."""

    threshold: Literal[1, 2, 5, 10] = 2
    """The change of pressure that makes an event, in units of the sensor. The table and the
    program do not say; Müller-Cleve et al. compare with 2."""

    validation_size: int | None = None
    """The number of validation samples, drawn in proportion to the classes. By default all."""

    watch: Watch = "validation_accuracy"
    """The measure that chooses the best epoch, halves the learning rates and stops training. The
    table has validation_accuracy."""

    # The following settings differ only in their defaults.

    hidden: int | None = None
    """The number of units of each hidden layer. By default 256. The table has 1024 to 64."""

    layers: int | None = None
    """The number of hidden layers. By default 1 with --recurrent and 2 without (table)."""

    recurrent_delays: bool = False
    """With --delays, also learn the delays of recurrent synapses. The table does not, the program
    does."""

    duration: float | None = None
    """The length of a trial in ms; later spikes have no effect. By default 1350, the length of the
    recordings. Trials of the program end at the latest spike. Its time step is 1 ms, that of the
    table 4 ms."""

    tau_mem: float | None = None
    """The membrane time constant in ms. By default 20 (table)."""

    tau_syn: float | None = None
    """The synaptic time constant in ms. By default 5 (table)."""

    input_weight_mean: float | None = None
    """The mean of the initial weights from the inputs. By default 0.03 (program)."""

    input_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.01 (program)."""

    forward_weight_mean: float | None = None
    """The mean of the initial weights from one hidden layer to the next. By default 0.02
    (program)."""

    forward_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.03 (program)."""

    recurrent_weight_mean: float | None = None
    """The mean of the initial recurrent weights. By default 0 (program)."""

    recurrent_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.02 (program)."""

    output_weight_mean: float | None = None
    """The mean of the initial weights to the outputs. By default 1.2 with --loss time (L, for
    SHD), otherwise 0 (program)."""

    output_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.6 with --loss time (L, for SHD),
    otherwise 0.03 (program)."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms. By default 0 (table)."""

    epochs: int | None = None
    """The largest number of passes through the training samples. By default 500 (program)."""

    batch_size: int | None = None
    """The number of samples in a batch. By default 256 (program)."""

    weight_rate: float | None = None
    """The learning rate of the weights. By default 0.0015 (table)."""

    delay_rate: float | None = None
    """The learning rate of the delays in ms. By default 0.025 (table)."""

    tau_rate: float | None = None
    """The learning rate of the time constants in ms. By default 0.0015; D does not learn them."""

    ease_in: float | None = None
    """The fraction of the weights' learning rate that training starts with; it grows by 5 % with
    each batch, as in L. By default 1: training starts at the full rate, which is constant in the
    table."""

    halving: int | None = None
    """Halve the learning rates when --watch has not improved for more than this many epochs; 0
    never does. By default 0: the rates are constant in the table."""

    patience: int | None = None
    """Stop training when --watch has not improved for this many epochs; 0 never does. By default
    15 (table; the program has 16)."""

    silent_lift: float | None = None
    """The amount added, after each epoch, to the incoming weights of hidden units that never
    spiked in it. By default 0.002 (program)."""

    regulariser_strength: tuple[float, ...] | None = None
    """The strength of the regulariser of spike rates: one number for all hidden layers, or one for
    each. By default 2e-9 (table: 1e-10 times tau_mem), with --loss time 1e-10 (in evsim's
    unit, which is then that of the table)."""

    def published(self) -> Hyperparameters:
        """The numbers of Table 5 of D, or of the program where the table has none."""
        first_spike = self.loss == "time"
        return Hyperparameters(
            hidden=256,
            layers=1 if self.recurrent else 2,
            duration=1350.0,
            tau_mem=20.0,
            tau_syn=5.0,
            input_weight_mean=0.03,
            input_weight_deviation=0.01,
            forward_weight_mean=0.02,
            forward_weight_deviation=0.03,
            recurrent_weight_mean=0.0,
            recurrent_weight_deviation=0.02,
            output_weight_mean=1.2 if first_spike else 0.0,
            output_weight_deviation=0.6 if first_spike else 0.03,
            initial_delay_max=0.0,
            epochs=500,
            batch_size=256,
            weight_rate=1.5e-3,
            delay_rate=0.025,
            tau_rate=1.5e-3,
            ease_in=1.0,
            halving=0,
            patience=15,
            silent_lift=0.002,
            regulariser_strength=(1e-10 if first_spike else 1e-10 * 20.0,),
            tau0=1.0,
            tau1=100.0,
            alpha=5e-5,
        )

    def read(self) -> Parts:
        """The published samples, split by the data seed."""
        from evsim import data as datasets

        return datasets.braille(
            self.data, threshold=self.threshold, seed=self.data_seed, download=self.download
        )


experiment = experiment_with(
    Settings,
    "braille",
    "Read letters by touch, given as spikes of a robot's finger.",
)
