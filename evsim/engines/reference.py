"""The readable engine: plain Python, one global queue of events, any number type.

It is what to read to learn what evsim computes, and the oracle the fast engine is tested
against.  ``reference_neuron`` has the equations of one neuron between its events,
``reference_network`` the events; here are the readouts and the engine.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from evsim.engines.protocol import Adjoint, Engine, Report
from evsim.engines.reference_network import (
    AdjointSimulation,
    Arrival,
    Cotangents,
    Emission,
    InputEvent,
    Jump,
    Model,
    Simulation,
)
from evsim.engines.reference_neuron import Number, Numbers, Segment, numbers_with
from evsim.network import Network
from evsim.readouts import FirstSpike, Mean, Peak, Readout
from evsim.spikes import SpikeTrains

FEWEST_DIGITS = 16


class Event(NamedTuple):
    """What happens when: "emission", "arrival" or "release" (the end of a refractory window)."""

    time: Number
    kind: str
    population: str
    unit: int


@dataclass(frozen=True, eq=False)
class State:
    """A simulated batch, in the engine's number type."""

    model: Model
    duration: Number
    input_events: list[list[InputEvent]]
    samples: list[Simulation]


@dataclass(frozen=True, eq=False)
class AdjointState:
    """Gradients in the engine's number type.

    ``weight`` and ``delay`` hold one per synapse in the order of ``network.topology``,
    ``input_times`` one per event of each input population.
    """

    weight: np.ndarray
    delay: np.ndarray
    input_times: dict[str, np.ndarray]
    samples: list[AdjointSimulation]


