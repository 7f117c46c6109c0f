"""Pictures of motion detection: learned delays beside those that geometry asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.plotting.style import COLOURS, GREY, SMALL_TEXT, TWO_COLUMNS, label, new_figure
from evsim.tasks.stimuli.moving_bar import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def geometry(row: Row, velocity: float, delays: np.ndarray) -> np.ndarray:
    """The delays that make the spikes of a bar arrive together, in ms, shape (units,).

    They are a constant minus the times of the bar; the constant is that which is closest to the
    ``delays``, shape (units,), by the median.
    """
    times = row.passages(np.array([velocity]))[0]
    nearest: np.ndarray = np.median(delays + times) - times
    return nearest


def delay_lines(
    row: Row,
    velocities: np.ndarray,
    delays: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """The delay of each receptor to each detector, and the line that geometry asks for.

    Parameters
    ----------
    row : Row
    velocities : array, shape (detectors,)
        The velocity of each detector's class, in degrees per second.
    delays, weights : array, shape (detectors, units)
        A dot's area is in proportion to the size of the weight.
    names : sequence of str
        The name of each detector's class.
    """
    columns = velocities.size // 2
    figure = new_figure(TWO_COLUMNS, 4.0)
    panels = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False).ravel()
    largest = np.abs(weights).max()
    for unit, (ax, name) in enumerate(zip(panels, names, strict=True)):
        wanted = geometry(row, velocities[unit], delays[unit])
        for channel in range(row.channels):
            own = slice(channel * row.receptors, (channel + 1) * row.receptors)
            ax.plot(row.positions, wanted[own], color=GREY, linewidth=0.8)
            ax.scatter(
                row.positions,
                delays[unit, own],
                s=16.0 * np.abs(weights[unit, own]) / largest,
                color=COLOURS[(0, 5)[channel]],
                label=("leading edge", "trailing edge")[channel],
                zorder=2,
            )
        error = np.median(np.abs(delays[unit] - wanted))
        bottom, left = unit >= columns, unit % columns == 0
        label(
            ax,
            "position (degrees)" if bottom else "",
            "delay (ms)" if left else "",
            f"{name}°/s: median distance {error:.1f} ms",
        )
    if row.channels > 1:
        panels[0].legend(fontsize=SMALL_TEXT, frameon=False)
    return figure
