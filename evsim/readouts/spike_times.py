"""The times of spikes (L: Nowotny, Turner and Knight, loss shaping with EventProp)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import checked_count
from evsim.arguments.keywords import helpful
from evsim.network.populations import LIF, Population
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.base import ReadableRun, Readout

_MOST_SPIKES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class SpikeReadout(Readout):
    """What the readouts of spike times have in common: they read LIF units."""

    @property
    def is_elementary(self) -> bool:
        return True

    def check_population(self, population: Population) -> None:
        if not isinstance(population, LIF):
            raise ValueError(
                f"{type(self).__name__} reads spike times of LIF units, but {population.name!r} "
                f"has {type(population).__name__} units: make it LIF, or use Mean or Peak"
            )


@helpful
@dataclass(frozen=True)
class FirstSpike(SpikeReadout):
    """Time of the first spike in ms, shape (batch, units); infinity for a silent unit.

    The cotangent of a silent unit makes a phantom spike: lambda_V jumps at the end of the
    trial as if the unit had spiked there (L section 4.1).
    """

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        return run.spike_times(self.population_of(run.network), 1)[:, :, 0]

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        name = self.population_of(run.network)
        return AdjointSources(name, spike_times=cotangents[:, :, None])


@helpful
@dataclass(frozen=True)
class SpikeTimes(SpikeReadout):
    """Times of the first ``count`` spikes of each unit in ms, shape (batch, units, count).

    Infinity where there are fewer.  The cotangents of a unit's missing spikes make a phantom
    spike, as for ``FirstSpike``.
    """

    count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_count(self.count, "count", 1, _MOST_SPIKES)

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        return run.spike_times(self.population_of(run.network), self.count)

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        return AdjointSources(self.population_of(run.network), spike_times=cotangents)

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        return batch_size, units, self.count
