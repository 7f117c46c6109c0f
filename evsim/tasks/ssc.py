"""SSC: classify spoken commands, given as spikes of a cochlea model.

The Spiking Speech Commands of Cramer et al. 2020, with the networks of section 2.3 and Table 4 of
D and of section 2.3 of L, see ``evsim.tasks.speech``.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from evsim.arguments.keywords import helpful
from evsim.tasks.base import Parts
from evsim.tasks.hidden_layer_settings import Hyperparameters
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
from evsim.tasks.speech import QUICK, QUICK_ENGINE, SpeechSettings
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
class Settings(SpeechSettings):
    """The settings of a run on SSC.

    D is Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking neural
    networks; L is Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with
    EventProp. The program of a paper was published with it.
    """

    all_names: ClassVar[tuple[str, ...]] = tuple(str(label) for label in range(35))
    quick_form = QuickForm(
        {**QUICK, "train_size": 2700, "validation_size": 350}, engine=QUICK_ENGINE
    )

    download: bool = False
    """Download files that are missing."""

    validation_size: int | None = None
    """The number of validation samples, drawn in proportion to the classes. By default all."""

    experiment: Literal["delay-learning", "loss-shaping"] = "delay-learning"
    """The published experiment whose numbers are the defaults: delay-learning (Table 4 of D; add
    --delays, with or without --recurrent) or loss-shaping (the best network of section 2.3 of L;
    add --recurrent --heterogeneous)."""

    watch: Watch = "validation_accuracy"
    """The measure that chooses the best epoch, halves the learning rates and stops training. L and
    D use validation_accuracy."""

    hidden: int | None = None
    """The number of units of each hidden layer. By default 512 in delay learning (D has 1024 to
    64), 1024 in loss shaping (the best of L)."""

    blend: float | None = None
    """In each epoch, add this many blends of two samples of one class for each training sample; 0
    adds none. By default 0 in delay learning (D), 1 in loss shaping (L)."""

    output_weight_deviation: float | None = None
    """The standard deviation of the initial weights to the outputs. By default 0.6 with --loss
    time (L), 0.3 in delay learning with --recurrent (Table 4 of D; its program has 0.03),
    otherwise 0.03 (L, D)."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms; recurrent ones start at 0. By
    default, in delay learning, 150 with --recurrent and 50 without (D); otherwise 0."""

    regulariser_strength: tuple[float, ...] | None = None
    """The strength of the regulariser of spike rates: one number for all hidden layers, or one for
    each. By default, in delay learning, 1e-9 with --recurrent and 1e-10 without (D: 5e-11 and
    5e-12 times tau_mem); in loss shaping 1e-8 (L: 5e-10 times tau_mem). Always 2.8e-4 with --loss
    max and 1e-7 with --loss time (L, for SHD)."""

    def published(self) -> Hyperparameters:
        """The numbers of the papers for these settings."""
        numbers = super().published()
        strength = numbers.regulariser_strength
        if self.experiment == "loss-shaping":
            if self.loss not in ("max", "time"):
                strength = (5e-10 * 20.0,)
            return replace(numbers, hidden=1024, blend=1.0, regulariser_strength=strength)
        numbers = replace(numbers, blend=0.0)
        if self.recurrent:
            deviation = 0.6 if self.loss == "time" else 0.3
            return replace(numbers, output_weight_deviation=deviation)
        if self.loss not in ("max", "time"):
            strength = (5e-12 * 20.0,)
        return replace(numbers, initial_delay_max=50.0, regulariser_strength=strength)

    def read(self) -> Parts:
        """The published samples, cut at the end of the trial."""
        from evsim import data as datasets

        return datasets.ssc(
            self.data,
            duration=self.hyperparameters().duration,
            late=self.late,
            at_most_one_per=self.at_most_one_per,
            download=self.download,
        )


experiment = experiment_with(
    Settings,
    "ssc",
    "Classify spoken commands, given as spikes of a cochlea model.",
)
