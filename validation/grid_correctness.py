"""Compares the results of the grid engine on one device with those on another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from agreement import entries
from claims import Table
from networks import KINDS, Case, random_case

import evsim
from evsim import losses, readouts
from evsim.engines import EngineError
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.dropout import Dropout
from evsim.simulation import Gradient
from evsim_gpu import Grid

BATCH = 3
PRECISIONS = ("float64", "float32")
LARGEST_ERROR = {"float64": 1e-10, "float32": 1e-5}
GRADIENTS = ("weight", "delay", "tau_mem", "tau_syn", "threshold", "input times")
VOLTAGES: dict[str, Loss] = {
    **{
        f"mean, {weighting}": losses.CrossEntropy(readouts.Mean(weighting))
        for weighting in ("flat", "exponential", "linear", "sigmoid", "input")
    },
    "cross-entropy over the trial": losses.TimeAveragedCrossEntropy(),
    "voltages at moments": losses.VoltageMSE(readouts.Voltage(times=[5.3, 11.1, 17.9])),
}
LOSSES: dict[str, dict[str, Loss]] = {
    "LI": {**VOLTAGES, "peak": losses.CrossEntropy(readouts.Peak())},
    "LIF": {
        **VOLTAGES,
        "first spikes": losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=9.0, alpha=0.1),
        "first spikes, time-invariant": losses.TimeInvariantMSE(1.5),
        "spike times": losses.SpikeTimeMSE(readouts.SpikeTimes(2)),
        "existence": losses.Existence("output", when="wanted"),
    },
}
"""All losses by the kind of output units."""


@dataclass(frozen=True)
class Problem:
    """A problem that every engine solves: one loss for a batch of a random network."""

    case: Case
    kind: str
    loss: str
    labels: np.ndarray
    dt: float
    options: dict[str, Any]

    def solve(self, engine: Grid) -> Gradient | str:
        """Spikes, loss and all gradients, or the message of the engine's error."""
        try:
            return evsim.gradient(
                self.case.network, self.case.inputs, self.labels,
                LOSSES[self.output][self.loss], self.case.duration, engine=engine, **self.options,
            )  # fmt: skip
        except EngineError as error:
            return str(error)

    @property
    def output(self) -> str:
        """The kind of the output units."""
        return "LIF" if self.case.network.output.spiking else "LI"


