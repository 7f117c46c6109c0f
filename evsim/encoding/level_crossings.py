"""Level crossing: a spike for each step of a given size, up or down (send on delta).

Miskowicz, *Send-on-delta concept: an event-based data reporting strategy* (Sensors 2006), describes
this sampling; silicon retinas and cochleas send such events.
"""

from __future__ import annotations

import numpy as np

from evsim.arguments.checks import real_array
from evsim.arguments.keywords import helpful
from evsim.encoding.frames import Frames, Samples, checked_frame_length, checked_unit_count
from evsim.network.ragged_arrays import counted
from evsim.network.spike_trains import SpikeTrains

MOST_SPIKES = 2**31


@helpful
def level_crossing(
    samples: Samples, *, frame_length: float | np.ndarray, threshold: float | np.ndarray
) -> SpikeTrains:
    """Encode the changes of each channel as steps up and steps down.

    Unit 2c spikes for steps up of channel c, unit 2c + 1 for steps down.  Between frames the signal
    is a straight line from the value x[n] at ``n * frame_length`` to x[n + 1].  The reference level
    is x[0] at first.  When the signal reaches the reference plus ``threshold``, the unit for steps
    up spikes and the reference rises by ``threshold``; likewise downwards.  A step of frame n at
    level y has the time::

        t = frame_length * (n + (y - x[n]) / (x[n + 1] - x[n]))

    x[0] itself gives no spike, and neither does a change smaller than ``threshold``.  The signal is
    never farther than ``threshold`` from x[0] plus ``threshold`` times the number of steps up less
    steps down.

    Parameters
    ----------
    samples : array, shape (batch, time, channels), or list of arrays, each (time, channels)
    frame_length : float, or array of shape (batch,)
        The time from one value to the next in ms, for all samples or for each.
    threshold : float, or array of shape (channels,)
        The size of a step, in the unit of the values.

    Raises
    ------
    TypeError, ValueError
        For values that are not finite, and for a threshold that is not finite and > 0.
    """
    frames = Frames.of(samples)
    frame_length = checked_frame_length(frame_length, frames)
    channels = frames.values.shape[1]
    unit_count = checked_unit_count(channels, 2)
    threshold = _checked_threshold(threshold, channels)
    with np.errstate(over="ignore"):  # too many steps, refused below
        steps = frames.values / threshold
    _check_step_count(steps, frames, threshold)
    begins = np.flatnonzero(frames.numbers == 0)
    steps -= steps[begins][np.searchsorted(begins, np.arange(len(steps)), side="right") - 1]
    per_sample = np.zeros(frames.batch_size)
    per_sample[frames.samples] = frame_length
    times: list[np.ndarray] = []
    units: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    reference = np.zeros((frames.batch_size, channels))
    for number in range(1, int(frames.numbers.max(initial=0)) + 1):
        here = np.flatnonzero(frames.numbers == number)
        sample = frames.samples[here]
        before, after, level = steps[here - 1], steps[here], reference[sample]
        reached = np.maximum(level, np.floor(after)) + np.minimum(level, np.ceil(after)) - level
        reference[sample] = reached
        counts = np.abs(reached - level).astype(np.int64)
        row, channel = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0).T
        crossed = _one_to(counts[counts > 0])
        sign = np.sign(reached - level)[row, channel]
        crossing = level[row, channel] + sign * crossed
        change = (after - before)[row, channel]
        position = number - 1 + (crossing - before[row, channel]) / change
        times.append(per_sample[sample[row]] * position)
        units.append(2 * channel + (sign < 0))
        owners.append(sample[row])
    return SpikeTrains.from_events(
        np.concatenate([np.empty(0), *times]),
        np.concatenate([np.empty(0, np.int64), *units]),
        np.concatenate([np.empty(0, np.int64), *owners]),
        batch_size=frames.batch_size,
        unit_count=unit_count,
    )


def _one_to(counts: np.ndarray) -> np.ndarray:
    """1 to counts[0], 1 to counts[1] and so on, one after the other."""
    _, numbers = counted(counts)
    return numbers + 1


def _check_step_count(steps: np.ndarray, frames: Frames, threshold: np.ndarray) -> None:
    """Refuse a threshold that would give more spikes than can be stored."""
    with np.errstate(over="ignore", invalid="ignore"):
        per_channel = np.abs(np.diff(steps, axis=0))[frames.numbers[1:] > 0].sum(axis=0)
    per_channel[np.isnan(per_channel)] = np.inf
    total = per_channel.sum()
    if total > MOST_SPIKES:
        channel = int(np.argmax(per_channel))
        smallest = np.broadcast_to(threshold, per_channel.shape)[channel]
        raise ValueError(
            f"threshold = {smallest:g} of channel {channel} is too small for these samples: they "
            f"would give {total:.3g} spikes; give a larger threshold"
        )


def _checked_threshold(threshold: object, channels: int) -> np.ndarray:
    array = real_array(threshold, "threshold").astype(np.float64)
    if array.shape not in ((), (channels,)):
        raise ValueError(
            f"threshold has shape {array.shape}: give one number, or one for each of {channels} "
            "channels"
        )
    wrong = ~(np.isfinite(array) & (array > 0))
    if wrong.any():
        raise ValueError(f"threshold = {array[wrong].flat[0]:g}: it must be finite and > 0")
    return array
