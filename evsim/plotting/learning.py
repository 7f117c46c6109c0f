"""The course of training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.arguments.checks import check_flag, checked_integer, listed, shown
from evsim.arguments.keywords import helpful
from evsim.network.checks import kind_of
from evsim.plotting.style import (
    COLOURS,
    GREY,
    ONE_COLUMN,
    SMALL_TEXT,
    TEXT,
    label,
    new_figure,
)
from evsim.training.history import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_HISTORY = "give the history of what evsim.fit returns"


@helpful
def learning_curve(
    history: Sequence[EpochRecord],
    best_epoch: int | None = None,
    *,
    learning_rates: bool = False,
) -> Figure:
    """Draw the loss and the accuracy of each epoch, for training and validation samples.

    If the loss does not classify, only the loss is drawn.

    Parameters
    ----------
    history : sequence of EpochRecord
        As in the result of ``evsim.fit``; at least one.
    best_epoch : int, optional
        The epoch to mark with a line.
    learning_rates : bool
        Whether to draw the learning rates of the parameters, too, below the other plots.
    """
    history = listed(history, "history", _HISTORY)
    for record in history:
        if not isinstance(record, EpochRecord):
            raise TypeError(f"history holds {shown(record)}: {_HISTORY}")
    check_flag(learning_rates, "learning_rates")
    if best_epoch is not None:
        best_epoch = checked_integer(best_epoch, "best_epoch", 0)
        if best_epoch and best_epoch not in [record.epoch for record in history]:
            raise ValueError(f"best_epoch = {shown(best_epoch)}: history has no such epoch")
    if not history:
        raise ValueError("history is empty: there is no finished epoch to draw")
    quantities = [("loss", "loss", 1.0)]
    if history[0].accuracy is not None:
        quantities.append(("accuracy", "accuracy (%)", 100.0))
    rows = len(quantities) + bool(learning_rates)
    figure = new_figure(ONE_COLUMN, 1.8 * rows)
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    epochs = np.array([record.epoch for record in history])
    marker = "." if len(epochs) <= 30 else ""
    for ax, (quantity, title, factor) in zip(panels, quantities, strict=False):
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
        label(ax, y=title)
    _loss_scale(panels[0])
    if learning_rates:
        _draw_rates(panels[-1], history, epochs)
    for ax in panels:
        if best_epoch:
            ax.axvline(best_epoch, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    lowest = panels[-1]
    lowest.set_xlabel("epoch", fontsize=TEXT)
    lowest.set_xlim(min(0.5, epochs[0] - 0.5), epochs[-1] + 0.5)
    lowest.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        fontsize=SMALL_TEXT,
        frameon=False,
    )
    if best_epoch:
        _name_line(panels[0], best_epoch, f"best epoch: {best_epoch}", epochs[-1])
    return figure


def _draw_rates(ax: Axes, history: Sequence[EpochRecord], epochs: np.ndarray) -> None:
    """Draw the learning rates at the ends of epochs; equal ones share a line."""
    lines: dict[tuple[float, ...], list[str]] = {}
    for name in history[0].learning_rates:
        rates = tuple(record.learning_rates[name] for record in history)
        lines.setdefault(rates, []).append(name)
    if not lines:
        raise ValueError("history has no learning rates: leave learning_rates out")
    kinds = [", ".join(dict.fromkeys(kind_of(name) for name in names)) for names in lines.values()]
    for index, (rates, names) in enumerate(lines.items()):
        several = kinds.count(kinds[index]) > 1
        text = ", ".join(names).replace("->", " → ") if several else kinds[index]
        ax.plot(epochs, rates, color=COLOURS[index % len(COLOURS)], linewidth=1.0, label=text)
    ax.set_yscale("log")
    label(ax, y="learning rate")
    ax.legend(fontsize=SMALL_TEXT, frameon=False)


def _loss_scale(ax: Axes) -> None:
    """Use a logarithmic scale if the losses span more than a factor of 20."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines[:2]])
    if values.min() > 0 and values.max() > 20 * values.min():
        ax.set_yscale("log")


def _name_line(ax: Axes, at: float, text: str, last: float) -> None:
    """Write text at the upper end of a vertical line, on the side with more room."""
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
