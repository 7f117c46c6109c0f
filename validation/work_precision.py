"""WorkPrecision: the time that accuracy costs, on a grid and with the exact engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from claims import Claim, Finding, Picture, Table
from nest_networks import power_of_two
from work_measured import (
    EXACT,
    GRID32,
    GRID64,
    GRIDS,
    NEST_GRID,
    NEST_LOSSLESS,
    NEST_PRECISE,
    Point,
    gradient_points,
    spike_points,
    truth,
    work,
)

import evsim

PICTURE = "work_precision.png"
EXACT_LIMIT = 1e-9


@dataclass(frozen=True)
class WorkPrecision(Claim):
    """For errors below a hundredth a grid takes longer than the exact engine.

    A network of 100 inputs at 20 Hz, 100 recurrent hidden units and a delay at every synapse runs
    for 500 ms on the exact engine, on evsim's grid on the CPU and on NEST's models, with one
    thread. Errors of spikes are mean distances of hidden spikes in ms, up to the first spike that
    does not occur in both simulations. Errors of gradients are norms of the error with respect to
    the hidden units' weights, relative to the norm of the gradient. The true values are those of
    the reference engine in many digits. Times are medians of the CPU time of a forward run, or of a
    gradient with respect to every parameter, without compilation; for NEST they are the time of its
    simulation loop alone. NEST has no gradients.

    Refuted if for some step a grid has the right spikes, and takes less time than the exact engine
    for an error of spike times below 0.01 ms or a relative error of the gradient below 0.01; if a
    grid is closer to the true values than the exact engine; or if the exact engine is further off
    than 10⁻⁹.
    """

    inputs: int = 100
    hidden: int = 100
    duration: float = 500.0
    finest: int = 10
    repeats: int = 5
    error: float = 1e-2
    digits: int = 25
    seed: int = 0

    against: ClassVar[str] = "grids of evsim and NEST, at equal cost"
    counts: ClassVar[tuple[str, ...]] = ("repeats",)

    def examine(self, folder: Path) -> Finding:
        """Measure, draw and compare."""
        folder.mkdir(parents=True, exist_ok=True)
        problem = work(self.inputs, self.hidden, self.duration, self.seed)
        sizes = f"{self.inputs}-{self.hidden}-{self.duration:g}-{self.seed}-{self.digits}"
        true = truth(
            problem, self.digits, folder / f"truth-{evsim.__version__}-{sizes}.safetensors"
        )
        steps = tuple(2.0**-power for power in range(self.finest + 1))
        spikes = list(spike_points(problem, true, steps, self.repeats))
        gradients = list(gradient_points(problem, true, steps, self.repeats))
        draw(spikes, gradients, folder / PICTURE)
        count = true.spikes.times.size
        text = (
            "Error against the processor's time, spike times on the left and gradients on the "
            "right: the grids go down with a slope of one, the exact engine is a point far below."
        )
        return Finding.of(
            summary(count, spikes, gradients),
            [
                *refutations("spikes", spikes, self.error),
                *refutations("gradients", gradients, self.error),
            ],
            [
                table("Spike times, forward only", "mean error, ms", spikes),
                table("Gradients, forward and backward", "relative error", gradients),
                costs_table(spikes, gradients),
            ],
            [Picture(PICTURE, text)],
        )

    def smaller(self, effort: float) -> Self:
        """A smaller network and a shorter trial, down to a fifth of each.

        Such a run takes less than a millisecond, most of it in Python, for every engine; so the
        grid is then compared at an error of a thousandth.
        """
        share = max(effort**0.5, 0.2)
        return replace(
            super().smaller(effort),
            inputs=round(share * self.inputs),
            hidden=round(share * self.hidden),
            duration=round(share * self.duration, 0),
            finest=min(self.finest, 8),
            error=self.error if effort == 1 else 0.1 * self.error,
        )


def exact_of(points: list[Point]) -> Point:
    """The point of the exact engine."""
    return next(point for point in points if point.series == EXACT)


def refutations(what: str, points: list[Point], error: float) -> Iterator[str]:
    """The parts of the claim that do not hold."""
    exact = exact_of(points)
    if not exact.error <= EXACT_LIMIT:
        yield f"{what}: the exact engine is off by {exact.error:.1e}"
    for point in points:
        if point.series not in GRIDS:
            continue
        how = f"{what}: {point.series} with a step of {power_of_two(point.step)} ms is off by "
        if point.same_spikes and point.error <= exact.error:
            yield f"{how} {point.error:.1e}, the exact engine by {exact.error:.1e}"
        if point.same_spikes and point.error < error and point.seconds < exact.seconds:
            yield f"{how}{point.error:.1e} in {point.seconds:.2g} s, less than {exact.seconds:.2g}"


# -- in words -----------------------------------------------------------------------------


def curve(points: list[Point], series: str) -> list[Point]:
    """The points of a series, from the coarsest step to the finest."""
    return [point for point in points if point.series == series and point.is_measured]


def error_at(points: list[Point], seconds: float) -> float:
    """The error of a grid for a given time, interpolated between its steps in logarithms."""
    ordered = sorted(curve(points, GRID64), key=lambda point: point.seconds)
    x, y = (np.log([getattr(point, name) for point in ordered]) for name in ("seconds", "error"))
    return float(np.exp(np.interp(np.log(seconds), x, y)))


def time_for(points: list[Point], error: float) -> tuple[float, bool]:
    """The time that a grid needs for an error, and whether it was measured.

    It is the time of the longest step for which this and all shorter steps have no larger error.
    If there is none, it is extrapolated from the shortest step at first order.
    """
    best = None
    for point in reversed(curve(points, GRID64)):
        if not (point.same_spikes and point.error <= error):
            break
        best = point
    if best is not None:
        return best.seconds, True
    finest = curve(points, GRID64)[-1]
    return finest.seconds * finest.error / error, False


def summary(count: int, spikes: list[Point], gradients: list[Point]) -> str:
    """The figures in three sentences."""
    parts = [f"{count} hidden spikes."]
    for what, unit, points in (("spikes", " ms", spikes), ("gradients", "", gradients)):
        exact = exact_of(points)
        parts.append(
            f"For {what} the exact engine takes {1e3 * exact.seconds:.2g} ms and is off by "
            f"{exact.error:.0e}{unit}; in as much time the grid is off by "
            f"{error_at(points, exact.seconds):.1g}{unit}."
        )
    return " ".join(parts)


# -- tables -------------------------------------------------------------------------------


def table(title: str, error: str, points: list[Point]) -> Table:
    """A table with a row for each point."""
    columns = ["engine", "step, ms", "time, ms", error, "same spikes"]
    rows = [
        [
            point.series,
            power_of_two(point.step) if point.step is not None else "none",
            f"{1e3 * point.seconds:.3g}" if point.is_measured else "–",
            f"{point.error:.1e}" if point.is_measured else "stops with an error",
            ("yes" if point.same_spikes else "no") if point.is_measured else "–",
        ]
        for point in points
    ]
    return Table(title, columns, rows)


def costs_table(spikes: list[Point], gradients: list[Point]) -> Table:
    """The time of a grid in float64 for an error, in multiples of the exact engine's time."""
    columns = ["error", "spikes: grid, ms", "of exact", "gradients: grid, ms", "of exact"]
    rows = []
    for error, name in ((1e-1, "10⁻¹"), (1e-2, "10⁻²"), (1e-3, "10⁻³"), (1e-6, "10⁻⁶")):
        row = [name]
        for points in (spikes, gradients):
            seconds, measured = time_for(points, error)
            about = "" if measured else "about "
            share = seconds / exact_of(points).seconds
            row += [f"{about}{two_digits(1e3 * seconds)}", f"{two_digits(share)} ×"]
        rows.append(row)
    title = "What an error costs on the grid; “about” if no step was so fine, at first order"
    return Table(title, columns, rows)


