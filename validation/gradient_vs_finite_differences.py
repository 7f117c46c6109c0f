"""Gradients against central differences over step sizes, in float64 and in many digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import directional
import numpy as np
from agreement import entries
from claims import Claim, Finding, Picture, Table
from many_digits import ManyDigits
from networks import Case, random_case
from parallel import for_each

from evsim import SpikeTrains
from evsim.engines import Exact
from evsim.network.parameters import with_data

EXACT = Exact(threads=1, debug=True)
PARAMETERS = ("weight", "delay", "tau_mem", "tau_syn", "threshold", "times")
UNITS = {"weight": 0.1, "threshold": 0.1, "delay": 0.5, "times": 0.5}
"""The change of an entry for a step of 1, by kind; 1 ms for the others."""
NAMES = {kind: kind for kind in PARAMETERS} | {"times": "input times"}
STEPS = 10.0 ** -np.arange(2, 13)
FINE_STEPS = 10.0 ** -np.array([2, 3, 4, 5, 8, 11, 14])
PICTURE = "errors.png"
NETWORKS = ("feedforward", "recurrent")

FAR_ABOVE = 30.0
"""A slope is measured where one part of the error is this many times the other."""


@dataclass(frozen=True)
class GradientVsFiniteDifferences(Claim):
    """The error of central differences falls as the step squared, until rounding dominates.

    The comparison is with central differences of the exact engine in float64, with steps of 1e-2 to
    1e-12, and of the reference engine in 50 digits, with steps of 1e-2 to 1e-14. The networks are
    random, layered and recurrent, with heterogeneous units and a delay at every synapse. Along
    random directions, all weights, all delays, all time constants of one kind, all thresholds, or
    all input times move: time constants by the step in ms, delays and times by half of it, weights
    and thresholds by a tenth. The error of a difference has two parts: C step^2 from the third
    derivative, and about 1e-16/step from rounding. An error of the gradient would be a third part,
    which does not decrease with the step; in 50 digits rounding could not hide it.

    Errors are relative to the sum of the magnitudes of all contributions. Networks in which a spike
    appears or vanishes within the largest step are left out. In float64 one slope is fitted to all
    networks, each with a separate factor, over the steps at which one part of the error is at least
    thirty times the other; the difference with the same step in many digits gives the part that
    does not come from rounding. In many digits each network has its own slope.

    Refuted if a slope in float64, for any kind of parameter, is not 2 within 0.05, or not -1 within
    0.1 where rounding dominates (each beyond three standard errors); if a slope of any network in
    50 digits, from 1e-8 to 1e-11, is not 2 within 0.05; if the median error is above 1e-9 at the
    best step in float64, or above 1e-25 at the smallest step in 50 digits; or if fewer than half of
    the networks are left.
    """

    against = "central differences, in float64 and in 50 digits"
    counts = ("networks",)

    networks: int = 400
    digits: int = 50
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Measure the errors of each network by kind of parameter and step; plot their medians."""
        results = for_each(
            errors_of_network,
            [(self.seed, number, self.digits) for number in range(self.networks)],
            title="networks",
            kept=folder / "networks.jsonl",
            settings=self.settings(),
        )
        curves = {
            kind: Curves(
                np.array([result[kind]["floats"] for result in results], float),
                np.array([result[kind]["digits"] for result in results], float),
            )
            for kind in PARAMETERS
        }
        refutations = [f"{NAMES[k]}: {line}" for k, one in curves.items() for line in one.wrong()]
        curves = {kind: curve for kind, curve in curves.items() if curve.kept.any()}
        if not curves:
            return Finding.of("No network keeps its spikes within the largest step.", refutations)
        draw(curves, folder / PICTURE)
        best = max(curve.best for curve in curves.values())
        finest = max(curve.finest for curve in curves.values())
        orders = [curve.order[0] for curve in curves.values()]
        fine = np.concatenate([curve.fine_orders for curve in curves.values()])
        return Finding.of(
            f"{self.networks} networks: errors of differences fall with the step at slopes of "
            f"{min(orders):.3f} to {max(orders):.3f}, to medians of {best:.0e} or below, in "
            f"float64; in {self.digits} digits at slopes of {fine.min():.3f} to {fine.max():.3f}, "
            f"to medians of {finest:.0e} or below.",
            refutations,
            [table(curves)],
            [
                Picture(
                    PICTURE,
                    "Two panels of errors against step sizes, one line a kind of parameter: in "
                    "float64 they fall with slope 2 to about 1e-11 and rise with slope -1; in 50 "
                    "digits they fall with slope 2 throughout",
                )
            ],
        )


