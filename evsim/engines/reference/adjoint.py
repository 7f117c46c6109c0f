"""The adjoint of a simulated network: its events in reverse order (D Table 1).

Beside each unit's events it meets the jumps of lambda_V that a readout makes: at the peak of
a voltage, at moments at which V is read, and at the end of the trial for a phantom spike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from evsim.engines.protocol import EngineError
from evsim.engines.reference.network import Arrival, Emission, Event, Kind, Release, Simulation
from evsim.engines.reference.neuron import FLAT, AdjointSegment, Number, Slopes
from evsim.readouts.weightings import WeightingForm


class Jump(NamedTuple):
    """lambda_V of a unit jumps at a time, as a readout has it.

    In backward time it comes after all events of that time, which do not see it.  Where V is
    0 whatever came before, right after an emission and inside a refractory window, it does
    nothing.  A ``phantom`` is the jump of a spike that is missing, at the end of the trial.
    """

    time: Number
    unit: int
    size: Number
    phantom: bool = False


@dataclass
class Cotangents:
    """What enters the adjoint of one sample.

    ``voltage_cotangents`` has dF/dV / w(t) of each unit and ``form`` is that of w(t); ``jumps``
    change lambda_V, ``arrival_jumps`` is the part of a jump at the same instant that acts on an
    arrival, and ``emission_slopes`` is the derivative of the loss with respect to emission times.
    ``rate_jumps``, by unit, and ``lambda_limit`` are those of ``AdjointSources``.
    """

    form: WeightingForm = FLAT
    voltage_cotangents: dict[int, Number] = field(default_factory=dict)
    jumps: list[Jump] = field(default_factory=list)
    arrival_jumps: dict[Arrival, Number] = field(default_factory=dict)
    emission_slopes: dict[Emission, Number] = field(default_factory=dict)
    rate_jumps: Mapping[int, Number] = field(default_factory=dict)
    lambda_limit: Number = float("inf")

    def add_emission_slope(self, emission: Emission, slope: Number) -> None:
        """Add to the derivative of the loss by an emission's time."""
        self.emission_slopes[emission] = self.emission_slopes.get(emission, 0) + slope


