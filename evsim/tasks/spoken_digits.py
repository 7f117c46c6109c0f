"""Spoken digits: classify English digits of six speakers, given as spikes of a cochlea model.

The Free Spoken Digit Dataset in the layout of SHD, with the networks that the papers train on
SHD: section 2.3 of D and sections 2.2 and 2.3 of L, see ``evsim.tasks.speech``.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evsim.arguments.keywords import helpful
from evsim.tasks.base import Parts
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
from evsim.tasks.speech import SpeakerSettings, cross_validate

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
    """The settings of a run on spoken digits.

    The papers do not have these data; the numbers are those for SHD.
    D is Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking neural
    networks; L is Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with
    EventProp. The program of a paper was published with it.
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


experiment = experiment_with(
    Settings,
    "spoken-digits",
    "Classify English digits of six speakers, given as spikes of a cochlea model.",
    cross_validate,
)
