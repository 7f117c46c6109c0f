"""Pictures of sound localisation: estimates, and the line of detectors that Jeffress describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evsim.plotting.style import BLACK, COLOURS, GREY, SMALL_TEXT, TWO_COLUMNS, label, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def estimates(itds: np.ndarray, told: np.ndarray) -> Figure:
    """Estimated against true ITDs, and the errors; both arrays are in ms, shape (samples,)."""
    figure = new_figure(TWO_COLUMNS, 2.8)
    left, right = figure.subplots(1, 2)
    ends = np.array([itds.min(), itds.max()])
    left.plot(ends, ends, color=GREY, linewidth=0.8)
    left.plot(itds, told, ".", color=COLOURS[0], markersize=2.0)
    label(left, "true ITD (ms)", "estimated ITD (ms)")
    errors = 1000.0 * (told - itds)
    right.plot(itds, errors, ".", color=COLOURS[0], markersize=2.0)
    right.axhline(0.0, color=GREY, linewidth=0.8)
    mean = np.abs(errors).mean()
    label(right, "true ITD (ms)", "error (µs)", f"mean absolute error {mean:.1f} µs")
    return figure


def jeffress_line(
    places: np.ndarray,
    differences: np.ndarray,
    itds: np.ndarray,
    latencies: np.ndarray,
    task: tuple[float, float],
) -> Figure:
    """The delays of each detector beside those that geometry requires, and when detectors spike.

    Parameters
    ----------
    places : array, shape (detectors,)
        The ITD in ms that each detector stands for.
    differences : array, shape (detectors,)
        By how many ms its delays from the left ear exceed those from the right.
    itds : array, shape (itds,)
    latencies : array, shape (itds, detectors)
        When each detector spikes after a sound with that ITD, in ms; infinity where it does not.
    task : pair of float
        The smallest and the largest ITD of the task, in ms.
    """
    figure = new_figure(TWO_COLUMNS, 3.0)
    left, right = figure.subplots(1, 2)
    _draw_line(left, places, differences, itds, latencies)
    _draw_tuning(right, places, itds, latencies, task)
    return figure


def _draw_line(
    ax: Axes,
    places: np.ndarray,
    differences: np.ndarray,
    itds: np.ndarray,
    latencies: np.ndarray,
) -> None:
    """Delay differences and preferred ITDs against the place, and the diagonal."""
    spikes = np.isfinite(latencies).any(axis=0)
    preferred = itds[np.argmin(latencies, axis=0)]
    ends = np.array([places.min(), places.max()])
    ax.plot(ends, ends, color=GREY, linewidth=0.8, label="geometry")
    ax.plot(places, differences, "o", color=COLOURS[0], markersize=4.0, label="learned delays")
    ax.plot(
        places[spikes],
        preferred[spikes],
        "+",
        color=COLOURS[5],
        markersize=5.0,
        label="ITD of its earliest spike",
    )
    label(ax, "place of the detector (ms)", "delay left − delay right (ms)")
    ax.legend(fontsize=SMALL_TEXT, frameon=False)


def _draw_tuning(
    ax: Axes,
    places: np.ndarray,
    itds: np.ndarray,
    latencies: np.ndarray,
    task: tuple[float, float],
) -> None:
    """Spike times of some detectors against the ITD, and the first spike time of all detectors."""
    shown = range(0, places.size, max(1, places.size // 5))
    for colour, unit in zip(COLOURS * 2, shown, strict=False):
        latency = np.where(np.isfinite(latencies[:, unit]), latencies[:, unit], np.nan)
        ax.plot(itds, latency, color=colour, linewidth=1.0, label=f"{places[unit]:+.2f}")
    first = latencies.min(axis=1)
    ax.plot(itds, np.where(np.isfinite(first), first, np.nan), ":", color=BLACK, linewidth=0.8)
    ax.axvspan(*task, color=GREY, alpha=0.15, linewidth=0)
    title = "grey: ITDs of the task; dotted: the earliest spike"
    label(ax, "ITD (ms)", "spike of the detector (ms)", title)
    ax.legend(
        fontsize=SMALL_TEXT,
        frameon=False,
        title="place (ms)",
        title_fontsize=SMALL_TEXT,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
