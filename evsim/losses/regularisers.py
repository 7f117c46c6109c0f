"""Regularisers of spike counts (L: Nowotny, Turner and Knight, loss shaping with EventProp)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_number
from evsim.arguments.keywords import helpful
from evsim.network.network import Network
from evsim.network.populations import LIF


@helpful
@dataclass(frozen=True)
class RateRegulariser:
    """Pulls the mean spike count of each unit of a population to a target (L 7).

    A heuristic, not the gradient of a loss: at every spike of unit n,
    ``lambda_V- -= (strength/B) (mean count_n - target)``, with the mean over the batch of B
    samples; so the results of a sample depend on its batch.  It enters every gradient that reads
    lambda_V from there on.

    Parameters
    ----------
    population : str
        A LIF population.
    strength : float
        k of the equation, >= 0, in the units of ``evsim``'s equations.  The programs
        published with the papers have one more factor 1/tau_mem in the drive of the readout: their
        k times tau_mem is this k (5e-11 there is 1e-9 here for tau_mem = 20 ms).
    target : float
        nu of the equation: wanted spikes per trial, >= 0.
    """

    population: str
    strength: float
    target: float = 14.0

    def __post_init__(self) -> None:
        if not isinstance(self.population, str):
            raise TypeError(f"population = {self.population!r}: give the name of a LIF population")
        for name in ("strength", "target"):
            value = getattr(self, name)
            check_number(value, name)
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} = {value}: it must be finite and >= 0")

    def check(self, network: Network) -> None:
        """Refuse a population that does not exist, or that never spikes."""
        if not isinstance(network.population(self.population), LIF):
            raise ValueError(
                f"the rate regulariser names {self.population!r}, which is no LIF population"
            )

    def rate_jumps(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """What to subtract from lambda_V- at each spike of a unit, shape (units,).

        ``counts`` are the spikes of each unit in each sample, shape (batch, units).
        """
        batch_size = counts.shape[0]
        jumps: NDArray[np.float64] = (
            self.strength / batch_size * (counts.mean(axis=0) - self.target)
        )
        return jumps