@dataclass(frozen=True)
class Reference(Engine):
    """The readable engine.

    Parameters
    ----------
    digits : int, optional
        Decimal digits of every number, at least 16; Python's floats if not given.
    debug : bool
        Whether to check every invariant of the state after every event.
    """

    digits: int | None = None
    debug: bool = False

    def __post_init__(self) -> None:
        if self.digits is None:
            return
        if isinstance(self.digits, bool) or not isinstance(self.digits, (int, np.integer)):
            raise TypeError(f"digits = {self.digits!r}: it must be an integer or None")
        if self.digits < FEWEST_DIGITS:
            raise ValueError(
                f"digits = {self.digits}: it must be at least {FEWEST_DIGITS}, or None for floats"
            )

    @property
    def numbers(self) -> Numbers:
        """The number type."""
        return numbers_with(self.digits)

    # -- forward ----------------------------------------------------------------------

    def simulate(
        self, network: Network, inputs: Mapping[str, SpikeTrains], duration: float
    ) -> State:
        return self.simulate_model(
            Model.from_network(network, self.numbers),
            self.input_events(network, inputs),
            duration,
        )

    def simulate_model(
        self, model: Model, input_events: Sequence[Sequence[InputEvent]], duration: Number
    ) -> State:
        """Run a model, whose parameters and input times may have more digits than a float.

        ``input_events`` has a list for each sample, as ``input_events`` makes them.
        """
        duration = self.numbers.convert(duration)
        samples = [
            Simulation(model, events, duration, sample=sample, debug=self.debug).run()
            for sample, events in enumerate(input_events)
        ]
        return State(model, duration, [list(events) for events in input_events], samples)

    def input_events(
        self, network: Network, inputs: Mapping[str, SpikeTrains]
    ) -> list[list[InputEvent]]:
        """The spikes given to each sample, as numbers of this engine's type."""
        model_units = {
            population.name: int(start)
            for population, start in zip(
                network.populations, network.topology.first_unit, strict=False
            )
        }
        batch_size = len(next(iter(inputs.values())))
        samples: list[list[InputEvent]] = [[] for _ in range(batch_size)]
        for name, trains in inputs.items():
            columns = (trains.samples.tolist(), trains.times.tolist(), trains.units.tolist())
            for index, (sample, time, unit) in enumerate(zip(*columns, strict=True)):
                time = self.numbers.convert(time)
                samples[sample].append(InputEvent(time, model_units[name] + unit, index))
        return samples

    def events(
        self, network: Network, inputs: Mapping[str, SpikeTrains], duration: float, sample: int
    ) -> Iterator[Event]:
        """Simulate one sample and yield its events as they happen."""
        model = Model.from_network(network, self.numbers)
        events = self.input_events(network, inputs)[sample]
        duration = self.numbers.convert(duration)
        for event in Simulation(model, events, duration, sample=sample, debug=self.debug):
            yield Event(event.time, event.kind.name.lower(), *model.place_of(event.unit))

    def spikes(self, state: State) -> dict[str, SpikeTrains]:
        return {
            population.name: _spike_trains(state, population.name)
            for population in state.model.network.populations
        }

    def report(self, state: State) -> Report:
        smallest, place = float("inf"), None
        for sample, simulation in enumerate(state.samples):
            for emission in simulation.emissions:
                if emission.index is not None:
                    continue
                drive = state.model.neurons[emission.unit].drive(emission.current)
                if drive < smallest:
                    smallest = drive
                    population, unit = state.model.place_of(emission.unit)
                    place = population, sample, unit, float(emission.time)
        return Report(
            arrivals=sum(simulation.arrivals() for simulation in state.samples),
            arrivals_after_end=sum(simulation.arrivals_after_end for simulation in state.samples),
            smallest_drive=float(smallest),
            smallest_drive_at=place,
        )

    def traces(
        self, state: State, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        def values(sample: Simulation, unit: int, time: Number) -> tuple[Number, Number]:
            history = sample.history[unit]
            segment = history[bisect_right(history, time, key=_time) - 1]
            return state.model.neurons[unit].flow(segment, time)

        return self._sample(state.model, state.samples, population, times, values)

    # -- readouts ---------------------------------------------------------------------

    def read(self, state: State, readout: Readout) -> np.ndarray:
        return self.read_exact(state, readout).astype(np.float64)

    def read_exact(self, state: State, readout: Readout) -> np.ndarray:
        """The readout's values in the engine's number type, shape (batch, units)."""
        units = state.model.units_of(readout.population_of(state.model.network))
        values = np.empty((len(state.samples), len(units)), dtype=object)
        for b, sample in enumerate(state.samples):
            for k, unit in enumerate(units):
                if isinstance(readout, Mean):
                    values[b, k] = mean(sample, unit, readout)
                elif isinstance(readout, Peak):
                    values[b, k] = peak(sample, unit).voltage
                elif isinstance(readout, FirstSpike):
                    emission = first_spike(sample, unit)
                    values[b, k] = float("inf") if emission is None else emission.time
                else:
                    raise NotImplementedError(f"the engine Reference cannot read {readout}")
        return values

    # -- backward ---------------------------------------------------------------------

    def pull_back(
        self, state: State, readout: Readout, cotangents: np.ndarray, wrt: Sequence[str]
    ) -> Adjoint:
        adjoint = self.pull_back_exact(state, readout, cotangents)
        parameters = {}
        for name in wrt:
            per_synapse = getattr(adjoint, name.rsplit(".", 1)[1]).astype(np.float64)
            parameters[name] = state.model.network.fold(name, per_synapse)
        input_times = {name: g.astype(np.float64) for name, g in adjoint.input_times.items()}
        return Adjoint(parameters, input_times, adjoint)

    def pull_back_exact(
        self, state: State, readout: Readout, cotangents: np.ndarray
    ) -> AdjointState:
        """Gradients of ``sum(cotangents * readout)`` in the engine's number type.

        ``cotangents`` has shape (batch, units), of floats or of numbers.
        """
        units = state.model.units_of(readout.population_of(state.model.network))
        samples = []
        for simulation, row in zip(state.samples, cotangents.tolist(), strict=True):
            entering = Cotangents()
            for unit, cotangent in zip(units, row, strict=True):
                if cotangent:
                    cotangent = self.numbers.convert(cotangent)
                    _pull_back_readout(simulation, unit, readout, cotangent, entering)
            samples.append(AdjointSimulation(simulation, entering).run())
        zero = self.numbers.convert(0)
        return AdjointState(
            weight=_sum((sample.weight for sample in samples), zero, len(state.model.weight)),
            delay=_sum((sample.delay for sample in samples), zero, len(state.model.delay)),
            input_times=_input_slopes(state, samples),
            samples=samples,
        )

    def adjoint_traces(
        self, state: State, adjoint: Adjoint, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        def values(sample: AdjointSimulation, unit: int, time: Number) -> tuple[Number, Number]:
            later = bisect_left(sample.history[unit], -time, key=lambda s: -s.time)
            return sample.flow(unit, time, max(later - 1, 0))

        return self._sample(state.model, adjoint.state.samples, population, times, values)

    def _sample(
        self, model: Model, samples: Sequence[Any], population: str, times: np.ndarray, values: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Two values of each sample and unit at each time, each (batch, units, times)."""
        units = model.units_of(population)
        pairs = np.empty((2, len(samples), len(units), len(times)))
        for b, sample in enumerate(samples):
            for k, unit in enumerate(units):
                for i, time in enumerate(times.tolist()):
                    pairs[:, b, k, i] = values(sample, unit, self.numbers.convert(time))
        return pairs[0], pairs[1]


def _time(segment: Segment) -> Number:
    return segment.time


def _spike_trains(state: State, population: str) -> SpikeTrains:
    """Spikes within the trial; those of inputs as they were given."""
    units = state.model.units_of(population)
    given = population in [p.name for p in state.model.network.inputs]
    emitted = state.input_events if given else [sample.emissions for sample in state.samples]
    own = [[event for event in events if event.unit in units] for events in emitted]
    return SpikeTrains(
        times=np.array([float(event.time) for events in own for event in events]),
        units=np.array([event.unit - units.start for events in own for event in events], np.int32),
        offsets=np.cumsum([0, *(len(events) for events in own)]),
        unit_count=len(units),
    )


def _sum(parts: Any, zero: Number, size: int) -> np.ndarray:
    total = np.full(size, zero, dtype=object)
    for part in parts:
        total += np.array(part, dtype=object)
    return total


def _input_slopes(state: State, samples: Sequence[AdjointSimulation]) -> dict[str, np.ndarray]:
    """Derivative by each input time; 0 for those after the end of the trial."""
    slopes = {}
    zero = state.model.numbers.convert(0)
    for population in state.model.network.inputs:
        units = state.model.units_of(population.name)
        count = sum(event.unit in units for events in state.input_events for event in events)
        slopes[population.name] = np.full(count, zero, dtype=object)
        for sample in samples:
            for emission, slope in sample.slopes.items():
                if emission.unit in units:
                    slopes[population.name][emission.index] = slope
    return slopes


# -- each readout and its adjoint ---------------------------------------------------------


def _pull_back_readout(
    simulation: Simulation, unit: int, readout: Readout, cotangent: Number, entering: Cotangents
) -> None:
    if isinstance(readout, Mean):
        adjoint_mean(simulation, unit, readout, cotangent, entering)
    elif isinstance(readout, Peak):
        adjoint_peak(simulation, unit, cotangent, entering)
    elif isinstance(readout, FirstSpike):
        adjoint_first_spike(simulation, unit, cotangent, entering)
    else:
        raise NotImplementedError(f"the engine Reference cannot pull back {readout}")


def mean(simulation: Simulation, unit: int, readout: Mean) -> Number:
    """(1/T) times the integral of w(t) V(t) dt, with w(t) = exp(-rate t) (L 2, 5)."""
    neuron = simulation.model.neurons[unit]
    rate = _rate(simulation, readout)
    history = simulation.history[unit]
    ends = [segment.time for segment in history[1:]] + [simulation.duration]
    parts = (neuron.integral(s, end, rate) for s, end in zip(history, ends, strict=True))
    return sum(parts) / simulation.duration


def adjoint_mean(
    simulation: Simulation, unit: int, readout: Mean, cotangent: Number, entering: Cotangents
) -> None:
    """dF/dV = w(t)/T * dell/dz."""
    entering.rate = _rate(simulation, readout)
    entering.drive[unit] = cotangent / simulation.duration


def _rate(simulation: Simulation, readout: Mean) -> Number:
    return readout.decay_rate(simulation.duration)


class PeakAt(NamedTuple):
    """Where V is largest.

    ``arrival`` is the index, in the unit's history, of the arrival that ends the rise of V;
    None for a smooth maximum and for one at the start or the end of the trial.
    """

    voltage: Number
    time: Number
    arrival: int | None


def peak(simulation: Simulation, unit: int) -> PeakAt:
    """The largest V of the trial (L 29): the first if there are several."""
    neuron = simulation.model.neurons[unit]
    history = simulation.history[unit]
    best = PeakAt(history[0].voltage, history[0].time, None)
    end, current = neuron.flow(history[-1], simulation.duration)
    last = Segment(simulation.duration, end, current, held=False)
    for index, (segment, following) in enumerate(pairwise([*history, last])):
        arrival = index if index else None
        candidates = [PeakAt(segment.voltage, segment.time, arrival)]
        rise = neuron.time_to_maximum(segment.voltage, segment.current)
        if rise is not None and segment.time + rise < following.time:
            time = segment.time + rise
            candidates.append(PeakAt(neuron.flow(segment, time)[0], time, None))
        best = max([best, *candidates], key=lambda candidate: candidate.voltage)
    at_end = PeakAt(last.voltage, last.time, None)
    return max(best, at_end, key=lambda candidate: candidate.voltage)


def adjoint_peak(
    simulation: Simulation, unit: int, cotangent: Number, entering: Cotangents
) -> None:
    """lambda_V jumps at the peak by -(dell/dz)/tau_mem; nothing for the V = 0 at the start.

    Where an arrival ends the rise of V, the peak is at the arrival and moves with it:
    dz/dt = V'(t-).  Of the jump J, that arrival sees alpha J with alpha = V'(t-) /
    (V'(t-) - V'(t+)), which gives w alpha J = V'(t-) dell/dz; arrivals at the same instant
    share it in proportion to their weights, and all earlier events see the whole of it.
    """
    neuron = simulation.model.neurons[unit]
    at = peak(simulation, unit)
    if at.time == 0:
        return
    jump = -cotangent / neuron.tau_mem
    entering.jumps.append(Jump(at.time, unit, jump))
    if at.arrival is None or at.time == simulation.duration:
        return
    before, after = simulation.history[unit][at.arrival - 1 : at.arrival + 1]
    slope_before = neuron.slope(*neuron.flow(before, at.time))
    slope_after = neuron.slope(after.voltage, after.current)
    if slope_before > 0 and slope_before > slope_after:  # else a smooth maximum, by rounding
        arrivals = (e for e in simulation.events if isinstance(e, Arrival) and e.unit == unit)
        (arrival,) = (e for e in arrivals if e.time == at.time)
        entering.arrival_jumps[arrival] = jump * slope_before / (slope_before - slope_after)


def first_spike(simulation: Simulation, unit: int) -> Emission | None:
    """The first emission of a unit; None if it is silent."""
    return next((emission for emission in simulation.emissions if emission.unit == unit), None)


def adjoint_first_spike(
    simulation: Simulation, unit: int, cotangent: Number, entering: Cotangents
) -> None:
    """The loss's derivative enters S_k of the first emission.

    A silent unit gets a phantom spike at the end of the trial: lambda_V jumps there as if
    tau_mem dV/dt were 1 (L section 4.1).
    """
    emission = first_spike(simulation, unit)
    if emission is None:
        entering.jumps.append(Jump(simulation.duration, unit, cotangent))
    else:
        entering.emission_slopes[emission] = cotangent
