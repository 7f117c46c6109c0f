"""The simulation of a network, one event after the other; ``adjoint`` has its adjoint.

There are three kinds of events:

- *emission*: V of a LIF unit reaches the threshold; V := reset, and I does not change.
- *arrival*: spikes arrive at a unit, each a delay after its emission, and raise I by the sum of
  their weights.
- *release*: the refractory period of a unit ends, and V moves again.

At one instant, emissions come before arrivals, and arrivals before releases; otherwise the order is
by unit.  So the slope dV/dt at an emission is that from the left, all arrivals at one unit at one
instant are summed before its next crossing is sought, and an arrival at the end of a refractory
period belongs to the period.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sortedcontainers import SortedKeyList

from evsim.display.short_repr import Brief
from evsim.engines import runaway
from evsim.engines.protocol import EngineError
from evsim.engines.reference.neuron import Neuron, Number, Numbers, Segment
from evsim.engines.rest import from_rest
from evsim.network.dropout import is_dropped
from evsim.network.network import Network
from evsim.network.populations import Input

# -- what is simulated --------------------------------------------------------------------


class InputEvent(NamedTuple):
    """An input spike: its time, its unit among all units, and its event in the SpikeTrains."""

    time: Number
    unit: int
    event: int


@dataclass(repr=False)
class Model(Brief):
    """A network with parameters of one number type, which may be changed individually.

    Units and synapses are numbered as in ``network.topology``.  ``neurons`` has all units except
    those of inputs; ``outgoing`` has the synapses from each unit.
    """

    network: Network
    numbers: Numbers
    weight: list[Number]
    delay: list[Number]
    neurons: dict[int, Neuron]
    target: list[int]
    outgoing: list[list[int]]

    @classmethod
    def from_network(cls, network: Network, numbers: Numbers) -> Model:
        """Convert the float64 parameters of a network to a number type."""
        topology = network.topology
        starts = topology.outgoing.tolist()
        return cls(
            network,
            numbers,
            weight=[numbers.convert(w) for w in network.weight_per_synapse().tolist()],
            delay=[numbers.convert(d) for d in network.delay_per_synapse().tolist()],
            neurons=_neurons(network, numbers),
            target=topology.target.tolist(),
            outgoing=[
                topology.outgoing_synapse[start:end].tolist() for start, end in pairwise(starts)
            ],
        )

    def units_of(self, population: str) -> range:
        """The units of a population, numbered among the units of all populations."""
        index = [p.name for p in self.network.populations].index(population)
        first_unit = self.network.topology.first_unit.tolist()
        return range(first_unit[index], first_unit[index + 1])

    def place_of(self, unit: int) -> tuple[str, int]:
        """The population of a unit, and the number of the unit in that population."""
        for population in self.network.populations:
            units = self.units_of(population.name)
            if unit in units:
                return population.name, unit - units.start
        raise IndexError(f"there is no unit {unit}")


def _neurons(network: Network, numbers: Numbers) -> dict[int, Neuron]:
    defaults = {"threshold": np.inf, "refractory": 0.0, "reset": 0.0, "rest": 0.0, "start": 0.0}
    numbers_of = {
        name: np.array(list(map(numbers.convert, network.per_unit(name, default).tolist())), object)
        for name, default in {"tau_mem": np.nan, "tau_syn": np.nan, **defaults}.items()
    }
    measured = from_rest(*(numbers_of[name] for name in ("threshold", "reset", "rest", "start")))
    parameters = numbers_of | measured._asdict()
    has_voltage = [
        not isinstance(population, Input)
        for population in network.populations
        for _ in range(population.units)
    ]
    return {
        unit: Neuron(numbers, **{name: values[unit] for name, values in parameters.items()})
        for unit in np.flatnonzero(has_voltage).tolist()
    }


# -- events -------------------------------------------------------------------------------


class Kind(IntEnum):
    """The kinds of events, in the order in which they happen at one instant."""

    EMISSION = 0
    ARRIVAL = 1
    RELEASE = 2


@dataclass(eq=False)
class Emission:
    """A unit emits a spike.

    ``current`` is I at the emission.  ``index`` is the index of an input event, otherwise None.
    ``dropped`` is true if dropout removes the spike from all synapses.
    """

    kind: ClassVar[Kind] = Kind.EMISSION
    time: Number
    unit: int
    index: int | None = None
    current: Number = None
    dropped: bool = False


@dataclass(eq=False, repr=False)
class Arrival(Brief):
    """Spikes arrive at a unit at one instant; ``spikes`` has the emission and synapse of each."""

    kind: ClassVar[Kind] = Kind.ARRIVAL
    time: Number
    unit: int
    spikes: list[tuple[Emission, int]] = field(default_factory=list)


@dataclass(eq=False)
class Release:
    """The refractory period of a unit ends.  ``current`` is I there."""

    kind: ClassVar[Kind] = Kind.RELEASE
    time: Number
    unit: int
    current: Number = None


Event = Emission | Arrival | Release


def order(event: Event) -> tuple[Number, Kind, int]:
    """The order of events: by time, then by kind, then by unit."""
    return event.time, event.kind, event.unit


# -- forward ------------------------------------------------------------------------------

MOST_SPIKES = 1_000_000
"""The largest number of spikes of a sample, except those of inputs; more take over a minute."""


def _blocks(model: Model, rate_limit: float) -> dict[int, runaway.SpikeBlocks]:
    """A counter of spikes for each unit to which the rule for runaway networks applies."""
    if rate_limit == np.inf:
        return {}
    shortest = runaway.shortest_blocks(model.network, rate_limit)
    return {
        unit: runaway.SpikeBlocks(model.numbers.convert(shortest[unit]))
        for unit in np.flatnonzero(shortest).tolist()
    }


@dataclass(frozen=True, repr=False)
class SampleDropout(Brief):
    """Dropout of one sample: the key of the sample, and the dropout rate of each unit."""

    key: int
    rates: list[float]

    def takes(self, unit: int, number: int) -> bool:
        """Whether spike ``number`` of a unit, counted from 0, is dropped."""
        return is_dropped(self.key, unit, number, self.rates[unit])


class Simulation:
    """The simulation of one sample: the queue of future events, and the record of past ones.

    Attributes
    ----------
    queue : SortedKeyList of Event
        Input spikes, at most one predicted emission per unit, arrivals, releases.
    history : dict from unit to list of Segment
        V, measured from rest, and I after each event of the unit; the first entry is at time 0.
    resets : dict from unit to list of int
        The indices in ``history`` of the unit's emissions.
    events : list of Event
        The past events in their order.
    arrivals_after_end : int
        The number of arrivals that are due only after the end of the trial.
    dropped : int
        The number of spikes that dropout has removed.
    """

    def __init__(
        self,
        model: Model,
        inputs: Sequence[InputEvent],
        duration: Number,
        *,
        dropout: SampleDropout | None = None,
        sample: int = 0,
        debug: bool = False,
        rate_limit: float = np.inf,
    ) -> None:
        zero = model.numbers.convert(0)
        self.model = model
        self.duration = duration
        self.dropout = dropout
        self.sample = sample
        self.debug = debug
        self.now = zero
        self.queue = SortedKeyList(key=order)
        self.history = {
            unit: [Segment(zero, neuron.start, zero, is_refractory=False)]
            for unit, neuron in model.neurons.items()
        }
        self.resets: dict[int, list[int]] = {unit: [] for unit in model.neurons}
        self.events: list[Event] = []
        self.arrivals_after_end = 0
        self.dropped = 0
        self._spikes_so_far: Counter[int] = Counter()
        self._predicted: dict[int, Emission] = {}
        self._due: dict[tuple[Number, int], Arrival] = {}
        self._blocks = _blocks(model, rate_limit)
        self._emitted = 0  # by units that are not inputs
        self._late_inputs = [event for event in inputs if event.time > duration]
        for event in inputs:
            if event.time <= duration:
                self._wait_for(Emission(event.time, event.unit, event.event))
        for unit, neuron in model.neurons.items():
            self._predict(unit, neuron.start, zero)

    @property
    def emissions(self) -> list[Emission]:
        """All spikes within the trial, including those of inputs."""
        return [event for event in self.events if isinstance(event, Emission)]

    def run(self) -> Simulation:
        """Simulate to the end of the trial."""
        for _ in self:
            pass
        return self

    def __iter__(self) -> Iterator[Event]:
        """Process the events one by one, and yield each afterwards."""
        happen: dict[Kind, Callable[[Any], None]] = {
            Kind.EMISSION: self._emit,
            Kind.ARRIVAL: self._arrive,
            Kind.RELEASE: self._release,
        }
        while self.queue:
            event = self.queue.pop(0)
            self.now = event.time
            happen[event.kind](event)
            self.events.append(event)
            if self.debug:
                self.verify()
            yield event
        self._emit_late_inputs()

    def _wait_for(self, event: Event) -> None:
        """Put a future event in the queue."""
        self.queue.add(event)

    def _emit(self, emission: Emission) -> None:
        unit, now = emission.unit, emission.time
        if unit in self.model.neurons:
            neuron = self.model.neurons[unit]
            _, emission.current = neuron.flow(self.history[unit][-1], now)
            del self._predicted[unit]
            self._check_rate(unit)
            self._check_pace(unit)
            self.resets[unit].append(len(self.history[unit]))
            release = now + neuron.refractory
            self._enter(unit, neuron.reset, emission.current, is_refractory=release > now)
            if now < release <= self.duration:
                self._wait_for(Release(release, unit))
        emission.dropped = self._drops(unit)
        if not emission.dropped:
            for synapse in self.model.outgoing[unit]:
                self._send(emission, synapse)

    def _check_rate(self, unit: int) -> None:
        """Count a spike of the unit; raise EngineError if the unit runs away."""
        span = self._blocks[unit].add(self.now) if unit in self._blocks else None
        if span is not None:
            raise EngineError(runaway.message(self._place(unit), float(span), "Reference"))

    def _check_pace(self, unit: int) -> None:
        """Raise EngineError if the unit spikes twice at one time or there are too many spikes."""
        resets = self.resets[unit]
        if resets and self.history[unit][resets[-1]].time == self.now:
            raise EngineError(
                f"{self._place(unit)}: it spikes again before time moves on; its current is too "
                "large: use smaller weights or a refractory period"
            )
        self._emitted += 1
        if self._emitted > MOST_SPIKES:
            raise EngineError(
                f"{self._place(unit)}: the sample has more than {MOST_SPIKES} spikes, more than "
                "the reference engine is made for: use the exact engine, or smaller weights"
            )

    def _place(self, unit: int) -> str:
        population, index = self.model.place_of(unit)
        return f"sample {self.sample}, unit {index} of {population!r}, at {float(self.now):.17g} ms"

    def _drops(self, unit: int) -> bool:
        """Whether the unit's next spike is dropped."""
        number = self._spikes_so_far[unit]
        self._spikes_so_far[unit] += 1
        dropped = self.dropout is not None and self.dropout.takes(unit, number)
        self.dropped += dropped
        return dropped

    def _emit_late_inputs(self) -> None:
        """Count the input spikes after the end of the trial, which have no other effect."""
        for event in sorted(self._late_inputs, key=lambda event: event.time):
            if not self._drops(event.unit):
                self.arrivals_after_end += len(self.model.outgoing[event.unit])

    def _send(self, emission: Emission, synapse: int) -> None:
        time = emission.time + self.model.delay[synapse]
        if time > self.duration:
            self.arrivals_after_end += 1
            return
        unit = self.model.target[synapse]
        if (time, unit) not in self._due:
            self._due[time, unit] = Arrival(time, unit)
            self._wait_for(self._due[time, unit])
        self._due[time, unit].spikes.append((emission, synapse))

    def _arrive(self, arrival: Arrival) -> None:
        unit = arrival.unit
        del self._due[arrival.time, unit]
        before = self.history[unit][-1]
        voltage, current = self.model.neurons[unit].flow(before, arrival.time)
        current += sum(self.model.weight[synapse] for _, synapse in arrival.spikes)
        if not abs(current) < np.inf:
            raise EngineError(
                f"{self._place(unit)}: its current is no longer finite: use smaller weights"
            )
        self._enter(unit, voltage, current, before.is_refractory)

    def _release(self, release: Release) -> None:
        unit = release.unit
        voltage, current = self.model.neurons[unit].flow(self.history[unit][-1], release.time)
        release.current = current
        self._enter(unit, voltage, current, is_refractory=False)

    def _enter(self, unit: int, voltage: Number, current: Number, is_refractory: bool) -> None:
        """Put a unit in a new state, and predict its next emission from there."""
        self.history[unit].append(Segment(self.now, voltage, current, is_refractory))
        if unit in self._predicted:
            self.queue.remove(self._predicted.pop(unit))
        if not is_refractory:
            self._predict(unit, voltage, current)

    def _predict(self, unit: int, voltage: Number, current: Number) -> None:
        """Queue the next emission of a unit, if it spikes without further events."""
        wait = self.model.neurons[unit].time_to_threshold(voltage, current)
        if wait is not None and self.now + wait <= self.duration:
            self._predicted[unit] = Emission(self.now + wait, unit)
            self._wait_for(self._predicted[unit])

    # Invariants.

    def verify(self) -> None:
        """Check all invariants between two events; raise AssertionError if one fails."""
        self._verify_queue()
        self._verify_counts()
        for unit, neuron in self.model.neurons.items():
            self._verify_unit(unit, neuron)

    def _verify_queue(self) -> None:
        times = [event.time for event in self.queue]
        assert times == sorted(times), "the queue is not sorted by time"
        assert all(self.now <= time <= self.duration for time in times), (
            f"an event waits outside of the rest of the trial, {self.now} to {self.duration} ms"
        )
        waiting = [e for e in self.queue if e.kind == Kind.EMISSION and e.index is None]
        assert sorted(emission.unit for emission in waiting) == sorted(self._predicted), (
            "the emissions in the queue are not the predicted ones, one per unit"
        )
        arrivals = [event for event in self.queue if event.kind == Kind.ARRIVAL]
        assert len({(a.time, a.unit) for a in arrivals}) == len(arrivals) == len(self._due), (
            "two arrivals wait for one unit at one instant"
        )
        last, *before = self.events[::-1][:2]
        assert not before or before[0].time <= last.time, "the record of events runs backwards"

    def _verify_counts(self) -> None:
        sent = sum(len(self.model.outgoing[e.unit]) for e in self.emissions if not e.dropped)
        waiting = sum(len(arrival.spikes) for arrival in self._due.values())
        assert sent == self.arrivals() + waiting + self.arrivals_after_end, (
            f"{sent} spikes were sent, {self.arrivals()} arrived, {waiting} are on their way and "
            f"{self.arrivals_after_end} arrive after the end"
        )

    def _verify_unit(self, unit: int, neuron: Neuron) -> None:
        place = self.model.place_of(unit)
        segment = self.history[unit][-1]
        voltage, _ = neuron.flow(segment, self.now)
        # V may exceed the threshold a little, because the time of an emission is rounded.
        scale = 1 + abs(segment.current) + abs(neuron.threshold)
        slack = 1e6 * neuron.numbers.epsilon * scale
        assert voltage <= neuron.threshold + slack, (
            f"V of {place} is {voltage}, not below threshold"
        )
        if segment.is_refractory:
            assert voltage == neuron.reset, (
                f"V of {place} is {voltage} within its refractory period"
            )
            last = next(e for e in reversed(self.emissions) if e.unit == unit)
            end = last.time + neuron.refractory
            waits = any(e.kind == Kind.RELEASE and e.unit == unit for e in self.queue)
            assert end >= self.now, f"{place} is refractory after its period"
            assert waits == (end <= self.duration), f"nothing ends the refractory period of {place}"
            assert unit not in self._predicted, f"{place} is to spike while it is refractory"

    def arrivals(self) -> int:
        """The number of spikes that have arrived at a synapse."""
        return sum(len(event.spikes) for event in self.events if isinstance(event, Arrival))

    # The states that were simulated.

    def segment_at(self, unit: int, time: Number) -> Segment:
        """The segment of a unit at a time, after all events at that time."""
        history = self.history[unit]
        return history[bisect_right(history, time, key=_time) - 1]

    def probe(self, unit: int, time: Number) -> tuple[Number, Number]:
        """V and I of a unit at a time, after its emissions and before its arrivals at that time."""
        segment = self.history[unit][self._place_of(unit, time)]
        return self.model.neurons[unit].flow(segment, time)

    def is_reset(self, unit: int, time: Number) -> bool:
        """Whether V is the reset there because the unit has just spiked, or is refractory."""
        place = self._place_of(unit, time)
        segment = self.history[unit][place]
        return segment.is_refractory or (segment.time == time and place in self.resets[unit])

    def _place_of(self, unit: int, time: Number) -> int:
        """The index in ``history`` after the emissions and before the arrivals at a time."""
        history, resets = self.history[unit], self.resets[unit]
        place = max(bisect_left(history, time, key=_time) - 1, 0)
        emitted = bisect_right(resets, time, key=lambda index: history[index].time)
        return max(place, resets[emitted - 1]) if emitted else place


def _time(segment: Segment) -> Number:
    return segment.time
