"""The grid engine against the exact engine, as dt goes to 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from claims import Claim, Finding, Picture, Table
from convergence import (
    FEWEST_STEPS,
    KINDS,
    LOSSES,
    QUANTITIES,
    STEPS,
    Errors,
    Slopes,
    errors_of,
)
from parallel import for_each

LOWEST_MEDIAN = 0.9
LOWEST_COMMON = 0.75
FEWEST_MEASURED = 0.5
PICTURE = "errors.png"
SHOWN = (
    "Errors of spike times, the loss and six kinds of gradients against the step, beside lines of "
    "slope 1; and the share of networks with the spikes of continuous time"
)

Place = tuple[str, str]  # a kind of network and a loss


@dataclass(frozen=True)
class GridVsExact(Claim):
    """As dt goes to 0 the grid engine converges to the exact engine, at first order or better.

    The networks are random, layered (8-12-8-3) and recurrent (8-16-3), with a delay at every
    synapse and heterogeneous units, in trials of 32 ms; spiking outputs have losses on first
    spikes, integrators have losses on means and on peaks. Spike times, the loss, and the gradients
    with respect to weights, delays, both time constants, thresholds and input times are computed in
    continuous time and on grids of 1 to 2^-10 ms.

    A grid moves events, so a spike may appear or vanish. Loss and gradients then belong to another
    spike pattern, and no error is computed from them. The report gives the number of such cases for
    each dt, and compares the spikes before the first difference. The order of a quantity is the
    slope of its log error over log dt, from 2^-10 ms up to the longest dt such that it and all
    shorter ones have the pattern of continuous time.

    Refuted if the median slope over networks is below 0.9, for any quantity, layered or recurrent;
    if the slope fitted to all networks of a kind and a loss, each with a separate factor, is below
    0.75 (both with the whole 95 % interval from resampling the networks); or if a slope can be
    measured, over at least 4 values of dt, in fewer than half of the networks.
    """

    against = "the exact engine, with steps from 1 ms to 2^-10 ms"
    counts = ("networks",)

    networks: int = 100  # of each kind and loss
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Measure the errors of all networks and their slopes, and draw them."""
        found = findings(self.networks, self.seed)
        draw(found, folder / PICTURE)
        medians = [
            Slopes.of(found.of(kind), quantity).quartiles[1]
            for kind in KINDS
            for quantity in QUANTITIES
        ]
        total, lost = found.count
        return Finding.of(
            f"{total} networks: median slopes of the errors over dt are {min(medians):.2f} to "
            f"{max(medians):.2f}; at the smallest dt {lost} of {total} do not have the spikes of "
            "continuous time.",
            found.refutations(),
            tables(found),
            [Picture(PICTURE, SHOWN)],
        )


# -- findings -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """The errors by kind of network and loss."""

    errors: dict[Place, list[Errors]]

    def of(self, kind: str, loss: str | None = None) -> list[Errors]:
        """The errors for a kind of network, and for one loss or for all."""
        return [
            one
            for (found, name), errors in self.errors.items()
            for one in errors
            if found == kind and loss in (None, name)
        ]

    @property
    def count(self) -> tuple[int, int]:
        """The number of networks, and of those with another spike pattern at the smallest dt."""
        everything = [one for errors in self.errors.values() for one in errors]
        return len(everything), sum(not one.agrees[-1] for one in everything)

    def refutations(self) -> Iterator[str]:
        """The parts of the claim that do not hold."""
        for kind in KINDS:
            for quantity in QUANTITIES:
                slopes = Slopes.of(self.of(kind), quantity)
                if not slopes.highest_median >= LOWEST_MEDIAN:
                    yield f"{kind}, {quantity}: the median slope is {slopes.quartiles[1]:.2f}"
        for (kind, loss), errors in self.errors.items():
            for quantity in QUANTITIES:
                slopes = Slopes.of(errors, quantity)
                if not slopes.interval[1] >= LOWEST_COMMON:
                    yield f"{kind}, {loss}, {quantity}: the common slope is {slopes.common:.2f}"
                if slopes.single.size < FEWEST_MEASURED * len(errors):
                    yield (
                        f"{kind}, {loss}, {quantity}: a slope can be measured in "
                        f"{slopes.single.size} of {len(errors)} networks only"
                    )


