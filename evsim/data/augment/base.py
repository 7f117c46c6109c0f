"""What every augmentation is, and what comes out of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evsim.arguments.checks import check_duration, check_is
from evsim.data.dataset import Dataset
from evsim.network.spike_trains import SpikeTrains

# -- what comes out -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Transformed:
    """Spike trains after a change, and what is no longer in them.

    ``lost`` spikes left the channels or the trial, ``removed`` ones were taken out on purpose.
    """

    spikes: SpikeTrains
    lost: int
    removed: int = 0


@dataclass(frozen=True, eq=False)
class Augmented:
    """A dataset after an augmentation, and what became of its spikes.

    Parameters
    ----------
    data : Dataset
    lost : int
        Spikes that left the channels or the trial.
    removed : int
        Spikes taken out on purpose, by Thin or Blend.
    silenced : int
        Samples that had spikes and have none left.  They stay in the data, silent.
    """

    data: Dataset
    lost: int
    removed: int
    silenced: int


# -- the common form ----------------------------------------------------------------------


class Augmentation(ABC):
    """A random change of a dataset's input spikes.

    Its settings are refused with a ValueError or TypeError when it is made.
    """

    def __call__(
        self,
        data: Dataset | tuple[Any, Any],
        generator: np.random.Generator,
        duration: float,
    ) -> Augmented:
        """Augment a dataset; it stays as it is.

        Parameters
        ----------
        data : Dataset or pair (spikes, labels)
            With spikes of one input population.
        generator : numpy.random.Generator
            Every random choice is drawn from it.
        duration : float
            The trial is [0, duration] ms.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit together, and if no spike at all would be left.
        """
        data = Dataset.of(data)
        spikes = only_input(data)
        check_generator(generator)
        outcome = self._augment(data, spikes, generator, check_duration(duration))
        if spikes.times.size and not only_input(outcome.data).times.size:
            raise ValueError(
                f"{self} leaves none of the {spikes.times.size} spikes of the data "
                f"({outcome.lost} lost, {outcome.removed} removed): give it smaller settings, or "
                "times in ms and the duration of their trial"
            )
        return outcome

    @abstractmethod
    def _augment(
        self, data: Dataset, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Augmented:
        """The augmented dataset; ``spikes`` are those of its only input."""


class SampleAugmentation(Augmentation):
    """An augmentation that changes each sample by itself: as many samples, labels untouched."""

    @abstractmethod
    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        """Change the spikes alone."""

    def _augment(
        self, data: Dataset, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Augmented:
        outcome = self.transform(spikes, generator, duration)
        silenced = (np.diff(spikes.offsets) > 0) & (np.diff(outcome.spikes.offsets) == 0)
        return Augmented(
            replace(data, spikes=as_input(data, outcome.spikes)),
            outcome.lost,
            outcome.removed,
            int(silenced.sum()),
        )


def check_transform(spikes: Any, generator: Any, duration: Any) -> None:
    """Refuse arguments of ``transform`` that are none."""
    check_is(spikes, "spikes", SpikeTrains, "give SpikeTrains")
    check_generator(generator)
    check_duration(duration)


def check_generator(generator: Any) -> None:
    """Refuse what draws no random numbers."""
    check_is(generator, "generator", np.random.Generator, "give numpy.random.default_rng(seed)")


def only_input(data: Dataset) -> SpikeTrains:
    """The spikes of the data's only input; refuses data of several."""
    if len(data.inputs) > 1:
        raise ValueError(
            f"the data has the inputs {', '.join(data.inputs)}: augmentations take data of one "
            "input population; transform the spikes of each by hand"
        )
    return next(iter(data.inputs.values()))


def as_input(data: Dataset, spikes: SpikeTrains) -> SpikeTrains | Mapping[str, SpikeTrains]:
    """The spikes in the form that the data has its own in."""
    return spikes if isinstance(data.spikes, SpikeTrains) else dict.fromkeys(data.spikes, spikes)
