"""Claim: a time step decides how well a sound is localised, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from claims import Claim, Finding, Picture, Table

import evsim
from evsim.engines import Engine, Exact, Grid
from evsim.tasks import sound_localisation
from evsim.tasks.sound_localisation import Settings

LIMIT = 20.0
"""The mean absolute error in microseconds above which an engine fails: the jitter of one spike."""

COARSE = 0.1
"""Grids with steps of this length in ms, or longer, are claimed to fail."""

PICTURE = "errors.png"


@dataclass(frozen=True)
class Row:
    """The measurements of an engine; errors are in microseconds, one for each seed.

    ``step`` is in ms, None for the exact engine.  ``own`` are the errors on the engine itself,
    ``on_exact`` those of the same networks on the exact engine.  ``seconds`` is the CPU time for
    the gradient of one training sample.  ``silent`` is the share of test samples for which no
    detector spikes.  ``network`` is that of the last seed.
    """

    step: float | None
    own: np.ndarray
    on_exact: np.ndarray
    read: float
    silent: float
    network: evsim.Network
    seconds: float = np.nan

    @property
    def engine(self) -> Engine:
        """The engine, with one thread."""
        return engine_of(self.step)

    @property
    def name(self) -> str:
        """The name of the engine in tables."""
        return "exact" if self.step is None else f"grid, {self.step:g} ms"


@dataclass(frozen=True)
class TimeStepDecides(Claim):
    """A grid localises sounds to 20 µs only with steps below 0.1 ms, and then takes longer.

    The task is `evsim train sound-localisation` with its defaults: clicks, time differences within
    0.5 ms between two ears of eight fibres each, and a jitter of 20 µs on every spike. The same
    network is trained from the same seeds on the exact engine and on grids of the CPU, with one
    thread and equal numbers of epochs, and tested on the engine that trained it; so the spikes of
    the inputs and all delays are rounded to the grid in both. Every network is also tested on the
    exact engine. The error is the mean absolute error of the time difference on 1000 test samples,
    which choose nothing.

    The limit of 20 µs is the jitter of one spike. Independently of any network, the difference of
    the mean spike times of both ears is read off the test samples, before and after they are
    rounded to the grid: it shows what rounding the inputs costs by itself. Times are the
    processor's time for one gradient with respect to all delays, per training sample: the least of
    several, without compilation. The engines take turns, so that other work on the machine slows
    all of them alike.

    Refuted if the exact engine's error is 20 µs or more with some seed; if that of a grid with a
    step of 0.1 ms or longer is below 20 µs with some seed; or if a grid whose errors are all below
    20 µs takes less time than the exact engine.
    """

    against: ClassVar[str] = "evsim's grid on the CPU, at the same task"
    counts: ClassVar[tuple[str, ...]] = ("seeds",)

    steps: tuple[float, ...] = (1.0, 0.5, 0.1, 0.05, 0.02)
    seeds: int = 3
    epochs: int = 30
    repeats: int = 20

    def examine(self, folder: Path) -> Finding:
        """Train, test, measure and compare."""
        rows = with_times([self.measured(step) for step in (*self.steps, None)], self.repeats)
        draw(rows, folder / PICTURE)
        text = (
            "Error of the time difference against the step of the grid on the left, and against "
            "the time of a gradient on the right; the exact engine is a line and a point."
        )
        return Finding.of(summary(rows), refutations(rows), [table(rows)], [Picture(PICTURE, text)])

    def smaller(self, effort: float) -> Self:
        """Fewer seeds, epochs and repeats, and three engines."""
        return replace(
            super().smaller(effort),
            epochs=max(3, round(effort * self.epochs)),
            repeats=max(5, round(effort * self.repeats)),
            steps=self.steps if effort == 1 else (COARSE, 0.02),
        )

    def measured(self, step: float | None) -> Row:
        """The measurements of an engine on the task."""
        engine = engine_of(step)
        own, on_exact, silent = [], [], []
        for seed in range(self.seeds):
            settings = Settings(seed=seed, data_seed=seed, epochs=self.epochs)
            result = sound_localisation.train(settings, engine=engine, progress=False)
            found = errors(result.network, settings, engine)
            own.append(found["mean_error_us"])
            silent.append(found["share_silent"])
            on_exact.append(errors(result.network, settings, Exact(threads=1))["mean_error_us"])
        return Row(
            step,
            np.array(own),
            np.array(on_exact),
            read_off(step, self.seeds),
            float(np.mean(silent)),
            result.network,
        )


# -- measuring ------------------------------------------------------------------------------


def engine_of(step: float | None) -> Engine:
    """The exact engine, or a grid with steps in ms; one thread."""
    return Exact(threads=1) if step is None else Grid(dt=step, threads=1)


def errors(network: evsim.Network, settings: Settings, engine: Engine) -> dict[str, float]:
    """The results of a test."""
    test = sound_localisation.samples(settings, "test")
    outcome = sound_localisation.experiment.test(network, test, settings, engine)
    return sound_localisation.measures(outcome, settings)


def read_off(step: float | None, seeds: int) -> float:
    """The mean absolute error, in µs, of the difference of the ears' mean spike times."""
    found = []
    for seed in range(seeds):
        settings = Settings(data_seed=seed)
        test = sound_localisation.samples(settings, "test")
        times = test.inputs["spikes"].first()
        if step is not None:
            times = step * np.round(times / step)
        ears = times.reshape(len(test), 2, settings.fibres).mean(axis=2)
        found.append(np.abs(ears[:, 1] - ears[:, 0] - test.labels).mean())
    return 1000.0 * float(np.mean(found))