def problems(networks: int, seed: int) -> Iterator[Problem]:
    """Random networks of every kind in turn, each with two losses, also in turn.

    A third of the networks has dropout, and a third has a regulariser.
    """
    turns = {"LI": 0, "LIF": 0}
    for number in range(networks):
        rng = np.random.default_rng([seed, number])
        kind, output = KINDS[number % len(KINDS)], ("LI", "LIF")[number // len(KINDS) % 2]
        case = busy_case(rng, kind, output)
        options: dict[str, Any] = {}
        if number % 3 == 0:
            options["dropout"] = Dropout({case.network.inputs[0].name: 0.3}, seed=number)
        elif number % 3 == 1:
            options["regularisers"] = [
                RateRegulariser(population.name, strength=1e-3, target=2.0)
                for population in case.network.populations
                if isinstance(population, evsim.LIF)
            ]
        dt = float(rng.choice([1.0, 0.5, 0.25]))
        for _ in range(2):
            loss = list(LOSSES[output])[turns[output] % len(LOSSES[output])]
            turns[output] += 1
            labels = random_labels(rng, LOSSES[output][loss], case)
            yield Problem(case, kind, loss, labels, dt, options)


def busy_case(rng: np.random.Generator, kind: str, output: str) -> Case:
    """A random network with spikes, if it has units that can spike."""
    while True:
        case = random_case(rng, kind, batch=BATCH, output=output, duration=20.0)
        run = evsim.simulate(case.network, case.inputs, case.duration, Grid(1.0, threads=1))
        lif = [p.name for p in case.network.populations if isinstance(p, evsim.LIF)]
        if not lif or any(run.spike_counts[name].any() for name in lif):
            return case


def random_labels(rng: np.random.Generator, loss: Loss, case: Case) -> np.ndarray:
    """Random classes, or targets for losses that do not classify; some samples have none."""
    units = case.network.output.units
    if loss.classifies or isinstance(loss, losses.Existence):
        return rng.integers(0, units, BATCH)
    if isinstance(loss, losses.VoltageMSE):
        targets = rng.normal(0, 0.5, (BATCH, units, len(loss.readout.times)))
    else:
        targets = rng.uniform(0, case.duration, (BATCH, units, loss.readout.count))
    targets[0, 0, 0] = np.nan
    return targets


# -- comparison -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """The result of one problem in one precision on the tested device.

    Parameters
    ----------
    kind, loss : str
    spikes : int
        The number of spikes of all units except inputs.
    identical : bool
        Whether the spikes are those of the CPU in the same precision; if an engine raises an
        error, whether both raise it with the same message.
    other_pattern : bool
        Whether the spike pattern differs from that of the CPU in float64; errors then have no
        meaning.
    errors : mapping to float
        The errors of the losses and of each kind of gradient against the CPU in float64, see
        ``relative_errors``.
    rounding : mapping to float
        The same errors of the CPU in the same precision; empty if the CPU is the tested device.
    plain : float
        The largest of the errors relative only to the norm of each gradient.
    """

    kind: str
    loss: str
    spikes: int
    identical: bool
    other_pattern: bool
    errors: dict[str, float]
    rounding: dict[str, float]
    plain: float = 0.0

    def beyond(self, precision: str) -> bool:
        """Whether an error exceeds the limit for the precision."""
        return max(self.errors.values(), default=0.0) > LARGEST_ERROR[precision]

    def too_far(self, precision: str) -> bool:
        """Whether an error exceeds this limit and also ten times the error of the CPU."""
        return any(
            error > max(LARGEST_ERROR[precision], 10 * self.rounding.get(quantity, 0.0))
            for quantity, error in self.errors.items()
        )


def compare(problem: Problem, device: str) -> dict[str, Outcome]:
    """The outcome of a problem on a device for each precision; the CPU uses two threads."""
    threads = 2 if device == "cpu" else None
    truth = problem.solve(Grid(problem.dt, precision="float64", threads=1))
    outcomes = {}
    for precision in PRECISIONS:
        same = truth
        if precision != "float64":
            same = problem.solve(Grid(problem.dt, precision=precision, threads=1))
        found = problem.solve(Grid(problem.dt, device, precision, threads))
        outcomes[precision] = outcome(problem, found, same, truth, rounds=device != "cpu")
    return outcomes


def outcome(
    problem: Problem,
    found: Gradient | str,
    same: Gradient | str,
    truth: Gradient | str,
    *,
    rounds: bool,
) -> Outcome:
    """The outcome: ``same`` is the CPU's result in the same precision, ``truth`` in float64.

    If ``rounds`` is true, the errors of ``same`` are computed, too.
    """
    about = problem.kind, problem.loss
    if isinstance(found, str) or isinstance(same, str):
        return Outcome(*about, 0, found == same, True, {}, {})
    names = [p.name for p in problem.case.network.populations if p.name not in problem.case.inputs]
    spikes = sum(int(found.run.spike_counts[name].sum()) for name in names)
    identical = all(found.run.spikes[name] == same.run.spikes[name] for name in names)
    if isinstance(truth, str) or any(
        found.run.spikes[name] != truth.run.spikes[name] for name in names
    ):
        return Outcome(*about, spikes, identical, True, {}, {})
    errors, rounding = relative_errors(found, truth), relative_errors(same, truth)
    plain = max(plain_errors(found, truth))
    return Outcome(*about, spikes, identical, False, errors, rounding if rounds else {}, plain)


def relative_errors(found: Gradient, truth: Gradient) -> dict[str, float]:
    """The errors of the losses and of each kind of gradient, relative to the summed terms.

    The gradient of a shared parameter is a sum over synapses or units, and the gradient of a time
    constant has a part that does not depend on V and I.  Where these terms cancel, the relative
    error of the remaining sum is large on every device.
    """
    errors = {"loss": relative(found.losses - truth.losses, np.linalg.norm(truth.losses))}
    for kind in GRADIENTS[:-1]:
        difference, scale = [], []
        for name, expected in truth.parameters.items():
            if name.endswith(f".{kind}"):
                parts = getattr(truth.adjoint.state, kind)
                fold = truth.run.network.fold
                difference.append(np.ravel(entries(found.parameters[name]) - entries(expected)))
                summed, magnitudes = (entries(fold(name, p)) for p in (parts, np.abs(parts)))
                scale.append(np.ravel(magnitudes + np.abs(entries(expected) - summed)))
        errors[kind] = relative(np.concatenate(difference), np.linalg.norm(np.concatenate(scale)))
    times = [times_of(gradient) for gradient in (found, truth)]
    errors["input times"] = relative(times[0] - times[1], np.linalg.norm(times[1]))
    return errors


def plain_errors(found: Gradient, truth: Gradient) -> Iterator[float]:
    """The error of each kind of gradient, relative to the norm of the gradient."""
    for kind in GRADIENTS[:-1]:
        expected, others = (
            np.concatenate(
                [
                    np.ravel(entries(values))
                    for name, values in gradient.parameters.items()
                    if name.endswith(f".{kind}")
                ]
            )
            for gradient in (truth, found)
        )
        yield relative(others - expected, np.linalg.norm(expected))


def times_of(gradient: Gradient) -> np.ndarray:
    """The gradient with respect to the spike times of all inputs."""
    times = gradient.input_times
    return np.concatenate(list(times.values()) if isinstance(times, dict) else [times])


def relative(difference: np.ndarray, size: Any) -> float:
    """The norm of a difference divided by a size; 0 without a difference."""
    error = np.linalg.norm(difference)
    if error == 0:
        return 0.0
    return float(error / size) if size > 0 else np.inf


# -- many of them -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """The outcomes of many problems on a device, by precision."""

    device: str
    networks: int
    outcomes: dict[str, list[Outcome]]

    def refutations(self) -> Iterator[str]:
        """The parts of the claim that do not hold: identical spikes, gradients up to rounding."""
        for precision, outcomes in self.outcomes.items():
            others = [outcome for outcome in outcomes if not outcome.identical]
            if others:
                places = sorted({f"{outcome.kind}, {outcome.loss}" for outcome in others})
                yield (
                    f"{precision}: spikes of {len(others)} of {len(outcomes)} are not those of the "
                    f"CPU: {'; '.join(places[:5])}"
                )
            far = [outcome for outcome in outcomes if outcome.too_far(precision)]
            if far:
                places = sorted({f"{outcome.kind}, {outcome.loss}" for outcome in far})
                yield (
                    f"{precision}: gradients of {len(far)} of {len(outcomes)} are off by more than "
                    f"{LARGEST_ERROR[precision]:g}: {'; '.join(places[:5])}"
                )

    def kinds_table(self) -> Table:
        """A table with a row for each kind of network and precision."""
        rows = [
            ["networks", "precision", "compared", "spikes", "not identical", "others than float64"],
        ]
        rows[0] += ["largest error, median", "of all"]
        for kind in KINDS:
            for precision, outcomes in self.outcomes.items():
                of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
                if of_kind:
                    rows.append([kind, precision, *summary(of_kind)])
        return Table("By kind of network", rows[0], rows[1:])

    def exceptions(self) -> str:
        """A sentence on the exceptions that the claim allows, and how often they occurred."""
        lines = []
        for precision, outcomes in self.outcomes.items():
            limit = LARGEST_ERROR[precision]
            beyond = sum(outcome.beyond(precision) for outcome in outcomes)
            plain = [outcome.plain for outcome in outcomes]
            lines.append(
                f"In {precision} {beyond} of {len(outcomes)} are off by more than {limit:g}; "
                f"relative to the plain norm of a gradient, {sum(e > limit for e in plain)} are, "
                f"the largest by {max(plain):.1e}."
            )
        return "  ".join(lines)

    def quantities_table(self) -> Table:
        """A table with a row for the loss and for each kind of gradient."""
        rows = [["quantity", *(f"largest error, {precision}" for precision in self.outcomes)]]
        for quantity in ("loss", *GRADIENTS):
            found = (largest_error(outcomes, quantity) for outcomes in self.outcomes.values())
            rows.append([quantity, *(f"{error:.1e}" for error in found)])
        return Table("By quantity", rows[0], rows[1:])

    def losses_table(self) -> Table:
        """A table with a row for each loss."""
        rows = [["loss", "compared", "spikes not identical"]]
        rows[0] += [f"largest error, {precision}" for precision in self.outcomes]
        for loss in dict.fromkeys([*LOSSES["LI"], *LOSSES["LIF"]]):
            by_precision = [
                [outcome for outcome in outcomes if outcome.loss == loss]
                for outcomes in self.outcomes.values()
            ]
            if by_precision[0]:
                others = sum(not outcome.identical for part in by_precision for outcome in part)
                largest = [f"{largest_error(part):.1e}" for part in by_precision]
                rows.append([loss, str(len(by_precision[0])), str(others), *largest])
        return Table("By loss", rows[0], rows[1:])


def compare_many(networks: int, seed: int, device: str, seconds: float = np.inf) -> Comparison:
    """Compare this number of networks, or as many as the time allows."""
    end = time.perf_counter() + seconds
    outcomes: dict[str, list[Outcome]] = {precision: [] for precision in PRECISIONS}
    for problem in problems(networks, seed):
        for precision, found in compare(problem, device).items():
            outcomes[precision].append(found)
        if time.perf_counter() > end:
            break
    return Comparison(device, (len(outcomes["float64"]) + 1) // 2, outcomes)


def summary(outcomes: list[Outcome]) -> list[str]:
    """The number of problems, how their spikes compare, and the errors of their gradients."""
    compared = [one for one in outcomes if one.errors]
    middle = np.median([max(one.errors.values()) for one in compared]) if compared else np.nan
    return [
        str(len(outcomes)),
        str(sum(one.spikes for one in outcomes)),
        str(sum(not one.identical for one in outcomes)),
        str(sum(one.other_pattern for one in outcomes)),
        f"{middle:.1e}",
        f"{largest_error(outcomes):.1e}",
    ]


def largest_error(outcomes: list[Outcome], quantity: str | None = None) -> float:
    """The largest error of a quantity, or of any quantity."""
    return max(
        (
            error
            for one in outcomes
            for name, error in one.errors.items()
            if quantity in (None, name)
        ),
        default=0.0,
    )
