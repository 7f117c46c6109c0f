"""Results are identical for any number of threads and any composition of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from agreement import entries
from claims import Claim, Finding, Table
from networks import KINDS, Case, random_case
from rich.progress import track

import evsim
from evsim import losses, readouts
from evsim.engines.protocol import EngineError
from evsim.losses import Loss
from evsim.simulation import Gradient
from evsim_gpu import Grid

LOSSES: dict[str, tuple[Loss, ...]] = {
    "LIF": (
        losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=10.0, alpha=0.1),
        losses.TimeInvariantMSE(1.0),
        losses.CrossEntropy(readouts.Mean("exponential")),
    ),
    "LI": (
        losses.CrossEntropy(readouts.Mean("linear")),
        losses.CrossEntropy(readouts.Mean("sigmoid")),
        losses.CrossEntropy(readouts.Peak()),
        losses.TimeAveragedCrossEntropy(),
    ),
}
ENGINES = {"exact": evsim.engines.Exact, "grid": lambda threads: Grid(0.5, threads=threads)}


@dataclass(frozen=True)
class ThreadsDoNotMatter(Claim):
    """No bit of any result depends on the number of threads or on the other samples of a batch.

    The comparison is with the same engine with one thread and with the whole batch. The exact
    engine, and the grid engine on the CPU, run random networks of every kind in batches of 16
    samples, with losses on first spikes, means, peaks and voltages. Threads: 2, 3, 5 and 8, which
    may be more than there are cores; spikes, losses and all gradients are compared. Batches: the
    samples in another order, in two halves, and each alone. Here spikes, losses and gradients with
    respect to input times are compared, because these belong to single samples (the gradient of a
    parameter is a sum over samples, and depends on their order).

    Refuted by one bit that differs.
    """

    against = "the same engine with one thread, and with other batches"
    counts = ("networks",)

    networks: int = 2_000
    batch: int = 16  # a power of two, so that the mean over the batch divides without rounding
    threads: tuple[int, ...] = (2, 3, 5, 8)
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Count the compared arrays, and those that differ."""
        tallies: dict[tuple[str, str], Tally] = {}
        for number in track(range(self.networks), "networks", transient=True):
            rng = np.random.default_rng([self.seed, number])
            problem = random_problem(rng, number, self.batch)
            for engine in ENGINES:
                for what, place, same in compare(problem, engine, self.threads, rng):
                    tallies.setdefault((engine, what), Tally()).add(f"{problem}, {place}", same)
        rows = [
            [engine, what, str(tally.compared), str(len(tally.differ))]
            for (engine, what), tally in tallies.items()
        ]
        refutations = [
            f"{engine}, {what}: {len(tally.differ)} of {tally.compared} differ: "
            f"{'; '.join(tally.differ[:3])}"
            for (engine, what), tally in tallies.items()
            if tally.differ
        ]
        compared = sum(tally.compared for tally in tallies.values())
        return Finding.of(
            f"{self.networks} networks on two engines: of {compared} arrays, "
            f"{sum(len(tally.differ) for tally in tallies.values())} differ.",
            refutations,
            [Table("Arrays compared", ["engine", "against", "compared", "differ"], rows)],
        )


class Tally:
    """Counts the compared arrays, and records where they differ."""

    def __init__(self) -> None:
        self.compared = 0
        self.differ: list[str] = []

    def add(self, place: str, same: bool) -> None:
        """Count one comparison."""
        self.compared += 1
        if not same:
            self.differ.append(place)


# -- one network --------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A batch, a loss and labels; its number determines it."""

    number: int
    kind: str
    case: Case
    loss: Loss
    labels: np.ndarray

    def solve(self, engine: str, threads: int, samples: np.ndarray | None = None) -> Gradient:
        """The gradient for all samples or for some."""
        chosen = np.arange(self.labels.size) if samples is None else samples
        inputs = {name: trains[chosen] for name, trains in self.case.inputs.items()}
        return evsim.gradient(
            self.case.network, inputs, self.labels[chosen], self.loss, self.case.duration,
            engine=ENGINES[engine](threads=threads),
        )  # fmt: skip

    def __str__(self) -> str:
        return f"network {self.number} ({self.kind}), {type(self.loss).__name__}"