def with_times(rows: Sequence[Row], repeats: int) -> list[Row]:
    """The same rows with the shortest time of a gradient; the engines take turns."""
    settings = Settings()
    batch = sound_localisation.samples(settings, "train")[: settings.batch_size]
    taken = [[gradient_seconds(row, settings, batch) for row in rows] for _ in range(repeats + 1)]
    least = np.min(taken[1:], axis=0)  # the first may compile
    return [replace(row, seconds=float(s)) for row, s in zip(rows, least, strict=True)]


def gradient_seconds(row: Row, settings: Settings, batch: evsim.Dataset) -> float:
    """The CPU time for the gradient of one training sample, in seconds."""
    loss, duration = sound_localisation.loss(settings), settings.number("duration")
    start = time.process_time()
    evsim.gradient(
        row.network, batch.spikes, batch.labels, loss, duration, wrt=["delay"], engine=row.engine
    )
    return (time.process_time() - start) / len(batch)


# -- findings -------------------------------------------------------------------------------


def by_engine(rows: Sequence[Row]) -> tuple[Row, list[Row]]:
    """The exact engine, and the grids."""
    (exact,) = (row for row in rows if row.step is None)
    return exact, [row for row in rows if row.step is not None]


def refutations(rows: Sequence[Row]) -> Iterator[str]:
    """The parts of the claim that do not hold."""
    exact, grids = by_engine(rows)
    if not exact.own.max() < LIMIT:
        yield f"the exact engine's error is {exact.own.max():.1f} µs with one seed"
    for row in grids:
        if (row.step or 0.0) >= COARSE and row.own.min() < LIMIT:
            yield f"{row.name}: the error is {row.own.min():.1f} µs with one seed"
        if row.own.max() < LIMIT and row.seconds < exact.seconds:
            yield (
                f"{row.name}: the errors are below {LIMIT:g} µs, and a gradient takes "
                f"{1e6 * row.seconds:.0f} µs per sample, less than {1e6 * exact.seconds:.0f}"
            )


def summary(rows: Sequence[Row]) -> str:
    """The figures in a few sentences."""
    exact, grids = by_engine(rows)
    fails = [row for row in grids if not row.own.max() < LIMIT]
    passes = [row for row in grids if row.own.max() < LIMIT]
    parts = [
        f"The exact engine's mean error is {exact.own.mean():.1f} µs, at "
        f"{1e6 * exact.seconds:.0f} µs for the gradient of a sample."
    ]
    if fails:
        finest = min(fails, key=lambda row: row.step or 0.0)
        parts.append(
            f"A grid of {finest.step:g} ms fails with {finest.own.mean():.1f} µs, at "
            f"{1e6 * finest.seconds:.0f} µs."
        )
    if passes:
        parts.append(
            "; ".join(
                f"{row.step:g} ms reaches {row.own.mean():.1f} µs at {1e6 * row.seconds:.0f} µs, "
                f"{row.seconds / exact.seconds:.1f} times the time of the exact engine"
                for row in passes
            )
            + "."
        )
    return " ".join(parts)


def table(rows: Sequence[Row]) -> Table:
    """A table with a row for each engine."""

    def spread(values: np.ndarray) -> str:
        return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"

    cells = [
        [
            row.name,
            spread(row.own),
            spread(row.on_exact),
            f"{row.read:.1f}",
            f"{100 * row.silent:.0f}",
            f"{1e6 * row.seconds:.0f}",
        ]
        for row in rows
    ]
    columns = [
        "engine", "mean error, µs (seeds)", "the same networks on the exact engine, µs",
        "read off the input spikes, µs", "no detector spikes, %", "gradient of a sample, µs",
    ]  # fmt: skip
    return Table("Errors of the time difference, and the cost of training", columns, cells)


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw errors against the step, and against the time of a gradient."""
    from evsim.plotting.style import (
        BLACK,
        COLOURS,
        GREY,
        SMALL_TEXT,
        TWO_COLUMNS,
        label,
        new_figure,
        save,
    )

    exact, grids = by_engine(rows)
    steps = [row.step for row in grids]
    figure = new_figure(TWO_COLUMNS, 2.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for attribute, name, colour in (
        ("own", "trained and tested on the grid", COLOURS[5]),
        ("on_exact", "the same, tested exactly", COLOURS[1]),
    ):
        means = [getattr(row, attribute).mean() for row in grids]
        left.loglog(steps, means, "o-", color=colour, markersize=4, linewidth=1, label=name)
    left.loglog(steps, [row.read for row in grids], ":", color=BLACK, label="read off the inputs")
    left.axhline(exact.own.mean(), color=COLOURS[0], linewidth=1, label="exact engine")
    for ax in (left, right):
        ax.axhline(LIMIT, color=GREY, linewidth=0.8, linestyle="--")
    left.legend(fontsize=SMALL_TEXT, frameon=False)
    label(left, "step of the grid (ms)", "mean error (µs)", "dashed: the limit of 20 µs")
    for number, row in enumerate(rows):
        colour = COLOURS[0] if row.step is None else COLOURS[5]
        right.semilogy(1e6 * row.seconds, row.own.mean(), "o", color=colour, markersize=5)
        right.annotate(
            row.name.removeprefix("grid, "),
            (1e6 * row.seconds, row.own.mean()),
            xytext=(5, 4) if number else (5, -11),  # grids that fail lie side by side
            textcoords="offset points",
            fontsize=SMALL_TEXT,
        )
    label(right, "gradient of a sample (µs)")
    save(figure, file)