def examine(seed: int, kind: str, loss: str, number: int) -> Errors:
    """The errors for one random network."""
    places = KINDS.index(kind), list(LOSSES).index(loss)
    return errors_of(np.random.default_rng([seed, *places, number]), kind, LOSSES[loss])


def findings(networks: int, seed: int) -> Findings:
    """Measure that many networks of each kind and loss."""
    tasks = [
        (seed, kind, loss, number)
        for kind in KINDS
        for loss in LOSSES
        for number in range(networks)
    ]
    found: dict[Place, list[Errors]] = {}
    for (_, kind, loss, _), errors in zip(
        tasks, for_each(examine, tasks, title="networks"), strict=True
    ):
        found.setdefault((kind, loss), []).append(errors)
    return Findings(found)


# -- tables -------------------------------------------------------------------------------


def slopes_table(found: Findings) -> Table:
    """The slopes of all quantities for both kinds of networks."""
    rows = [["quantity"]]
    for kind in KINDS:
        rows[0] += [f"{kind}: median slope", "quartiles", "common slope", "95 % interval"]
    for quantity in QUANTITIES:
        row = [quantity]
        for kind in KINDS:
            slopes = Slopes.of(found.of(kind), quantity)
            low, median, high = slopes.quartiles
            row += [
                f"{median:.2f}",
                f"{low:.2f} to {high:.2f}",
                f"{slopes.common:.2f}",
                f"{slopes.interval[0]:.2f} to {slopes.interval[1]:.2f}",
            ]
        rows.append(row)
    return Table(
        "Slopes of the error over dt, over the range of dt with the spikes of continuous time",
        rows[0],
        rows[1:],
    )


def losses_table(found: Findings) -> Table:
    """The common slopes by loss, and the number of networks in which they were measured."""
    rows = [["networks", "loss", "measured in", *QUANTITIES]]
    for (kind, loss), errors in found.errors.items():
        slopes = [Slopes.of(errors, quantity) for quantity in QUANTITIES]
        measured = f"{min(slope.single.size for slope in slopes)} of {len(errors)}"
        rows.append([kind, loss, measured, *(f"{slope.common:.2f}" for slope in slopes)])
    title = (
        "By loss, the slope that networks have in common (networks with fewer than "
        f'{FEWEST_STEPS} such dt are left out, see "measured in")'
    )
    return Table(title, rows[0], rows[1:])


def patterns_table(found: Findings) -> Table:
    """How often the pattern is that of continuous time, and the spike errors where it is not."""
    rows = [["dt, ms"]]
    for kind in KINDS:
        rows[0] += [
            f"{kind}: same spikes",
            "error, ms",
            "others: spikes before",
            "error, ms",
        ]
    for index, dt in enumerate(STEPS):
        row = [f"{dt:g}" if dt > 0.1 else f"2^{int(np.log2(dt))}"]
        for kind in KINDS:
            errors = found.of(kind)
            differing = [one for one in errors if not one.agrees[index]]
            early = sum(int(one.compared[index]) for one in differing)
            of_all = sum(one.spikes for one in differing)
            row += [
                f"{len(errors) - len(differing)} of {len(errors)}",
                number(median([one.values["spike times"][index] for one in errors])),
                f"{early} of {of_all}" if differing else "–",
                number(median([one.early[index] for one in differing])),
            ]
        rows.append(row)
    title = (
        "Spike times: in how many networks all units spike as often as in continuous time, and "
        "the error; and of the others, how many of their spikes are before the first difference, "
        "and the error of those (medians over networks)"
    )
    return Table(title, rows[0], rows[1:])


def median(values: list[float]) -> float:
    """The median of the values that are not NaN; NaN if there are none."""
    numbers = np.array([value for value in values if np.isfinite(value)])
    return float(np.median(numbers)) if numbers.size else np.nan


