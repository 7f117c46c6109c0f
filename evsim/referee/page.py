"""The report of a comparison as text and as a page with a picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from evsim.arguments.checks import checked_path
from evsim.display.markdown_table import markdown_table
from evsim.referee.divergence import Divergence
from evsim.referee.gradients import GradientError
from evsim.referee.matching import SpikeMatches
from evsim.referee.time_step import TimeStep
from evsim.referee.timing import TimingErrors
from evsim.referee.verdict import cause_in_words
from evsim.referee.voltages import VoltageErrors
from evsim.storage.files import check_no_file, write_atomically

MOST_ROWS = 10
"""The largest number of divergences that are listed."""

PAGE, PICTURE, SPIKES = "comparison.md", "comparison.png", "spikes.csv"


class Judged(Protocol):
    """What a report contains: see ``evsim.referee.Comparison``."""

    @property
    def verdict(self) -> str: ...
    @property
    def matches(self) -> SpikeMatches: ...
    @property
    def timing(self) -> Mapping[str, TimingErrors]: ...
    @property
    def time_step(self) -> TimeStep | None: ...
    @property
    def divergences(self) -> tuple[Divergence, ...]: ...
    @property
    def first_divergence(self) -> Divergence | None: ...
    @property
    def voltages(self) -> tuple[VoltageErrors, ...]: ...
    @property
    def loss(self) -> tuple[float, float] | None: ...
    @property
    def gradients(self) -> tuple[GradientError, ...]: ...


def text_of(comparison: Judged) -> str:
    """The report for a terminal: the verdict, and a table for each part of it."""
    return "\n\n".join([comparison.verdict, *_sections(comparison)])


def save_page(comparison: Judged, folder: str | os.PathLike[str]) -> Path:
    """Write the page, its picture and the table of spikes; return the path of the page."""
    path = checked_path(folder, "folder")
    check_no_file(path, "folder")
    path.mkdir(parents=True, exist_ok=True)
    write_atomically(path / SPIKES, _spike_table(comparison).encode())
    picture = ""
    if comparison.matches.populations:
        _draw(comparison, path / PICTURE)
        picture = f"\n\n![Errors of spike times by time, and their distribution]({PICTURE})"
    sections = "\n\n".join(_sections(comparison))
    page = f"# Comparison with evsim\n\n{comparison.verdict}{picture}\n\n{sections}\n\n{_about()}\n"
    write_atomically(path / PAGE, page.encode())
    return path / PAGE


def _draw(comparison: Judged, path: Path) -> None:
    from evsim import plotting
    from evsim.display.picture_target import for_files_only

    with for_files_only():
        plotting.save(plotting.spike_errors(comparison), path)


def _about() -> str:
    return (
        f"Errors are the other program minus evsim. All spikes are in [{SPIKES}]({SPIKES}); "
        "docs/compare.md of evsim says what each number means."
    )


# -- sections -----------------------------------------------------------------------------


def _sections(comparison: Judged) -> list[str]:
    parts = []
    if comparison.matches.populations:
        parts += [_spikes(comparison), *_time_step(comparison), *_divergences(comparison)]
    return [*parts, *_voltages(comparison), *_loss(comparison), *_gradients(comparison)]


def _spikes(comparison: Judged) -> str:
    rows = []
    for name, t in comparison.timing.items():
        if name == "all" and len(comparison.timing) == 2:
            continue
        counts = [t.ours, t.theirs, t.matched, t.moved, t.missing, t.additional]
        errors = [t.mean, t.median, t.p95, t.largest]
        rows.append([name, *(f"{count}" for count in counts), *map(number, errors)])
    header = ["population", "evsim", "theirs", "matched", "moved", "missing", "additional",
              "mean error, ms", "median", "95 %", "largest"]  # fmt: skip
    m = comparison.matches
    criterion = (
        f"Spikes at most {m.largest_shift:g} ms apart may be a pair; moved: by more than "
        f"{m.tolerance:g} ms."
    )
    return f"{markdown_table(header, rows)}\n\n{criterion}"


def _time_step(comparison: Judged) -> list[str]:
    step = comparison.time_step
    if step is None:
        return []
    grid = "Its spike times are on no time grid."
    if step.grid is not None:
        grid = (
            f"All its spike times are multiples of {step.grid:.4g} ms. In these steps, "
            f"95 % of the errors are at most {step.accumulated:.2g}."
        )
    local = (
        f"Local errors, of {step.count} spikes from the program's own earlier spikes, are "
        f"{abs(step.late):.2g} steps {'late' if step.late >= 0 else 'early'} on average, and 95 % "
        f"of them at most {step.p95:.2g}."
    )
    rows = [[f.model, number(f.step), number(f.explained), number(f.misfit)] for f in step.fits]
    header = ["model of the local errors", "step, ms", "explained", "misfit"]
    return [f"{grid} {local}", markdown_table(header, rows)]


def _divergences(comparison: Judged) -> list[str]:
    shown = comparison.divergences[:MOST_ROWS]
    if not shown:
        return []
    rows = [_divergence(each) for each in shown]
    header = ["first difference", "what", "V's margin", "above for, ms", "tie margin, ms",
              "error before, ms", "cause"]  # fmt: skip
    first = comparison.first_divergence
    assert first is not None
    parts = [
        markdown_table(header, rows),
        f"The first of all, {first.place}, is {first.kind}: {cause_in_words(first)}.",
    ]
    hidden = len(comparison.divergences) - len(shown)
    if hidden:
        parts.insert(1, f"And in {hidden} more samples.")
    return parts


def _divergence(each: Divergence) -> list[str]:
    return [
        f"sample {each.sample}, {each.population} {each.unit}, {each.time:.6g} ms",
        each.kind,
        number(each.voltage_margin),
        number(each.time_above),
        number(each.tie_margin),
        number(each.time_error),
        f"{each.cause}{', rounding' if each.is_rounding else ''}",
    ]


def _voltages(comparison: Judged) -> list[str]:
    if not comparison.voltages:
        return []
    rows = []
    for each in comparison.voltages:
        sample, unit, time = each.largest_at
        errors = (each.median, each.p95, each.largest, each.until_divergence)
        rows.append(
            [each.population, str(each.count), *map(number, errors),
             f"sample {sample}, unit {unit}, {time:g} ms"]
        )  # fmt: skip
    header = ["voltages of", "count", "median error", "95 %", "largest", "before a divergence",
              "largest at"]  # fmt: skip
    return [markdown_table(header, rows)]


def _loss(comparison: Judged) -> list[str]:
    if comparison.loss is None:
        return []
    exact, theirs = comparison.loss
    return [f"Loss: evsim {exact:.12g}, theirs {theirs:.12g}."]


def _gradients(comparison: Judged) -> list[str]:
    if not comparison.gradients:
        return []
    rows = [
        [g.parameter, number(g.cosine, 6), number(g.angle), number(g.relative_error),
         number(g.ratio)]
        for g in comparison.gradients
    ]  # fmt: skip
    header = ["gradient of", "cosine", "angle, degrees", "relative error", "norm, theirs/evsim"]
    return [markdown_table(header, rows)]


def number(value: float, digits: int = 3) -> str:
    """A number for a table; a dash if there is none."""
    return f"{value:.{digits}g}" if np.isfinite(value) else "–"


def _spike_table(comparison: Judged) -> str:
    """All spikes as comma-separated values with all digits."""
    m = comparison.matches
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "population", "unit", "ours", "theirs", "error", "state"])
    names = [m.populations[index] for index in m.population.tolist()]
    columns: list[Sequence[object]] = [m.sample.tolist(), names, m.unit.tolist()]
    columns += [
        ["" if np.isnan(value) else value for value in part.tolist()]
        for part in (m.ours, m.theirs, m.error)
    ]
    writer.writerows(zip(*columns, m.state.tolist(), strict=True))
    return text.getvalue()