# -- one network --------------------------------------------------------------------------


def errors_of_network(seed: int, number: int, digits: int) -> dict[str, dict[str, list[Any]]]:
    """Errors in float64 and in many digits, by kind of parameter and step; None where missing."""
    rng = np.random.default_rng([seed, number])
    case = spiking_case(rng, NETWORKS[number % len(NETWORKS)])
    readout = case.readouts[rng.integers(len(case.readouts))]
    arguments = case.network, case.inputs, case.duration
    state = EXACT.simulate(*arguments)
    values = EXACT.read(state, readout)
    cotangents = np.where(np.isfinite(values), rng.normal(0, 1, values.shape), 0.0)
    adjoint = EXACT.pull_back(state, readout, cotangents, list(case.network.parameters))
    reference = ManyDigits(digits)
    truth = reference.simulate(*arguments)
    fine = reference.pull_back_exact(truth, readout, cotangents)
    chosen = cotangents != 0

    def weighted_sum(moved: Any) -> Any:
        return np.sum(reference.read_exact(moved, readout)[chosen] * cotangents[chosen])

    found = {}
    for kind in PARAMETERS:
        direction = {
            name: UNITS.get(kind, 1.0) * sizes
            for name, sizes in directional.random_direction(rng, case, (kind,)).items()
        }
        parts = directional.contributions(adjoint, direction)
        scale = np.abs(parts).sum()
        exact = directional.derivative(case, fine, direction)
        floats, many = [], []
        for step in STEPS.tolist():
            difference = float_difference(case, direction, step, readout, cotangents)
            floats.append(relative(difference, parts.sum(), scale))
        for step in FINE_STEPS.tolist():
            try:
                difference = directional.difference(
                    case, reference, direction, weighted_sum, repr(step)
                )
            except directional.OtherPatternError:
                difference = None
            many.append(relative(difference, exact, scale))
        found[kind] = {"floats": floats, "digits": many}
    return found


def relative(difference: Any, exact: Any, scale: float) -> float | None:
    """The error over the scale; None without a difference or without anything to compare."""
    if difference is None or scale == 0:
        return None
    return float(abs(difference - exact) / scale)


def spiking_case(rng: np.random.Generator, kind: str) -> Case:
    """A network that spikes, but not too often, and whose parameters can change a little."""
    while True:
        case = random_case(
            rng, kind, delays="synaptic", heterogeneous=True, sparse=False, duration=30.0,
            refractory=rng.choice([0.0, 3.0]),
        )  # fmt: skip
        counts = EXACT.spike_counts(EXACT.simulate(case.network, case.inputs, case.duration))
        spikes = sum(int(counts[name].sum()) for name in counts if name not in case.inputs)
        output = counts.get(case.network.output.name, np.ones(1))
        if 0 < spikes < 40 and np.any(output):
            return case


# -- differences of the exact engine --------------------------------------------------------


def float_difference(
    case: Case, direction: directional.Direction, step: float, readout: Any, cotangents: np.ndarray
) -> float | None:
    """The central difference in float64; None if the spike pattern changes."""
    moved = [moved_case(case, direction, sign * step) for sign in (-1, 1)]
    if any(near is None for near in moved):
        return None
    states = [EXACT.simulate(near.network, near.inputs, near.duration) for near in moved]
    unmoved = EXACT.simulate(case.network, case.inputs, case.duration)
    counts = [EXACT.spike_counts(state) for state in (unmoved, *states)]
    if any(not np.array_equal(counts[0][n], count[n]) for count in counts[1:] for n in count):
        return None
    chosen = cotangents != 0
    below, above = (
        float((EXACT.read(state, readout)[chosen] * cotangents[chosen]).sum()) for state in states
    )
    return (above - below) / (2 * step)