def number(value: float) -> str:
    """An error with two digits; a dash for NaN."""
    return f"{value:.1e}" if np.isfinite(value) else "–"


def tables(found: Findings) -> list[Table]:
    """All tables."""
    return [slopes_table(found), losses_table(found), patterns_table(found)]


# -- plot ---------------------------------------------------------------------------------


def draw(found: Findings, file: Path) -> None:
    """Draw a panel for each quantity, and one for the share of networks with the same pattern."""
    from evsim.plotting.style import TWO_COLUMNS, label, new_figure, save

    figure = new_figure(TWO_COLUMNS, 0.9 * TWO_COLUMNS)
    axes = figure.subplots(3, 3, sharex=True)
    for ax, quantity in zip(axes.flat, QUANTITIES, strict=False):
        draw_errors(ax, found, quantity)
    last = axes.flat[-1]
    draw_patterns(last, found)
    for ax in axes.flat:
        ax.set_xscale("log")
        ax.set_xticks([1e-3, 1e-2, 1e-1, 1.0], ["0.001", "0.01", "0.1", "1"])
        ax.set_xlim(STEPS[-1] / 1.3, 1.3)
    for ax in axes[-1]:
        label(ax, "dt (ms)", ax.get_ylabel(), ax.get_title())
    save(figure, file)


def draw_errors(ax, found: Findings, quantity: str) -> None:
    """Draw median and quartiles over networks; hollow if fewer than half have the pattern."""
    from evsim.plotting.style import COLOURS, GREY, label

    lowest = np.inf
    for kind, colour, marker in zip(KINDS, COLOURS, "os", strict=False):
        errors = found.of(kind)
        values = np.array([one.values[quantity] for one in errors])
        share = np.mean([one.agrees for one in errors], axis=0)
        shown = np.isfinite(values).any(axis=0)
        if not shown.any():
            continue
        low, middle, high = np.nanquantile(values[:, shown], [0.25, 0.5, 0.75], axis=0)
        steps, lowest = STEPS[shown], min(lowest, middle[-1])
        ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(steps, middle, color=colour, linewidth=1)
        for often in (True, False):
            chosen = (share[shown] >= 0.5) == often
            face = colour if often else "white"
            ax.plot(
                steps[chosen], middle[chosen], marker, color=colour, markerfacecolor=face,
                markersize=3, markeredgewidth=0.8,
            )  # fmt: skip
        if quantity == "spike times":
            early = [median([one.early[index] for one in errors]) for index in range(STEPS.size)]
            ax.plot(STEPS, early, ":", color=colour, linewidth=1)
    reference = 0.35 * lowest * STEPS / STEPS[-1]
    ax.plot(STEPS, reference, "--", color=GREY, linewidth=0.8)
    ax.set_yscale("log")
    unit = "error (ms)" if quantity == "spike times" else "relative error"
    what = quantity if quantity in ("spike times", "loss") else f"gradient by {quantity}"
    for symbol in ("mem", "syn"):
        what = what.replace(f"tau_{symbol}", rf"$\tau_\mathrm{{{symbol}}}$")
    label(ax, "", unit, what)


def draw_patterns(ax, found: Findings) -> None:
    """Draw the share of networks with the pattern of continuous time, and the legend."""
    from evsim.plotting.style import BLACK, COLOURS, GREY, SMALL_TEXT, label

    for kind, colour, marker in zip(KINDS, COLOURS, "os", strict=False):
        share = 100 * np.mean([one.agrees for one in found.of(kind)], axis=0)
        ax.plot(STEPS, share, marker=marker, color=colour, linewidth=1, markersize=3, label=kind)
    ax.plot([], [], "--", color=GREY, linewidth=0.8, label="slope 1")
    ax.plot([], [], ":", color=BLACK, linewidth=1, label="spikes before\na difference")
    ax.legend(fontsize=SMALL_TEXT, frameon=False, loc="lower left", handlelength=1.6)
    ax.set_ylim(0, 103)
    label(ax, "", "networks (%)", "same spikes")
