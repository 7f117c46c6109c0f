"""Decides which engine is right when two differ: many digits, and the possible effect of rounding.

An engine in float64 rounds each of its numbers by up to a unit in the last place.  The effect on
spike times, readouts and gradients is measured, not estimated.  The network is simulated again in
many digits, forward and backward, with random perturbations.  Every weight, threshold and time
constant, and every V, I and lambda, changes by up to two units in its last place.  Every spike
time, delay, input time and refractory period changes by up to two units in the last place of the
trial's duration, and a spike time also by as much as it takes V to rise by two units in its last
place.  V, I and lambda also change by as much as they decay in such a time; this matters
if time constants are a thousandth of the trial's duration or less.  The resulting change of each
result is the network's *condition*.

Times given as multiples of 2^-10 ms are not perturbed.  Sums of such times are exact in float64, so
events that coincide do so in every engine, and their order does not depend on rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from agreement import entries
from small_networks import SmallCase

import evsim
from evsim.engines import Reference
from evsim.engines.reference.adjoint import AdjointSimulation, Jump
from evsim.engines.reference.engine import AdjointState, NumberBatch, State
from evsim.engines.reference.network import Emission, InputEvent, Model, SampleDropout, Simulation
from evsim.engines.reference.neuron import Neuron, Number, Numbers, Segment, Slopes
from evsim.readouts import WeightingForm
from evsim.readouts.base import ReadoutCotangents

UNITS_IN_THE_LAST_PLACE = 2.0
DRAWS = 12
"""The number of random perturbations; among equal peaks, the largest one changes by chance."""
ALLOWANCE = 16.0
"""The largest accepted error in multiples of the condition; an engine rounds many numbers."""
FEWEST_ULP = 8.0
"""An error of this many ulp of the trial's duration, or of the largest value, is accepted."""
SMALLEST = float(np.finfo(float).tiny)
"""The smallest normal float64; smaller numbers have fewer digits."""
SAME_TIME, SAME_VALUE = 16.0, 1e-12
"""Limits below which the condition is not computed: for times in units in the last place of the
trial's duration, for other results relative to the size of the summed terms."""


@dataclass(frozen=True)
class Results:
    """The results of an engine for a case, as flat arrays of float64 or of many digits.

    ``spikes`` contains the spike times of each unit in each sample.  ``gradients`` contains one
    array per parameter and one per input; ``scales`` contains the size of the terms that were
    summed for each.
    """

    spikes: dict[tuple[int, int], np.ndarray]
    readout: np.ndarray
    gradients: dict[str, np.ndarray]
    scales: dict[str, float]

    def pattern(self) -> dict[tuple[int, int], int]:
        """The spike count of each unit in each sample."""
        return {owner: times.size for owner, times in self.spikes.items()}

    def parts(self) -> dict[str, np.ndarray]:
        """All results by name: spike times, the readout, and gradients."""
        times = [self.spikes[owner] for owner in sorted(self.spikes)]
        together = np.concatenate([np.empty(0), *times])
        return {"spikes": together, "readout": self.readout, **self.gradients}


@dataclass(frozen=True)
class Verdict:
    """The verdict; ``worst`` is the largest error relative to the accepted error.

    ``is_decided`` is false if rounding alone makes spikes appear or vanish, so that float64 cannot
    decide.  ``differs`` names the results whose error is larger than accepted.
    """

    is_decided: bool
    worst: float
    differs: tuple[str, ...]


def judge(case: SmallCase, found: Results, digits: int, seed: int) -> Verdict:
    """Compare the results of an engine with the reference engine in many digits."""
    truth = solve(case, digits)
    if is_close(case, found, truth):
        return Verdict(True, 0.0, ())
    return judge_by_condition(case, found, truth, digits, seed)


def judge_by_condition(
    case: SmallCase, found: Results, truth: Results, digits: int, seed: int
) -> Verdict:
    """Compare the results of an engine with those in many digits by the network's condition."""
    rng = np.random.default_rng(seed)
    condition = dict.fromkeys(truth.parts(), 0.0)
    few = FEWEST_ULP * float(np.finfo(float).eps)
    verdict = Verdict(True, np.inf, ("pattern",))
    for _ in range(DRAWS):
        moved = moved_results(case, digits, rng)
        if moved is None or is_other_pattern(case, moved, truth):
            return Verdict(False, np.inf, ("pattern",))
        for name, values in moved.parts().items():
            condition[name] = max(condition[name], distance(values, truth.parts()[name]))
        if found.pattern() == truth.pattern():
            allowed = {name: ALLOWANCE * size for name, size in condition.items()}
            verdict = Verdict(
                True, *compare(case, found, truth, allowed.__getitem__, FEWEST_ULP, few)
            )
            if not verdict.differs:
                break
    return verdict


