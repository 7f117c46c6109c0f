"""The largest voltage of the trial (L: Nowotny, Turner and Knight, loss shaping with EventProp)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.keywords import helpful
from evsim.network.populations import LI, Population
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.base import ReadableRun, Readout


@helpful
@dataclass(frozen=True)
class Peak(Readout):
    """Largest voltage of the trial, ``max over t of V(t)`` (L 29); never below its start.

    For LI units only: a LIF unit that spikes peaks at its threshold, whatever the weights.
    """

    @property
    def is_elementary(self) -> bool:
        return True

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        return run.peak_voltage(self.population_of(run.network))

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        return AdjointSources(self.population_of(run.network), peak=cotangents)

    def check_population(self, population: Population) -> None:
        if not isinstance(population, LI):
            raise ValueError(
                f"Peak reads voltages of LI units, but {population.name!r} has "
                f"{type(population).__name__} units, which peak at their threshold: make it LI, "
                "or use Mean or FirstSpike"
            )
