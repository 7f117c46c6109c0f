"""The class that a network assigns to each point of the plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.arguments.checks import (
    check_function,
    checked_count,
    integer_array,
    listed,
    real_array,
    refuse_masked,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.plotting.style import (
    BLACK,
    COLOURS,
    GREY,
    ONE_COLUMN,
    SMALL_TEXT,
    axes_of,
    label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@helpful
def decision_map(
    predict: Callable[[np.ndarray], np.ndarray],
    points: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
    *,
    inside: Callable[[np.ndarray], np.ndarray] | None = None,
    resolution: int = 150,
    batch_size: int = 2000,
    ax: Axes | None = None,
) -> Axes:
    """Draw the predicted classes over the unit square, and the test points, with errors marked.

    Parameters
    ----------
    predict : function
        Takes points, shape (batch, 2), and returns their classes, shape (batch,); -1 for none.
    points : array, shape (samples, 2)
        Test points.
    classes : array of int, shape (samples,)
        Their true classes.
    names : sequence of str
        The names of the classes, at most six.
    inside : function, optional
        Takes points, shape (batch, 2), and returns whether the map is drawn there, bool,
        (batch,); by default it is drawn everywhere.
    resolution : int
        The number of grid points along each side of the square.
    batch_size : int
        The number of points that are predicted at once.
    ax : Axes, optional
        The axes to draw into; by default those of a new figure.
    """
    names = [str(name) for name in listed(names, "names", "give a list of names of classes")]
    if not 1 <= len(names) <= len(COLOURS):
        raise ValueError(
            f"names has {len(names)}: give 1 to {len(COLOURS)}, there are no more colours"
        )
    check_function(predict, "predict", "give a function from points to classes")
    if inside is not None:
        check_function(inside, "inside", "give a function from points to bools, or leave it out")
    points, classes = _checked_points(points, classes, len(names))
    resolution = checked_count(resolution, "resolution", 1, 10_000)
    batch_size = checked_count(batch_size, "batch_size")
    ax = axes_of(ax, ONE_COLUMN, ONE_COLUMN)
    centres = (np.arange(resolution) + 0.5) / resolution
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    drawn = np.ones(len(grid), bool) if inside is None else _answer(inside, "inside", grid, "b")
    decided = np.full(len(grid), -2)
    decided[drawn] = _in_batches(predict, grid[drawn], batch_size)
    if decided.max(initial=-1) >= len(names):
        raise ValueError(
            f"predict returned class {decided.max()}, and names has {len(names)}: give a name for "
            "each class"
        )
    _draw_regions(ax, decided.reshape(resolution, resolution), len(names))
    wrong = _in_batches(predict, points, batch_size) != classes
    for index, name in enumerate(names):
        right = points[(classes == index) & ~wrong]
        ax.plot(
            *right.T, ".", color=COLOURS[index], markersize=3.5, markeredgewidth=0.0, label=name
        )
    ax.plot(
        *points[wrong].T,
        "x",
        color=BLACK,
        markersize=4.0,
        markeredgewidth=1.0,
        label=f"wrong ({int(wrong.sum())} of {len(points)})",
    )
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), aspect="equal")
    label(ax, "$x$", "$y$")
    ax.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(names) + 1,
        fontsize=SMALL_TEXT,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.0,
        markerscale=1.5,
    )
    return ax


def _in_batches(
    predict: Callable[[np.ndarray], np.ndarray], points: np.ndarray, batch_size: int
) -> np.ndarray:
    starts = range(0, len(points), batch_size)
    parts = [
        _answer(predict, "predict", points[start : start + batch_size], "iu") for start in starts
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _answer(
    function: Callable[[np.ndarray], np.ndarray], name: str, points: np.ndarray, kinds: str
) -> np.ndarray:
    """The result of a function for each point, one bool or integer each."""
    returned = function(points)
    refuse_masked(returned, f"what {name} returned")
    found = np.asarray(returned)
    if found.shape != (len(points),) or found.dtype.kind not in kinds:
        what = "bool" if kinds == "b" else "integer"
        raise TypeError(f"{name} returned {shown(found)}: it must return one {what} for each point")
    return found


def _checked_points(points: Any, classes: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Test points, float64, shape (samples, 2), and their classes, int64, (samples,)."""
    plane, labels = real_array(points, "points"), integer_array(classes, "classes")
    if plane.ndim != 2 or plane.shape[1] != 2:
        raise TypeError(f"points = {shown(points)}: give an array of numbers, shape (samples, 2)")
    if labels.shape != plane.shape[:1]:
        raise TypeError(
            f"classes = {shown(classes)}: give an integer for each of {len(plane)} points"
        )
    wrong = (labels < 0) | (labels >= count)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"classes[{place}] = {labels[place]}: names are given for 0 to {count - 1}"
        )
    return plane.astype(np.float64), labels.astype(np.int64)


def _draw_regions(ax: Axes, decided: np.ndarray, class_count: int) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgb

    def pale(colour: str) -> tuple[float, ...]:
        return tuple(1.0 - 0.35 * (1.0 - part) for part in to_rgb(colour))

    colours = [(1.0, 1.0, 1.0), pale(GREY), *map(pale, COLOURS[:class_count])]
    ax.imshow(
        decided,
        origin="lower",
        extent=(0.0, 1.0, 0.0, 1.0),
        cmap=ListedColormap(colours),
        norm=BoundaryNorm(np.arange(-2.5, class_count + 0.5), len(colours)),
        interpolation="nearest",
    )
