"""The adjoint of a simulated network: its events in reverse order (D Table 1).

Besides the events of each unit, it includes the jumps of lambda_V that a readout causes: at the
peak of a voltage, at times at which V is read, and at the end of the trial for a phantom spike.

Paper: D is Mészáros, Knight, Nowotny (learning delays with EventProp).
"""

from __future__ import annotations

from collections import Counter
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
    """A jump of a unit's lambda_V, caused by a readout.

    In backward time, the jump comes after all events at the same time, so it does not affect them.
    Right after an emission and in a refractory period, V is the reset whatever came before, so a
    jump has no effect there.  ``phantom`` marks the jump for a missing spike, at the end of the
    trial.
    """

    time: Number
    unit: int
    size: Number
    phantom: bool = False


@dataclass
class Cotangents:
    """The sources of the adjoint of one sample.

    ``voltage_cotangents`` has dF/dV / w(t) of each unit and ``forms`` that of its w(t); ``jumps``
    change lambda_V, ``arrival_jumps`` is the part of a jump at the same instant that acts on an
    arrival, and ``emission_slopes`` is the derivative of the loss with respect to emission times.
    ``resets`` and ``starts``, by unit, are the effects on the readout of V = reset in refractory
    periods, and of V = start: direct derivatives of the loss with respect to them.  ``rate_jumps``,
    by unit, and ``lambda_limit`` are those of ``AdjointSources``.
    """

    forms: dict[int, WeightingForm] = field(default_factory=dict)
    voltage_cotangents: dict[int, Number] = field(default_factory=dict)
    jumps: list[Jump] = field(default_factory=list)
    arrival_jumps: dict[Arrival, Number] = field(default_factory=dict)
    emission_slopes: dict[Emission, Number] = field(default_factory=dict)
    resets: Counter[int] = field(default_factory=Counter)
    starts: Counter[int] = field(default_factory=Counter)
    rate_jumps: Mapping[int, Number] = field(default_factory=dict)
    lambda_limit: Number = float("inf")

    def add_emission_slope(self, emission: Emission, slope: Number) -> None:
        """Add to the derivative of the loss with respect to the time of an emission."""
        self.emission_slopes[emission] = self.emission_slopes.get(emission, 0) + slope