def is_close(case: SmallCase, found: Results, truth: Results) -> bool:
    """Whether two engines are so close that the condition is not needed."""
    if found.pattern() != truth.pattern():
        return False
    _, differs = compare(case, found, truth, lambda name: 0.0, SAME_TIME, SAME_VALUE)
    return not differs


def is_decided(case: SmallCase, digits: int, seed: int = 0) -> bool:
    """Whether rounding can make no spike appear or vanish."""
    rng = np.random.default_rng(seed)
    quiet = case.without_gradients()
    truth = solve(quiet, digits)
    draws = (moved_results(quiet, digits, rng) for _ in range(DRAWS))
    return not any(moved is None or is_other_pattern(case, moved, truth) for moved in draws)


def moved_results(case: SmallCase, digits: int, rng: np.random.Generator) -> Results | None:
    """The results with random perturbations; None if with them the network runs away."""
    try:
        return solve(case, digits, rng)
    except RunawayError:
        return None


def is_other_pattern(case: SmallCase, moved: Results, truth: Results) -> bool:
    """Whether spikes have appeared or vanished, or one has jumped to the place of another."""
    if moved.pattern() != truth.pattern():
        return True
    jump = distance(moved.parts()["spikes"], truth.parts()["spikes"])
    return jump > 1e-3 * case.duration


def compare(
    case: SmallCase,
    found: Results,
    truth: Results,
    more: Callable[[str], float],
    ulp: float,
    relative: float,
) -> tuple[float, tuple[str, ...]]:
    """The largest error relative to the accepted error, and the parts that exceed it.

    The accepted error is ``ulp`` units in the last place of the trial's duration for spike times,
    and ``relative`` times the scale for other parts; ``more`` is added for each part.
    """
    worst, differs = 0.0, []
    parts = found.parts()
    for name, values in truth.parts().items():
        base = ulp * np.spacing(case.duration) if name == "spikes" else relative
        scale = 1.0 if name == "spikes" else truth.scales[name]
        allowed = base * scale + more(name) + underflow(case, name)
        error = distance(parts[name], values)
        ratio = error / allowed
        worst = max(worst, ratio)
        if not ratio <= 1.0:
            differs.append(name)
    return worst, tuple(differs)


