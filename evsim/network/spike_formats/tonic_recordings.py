"""Recordings of the library tonic: structured arrays with the fields t, x, y and p.

tonic (https://tonic.readthedocs.io) states times in microseconds and sizes of sensors as
(width, height, polarities).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evsim.arguments.checks import checked_count, listed, real_array, shown
from evsim.network.spike_formats.events import SpikeEvents, in_milliseconds

_RECORDINGS = "give a list of structured arrays with the fields t, x, y and p, one per sample"


def events_of_recordings(
    recordings: Sequence[Any], sensor_size: Sequence[int], unit: str
) -> SpikeEvents:
    """One unit for each pixel and polarity, ``(p * height + y) * width + x``."""
    width, height, polarities = _checked_size(sensor_size)
    size = {"x": width, "y": height, "p": polarities}
    if getattr(getattr(recordings, "dtype", None), "names", None):
        raise TypeError(f"recordings is one recording: {_RECORDINGS}, such as [recording]")
    batch = listed(recordings, "recordings", _RECORDINGS)
    times, units, counts = [np.empty(0)], [np.empty(0, np.int64)], []
    polarity: set[int] = set()
    for number, recording in enumerate(batch):
        name = f"recordings[{number}]"
        fields = getattr(getattr(recording, "dtype", None), "names", None)
        if not fields or "t" not in fields:
            raise TypeError(f"{name} = {shown(recording)} has no field t: {_RECORDINGS}")
        x, y, p = (_coordinate(recording, axis, size, name) for axis in "xyp")
        if polarities == 1:
            polarity |= set(np.unique(p).tolist())
            if len(polarity) > 1:
                raise ValueError(
                    f"{name}['p'] has the polarities {sorted(polarity)}, but sensor_size = "
                    f"({width}, {height}, 1) has one: give (width, height, 2), or merge them, "
                    "tonic.transforms.MergePolarities()"
                )
            p = np.zeros_like(p)
        times.append(in_milliseconds(real_array(recording["t"], f"{name}['t']"), unit))
        units.append((p * height + y) * width + x)
        counts.append(recording.size)
    return SpikeEvents(
        np.concatenate(times),
        np.concatenate(units),
        np.repeat(np.arange(len(batch)), np.array(counts, np.int64)),
        len(batch),
        width * height * polarities,
    )


def _checked_size(sensor_size: Any) -> tuple[int, int, int]:
    sizes = listed(sensor_size, "sensor_size", "give (width, height, polarities)")
    if len(sizes) != 3:
        raise ValueError(f"sensor_size = {shown(sensor_size)}: give (width, height, polarities)")
    width, height, polarities = (
        checked_count(each, f"sensor_size[{place}]", 1) for place, each in enumerate(sizes)
    )
    return width, height, polarities


def _coordinate(recording: np.ndarray, axis: str, size: dict[str, int], name: str) -> np.ndarray:
    """A field of integers or Booleans, which may be missing if the sensor's size there is 1."""
    assert recording.dtype.names is not None
    if axis not in recording.dtype.names:
        if size[axis] > 1:
            raise TypeError(
                f"{name} has no field {axis}, of which sensor_size has {size[axis]}: {_RECORDINGS}"
            )
        return np.zeros(recording.shape, np.int64)
    values = recording[axis]
    if values.dtype.kind not in "iub":
        raise TypeError(f"{name}['{axis}'] has type {values.dtype}: it must hold integers")
    values = values.astype(np.int64)
    wrong = (values < 0) | (values >= size[axis])
    # If the sensor has one polarity, its value may be any number.
    if wrong.any() and not (axis == "p" and size["p"] == 1):
        event = int(np.argmax(wrong))
        raise ValueError(
            f"{name}['{axis}'][{event}] = {values[event]}: with sensor_size = "
            f"{tuple(size.values())} it must be 0 to {size[axis] - 1}"
        )
    return values
