"""What the settings of both tasks have in common: trials long enough for their stimuli."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from evsim.arguments.errors import ArgumentError
from evsim.tasks.settings import GeneratedSettings

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset


@dataclass(frozen=True)
class StimulusSettings(GeneratedSettings, ABC):
    """Settings of tasks on stimuli; in each pair of ``in_order``, the first is not the larger."""

    in_order: ClassVar[tuple[tuple[str, str], ...]]

    if TYPE_CHECKING:

        @property
        def epochs(self) -> int: ...
        @property
        def batch_size(self) -> int: ...
        @property
        def delays(self) -> bool: ...
        @property
        def delay_max(self) -> float: ...

    @property
    @abstractmethod
    def long_enough(self) -> float:
        """The length in ms of a trial that holds every stimulus and every response."""

    def hyperparameters(self) -> Self:
        """The settings with the length of a trial."""
        if self.duration is not None:
            return self
        length = {"duration": float(np.ceil(self.long_enough))}  # a field of each of the tasks
        return replace(self, **length)

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        super().check()
        for low, high in self.in_order:
            if not getattr(self, low) <= getattr(self, high):
                raise ArgumentError(
                    f"{low} = {getattr(self, low):g} ms: it must not exceed {high} = "
                    f"{getattr(self, high):g} ms",
                    low,
                    high,
                )


def fit_arguments(settings: StimulusSettings, training: Dataset) -> dict[str, Any]:
    """The arguments of ``evsim.fit``."""
    return {
        "duration": settings.number("duration"),
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "delay_max": settings.delay_max if settings.delays else np.inf,
    }