class AdjointSimulation:
    """The adjoint of one simulated sample.

    Attributes
    ----------
    weight, delay : list of Number, per synapse
        Gradients.
    threshold : dict from unit to Number
        Gradients.
    slopes : dict from Emission to Number
        Derivative by the time of each spike, input spikes included.
    history : list of AdjointSegment, by unit
        lambda_V and lambda_I before each of its events, beginning with 0 and 0 at the end.
    limited : int
        How many spikes had their lambda_V- set to the limit.
    """

    def __init__(self, simulation: Simulation, cotangents: Cotangents) -> None:
        model = simulation.model
        zero = model.numbers.convert(0)
        self.model = model
        self.forward = simulation
        self.cotangents = cotangents
        self.weight = [zero] * len(model.weight)
        self.delay = [zero] * len(model.delay)
        self.threshold = dict.fromkeys(model.neurons, zero)
        self.slopes: dict[Emission, Number] = {
            e: cotangents.emission_slopes.get(e, zero) for e in simulation.emissions
        }
        self.history = {
            unit: [AdjointSegment(simulation.duration, zero, zero, zero, held=segments[-1].held)]
            for unit, segments in simulation.history.items()
        }
        self.limited = 0
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
        felt = (j for j in self.cotangents.jumps if not self.forward.is_reset(j.unit, j.time))
        together: list[Any] = [*felt, *self.forward.events]
        return sorted(together, key=lambda event: event.time)  # which keeps the order of ties

    def flow(self, unit: int, time: Number, segment: int = -1) -> tuple[Number, Number, Number]:
        """lambda_V, lambda_I and their difference of a unit at a time of a segment."""
        cotangent = self.cotangents.voltage_cotangents.get(unit, 0)
        return self.model.neurons[unit].adjoint_flow(
            self.history[unit][segment], time, cotangent, self.cotangents.form
        )

    def _emit(self, emission: Emission) -> None:
        unit = emission.unit
        if unit not in self.model.neurons:
            return
        later_v, lambda_i, difference = self.flow(unit, emission.time)
        if self.history[unit][-1].held:
            restart: Number = self._release_slopes[unit]
            self._release_slopes[unit] = self.model.numbers.convert(0)
        else:
            restart = emission.current * later_v
        self.slopes[emission] += restart
        lambda_v = self._before(emission)
        self.threshold[unit] += self._tau_mem(unit) * lambda_v
        self._enter(
            unit, emission.time, lambda_v, lambda_i, difference + (lambda_v - later_v), held=False
        )

    def _before(self, emission: Emission) -> Number:
        """lambda_V-, with the limit on it and the jump of a rate regulariser."""
        drive = self.model.neurons[emission.unit].drive(emission.current)
        slope, limit = self.slopes[emission], self.cotangents.lambda_limit
        if drive <= 0 and limit == float("inf"):
            raise EngineError(self._grazing(emission, drive))
        if abs(slope) > limit * max(drive, 0):
            lambda_v = limit if slope > 0 else -limit
            self.limited += 1
        else:
            lambda_v = slope / drive if slope else slope
        return lambda_v - self.cotangents.rate_jumps.get(emission.unit, 0)

    def _arrive(self, arrival: Arrival) -> None:
        unit = arrival.unit
        lambda_v, lambda_i, difference = self.flow(unit, arrival.time)
        tau_syn = self.model.neurons[unit].tau_syn
        seen = difference + self.cotangents.arrival_jumps.get(arrival, 0)
        for emission, synapse in arrival.spikes:
            by_time = self.model.weight[synapse] * seen
            self.weight[synapse] -= tau_syn * lambda_i
            self.delay[synapse] += by_time
            self.slopes[emission] += by_time
        held = self.history[unit][-1].held
        self._enter(unit, arrival.time, lambda_v, lambda_i, difference, held)

    def _release(self, release: Release) -> None:
        unit = release.unit
        lambda_v, lambda_i, _ = self.flow(unit, release.time)
        self._release_slopes[unit] = release.current * lambda_v
        zero = self.model.numbers.convert(0)
        self._enter(unit, release.time, zero, lambda_i, -lambda_i, held=True)

    def _jump(self, jump: Jump) -> None:
        lambda_v, lambda_i, difference = self.flow(jump.unit, jump.time)
        if jump.phantom:
            self.threshold[jump.unit] += self._tau_mem(jump.unit) * jump.size
        self._enter(
            jump.unit, jump.time, lambda_v + jump.size, lambda_i, difference + jump.size, held=False
        )

    def _enter(
        self,
        unit: int,
        time: Number,
        lambda_v: Number,
        lambda_i: Number,
        difference: Number,
        held: bool,
    ) -> None:
        self.history[unit].append(AdjointSegment(time, lambda_v, lambda_i, difference, held))

    def _tau_mem(self, unit: int) -> Number:
        return self.model.neurons[unit].tau_mem

    def _grazing(self, emission: Emission, drive: Number) -> str:
        population, unit = self.model.place_of(emission.unit)
        return (
            f"sample {self.forward.sample}, {population!r} unit {unit}, t = "
            f"{float(emission.time):g} ms: V only grazes the threshold, I - threshold = "
            f"{float(drive):g} is not above 0 within rounding, so the gradient has no finite "
            "value; use more digits, Reference(digits=...), set a limit on lambda_V, or change "
            "the parameters or the input a little"
        )

    # Time constants.

    @cached_property
    def time_constants(self) -> dict[int, Slopes]:
        """Gradients by both time constants of each unit.

        dL/dtau_mem is the integral of lambda_V dV/dt and dL/dtau_syn that of lambda_I dI/dt,
        jumps left out; between two events each is what V, I and the readout at the end owe
        to the time constant, given V and I at the start: dL/dV = -tau_mem lambda_V and
        dL/dI = -tau_syn lambda_I there.
        """
        zero = self.model.numbers.convert(0)
        slopes = {}
        for unit in self.model.neurons:
            parts = [Slopes(zero, zero), *self._time_constant_slopes(unit)]
            slopes[unit] = Slopes(*map(sum, zip(*parts, strict=True)))
        return slopes

    def _time_constant_slopes(self, unit: int) -> Iterator[Slopes]:
        """What the time between each two events adds to both gradients."""
        neuron = self.model.neurons[unit]
        cotangent = self.cotangents.voltage_cotangents.get(unit, 0)
        for end, start in pairwise(self.history[unit]):
            if start.time == end.time:
                continue
            segment = self.forward.segment_at(unit, start.time)
            voltage, current = neuron.flow(segment, start.time)
            segment = segment._replace(time=start.time, voltage=voltage, current=current)
            by_voltage, by_current = neuron.flow_slopes(segment, end.time)
            by_mem = -neuron.tau_mem * end.lambda_v * by_voltage.tau_mem
            by_syn = -neuron.tau_mem * end.lambda_v * by_voltage.tau_syn
            by_syn -= neuron.tau_syn * end.lambda_i * by_current
            if cotangent:
                integral = neuron.integral_slopes(segment, end.time, self.cotangents.form)
                by_mem += cotangent * integral.tau_mem
                by_syn += cotangent * integral.tau_syn
            yield Slopes(by_mem, by_syn)
