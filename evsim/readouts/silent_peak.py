"""How far below its threshold a silent unit stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.keywords import helpful
from evsim.network.populations import LIF, Population
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.base import ReadableRun, Readout


@helpful
@dataclass(frozen=True)
class SilentPeak(Readout):
    """Largest voltage of the trial less the threshold, of LIF units that do not spike in it.

    Shape (batch, units); infinity for units that spike.  A silent unit follows the equations of an
    LI unit, so this number is at most 0 and has an exact gradient with respect to everything that
    comes before it: weights, delays, time constants, input times, and earlier layers through their
    spikes.  At 0 the unit begins to spike, and the number jumps to infinity.
    """

    @property
    def is_elementary(self) -> bool:
        return True

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        name = self.population_of(run.network)
        population = run.network.population(name)
        assert isinstance(population, LIF)  # see check_population
        below = run.peak_voltage(name) - population.threshold
        values: NDArray[np.float64] = np.where(run.spike_counts[name] > 0, np.inf, below)
        return values

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        name = self.population_of(run.network)
        of_silent = np.where(run.spike_counts[name] > 0, 0.0, cotangents)
        population = run.network.population(name)
        of_threshold = -of_silent.sum(axis=0)
        if np.ndim(getattr(population, "threshold", 0.0)) == 0:
            of_threshold = of_threshold.sum()
        return AdjointSources(name, peak=of_silent, parameters={f"{name}.threshold": of_threshold})

    def check_population(self, population: Population) -> None:
        if not isinstance(population, LIF):
            raise ValueError(
                f"SilentPeak reads LIF units, but {population.name!r} has "
                f"{type(population).__name__} units, which have no threshold"
            )


def is_at_end(missing: str, readout: Readout) -> bool:
    """Whether an infinite value of a readout is a missing spike that counts as one at the end.

    ``missing`` is "infinite" or "end".  The infinite values of ``SilentPeak`` are no spike times.
    """
    return missing == "end" and not isinstance(readout, SilentPeak)
