"""The distances between the spikes of the exact engine and of NEST, and why spikes differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from nest_networks import LOSSLESS, Nest, NestStoppedError

import evsim
from evsim.engines import Exact
from evsim.equations import lif
from evsim.simulation import Run

EXACT = Exact(threads=1)
INPUTS, UNITS = 10, 20
KINDS = ("single neurons", "feedforward", "recurrent")
Kind = Literal["single neurons", "feedforward", "recurrent"]

SAME_SPIKE = 1e-6  # ms; spikes with the same number that are further apart count as different

BETWEEN = "missed between two steps"
REFRACTORY = "spiked while refractory"
UNEXPLAINED = "unexplained"
STOPPED = "stopped"
REASONS = (BETWEEN, REFRACTORY, STOPPED, UNEXPLAINED)


# -- networks -----------------------------------------------------------------------------


@dataclass(frozen=True)
class TimeConstants:
    """The time constants of all units in ms; if heterogeneous, times random factors per unit."""

    name: str
    tau_mem: float
    tau_syn: float
    heterogeneous: bool = False


@dataclass(frozen=True)
class Case:
    """A network, a batch of spikes for its inputs, and the duration of a trial in ms."""

    network: evsim.Network
    spikes: evsim.SpikeTrains
    duration: float

    def run(self) -> Run:
        """Simulate with the exact engine."""
        return evsim.simulate(self.network, self.spikes, duration=self.duration, engine=EXACT)

    def sample(self, number: int) -> Case:
        """The case with only one of its samples."""
        return Case(self.network, self.spikes[number], self.duration)


def random_case(
    rng: np.random.Generator, kind: Kind, taus: TimeConstants, samples: int, shortest: float
) -> Case:
    """A random network with weights of both signs and a delay between any two units.

    Delays in loops are at least ``shortest`` ms.  A trial lasts five membrane time constants, and
    each input spikes six times.
    """
    duration = 5.0 * taus.tau_mem
    needed = weight_to_threshold(taus)
    # The duration is a whole number of steps for every resolution of a comparison.
    refractory = shortest

    def layer(name: str) -> evsim.LIF:
        factors = rng.uniform(0.7, 1.4, (2, UNITS)) if taus.heterogeneous else np.ones((2, 1))
        tau_mem, tau_syn = taus.tau_mem * factors[0], taus.tau_syn * factors[1]
        if not taus.heterogeneous:
            tau_mem, tau_syn = tau_mem[0], tau_syn[0]
        threshold = rng.uniform(0.8, 1.2, UNITS)
        return evsim.LIF(name, UNITS, tau_mem, tau_syn, threshold, refractory)

    def connection(source: str, target: str, mean: float, spread: float, least: float = 0.0):
        shape = UNITS, INPUTS if source == "input" else UNITS
        weight = rng.normal(mean * needed, spread * needed, shape)
        return evsim.Connection(source, target, weight, rng.uniform(least, 8.0, shape))

    populations = [evsim.Input("input", INPUTS), layer("first")]
    connections = [connection("input", "first", 0.3, 0.3)]
    if kind != "single neurons":
        populations.append(layer("second"))
        connections.append(connection("first", "second", 0.2, 0.3))
    if kind == "recurrent":
        connections.append(connection("first", "first", 0.0, 0.15, shortest))
        connections.append(connection("second", "second", 0.0, 0.15, shortest))
    count = 6 * INPUTS * samples
    spikes = evsim.SpikeTrains.from_events(
        rng.uniform(0, duration, count),
        rng.integers(0, INPUTS, count),
        rng.integers(0, samples, count),
        batch_size=samples,
        unit_count=INPUTS,
    )
    return Case(evsim.Network(populations, connections), spikes, duration)


def weight_to_threshold(taus: TimeConstants) -> float:
    """The weight with which a single spike raises V to 1."""
    ratio = taus.tau_mem / taus.tau_syn
    return float(np.e) if abs(ratio - 1) < 1e-6 else ratio ** (ratio / (ratio - 1))


# -- agreement ----------------------------------------------------------------------------


@dataclass
class Agreement:
    """The agreement for one case or several.

    Parameters
    ----------
    samples : int
        The number of trials that were compared.
    reasons : Counter
        The number of trials that differ, by the reason for the first difference: one of
        ``REASONS``.
    distances : list of (spikes,)
        The distances in ms of all spikes in the trials without a difference.
    worst : (float, Case or None, Nest or None)
        The largest distance, its trial, and the settings with which NEST simulated the trial.
    """

    samples: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    distances: list[np.ndarray] = field(default_factory=list)
    worst: tuple[float, Case | None, Nest | None] = (0.0, None, None)

    @property
    def spikes(self) -> int:
        """The number of spikes that were compared."""
        return sum(part.size for part in self.distances)

    @property
    def median(self) -> float:
        """The median distance in ms."""
        return float(np.median(np.concatenate(self.distances))) if self.spikes else 0.0

    def add(self, other: Agreement) -> None:
        """Add the agreement of another case."""
        self.samples += other.samples
        self.reasons += other.reasons
        self.distances += other.distances
        self.worst = max(self.worst, other.worst, key=lambda worst: worst[0])


def agreement_of(case: Case, nest: Nest) -> Agreement:
    """Compare a case, sample by sample if NEST stops before the end."""
    try:
        found = nest.simulate(case.network, {"input": case.spikes}, case.duration).spikes
    except NestStoppedError:
        if len(case.spikes) == 1:
            return Agreement(1, Counter([STOPPED]))
        total = Agreement()
        for number in range(len(case.spikes)):
            total.add(agreement_of(case.sample(number), nest))
        return total
    return compared(case, case.run(), found, nest)


def compared(case: Case, run: Run, found: dict[str, evsim.SpikeTrains], nest: Nest) -> Agreement:
    """Compare spike by spike, up to the first difference of each sample."""
    total = Agreement()
    for number in range(len(case.spikes)):
        pairs = list(trains_of(run.spikes, found, number))
        total.samples += 1
        first = min(filter(None, (first_difference(*train) for train in pairs)), default=None)
        if first is not None:
            total.reasons[reason_of(case, run, number, first, nest)] += 1
            continue
        distances = np.concatenate([np.abs(a - b) for _, _, a, b in pairs])
        total.distances.append(distances)
        largest = float(distances.max(initial=0.0)), case.sample(number), nest
        total.worst = max(total.worst, largest, key=lambda worst: worst[0])
    return total


Train = tuple[str, int, np.ndarray, np.ndarray]  # population, unit, evsim's times, NEST's


def trains_of(
    exact: dict[str, evsim.SpikeTrains], others: dict[str, evsim.SpikeTrains], sample: int
) -> Iterator[Train]:
    """The spike times of each unit except inputs, from both programs."""
    for name, trains in others.items():
        ours, other = exact[name][sample], trains[sample]
        for unit in range(trains.unit_count):
            yield name, unit, ours.times[ours.units == unit], other.times[other.units == unit]


@dataclass(frozen=True, order=True)
class Difference:
    """A spike that only one program has; ``before`` is the unit's previous spike in NEST."""

    time: float
    is_missing: bool
    population: str
    unit: int
    before: float


