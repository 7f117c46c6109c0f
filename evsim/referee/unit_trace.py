"""V and I of one unit in one sample after each of its events, and what V would do without a reset.

They are computed from the spikes of a run by the closed forms.  V is measured from rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evsim.engines.rest import from_rest
from evsim.equations import lif
from evsim.network.network import Network
from evsim.network.populations import LIF
from evsim.network.ragged_arrays import places_of
from evsim.network.spike_trains import SpikeTrains


@dataclass(frozen=True)
class Unit:
    """The parameters of one LIF unit; threshold, reset and start are measured from rest."""

    tau_mem: float
    tau_syn: float
    threshold: float
    reset: float
    start: float
    refractory: float

    @classmethod
    def of(cls, population: LIF, unit: int) -> Unit:
        """The parameters of a unit of a population."""

        def number(values: NDArray[np.float64]) -> float:
            return float(np.broadcast_to(values, population.units)[unit])

        rest = number(population.rest)
        start = rest if population.start is None else number(population.start)
        voltages = from_rest(number(population.threshold), number(population.reset), rest, start)
        return cls(
            tau_mem=number(population.tau_mem),
            tau_syn=number(population.tau_syn),
            **voltages._asdict(),
            refractory=number(population.refractory),
        )

    def flow(self, voltage: float, current: float, span: float) -> tuple[float, float]:
        """V and I after a time without events."""
        later: tuple[float, float] = lif.flow(voltage, current, span, self.tau_mem, self.tau_syn)
        return later

    def slope(self, voltage: float, current: float) -> float:
        """dV/dt, per ms."""
        return (current - voltage) / self.tau_mem

    def highest(self, voltage: float, current: float, span: float) -> float:
        """The largest V within a time without events and without a threshold."""
        at_end, _ = self.flow(voltage, current, span)
        peak = lif.peak_time(voltage, current, self.tau_mem, self.tau_syn)
        if peak < span:
            return max(voltage, self.flow(voltage, current, peak)[0])
        return max(voltage, at_end)


@dataclass(frozen=True, eq=False)
class Activity:
    """A network, and the spikes of all its populations in one of the programs."""

    network: Network
    spikes: Mapping[str, SpikeTrains]
    duration: float

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each synapse, (synapses,), in the order of the network's topology."""
        return self.network.weight_per_synapse()

    @cached_property
    def delays(self) -> NDArray[np.float64]:
        """The delay of each synapse in ms, (synapses,)."""
        return self.network.delay_per_synapse()


@dataclass(frozen=True)
class Arrivals:
    """What reaches a unit in a sample, by time: times in ms, weights, and where each comes from.

    ``sources`` has the numbers of units of the network, population after population.
    """

    times: NDArray[np.float64]
    weights: NDArray[np.float64]
    sources: NDArray[np.int64]


