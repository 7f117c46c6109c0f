"""Thinning: remove spikes at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.arguments.checks import check_finite
from evsim.arguments.keywords import helpful
from evsim.data.augment.base import SampleAugmentation, Transformed, check_transform
from evsim.data.augment.events import chosen, draw_per_spike, in_order, trains_of
from evsim.network.spike_trains import SpikeTrains


@helpful
@dataclass(frozen=True)
class Thin(SampleAugmentation):
    """Remove each spike with the given probability."""

    probability: float

    def __post_init__(self) -> None:
        check_finite(self.probability, "probability")
        if not 0 <= self.probability < 1:
            raise ValueError(
                f"probability = {self.probability}: it must be in [0, 1); 1 would remove every "
                "spike"
            )

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        check_transform(spikes, generator, duration)
        spikes = in_order(spikes)
        stays = draw_per_spike(spikes.offsets, generator, "random") >= self.probability
        times, units, offsets = chosen(spikes.times, spikes.units, spikes.offsets, stays)
        remaining = trains_of(times, units, offsets, spikes.unit_count)
        return Transformed(remaining, lost=0, removed=spikes.times.size - times.size)
