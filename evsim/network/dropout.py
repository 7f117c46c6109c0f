"""Dropout: spikes that are emitted but do not arrive at any synapse.

Whether a spike is dropped depends on nothing but its sample's key, its unit and its number
among the unit's spikes, so that it does not change with threads or with the rest of a batch.
Nothing is scaled to make up for the spikes that are missing, as in the programs published
with L.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from evsim.arguments.checks import check_number, checked_integer, real_array, unknown_name
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
        if not isinstance(self.rates, Mapping):
            raise TypeError(f"rates = {self.rates!r}: give a mapping such as {{'hidden': 0.1}}")
        for name, rate in self.rates.items():
            check_number(rate, f"dropout of {name!r}")
            if not 0 <= rate < 1:
                raise ValueError(f"dropout of {name!r} = {rate}: it must be in [0, 1)")
        checked_integer(self.seed, "seed", 0)
        if self.keys is not None:
            keys = real_array(self.keys, "keys", "uint64")
            if keys.dtype != np.uint64 or keys.ndim != 1:
                raise TypeError(
                    f"keys has type {keys.dtype} and shape {keys.shape}: give uint64, (batch,)"
                )
            object.__setattr__(self, "keys", keys)

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


_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 2**64 - 1


def is_dropped(key: int, unit: int, number: int, rate: float) -> bool:
    """Whether a unit's spike, the ``number``-th of its sample counted from 0, is dropped.

    A hash of the three integers (the finaliser of SplitMix64, once for the unit and once for
    the spike) gives a number in [0, 1) that is compared with the rate.  ``unit`` is counted
    over all populations.
    """
    word = _mixed(key + (unit + 1) * _GOLDEN)
    word = _mixed(word + (number + 1) * _GOLDEN)
    return (word >> 11) * 2.0**-53 < rate


def _mixed(word: int) -> int:
    word &= _WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _WORD
    return word ^ (word >> 31)


def fractions(key: int, units: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """For each of some spikes the number in [0, 1) that ``is_dropped`` compares with the rate."""
    golden = np.uint64(_GOLDEN)
    first = np.uint64(key) + (units.astype(np.uint64) + np.uint64(1)) * golden
    words = _all_mixed(_all_mixed(first) + (numbers.astype(np.uint64) + np.uint64(1)) * golden)
    return (words >> np.uint64(11)) * 2.0**-53


def _all_mixed(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
