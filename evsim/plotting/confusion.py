"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.checks import integer_array
from evsim.plotting.style import ONE_COLUMN, SMALL_TEXT, TEXT, label, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST_WITH_NUMBERS = 12
"""Classes up to which counts are written into the cells."""


def confusion_matrix(
    counts: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    unclassified: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Predicted classes of the samples of each true class, as shares of its samples.

    True classes go downwards, predicted ones to the right.  Counts are written into the cells
    of small matrices.

    Parameters
    ----------
    counts : array of int, shape (classes, classes)
        As from ``evsim.metrics.confusion_matrix``, or ``Evaluation.confusion``.
    names : sequence of str, optional
        Of the classes; their numbers if not given.
    unclassified : array of int, shape (classes,), optional
        Samples of each class that are put in none; if there are any, a column of their own.
    ax : Axes, optional
        Drawn into a new figure if not given.
    """
    counts = integer_array(counts, "counts")
    classes = len(counts) if counts.ndim else 0
    if counts.shape != (classes, classes):
        raise ValueError(f"counts has shape {counts.shape}: it must be (classes, classes)")
    shown_names = [str(n) for n in (range(classes) if names is None else names)]
    if len(shown_names) != classes:
        raise ValueError(f"{len(shown_names)} names for {classes} classes: give one for each")
    columns = list(shown_names)
    if unclassified is not None:
        unclassified = integer_array(unclassified, "unclassified")
        if unclassified.any():
            counts = np.column_stack([counts, unclassified])
            columns.append("none")
    if ax is None:
        size = min(2 * ONE_COLUMN, max(ONE_COLUMN, 0.9 + 0.17 * classes))
        ax = new_figure(size, 0.9 * size).subplots()
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


def _rotation(names: Sequence[str]) -> float:
    """Upright for names that would run into each other."""
    return 90.0 if len(names) * max(map(len, names)) > 40 else 0.0
