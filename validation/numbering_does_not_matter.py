"""Another order of units, connections and populations gives the same results up to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from agreement import entries
from claims import Claim, Finding, Table
from networks import KINDS, Case, random_case
from rich.progress import track
from scipy.sparse import csr_array

import evsim
from evsim.engines import Adjoint, EngineError, Exact
from evsim.readouts import Readout

EXACT = Exact(threads=1, debug=True)
MOST_SPIKES = 99  # of a network: in recurrent networks errors grow with every spike
LIMIT_MS = 1e-11
LIMIT = 1e-9

Orders = Mapping[str, np.ndarray]
"""By population: for each unit of the second network, the corresponding unit of the first."""


@dataclass(frozen=True)
class NumberingDoesNotMatter(Claim):
    """The numbering of units, connections and populations changes nothing but the order of sums.

    Each network is compared with the same network with its units, including inputs, in another
    order within each population, and with its connections and its populations in another order.
    (The output stays last, because the last population is the output.) The networks are random
    networks of every kind, dense and sparse; spike times, readouts and gradients with respect to
    all parameters and input times are compared. Sums in another order round differently, so results
    agree up to rounding that grows from spike to spike; networks with more than 99 spikes are
    skipped.

    Refuted if a unit spikes more often in one of the two; if a spike is more than 1e-11 ms off; or
    if a gradient is off by more than 1e-9 of its parameter's largest entry, where this entry counts
    as at least a hundredth of the largest derivative with respect to any parameter of that kind.
    """

    against = "the same networks with units, connections and populations in another order"
    counts = ("networks",)

    networks: int = 20_000
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Compare each network with the same network in another order."""
        outcomes: dict[str, list[Outcome]] = {kind: [] for kind in KINDS}
        for number in track(range(self.networks), "networks", transient=True):
            rng = np.random.default_rng([self.seed, number])
            kind = KINDS[number % len(KINDS)]
            outcomes[kind].append(compare(rng, small_case(rng, kind)))
        refutations = [
            f"{kind}: {line}" for kind, found in outcomes.items() for line in wrong(found)
        ]
        everything = [one for found in outcomes.values() for one in found if not one.differs]
        return Finding.of(
            f"{self.networks} networks, {sum(one.spikes for one in everything)} spikes: times are "
            f"off by at most {max((one.largest_ms for one in everything), default=0):.1e} ms, "
            f"gradients by at most {max((one.gradient for one in everything), default=0):.1e}.",
            refutations,
            [table(outcomes)],
        )


# -- another order ------------------------------------------------------------------------


def small_case(rng: np.random.Generator, kind: str) -> Case:
    """A network that spikes, but not too often."""
    while True:
        case = random_case(rng, kind)
        try:
            state = EXACT.simulate(case.network, case.inputs, case.duration)
        except EngineError:  # the network runs away
            continue
        counts = EXACT.spike_counts(state)
        spikes = sum(int(counts[name].sum()) for name in counts if name not in case.inputs)
        if 0 < spikes <= MOST_SPIKES:
            return case


def renumbered(rng: np.random.Generator, case: Case) -> tuple[Case, Orders]:
    """The same network in another order, and the orders."""
    network = case.network
    orders = {p.name: rng.permutation(p.units) for p in network.populations}
    *others, output = [reordered(p, orders[p.name]) for p in network.populations]
    populations = [*(others[k] for k in rng.permutation(len(others))), output]
    connections = [
        evsim.Connection(
            c.source,
            c.target,
            moved(c.weight, orders[c.target], orders[c.source]),
            moved(c.delay, orders[c.target], orders[c.source]),
            name=c.name,
        )
        for c in (network.connections[k] for k in rng.permutation(len(network.connections)))
    ]
    inputs = {
        name: evsim.SpikeTrains.from_events(
            trains.times,
            np.argsort(orders[name])[trains.units],
            trains.samples,
            batch_size=len(trains),
            unit_count=trains.unit_count,
        )
        for name, trains in case.inputs.items()
    }
    return Case(evsim.Network(populations, connections), inputs, case.duration), orders


def reordered(population: evsim.Population, order: np.ndarray) -> evsim.Population:
    """The population with its units in that order."""
    names = [*population.unit_parameters, "refractory"]
    values = {n: getattr(population, n) for n in names if hasattr(population, n)}
    parameters = {n: v[order] if np.ndim(v) else v for n, v in values.items()}
    return type(population)(population.name, population.units, **parameters)


