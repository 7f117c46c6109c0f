"""The spikes of the fibres of two ears for a sound that reaches one ear before the other.

The interaural time difference (ITD) is how much later the sound reaches the right ear than the left
one.  A sound is a list of instants, clicks or cycles of a tone, at which a fibre may spike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import check_is, checked_count, real_array
from evsim.arguments.keywords import helpful
from evsim.network.spike_trains import SpikeTrains


@helpful
@dataclass(frozen=True)
class Sound:
    """When fibres spike, counted from the arrival of the sound.

    Parameters
    ----------
    instants : tuple of float
        In ms: the times of the clicks, or the time in each cycle of a tone to which spikes are
        locked.
    spike_probability : float
        The probability in (0, 1] that a fibre spikes at an instant.
    """

    instants: tuple[float, ...]
    spike_probability: float = 1.0

    @classmethod
    def clicks(cls, number: int, interval: float) -> Sound:
        """A number of clicks, ``interval`` ms apart; every fibre spikes at each of them."""
        return cls(tuple(interval * click for click in range(number)))

    @classmethod
    def tone(cls, frequency: float, cycles: int, spike_probability: float) -> Sound:
        """A number of cycles of a tone of ``frequency`` Hz; a fibre spikes in some of them."""
        period = 1000.0 / frequency
        return cls(tuple(period * cycle for cycle in range(cycles)), spike_probability)


@helpful
def heard(
    sound: Sound,
    itds: np.ndarray,
    arrivals: np.ndarray,
    *,
    fibres: int,
    jitter: float,
    generator: np.random.Generator,
) -> SpikeTrains:
    """The spikes of both ears for each sample: fibres of the left ear first, then of the right.

    The sound reaches the left ear half the ITD before ``arrivals`` and the right ear half the ITD
    after.  Onset and cycles are delayed by the same time, as in a free field.

    Parameters
    ----------
    sound : Sound
    itds : array, shape (samples,)
        In ms; positive if the sound reaches the left ear first.
    arrivals : array, shape (samples,)
        When the sound would reach the middle of the head, in ms.
    fibres : int
        The number of fibres of each ear.
    jitter : float
        The standard deviation of every spike's time, in ms.
    generator : numpy.random.Generator

    Raises
    ------
    ValueError
        For a spike that would come before the trial begins, at 0.
    """
    itds, arrivals = real_array(itds, "itds"), real_array(arrivals, "arrivals")
    if itds.ndim != 1 or arrivals.shape != itds.shape:
        raise ValueError(
            f"itds has shape {itds.shape} and arrivals {arrivals.shape}: give one of each per "
            "sample, shape (samples,)"
        )
    fibres = checked_count(fibres, "fibres", 1)
    check_is(generator, "generator", np.random.Generator, "give numpy.random.default_rng(seed)")
    ears = np.repeat([-0.5, 0.5], fibres)
    # The axes are samples, fibres and instants.
    times: Any = arrivals[:, None, None] + itds[:, None, None] * ears[:, None]
    times = times + np.asarray(sound.instants)
    times = times + generator.normal(0.0, jitter, times.shape)
    spikes = generator.random(times.shape) < sound.spike_probability
    samples, units, instants = np.nonzero(spikes)
    chosen = times[samples, units, instants]
    if chosen.size and chosen.min() < 0:
        raise ValueError(
            f"a fibre would spike at {chosen.min():.3g} ms, before the trial: let sounds arrive "
            "later"
        )
    return SpikeTrains.from_events(
        chosen, units, samples, batch_size=itds.size, unit_count=2 * fibres
    )
