"""Dilation of time.

L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evsim.arguments.checks import check_choice, check_finite
from evsim.arguments.keywords import helpful
from evsim.data.augment.base import SampleAugmentation, Transformed, check_transform
from evsim.data.augment.events import inside, per_spike
from evsim.network.spike_trains import SpikeTrains

Distribution = Literal["log-uniform", "uniform"]


@helpful
@dataclass(frozen=True)
class Dilate(SampleAugmentation):
    """Multiply the times of each sample by one random factor between ``low`` and ``high``.

    ``distribution`` is that of the factor: "log-uniform", as in the program of L, or
    "uniform", as in its text.  L tried dilation for spoken digits and does not use it.
    """

    low: float
    high: float
    distribution: Distribution = "log-uniform"

    def __post_init__(self) -> None:
        check_finite(self.low, "low")
        check_finite(self.high, "high")
        if not 0 < self.low <= self.high:
            raise ValueError(
                f"Dilate({self.low}, {self.high}): low must be > 0 and must not exceed high"
            )
        check_choice(self.distribution, "distribution", get_args(Distribution))

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        check_transform(spikes, generator, duration)
        if self.distribution == "uniform":
            factors = generator.uniform(self.low, self.high, len(spikes))
        else:
            factors = np.exp(generator.uniform(np.log(self.low), np.log(self.high), len(spikes)))
        # A time that overflows is after the trial, one that underflows is at its beginning.
        with np.errstate(over="ignore", under="ignore"):
            times = spikes.times * per_spike(factors, spikes)
        return inside(times, spikes.units, spikes.offsets, spikes.unit_count, duration)
