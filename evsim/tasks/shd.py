"""SHD: classify spoken digits of two languages, given as spikes of a cochlea model.

The Spiking Heidelberg Digits of Cramer et al. 2020, with the networks of D section 2.3 and of
L sections 2.2 and 2.3, see ``evsim.tasks.speech``.
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
    """Everything a run of SHD depends on, apart from the engine.

    D means Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking neural
    networks; L Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with
    EventProp; program the program published with either.
    """

    all_names: ClassVar[tuple[str, ...]] = tuple(str(label) for label in range(20))

    download: bool = False
    """Fetch files that are missing."""

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
