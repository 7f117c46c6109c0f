"""Braille: read letters by touch, given as spikes of a robot's finger.

The data are those of Müller-Cleve et al. 2022, the networks and their training those of
D, Table 5.  Where the table and the program published with D disagree, the default
follows the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from evsim.arguments.keywords import helpful
from evsim.data import BRAILLE_LETTERS
from evsim.tasks.layered import (
    class_names,
    data,
    evaluate,
    loss,
    network,
    optimizers,
    pictures,
    train,
)
from evsim.tasks.layered_settings import Hyperparameters, LayeredSettings, Parts
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
class Settings(LayeredSettings):
    """Everything a run of Braille depends on, apart from the engine.

    Table means Table 5 of Mészáros, Knight, Nowotny, Efficient event-based delay learning in
    spiking neural networks; program the program published with it; L Nowotny, Turner, Knight,
    Loss shaping enhances exact gradient learning with EventProp.
    """

    inputs: ClassVar[int] = 24
    all_names: ClassVar[tuple[str, ...]] = BRAILLE_LETTERS
    # ms (program).  The table's 4 do not divide the trial of 1350; they do one of 1352.
    grid_step: ClassVar[float] = 1.0

    download: bool = False
    """Fetch files that are missing."""

    threshold: Literal[1, 2, 5, 10] = 2
    """Change of pressure that makes an event, in units of the sensor. Table and program: not
    stated; 2 is what Müller-Cleve et al. compare with."""

    validation_size: int | None = None
    """Validation samples, drawn evenly from all classes; if not given all."""

    watch: Watch = "validation_accuracy"
    """What chooses the best epoch and stops training. Table: validation_accuracy."""

    # What follows is explained where LayeredSettings has it; here are its values.

    hidden: int | None = None
    """Units of each hidden layer; if not given 256. Table: 1024 to 64."""

    layers: int | None = None
    """Hidden layers; if not given 1 with --recurrent and 2 without (table)."""

    recurrent_delays: bool = False
    """Of the delays that are learned, those of recurrent synapses too. Table: no; program: yes."""

    duration: float | None = None
    """Length of a trial in ms; later spikes have no effect. If not given 1350, that of the
    recordings; program: up to the latest spike. The grid of the table has 4 ms, the program's 1."""

    tau_mem: float | None = None
    """Membrane time constant in ms; if not given 20 (table)."""

    tau_syn: float | None = None
    """Synaptic time constant in ms; if not given 5 (table)."""

    input_weight_mean: float | None = None
    """Mean of the initial weights from the inputs; if not given 0.03 (program)."""

    input_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.01 (program)."""

    forward_weight_mean: float | None = None
    """Mean of the initial weights from one hidden layer to the next; if not given 0.02
    (program)."""

    forward_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.03 (program)."""

    recurrent_weight_mean: float | None = None
    """Mean of the initial recurrent weights; if not given 0 (program)."""

    recurrent_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.02 (program)."""

    output_weight_mean: float | None = None
    """Mean of the initial weights to the outputs; if not given 0 (program), with the loss time 1.2
    (L on SHD)."""

    output_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.03 (program), with the loss time 0.6 (L on
    SHD)."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms; if not given 0 (table)."""

    epochs: int | None = None
    """Passes through the training samples; if not given 500, at most (program)."""

    batch_size: int | None = None
    """Samples of a batch; if not given 256 (program)."""

    weight_rate: float | None = None
    """Learning rate of the weights; if not given 0.0015 (table)."""

    delay_rate: float | None = None
    """Learning rate of the delays in ms; if not given 0.025 (table)."""

    tau_rate: float | None = None
    """Learning rate of the time constants in ms; if not given 0.0015. Not in the paper."""

    ease_in: float | None = None
    """Part of the learning rate of the weights that training starts with; it grows by 5 % with
    each batch. If not given 1 for no ease-in (table: constant)."""

    halving: int | None = None
    """Halve learning rates when what is watched no longer gets better, after more than this many
    epochs; if not given 0 for never (table: constant)."""

    patience: int | None = None
    """Stop after this many epochs without a better one; 0 for never. If not given 15 (table;
    program: 16)."""

    silent_lift: float | None = None
    """Added after each epoch to the incoming weights of hidden units that were silent in all of
    it; if not given 0.002 (program)."""

    regulariser_strength: tuple[float, ...] | None = None
    """Strength of the rate regulariser, one for all hidden layers or one for each; if not given
    2e-9 (table: 1e-10 times tau_mem), with the loss time 1e-10 (its unit is evsim's)."""

    def published(self) -> Hyperparameters:
        """The numbers of Table 5, and of the program where the table has none."""
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
