"""Spike trains of the library neo, and arrays of times of the library quantities.

Both state their unit of time, and ``rescale`` converts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evsim.arguments.checks import listed, shown
from evsim.network.spike_formats.events import SpikeEvents

_SAMPLES = (
    "give one entry per sample: a list with one neo.SpikeTrain per unit, or a neo.Segment with "
    "such spike trains"
)


def events_of_neo(samples: Sequence[Any]) -> SpikeEvents:
    """Spikes relative to the beginning of the trains, ``t_start``; unit k is the k-th train."""
    batch = listed(samples, "samples", _SAMPLES)
    if not batch:
        raise ValueError(f"samples is empty: {_SAMPLES}")
    rows: list[tuple[Any, ...]] = []
    for number, sample in enumerate(batch):
        name = f"samples[{number}]"
        if hasattr(sample, "rescale"):
            raise TypeError(f"{name} is one spike train: {_SAMPLES}")
        trains = listed(getattr(sample, "spiketrains", sample), name, _SAMPLES)
        if len(trains) != len(rows[0] if rows else trains) or not trains:
            expected = f"{len(rows[0])} as samples[0]" if rows else "at least one"
            raise ValueError(
                f"{name} has {len(trains)} spike trains: give {expected}, one for each unit; a "
                "silent unit has an empty one"
            )
        rows.append(trains)
    times, units, owners = [np.empty(0)], [], []
    for number, trains in enumerate(rows):
        starts = set()
        for unit, train in enumerate(trains):
            name = f"samples[{number}][{unit}]"
            start = _milliseconds(train.t_start, name) if hasattr(train, "t_start") else 0.0
            starts.add(float(start))
            times.append(np.ravel(_milliseconds(train, name)) - start)
            units.append(np.full(times[-1].size, unit))
            owners.append(np.full(times[-1].size, number))
        if len(starts) > 1:
            found = ", ".join(f"{start:g}" for start in sorted(starts))
            raise ValueError(
                f"the spike trains of samples[{number}] begin at different times, t_start = "
                f"{found} ms: give trains with the same t_start, which becomes 0 ms"
            )
    return SpikeEvents(
        np.concatenate(times),
        np.concatenate(units),
        np.concatenate(owners),
        len(rows),
        len(rows[0]),
    )


def _milliseconds(quantity: Any, name: str) -> np.ndarray:
    """Times with a unit, as numbers of ms."""
    if not hasattr(quantity, "rescale"):
        raise TypeError(
            f"{name} = {shown(quantity)} has no unit of time: {_SAMPLES}, or arrays of the library "
            "quantities; for plain numbers use SpikeTrains.from_events"
        )
    try:
        return np.asarray(quantity.rescale("ms").magnitude, np.float64)
    except ValueError as error:
        raise TypeError(f"{name} is no time ({error}): {_SAMPLES}") from error
