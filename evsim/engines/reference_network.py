"""A network of neurons, one event after the other: forward, and its adjoint backward.

Everything happens in three kinds of events:

- *emission*: V of a LIF unit reaches the threshold; V := 0 and I goes on.
- *arrival*: spikes reach a unit, each a delay after its emission, and raise I by the sum of
  their weights.
- *release*: the refractory window of a unit ends, and V moves again.

At one instant emissions come before arrivals, and arrivals before releases; beyond that the
order is by unit.  So the slope dV/dt at an emission is that from the left, all arrivals due
at one unit at one instant are summed before its next crossing is sought, and an arrival at
the end of a window belongs to the window.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sortedcontainers import SortedKeyList

from evsim.engines.protocol import EngineError
from evsim.engines.reference_neuron import AdjointSegment, Neuron, Number, Numbers, Segment
from evsim.network import Input, Network

# -- what is simulated --------------------------------------------------------------------


class InputEvent(NamedTuple):
    """A spike given to the network: time, unit among all units, event of its SpikeTrains."""

    time: Number
    unit: int
    event: int


@dataclass
class Model:
    """A network whose parameters are numbers of one type, which may be changed one by one.

    Units and synapses are numbered as in ``network.topology``; ``neurons`` has all units but
    those of inputs, ``outgoing`` the synapses that leave each unit.
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
        """The network's parameters, float64 as they are, in another number type."""
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
        """A population's units among all units."""
        index = [p.name for p in self.network.populations].index(population)
        first_unit = self.network.topology.first_unit.tolist()
        return range(first_unit[index], first_unit[index + 1])

    def place_of(self, unit: int) -> tuple[str, int]:
        """The population of a unit, and the unit's number there."""
        for population in self.network.populations:
            units = self.units_of(population.name)
            if unit in units:
                return population.name, unit - units.start
        raise IndexError(f"there is no unit {unit}")


def _neurons(network: Network, numbers: Numbers) -> dict[int, Neuron]:
    columns = (
        network.per_unit("tau_mem"),
        network.per_unit("tau_syn"),
        network.per_unit("threshold", default=np.inf),
        network.per_unit("refractory", default=0.0),
    )
    parameters = np.transpose(columns).tolist()
    has_voltage = [
        not isinstance(population, Input)
        for population in network.populations
        for _ in range(population.units)
    ]
    return {
        unit: Neuron(numbers, *map(numbers.convert, parameters[unit]))
        for unit in np.flatnonzero(has_voltage).tolist()
    }


# -- events -------------------------------------------------------------------------------


class Kind(IntEnum):
    """Kinds of events in their order at one instant."""

    EMISSION = 0
    ARRIVAL = 1
    RELEASE = 2


@dataclass(eq=False)
class Emission:
    """A unit spikes.  ``current`` is I there; ``index`` that of an input event, else None."""

    kind: ClassVar[Kind] = Kind.EMISSION
    time: Number
    unit: int
    index: int | None = None
    current: Number = None


@dataclass(eq=False)
class Arrival:
    """Spikes reach a unit together: ``spikes`` has the emission and the synapse of each."""

    kind: ClassVar[Kind] = Kind.ARRIVAL
    time: Number
    unit: int
    spikes: list[tuple[Emission, int]] = field(default_factory=list)


@dataclass(eq=False)
class Release:
    """The refractory window of a unit ends.  ``current`` is I there."""

    kind: ClassVar[Kind] = Kind.RELEASE
    time: Number
    unit: int
    current: Number = None


Event = Emission | Arrival | Release


def order(event: Event) -> tuple[Number, Kind, int]:
    """The one order of events."""
    return event.time, event.kind, event.unit


# -- forward ------------------------------------------------------------------------------


