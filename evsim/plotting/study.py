"""The results of a study: means over seeds with their spread, and every single run.

The style is that of Figures 4 to 7 of Mészáros, Knight, Nowotny, *Efficient event-based delay
learning in spiking neural networks*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from evsim.arguments.checks import check_choice, shown
from evsim.arguments.keywords import helpful
from evsim.plotting.style import COLOURS, ONE_COLUMN, SMALL_TEXT, axes_of, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P")

DODGE = 0.14
"""The distance between lines at one place, as a fraction of the distance between places."""


class StudyTable(Protocol):
    """A table of a study, such as ``Study.table()`` returns."""

    @property
    def settings(self) -> tuple[str, ...]: ...
    @property
    def rows(self) -> list[dict[str, Any]]: ...
    def measure(self, name: str | None) -> str: ...


class _Point(NamedTuple):
    """The finished runs of one combination of settings."""

    place: float
    values: np.ndarray


@helpful
def study_means(
    table: StudyTable,
    x: str | None = None,
    *,
    measure: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean and the standard deviation of each combination, and every run as a point.

    Each combination of the settings other than ``x`` has a line.  Accuracies are drawn in percent.

    Parameters
    ----------
    table : Table
        From ``Study.table()``; runs that are not finished are left out.
    x : str, optional
        The setting along the horizontal axis; by default the first one with numbers, or the first.
    measure : str, optional
        What to draw; by default the accuracy, or the first measure if there is no accuracy.
    ax : Axes, optional
        The axes to draw into; by default those of a new figure.
    """
    for name in ("settings", "rows", "measure"):
        if not hasattr(table, name):
            raise TypeError(f"table = {shown(table)}: give the table of a study, study.table()")
    measure = table.measure(measure)
    settings, rows = table.settings, table.rows
    if not settings:
        raise ValueError("the table has no settings that vary: there is nothing to draw it against")
    if x is None:
        x = _first_with_numbers(settings, rows)
    else:
        check_choice(x, "x", settings)
    values = list(dict.fromkeys(_hashable(row[x]) for row in rows))
    places = _places(values)
    lines = _lines(rows, x, measure, [name for name in settings if name != x], places)
    ax = axes_of(ax, ONE_COLUMN, 2.6)
    gap = min(DODGE, 0.8 / max(1, len(lines))) * _least_distance(list(places.values()))
    for number, (name, points) in enumerate(lines.items()):
        shift = gap * (number - 0.5 * (len(lines) - 1))
        _draw_line(ax, number, name, points, shift, gap, joined=all(map(_is_number, values)))
    percent = " (%)" if measure.endswith("accuracy") else ""
    label(ax, x=x.replace("_", " "), y=f"{measure.replace('_', ' ')}{percent}")
    ax.set_xlim(min(places.values()) - 5 * gap, max(places.values()) + 5 * gap)
    ax.set_xticks(list(places.values()), [_told(value) for value in places])
    if any(lines):
        ax.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=2,
            fontsize=SMALL_TEXT,
            frameon=False,
        )
    return ax


def _draw_line(
    ax: Axes,
    number: int,
    name: str,
    points: Sequence[_Point],
    shift: float,
    gap: float,
    *,
    joined: bool,
) -> None:
    """Draw means and error bars, and the single runs to the right of them."""
    colour, marker = (
        COLOURS[number % len(COLOURS)],
        MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
    )
    at = np.array([point.place for point in points]) + shift
    for place, point in zip(at, points, strict=True):
        ax.plot(
            np.full(point.values.size, place + 0.4 * gap),
            point.values,
            linestyle="",
            marker=marker,
            markersize=2.5,
            color=colour,
            alpha=0.5,
            markeredgewidth=0.0,
        )
    ax.errorbar(
        at,
        [point.values.mean() for point in points],
        yerr=[point.values.std(ddof=1) if point.values.size > 1 else 0.0 for point in points],
        color=colour,
        marker=marker,
        markersize=4.0,
        linewidth=1.0,
        linestyle="-" if joined else "",
        capsize=2.0,
        label=name or None,
    )


def _lines(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    measure: str,
    others: Sequence[str],
    places: Mapping[Any, float],
) -> dict[str, list[_Point]]:
    """The points of each combination of the other settings, by its name."""
    factor = 100.0 if measure.endswith("accuracy") else 1.0
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if row[measure] is None:
            continue
        name = ", ".join(_named(other, row[other]) for other in others)
        place = places[_hashable(row[x])]
        found.setdefault(name, {}).setdefault(place, []).append(factor * row[measure])
    return {
        name: [_Point(place, np.array(values)) for place, values in sorted(points.items())]
        for name, points in found.items()
    }


def _named(setting: str, value: Any) -> str:
    """A setting with its value: "delays", "no delays", "tau mem 20"."""
    words = setting.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {_told(value)}"


def _told(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _first_with_numbers(settings: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    for name in settings:
        if len({_hashable(row[name]) for row in rows}) > 1 and all(
            _is_number(row[name]) for row in rows
        ):
            return name
    return settings[0]


def _places(values: Sequence[Any]) -> dict[Any, float]:
    """The place of each value: finite numbers at their own values, other values side by side."""
    if all(map(_is_number, values)):
        return {value: float(value) for value in sorted(values)}
    return {value: float(number) for number, value in enumerate(values)}


def _least_distance(places: Sequence[float]) -> float:
    return float(np.diff(sorted(places)).min()) if len(places) > 1 else 1.0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _hashable(value: Any) -> Any:
    return value if not isinstance(value, (list, dict)) else str(value)
