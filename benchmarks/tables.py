"""Turns the stored results of pytest-benchmark into Markdown tables, and puts them into a page."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np

import evsim
from evsim.display.markdown_table import markdown_table
from evsim.display.processor import processor

NONE = "–"
Benchmarks = Sequence[Mapping[str, Any]]


# -- measurements -------------------------------------------------------------------------


@dataclass(frozen=True)
class Time:
    """The median and interquartile range of a call's time in seconds, for a batch of samples."""

    median: float
    iqr: float
    samples: int

    def per_sample(self) -> float:
        """The median in microseconds per sample."""
        return 1e6 * self.median / self.samples

    def per_arrival(self, arrivals: float) -> tuple[float, float]:
        """The median and interquartile range in nanoseconds, given the arrivals per sample."""
        scale = 1e9 / (self.samples * arrivals)
        return scale * self.median, scale * self.iqr


@dataclass(frozen=True)
class Row:
    """A case with a number of threads: its description, and the time of each measured quantity."""

    information: dict[str, Any] = field(default_factory=dict)
    times: dict[str, Time] = field(default_factory=dict)


def rows_of(benchmarks: Benchmarks) -> dict[tuple[str, int], Row]:
    """The measurements by case and number of threads."""
    rows: dict[tuple[str, int], Row] = {}
    for benchmark in benchmarks:
        extra, stats = benchmark["extra_info"], benchmark["stats"]
        if "case" not in extra:
            continue
        row = rows.setdefault((extra["case"], extra["threads"]), Row())
        row.information.update(extra)
        row.times[extra["quantity"]] = Time(stats["median"], stats["iqr"], extra["samples"])
    return rows


# -- tables -------------------------------------------------------------------------------

HEADER = (
    "network", "threads", "hidden spikes", "arrivals", "forward, ns", "forward + backward, ns",
    "µs per sample", "with update, µs", "target", "memory, MB",
)  # fmt: skip


def speed_table(benchmarks: Benchmarks) -> str:
    """A table with a row for every case and number of threads."""
    return markdown_table(HEADER, [_cells(row) for row in rows_of(benchmarks).values()])


def _cells(row: Row) -> list[str]:
    info, times = row.information, row.times
    arrivals = info["arrivals"]

    def per_arrival(quantity: str) -> str:
        if quantity not in times:
            return NONE
        median, iqr = times[quantity].per_arrival(arrivals)
        return f"{figure(median)} ({figure(iqr)})"

    target = info["target"] if info["threads"] == 1 else None
    return [
        info["title"],
        str(info["threads"]),
        f"{info['hidden_spikes']:.0f}",
        f"{arrivals:.0f}",
        per_arrival("forward"),
        per_arrival("gradient"),
        figure(times["gradient"].per_sample()) if "gradient" in times else NONE,
        figure(times["epoch"].per_sample()) if "epoch" in times else NONE,
        f"{target['value']:g} {target['unit']}" if target else NONE,
        figure(info["memory"] / 1e6) if "memory" in info else NONE,
    ]


def threads_sentence(benchmarks: Benchmarks) -> str:
    """A sentence with the speed-up by a second thread; empty if it was not measured."""
    rows = rows_of(benchmarks)
    ratios = [
        rows[name, 1].times["gradient"].median / row.times["gradient"].median
        for (name, threads), row in rows.items()
        if threads == 2 and "gradient" in row.times and "gradient" in rows[name, 1].times
    ]
    if not ratios:
        return ""
    return (
        f"For forward + backward two threads are {min(ratios):.2f} to {max(ratios):.2f} times as "
        f"fast as one; the median is {np.median(ratios):.2f}."
    )


def start_sentence(benchmarks: Benchmarks) -> str:
    """A sentence with the time of the first gradient; empty if it was not measured."""
    seconds = {
        benchmark["extra_info"]["first_gradient"]: benchmark["stats"]["median"]
        for benchmark in benchmarks
        if "first_gradient" in benchmark["extra_info"]
    }
    if seconds.keys() != {"compiled", "cached"}:
        return ""
    return (
        "The first gradient of a new interpreter takes "
        f"{figure(seconds['compiled'])} s from its start if nothing is compiled yet, and "
        f"{figure(seconds['cached'])} s later."
    )


def machine() -> str:
    """The processor, its cores and the relevant versions."""
    return (
        f"{processor()}, {platform.system()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, numba {numba.__version__}, evsim {evsim.__version__}"
    )


# -- text ---------------------------------------------------------------------------------


def figure(value: float) -> str:
    """A number with three significant digits, or more if its integer part has more."""
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.3g}"


def write_between(page: Path, name: str, text: str) -> None:
    """Replace the text between the markers of that name in a page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = page.read_text(encoding="utf-8")
    for marker in (begin, end):
        if old.count(marker) != 1:
            raise ValueError(
                f"{page} has {old.count(marker)} lines {marker!r}: the text goes between one "
                f"{begin!r} and one {end!r}"
            )
    before, rest = old.split(begin)
    if end not in rest:
        raise ValueError(f"{page} has {end!r} before {begin!r}: put it behind")
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")
