"""Latency: one spike per channel and frame, earlier for larger values."""

from __future__ import annotations

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.encoding.frames import (
    Frames,
    Outside,
    Samples,
    check_outside,
    checked_frame_length,
    checked_limits,
    checked_unit_count,
)
from evsim.network.spike_trains import SpikeTrains


@helpful
def latency(
    samples: Samples,
    *,
    frame_length: float | np.ndarray,
    low: float | np.ndarray,
    high: float | np.ndarray,
    outside: Outside = "refuse",
) -> SpikeTrains:
    """Encode each value as the latency of one spike.

    Unit c is channel c.  A value x of frame n gives a spike at::

        t = frame_length * (n + (high - x) / (high - low))

    so ``high`` spikes at the beginning of its frame and ``low`` at its end.

    Parameters
    ----------
    samples : array, shape (batch, time, channels), or list of arrays, each (time, channels)
    frame_length : float, or array of shape (batch,)
        The length of a frame in ms.  One for each sample, such as ``100.0 / lengths``, makes
        samples of different lengths fill the same time.
    low, high : float, or array of shape (channels,)
        The smallest and the largest value.
    outside : "refuse" or "clip"
        What happens to values outside [low, high]: an error, or they count as low or high.

    Raises
    ------
    TypeError, ValueError
        For values that are not finite or not within [low, high].
    """
    frames = Frames.of(samples)
    frame_length = checked_frame_length(frame_length, frames)
    check_outside(outside)
    channels = frames.values.shape[1]
    low, high = checked_limits(low, high, channels)
    values = frames.within(low, high, outside)
    late = (high - values) / (high - low)
    times = frame_length[:, np.newaxis] * (frames.numbers[:, np.newaxis] + late)
    return SpikeTrains.from_events(
        times.ravel(),
        np.tile(np.arange(channels), len(times)),
        np.repeat(frames.samples, channels),
        batch_size=frames.batch_size,
        unit_count=checked_unit_count(channels, 1),
    )
