"""Initial values of parameters, drawn when a Network is built with a seed."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evsim.arguments.checks import check_choice, check_finite, check_number
from evsim.arguments.keywords import helpful

Sharing = Literal["synaptic", "axonal", "dendritic", "shared"]


@dataclass(frozen=True)
class Initialiser(ABC):
    """A rule that fills a parameter of a connection or of a population.

    ``sharing`` decides the shape of a connection's parameter: "synaptic" (post, pre),
    "axonal" (1, pre), "dendritic" (post, 1), "shared" ().  A population's parameter has one
    value per unit, (units,), or with "shared" one for all, ().
    """

    def _check(self, *numbers: str) -> None:
        """Refuse values that are not finite numbers, and an unknown sharing."""
        for name in numbers:
            check_finite(getattr(self, name), name)
        check_choice(getattr(self, "sharing"), "sharing", get_args(Sharing))  # noqa: B009

    @abstractmethod
    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Values of the given shape."""

    def fill(self, parameter: str, seed: int | None, post: int, pre: int) -> np.ndarray:
        """Values for a parameter of a connection; each parameter name has its own random stream."""
        sharing: Sharing = getattr(self, "sharing")  # noqa: B009
        shapes = {
            "synaptic": (post, pre),
            "axonal": (1, pre),
            "dendritic": (post, 1),
            "shared": (),
        }
        return self._drawn(parameter, seed, shapes[sharing])

    def fill_units(self, parameter: str, seed: int | None, units: int) -> np.ndarray:
        """Values for a parameter of a population; each parameter name has its own random stream."""
        sharing: Sharing = getattr(self, "sharing")  # noqa: B009
        if sharing in ("axonal", "dendritic"):
            raise ValueError(
                f"{parameter} is drawn from {self}: a population has no {sharing} parameters; "
                "leave sharing out for one value per unit, or give 'shared' for one for all"
            )
        return self._drawn(parameter, seed, () if sharing == "shared" else (units,))

    def _drawn(self, parameter: str, seed: int | None, shape: tuple[int, ...]) -> np.ndarray:
        if seed is None:
            raise ValueError(
                f"{parameter} is drawn from {self}: give the network a seed, Network(..., seed=0)"
            )
        return self.draw(np.random.default_rng(named_stream(seed, parameter)), shape)


def named_stream(seed: int, name: str) -> np.random.SeedSequence:
    """A separate random stream for each name, such as that of a parameter or of a split.

    Two names have the same stream with a probability of 2**-32.
    """
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))


@helpful
@dataclass(frozen=True)
class Normal(Initialiser):
    """Normally distributed values with the given mean and standard deviation."""

    mean: float
    standard_deviation: float
    sharing: Sharing = "synaptic"

    def __post_init__(self) -> None:
        self._check("mean", "standard_deviation")
        if not self.standard_deviation >= 0:
            raise ValueError(f"standard_deviation = {self.standard_deviation}: it must be >= 0")

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return generator.normal(self.mean, self.standard_deviation, shape)


@helpful
@dataclass(frozen=True)
class Uniform(Initialiser):
    """Uniformly distributed values in [low, high)."""

    low: float
    high: float
    sharing: Sharing = "synaptic"

    def __post_init__(self) -> None:
        self._check("low", "high")
        if not self.low <= self.high:
            raise ValueError(f"Uniform({self.low}, {self.high}): low must not exceed high")

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return generator.uniform(self.low, self.high, shape)


@helpful
@dataclass(frozen=True)
class Gamma(Initialiser):
    """Gamma-distributed values, clipped to [low, high]: for heterogeneous time constants.

    With shape 3 and [3 ms, 3 mean] these are the membrane time constants of the heterogeneous
    networks in Nowotny, Turner, Knight (loss shaping); the synaptic ones are in [1 ms, 3 mean].
    Because values are clipped, their mean is not quite ``mean``.

    Parameters
    ----------
    mean : float
        The mean of the distribution before clipping, > 0; the scale is ``mean / shape``.
    shape : float
        The shape parameter, > 0; the standard deviation is ``mean / sqrt(shape)``.
    low, high : float
        The bounds of the values, 0 <= low <= high; ``high`` is infinity for no upper bound.
    sharing : str
        Which synapses or units share a value, see ``Initialiser``.
    """

    mean: float
    shape: float = 3.0
    low: float = 0.0
    high: float = np.inf
    sharing: Sharing = "synaptic"

    def __post_init__(self) -> None:
        self._check("mean", "shape", "low")
        check_number(self.high, "high")
        for name in ("mean", "shape"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: it must be > 0")
        if not 0 <= self.low <= self.high:
            raise ValueError(f"low = {self.low}, high = {self.high}: they must be 0 <= low <= high")

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = generator.gamma(self.shape, self.mean / self.shape, shape)
        return np.asarray(np.clip(values, self.low, self.high))


@helpful
@dataclass(frozen=True)
class Constant(Initialiser):
    """The same value everywhere; ``sharing`` says which synapses or units share a parameter."""

    value: float
    sharing: Sharing = "synaptic"

    def __post_init__(self) -> None:
        self._check("value")

    def _drawn(self, parameter: str, seed: int | None, shape: tuple[int, ...]) -> np.ndarray:
        return super()._drawn(parameter, 0, shape)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, float(self.value))
