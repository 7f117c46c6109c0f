"""The exact engine against the reference engine in many digits, on random networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import directional
import numpy as np
from agreement import MODERATE, SpikeErrors, gradient_error, spike_errors
from claims import Claim, Finding, Table
from many_digits import ManyDigits
from networks import KINDS, Case, random_case
from parallel import for_each
from random_networks_agree import exact_results
from referee import judge_by_condition, solve
from small_networks import SmallCase

from evsim.engines import EngineError, Exact

EXACT = Exact(threads=1, debug=True)
SMALLEST_BOUND = 5e-14  # of a gradient: the effect of rounding without any spike
FEWEST_DIGITS = 40  # for central differences with a step of 1e-20
MOST_SPIKES = {kind: 300 if kind in ("single neurons", "feedforward") else 99 for kind in KINDS}


@dataclass(frozen=True)
class ExactVsReference(Claim):
    """The exact engine computes spike times and gradients as exactly as float64 allows.

    The comparison is with the reference engine in many digits (by default 50), which shares no code
    with the exact engine, and with central differences of the reference engine's forward
    simulation. The networks are random and of every kind: tau_mem/tau_syn of 4, 2, 1, 1 + 1e-9 and
    1/3, equal or heterogeneous units, delays with every kind of sharing or none, refractory periods
    of 0, 3 ms and infinity, dense and sparse weights, spiking and non-spiking outputs. Random
    cotangents of every readout that an engine computes are propagated back to every parameter and
    input time. Networks that are silent, or have too many spikes to compare (300; 99 if units drive
    each other), are skipped.

    The rounding bound of a spike is the largest change of its time, to first order, if every
    earlier time, V and I is off by one unit in its last place. Errors of spike times are in units
    in the last place (ulp) of the trial's duration; errors of gradients are relative to the largest
    entry of the parameter's gradient. The adjoint is divided by I - threshold at every spike; the
    rounding bound of a gradient is the sum over all spikes of the relative errors of these divisors
    if each spike is off by its bound and each I by one unit in its last place, plus 5e-14. It does
    not cover dividends that nearly cancel. So if an error is larger, the effect of rounding is
    measured: the reference engine repeats both passes in many digits, with random changes of all
    its numbers in their last places of float64 (see ``referee``). For each network the
    derivative along one random direction, in which all parameters and input times move, is compared
    with the finite difference in many digits, with a step of 1e-20; this error is relative to the
    sum of the magnitudes of all contributions.

    Refuted if a unit spikes more often in one engine than in the other; if a spike time is further
    off than its rounding bound, or further than 4 ulp where the bound is at most 10 ulp; if a spike
    of a recurrent network is more than 1e-11 ms off; if a gradient is off by more than 1e-9, or by
    more than its rounding bound and more than the measured effect of rounding; or if a derivative
    along a direction is off from the difference by more than 1e-9, or by more than 1e-20 in the
    reference engine.
    """

    against = "the reference engine and central differences, in 50 digits"
    counts = ("networks",)

    networks: int = 10_000
    digits: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.digits < FEWEST_DIGITS:
            raise ValueError(
                f"digits = {self.digits}: central differences need {FEWEST_DIGITS} or more"
            )

    def examine(self, folder: Path) -> Finding:
        """Test the same number of networks of each kind, at least one."""
        each = max(1, self.networks // len(KINDS))
        tasks = [(self.seed, kind, n, self.digits) for kind in KINDS for n in range(each)]
        results = for_each(
            examine_network,
            tasks,
            title="networks",
            kept=folder / "networks.jsonl",
            settings=self.settings(),
        )
        outcomes = [Outcome(**result) for result in results]
        kinds = [
            Findings(kind, [outcome for outcome in outcomes if outcome.kind == kind])
            for kind in KINDS
        ]
        everything = Findings("all", outcomes)
        return Finding.of(
            summary(everything, self.digits),
            [line for kind in kinds for line in kind.refutations()],
            [spikes_table(kinds), gradients_table(kinds)],
        )


# -- one network --------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """The results for one network.

    Parameters
    ----------
    kind : str
    passed_over : int
        The number of networks drawn before that were silent or spiked too often.
    differs : bool
        Whether a unit spikes more often in one engine than in the other; if so, the other fields
        are empty.
    error, bound : list of float, one per spike
        The error and the rounding bound, in units in the last place of the trial's duration.
    largest_ms : float
        The largest error of a spike time in ms.
    gradients : list of float, one per readout
        The largest error of any entry of the gradients.
    gradient_bound : float
        Their rounding bound.
    along : float or None
        The error of the derivative along a direction against the finite difference; None if a
        spike appears or vanishes within the step.
    reference_along : float or None
        The same error for the reference engine.
    measured : list of float, one per gradient beyond its rounding bound
        Its largest error relative to what the measured effect of rounding allows.
    """

    kind: str
    passed_over: int
    differs: bool
    error: list[float]
    bound: list[float]
    largest_ms: float
    gradients: list[float]
    gradient_bound: float
    along: float | None
    reference_along: float | None
    measured: list[float] = field(default_factory=list)


def examine_network(seed: int, kind: str, number: int, digits: int) -> dict[str, Any]:
    """The outcome for one random network, as a dict of its fields."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    passed_over, case, state = random_small_case(rng, kind)
    reference = ManyDigits(digits)
    arguments = case.network, case.inputs, case.duration
    truth = reference.simulate(*arguments)
    errors = spike_errors(*arguments, EXACT.spikes(state), truth)
    if errors.pattern_differs:
        return asdict(Outcome(kind, passed_over, True, [], [], 0.0, [], 0.0, None, None))
    along = derivative_errors(rng, case, state, truth, reference)
    cotangents, gradients = gradient_errors(rng, case, state, truth, reference)
    beyond = [
        (readout, own)
        for readout, own, error in zip(case.readouts, cotangents, gradients, strict=True)
        if error > errors.gradient_bound + SMALLEST_BOUND
    ]
    return asdict(
        Outcome(
            kind,
            passed_over,
            False,
            errors.error.tolist(),
            errors.bound.tolist(),
            largest_ms(errors, case.duration),
            gradients,
            errors.gradient_bound,
            *along,
            [rounding_effect(case, *each, digits) for each in beyond],
        )
    )


