"""Claim: the exact engine computes spike times and gradients as exactly as float64 allows.

    python validation/exact_against_reference.py --networks 2000 --digits 50 --out runs/validation

Random networks of every kind (tau_mem/tau_syn of 4, 2, 1, 1 + 1e-9 and 1/3, equal or
heterogeneous units, delays of every sharing or none, refractory periods of 0, 3 ms and for
ever, dense and sparse weights, spiking and non-spiking outputs) are run by the exact engine
and by the reference engine in many digits, which shares no code with it.

The rounding bound of a spike is how far its time moves, to first order, if every time, V and I
computed before it is off by a unit in its last place, all errors adding up.  The claim is
refuted by

- a unit that spikes more often in one engine than in the other;
- a spike time further off than its rounding bound, or further than 4 units in the last place
  (ulp) of the trial's length where the bound is at most 10 ulp;
- in recurrent networks, all of which have fewer than 100 spikes, a spike more than 1e-11 ms off;
- a gradient by any parameter or input time that is off by more than 1e-9 of its parameter's
  largest entry, or by more than 1e-12 where no spike's bound exceeds 200 ulp;
- an entry that differs from the central difference of the many-digit forward simulation by more
  than 1e-9.

Prints a table in Markdown, writes it to a folder, and exits with 1 if the claim is refuted.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import evsim
from evsim.engines import Exact, Reference
from evsim.readouts import Readout

# The networks, and how agreement is measured, are those of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from agreement import MODERATE, SpikeErrors, entries, gradient_error, spike_errors
from networks import KINDS, Case, random_case
from oracle import PatternChangedError, difference_of, entries_of

EXACT = Exact(threads=1)
FEWEST_DIGITS = 40  # for central differences with a step of 1e-20
MOST_SPIKES = {kind: 300 if kind in ("single neurons", "feedforward") else 99 for kind in KINDS}


@dataclass
class Findings:
    """What was found for one kind of network; errors in ulp of the trial's length."""

    kind: str
    networks: int = 0
    passed_over: int = 0
    patterns_differ: int = 0
    error: list[np.ndarray] = field(default_factory=list)
    bound: list[np.ndarray] = field(default_factory=list)
    largest_ms: float = 0.0
    gradient: list[float] = field(default_factory=list)
    worst_bound: list[float] = field(default_factory=list)
    difference: list[float] = field(default_factory=list)

    def refutations(self) -> Iterator[str]:
        """What of the claim does not hold."""
        error, bound = np.concatenate(self.error), np.concatenate(self.bound)
        gradient, worst_bound = np.array(self.gradient), np.array(self.worst_bound)
        checks = {
            "spike patterns differ": self.patterns_differ > 0,
            "spikes beyond their rounding bound": (error > bound).any(),
            "well-conditioned spikes beyond 4 ulp": (error[bound <= MODERATE] > 4).any(),
            "spikes of recurrent networks beyond 1e-11 ms": (
                MOST_SPIKES[self.kind] < 100 and self.largest_ms > 1e-11
            ),
            "gradients beyond 1e-9": (gradient > 1e-9).any(),
            "well-conditioned gradients beyond 1e-12": (gradient[worst_bound <= 200] > 1e-12).any(),
            "central differences beyond 1e-9": max(self.difference, default=0.0) > 1e-9,
        }
        for what, found in checks.items():
            if found:
                yield f"{self.kind}: {what}"

    def row(self) -> list[str]:
        """A row of the table."""
        error, bound = np.concatenate(self.error), np.concatenate(self.bound)
        moderate = bound <= MODERATE
        return [
            self.kind,
            str(self.networks),
            str(self.patterns_differ),
            str(error.size),
            f"{np.median(error):.2f}",
            f"{np.quantile(error, 0.999):.2f}",
            f"{error.max():.2f}",
            f"{error[moderate].max():.2f}",
            f"{100 * moderate.mean():.1f} %",
            f"{(error / bound).max():.2f}",
            f"{self.largest_ms:.1e}",
            f"{np.median(self.gradient):.1e}",
            f"{max(self.gradient):.1e}",
            f"{max(self.difference):.1e}",
        ]


COLUMNS = [
    "networks",
    "number",
    "patterns that differ",
    "spikes",
    "median error, ulp",
    "99.9 %, ulp",
    "largest, ulp",
    f"largest where the bound is at most {MODERATE:g} ulp",
    "which are",
    "largest error / bound",
    "largest, ms",
    "gradients: median error",
    "largest",
    "largest against central differences",
]


