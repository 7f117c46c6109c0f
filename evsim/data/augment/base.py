"""The base classes of augmentations, and what an augmentation returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evsim.arguments.checks import check_duration, check_is
from evsim.data.dataset import Dataset
from evsim.network.spike_trains import SpikeTrains

# -- results ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Transformed:
    """Changed spike trains, and the numbers of spikes that are no longer in them.

    ``lost`` counts spikes that left the channels or the trial, ``removed`` those that were removed
    on purpose.
    """

    spikes: SpikeTrains
    lost: int
    removed: int = 0


@dataclass(frozen=True, eq=False)
class Augmented:
    """An augmented dataset, and the numbers of spikes that are no longer in it.

    Parameters
    ----------
    data : Dataset
    lost : int
        Spikes that left the channels or the trial.
    removed : int
        Spikes removed on purpose, by Thin or Blend.
    silenced : int
        Samples that had spikes and have none left; they are kept in the data.
    """

    data: Dataset
    lost: int
    removed: int
    silenced: int


# -- base classes -------------------------------------------------------------------------


class Augmentation(ABC):
    """A random change of a dataset's input spikes.

    Wrong settings raise ValueError or TypeError when an augmentation is created.
    """

    def __call__(
        self,
        data: Dataset | tuple[Any, Any],
        generator: np.random.Generator,
        duration: float,
    ) -> Augmented:
        """Return an augmented copy of a dataset.

        Parameters
        ----------
        data : Dataset or pair (spikes, labels)
            It must have one input population.
        generator : numpy.random.Generator
            The source of every random choice.
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
    """An augmentation that changes each sample separately, and keeps their number and labels."""

    @abstractmethod
    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        """Change only the spikes."""

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
    """Refuse wrong arguments of ``transform``."""
    check_is(spikes, "spikes", SpikeTrains, "give SpikeTrains")
    check_generator(generator)
    check_duration(duration)


def check_generator(generator: Any) -> None:
    """Refuse anything that is not a random generator."""
    check_is(generator, "generator", np.random.Generator, "give numpy.random.default_rng(seed)")


def only_input(data: Dataset) -> SpikeTrains:
    """The spikes of the only input; data with several inputs are refused."""
    if len(data.inputs) > 1:
        raise ValueError(
            f"the data has the inputs {', '.join(data.inputs)}: augmentations take data of one "
            "input population; transform the spikes of each by hand"
        )
    return next(iter(data.inputs.values()))


def as_input(data: Dataset, spikes: SpikeTrains) -> SpikeTrains | Mapping[str, SpikeTrains]:
    """The spikes in the form of those of the data: SpikeTrains, or a mapping."""
    return spikes if isinstance(data.spikes, SpikeTrains) else dict.fromkeys(data.spikes, spikes)