def underflow(case: SmallCase, name: str) -> float:
    """The size below which a result has few digits, because its terms are below ``SMALLEST``.

    A gradient with respect to a time is a sum of products of weights and derivatives of lambda.
    """
    if not name.endswith((".delay", ".times")):
        return SMALLEST
    network = case.network
    weights = [entries(connection.weight) for connection in network.connections]
    heaviest = max((float(np.abs(each).max(initial=0.0)) for each in weights), default=0.0)
    taus = [
        np.min(tau)
        for population in network.populations
        if not isinstance(population, evsim.Input)
        for tau in (population.tau_mem, population.tau_syn)
    ]
    return SMALLEST * max(1.0, heaviest / float(min(taus, default=1.0)))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; 0 where both are the same infinity."""
    equal = a == b
    difference = np.abs(np.where(equal, 0.0, a) - np.where(equal, 0.0, b))
    return float(difference.max(initial=0.0))


# -- in many digits -----------------------------------------------------------------------


def solve(case: SmallCase, digits: int | None, rng: np.random.Generator | None = None) -> Results:
    """The results of the reference engine; with perturbed numbers if ``rng`` is given."""
    engine = Reference(digits)
    model = Model.from_network(case.network, engine.numbers)
    events = engine.input_events(case.network, case.inputs)
    if rng is None:
        state = simulate(case, engine, model, events)
        adjoint = engine.pull_back_exact(state, case.readout, case.cotangents, case.adjustments)
    else:
        noise = Noise(model.numbers, case.duration, rng)
        events = [[e._replace(time=noise.given_time(e.time)) for e in sample] for sample in events]
        state = simulate(case, engine, noise.moved_model(model), events, noise)
        adjoint = pull_back_moved(case, engine, state, noise)
    return results_of(case, state, adjoint, engine.read_exact(state, case.readout))


def sample_dropouts(case: SmallCase) -> list[SampleDropout | None]:
    """The dropout of each sample."""
    if case.dropout is None:
        return [None] * case.batch_size
    rates = case.dropout.rate_per_unit(case.network).tolist()
    return [SampleDropout(k, rates) for k in case.dropout.sample_keys(case.batch_size).tolist()]


def results_of(
    case: SmallCase, state: State, adjoint: AdjointState, readout: np.ndarray
) -> Results:
    """The results of a run of the reference engine, in its number type."""
    spikes: dict[tuple[int, int], list[Any]] = {
        (b, unit): [] for b in range(case.batch_size) for unit in state.model.neurons
    }
    for b, sample in enumerate(state.samples):
        for emission in sample.emissions:
            if emission.index is None:
                spikes[b, emission.unit].append(emission.time)
    gradients: dict[str, np.ndarray] = {}
    scales = {"readout": largest(readout) + drive_of(state)}
    for name in case.wrt:
        flat = getattr(adjoint, name.rsplit(".", 1)[1])
        gradients[name] = folded(case, name, flat)
        scales[name] = largest(folded(case, name, np.abs(flat))) + 1e-2 * largest(flat)
        if name.endswith((".tau_mem", ".tau_syn")):
            scales[name] += terms_of_time_constants(state.samples, adjoint.samples)
        if name.endswith(".rest"):  # the sum of these and of the direct effect on the readout
            scales[name] += largest(adjoint.threshold) + largest(adjoint.reset)
    times = [
        float(abs(s)) for sample in adjoint.samples for s in sample.spike_time_gradient.values()
    ]
    for name, slopes in adjoint.input_times.items():
        gradients[f"{name}.times"] = slopes
        scales[f"{name}.times"] = max([0.0, *times])
    for name in case.wrt:
        if name.endswith(".delay"):
            scales[name] += 1e-2 * max([0.0, *times])
    return Results(
        {owner: np.array(of_unit, dtype=object) for owner, of_unit in spikes.items()},
        readout.ravel(),
        gradients,
        scales,
    )


def drive_of(state: State) -> float:
    """The largest |I| or |V| of any unit right after an event, which sets the size of rounding."""
    return max((drive_of_sample(sample) for sample in state.samples), default=0.0)


def drive_of_sample(sample: Simulation) -> float:
    """The same for one sample."""
    segments = (segment for history in sample.history.values() for segment in history)
    return max((float(max(abs(s.voltage), abs(s.current))) for s in segments), default=0.0)


def terms_of_time_constants(samples: list[Simulation], adjoints: list[AdjointSimulation]) -> float:
    """The integral of lambda dV, or dI, over only the rises of V or I, which falls may cancel."""
    pairs = zip(samples, adjoints, strict=True)
    return sum((drive_of_sample(s) * largest_lambda(a) for s, a in pairs), start=0.0)


def largest_lambda(adjoint: AdjointSimulation) -> float:
    """The largest |lambda_V| or |lambda_I| of any unit right before an event."""
    segments = (segment for history in adjoint.history.values() for segment in history)
    return max((float(max(abs(s.lambda_v), abs(s.lambda_i))) for s in segments), default=0.0)


def folded(case: SmallCase, name: str, flat: np.ndarray) -> np.ndarray:
    """The entries of a gradient, summed from those per synapse or unit, in any number type."""
    network = case.network
    owner, kind = name.rsplit(".", 1)
    if kind not in ("weight", "delay"):
        first = int(network.topology.first_unit[network._index[owner]])
        of_units = flat[first : first + network.population(owner).units]
        return np.array([of_units.sum()]) if network.parameters[name].shape == () else of_units
    index = [connection.name for connection in network.connections].index(owner)
    connection = network.connections[index]
    of_synapses = flat[network.topology.slots[index]]
    values = network.parameters[name]
    if hasattr(values, "indptr"):
        return of_synapses
    post = network.population(connection.target).units
    pre = network.population(connection.source).units
    full = np.zeros((post, pre), dtype=flat.dtype)
    if connection.is_sparse:
        rows = np.repeat(np.arange(post), np.diff(connection.weight.indptr))
        full[rows, connection.weight.indices] = of_synapses
    else:
        full[...] = of_synapses.reshape(post, pre)
    if values.shape == ():
        return np.array([full.sum()])
    shared = tuple(axis for axis in (0, 1) if values.shape[axis] == 1)
    return (full.sum(axis=shared, keepdims=True) if shared else full).ravel()


def largest(values: np.ndarray) -> float:
    """The largest finite magnitude, as a float."""
    sizes = np.abs(values.ravel().astype(np.float64))
    return float(sizes[np.isfinite(sizes)].max(initial=0.0))


# -- random perturbations -----------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """Perturbs numbers by up to two units in the last place of float64."""

    numbers: Numbers
    duration: float
    rng: np.random.Generator

    def by(self, size: float) -> Number:
        """A random number between minus two and two times the size."""
        most = UNITS_IN_THE_LAST_PLACE * size
        return self.numbers.convert(most * self.rng.uniform(-1.0, 1.0))

    def value(self, value: Number, *parts: Number, neuron: Neuron | None = None) -> Number:
        """A value, perturbed relative to its own size and that of the ``parts`` of its sum.

        The value of a neuron also changes by its decay within a unit in the last place of time.
        """
        relative = float(np.finfo(float).eps)
        if neuron is not None:
            shortest = float(min(neuron.tau_mem, neuron.tau_syn))
            relative += float(np.spacing(self.duration)) / shortest
        return value + self.by(relative * max(abs(float(part)) for part in (value, *parts)))

    def time(self, time: Number) -> Number:
        """A computed time, perturbed by units in the last place of the trial's duration."""
        moved = time + self.by(float(np.spacing(self.duration)))
        return moved if moved > 0 else time

    def emission_time(self, time: Number, neuron: Neuron, start: Segment) -> Number:
        """The time of an emission, perturbed also by the rounding of V divided by its slope.

        It stays before the peak of V, however slowly V rises.
        """
        _, current = neuron.flow(start, time)
        excess = float(neuron.threshold_excess(current))
        size = float(np.finfo(float).eps) * max(
            abs(float(neuron.threshold)), abs(float(start.voltage))
        )
        before_peak = excess / abs(float(current)) * float(neuron.tau_syn)
        wait = size * float(neuron.tau_mem) / excess if excess > 0 else 0.0
        wait = min(wait, before_peak / (2 * UNITS_IN_THE_LAST_PLACE))
        return self.time(time + self.by(wait))

    def given_time(self, time: Number) -> Number:
        """The same for a given time; multiples of 2^-10 ms and infinity do not change."""
        is_exact = not np.isfinite(float(time)) or float(time) * 1024.0 % 1.0 == 0.0
        return time if is_exact else self.time(time)

    def moved_model(self, model: Model) -> Model:
        """The model with all its parameters perturbed."""
        neurons: dict[int, Neuron] = {}
        for unit, neuron in model.neurons.items():
            tau_mem, tau_syn = self.value(neuron.tau_mem), self.value(neuron.tau_syn)
            refractory = self.given_time(neuron.refractory)
            threshold = neuron.threshold
            if np.isfinite(float(threshold)):
                threshold = self.value(threshold)
            reset, start = self.value(neuron.reset), self.value(neuron.start)
            neurons[unit] = MovedNeuron(
                self.numbers, tau_mem, tau_syn, threshold, refractory, reset, start, neuron.rest,
                self,
            )  # fmt: skip
        weight = [self.value(weight) for weight in model.weight]
        delay = [self.given_time(delay) for delay in model.delay]
        return replace(model, weight=weight, delay=delay, neurons=neurons)