def two_digits(value: float) -> str:
    """A number rounded to two digits, without an exponent."""
    return f"{float(f'{value:.2g}'):,.10g}"


# -- plot ---------------------------------------------------------------------------------

LOOKS = {
    GRID64: ("o", 0, "-"),
    GRID32: ("s", 4, "--"),
    NEST_GRID: ("^", 1, "-"),
    NEST_PRECISE: ("v", 2, "-"),
    NEST_LOSSLESS: ("D", 3, "-"),
}  # marker, number of the colour, line
LABELLED = (1.0, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-10)


def draw(spikes: list[Point], gradients: list[Point], file: Path) -> None:
    """Draw two panels of errors against time."""
    from evsim.plotting.style import SMALL_TEXT, TWO_COLUMNS, label, new_figure, save

    figure = new_figure(TWO_COLUMNS, 0.55 * TWO_COLUMNS)
    left, right = figure.subplots(1, 2)
    for ax, points in ((left, spikes), (right, gradients)):
        draw_panel(ax, points)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(3e-15, 10)
        ax.set_yticks(10.0 ** np.arange(-14, 1, 2))
        ax.margins(x=0.08)
    label(left, "processor's time (s)", "mean error (ms)", "spike times")
    label(right, "processor's time (s)", "relative error", "gradient by the hidden units' weights")
    figure.legend(
        *left.get_legend_handles_labels(),
        title="Numbers: step in ms.  Hollow: other spikes than in continuous time.",
        title_fontsize=SMALL_TEXT,
        fontsize=SMALL_TEXT,
        frameon=False,
        loc="outside lower center",
        ncols=3,
    )
    save(figure, file)


