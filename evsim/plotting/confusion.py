"""Confusion matrices: which classes are mistaken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.arguments.checks import integer_array, listed, shown
from evsim.arguments.keywords import helpful
from evsim.plotting.style import ONE_COLUMN, SMALL_TEXT, TEXT, axes_of, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST_WITH_NUMBERS = 12
"""The largest number of classes for which counts are written into the cells."""


@helpful
def confusion_matrix(
    counts: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    unclassified: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw which classes are predicted for the samples of each true class, as percentages.

    Rows are true classes, columns predicted ones.  Counts are written into the cells of small
    matrices.

    Parameters
    ----------
    counts : array of int, shape (classes, classes)
        From ``evsim.metrics.confusion_matrix`` or ``Evaluation.confusion``.
    names : sequence of str, optional
        The names of the classes; by default their numbers.
    unclassified : array of int, shape (classes,), optional
        The samples of each class without a predicted class; if there are any, they are drawn
        in an extra column.
    ax : Axes, optional
        The axes to draw into; by default those of a new figure.
    """
    counts = _checked_counts(counts, "counts", 2)
    classes = counts.shape[0]
    if counts.shape != (classes, classes) or classes == 0:
        raise ValueError(f"counts has shape {counts.shape}: it must be (classes, classes)")
    if names is None:
        names = range(classes)  # type: ignore[assignment]
    shown_names = [str(name) for name in listed(names, "names", "give a list of names")]
    if len(shown_names) != classes:
        raise ValueError(f"names has {len(shown_names)} for {classes} classes: give one for each")
    if unclassified is not None:
        unclassified = _checked_counts(unclassified, "unclassified", 1)
        if unclassified.shape != (classes,):
            raise ValueError(
                f"unclassified has shape {unclassified.shape}: give one number for each of "
                f"{classes} classes"
            )
    columns = list(shown_names)
    if unclassified is not None and np.any(unclassified):
        counts = np.column_stack([counts, unclassified])
        columns.append("none")
    size = min(2 * ONE_COLUMN, max(ONE_COLUMN, 0.9 + 0.17 * classes))
    ax = axes_of(ax, size, 0.9 * size)
    samples = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * counts, samples, out=np.zeros(counts.shape), where=samples > 0)
    image = ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=100.0, interpolation="nearest")
    label(ax, "predicted class", "true class")
    ax.set_xticks(range(len(columns)), columns, fontsize=SMALL_TEXT, rotation=_rotation(columns))
    ax.set_yticks(range(classes), shown_names, fontsize=SMALL_TEXT)
    if len(columns) > classes:
        ax.axvline(classes - 0.5, color="white", linewidth=3.0)
    if classes <= LARGEST_WITH_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ax.text(
                    column, row, str(int(count)), ha="center", va="center", fontsize=SMALL_TEXT,
                    color="white" if shares[row, column] > 50 else "black",
                )  # fmt: skip
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label("share of the true class (%)", fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL_TEXT, width=0.6, length=2.5)
    bar.outline.set_linewidth(0.6)
    return ax


def _checked_counts(values: Any, name: str, axes: int) -> np.ndarray:
    """Numbers of samples as int64; anything else is refused."""
    array = integer_array(values, name)
    if array.ndim != axes:
        raise TypeError(f"{name} = {shown(values)}: give an array of integers of {axes} axes")
    if (array < 0).any():
        raise ValueError(f"{name} = {shown(values)}: numbers of samples are >= 0")
    return array


def _rotation(names: Sequence[str]) -> float:
    """The rotation of names: vertical if they would overlap."""
    return 90.0 if len(names) * max(map(len, names)) > 40 else 0.0