@dataclass(frozen=True)
class UnitTrace:
    """The events of a unit, and V and I right after each; the first event is the start, at 0 ms.

    ``arrivals`` has the arrivals within the trial, ``emissions`` the unit's spikes.  ``free_at`` is
    the time from which V moves, ``arrived`` the number of arrivals up to the event.
    """

    unit: Unit
    arrivals: Arrivals
    emissions: NDArray[np.float64]
    duration: float
    times: NDArray[np.float64]
    voltages: NDArray[np.float64]
    currents: NDArray[np.float64]
    free_at: NDArray[np.float64]
    arrived: NDArray[np.int64]

    @classmethod
    def of(cls, activity: Activity, population: str, unit: int, sample: int) -> UnitTrace:
        """The trace of a unit in a sample, from the spikes of all populations."""
        kind = activity.network.population(population)
        assert isinstance(kind, LIF)
        parameters = Unit.of(kind, unit)
        arrivals = arrivals_at(activity, population, unit, sample)
        trains = activity.spikes[population][sample]
        emissions = np.sort(trains.times[trains.units == unit])
        return cls._walked(parameters, arrivals, emissions, activity.duration)

    @classmethod
    def _walked(
        cls, unit: Unit, arrivals: Arrivals, emissions: NDArray[np.float64], duration: float
    ) -> UnitTrace:
        """Take V and I from event to event; at one instant emissions come before arrivals."""
        times = np.concatenate([emissions, arrivals.times])
        jumps = np.concatenate([np.full(emissions.size, np.nan), arrivals.weights])
        order = np.lexsort((~np.isnan(jumps), times))
        now, voltage, current, free_at, arrived = 0.0, unit.start, 0.0, 0.0, 0
        states = [(now, voltage, current, free_at, arrived)]
        for time, jump in zip(times[order].tolist(), jumps[order].tolist(), strict=True):
            voltage, current = lif.flow_through_refractory(
                voltage, current, now, time, free_at, unit.tau_mem, unit.tau_syn
            )
            now = time
            if np.isnan(jump):
                voltage, free_at = unit.reset, time + unit.refractory
            else:
                current, arrived = current + jump, arrived + 1
            states.append((now, voltage, current, free_at, arrived))
        table = np.array(states)
        return cls(
            unit=unit,
            arrivals=arrivals,
            emissions=emissions,
            duration=duration,
            times=table[:, 0],
            voltages=table[:, 1],
            currents=table[:, 2],
            free_at=table[:, 3],
            arrived=table[:, 4].astype(np.int64),
        )

    @property
    def places_of_emissions(self) -> NDArray[np.int64]:
        """The place of each emission in ``times``."""
        is_arrival = np.diff(self.arrived) > 0
        return np.flatnonzero(~is_arrival) + 1

    # -- at a time ----------------------------------------------------------------------

    def before(self, time: float) -> tuple[float, float]:
        """V and I right before a time, without what happens at that time."""
        return self._after(max(int(np.searchsorted(self.times, time)) - 1, 0), time)

    def rise_at(self, time: float) -> float:
        """dV/dt right before an emission, per ms."""
        _, current = self.before(time)
        return self.unit.slope(self.unit.threshold, current)

    def steepest(self, start: float, end: float) -> float:
        """The largest |dV/dt| right after an event between two times, per ms."""
        chosen = (self.times >= start) & (self.times <= end)
        slopes = np.abs(self.currents - self.voltages) / self.unit.tau_mem
        return float(slopes[chosen].max(initial=0.0))

    # -- what V would do ----------------------------------------------------------------

    def pieces_without_reset(
        self, time: float, voltage: float, current: float
    ) -> Iterator[tuple[float, float, float, float]]:
        """From a state on, without emissions: start, V, I and length of each piece of V."""
        later = self.arrivals.times >= time
        stops = [*self.arrivals.times[later].tolist(), self.duration]
        jumps = [*self.arrivals.weights[later].tolist(), 0.0]
        for stop, jump in zip(stops, jumps, strict=True):
            if stop > time:
                yield time, voltage, current, stop - time
            voltage, current = self.unit.flow(voltage, current, stop - time)
            time, current = stop, current + jump

    def next_crossing(self, index: int) -> float:
        """When V first reaches the threshold after an event, in ms; infinity for never.

        ``index`` is the place of the event in ``times``; emissions after it do not count.
        """
        unit = self.unit
        now, voltage, current, free_at = (
            float(part[index]) for part in (self.times, self.voltages, self.currents, self.free_at)
        )
        later = slice(int(self.arrived[index]), None)
        stops = [*self.arrivals.times[later].tolist(), self.duration]
        jumps = [*self.arrivals.weights[later].tolist(), 0.0]
        for stop, jump in zip(stops, jumps, strict=True):
            start = min(max(now, free_at), stop)
            voltage, current = lif.flow_through_refractory(
                voltage, current, now, start, free_at, unit.tau_mem, unit.tau_syn
            )
            state = voltage, current, unit.threshold, unit.tau_mem, unit.tau_syn
            if start >= free_at and lif.reaches_threshold(*state):
                crossing = start + lif.crossing_time(*state)
                if crossing <= stop:
                    return float(crossing)
            if start >= free_at:
                voltage, current = unit.flow(voltage, current, stop - start)
            now, current = stop, current + jump
        return np.inf

    def excursion(self, emission: float, until: float = np.inf) -> tuple[float, float]:
        """How far above the threshold V would rise without the reset, and for how long in ms.

        This ends when V falls to the threshold again, at ``until``, or at the end of the trial.
        """
        threshold = self.unit.threshold
        _, current = self.before(emission)
        highest = 0.0
        for start, voltage, drive, span in self.pieces_without_reset(emission, threshold, current):
            if start >= until:
                break
            span = min(span, until - start)
            highest = max(highest, self.unit.highest(voltage, drive, span) - threshold)
            if self.unit.flow(voltage, drive, span)[0] < threshold:
                down = self._falls_at(voltage, drive, span)
                return highest, start + down - emission
        return highest, min(self.duration, until) - emission

    def _falls_at(self, voltage: float, current: float, span: float) -> float:
        """When V, which is above the threshold now and below after ``span`` ms, falls to it."""
        from scipy.optimize import brentq

        unit = self.unit
        peak = lif.peak_time(voltage, current, unit.tau_mem, unit.tau_syn)
        start = peak if peak < span else 0.0

        def above(time: float) -> float:
            return unit.flow(voltage, current, time)[0] - unit.threshold

        return float(brentq(above, start, span, xtol=1e-13)) if above(start) > 0.0 else start

    def near_miss(self, start: float, end: float) -> float:
        """How far below the threshold V stays between two times, if no emission follows.

        Infinity if there is no such piece of V: the unit is refractory, or V rises to an emission.
        """
        cuts = self.times[(self.times > start) & (self.times < end)]
        edges = np.unique(np.concatenate([[start], cuts, [end]]))
        missing = np.inf
        for left, right in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            index = int(np.searchsorted(self.times, left, side="right")) - 1
            free_at = float(self.free_at[index])
            left = max(left, free_at)
            if left >= right or bool((self.emissions == right).any()):
                continue
            voltage, current = self._after(index, left)
            highest = self.unit.highest(voltage, current, right - left)
            missing = min(missing, self.unit.threshold - highest)
        return missing

    def _after(self, index: int, time: float) -> tuple[float, float]:
        """V and I at a time, from the state after an event."""
        later: tuple[float, float] = lif.flow_through_refractory(
            float(self.voltages[index]),
            float(self.currents[index]),
            float(self.times[index]),
            time,
            float(self.free_at[index]),
            self.unit.tau_mem,
            self.unit.tau_syn,
        )
        return later