class AdjointSimulation:
    """The adjoint of one simulated sample.

    Attributes
    ----------
    weight, delay : list of Number
        The gradient for each synapse.
    threshold, reset, start : dict from unit to Number
        Gradients with respect to these voltages, measured from rest.
    spike_time_gradient : dict from Emission to Number
        S_k of each spike, including input spikes: the gradient with respect to its time.
    history : list of AdjointSegment, by unit
        lambda_V and lambda_I before each of its events, beginning with 0 and 0 at the end.
    limited : int
        The number of spikes whose lambda_V- was set to the limit.
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
        self.reset = {unit: zero + cotangents.resets[unit] for unit in model.neurons}
        self.start = {unit: zero + cotangents.starts[unit] for unit in model.neurons}
        self.spike_time_gradient: dict[Emission, Number] = {
            e: cotangents.emission_slopes.get(e, zero) for e in simulation.emissions
        }
        self.history = {
            unit: [
                AdjointSegment(
                    simulation.duration, zero, zero, zero, is_refractory=segments[-1].is_refractory
                )
            ]
            for unit, segments in simulation.history.items()
        }
        self.limited = 0
        # h_k at the end of a refractory period: the effect of a later start of V.
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
            self._enter(unit, zero, *self.flow(unit, zero), self.history[unit][-1].is_refractory)
            self.start[unit] -= self._tau_mem(unit) * self.history[unit][-1].lambda_v
        return self

    def _events(self) -> list[Event | Jump]:
        """Events and the readout's jumps by time; jumps come before events at the same time."""
        jumps = (j for j in self.cotangents.jumps if not self.forward.is_reset(j.unit, j.time))
        together: list[Any] = [*jumps, *self.forward.events]
        return sorted(together, key=lambda event: event.time)  # stable: keeps the order of ties

    def flow(self, unit: int, time: Number, segment: int = -1) -> tuple[Number, Number, Number]:
        """lambda_V, lambda_I and their difference of a unit at a time of a segment."""
        cotangent = self.cotangents.voltage_cotangents.get(unit, 0)
        return self.model.neurons[unit].adjoint_flow(
            self.history[unit][segment], time, cotangent, self.cotangents.forms.get(unit, FLAT)
        )

    def _emit(self, emission: Emission) -> None:
        unit = emission.unit
        if unit not in self.model.neurons:
            return
        later_v, lambda_i, difference = self.flow(unit, emission.time)
        if self.history[unit][-1].is_refractory:
            restart: Number = self._release_slopes[unit]
            self._release_slopes[unit] = self.model.numbers.convert(0)
        else:
            restart = self._restart(unit, emission.current, later_v)
        self.spike_time_gradient[emission] += restart
        lambda_v = self._before(emission)
        self.threshold[unit] += self._tau_mem(unit) * lambda_v
        self._enter(
            unit,
            emission.time,
            lambda_v,
            lambda_i,
            difference + (lambda_v - later_v),
            is_refractory=False,
        )

    def _restart(self, unit: int, current: Number, lambda_v: Number) -> Number:
        """h_k where V starts to move again at the reset; the gradient of the reset there."""
        self.reset[unit] -= self._tau_mem(unit) * lambda_v
        return self.model.neurons[unit].restart_gradient(current, lambda_v)

    def _before(self, emission: Emission) -> Number:
        """lambda_V-, with the limit on it and the jump of a rate regulariser."""
        neuron = self.model.neurons[emission.unit]
        excess, limit = neuron.threshold_excess(emission.current), self.cotangents.lambda_limit
        if limit == float("inf") and neuron.numbers.is_lost(excess, neuron.threshold):
            raise EngineError(self._grazing(emission, excess))
        rate_jump = self.cotangents.rate_jumps.get(emission.unit, 0)
        lambda_v, is_limited = neuron.lambda_v_before_emission(
            self.spike_time_gradient[emission], excess, limit, rate_jump
        )
        self.limited += is_limited
        return lambda_v

    def _arrive(self, arrival: Arrival) -> None:
        unit = arrival.unit
        lambda_v, lambda_i, difference = self.flow(unit, arrival.time)
        neuron = self.model.neurons[unit]
        at_arrival = difference + self.cotangents.arrival_jumps.get(arrival, 0)
        for emission, synapse in arrival.spikes:
            of_weight, of_time = neuron.arrival_gradient(
                self.model.weight[synapse], lambda_i, at_arrival
            )
            self.weight[synapse] += of_weight
            self.delay[synapse] += of_time
            self.spike_time_gradient[emission] += of_time
        is_refractory = self.history[unit][-1].is_refractory
        self._enter(unit, arrival.time, lambda_v, lambda_i, difference, is_refractory)

    def _release(self, release: Release) -> None:
        unit = release.unit
        lambda_v, lambda_i, _ = self.flow(unit, release.time)
        self._release_slopes[unit] = self._restart(unit, release.current, lambda_v)
        zero = self.model.numbers.convert(0)
        self._enter(unit, release.time, zero, lambda_i, -lambda_i, is_refractory=True)

    def _jump(self, jump: Jump) -> None:
        lambda_v, lambda_i, difference = self.flow(jump.unit, jump.time)
        if jump.phantom:
            self.threshold[jump.unit] += self._tau_mem(jump.unit) * jump.size
        self._enter(
            jump.unit,
            jump.time,
            lambda_v + jump.size,
            lambda_i,
            difference + jump.size,
            is_refractory=False,
        )

    def _enter(
        self,
        unit: int,
        time: Number,
        lambda_v: Number,
        lambda_i: Number,
        difference: Number,
        is_refractory: bool,
    ) -> None:
        self.history[unit].append(
            AdjointSegment(time, lambda_v, lambda_i, difference, is_refractory)
        )

    def _tau_mem(self, unit: int) -> Number:
        return self.model.neurons[unit].tau_mem

    def _grazing(self, emission: Emission, excess: Number) -> str:
        population, unit = self.model.place_of(emission.unit)
        return (
            f"sample {self.forward.sample}, {population!r} unit {unit}, t = "
            f"{float(emission.time):g} ms: V only grazes the threshold, I - threshold = "
            f"{float(excess):g} is not above 0 within rounding, so the gradient has no finite "
            "value; use more digits, Reference(digits=...), set a limit on lambda_V, or change "
            "the parameters or the input a little"
        )

    # Time constants.

    @cached_property
    def time_constants(self) -> dict[int, Slopes]:
        """Gradients with respect to both time constants of each unit.

        dL/dtau_mem is the integral of lambda_V dV/dt, and dL/dtau_syn the integral of
        lambda_I dI/dt, without jumps.  Between two events each integral is computed as the
        derivative of V and I at the end, and of the readout, with respect to the time constant for
        fixed V and I at the start.  At the end, dL/dV = -tau_mem lambda_V and
        dL/dI = -tau_syn lambda_I.
        """
        zero = self.model.numbers.convert(0)
        slopes = {}
        for unit in self.model.neurons:
            parts = [Slopes(zero, zero), *self._time_constant_slopes(unit)]
            slopes[unit] = Slopes(*map(sum, zip(*parts, strict=True)))
        return slopes

    def _time_constant_slopes(self, unit: int) -> Iterator[Slopes]:
        """The contribution of each interval between two events to both gradients."""
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
                integral = neuron.integral_slopes(segment, end.time, self.cotangents.forms[unit])
                by_mem += cotangent * integral.tau_mem
                by_syn += cotangent * integral.tau_syn
            yield Slopes(by_mem, by_syn)
