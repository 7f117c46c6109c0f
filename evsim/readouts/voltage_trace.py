"""The voltage as a function of time, for losses that integrate a function of it over the trial.

D is Mészáros, Knight and Nowotny, delay learning with EventProp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_number
from evsim.arguments.keywords import helpful
from evsim.network.populations import LIF
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.base import ReadableRun, Readout
from evsim.readouts.integration import Integral, Integrand, integrate
from evsim.readouts.sample_times import SampleTimes


@helpful
@dataclass(frozen=True)
class VoltageTrace(Readout):
    """The voltage as a function of time, for losses that integrate over it.

    ``tolerance`` is that of the integral, relative to its value or to 1 if that is smaller.
    """

    tolerance: float = 1e-12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.tolerance, "tolerance")
        if not 1e-15 <= self.tolerance <= 1e-2:
            raise ValueError(f"tolerance = {self.tolerance}: it must be from 1e-15 to 0.01")

    def integrate(self, run: ReadableRun, integrand: Integrand) -> Integral:
        """The integral over the trial of a function of V, and its derivative.

        ``integrand`` is called with voltages, shape (times, units), and the sample of each time,
        shape (times,); it returns the function's values, (times,), and its derivative with
        respect to each voltage, (times, units).
        """
        name = self.population_of(run.network)
        integral = integrate(run, name, integrand, self.tolerance)
        return integral._replace(spike_time_gradient=self.reset_jumps(run, integrand))

    def reset_jumps(self, run: ReadableRun, integrand: Integrand) -> NDArray[np.float64] | None:
        """l_V- - l_V+ at each spike, where V goes from threshold to reset (D Table 1), (events,).

        Units that spike at one instant are taken one after the other, in both orders, so that the
        sum over them is the derivative with respect to moving all of them.
        """
        name = self.population_of(run.network)
        population = run.network.population(name)
        if not isinstance(population, LIF):
            return None
        spikes = run.spikes[name]
        voltages, _ = run.states_at(name, SampleTimes(spikes.times, spikes.offsets))
        thresholds = np.broadcast_to(population.threshold, population.units)
        resets = np.broadcast_to(population.reset, population.units)
        spiking, units = spikes.units[:, None], np.arange(population.units)

        def difference(yet_to_spike: NDArray[np.bool_]) -> NDArray[np.float64]:
            around = np.where(yet_to_spike, thresholds, voltages)
            before, _ = integrand(np.where(units == spiking, thresholds, around), spikes.samples)
            after, _ = integrand(np.where(units == spiking, resets, around), spikes.samples)
            return before - after

        together = _spiking_together(spikes)
        later, earlier = together & (units > spiking), together & (units < spiking)
        return (difference(later) + difference(earlier)) / 2

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        raise TypeError("VoltageTrace is for losses that integrate: use Run.voltage or Voltage")

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        raise TypeError("VoltageTrace has no values, and so no cotangents: use its integrate")


def check_has_values(readout: Readout) -> None:
    """Refuse a readout that has no array of values: ``VoltageTrace``."""
    if isinstance(readout, VoltageTrace):
        raise TypeError(
            "VoltageTrace is for losses that integrate, and has no values: give Voltage(times), "
            "with the times at which your loss needs V"
        )


def _spiking_together(spikes: SpikeTrains) -> NDArray[np.bool_]:
    """Which units spike at the instant of each spike, shape (events, units)."""
    starts = np.append(True, (np.diff(spikes.times) != 0) | (np.diff(spikes.samples) != 0))
    instant = np.cumsum(starts[: spikes.times.size]) - 1
    spiking = np.zeros((spikes.times.size, spikes.unit_count), bool)
    spiking[instant, spikes.units] = True
    of_spikes: NDArray[np.bool_] = spiking[instant]
    return of_spikes
