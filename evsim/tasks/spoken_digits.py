"""Spoken digits: classify English digits of six speakers, given as spikes of a cochlea model.

The Free Spoken Digit Dataset in the layout of SHD, with the networks that the papers train on
SHD: D section 2.3 and L sections 2.2 and 2.3, see ``evsim.tasks.speech``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
from evsim.tasks.layered_settings import Parts
from evsim.tasks.speakers import SpeakerSettings, cross_validate

__all__ = [
    "Settings",
    "class_names",
    "cross_validate",
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
class Settings(SpeakerSettings):
    """Everything a run of spoken digits depends on, apart from the engine.

    The papers do not have these data; the numbers are those for SHD. D means Mészáros, Knight,
    Nowotny, Efficient event-based delay learning in spiking neural networks; L Nowotny, Turner,
    Knight, Loss shaping enhances exact gradient learning with EventProp; program the program
    published with either.
    """

    all_names: ClassVar[tuple[str, ...]] = tuple(str(label) for label in range(10))

    def read(self) -> Parts:
        """The published samples, cut at the end of the trial."""
        from evsim import data as datasets

        training, test = datasets.spoken_digits(
            self.data,
            duration=self.hyperparameters().duration,
            late=self.late,
            at_most_one_per=self.at_most_one_per,
        )
        return training, None, test