def first_difference(population: str, unit: int, ours: np.ndarray, others: np.ndarray):
    """The first spike without a counterpart of the same number and time; None if all have one."""
    for number in range(max(ours.size, others.size)):
        a = ours[number] if number < ours.size else np.inf
        b = others[number] if number < others.size else np.inf
        if not abs(a - b) < SAME_SPIKE:
            before = others[number - 1] if number else -np.inf
            return Difference(float(min(a, b)), bool(a < b), population, unit, float(before))
    return None


# -- reasons for differences --------------------------------------------------------------


class Unit(NamedTuple):
    """The parameters of one unit."""

    tau_mem: float
    tau_syn: float
    threshold: float
    refractory: float

    @classmethod
    def of(cls, case: Case, first: Difference) -> Unit:
        """The unit of a difference."""
        population = case.network.population(first.population)
        values = (getattr(population, name) for name in cls._fields)
        return cls(*(float(np.broadcast_to(x, population.units)[first.unit]) for x in values))


def reason_of(case: Case, run: Run, sample: int, first: Difference, nest: Nest) -> str:
    """The known deviation of NEST's models that explains the first difference of a sample."""
    if first.is_missing:
        explained = falls_back(case, run, sample, first, nest.resolution)
        return BETWEEN if explained else UNEXPLAINED
    explained = nest.model == LOSSLESS and rises_at_once(case, run, sample, first, nest.resolution)
    return REFRACTORY if explained else UNEXPLAINED


def rises_at_once(case: Case, run: Run, sample: int, first: Difference, resolution: float) -> bool:
    """Whether a unit is refractory and its current would raise V to the threshold in one step."""
    unit = Unit.of(case, first)
    if first.time >= first.before + unit.refractory - SAME_SPIKE:
        return False
    current = run.current(first.population, [first.time])[sample, first.unit, 0]
    at_start = current * np.exp(resolution / unit.tau_syn)  # or later, where it is smaller
    voltage, _ = lif.flow(0.0, at_start, resolution, unit.tau_mem, unit.tau_syn)
    return bool(voltage >= unit.threshold)


def falls_back(case: Case, run: Run, sample: int, first: Difference, resolution: float) -> bool:
    """Whether V, without the reset, is below the threshold when NEST tests it the next time.

    NEST tests V at the end of the step and at the next arrival.
    """
    unit = Unit.of(case, first)
    current = run.current(first.population, [first.time])[sample, first.unit, 0]
    end = (np.floor(first.time / resolution) + 1) * resolution
    for arrival in arrivals_at(case, run, sample, first):
        if first.time < arrival < end:
            end = arrival
    voltage, _ = lif.flow(unit.threshold, current, end - first.time, unit.tau_mem, unit.tau_syn)
    return bool(voltage < unit.threshold)


def arrivals_at(case: Case, run: Run, sample: int, first: Difference) -> Iterator[float]:
    """The times of arrivals at the unit of a difference."""
    for connection in case.network.connections:
        if connection.target != first.population:
            continue
        trains = run.spikes[connection.source][sample]
        yield from trains.times + connection.delay[first.unit][trains.units]
