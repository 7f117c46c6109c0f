"""The readable engine: plain Python, one global queue of events, any number type.

Read it to learn what evsim computes; it is also the oracle against which the fast engine is tested.
``neuron`` has the equations of one neuron between its events, ``network`` the events, ``adjoint``
the same events backwards and ``readouts`` what is read; this module has the engine.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from evsim.arguments.checks import (
    check_flag,
    check_is,
    checked_count,
    checked_integer,
    is_integer,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.engines.protocol import (
    NO_ADJUSTMENTS,
    Adjoint,
    Adjustments,
    Engine,
    Report,
    SimulatedBatch,
)
from evsim.engines.reference import readouts as reference_readouts
from evsim.engines.reference.adjoint import AdjointSimulation, Cotangents
from evsim.engines.reference.enclosures import (
    Enclosure,
    GradientEnclosure,
    bounds_of,
    check_enclosed,
    in_numbers,
    parameter_numbers,
    refused_with_floats,
)
from evsim.engines.reference.network import InputEvent, Model, SampleDropout, Simulation
from evsim.engines.reference.neuron import Number, Numbers, numbers_with
from evsim.engines.reference.state import CertifiedState, State, spike_trains
from evsim.engines.reference.undecided import (
    DIGITS_LIMIT,
    UndecidedError,
    with_enough_digits,
)
from evsim.engines.rest import FromRest, direct_rest_gradient, rest_gradient
from evsim.engines.runaway import RATE_LIMIT, check_rate_limit
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.base import Readout, ReadoutCotangents
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting

FEWEST_DIGITS = 16
MOST_DIGITS = 1_000_000


class Event(NamedTuple):
    """What happens when: "emission", "arrival" or "release" (the end of a refractory window)."""

    time: Number
    kind: str
    population: str
    unit: int


@dataclass(frozen=True, eq=False, repr=False)
class AdjointState(Brief):
    """Gradients in the engine's number type, each computed on first use.

    ``weight`` and ``delay`` hold one per synapse in the order of ``network.topology``, ``tau_mem``,
    ``tau_syn``, ``threshold``, ``reset``, ``start`` and ``rest`` one per unit of all populations, 0
    for inputs, and ``input_times`` one per event of each input population.
    """

    forward: State
    sources: Sequence[AdjointSources]
    samples: list[AdjointSimulation]

    def computed(self, wrt: Sequence[str]) -> AdjointState:
        """The same, with the gradients of these parameters already computed."""
        for name in wrt:
            getattr(self, name.rsplit(".", 1)[1])
        return self

    @cached_property
    def weight(self) -> np.ndarray:
        """With respect to the weight of each synapse."""
        return self._per_synapse("weight")

    @cached_property
    def delay(self) -> np.ndarray:
        """With respect to the delay of each synapse."""
        return self._per_synapse("delay")

    @cached_property
    def threshold(self) -> np.ndarray:
        """With respect to the threshold of each unit."""
        return self._per_unit([sample.threshold for sample in self.samples])

    @cached_property
    def reset(self) -> np.ndarray:
        """With respect to the reset of each unit."""
        return self._per_unit([sample.reset for sample in self.samples])

    @cached_property
    def start(self) -> np.ndarray:
        """With respect to the start of each unit."""
        return self._per_unit([sample.start for sample in self.samples])

    @property
    def voltages(self) -> FromRest:
        """With respect to voltages measured from rest; with respect to V itself they are equal."""
        return FromRest(self.threshold, self.reset, self.start)

    @cached_property
    def rest(self) -> np.ndarray:
        """With respect to the rest of each unit."""
        model = self.forward.model
        mean_of = partial(_weighting_mean, self.forward)
        convert = np.frompyfunc(model.numbers.convert, 1, 1)
        direct = np.sum(
            [direct_rest_gradient(model.network, s, mean_of, convert) for s in self.sources], axis=0
        )
        return rest_gradient(model.network, self.voltages, direct)

    @cached_property
    def tau_mem(self) -> np.ndarray:
        """With respect to the membrane time constant of each unit."""
        return self._per_time_constant("tau_mem")

    @cached_property
    def tau_syn(self) -> np.ndarray:
        """With respect to the synaptic time constant of each unit."""
        return self._per_time_constant("tau_syn")

    @cached_property
    def input_times(self) -> dict[str, np.ndarray]:
        """With respect to the time of each input spike; 0 for those after the end of the trial."""
        model, slopes = self.forward.model, {}
        for population in model.network.inputs:
            units = model.units_of(population.name)
            events = [event for sample in self.forward.input_events for event in sample]
            own = self._zeros(sum(event.unit in units for event in events))
            for sample in self.samples:
                for emission, slope in sample.spike_time_gradient.items():
                    if emission.unit in units:
                        own[emission.index] = slope
            slopes[population.name] = own
        return slopes

    def _per_synapse(self, kind: str) -> np.ndarray:
        total = self._zeros(len(self.forward.model.weight))
        for sample in self.samples:
            total += np.array(getattr(sample, kind), dtype=object)
        return total

    def _per_time_constant(self, kind: str) -> np.ndarray:
        return self._per_unit(
            [
                {unit: getattr(slopes, kind) for unit, slopes in sample.time_constants.items()}
                for sample in self.samples
            ]
        )

    def _per_unit(self, samples: Sequence[Mapping[int, Number]]) -> np.ndarray:
        total = self._zeros(self.forward.model.network.topology.unit_count)
        for sample in samples:
            for unit, slope in sample.items():
                total[unit] += slope
        return total

    def _zeros(self, size: int) -> np.ndarray:
        return np.full(size, self.forward.model.numbers.convert(0), dtype=object)


@helpful
@dataclass(frozen=True)
class Reference(Engine):
    """The readable engine.

    Parameters
    ----------
    digits : int, optional
        Decimal digits of every number, at least 16; Python's floats if not given.
    debug : bool
        Whether to check every invariant of the state after every event.
    rate_limit : float
        A unit that its own loop of connections excites, and that emits faster and faster, is
        refused from this number of spikes per tau_mem on (per 4 tau_syn if that is shorter),
        because the network runs away; infinity for no limit.
    certified : bool
        Whether every number is an interval that is proven to contain it, see ``Run.enclosure``.
        Spike times are then known to ``digits`` digits of the duration.  Needs
        ``pip install "evsim[certified]"``.
    digits_limit : int
        The largest number of digits with which a certified simulation tries to decide what happens.
    """

    digits: int | None = None
    debug: bool = False
    rate_limit: float = RATE_LIMIT
    certified: bool = False
    digits_limit: int = DIGITS_LIMIT

    def __post_init__(self) -> None:
        check_flag(self.debug, "debug")
        check_rate_limit(self.rate_limit)
        check_flag(self.certified, "certified")
        self._check_digits()
        if self.certified:
            self._check_certified()

    def _check_digits(self) -> None:
        if self.digits is None:
            return
        if not is_integer(self.digits):
            raise TypeError(f"digits = {shown(self.digits)}: it must be an integer or None")
        if self.digits < FEWEST_DIGITS:
            raise ValueError(
                f"digits = {shown(self.digits)}: it must be at least {FEWEST_DIGITS}, or None for "
                "floats"
            )
        checked_count(self.digits, "digits", FEWEST_DIGITS, MOST_DIGITS)

    def _check_certified(self) -> None:
        if find_spec("flint") is None:
            raise ImportError(
                'certified=True needs python-flint: pip install "evsim[certified]", or leave it out'
            )
        if self.digits is None:
            raise ValueError("certified=True without digits: give some, such as digits=30")
        checked_count(self.digits_limit, "digits_limit", self.digits, MOST_DIGITS)

    @property
    def numbers(self) -> Numbers:
        """The number type."""
        return self._numbers_with(self.digits)

    def _numbers_with(self, digits: int | None) -> Numbers:
        if self.certified and digits is not None:
            from evsim.engines.reference.balls import Balls

            return Balls(digits)
        return numbers_with(digits)

    @property
    def _settings(self) -> dict[str, Any]:
        """The arguments of every simulation."""
        return {"debug": self.debug, "rate_limit": self.rate_limit}

    # -- forward ----------------------------------------------------------------------

    def simulate(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None = None,
    ) -> State:
        model = Model.from_network(network, self.numbers)
        events = self.input_events(network, inputs)
        if self.certified:
            return self._simulate_certified(model, events, duration, dropout)
        return self.simulate_model(model, events, duration, dropout)

    def simulate_model(
        self,
        model: Model,
        input_events: Sequence[Sequence[InputEvent]],
        duration: Number,
        dropout: Dropout | None = None,
    ) -> State:
        """Run a model whose parameters and input times may have more digits than a float.

        ``input_events`` has a list for each sample, as ``input_events`` makes them.
        """
        if self.certified:
            raise ValueError("simulate_model with certified=True: simulate a network instead")
        duration = self.numbers.convert(duration)
        dropouts = _sample_dropouts(dropout, model.network, len(input_events))
        samples = [
            Simulation(
                model, events, duration, dropout=dropouts[sample], sample=sample, **self._settings
            ).run()
            for sample, events in enumerate(input_events)
        ]
        return State(model, duration, [list(events) for events in input_events], samples)

    def _simulate_certified(
        self,
        model: Model,
        input_events: list[list[InputEvent]],
        duration: float,
        dropout: Dropout | None,
    ) -> CertifiedState:
        """Run a network in balls, each sample with as many digits as its decisions need."""
        simulated = self._simulator(model.network, input_events, duration, dropout)
        found = [self._settled(simulated, sample) for sample in range(len(input_events))]
        return CertifiedState(
            model,
            model.numbers.convert(duration),
            input_events,
            [simulation for simulation, _ in found],
            [digits for _, digits in found],
            self.digits_limit,
            simulated,
        )

    def certified_samples(
        self, network: Network, inputs: Mapping[str, SpikeTrains], duration: float
    ) -> Iterator[tuple[Simulation, int] | UndecidedError]:
        """Simulate the samples of a batch in balls, one after the other.

        Yields each with the digits that it needed, or why it cannot be decided.
        """
        events = self.input_events(network, inputs)
        simulated = self._simulator(network, events, duration, None)
        for sample in range(len(events)):
            try:
                yield self._settled(simulated, sample)
            except UndecidedError as error:
                yield error

    def _settled(
        self, simulated: Callable[[int, int], Simulation], sample: int
    ) -> tuple[Simulation, int]:
        """A sample with as many digits as its decisions need, and these digits."""
        assert self.digits is not None
        attempt = partial(simulated, sample)
        return with_enough_digits(attempt, self.digits, self.digits_limit, sample)

    def _simulator(
        self,
        network: Network,
        input_events: list[list[InputEvent]],
        duration: float,
        dropout: Dropout | None,
    ) -> Callable[[int, int], Simulation]:
        """A function that simulates a sample in balls with a given number of digits."""
        from evsim.engines.reference.certified import CertifiedSimulation

        assert self.digits is not None
        precision = duration * 10.0**-self.digits
        dropouts = _sample_dropouts(dropout, network, len(input_events))

        def simulated(sample: int, digits: int) -> Simulation:
            # Keys of equal numbers belong to one number type: each sample has its own.
            numbers = self._numbers_with(digits)
            simulation = CertifiedSimulation(
                Model.from_network(network, numbers),
                [e._replace(time=numbers.convert(float(e.time))) for e in input_events[sample]],
                numbers.convert(duration),
                dropout=dropouts[sample],
                sample=sample,
                **self._settings,
            )
            simulation.run()
            simulation.check_times(precision)
            return simulation

        return simulated

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
        convert = self.numbers.convert
        samples: list[list[InputEvent]] = [[] for _ in range(batch_size)]
        for name, trains in inputs.items():
            columns = (trains.samples.tolist(), trains.times.tolist(), trains.units.tolist())
            for index, (sample, time, unit) in enumerate(zip(*columns, strict=True)):
                event = InputEvent(convert(time), model_units[name] + unit, index)
                samples[sample].append(event)
        return samples

    def events(
        self, network: Network, inputs: Mapping[str, SpikeTrains], duration: float, sample: int
    ) -> Iterator[Event]:
        """Simulate one sample and yield its events as they happen.

        Immediately raises TypeError or ValueError for arguments that do not fit together.
        """
        from evsim.arguments.checks import check_duration
        from evsim.network.checks import check_inputs, check_network

        check_network(network)
        check_is(inputs, "inputs", (Mapping, SpikeTrains), "give a mapping to SpikeTrains")
        inputs = check_inputs(network, inputs)
        batch_size = len(next(iter(inputs.values())))
        if checked_integer(sample, "sample", 0) >= batch_size:
            raise ValueError(
                f"sample = {shown(sample)}: the batch has samples 0 to {batch_size - 1}"
            )
        return self._events(network, inputs, check_duration(duration), sample)

    def _events(
        self, network: Network, inputs: Mapping[str, SpikeTrains], end: float, sample: int
    ) -> Iterator[Event]:
        model = Model.from_network(network, self.numbers)
        events = self.input_events(network, inputs)
        simulation: Iterable[Any] = Simulation(
            model, events[sample], self.numbers.convert(end), sample=sample, **self._settings
        )
        if self.certified:
            simulation = self._settled(self._simulator(network, events, end, None), sample)[
                0
            ].events
        for event in simulation:
            yield Event(event.time, event.kind.name.lower(), *model.place_of(event.unit))

    def spikes(self, state: State) -> dict[str, SpikeTrains]:
        return {
            population.name: spike_trains(state, population.name)
            for population in state.model.network.populations
        }

    def report(self, state: State) -> Report:
        smallest, place = float("inf"), None
        for sample, simulation in enumerate(state.samples):
            for emission in simulation.emissions:
                if emission.index is not None:
                    continue
                excess = state.model.neurons[emission.unit].threshold_excess(emission.current)
                if float(excess) < smallest:
                    smallest = float(excess)
                    population, unit = state.model.place_of(emission.unit)
                    place = population, sample, unit, float(emission.time)
        return Report(
            arrivals=sum(simulation.arrivals() for simulation in state.samples),
            arrivals_after_end=sum(simulation.arrivals_after_end for simulation in state.samples),
            smallest_drive=smallest,
            smallest_drive_at=place,
            dropped=sum(simulation.dropped for simulation in state.samples),
        )

    def traces(
        self, state: State, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        pairs = self._traces(state, population, times)
        return pairs[0].astype(np.float64), pairs[1].astype(np.float64)

    def _traces(self, state: State, population: str, times: np.ndarray) -> np.ndarray:
        """V, measured from rest, and I in the engine's number type, (2, batch, units, times)."""

        def values(sample: Simulation, unit: int, time: Number) -> tuple[Number, Number]:
            return sample.model.neurons[unit].flow(sample.segment_at(unit, time), time)

        traces: np.ndarray = state.answer(
            lambda: self._sample(state.model, state.samples, population, times, values)
        )
        return traces

    # -- readouts ---------------------------------------------------------------------

    def read_mean(self, state: State, population: str, weighting: TrialWeighting) -> np.ndarray:
        read = partial(reference_readouts.mean, weighting=weighting)
        return _per_unit(state, population, read).astype(np.float64)

    def read_peak(self, state: State, population: str) -> np.ndarray:
        return _per_unit(state, population, _peak_voltage).astype(np.float64)

    def read_spike_times(self, state: State, population: str, count: int) -> np.ndarray:
        return NumberBatch.of(self, state).spike_times(population, count).astype(np.float64)

    def read_exact(self, state: State, readout: Readout) -> np.ndarray:
        """The readout's values in the engine's number type, in the shape it states.

        Only for readouts that are arithmetic on what the engine reads, see
        ``Readout.is_elementary``.
        """
        return NumberBatch.of(self, state).read(readout)

    def event_times(self, state: State, population: str) -> SampleTimes:
        units, end = state.model.units_of(population), float(state.duration)
        samples = []
        for simulation in state.samples:
            times = {float(event.time) for event in simulation.events if event.unit in units}
            samples.append(sorted(time for time in times if 0 < time < end))
        return SampleTimes(
            np.array([time for times in samples for time in times], np.float64),
            np.cumsum([0, *(len(times) for times in samples)]),
        )

    def states_at(
        self, state: State, population: str, times: SampleTimes
    ) -> tuple[np.ndarray, np.ndarray]:
        voltage, current = self.states_at_exact(state, population, times)
        return voltage.astype(np.float64), current.astype(np.float64)

    def states_at_exact(
        self, state: State, population: str, times: SampleTimes
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same, measured from rest, in the engine's number type, as the times may be."""
        units, convert = state.model.units_of(population), self.numbers.convert
        pairs = np.empty((2, len(times.times), len(units)), dtype=object)
        moments = list(zip(times.samples.tolist(), map(convert, times.times.tolist()), strict=True))

        def probe() -> None:
            for m, (sample, time) in enumerate(moments):
                for k, unit in enumerate(units):
                    pairs[:, m, k] = state.samples[sample].probe(unit, time)

        state.answer(probe)
        return pairs[0], pairs[1]

    # -- backward ---------------------------------------------------------------------

    def pull_back_sources(
        self, state: State, sources: AdjointSources, wrt: Sequence[str]
    ) -> Adjoint:
        return self.pull_back_populations(state, [sources], wrt)

    def pull_back_populations(
        self, state: State, sources: Sequence[AdjointSources], wrt: Sequence[str]
    ) -> Adjoint:
        adjoint: AdjointState = state.answer(lambda: self._pull_back(state, sources).computed(wrt))
        parameters = {}
        for name in wrt:
            flat = getattr(adjoint, name.rsplit(".", 1)[1]).astype(np.float64)
            parameters[name] = state.model.network.fold(name, flat)
        input_times = {name: g.astype(np.float64) for name, g in adjoint.input_times.items()}
        limited = sum(sample.limited for sample in adjoint.samples)
        voltages = FromRest(*(gradient.astype(np.float64) for gradient in adjoint.voltages))
        return Adjoint(parameters, input_times, voltages, limited, adjoint)

    def pull_back_exact(
        self,
        state: State,
        readout: Readout,
        cotangents: np.ndarray,
        adjustments: Adjustments = NO_ADJUSTMENTS,
    ) -> AdjointState:
        """Gradients of ``sum(cotangents * readout)`` in the engine's number type.

        ``cotangents`` has the shape of the readout's values, ``adjustments.spike_slopes`` one
        entry per spike of its population; they hold floats or numbers.
        """
        part = ReadoutCotangents(readout, cotangents, adjustments.spike_slopes)
        return self._pull_back(
            state, NumberBatch.of(self, state).adjoint_sources([part], adjustments)
        )

    def _pull_back(self, state: State, sources: Sequence[AdjointSources]) -> AdjointState:
        samples = [
            AdjointSimulation(simulation, entering).run()
            for simulation, entering in zip(
                state.samples, self.entering(state, sources), strict=True
            )
        ]
        return AdjointState(state, sources, samples)

    def entering(
        self, state: State, by_population: Sequence[AdjointSources]
    ) -> Iterator[Cotangents]:
        """What enters the adjoint of each sample."""
        convert, model, first = self.numbers.convert, state.model, by_population[0]
        rate_jumps = {
            unit: convert(jump)
            for name, jumps in first.rate_jumps.items()
            for unit, jump in zip(model.units_of(name), jumps.tolist(), strict=True)
        }
        gradients = [
            iter(
                [] if sources.spike_time_gradient is None else sources.spike_time_gradient.tolist()
            )
            for sources in by_population
        ]
        for simulation in state.samples:
            entering = Cotangents(rate_jumps=rate_jumps, lambda_limit=convert(first.lambda_limit))
            for sources, gradient in zip(by_population, gradients, strict=True):
                units = model.units_of(sources.population)
                if sources.spike_time_gradient is not None:
                    own = (emission for emission in simulation.emissions if emission.unit in units)
                    for emission in own:
                        entering.add_emission_slope(emission, convert(next(gradient)))
                reference_readouts.add_sources(simulation, units, sources, entering)
            yield entering

    def adjoint_traces(
        self, state: State, adjoint: Adjoint, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        def values(sample: AdjointSimulation, unit: int, time: Number) -> tuple[Number, Number]:
            later = bisect_left(sample.history[unit], -time, key=lambda s: -s.time)
            lambda_v, lambda_i, _ = sample.flow(unit, time, max(later - 1, 0))
            return lambda_v, lambda_i

        pairs = self._sample(state.model, adjoint.state.samples, population, times, values)
        return pairs[0].astype(np.float64), pairs[1].astype(np.float64)

    def _sample(
        self, model: Model, samples: Sequence[Any], population: str, times: np.ndarray, values: Any
    ) -> np.ndarray:
        """Two numbers of each sample and unit at each time, (2, batch, units, times)."""
        units, moments = model.units_of(population), list(map(self.numbers.convert, times.tolist()))
        pairs = np.empty((2, len(samples), len(units), len(moments)), dtype=object)
        for b, sample in enumerate(samples):
            for k, unit in enumerate(units):
                for i, time in enumerate(moments):
                    pairs[:, b, k, i] = values(sample, unit, time)
        return pairs

    # -- enclosures -------------------------------------------------------------------

    def enclosure(self, state: Any) -> Enclosure:
        if not isinstance(state, CertifiedState):
            raise ValueError(self._without_enclosures)
        return Enclosure(NumberBatch.of(self, state), state)

    def gradient_enclosure(
        self,
        state: Any,
        parts_of: Callable[[SimulatedBatch], Sequence[ReadoutCotangents]],
        wrt: Sequence[str],
        adjustments: Adjustments = NO_ADJUSTMENTS,
    ) -> GradientEnclosure:
        if not isinstance(state, CertifiedState):
            raise ValueError(self._without_enclosures)
        from evsim.engines.reference.balls import no_floats

        batch = NumberBatch.of(self, state)

        def pulled_back() -> tuple[AdjointState, Sequence[AdjointSources]]:
            with no_floats(), refused_with_floats():
                parts = [in_numbers(part, self.numbers.convert) for part in parts_of(batch)]
                check_enclosed([part.readout for part in parts], state.network)
                sources = batch.adjoint_sources(parts, adjustments)
            return self._pull_back(state, sources).computed(wrt), sources

        adjoint, sources = state.answer(pulled_back)
        names = {name: name.rsplit(".", 1)[1] for name in wrt}
        gradients = {
            name: parameter_numbers(state.network, name, getattr(adjoint, kind))
            for name, kind in names.items()
        }
        input_times = dict(adjoint.input_times)
        for part in sources:
            for all_of, direct in ((gradients, part.parameters), (input_times, part.input_times)):
                for name in direct.keys() & all_of.keys():
                    all_of[name] = all_of[name] + direct[name]
        return GradientEnclosure(
            {name: bounds_of(gradient) for name, gradient in gradients.items()},
            {name: bounds_of(slopes) for name, slopes in input_times.items()},
        )


class NumberBatch(SimulatedBatch):
    """A simulated batch whose quantities are numbers of the engine, in arrays of objects."""

    @classmethod
    def of(cls, engine: Reference, state: State) -> NumberBatch:
        """A batch that the engine has simulated."""
        return cls(state.network, state.inputs, state.duration, engine, state)

    @property
    def batch_size(self) -> int:
        return len(self.state.samples)

    def weighted_mean(self, population: str, weighting: TrialWeighting) -> np.ndarray:
        read = partial(reference_readouts.mean, weighting=weighting)
        values = _per_unit(self.state, population, read)
        means: np.ndarray = values + self._rest(population) * _weighting_mean(self.state, weighting)
        return means

    def peak_voltage(self, population: str) -> np.ndarray:
        peaks: np.ndarray = _per_unit(self.state, population, _peak_voltage)
        peaks += self._rest(population)
        return peaks

    def spike_times(self, population: str, count: int) -> np.ndarray:
        function = partial(reference_readouts.spike_times, count=count)
        return _per_unit(self.state, population, function, count)

    def states_at(self, population: str, times: SampleTimes) -> tuple[np.ndarray, np.ndarray]:
        engine: Any = self.engine
        voltages, currents = engine.states_at_exact(self.state, population, times)
        return voltages + self._rest(population), currents

    def traces(self, population: str, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        engine: Any = self.engine
        voltages, currents = engine._traces(self.state, population, times)
        return voltages + self._rest(population)[:, None], currents

    def _rest(self, population: str) -> np.ndarray:
        """The rest of each unit, (units,)."""
        model = self.state.model
        rests = [model.neurons[unit].rest for unit in model.units_of(population)]
        return np.array(rests, dtype=object)


def _per_unit(
    state: State, population: str, function: Callable[..., Any], *shape: int
) -> np.ndarray:
    """A function of a sample and a unit, (batch, units, ...)."""
    units = state.model.units_of(population)
    values = np.empty((len(state.samples), len(units), *shape), dtype=object)

    def read() -> None:
        for sample, simulation in enumerate(state.samples):
            for column, unit in enumerate(units):
                values[sample, column] = function(simulation, unit)

    state.answer(read)
    return values


def _peak_voltage(simulation: Simulation, unit: int) -> Number:
    return reference_readouts.peak(simulation, unit).voltage


def _weighting_mean(state: State, weighting: TrialWeighting) -> Number:
    """(1/T) times the integral of w(t) dt."""
    neuron = next(iter(state.model.neurons.values()))
    form, start = weighting.form(state.duration), state.model.numbers.convert(0)
    return neuron.weighting_integral(form, start, state.duration) / state.duration


def _sample_dropouts(
    dropout: Dropout | None, network: Network, batch_size: int
) -> list[SampleDropout | None]:
    if dropout is None:
        return [None] * batch_size
    rates = dropout.rate_per_unit(network).tolist()
    return [SampleDropout(key, rates) for key in dropout.sample_keys(batch_size).tolist()]
