"""Population: several units per channel, each with a Gaussian tuning curve.

Bohte, Kok, La Poutré, *Error-backpropagation in temporally encoded networks of spiking neurons*
(Neurocomputing 2002), encode a value by the spike times of units with overlapping Gaussian
receptive fields.
"""

from __future__ import annotations

import numpy as np

from evsim.arguments.checks import check_finite, checked_count
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
from evsim.network.spike_trains import MOST_UNITS, SpikeTrains


@helpful
def population(
    samples: Samples,
    *,
    frame_length: float | np.ndarray,
    low: float | np.ndarray,
    high: float | np.ndarray,
    curves: int = 8,
    width: float = 1.0,
    cutoff: float = 0.1,
    outside: Outside = "refuse",
) -> SpikeTrains:
    """Encode each value by units with Gaussian tuning curves.

    Channel c has the units ``c * curves`` to ``c * curves + curves - 1``.  The centres of their
    curves are evenly spaced from ``low`` to ``high``, at a distance d = (high - low)/(curves - 1).
    A value x activates the unit with centre m by::

        a = exp(-(x - m)**2 / (2 * (width * d)**2))

    and if a >= cutoff, the unit spikes in frame n at::

        t = frame_length * (n + (1 - a) / (1 - cutoff))

    so a unit whose centre is x spikes at the beginning of the frame, and later the farther its
    centre is from x.  Less activated units do not spike.

    Parameters
    ----------
    samples : array, shape (batch, time, channels), or list of arrays, each (time, channels)
    frame_length : float, or array of shape (batch,)
        The length of a frame in ms.  One for each sample, such as ``100.0 / lengths``, makes
        samples of different lengths fill the same time.
    low, high : float, or array of shape (channels,)
        The centres of the first and the last curve.
    curves : int
        The number of units per channel, at least 2.
    width : float
        The standard deviation of a curve in units of d.
    cutoff : float
        The smallest activation that gives a spike, in (0, 1).  Every value must be near enough to
        a centre: ``cutoff <= exp(-1 / (8 * width**2))``.
    outside : "refuse" or "clip"
        What happens to values outside [low, high]: an error, or they count as low or high.

    Raises
    ------
    TypeError, ValueError
        For values that are not finite or not within [low, high], and for curves between which a
        value would give no spike.
    """
    frames = Frames.of(samples)
    frame_length = checked_frame_length(frame_length, frames)
    check_outside(outside)
    curves = checked_count(curves, "curves", 2, MOST_UNITS)
    _check_curves(width, cutoff)
    channels = frames.values.shape[1]
    unit_count = checked_unit_count(channels, curves)
    low, high = checked_limits(low, high, channels)
    values = frames.within(low, high, outside)
    # In units of d: the position of a value among the centres 0, 1, ..., curves - 1.
    positions = (values - low) / (high - low) * (curves - 1)
    distances = positions[:, :, np.newaxis] - np.arange(curves)
    activations = np.exp(-0.5 * (distances / width) ** 2)
    # The nearest centre counts even if rounding puts a value halfway just below the cutoff.
    active = (activations >= cutoff) | (np.abs(distances) <= 0.5)
    frame, channel, curve = np.nonzero(active)
    late = (1 - activations[frame, channel, curve]) / (1 - cutoff)
    return SpikeTrains.from_events(
        frame_length[frame] * (frames.numbers[frame] + late),
        channel * curves + curve,
        frames.samples[frame],
        batch_size=frames.batch_size,
        unit_count=unit_count,
    )


def _check_curves(width: float, cutoff: float) -> None:
    check_finite(width, "width")
    check_finite(cutoff, "cutoff")
    if not width > 0:
        raise ValueError(f"width = {width}: it must be finite and > 0")
    if not 0 < cutoff < 1:
        raise ValueError(f"cutoff = {cutoff}: it must be in (0, 1)")
    halfway = np.exp(-0.125 / width / width)
    if cutoff > halfway:
        raise ValueError(
            f"cutoff = {cutoff:g} is above {halfway:.3g}, the activation halfway between two "
            "centres, so some values would give no spike: lower cutoff or raise width"
        )