def random_problem(rng: np.random.Generator, number: int, batch: int) -> Problem:
    """A random problem; the kinds of networks and the losses take turns."""
    kind, output = KINDS[number % len(KINDS)], ("LI", "LIF")[number // len(KINDS) % 2]
    case = random_case(rng, kind, batch=batch, output=output, duration=20.0)
    while not is_simulated(case):
        case = random_case(rng, kind, batch=batch, output=output, duration=20.0)
    spiking = isinstance(case.network.output, evsim.LIF)  # single neurons always spike
    choices = LOSSES["LIF" if spiking else "LI"]
    labels = rng.integers(0, case.network.output.units, batch)
    return Problem(number, kind, case, choices[number // (2 * len(KINDS)) % len(choices)], labels)


def is_simulated(case: Case) -> bool:
    """Whether every engine accepts a case: they refuse, for example, one that runs away."""
    try:
        for make in ENGINES.values():
            evsim.simulate(case.network, case.inputs, case.duration, make(threads=1))
    except EngineError:
        return False
    return True


def compare(
    problem: Problem, engine: str, threads: tuple[int, ...], rng: np.random.Generator
) -> Iterator[tuple[str, str, bool]]:
    """For each comparison: the opponent, the array, and whether it is identical."""
    truth = problem.solve(engine, 1)
    for count in threads:
        other = problem.solve(engine, count)
        for name, values in arrays(truth).items():
            yield f"{count} threads", name, identical(values, arrays(other)[name])
    batch = problem.labels.size
    order = rng.permutation(batch)
    parts = {
        "another order": [order],
        "two halves": [np.arange(batch)[::2], np.arange(batch)[1::2]],
        "each alone": np.split(np.arange(batch), batch),
    }
    for what, parts_of_batch in parts.items():
        for samples in parts_of_batch:
            found = problem.solve(engine, 2, samples)
            for name, same in compare_samples(found, truth, samples):
                yield what, name, same


def compare_samples(
    found: Gradient, truth: Gradient, samples: np.ndarray
) -> Iterator[tuple[str, bool]]:
    """Compare results of single samples: spikes, losses, gradients by input times."""
    yield "losses", identical(found.losses, truth.losses[samples])
    for name, trains in found.run.spikes.items():
        yield f"spikes of {name}", trains == truth.run.spikes[name][samples]
    # The loss is the mean over the batch; its size is a power of two, so nothing is rounded.
    share = samples.size / truth.losses.size
    wanted = by_input(truth)
    for name, slopes in by_input(found).items():
        offsets = truth.run.inputs[name].offsets
        pieces = [wanted[name][offsets[s] : offsets[s + 1]] for s in samples]
        yield f"input times of {name}", identical(slopes * share, np.concatenate(pieces))


def arrays(found: Gradient) -> dict[str, Any]:
    """All result arrays by name."""
    results: dict[str, Any] = {"losses": found.losses, "readout": found.readout}
    results |= {f"spikes of {name}": trains for name, trains in found.run.spikes.items()}
    results |= {f"gradient by {n}": entries(values) for n, values in found.parameters.items()}
    results |= {f"input times of {name}": slopes for name, slopes in by_input(found).items()}
    return results


def by_input(found: Gradient) -> dict[str, np.ndarray]:
    """The gradients with respect to the spike times of each input."""
    times = found.input_times
    return times if isinstance(times, dict) else {next(iter(found.run.inputs)): times}


def identical(one: Any, other: Any) -> bool:
    """Whether two arrays are identical; NaN equals NaN."""
    if isinstance(one, evsim.SpikeTrains):
        return one == other
    if one is None or other is None:
        return one is other
    one, other = np.asarray(one), np.asarray(other)
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )
