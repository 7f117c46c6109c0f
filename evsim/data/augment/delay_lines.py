"""Delay lines: several copies of the input, each later than the one before.

L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.arguments.checks import check_duration, check_finite, check_is, checked_count
from evsim.arguments.keywords import helpful
from evsim.data.augment.base import SampleAugmentation, Transformed, check_transform
from evsim.data.augment.events import inside, per_spike
from evsim.network.spike_trains import MOST_UNITS, SpikeTrains


@helpful
@dataclass(frozen=True)
class DelayLine(SampleAugmentation):
    """A delay line of the input, see ``delay_line``; nothing about it is random.

    Apply it after other augmentations, because ``Shift`` and ``Blend`` expect the original
    channels.  Validation and test data need the same delay line.
    """

    copies: int = 10
    spacing: float = 30.0

    def __post_init__(self) -> None:
        _check_delay_line(self.copies, self.spacing)

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        check_transform(spikes, generator, duration)
        return delay_line(spikes, self.copies, self.spacing, duration)


@helpful
def delay_line(
    spikes: SpikeTrains, copies: int = 10, spacing: float = 30.0, duration: float | None = None
) -> Transformed:
    """Copy each input spike several times, each copy later than the one before (L, section 2.3).

    Copy k of channel c is unit ``k * unit_count + c`` and spikes ``k * spacing`` later.  Copy 0
    is the input.

    Parameters
    ----------
    spikes : SpikeTrains
    copies : int
        The number of copies, including the input.  L has 10 in its text and 11 in its program.
    spacing : float
        The time between two copies in ms.
    duration : float, optional
        Copies of spikes later than this time, in ms, are lost and counted; by default none are.

    Returns
    -------
    Transformed
        Its spikes have ``copies * unit_count`` units.
    """
    check_is(spikes, "spikes", SpikeTrains, "give SpikeTrains")
    _check_delay_line(copies, spacing)
    limit = MOST_UNITS // spikes.unit_count
    if copies > limit:
        raise ValueError(
            f"copies = {copies}: of {spikes.unit_count} units there can be at most {limit} copies"
        )
    end = np.inf if duration is None else check_duration(duration)
    # Each copy of a sample is first a sample; then the copies are merged.
    repeated = spikes[np.repeat(np.arange(len(spikes)), copies)]
    copy = np.tile(np.arange(copies), len(spikes))
    return inside(
        repeated.times + per_spike(float(spacing) * copy, repeated),
        repeated.units + per_spike(spikes.unit_count * copy, repeated),
        repeated.offsets[::copies],
        spikes.unit_count * copies,
        end,
    )


def _check_delay_line(copies: int, spacing: float) -> None:
    checked_count(copies, "copies", 1, MOST_UNITS)
    check_finite(spacing, "spacing")
    if not spacing >= 0:
        raise ValueError(f"spacing = {spacing} ms: it must be >= 0")