def moved_case(case: Case, direction: directional.Direction, far: float) -> Case | None:
    """The network after a step of length ``far``; None if a delay or time would be negative."""
    values, inputs = {}, dict(case.inputs)
    for name, sizes in direction.items():
        owner, kind = name.rsplit(".", 1)
        if kind == "times":
            trains = case.inputs[owner]
            times = trains.times + far * sizes
            if times.min(initial=0.0) < 0:
                return None
            inputs[owner] = SpikeTrains.from_events(
                times,
                trains.units,
                trains.samples,
                batch_size=len(trains),
                unit_count=trains.unit_count,
            )
            continue
        parameter = case.network.parameters[name]
        shifted = entries(parameter) + far * sizes
        if kind != "weight" and shifted.min(initial=0.0) < 0:
            return None
        values[name] = with_data(parameter, shifted) if hasattr(parameter, "indptr") else shifted
    return Case(case.network.replace(values), inputs, case.duration)


# -- curves ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """Errors by network and step for one kind of parameter; NaN where the pattern changes."""

    all_floats: np.ndarray
    all_digits: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Whether each network keeps its spikes at every step, and depends on the parameter."""
        errors = np.hstack([self.all_floats, self.all_digits])
        return np.isfinite(errors).all(axis=1)

    @property
    def floats(self) -> np.ndarray:
        """The errors in float64 of the networks that are kept."""
        return self.all_floats[self.kept]

    @property
    def digits(self) -> np.ndarray:
        """The errors in many digits of the networks that are kept."""
        return self.all_digits[self.kept]

    @property
    def order(self) -> tuple[float, float]:
        """The slope in float64 where the third derivative dominates, and its standard error."""
        same = np.isin(STEPS, FINE_STEPS)
        steps, by_step = STEPS[same], self.digits[:, np.isin(FINE_STEPS, STEPS)]
        by_rounding = np.median(self.floats[:, -1]) * STEPS[-1] / steps
        by_third = by_step[:, -2:-1] * (steps / 1e-8) ** 2
        ruled = (by_step > FAR_ABOVE * by_rounding) & (np.abs(by_step / by_third - 1) < 0.1)
        return common_slope(steps, self.floats[:, same], ruled)

    @property
    def rounding(self) -> tuple[float, float]:
        """The slope in float64 where rounding dominates, and its standard error."""
        small = np.flatnonzero(STEPS < 1e-7)
        floats, left = self.floats[:, small], self.digits[:, FINE_STEPS == 1e-8]
        return common_slope(STEPS[small], floats, floats > FAR_ABOVE * left)

    @property
    def fine_orders(self) -> np.ndarray:
        """The slope in many digits of each network that is not linear.

        It is measured at steps where no other error contributes: near a spike that grazes the
        threshold higher orders dominate down to 1e-5, and at 1e-14 the rounding of 50 digits may
        already contribute.
        """
        used = (FINE_STEPS > 1e-12) & (FINE_STEPS < 1e-7)
        errors = self.digits[:, used]
        errors = errors[errors[:, -1] > 1e-30]
        x = np.log10(FINE_STEPS[used])
        return np.array([np.polyfit(x, np.log10(row), 1)[0] for row in errors])

    @property
    def best(self) -> float:
        """The median error at the best step, in float64."""
        return float(np.median(self.floats, axis=0).min())

    @property
    def finest(self) -> float:
        """The median error at the smallest step, in many digits."""
        return float(np.median(self.digits[:, -1]))

    def wrong(self) -> list[str]:
        """The parts of the claim that do not hold."""
        if self.kept.mean() < 0.5:
            return [f"only {self.kept.sum()} of {self.kept.size} networks keep their spikes"]
        checks: list[tuple[str, float, Callable[[float], bool]]] = [
            ("the error at the best step in float64", self.best, lambda x: x <= 1e-9),
            ("the error at the smallest step in many digits", self.finest, lambda x: x <= 1e-25),
        ]
        for what, (slope, error), expected, allowed in (
            ("the slope in float64", self.order, 2.0, 0.05),
            ("the slope by rounding", self.rounding, -1.0, 0.1),
        ):
            away = abs(slope - expected)
            checks.append((what, slope, lambda _, a=away, b=allowed + 3 * error: a <= b))
        checks += [
            ("the slope of a network in many digits", slope, lambda x: abs(x - 2) <= 0.05)
            for slope in self.fine_orders.tolist()
        ]
        return [f"{what} is {value:.3g}" for what, value, right in checks if not right(value)]


def common_slope(steps: np.ndarray, errors: np.ndarray, used: np.ndarray) -> tuple[float, float]:
    """The common slope of log errors over log steps, and its standard error.

    One line is fitted for each network by least squares; all have the same slope.  Only the errors
    marked in ``used`` count, and errors of 0 are left out.
    """
    x, y = [], []
    for row, chosen in zip(errors, used & (errors > 0), strict=True):
        if chosen.sum() > 1:
            for values, found in ((steps, x), (row, y)):
                logarithms = np.log10(values[chosen])
                found.append(logarithms - logarithms.mean())
    if not x:
        return np.nan, np.nan
    across, up = np.concatenate(x), np.concatenate(y)
    slope = (across @ up) / (across @ across)
    free = max(1, across.size - len(x) - 1)
    error = np.sqrt(((up - slope * across) ** 2).sum() / free / (across @ across))
    return float(slope), float(error)


def table(curves: dict[str, Curves]) -> Table:
    """The slopes and errors by kind of parameter."""
    rows = [
        [
            NAMES[kind],
            f"{curve.kept.sum()} of {curve.kept.size}",
            f"{curve.order[0]:.3f}",
            f"{curve.rounding[0]:.2f}",
            f"{curve.best:.0e}",
            f"{curve.fine_orders.min():.3f} to {curve.fine_orders.max():.3f}",
            f"{curve.finest:.0e}",
        ]
        for kind, curve in curves.items()
    ]
    columns = [
        "differences by",
        "networks",
        "slope, float64",
        "where rounding rules",
        "median error, best step",
        "slopes, many digits",
        "median error, smallest step",
    ]
    return Table("Slopes of the error over the step", columns, rows)


def draw(curves: dict[str, Curves], file: Path) -> None:
    """Plot medians over networks against the step, in both precisions."""
    from evsim.plotting.style import COLOURS, GREY, SMALL_TEXT, TWO_COLUMNS, label, new_figure, save

    figure = new_figure(TWO_COLUMNS, 3.0)
    left, right = figure.subplots(1, 2)
    for (kind, curve), colour in zip(curves.items(), COLOURS, strict=False):
        look = {"color": colour, "linewidth": 1.0, "marker": "o", "markersize": 2.5}
        left.plot(STEPS, np.median(curve.floats, axis=0), label=NAMES[kind], **look)
        right.plot(FINE_STEPS, np.median(curve.digits, axis=0), **look)
    for ax, steps in ((left, STEPS[:4]), (right, FINE_STEPS)):
        ax.plot(steps, 1e2 * steps**2, "--", color=GREY, linewidth=0.8)
        ax.set_xscale("log")
        ax.set_yscale("log")
    left.plot(STEPS[4:], 1e-17 / STEPS[4:], ":", color=GREY, linewidth=0.8)
    left.text(5e-4, 2e-6, "slope 2", fontsize=SMALL_TEXT, color=GREY)
    left.text(1e-10, 3e-8, "slope −1", fontsize=SMALL_TEXT, color=GREY, ha="right", va="top")
    right.text(1e-9, 1e-14, "slope 2 ", fontsize=SMALL_TEXT, color=GREY, ha="right")
    left.legend(fontsize=SMALL_TEXT, frameon=False)
    label(left, "step", "error of the difference, relative", "float64")
    label(right, "step", "", "many digits")
    save(figure, file)
