"""The spikes of a row of receptors for a bar that passes over it.

A receptor spikes when the leading edge of the bar reaches it; with an OFF channel, a second unit
spikes when the trailing edge does.  Positions are in degrees of the visual field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.arguments.checks import check_is, real_array
from evsim.arguments.keywords import helpful
from evsim.network.spike_trains import SpikeTrains


@helpful
@dataclass(frozen=True)
class Row:
    """A row of receptors.

    Parameters
    ----------
    receptors : int
    spacing : float
        From one receptor to the next, in degrees.
    off_width : float, optional
        The width of bars in degrees, if receptors also signal the trailing edge; by default they do
        not.
    """

    receptors: int
    spacing: float
    off_width: float | None = None

    @property
    def channels(self) -> int:
        """1 for the leading edge only, 2 with the trailing edge."""
        return 1 if self.off_width is None else 2

    @property
    def units(self) -> int:
        """The number of units: the leading edge at each receptor, then the trailing edge."""
        return self.channels * self.receptors

    @property
    def positions(self) -> np.ndarray:
        """The position of each receptor in degrees, 0 in the middle, shape (receptors,)."""
        middle = 0.5 * (self.receptors - 1)
        positions: np.ndarray = self.spacing * (np.arange(self.receptors) - middle)
        return positions

    def passages(self, velocities: np.ndarray) -> np.ndarray:
        """When the edge of each unit passes its receptor, in ms, shape (samples, units).

        Times are counted from the moment at which the leading edge is at position 0.
        ``velocities``, shape (samples,), are in degrees per second, positive from left to right.
        """
        leading: np.ndarray = 1000.0 * self.positions / velocities[:, None]
        if self.off_width is None:
            return leading
        return np.hstack([leading, leading + 1000.0 * self.off_width / np.abs(velocities)[:, None]])


@helpful
def seen(
    row: Row,
    velocities: np.ndarray,
    first: np.ndarray,
    starts: np.ndarray,
    *,
    crossed: int,
    jitter: float,
    generator: np.random.Generator,
) -> SpikeTrains:
    """The spikes of a row of receptors; in each sample, a bar crosses a part of the row.

    Parameters
    ----------
    row : Row
    velocities : array, shape (samples,)
        In degrees per second, positive from left to right, not 0.
    first : array of int, shape (samples,)
        The leftmost receptor of the part that the bar crosses.
    starts : array, shape (samples,)
        When its leading edge reaches the first receptor on its way, in ms.
    crossed : int
        The number of receptors that the bar crosses.
    jitter : float
        The standard deviation of every spike's time, in ms.
    generator : numpy.random.Generator

    Raises
    ------
    ValueError
        For a velocity of 0, and for a spike that would come before the trial begins, at 0.
    """
    velocities, starts = real_array(velocities, "velocities"), real_array(starts, "starts")
    check_is(generator, "generator", np.random.Generator, "give numpy.random.default_rng(seed)")
    if not np.all(velocities):
        raise ValueError("a velocity is 0: a bar that stands still crosses no receptor")
    receptor = np.tile(np.arange(row.receptors), row.channels)
    is_crossed = (receptor >= first[:, None]) & (receptor < first[:, None] + crossed)
    times = row.passages(velocities)
    begins = np.where(is_crossed, times, np.inf).min(axis=1)
    times = times - begins[:, None] + starts[:, None]
    times = times + generator.normal(0.0, jitter, times.shape)
    samples, units = np.nonzero(is_crossed)
    chosen = times[samples, units]
    if chosen.size and chosen.min() < 0:
        raise ValueError(
            f"a receptor would spike at {chosen.min():.3g} ms, before the trial: let bars start "
            "later"
        )
    return SpikeTrains.from_events(
        chosen, units, samples, batch_size=velocities.size, unit_count=row.units
    )