def random_small_case(rng: np.random.Generator, kind: str) -> tuple[int, Case, Any]:
    """The number of rejected networks, then a network with spikes but not too many, its state."""
    passed_over = 0
    while True:
        case = random_case(rng, kind)
        try:
            state = EXACT.simulate(case.network, case.inputs, case.duration)
        except EngineError:  # the network runs away
            passed_over += 1
            continue
        counts = EXACT.spike_counts(state)
        spikes = sum(int(counts[name].sum()) for name in counts if name not in case.inputs)
        if 0 < spikes <= MOST_SPIKES[kind]:
            return passed_over, case, state
        passed_over += 1


def largest_ms(errors: SpikeErrors, duration: float) -> float:
    """The largest error of a spike time in ms."""
    return float(errors.error.max() * np.spacing(duration))


def gradient_errors(
    rng: np.random.Generator, case: Case, state: Any, truth: Any, reference: ManyDigits
) -> tuple[list[np.ndarray], list[float]]:
    """Random cotangents of each readout, and the largest error of any gradient for them."""
    names = list(case.network.parameters)
    drawn, found = [], []
    for readout in case.readouts:
        cotangents = rng.normal(0, 1, EXACT.read(state, readout).shape)
        adjoint, expected = (
            engine.pull_back(simulated, readout, cotangents, names)
            for engine, simulated in ((EXACT, state), (reference, truth))
        )
        drawn.append(cotangents)
        found.append(gradient_error(case.network, adjoint, expected))
    return drawn, found


def rounding_effect(case: Case, readout: Any, cotangents: np.ndarray, digits: int) -> float:
    """The largest error of any gradient relative to what the measured effect of rounding allows.

    It is 0 if rounding alone makes spikes appear or vanish.
    """
    names = tuple(case.network.parameters)
    alone = SmallCase(case.network, case.inputs, case.duration, readout, cotangents, names)
    found = exact_results(alone, EXACT)
    verdict = judge_by_condition(alone, found, solve(alone, digits), digits, seed=0)
    return verdict.worst if verdict.is_decided else 0.0


