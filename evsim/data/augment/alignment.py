"""The mean channel and time of a sample's spikes, and how two samples move to their middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.display.short_repr import Brief
from evsim.network.spike_trains import SpikeTrains

_TABLE = 2**22  # the most entries of a table of units by samples that are processed at a time


@dataclass(frozen=True, eq=False, repr=False)
class Means(Brief):
    """The mean channel and mean time of each sample's spikes, shape (samples,); NaN if silent."""

    channels: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, spikes: SpikeTrains) -> Means:
        """The means of spike trains."""
        size = max(1, _TABLE // spikes.unit_count)
        pieces = [slice(first, first + size) for first in range(0, len(spikes), size)]
        return cls.joined([cls.by_unit(*unit_sums(spikes, piece)) for piece in pieces])

    @classmethod
    def by_unit(cls, counts: np.ndarray, times: np.ndarray, shifts: np.ndarray | int = 0) -> Means:
        """The means, from the number of spikes and the sum of times of each unit, (samples, units).

        ``shifts`` is the number of channels by which the spikes of each sample have moved.  Units
        are added one after the other, so that units without spikes do not change any bit.
        """
        total = counts.sum(axis=1)
        channels = counts @ np.arange(counts.shape[1]) + shifts * total
        summed = np.add.accumulate(times, axis=1)[:, -1]
        with np.errstate(invalid="ignore"):
            return cls(channels / total, summed / total)

    @classmethod
    def joined(cls, parts: list[Means]) -> Means:
        """Join the means of several groups of samples."""
        channels, times = ([getattr(p, name) for p in parts] for name in ("channels", "times"))
        return cls(np.concatenate([[], *channels]), np.concatenate([[], *times]))


def unit_sums(spikes: SpikeTrains, samples: slice) -> tuple[np.ndarray, np.ndarray]:
    """The number of spikes and the sum of spike times of each unit in some samples.

    int64 and float64, each of shape (samples, units).
    """
    offsets = spikes.offsets[samples.start : samples.stop + 1]
    events = slice(offsets[0], offsets[-1])
    shape = offsets.size - 1, spikes.unit_count
    entries = np.repeat(np.arange(shape[0]) * spikes.unit_count, np.diff(offsets))
    entries += spikes.units[events]
    counts = np.bincount(entries, minlength=shape[0] * shape[1])
    times = np.bincount(entries, weights=spikes.times[events], minlength=shape[0] * shape[1])
    return counts.reshape(shape), times.reshape(shape)


@dataclass(frozen=True, eq=False, repr=False)
class Alignment(Brief):
    """The shift of both samples of each pair, in channels (int64) and ms, shape (pairs, 2)."""

    channels: np.ndarray
    delays: np.ndarray

    @classmethod
    def of(cls, means: Means, pairs: np.ndarray, time_step: float | None) -> Alignment:
        """The shifts to the middle between the means of two samples.

        They are rounded towards zero to whole channels, and to whole time steps if a time step is
        given.  No sample may be silent.
        """
        channels = np.trunc(_way_to_the_middle(means.channels[pairs])).astype(np.int64)
        delays = _way_to_the_middle(means.times[pairs])
        if time_step is not None:
            delays = time_step * np.trunc(delays / time_step)
        return cls(channels, delays)


def _way_to_the_middle(values: np.ndarray) -> np.ndarray:
    """The way from the two values of each pair to the middle between them, shape (pairs, 2)."""
    half = (values[:, 1] - values[:, 0]) / 2
    return np.stack([half, -half], axis=1)
