"""Delay lines: each input spike several times, later and later."""

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
    """A delay line of the input, see ``delay_line``; it draws nothing.

    As an augmentation it takes its place after others: ``Shift`` and ``Blend`` are meant for
    the channels themselves.  Data to validate or test with needs the same delay line.
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
    """Give the network each input spike several times, later and later (L section 2.3).

    Copy k of channel c is unit ``k * unit_count + c`` and spikes ``k * spacing`` later; copy
    0 is the input itself.

    Parameters
    ----------
    spikes : SpikeTrains
    copies : int
        In all, the input itself included.  L has 10 in its text and 11 in its program.
    spacing : float
        In ms.
    duration : float, optional
        Copies of spikes later than this time, in ms, are lost and counted; by default none.

    Returns
    -------
    Transformed
        Its spikes have ``copies * unit_count`` units.
    """
    check_is(spikes, "spikes", SpikeTrains, "give SpikeTrains")
    _check_delay_line(copies, spacing)
    most = MOST_UNITS // spikes.unit_count
    if copies > most:
        raise ValueError(
            f"copies = {copies}: of {spikes.unit_count} units there can be at most {most} copies"
        )
    end = np.inf if duration is None else check_duration(duration)
    # The copies of a sample as samples of their own, one after the other, to be merged.
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