def derivative_errors(
    rng: np.random.Generator, case: Case, state: Any, truth: Any, reference: ManyDigits
) -> tuple[float | None, float | None]:
    """The errors of both engines along a random direction; see ``Outcome``."""
    readout = case.readouts[rng.integers(len(case.readouts))]
    values = EXACT.read(state, readout)
    cotangents = np.where(np.isfinite(values), rng.normal(0, 1, values.shape), 0.0)
    chosen = cotangents != 0

    def weighted_sum(moved: Any) -> Any:
        return np.sum(reference.read_exact(moved, readout)[chosen] * cotangents[chosen])

    direction = directional.random_direction(rng, case)
    try:
        difference = directional.difference(case, reference, direction, weighted_sum)
    except directional.OtherPatternError:
        return None, None
    adjoint = EXACT.pull_back(state, readout, cotangents, list(case.network.parameters))
    parts = directional.contributions(adjoint, direction)
    fine = reference.pull_back_exact(truth, readout, cotangents)
    derivatives = parts.sum(), directional.derivative(case, fine, direction)
    scale = np.abs(parts).sum()
    along, of_reference = (
        float(abs(derivative - difference) / scale) if scale else 0.0 for derivative in derivatives
    )
    return along, of_reference


# -- many of them -------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """The outcomes of one kind of networks, or of all kinds."""

    kind: str
    outcomes: list[Outcome]

    @property
    def compared(self) -> list[Outcome]:
        """The outcomes with the same spikes in both engines."""
        return [outcome for outcome in self.outcomes if not outcome.differs]

    @property
    def error(self) -> np.ndarray:
        """The errors of all spikes, in ulp."""
        return np.array([error for outcome in self.compared for error in outcome.error])

    @property
    def bound(self) -> np.ndarray:
        """The rounding bounds of all spikes, in ulp."""
        return np.array([bound for outcome in self.compared for bound in outcome.bound])

    @property
    def gradient(self) -> np.ndarray:
        """The largest error of a gradient for each network and readout."""
        return np.array([error for outcome in self.compared for error in outcome.gradients])

    @property
    def gradient_bound(self) -> np.ndarray:
        """The rounding bound of each of these gradients."""
        bounds = [o.gradient_bound for o in self.compared for _ in o.gradients]
        return np.array(bounds) + SMALLEST_BOUND

    @property
    def measured(self) -> np.ndarray:
        """The errors beyond their rounding bounds, relative to the measured effect of rounding."""
        return np.array([error for outcome in self.compared for error in outcome.measured])

    def along(self, engine: str = "along") -> np.ndarray:
        """The errors against differences: "along" or "reference_along"."""
        errors = (getattr(outcome, engine) for outcome in self.compared)
        return np.array([error for error in errors if error is not None])

    def refutations(self) -> Iterator[str]:
        """The parts of the claim that do not hold, and by how much."""
        differ = sum(outcome.differs for outcome in self.outcomes)
        if differ:
            yield f"{self.kind}: {differ} of {len(self.outcomes)} networks have other spikes"
        error, bound = self.error, self.bound
        recurrent = MOST_SPIKES.get(self.kind) == 99
        in_ms = [outcome.largest_ms for outcome in self.compared] if recurrent else []
        checks = [
            ("spikes by their rounding bounds", error / np.where(bound > 0, bound, 1.0), 1.0),
            ("well-conditioned spikes in ulp", error[bound <= MODERATE], 4.0),
            ("spikes of recurrent networks in ms", np.array(in_ms), 1e-11),
            ("gradients", self.gradient, 1e-9),
            ("gradients by the measured effect of rounding", self.measured, 1.0),
            ("derivatives against differences", self.along(), 1e-9),
            ("the reference engine's derivatives", self.along("reference_along"), 1e-20),
        ]
        for what, values, limit in checks:
            if (values > limit).any():
                yield (
                    f"{self.kind}, {what}: {(values > limit).sum()} of {values.size} are off by "
                    f"more than {limit:g}, the worst by {values.max():.2g}"
                )