def draw_panel(ax, points: list[Point]) -> None:
    """Draw the curves, hollow where spikes differ, and a star for the exact engine."""
    from evsim.plotting.style import COLOURS, GREY, SMALL_TEXT

    exact = exact_of(points)
    ax.axvline(exact.seconds, color=GREY, linewidth=0.6, linestyle=":", zorder=0)
    for series, (marker, number, line) in LOOKS.items():
        shown = curve(points, series)
        if not shown:
            continue
        colour = COLOURS[number]
        times, errors = (
            np.array([getattr(p, name) for p in shown]) for name in ("seconds", "error")
        )
        same = np.array([point.same_spikes for point in shown])
        look = {"color": colour, "markersize": 3.5, "markeredgewidth": 0.8, "linewidth": 1}
        ax.plot(times, errors, line, **look)
        ax.plot([], [], line, marker=marker, label=series, **look)
        ax.plot(times[same], errors[same], marker, **look)
        ax.plot(times[~same], errors[~same], marker, markerfacecolor="white", **look)
        if series in (GRID64, NEST_LOSSLESS):
            label_steps(ax, shown, colour)
    ax.plot(
        exact.seconds, exact.error, "*", color=COLOURS[5], markersize=9, label=EXACT,
        markeredgewidth=0,
    )  # fmt: skip
    ax.annotate(
        "exact", (exact.seconds, exact.error), (-6, 0), textcoords="offset points",
        fontsize=SMALL_TEXT, color=COLOURS[5], ha="right", va="center",
    )  # fmt: skip


def label_steps(ax, points: list[Point], colour: str) -> None:
    """Write the steps below some of the points."""
    from evsim.plotting.style import SMALL_TEXT

    for point in points:
        if point.step in LABELLED or point.series == NEST_LOSSLESS:
            power = round(np.log2(point.step))
            ax.annotate(
                f"$2^{{{power}}}$" if power else "1",
                (point.seconds, point.error),
                (-1, -5),
                textcoords="offset points",
                fontsize=SMALL_TEXT - 1,
                color=colour,
                ha="center",
                va="top",
            )
