"""How far the spikes of another program are from the exact ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evsim.arguments.checks import shown
from evsim.arguments.keywords import helpful
from evsim.plotting.style import BLACK, COLOURS, SMALL_TEXT, TWO_COLUMNS, label, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BINS = 60


class Matches(Protocol):
    """The spikes of two programs, such as ``Comparison.matches``."""

    @property
    def populations(self) -> tuple[str, ...]: ...
    @property
    def population(self) -> np.ndarray: ...
    @property
    def time(self) -> np.ndarray: ...
    @property
    def error(self) -> np.ndarray: ...
    @property
    def is_missing(self) -> np.ndarray: ...
    @property
    def is_additional(self) -> np.ndarray: ...


class Compared(Protocol):
    """A comparison, such as ``evsim.compare`` returns."""

    @property
    def matches(self) -> Any: ...
    @property
    def timing(self) -> Mapping[str, Any]: ...


@helpful
def spike_errors(comparison: Compared) -> Figure:
    """Draw the error of each spike time against its time, and the distribution of the errors.

    On the left, missing spikes are marked below the errors and additional ones above them.

    Parameters
    ----------
    comparison : Comparison
        From ``evsim.compare``.
    """
    for name in ("matches", "timing"):
        if not hasattr(comparison, name):
            raise TypeError(
                f"comparison = {shown(comparison)}: give what evsim.compare(...) returned"
            )
    figure = new_figure(TWO_COLUMNS, 2.6)
    left, right = figure.subplots(1, 2, width_ratios=[3, 1], sharey=True)
    matches: Matches = comparison.matches
    top = _draw_errors(left, matches)
    _mark_alone(left, matches.time[matches.is_additional], top, "v", "additional")
    _mark_alone(left, matches.time[matches.is_missing], -top, "^", "missing")
    label(left, "time (ms)", "error of the spike time (ms)")
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=SMALL_TEXT, frameon=False, loc="best")
    errors = matches.error[~np.isnan(matches.error)]
    if errors.size:
        bins = min(MOST_BINS, max(5, int(np.sqrt(errors.size))))
        right.hist(errors, bins=bins, orientation="horizontal", color=COLOURS[0])
    label(right, "spikes")
    return figure


def _draw_errors(ax: Axes, matches: Matches) -> float:
    """Draw a point for each pair; return where there is room for marks beyond all points."""
    largest = float(np.nanmax(np.abs(matches.error), initial=0.0)) if matches.error.size else 0.0
    for index, name in enumerate(matches.populations):
        chosen = (matches.population == index) & ~np.isnan(matches.error)
        ax.plot(
            matches.time[chosen], matches.error[chosen], ".", markersize=3.0,
            color=COLOURS[index % len(COLOURS)], label=name,
        )  # fmt: skip
    ax.axhline(0.0, color=BLACK, linewidth=0.5)
    return 1.2 * largest if largest > 0.0 else 1.0


def _mark_alone(ax: Axes, times: np.ndarray, height: float, marker: str, name: str) -> None:
    if times.size:
        ax.plot(
            times, np.full(times.size, height), marker, markersize=3.5, color=COLOURS[5],
            label=f"{name}: {times.size}",
        )  # fmt: skip
