"""Augmentations that move spikes to other channels.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evsim.arguments.checks import check_choice, check_finite, checked_count
from evsim.arguments.keywords import helpful
from evsim.data.augment.base import (
    SampleAugmentation,
    Transformed,
    check_generator,
    check_transform,
)
from evsim.data.augment.events import draw_per_spike, in_order, inside, per_spike
from evsim.network.spike_trains import MOST_UNITS, SpikeTrains

Rounding = Literal["truncate", "uniform"]


@helpful
@dataclass(frozen=True)
class Shift(SampleAugmentation):
    """Move all spikes of a sample by the same number of channels (L, D).

    Parameters
    ----------
    channels : int
        The largest shift c.
    rounding : "truncate" or "uniform"
        How the shift is drawn.  "truncate", as in the program of L, draws a number from
        [-c, c) and rounds it towards zero: the shift is -(c - 1) to c - 1, and 0 is twice as
        likely as any other.  "uniform", as in the program of D, draws one of the integers -c to
        c - 1.

    Notes
    -----
    Apply Shift before a delay line; after a delay line, it would move spikes from one copy to the
    next.
    """

    channels: int = 40
    rounding: Rounding = "truncate"

    def __post_init__(self) -> None:
        checked_count(self.channels, "channels", 1, MOST_UNITS)
        check_choice(self.rounding, "rounding", get_args(Rounding))

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        check_transform(spikes, generator, duration)
        units = spikes.units + per_spike(self.draw(len(spikes), generator), spikes)
        return inside(spikes.times, units, spikes.offsets, spikes.unit_count, np.inf)

    def draw(self, samples: int, generator: np.random.Generator) -> np.ndarray:
        """Draw the shift of each sample in channels, int64, shape (samples,)."""
        samples = checked_count(samples, "samples", 0)
        check_generator(generator)
        limit = self.channels
        if self.rounding == "truncate":
            return np.trunc(generator.uniform(-limit, limit, samples)).astype(np.int64)
        return generator.integers(-limit, limit, samples)


@helpful
@dataclass(frozen=True)
class Jitter(SampleAugmentation):
    """Move each spike independently by round(N(0, deviation)) channels.

    L tried this augmentation for spoken digits and does not use it.
    """

    deviation: float

    def __post_init__(self) -> None:
        check_finite(self.deviation, "deviation")
        if not self.deviation > 0:
            raise ValueError(f"deviation = {self.deviation}: it must be > 0 channels")

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        check_transform(spikes, generator, duration)
        spikes = in_order(spikes)
        moves = draw_per_spike(spikes.offsets, generator, "standard_normal")
        moves *= self.deviation
        np.rint(moves, out=moves)
        moves += spikes.units
        return inside(spikes.times, moves, spikes.offsets, spikes.unit_count, np.inf)
