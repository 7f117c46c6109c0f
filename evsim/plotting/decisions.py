"""Which class a network puts each point of the plane in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.checks import integer_array, mask_array, real_array
from evsim.plotting.style import (
    BLACK,
    COLOURS,
    GREY,
    ONE_COLUMN,
    SMALL_TEXT,
    label,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    """Predicted classes over the unit square, and test points on top, wrong ones marked.

    Parameters
    ----------
    predict : function
        From points, shape (batch, 2), to their classes, shape (batch,); -1 for none.
    points : array, shape (samples, 2)
        Test points.
    classes : array of int, shape (samples,)
        Their true classes.
    names : sequence of str
        Of the classes, at most six.
    inside : function, optional
        From points, shape (batch, 2), to where the map is drawn, bool, (batch,); everywhere
        if not given.
    resolution : int
        Grid points along each side of the square.
    batch_size : int
        How many points are predicted at once.
    ax : Axes, optional
        Drawn into a new figure if not given.
    """
    if len(names) > len(COLOURS):
        raise ValueError(f"{len(names)} classes: there are colours for {len(COLOURS)}")
    points = real_array(points, "points")
    classes = integer_array(classes, "classes")
    if ax is None:
        ax = new_figure(ONE_COLUMN, ONE_COLUMN).subplots()
    centres = (np.arange(resolution) + 0.5) / resolution
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    shown = np.ones(len(grid), bool) if inside is None else mask_array(inside(grid), "inside")
    decided = np.full(len(grid), -2)
    decided[shown] = _in_batches(predict, grid[shown], batch_size)
    _draw_regions(ax, decided.reshape(resolution, resolution), len(names))
    wrong = _in_batches(predict, points, batch_size) != classes
    for index, name in enumerate(names):
        own = points[(classes == index) & ~wrong]
        ax.plot(*own.T, ".", color=COLOURS[index], markersize=3.5, markeredgewidth=0.0, label=name)
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
    parts = [predict(points[start : start + batch_size]) for start in starts]
    return np.concatenate([integer_array(part, "what predict returns") for part in parts])


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