def examine(kind: str, networks: int, digits: int, rng: np.random.Generator) -> Findings:
    """Compare the engines on random networks of a kind."""
    findings = Findings(kind)
    reference = Reference(digits)
    for _ in track(range(networks), description=kind, transient=True):
        case, state = random_small_case(rng, kind, findings)
        arguments = case.network, case.inputs, case.duration
        truth = reference.simulate(*arguments)
        errors = spike_errors(*arguments, EXACT.spikes(state), truth)
        findings.networks += 1
        if errors.pattern_differs:
            findings.patterns_differ += 1
            continue
        record_spikes(findings, errors, case.duration)
        names = list(case.network.parameters)
        for readout in case.readouts:
            cotangents = rng.normal(0, 1, EXACT.read(state, readout).shape)
            found, expected = (
                engine.pull_back(own, readout, cotangents, names)
                for engine, own in ((EXACT, state), (reference, truth))
            )
            findings.gradient.append(gradient_error(case.network, found, expected))
            findings.worst_bound.append(errors.worst_bound)
        readout = case.readouts[rng.integers(len(case.readouts))]
        findings.difference.append(difference_error(rng, case, state, readout, reference))
    return findings


def random_small_case(rng: np.random.Generator, kind: str, findings: Findings) -> tuple[Case, Any]:
    """A network that spikes, but not more often than is to be compared."""
    while True:
        case = random_case(rng, kind)
        state = EXACT.simulate(case.network, case.inputs, case.duration)
        counts = EXACT.spike_counts(state)
        spikes = sum(int(counts[name].sum()) for name in counts if name not in case.inputs)
        if 0 < spikes <= MOST_SPIKES[kind]:
            return case, state
        findings.passed_over += 1


def record_spikes(findings: Findings, errors: SpikeErrors, duration: float) -> None:
    """Add the errors of one network."""
    findings.error.append(errors.error)
    findings.bound.append(errors.bound)
    findings.largest_ms = max(findings.largest_ms, errors.error.max() * np.spacing(duration))


def difference_error(
    rng: np.random.Generator, case: Case, state: Any, readout: Readout, reference: Reference
) -> float:
    """The error of one entry of a gradient against the central difference in many digits.

    Relative to itself and a thousandth of its parameter's largest entry; 0 where a spike
    appears or vanishes within the step, so that there is no derivative.
    """
    values = EXACT.read(state, readout)
    cotangents = np.where(np.isfinite(values), rng.normal(0, 1, values.shape), 0.0)
    names = list(case.network.parameters)
    adjoint = EXACT.pull_back(state, readout, cotangents, names)
    gradients = {name: entries(adjoint.parameters[name]) for name in names}
    places = {name: entries_of(case.network, name) for name in names}
    for name, slopes in adjoint.input_times.items():
        gradients[f"{name}.times"], places[f"{name}.times"] = slopes, list(range(slopes.size))
    name = list(gradients)[rng.integers(len(gradients))]
    if not places[name] or not gradients[name].any():
        return 0.0
    place = places[name][rng.integers(len(places[name]))]

    def weighted_sum(shifted: Any) -> Any:
        chosen = cotangents != 0
        return np.sum(reference.read_exact(shifted, readout)[chosen] * cotangents[chosen])

    try:
        expected = difference_of(
            case.network, case.inputs, case.duration, weighted_sum, name, place, reference.digits
        )
    except PatternChangedError:
        return 0.0
    scale = abs(float(expected)) + 1e-3 * np.abs(gradients[name]).max()
    return float(abs(gradients[name][place] - expected)) / scale


def table(findings: list[Findings]) -> str:
    """The findings in Markdown."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(f.row() for f in findings)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    """Examine, print, write; 1 if the claim is refuted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=2000, help="of all kinds together")
    parser.add_argument("--digits", type=int, default=50, help="of the reference engine")
    parser.add_argument("--out", type=Path, default=Path("runs/validation"), help="a folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.digits < FEWEST_DIGITS:
        parser.error(f"--digits {arguments.digits}: central differences need {FEWEST_DIGITS}")
    if arguments.networks < len(KINDS):
        parser.error(f"--networks {arguments.networks}: give at least one of each kind")

    start = time.perf_counter()
    findings = [
        examine(
            kind,
            arguments.networks // len(KINDS),
            arguments.digits,
            np.random.default_rng([arguments.seed, index]),
        )
        for index, kind in enumerate(KINDS)
    ]
    refutations = [line for own in findings for line in own.refutations()]
    report = "\n".join(
        [
            "# The exact engine against the reference engine",
            "",
            f"evsim {evsim.__version__}, {arguments.digits} digits, seed {arguments.seed}, "
            f"Python {platform.python_version()}, NumPy {np.__version__}, "
            f"{platform.machine()}, {time.perf_counter() - start:.0f} s.  "
            f"{sum(f.passed_over for f in findings)} networks that were silent or had too many "
            "spikes to compare were passed over.",
            "",
            table(findings),
            "",
            *(refutations or ["The claim holds."]),
            "",
        ]
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "exact_against_reference.md").write_text(report)
    print(report)
    return 1 if refutations else 0


if __name__ == "__main__":
    sys.exit(main())