def arrivals_at(activity: Activity, population: str, unit: int, sample: int) -> Arrivals:
    """What reaches a unit in a sample, by time, within the trial."""
    network = activity.network
    topology = network.topology
    names = [p.name for p in network.populations]
    place = int(topology.first_unit[names.index(population)]) + unit
    synapses = slice(int(topology.incoming[place]), int(topology.incoming[place + 1]))
    sources = topology.source[synapses].astype(np.int64)
    weights = activity.weights[synapses]
    delays = activity.delays[synapses]
    parts = [(np.empty(0), np.empty(0), np.empty(0, np.int64))]
    for first, name in zip(topology.first_unit, names, strict=False):
        units = network.population(name).units
        mine = np.flatnonzero((sources >= first) & (sources < first + units))
        if mine.size:
            trains = activity.spikes[name][sample]
            synapse, times = _spikes_of(trains, sources[mine] - first)
            synapse = mine[synapse]
            parts.append((times + delays[synapse], weights[synapse], sources[synapse]))
    time, weight, source = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(time, kind="stable")
    order = order[time[order] <= activity.duration]
    return Arrivals(time[order], weight[order], source[order])


def _spikes_of(
    trains: SpikeTrains, units: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All spikes of the given units, one unit after the other: which of them, and the time."""
    order = np.argsort(trains.units, kind="stable")
    starts = np.searchsorted(trains.units[order], units)
    ends = np.searchsorted(trains.units[order], units, side="right")
    places, which = places_of(starts, ends - starts)
    return which, trains.times[order[places]]