def summary(found: Findings, digits: int) -> str:
    """The figures for all kinds together."""
    if not found.compared:
        return f"In none of {len(found.outcomes)} networks do both engines have the same spikes."
    error = found.error
    differ = sum(outcome.differs for outcome in found.outcomes)
    return (
        f"{len(found.outcomes)} networks with {error.size} spikes, {digits} digits: patterns "
        f"differ in {differ}; spike times are off by at most "
        f"{max(outcome.largest_ms for outcome in found.compared):.1e} ms and "
        f"{(error / found.bound).max():.2f} of their rounding bounds, in the median by "
        f"{np.median(error):.2f} ulp; gradients by at most {found.gradient.max():.1e} of a "
        f"parameter's largest entry, in the median by {np.median(found.gradient):.1e}."
    )


def table(title: str, kinds: list[Findings], rows: list[list[str]]) -> Table:
    """A table with a column for each kind of networks."""
    return Table(title, ["", *(kind.kind for kind in kinds)], rows)


def spikes_table(kinds: list[Findings]) -> Table:
    """Errors of spike times."""
    kinds = [kind for kind in kinds if kind.compared]
    errors = [kind.error for kind in kinds]
    moderate = [kind.bound <= MODERATE for kind in kinds]
    in_ms = [max(outcome.largest_ms for outcome in kind.compared) for kind in kinds]
    passed_over = [sum(outcome.passed_over for outcome in kind.outcomes) for kind in kinds]
    small = [error[chosen] for error, chosen in zip(errors, moderate, strict=True)]
    rows = [
        ["networks", *(str(len(kind.outcomes)) for kind in kinds)],
        ["passed over", *map(str, passed_over)],
        ["patterns that differ", *(str(len(k.outcomes) - len(k.compared)) for k in kinds)],
        ["spikes", *(str(error.size) for error in errors)],
        ["median error, ulp", *(f"{np.median(error):.2f}" for error in errors)],
        ["99.9 % below, ulp", *(f"{np.quantile(error, 0.999):.2f}" for error in errors)],
        ["largest error, ulp", *(f"{error.max():.1f}" for error in errors)],
        ["largest error, ms", *(f"{error:.1e}" for error in in_ms)],
        ["largest error / bound", *(f"{(k.error / k.bound).max():.2f}" for k in kinds)],
        [f"bound at most {MODERATE:g} ulp", *(f"{100 * part.mean():.0f} %" for part in moderate)],
        ["largest error of these, ulp", *(f"{part.max(initial=0.0):.2f}" for part in small)],
    ]
    return table("Spike times", kinds, rows)


def gradients_table(kinds: list[Findings]) -> Table:
    """Errors of gradients against the reference engine and against finite differences."""
    kinds = [kind for kind in kinds if kind.along().size]
    gradients, along = [kind.gradient for kind in kinds], [kind.along() for kind in kinds]
    reference = [kind.along("reference_along") for kind in kinds]
    rows = [
        ["gradients", *(str(part.size) for part in gradients)],
        ["median error", *(f"{np.median(part):.1e}" for part in gradients)],
        ["99.9 % below", *(f"{np.quantile(part, 0.999):.1e}" for part in gradients)],
        ["largest error", *(f"{part.max():.1e}" for part in gradients)],
        [
            "largest error / rounding bound",
            *(f"{(k.gradient / k.gradient_bound).max():.2f}" for k in kinds),
        ],
        ["errors beyond it", *(str(k.measured.size) for k in kinds)],
        [
            "these / measured effect of rounding",
            *(f"{k.measured.max():.2f}" if k.measured.size else "–" for k in kinds),
        ],
        ["directions", *(str(part.size) for part in along)],
        ["largest error against differences", *(f"{part.max():.1e}" for part in along)],
        ["the same of the reference engine", *(f"{part.max():.1e}" for part in reference)],
    ]
    return table("Gradients, each by all parameters and input times", kinds, rows)