@dataclass(frozen=True)
class MovedNeuron(Neuron):
    """A neuron whose derivatives in the time constants are perturbed, each part separately."""

    noise: Noise

    def flow_slopes(self, segment: Segment, time: Number) -> tuple[Slopes, Number]:
        voltage, current = super().flow_slopes(segment, time)
        return self._moved(voltage), self.noise.value(current, neuron=self)

    def integral_slopes(self, segment: Segment, end: Number, form: WeightingForm) -> Slopes:
        return self._moved(super().integral_slopes(segment, end, form))

    def _moved(self, slopes: Slopes) -> Slopes:
        return Slopes(*(self.noise.value(slope, neuron=self) for slope in slopes))


MOST_EVENTS = 20_000


class RunawayError(Exception):
    """A simulation does not end, although that of the other engine did."""


class BoundedSimulation(Simulation):
    """A simulation that stops with an error if there are too many spikes."""

    def run(self) -> Simulation:
        for count, _ in enumerate(self):
            if count > MOST_EVENTS:
                raise RunawayError(f"sample {self.sample} goes on after {count} events")
        return self


class MovedSimulation(BoundedSimulation):
    """A simulation that perturbs V and I after each event, and the time of each emission.

    I at an emission is perturbed separately, because an engine may compute it at the crossing or at
    the rounded time of the crossing.
    """

    noise: Noise

    def _emit(self, emission: Emission) -> None:
        super()._emit(emission)
        if emission.index is None:
            neuron = self.model.neurons[emission.unit]
            emission.current = self.noise.value(emission.current, neuron=neuron)

    def _enter(self, unit: int, voltage: Number, current: Number, is_refractory: bool) -> None:
        neuron = self.model.neurons[unit]
        if voltage:
            voltage = self.noise.value(voltage, self.history[unit][-1].voltage, neuron=neuron)
        super()._enter(unit, voltage, self.noise.value(current, neuron=neuron), is_refractory)
        if unit in self._predicted:
            emission = self._predicted[unit]
            self.queue.remove(emission)
            start = self.history[unit][-1]
            emission.time = max(self.now, self.noise.emission_time(emission.time, neuron, start))
            if emission.time > self.duration:
                del self._predicted[unit]
            else:
                self.queue.add(emission)


