"""Resampling: the same number of frames for samples of different lengths."""

from __future__ import annotations

import numpy as np

from evsim.arguments.checks import checked_count
from evsim.arguments.keywords import helpful
from evsim.encoding.frames import Frames, Samples


@helpful
def resample(samples: Samples, frames: int) -> np.ndarray:
    """Average each sample over equal parts of its length, shape (batch, frames, channels).

    Between two values the signal is a straight line.  Part k of a sample with n values goes from
    ``(n - 1) * k / frames`` to ``(n - 1) * (k + 1) / frames``, counted in values, and its frame is
    the mean of the signal there.

    Parameters
    ----------
    samples : array, shape (batch, time, channels), or list of arrays, each (time, channels)
    frames : int
        The number of frames of each sample.

    Raises
    ------
    TypeError, ValueError
        For values that are not finite, and for a sample without values.
    """
    frames = checked_count(frames, "frames")
    given = Frames.of(samples)
    lengths = np.bincount(given.samples, minlength=given.batch_size)
    if not lengths.all():
        raise ValueError(f"samples[{int(np.argmin(lengths))}] is empty: give at least one value")
    ends = np.cumsum(lengths)
    resampled = np.empty((given.batch_size, frames, given.values.shape[1]))
    for sample, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        resampled[sample] = _means(given.values[end - length : end], frames)
    return resampled


def _means(values: np.ndarray, frames: int) -> np.ndarray:
    """The mean of a signal, shape (time, channels), over equal parts."""
    if len(values) == 1:
        return np.repeat(values, frames, axis=0)
    edges = np.linspace(0, len(values) - 1, frames + 1)
    before = np.minimum(edges.astype(np.int64), len(values) - 2)
    rest = (edges - before)[:, np.newaxis]
    steps = 0.5 * (values[1:] + values[:-1])
    whole = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(steps, axis=0)])
    rise = values[before + 1] - values[before]
    integral = whole[before] + rest * values[before] + 0.5 * rest**2 * rise
    means: np.ndarray = np.diff(integral, axis=0) * (frames / (len(values) - 1))
    return means
