"""What a loss looks at: one number per output unit and sample.

A readout says which number; engines know how to compute it and how to pull its cotangent
back.  Voltages are read from LI populations, spike times from LIF populations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from evsim.network import LI, LIF, Network, Population

Weighting = Literal["flat", "exponential"]


@dataclass(frozen=True, kw_only=True)
class Readout:
    """One number per unit of a population and sample, shape (batch, units).

    ``population`` is the name of the population it is read from; None for the network's
    output, which is its last population.
    """

    population: str | None = None

    def population_of(self, network: Network) -> str:
        """The population this readout is taken from; ValueError if it is of the wrong kind."""
        name = network.output.name if self.population is None else self.population
        population = network.population(name)
        self._check_kind(population)
        return population.name

    def _check_kind(self, population: Population) -> None:
        if not isinstance(population, LI):
            raise ValueError(
                f"{type(self).__name__} reads voltages of LI units, but {population.name!r} has "
                f"{type(population).__name__} units: make it LI, or use FirstSpike"
            )


@dataclass(frozen=True)
class Mean(Readout):
    """Weighted mean of the voltage over the trial, ``(1/T) * integral of w(t) V(t) dt``.

    ``weighting``: "flat", w = 1 (L 2), or "exponential", w = exp(-t/T) (L 5).  Both
    programs published with L average over T where the paper writes the plain integral.
    """

    weighting: Weighting = "flat"

    def __post_init__(self) -> None:
        if self.weighting not in get_args(Weighting):
            raise ValueError(
                f"weighting = {self.weighting!r}: choose one of {', '.join(get_args(Weighting))}"
            )

    def decay_rate(self, duration: float) -> float:
        """The rate of w(t) = exp(-rate * t) in 1/ms, for a trial of ``duration`` ms."""
        return 0.0 if self.weighting == "flat" else 1.0 / duration


@dataclass(frozen=True)
class Peak(Readout):
    """Largest voltage of the trial, ``max over t of V(t)`` (L 29); never below its start, 0."""


@dataclass(frozen=True)
class FirstSpike(Readout):
    """Time of the first spike in ms; infinity for a silent unit."""

    def _check_kind(self, population: Population) -> None:
        if not isinstance(population, LIF):
            raise ValueError(
                f"FirstSpike reads spike times of LIF units, but {population.name!r} has "
                f"{type(population).__name__} units: make it LIF, or use Mean or Peak"
            )
