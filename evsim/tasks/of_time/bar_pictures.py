"""Pictures of motion detection: learned delays beside those that geometry requires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.plotting.style import COLOURS, GREY, SMALL_TEXT, TWO_COLUMNS, label, new_figure
from evsim.tasks.of_time.moving_bar import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def steps_off(row: Row, velocity: float, delays: np.ndarray) -> np.ndarray:
    """By how many ms the step in delay from a receptor to its neighbour differs from geometry.

    ``delays`` has shape (units,); the result, (channels, receptors - 1), is not negative.  Geometry
    requires that the sum of the delay and the time of the bar be the same at both.
    """
    sums = (delays + row.passages(np.array([velocity]))[0]).reshape(row.channels, row.receptors)
    off: np.ndarray = np.abs(np.diff(sums, axis=1))
    return off


def delay_lines(
    row: Row,
    velocities: np.ndarray,
    delays: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """The delay from each receptor to each detector, on lines of the slope that geometry requires.

    If bars cross only a part of the row, delays need to lie on one line only within such a part.

    Parameters
    ----------
    row : Row
    velocities : array, shape (detectors,)
        The velocity of each detector's class, in degrees per second.
    delays, weights : array, shape (detectors, units)
        A dot's area is proportional to the size of the weight.
    names : sequence of str
        The name of each detector's class.
    """
    columns = velocities.size // 2
    figure = new_figure(TWO_COLUMNS, 4.0)
    panels = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False).ravel()
    largest = np.abs(weights).max()
    for unit, (ax, name) in enumerate(zip(panels, names, strict=True)):
        slope = row.passages(np.array([velocities[unit]]))[0, : row.receptors]
        for constant in np.arange(-200.0, 400.0, 20.0):
            ax.plot(row.positions, constant - slope, color=GREY, linewidth=0.5, alpha=0.6)
        for channel in range(row.channels):
            own = slice(channel * row.receptors, (channel + 1) * row.receptors)
            ax.scatter(
                row.positions,
                delays[unit, own],
                s=16.0 * np.abs(weights[unit, own]) / largest,
                color=COLOURS[(0, 5)[channel]],
                label=("leading edge", "trailing edge")[channel],
                zorder=3,
            )
        error = np.median(steps_off(row, velocities[unit], delays[unit]))
        bottom, left = unit >= columns, unit % columns == 0
        label(
            ax,
            "position (degrees)" if bottom else "",
            "delay (ms)" if left else "",
            f"{name}°/s: steps off by {error:.1f} ms",
        )
    panels[0].set_ylim(0.0, 1.1 * delays.max())
    if row.channels > 1:
        panels[0].legend(fontsize=SMALL_TEXT, frameon=False)
    return figure