class MovedAdjoint(AdjointSimulation):
    """An adjoint that perturbs lambda_V, lambda_I and their difference wherever they are read.

    The perturbation of the difference is relative to the larger of lambda_V and lambda_I, because
    jumps add to the difference what they add to these.
    """

    noise: Noise

    def flow(self, unit: int, time: Number, segment: int = -1) -> tuple[Number, Number, Number]:
        lambda_v, lambda_i, difference = super().flow(unit, time, segment)
        neuron = self.model.neurons[unit]
        return (
            self.noise.value(lambda_v, neuron=neuron),
            self.noise.value(lambda_i, neuron=neuron),
            self.noise.value(difference, lambda_v, lambda_i, neuron=neuron),
        )

    def _before(self, emission: Emission) -> Number:
        gradient = self.noise.value(self.spike_time_gradient[emission])
        self.spike_time_gradient[emission] = gradient
        return super()._before(emission)


def simulate(
    case: SmallCase,
    engine: Reference,
    model: Model,
    events: list[list[InputEvent]],
    noise: Noise | None = None,
) -> State:
    """``Reference.simulate_model`` with a limit on spikes, and perturbed if there is noise."""
    duration = engine.numbers.convert(case.duration)
    samples: list[Simulation] = []
    for b, (own, dropout) in enumerate(zip(events, sample_dropouts(case), strict=True)):
        simulation: BoundedSimulation
        if noise is None:
            simulation = BoundedSimulation(model, own, duration, dropout=dropout, sample=b)
        else:
            simulation = MovedSimulation(model, own, duration, dropout=dropout, sample=b)
            simulation.noise = noise
        samples.append(simulation.run())
    return State(model, duration, events, samples)


def pull_back_moved(case: SmallCase, engine: Reference, state: State, noise: Noise) -> AdjointState:
    """``Reference.pull_back_exact`` with all numbers perturbed, including the times of jumps."""
    batch = NumberBatch.of(engine, state)
    part = ReadoutCotangents(case.readout, case.cotangents, case.adjustments.spike_slopes)
    sources = batch.adjoint_sources([part], case.adjustments)
    samples = []
    for simulation, entering in zip(state.samples, engine.entering(state, sources), strict=True):
        entering.jumps = [_moved_jump(jump, simulation, noise) for jump in entering.jumps]
        adjoint = MovedAdjoint(simulation, entering)
        adjoint.noise = noise
        samples.append(adjoint.run())
    return AdjointState(state, sources, samples)


def _moved_jump(jump: Jump, simulation: Simulation, noise: Noise) -> Jump:
    """A jump at a perturbed time, unless it is at an event or at the end of the trial."""
    fixed = {segment.time for segment in simulation.history[jump.unit]} | {simulation.duration}
    if jump.time in fixed:
        return jump
    return jump._replace(time=min(noise.given_time(jump.time), simulation.duration))