def moved(values: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """A parameter of a connection, or its gradient, with units in another order."""
    if hasattr(values, "indptr"):
        # Entries are numbered from 1 before the move, so that stored zeros are kept.
        numbers = csr_array(
            (np.arange(1, values.nnz + 1), values.indices, values.indptr), values.shape
        )
        placed = numbers[rows][:, columns].tocsr()
        placed.sort_indices()
        return csr_array(
            (values.data[placed.data - 1], placed.indices, placed.indptr), values.shape
        )
    for axis, order in enumerate((rows, columns)):
        if values.ndim == 2 and values.shape[axis] > 1:
            values = np.take(values, order, axis=axis)
    return values


# -- comparison -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """The number of spikes of one network, and the errors of its spike times and gradients."""

    differs: bool
    spikes: int = 0
    same_bits: int = 0
    largest_ms: float = 0.0
    readout: float = 0.0
    gradient: float = 0.0


def compare(rng: np.random.Generator, case: Case) -> Outcome:
    """Compare a network with itself in another order."""
    other, orders = renumbered(rng, case)
    states = [EXACT.simulate(one.network, one.inputs, one.duration) for one in (case, other)]
    trains = [EXACT.spikes(state) for state in states]
    distances = []
    for name in trains[0]:
        if name in case.inputs:
            continue
        back = trains[1][name].units
        pair = trains[0][name], trains[1][name]
        sorted_times = [
            one.times[np.lexsort((one.times, units, one.samples))]
            for one, units in zip(pair, (pair[0].units, orders[name][back]), strict=True)
        ]
        if not np.array_equal(pair[0].counts()[:, orders[name]], pair[1].counts()):
            return Outcome(True)
        distances.append(np.abs(sorted_times[0] - sorted_times[1]))
    off = np.concatenate(distances)
    readout = case.readouts[rng.integers(len(case.readouts))]
    return Outcome(
        False,
        off.size,
        int((off == 0).sum()),
        float(off.max(initial=0.0)),
        *compare_gradients(rng, (case, other), states, readout, orders),
    )


def compare_gradients(
    rng: np.random.Generator,
    cases: tuple[Case, Case],
    states: list[Any],
    readout: Readout,
    orders: Orders,
) -> tuple[float, float]:
    """The largest error of a readout, and of any gradient of it."""
    case, other = cases
    order = orders[readout.population_of(case.network)]
    values = EXACT.read(states[0], readout)
    places = np.isfinite(values)
    cotangents = np.where(places, rng.normal(0, 1, values.shape), 0.0)
    # Units are the second axis of the values of every readout.
    there = EXACT.read(states[1], readout)
    there, here = (part[places[:, order]] for part in (there, values[:, order]))
    off = np.abs(there - here)
    names = list(case.network.parameters)
    one = EXACT.pull_back(states[0], readout, cotangents, names)
    two = EXACT.pull_back(states[1], readout, cotangents[:, order], names)
    size = np.abs(values[places]).max(initial=0.0)
    return (
        float(off.max(initial=0.0) / size) if size else 0.0,
        largest_error(case, other, one, two, orders),
    )


def largest_error(case: Case, other: Case, one: Adjoint, two: Adjoint, orders: Orders) -> float:
    """The largest error of a gradient, relative to its largest entry.

    The scale includes a hundredth of the largest entry of the same kind of parameter; input times
    count as delays.
    """
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for connection in case.network.connections:
        rows, columns = orders[connection.target], orders[connection.source]
        for kind in ("weight", "delay"):
            name = f"{connection.name}.{kind}"
            expected = moved(one.parameters[name], rows, columns)
            pairs.setdefault(kind, []).append((entries(expected), entries(two.parameters[name])))
    for population in case.network.populations:
        for kind in population.unit_parameters:
            name = f"{population.name}.{kind}"
            gradient = one.parameters[name]
            expected = gradient[orders[population.name]] if gradient.ndim else gradient
            pairs.setdefault(kind, []).append((expected, two.parameters[name]))
    for name, slopes in one.input_times.items():
        # All times of inputs are different, so their order is the same in both networks.
        sort = [np.lexsort((c.inputs[name].times, c.inputs[name].samples)) for c in (case, other)]
        pair = slopes[sort[0]], two.input_times[name][sort[1]]
        pairs.setdefault("times", []).append(pair)
    worst = 0.0
    sizes = {
        kind: max(np.abs(expected).max(initial=0.0) for expected, _ in of_kind)
        for kind, of_kind in pairs.items()
    }
    # The gradient of a shared delay or an input time sums over arrivals; the terms may cancel.
    sizes["delay"] = max(sizes["delay"], sizes["times"])
    for kind, of_kind in pairs.items():
        largest = sizes[kind]
        for expected, found in of_kind:
            off = np.abs(expected - found).max(initial=0.0)
            scale = np.abs(expected).max(initial=0.0) + 1e-2 * largest
            worst = max(worst, off / scale if off else 0.0)
    return float(worst)


def wrong(found: list[Outcome]) -> list[str]:
    """The parts of the claim that do not hold."""
    lines = []
    differ = sum(one.differs for one in found)
    if differ:
        lines.append(f"{differ} of {len(found)} networks have other spikes in another order")
    for what, limit in (("largest_ms", LIMIT_MS), ("gradient", LIMIT)):
        values = [getattr(one, what) for one in found if getattr(one, what) > limit]
        if values:
            name = {"largest_ms": "spike times, ms", "gradient": "gradients"}[what]
            lines.append(
                f"{name}: in {len(values)} of {len(found)} networks off by more than {limit:g}, "
                f"the worst by {max(values):.1e}"
            )
    return lines


def table(outcomes: Mapping[str, list[Outcome]]) -> Table:
    """A table with a row for each kind of networks."""
    rows = []
    for kind, found in outcomes.items():
        same = [one for one in found if not one.differs]
        spikes = sum(one.spikes for one in same)
        if same and spikes:
            rows.append(
                [
                    kind,
                    f"{len(found) - len(same)} of {len(found)}",
                    str(spikes),
                    f"{100 * sum(one.same_bits for one in same) / spikes:.0f} %",
                    f"{max(one.largest_ms for one in same):.1e}",
                    f"{max(one.readout for one in same):.1e}",
                    f"{np.median([one.gradient for one in same]):.1e}",
                    f"{max(one.gradient for one in same):.1e}",
                ]
            )
    columns = [
        "networks",
        "other spikes",
        "spikes",
        "same to the bit",
        "largest error, ms",
        "of readouts",
        "gradients: median error",
        "largest",
    ]
    return Table("Differences between two orders", columns, rows)
