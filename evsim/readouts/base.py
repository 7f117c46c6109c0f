"""What every readout is: numbers of a population's units, and how they enter the adjoint.

A readout is one class with two methods.  ``read`` computes its values from the quantities that
every engine reads (``ReadableRun``), and ``adjoint_sources`` turns the derivative of a loss with
respect to those values into the derivative with respect to the quantities.  So readouts do not
depend on engines, nor engines on readouts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_is
from evsim.network.network import Network
from evsim.network.populations import Input, Population
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting


class ReadableRun(Protocol):
    """A simulated batch, as readouts and losses see it; ``evsim.Run`` is one.

    Its methods are the quantities that every engine reads.
    """

    @property
    def network(self) -> Network:
        """The network that was run."""

    @property
    def inputs(self) -> Mapping[str, SpikeTrains]:
        """The spikes of each input population, as they were given."""

    @property
    def duration(self) -> float:
        """The length of the trial in ms."""

    @property
    def batch_size(self) -> int:
        """The number of samples."""

    @property
    def spikes(self) -> Mapping[str, SpikeTrains]:
        """The spikes of every population within the trial."""

    @property
    def spike_counts(self) -> Mapping[str, NDArray[np.int64]]:
        """The number of those spikes of each unit, shape (batch, units), by population."""

    def read(self, readout: Readout) -> NDArray[np.float64]:
        """The values of a readout."""

    def weighted_mean(self, population: str, weighting: TrialWeighting) -> NDArray[np.float64]:
        """``(1/T) * integral of w(t) V(t) dt``, shape (batch, units)."""

    def peak_voltage(self, population: str) -> NDArray[np.float64]:
        """The largest V of LI units, shape (batch, units)."""

    def spike_times(self, population: str, count: int) -> NDArray[np.float64]:
        """The first spikes of LIF units in ms, shape (batch, units, count); infinity for none."""

    def states_at(
        self, population: str, times: SampleTimes
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """V and I at times of each sample, each of shape (times, units).

        They are read after emissions and before arrivals at the same time.
        """

    def event_times(self, population: str) -> SampleTimes:
        """The times at which V of any unit is not smooth, except 0 and the end of the trial."""

    def placed(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The times to which the engine moves events of these times: the same without a grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout(ABC):
    """Numbers of a population's units in each sample, shape (batch, units) or (batch, units, ...).

    ``population`` is the name of the population it is read from; None for the network's
    output, which is its last population.
    """

    population: str | None = None

    def __post_init__(self) -> None:
        if self.population is not None:
            check_is(self.population, "population", str, "give the name of a population, or None")

    # -- what a readout of one's own defines ----------------------------------------------

    @abstractmethod
    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        """Its values in a simulated batch, in the shape that ``shape`` says."""

    @abstractmethod
    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        """What enters the adjoint, for the derivative of a loss with respect to the values."""

    @property
    def is_elementary(self) -> bool:
        """Whether it is one of the quantities that engines read themselves."""
        return False

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        """The shape of its values for a population of that many units."""
        return batch_size, units

    def samples(self, batch_size: int) -> NDArray[np.int64]:
        """The sample of each row of its values."""
        return np.arange(batch_size)

    def check(self, duration: float, batch_size: int | None = None) -> None:
        """Raise ValueError if trials of ``duration`` ms, or batches of this size, do not fit."""
        return

    def check_population(self, population: Population) -> None:
        """Raise ValueError for a population of a kind that this readout cannot be read from."""
        if isinstance(population, Input):
            raise ValueError(
                f"{type(self).__name__} reads voltages, but {population.name!r} is an input, "
                "whose units have none: read from a LIF or LI population"
            )

    # -- what all have in common ------------------------------------------------------------

    def population_of(self, network: Network) -> str:
        """The population this readout is taken from; ValueError if it is of the wrong kind."""
        name = network.output.name if self.population is None else self.population
        population = network.population(name)
        self.check_population(population)
        return population.name


class ReadoutCotangents(NamedTuple):
    """The derivative of a function of a readout: what is pulled back to the parameters.

    Parameters
    ----------
    readout : Readout
    cotangents : array
        The derivative with respect to the readout's values, in their shape.
    spike_slopes : array or None
        The derivative with respect to each spike time of the readout's population, shape
        (events,), where that is not in the readout's own derivative.
    """

    readout: Readout
    cotangents: NDArray[np.float64]
    spike_slopes: NDArray[np.float64] | None = None

    def scaled(self, factor: float) -> ReadoutCotangents:
        """The same for a multiple of the function."""
        slopes = None if self.spike_slopes is None else factor * self.spike_slopes
        return ReadoutCotangents(self.readout, factor * self.cotangents, slopes)

    def averaged(self, batch_size: int) -> ReadoutCotangents:
        """The same for the mean of the function over a batch."""
        slopes = None if self.spike_slopes is None else self.spike_slopes / batch_size
        return ReadoutCotangents(self.readout, self.cotangents / batch_size, slopes)


def is_elementary(readout: object) -> bool:
    """Whether a readout is one of the quantities that engines read themselves."""
    return isinstance(readout, Readout) and readout.is_elementary
