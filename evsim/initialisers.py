"""Initial values of weights and delays, drawn when a Network is built with a seed."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Sharing = Literal["synaptic", "axonal", "dendritic", "shared"]


@dataclass(frozen=True)
class Initialiser(ABC):
    """A rule that fills a parameter of a connection.

    ``sharing`` decides the parameter's shape: "synaptic" (post, pre), "axonal" (1, pre),
    "dendritic" (post, 1), "shared" ().
    """

    def _check(self, *numbers: str) -> None:
        """Refuse numbers that are none or infinite, and an unknown sharing."""
        for name in numbers:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise TypeError(f"{name} = {value!r}: it must be a number")
            if not np.isfinite(value):
                raise ValueError(f"{name} = {value}: it must be finite")
        sharing = getattr(self, "sharing")  # noqa: B009
        if sharing not in get_args(Sharing):
            raise ValueError(f"sharing = {sharing!r}: choose one of {', '.join(get_args(Sharing))}")

    @abstractmethod
    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Values of the given shape."""

    def fill(self, parameter: str, seed: int | None, post: int, pre: int) -> np.ndarray:
        """Values for the parameter of that name; each name has its own random stream."""
        sharing: Sharing = getattr(self, "sharing")  # noqa: B009
        shapes = {
            "synaptic": (post, pre),
            "axonal": (1, pre),
            "dendritic": (post, 1),
            "shared": (),
        }
        if seed is None:
            raise ValueError(
                f"{parameter} is drawn from {self}: give the network a seed, Network(..., seed=0)"
            )
        stream = np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(parameter.encode()),))
        return self.draw(np.random.default_rng(stream), shapes[sharing])


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


@dataclass(frozen=True)
class Constant(Initialiser):
    """One value everywhere, as a parameter of its own per synapse (or per ``sharing``)."""

    value: float
    sharing: Sharing = "synaptic"

    def __post_init__(self) -> None:
        self._check("value")

    def fill(self, parameter: str, seed: int | None, post: int, pre: int) -> np.ndarray:
        return super().fill(parameter, 0, post, pre)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, float(self.value))