class Simulation:
    """One sample: the queue of events to come, and the record of those that were.

    Attributes
    ----------
    queue : SortedKeyList of Event
        Input spikes, at most one predicted emission per unit, arrivals, releases.
    history : list of Segment, by unit
        V and I after each of its events, beginning with 0 and 0 at time 0.
    events : list of Event
        What has happened, in the order it did.
    arrivals_after_end : int
        How many spikes reach a synapse's target only after the end of the trial.
    """

    def __init__(
        self,
        model: Model,
        inputs: Sequence[InputEvent],
        duration: Number,
        *,
        sample: int = 0,
        debug: bool = False,
    ) -> None:
        zero = model.numbers.convert(0)
        self.model = model
        self.duration = duration
        self.sample = sample
        self.debug = debug
        self.now = zero
        self.queue = SortedKeyList(key=order)
        self.history = {u: [Segment(zero, zero, zero, held=False)] for u in model.neurons}
        self.events: list[Event] = []
        self.arrivals_after_end = 0
        self._predicted: dict[int, Emission] = {}
        self._due: dict[tuple[Number, int], Arrival] = {}
        self._late_inputs = [event for event in inputs if event.time > duration]
        for event in inputs:
            if event.time <= duration:
                self.queue.add(Emission(event.time, event.unit, event.event))
        for event in self._late_inputs:
            self.arrivals_after_end += len(model.outgoing[event.unit])

    @property
    def emissions(self) -> list[Emission]:
        """Every spike within the trial, those of inputs included."""
        return [event for event in self.events if isinstance(event, Emission)]

    def run(self) -> Simulation:
        """Simulate to the end of the trial."""
        for _ in self:
            pass
        return self

    def __iter__(self) -> Iterator[Event]:
        """Events as they happen."""
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

    def _emit(self, emission: Emission) -> None:
        unit, now = emission.unit, emission.time
        if unit in self.model.neurons:
            neuron = self.model.neurons[unit]
            _, emission.current = neuron.flow(self.history[unit][-1], now)
            del self._predicted[unit]
            release = now + neuron.refractory
            self._enter(unit, self.model.numbers.convert(0), emission.current, held=release > now)
            if now < release <= self.duration:
                self.queue.add(Release(release, unit))
        for synapse in self.model.outgoing[unit]:
            self._send(emission, synapse)

    def _send(self, emission: Emission, synapse: int) -> None:
        time = emission.time + self.model.delay[synapse]
        if time > self.duration:
            self.arrivals_after_end += 1
            return
        unit = self.model.target[synapse]
        if (time, unit) not in self._due:
            self._due[time, unit] = Arrival(time, unit)
            self.queue.add(self._due[time, unit])
        self._due[time, unit].spikes.append((emission, synapse))

    def _arrive(self, arrival: Arrival) -> None:
        unit = arrival.unit
        del self._due[arrival.time, unit]
        before = self.history[unit][-1]
        voltage, current = self.model.neurons[unit].flow(before, arrival.time)
        current += sum(self.model.weight[synapse] for _, synapse in arrival.spikes)
        self._enter(unit, voltage, current, before.held)

    def _release(self, release: Release) -> None:
        unit = release.unit
        voltage, current = self.model.neurons[unit].flow(self.history[unit][-1], release.time)
        release.current = current
        self._enter(unit, voltage, current, held=False)

    def _enter(self, unit: int, voltage: Number, current: Number, held: bool) -> None:
        """Put a unit in a new state, and predict its next emission from there."""
        self.history[unit].append(Segment(self.now, voltage, current, held))
        if unit in self._predicted:
            self.queue.remove(self._predicted.pop(unit))
        wait = None if held else self.model.neurons[unit].time_to_threshold(voltage, current)
        if wait is not None and self.now + wait <= self.duration:
            self._predicted[unit] = Emission(self.now + wait, unit)
            self.queue.add(self._predicted[unit])

    # Invariants.

    def verify(self) -> None:
        """Check every invariant of the state between two events; AssertionError if one fails."""
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
        sent = sum(len(self.model.outgoing[e.unit]) for e in self._late_inputs)
        sent += sum(len(self.model.outgoing[e.unit]) for e in self.emissions)
        waiting = sum(len(arrival.spikes) for arrival in self._due.values())
        assert sent == self.arrivals() + waiting + self.arrivals_after_end, (
            f"{sent} spikes were sent, {self.arrivals()} arrived, {waiting} are on their way and "
            f"{self.arrivals_after_end} arrive after the end"
        )

    def _verify_unit(self, unit: int, neuron: Neuron) -> None:
        place = self.model.place_of(unit)
        segment = self.history[unit][-1]
        voltage, _ = neuron.flow(segment, self.now)
        # V was just below a threshold it meets at a time rounded like every other.
        slack = 1e6 * neuron.numbers.epsilon * (1 + abs(segment.current))
        assert voltage <= neuron.threshold + slack, (
            f"V of {place} is {voltage}, not below threshold"
        )
        if segment.held:
            assert voltage == 0, f"V of {place} is {voltage} within its refractory window"
            last = next(e for e in reversed(self.emissions) if e.unit == unit)
            end = last.time + neuron.refractory
            waits = any(e.kind == Kind.RELEASE and e.unit == unit for e in self.queue)
            assert end >= self.now, f"{place} is held after its refractory window"
            assert waits == (end <= self.duration), f"nothing ends the refractory window of {place}"
            assert unit not in self._predicted, f"{place} is to spike while it is held"

    def arrivals(self) -> int:
        """How many spikes have reached a synapse's target."""
        return sum(len(event.spikes) for event in self.events if isinstance(event, Arrival))


# -- backward -----------------------------------------------------------------------------


class Jump(NamedTuple):
    """lambda_V of a unit jumps at a time, as a readout has it: after the events of that time."""

    time: Number
    unit: int
    size: Number


@dataclass
class Cotangents:
    """How a readout's cotangents enter the adjoint of one sample.

    ``drive`` of a unit is dF/dV * exp(rate * t), ``jumps`` change lambda_V,
    ``arrival_jumps`` is what of a jump at the same instant an arrival sees, and
    ``emission_slopes`` is the derivative of the loss by emission times.
    """

    rate: Number = 0
    drive: dict[int, Number] = field(default_factory=dict)
    jumps: list[Jump] = field(default_factory=list)
    arrival_jumps: dict[Arrival, Number] = field(default_factory=dict)
    emission_slopes: dict[Emission, Number] = field(default_factory=dict)


