"""How training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.plotting.style import (
    COLOURS,
    GREY,
    ONE_COLUMN,
    SMALL_TEXT,
    label,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evsim.training import EpochRecord


def learning_curve(history: Sequence[EpochRecord], best_epoch: int | None = None) -> Figure:
    """Loss and accuracy of each epoch, on training and, where there are any, validation samples.

    Parameters
    ----------
    history : sequence of EpochRecord
        As in the result of ``evsim.fit``; at least one.
    best_epoch : int, optional
        Marked by a line.
    """
    if not history:
        raise ValueError("history is empty: there is no finished epoch to draw")
    figure = new_figure(ONE_COLUMN, 3.6)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = np.array([record.epoch for record in history])
    marker = "." if len(epochs) <= 30 else ""
    for ax, quantity, factor in ((above, "loss", 1.0), (below, "accuracy", 100.0)):
        for index, (prefix, name) in enumerate((("", "training"), ("validation_", "validation"))):
            values = [getattr(record, f"{prefix}{quantity}") for record in history]
            if None in values:
                continue
            ax.plot(
                epochs,
                factor * np.array(values),
                color=COLOURS[(0, 5)[index]],
                linewidth=1.0,
                marker=marker,
                markersize=4.0,
                label=name,
            )
        if best_epoch:
            ax.axvline(best_epoch, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    _loss_scale(above)
    label(above, y="loss")
    label(below, "epoch", "accuracy (%)")
    below.set_xlim(min(0.5, epochs[0] - 0.5), epochs[-1] + 0.5)
    below.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(
        *below.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        fontsize=SMALL_TEXT,
        frameon=False,
    )
    if best_epoch:
        _name_line(above, best_epoch, f"best epoch: {best_epoch}", epochs[-1])
    return figure


def _loss_scale(ax: Axes) -> None:
    """A logarithmic scale where the losses span more than a factor of 20."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines[:2]])
    if values.min() > 0 and values.max() > 20 * values.min():
        ax.set_yscale("log")


def _name_line(ax: Axes, at: float, text: str, last: float) -> None:
    """Write at the upper end of an upright line, towards the side where there is room."""
    ax.annotate(
        text,
        (at, 1.0),
        xycoords=ax.get_xaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right" if at > 0.5 * last else "left",
        va="bottom",
        fontsize=SMALL_TEXT,
        color="#666666",
    )
