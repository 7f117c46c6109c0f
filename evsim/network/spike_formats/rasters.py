"""Rasters: spike counts on a time grid, shape (batch, time, units)."""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.arguments.checks import check_finite, count_array
from evsim.network.spike_formats.events import SpikeEvents, in_milliseconds

LARGEST_COUNT = 2**31
LARGEST_RASTER = 2**36


def events_of_raster(raster: Any, dt: float, unit: str) -> SpikeEvents:
    """Spikes at the beginning of their time step; a count n gives n spikes at the same time."""
    step = step_in_milliseconds(dt, unit)
    array = _checked_raster(raster)
    samples, steps, units = np.nonzero(array)
    repeats = array[samples, steps, units].astype(np.int64)
    return SpikeEvents(
        np.repeat(steps * step, repeats),
        np.repeat(units, repeats),
        np.repeat(samples, repeats),
        array.shape[0],
        array.shape[2],
    )


def step_in_milliseconds(dt: float, unit: str) -> float:
    """A time step in ms; refuses one that is not finite and > 0."""
    check_finite(dt, "dt")
    if not dt > 0:
        raise ValueError(f"dt = {dt}: it must be finite and > 0")
    return float(in_milliseconds(np.array(dt), unit))


def _checked_raster(raster: Any) -> np.ndarray:
    """The raster as an array of counts, Booleans or whole numbers."""
    array = count_array(raster, "raster")
    if array.ndim != 3 or not array.shape[2]:
        raise ValueError(
            f"raster has shape {array.shape}: give (batch, time, units); for (time, batch, units) "
            "exchange the first two axes, raster.swapaxes(0, 1)"
        )
    wrong = ~((array >= 0) & (array <= LARGEST_COUNT))
    if array.dtype.kind == "f":
        wrong |= array != np.rint(array)
    if wrong.any():
        place = tuple(int(number) for number in np.argwhere(wrong)[0])
        raise ValueError(
            f"raster[{', '.join(map(str, place))}] = {array[place]}: it must be the number of "
            "spikes in a time step, 0, 1, 2 and so on"
        )
    return array


def steps_of(times: np.ndarray, step: float) -> np.ndarray:
    """The time step in which each time lies, int64; both in ms.

    A time that differs from the beginning of a step by its rounding error counts as the beginning.
    """
    nearest = np.rint(times / step)
    at_beginning = np.abs(times - nearest * step) <= 4 * np.spacing(times)
    return np.where(at_beginning, nearest, np.floor(times / step)).astype(np.int64)


def raster_of(events: SpikeEvents, step: float, duration: float) -> np.ndarray:
    """Count the spikes of each time step, int64, shape (batch, steps, units)."""
    count = max(1, int(np.ceil(duration / step - 1e-9)))
    if events.batch_size * count * events.unit_count > LARGEST_RASTER:
        raise ValueError(
            f"duration = {duration:g} ms and dt = {step:g} ms make {count} steps of "
            f"{events.unit_count} units in {events.batch_size} samples, more than "
            f"{LARGEST_RASTER} entries: give a larger dt, or fewer samples at a time"
        )
    steps = steps_of(events.times, step)
    late = steps >= count
    if late.any():
        event = int(np.argmax(late))
        raise ValueError(
            f"sample {events.samples[event]} has a spike at {events.times[event]:g} ms, but the "
            f"raster ends at {count * step:g} ms: give a longer duration, or leave such "
            "spikes out"
        )
    shape = (events.batch_size, count, events.unit_count)
    flat = np.ravel_multi_index((events.samples, steps, events.units), shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