class AdjointSimulation:
    """The adjoint of one simulated sample: its events in reverse order.

    Attributes
    ----------
    weight, delay : list of Number, per synapse
        Gradients.
    slopes : dict from Emission to Number
        Derivative by the time of each spike, input spikes included.
    history : list of AdjointSegment, by unit
        lambda_V and lambda_I before each of its events, beginning with 0 and 0 at the end.
    """

    def __init__(self, simulation: Simulation, cotangents: Cotangents) -> None:
        model = simulation.model
        zero = model.numbers.convert(0)
        self.model = model
        self.forward = simulation
        self.cotangents = cotangents
        self.weight = [zero] * len(model.weight)
        self.delay = [zero] * len(model.delay)
        self.slopes = {e: cotangents.emission_slopes.get(e, zero) for e in simulation.emissions}
        self.history = {
            unit: [AdjointSegment(simulation.duration, zero, zero, held=segments[-1].held)]
            for unit, segments in simulation.history.items()
        }
        # What the later start of V does to a unit whose window has ended: h_k = I lambda_V.
        self._release_slopes = dict.fromkeys(model.neurons, zero)

    def run(self) -> AdjointSimulation:
        """Integrate from the end of the trial to its beginning."""
        happen: dict[Kind, Callable[[Any], None]] = {
            Kind.EMISSION: self._emit,
            Kind.ARRIVAL: self._arrive,
            Kind.RELEASE: self._release,
        }
        for event in reversed(self._events()):
            if isinstance(event, Jump):
                self._jump(event)
            else:
                happen[event.kind](event)
        zero = self.model.numbers.convert(0)
        for unit in self.model.neurons:
            self._enter(unit, zero, *self.flow(unit, zero), self.history[unit][-1].held)
        return self

    def _events(self) -> list[Event | Jump]:
        """Recorded events with the readout's jumps before those of the same time."""
        events: list[Any] = list(self.forward.events)
        for jump in self.cotangents.jumps:
            events.insert(bisect_left(events, jump.time, key=lambda event: event.time), jump)
        return events

    def flow(self, unit: int, time: Number, segment: int = -1) -> tuple[Number, Number]:
        """lambda_V and lambda_I of a unit at a time of a segment of its history."""
        drive = self.cotangents.drive.get(unit, 0)
        return self.model.neurons[unit].adjoint_flow(
            self.history[unit][segment], time, drive, self.cotangents.rate
        )

    def _emit(self, emission: Emission) -> None:
        unit = emission.unit
        if unit not in self.model.neurons:
            return
        neuron = self.model.neurons[unit]
        lambda_v, lambda_i = self.flow(unit, emission.time)
        drive = neuron.drive(emission.current)
        if drive <= 0:
            raise EngineError(self._grazing(emission, drive))
        if self.history[unit][-1].held:
            restart: Number = self._release_slopes[unit]
            self._release_slopes[unit] = self.model.numbers.convert(0)
        else:
            restart = emission.current * lambda_v
        self.slopes[emission] += restart
        self._enter(unit, emission.time, self.slopes[emission] / drive, lambda_i, held=False)

    def _arrive(self, arrival: Arrival) -> None:
        unit = arrival.unit
        lambda_v, lambda_i = self.flow(unit, arrival.time)
        tau_syn = self.model.neurons[unit].tau_syn
        difference = lambda_v + self.cotangents.arrival_jumps.get(arrival, 0) - lambda_i
        for emission, synapse in arrival.spikes:
            by_time = self.model.weight[synapse] * difference
            self.weight[synapse] -= tau_syn * lambda_i
            self.delay[synapse] += by_time
            self.slopes[emission] += by_time
        self._enter(unit, arrival.time, lambda_v, lambda_i, self.history[unit][-1].held)

    def _release(self, release: Release) -> None:
        unit = release.unit
        lambda_v, lambda_i = self.flow(unit, release.time)
        self._release_slopes[unit] = release.current * lambda_v
        self._enter(unit, release.time, self.model.numbers.convert(0), lambda_i, held=True)

    def _jump(self, jump: Jump) -> None:
        lambda_v, lambda_i = self.flow(jump.unit, jump.time)
        held = self.history[jump.unit][-1].held
        self._enter(jump.unit, jump.time, lambda_v + jump.size, lambda_i, held)

    def _enter(
        self, unit: int, time: Number, lambda_v: Number, lambda_i: Number, held: bool
    ) -> None:
        self.history[unit].append(AdjointSegment(time, lambda_v, lambda_i, held))

    def _grazing(self, emission: Emission, drive: Number) -> str:
        population, unit = self.model.place_of(emission.unit)
        return (
            f"sample {self.forward.sample}, {population!r} unit {unit}, t = "
            f"{float(emission.time):g} ms: V only grazes the threshold, I - threshold = "
            f"{float(drive):g} is not above 0 within rounding, so the gradient has no finite "
            "value; use more digits, Reference(digits=...), or change the parameters or the "
            "input a little"
        )
