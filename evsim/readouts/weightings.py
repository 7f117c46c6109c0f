"""Weightings of a mean voltage whose integral between two events has a closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.keywords import helpful


class WeightingForm(NamedTuple):
    """The weighting ``w(t) = (1 + slope * t) * exp(-rate * t)``, both in 1/ms."""

    rate: float
    slope: float

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weights at times in ms, in their shape."""
        weights: NDArray[np.float64] = (1.0 + self.slope * times) * np.exp(-self.rate * times)
        return weights


@helpful
class TrialWeighting(NamedTuple):
    """The weighting ``w(t) = (1 + slope * t/T) * exp(-rate * t/T)`` of a trial of T ms.

    Both numbers are dimensionless: the same weighting fits trials of any length.
    """

    rate: float = 0.0
    slope: float = 0.0

    def form(self, duration: float) -> WeightingForm:
        """The weighting as a function of time in ms, for a trial of ``duration`` ms."""
        return WeightingForm(self.rate / duration, self.slope / duration)

    def mean(self) -> float:
        """``(1/T) * integral of w(t) dt`` over the trial: the mean of a V that is 1 throughout."""
        rate, slope = self
        if rate == 0.0:
            return 1.0 + slope / 2
        if abs(rate) < 1.0:  # the closed form loses digits there
            nodes, weights = np.polynomial.legendre.leggauss(12)
            return float((weights * WeightingForm(rate, slope).at((1.0 + nodes) / 2)).sum() / 2)
        area = -np.expm1(-rate) / rate
        return float(area + slope * (area - np.exp(-rate)) / rate)
