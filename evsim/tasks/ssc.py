"""SSC: classify spoken commands, given as spikes of a cochlea model.

The Spiking Speech Commands of Cramer et al. 2020, with the networks of D section 2.3, Table 4,
and of L section 2.3, see ``evsim.tasks.speech``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from evsim.arguments.keywords import helpful
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
from evsim.tasks.layered_settings import Hyperparameters, Parts
from evsim.tasks.speech import SpeechSettings
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
    """Everything a run of SSC depends on, apart from the engine.

    D means Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking neural
    networks; L Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with
    EventProp; program the program published with either.
    """

    all_names: ClassVar[tuple[str, ...]] = tuple(str(label) for label in range(35))

    download: bool = False
    """Fetch files that are missing."""

    validation_size: int | None = None
    """Validation samples, drawn evenly from all classes; if not given all."""

    experiment: Literal["delay-learning", "loss-shaping"] = "delay-learning"
    """Whose numbers hold where none is given. delay-learning: D Table 4, with --delays, and with
    --recurrent or without; loss-shaping: the best of L section 2.3, with --recurrent
    --heterogeneous."""

    watch: Watch = "validation_accuracy"
    """What chooses the best epoch, halves learning rates and stops training. L and D:
    validation_accuracy."""

    hidden: int | None = None
    """Units of each hidden layer; if not given 512 in delay learning (D: 1024 to 64), 1024 in loss
    shaping (the best of L)."""

    blend: float | None = None
    """In each epoch so many samples for each training sample are blended of two of one class; 0 for
    none. If not given 0 in delay learning (D), 1 in loss shaping (L)."""

    output_weight_deviation: float | None = None
    """Standard deviation of the initial weights to the outputs; if not given 0.6 with the loss time
    (L), 0.3 in delay learning with --recurrent (Table of D; program: 0.03), else 0.03 (L, D)."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms, recurrent ones at 0; if not given
    in delay learning 150 with --recurrent and 50 without (D), else 0."""

    regulariser_strength: tuple[float, ...] | None = None
    """Strength of the rate regulariser, one for all hidden layers or one for each. If not given in
    delay learning 1e-9 with --recurrent, else 1e-10 (D: 5e-11 and 5e-12 times tau_mem); in loss
    shaping 1e-8 (L: 5e-10 times tau_mem). Always 2.8e-4 with the loss max and 1e-7 with the loss
    time (L on SHD)."""

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
