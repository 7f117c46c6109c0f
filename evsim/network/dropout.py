"""Dropout: spikes that are emitted but do not arrive at any synapse.

Whether a spike is dropped depends only on the key of its sample, its unit and its number among the
unit's spikes, so it does not change with threads or with the rest of a batch.  The remaining spikes
are not scaled up, as in the programs published with L.

Paper: L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    check_is,
    check_number,
    checked_integer,
    real_array,
    unknown_name,
)
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.network.populations import LI


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Dropout(Brief):
    """The probability with which the spikes of each population are dropped, and the random seed.

    Parameters
    ----------
    rates : mapping from Input or LIF population to float
        The probability that a spike is dropped, in [0, 1).
    seed : int
        The seed from which the key of each sample is drawn if ``keys`` is not given.
    keys : array of uint64, shape (batch,), optional
        The key of the random numbers of each sample.
    """

    rates: Mapping[str, float]
    seed: int = 0
    keys: np.ndarray | None = field(default=None)

    def __post_init__(self) -> None:
        check_is(self.rates, "rates", Mapping, "give a mapping such as {'hidden': 0.1}")
        for name, rate in self.rates.items():
            check_number(rate, f"dropout of {name!r}")
            if not 0 <= rate < 1:
                raise ValueError(f"dropout of {name!r} = {rate}: it must be in [0, 1)")
        object.__setattr__(self, "rates", dict(self.rates))
        checked_integer(self.seed, "seed", 0)
        if self.keys is not None:
            keys = real_array(self.keys, "keys", "uint64")
            if keys.dtype != np.uint64 or keys.ndim != 1:
                raise TypeError(
                    f"keys has type {keys.dtype} and shape {keys.shape}: give uint64, (batch,)"
                )
            object.__setattr__(self, "keys", keys.copy())

    def check(self, network: Network, batch_size: int) -> None:
        """Refuse unknown populations, populations that never spike, and a wrong number of keys."""
        known = {p.name: p for p in network.populations}
        for name in self.rates:
            if name not in known:
                raise ValueError(f"dropout: {unknown_name('population', name, known)}")
            if isinstance(known[name], LI):
                raise ValueError(f"dropout names {name!r}, whose LI units never spike")
        if self.keys is not None and self.keys.size != batch_size:
            raise ValueError(
                f"dropout has {self.keys.size} keys: give one per sample, {batch_size}"
            )

    def sample_keys(self, batch_size: int) -> np.ndarray:
        """The key of each sample, uint64, shape (batch,)."""
        if self.keys is not None:
            return self.keys
        return np.random.SeedSequence(self.seed).generate_state(batch_size, np.uint64)

    def rate_per_unit(self, network: Network) -> np.ndarray:
        """The dropout probability of each unit of all populations, float64, shape (units,)."""
        rates = [np.full(p.units, float(self.rates.get(p.name, 0.0))) for p in network.populations]
        return np.concatenate(rates)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR, _SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def spike_fraction(key: Any, unit: Any, number: Any) -> Any:
    """The number in [0, 1) that decides whether a unit's spike, counted from 0, is dropped.

    A hash of three integers by the generator SplitMix64: with ``key`` as the seed, its output
    number ``unit + 1`` is the seed for that unit's spikes, and their output number ``number + 1``
    decides for the spike.  ``unit`` is counted over all populations.  All are uint64: arrays for
    NumPy, or scalars if the function is compiled.  The CUDA kernels have the same function in
    ``grid.cuh``.
    """
    word = key
    for count in (unit, number):
        word = word + (count + np.uint64(1)) * _GOLDEN
        word = (word ^ (word >> np.uint64(30))) * _FIRST_FACTOR
        word = (word ^ (word >> np.uint64(27))) * _SECOND_FACTOR
        word = word ^ (word >> np.uint64(31))
    return (word >> np.uint64(11)) * 2.0**-53


def spike_fractions(key: int, units: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """``spike_fraction`` of some spikes of one sample, by unit and number, both integers."""
    words = np.array([key], np.uint64)
    return np.asarray(spike_fraction(words, units.astype(np.uint64), numbers.astype(np.uint64)))


def is_dropped(key: int, unit: int, number: int, rate: float) -> bool:
    """Whether a unit's spike, the ``number``-th of its sample counted from 0, is dropped."""
    return bool(spike_fractions(key, np.array([unit]), np.array([number]))[0] < rate)
