"""A value that a row of units encodes by which of them spikes first, and its squared error.

Each unit stands for a value, its place.  The value that the units encode is the mean of all places,
weighted by the softmax of minus the first spike times.  It is differentiable, does not change if
all spikes come later by the same time, and can lie between two places.  Kendall et al., *End-to-end
learning of geometry and context for deep stereo regression* (2017), read the displacement of two
images in this way (their equation 1, soft argmin).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_number, listed
from evsim.arguments.keywords import helpful
from evsim.losses import Loss, check_targets
from evsim.readouts import FirstSpike


@helpful
@dataclass(frozen=True)
class PlaceCodeMSE(Loss):
    """Half the squared error of the value that first spikes t encode, ``1/2 (v - target)^2``.

    ``v = sum p_k place_k`` with ``p = softmax(-t / tau)``.  The labels are the targets, float of
    shape (batch,), NaN where there is none.  A missing spike counts as one at the end of the trial
    and gets no derivative.

    Parameters
    ----------
    places : tuple of float
        What each output unit stands for, at least two finite numbers.
    tau : float
        In ms, > 0: how much later than the first a spike may come and still count.
    readout : FirstSpike

    Raises
    ------
    ValueError
        For places or a tau outside these ranges.
    """

    places: tuple[float, ...]
    tau: float
    readout: FirstSpike = FirstSpike()

    classifies: ClassVar[bool] = False

    def __post_init__(self) -> None:
        places = listed(self.places, "places", "give a tuple of numbers")
        for number, place in enumerate(places):
            check_number(place, f"places[{number}]")
            if not np.isfinite(place):
                raise ValueError(f"places[{number}] = {place}: it must be finite")
        if len(places) < 2:
            raise ValueError(f"places = {places}: give at least two")
        check_number(self.tau, "tau")
        if not 0 < self.tau < np.inf:
            raise ValueError(f"tau = {self.tau} ms: it must be finite and > 0")
        object.__setattr__(self, "places", tuple(map(float, places)))

    def shares(self, values: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
        """The weight of each unit's place, shape (batch, units); each row has the sum 1."""
        times = np.where(values == np.inf, duration, values)
        earlier = np.exp(-(times - times.min(axis=1, keepdims=True)) / self.tau)
        shares: NDArray[np.float64] = earlier / earlier.sum(axis=1, keepdims=True)
        return shares

    @np.errstate(under="ignore")
    def told(self, values: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
        """The value that the first spikes encode, shape (batch,); ``values`` is (batch, units)."""
        told: NDArray[np.float64] = self.shares(values, duration) @ np.array(self.places)
        return told

    @np.errstate(under="ignore")
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        shares, places = self.shares(values, duration), np.array(self.places)
        told = shares @ places
        errors = np.where(np.isnan(labels), 0.0, told - labels)
        slopes = -shares * (places - told[:, None]) / self.tau
        derivative = np.where(values == np.inf, 0.0, errors[:, None] * slopes)
        return 0.5 * errors**2, derivative

    def check_labels(
        self, labels: Sequence[Any] | NDArray[Any], batch_size: int, classes: int
    ) -> NDArray[Any]:
        """The targets as float64, (batch,); refuses those that do not fit."""
        if classes != len(self.places):
            raise ValueError(f"there are {len(self.places)} places for {classes} output units")
        return check_targets(labels, (batch_size,), "(batch,)")
