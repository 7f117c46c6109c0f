"""ExactVsOlderEvsim: the results of evsim now against those of each earlier version.

``golden.py`` has written the files; its docstring says how to add the next release.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import golden
import numpy as np
from claims import Claim, Finding, Table
from golden import Case, Question

import evsim

FILES = Path(__file__).resolve().parent / "golden"

LIMITS = {
    "spike times": 4.0,
    "losses": 1e-13,
    "readouts": 1e-13,
    "gradients": 1e-12,
    "traces": 1e-12,
}
"""Limits for spike times in units in the last place of the trial's duration; for other quantities
relative to the largest entry of their array, but at least to a hundredth of that of their kind."""

ANNOUNCED = {
    "0.1.0": (
        "mean voltages and their gradients by other formulas (0.2.0): 10⁻¹⁶ to 10⁻¹³ of the "
        "largest entry"
    ),
}
"""Changes since a version, from "Changes to spike times or gradients" in CHANGELOG.md."""


@dataclass(frozen=True)
class ExactVsOlderEvsim(Claim):
    """The exact engine still computes what every earlier version of evsim computed.

    Every version ran networks of nine kinds, with every loss, readout and option that it had.
    ``validation/golden`` holds its results: spikes, readouts, losses, gradients with respect to all
    parameters and input times, and traces of V and of the adjoints. Results of the grid engine are
    kept since the version that introduced it, but for gradients, which follow another rule since
    0.4.0. Changes that CHANGELOG.md announces are named.

    Refuted if spikes differ in number or unit, or are more than 4 units in the last place of the
    trial's duration apart; if losses or readouts differ by more than 10⁻¹³; or if gradients or
    traces differ by more than 10⁻¹² of their largest entry.
    """

    cases: int = 9

    against: ClassVar[str] = "evsim 0.1.0 and every release since"
    counts: ClassVar[tuple[str, ...]] = ("cases",)

    def examine(self, folder: Path) -> Finding:
        """Compute the results of every version again, for at most ``networks`` networks each."""
        del folder  # the test takes seconds, so no state is stored
        rows, refutations, identical, total = [], [], 0, 0
        files = sorted(FILES.glob("*.safetensors"), key=lambda f: golden.version_of(f.stem))
        for file in files:
            version, cases = golden.read(file)
            comparison = Comparison(version)
            for case, asked in cases[: self.cases]:
                for question, told in asked:
                    comparison.add(case, question, told)
            rows += comparison.rows()
            refutations += comparison.refutations
            identical += comparison.identical
            total += comparison.numbers
        summary = (
            f"{total:,} numbers that {len(files)} versions have computed were "
            f"computed again by evsim {evsim.__version__}; {100 * identical / total:.1f} % have "
            "the same bits."
        )
        columns = ["version", "what", "numbers", "same bits", "largest difference", "announced"]
        return Finding.of(summary, refutations, [Table("Then and now", columns, rows)])


@dataclass
class Comparison:
    """The results of one version against those of the present one."""

    version: str
    worst: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LIMITS, 0.0))
    counts: dict[str, list[int]] = field(default_factory=lambda: {k: [0, 0] for k in LIMITS})
    refutations: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> int:
        """The number of values that were compared."""
        return sum(number for number, _ in self.counts.values())

    @property
    def identical(self) -> int:
        """The number of compared values with identical bits."""
        return sum(same for _, same in self.counts.values())

    def add(self, case: Case, question: Question, told: dict[str, np.ndarray]) -> None:
        """Compute the answer again and compare it."""
        spikes, traces = (any(n.startswith(k) for n in told) for k in ("spikes/", "trace/"))
        now = golden.answers(case, question, spikes=spikes, traces=traces)
        place = f"{self.version}, {case.name}, {question.name()}"
        missing = told.keys() - now.keys()
        if missing:
            self.refutations.append(f"{place}: nothing is said of {', '.join(sorted(missing))}")
        for name, before in told.items():
            if name not in missing and not has_another_rule(question, name):
                self._compare(place, name, before, now[name], scales(case, told, name))

    def _compare(
        self, place: str, name: str, before: np.ndarray, after: np.ndarray, scale: float
    ) -> None:
        what = kind_of(name)
        if name.endswith(("/units", "/offsets")) or before.shape != after.shape:
            if not np.array_equal(before, after):
                self.refutations.append(f"{place}: {name} differ: there are other spikes")
            return
        equal = before == after
        self.counts[what][0] += before.size
        self.counts[what][1] += int(equal.sum())
        difference = np.abs(np.where(equal, 0.0, before) - np.where(equal, 0.0, after))
        error = float(difference.max(initial=0.0)) / scale if not equal.all() else 0.0
        self.worst[what] = max(self.worst[what], error)
        if not error <= LIMITS[what]:
            self.refutations.append(
                f"{place}: {name} differ by {error:.1e}, more than {LIMITS[what]:g}"
            )

    def rows(self) -> list[list[str]]:
        """The rows of the table."""
        rows = []
        for what, (number, same) in self.counts.items():
            if not number:
                continue
            unit = " ulp" if what == "spike times" else ""
            announced = ANNOUNCED.get(self.version, "") if what in ("readouts", "gradients") else ""
            share = f"{100 * same / number:.1f} %"
            cells = [f"{number:,}", share, f"{self.worst[what]:.1e}{unit}", announced]
            rows.append([self.version, what, *cells])
        return rows


def kind_of(name: str) -> str:
    """The kind of a quantity, which decides its limit."""
    kinds = {"spikes": "spike times", "gradient": "gradients", "trace": "traces"}
    return kinds.get(name.split("/")[0], "readouts" if name == "readout" else "losses")


def has_another_rule(question: Question, name: str) -> bool:
    """Whether a quantity is intentionally computed by a different rule than before.

    Since 0.4.0 the grid engine divides by a different number at emissions.
    """
    return question.engine[0] == "Grid" and kind_of(name) == "gradients"


def scales(case: Case, told: dict[str, np.ndarray], name: str) -> float:
    """The scale to which a difference is relative."""
    what = kind_of(name)
    if what == "spike times":
        return float(np.spacing(case.duration))
    largest = _largest(told[name])
    if what == "gradients":
        kind = name.rsplit(".", 1)[1]
        alike = ("delay", "times") if kind in ("delay", "times") else (kind,)
        others = [_largest(a) for n, a in told.items() if n.rsplit(".", 1)[-1] in alike]
        return max(largest, 1e-2 * max(others)) or 1.0
    if what == "traces":
        return max(largest, 1e-3)
    return max(largest, 1.0)


def _largest(values: np.ndarray) -> float:
    sizes = np.abs(values)
    return float(sizes[np.isfinite(sizes)].max(initial=0.0))
