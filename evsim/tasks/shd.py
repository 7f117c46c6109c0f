"""SHD: classify spoken digits of two languages, given as spikes of a cochlea model.

The Spiking Heidelberg Digits of Cramer et al. 2020, with the networks of section 2.3 of D and of
sections 2.2 and 2.3 of L, see ``evsim.tasks.speech``.

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
from evsim.tasks.quick import QuickForm
from evsim.tasks.speech import QUICK, QUICK_ENGINE, SpeakerSettings, cross_validate

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
    """The settings of a run on SHD.

    D is Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking neural
    networks; L is Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with
    EventProp. The program of a paper was published with it.
    """

    all_names: ClassVar[tuple[str, ...]] = tuple(str(label) for label in range(20))
    quick_form = QuickForm({**QUICK, "train_size": 2700}, engine=QUICK_ENGINE)

    download: bool = False
    """Download files that are missing."""

    def read(self) -> Parts:
        """The published samples, cut at the end of the trial."""
        from evsim import data as datasets

        training, test = datasets.shd(
            self.data,
            duration=self.hyperparameters().duration,
            late=self.late,
            at_most_one_per=self.at_most_one_per,
            download=self.download,
        )
        return training, None, test


experiment = experiment_with(
    Settings,
    "shd",
    "Classify spoken digits of two languages, given as spikes of a cochlea model.",
    cross_validate,
)
