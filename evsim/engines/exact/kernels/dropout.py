"""Which spikes dropout takes: the hash of ``evsim.network.dropout.is_dropped``, compiled."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import compiled

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)


@compiled
def mixed(word: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64."""
    word = (word ^ (word >> np.uint64(30))) * FIRST_FACTOR
    word = (word ^ (word >> np.uint64(27))) * SECOND_FACTOR
    return word ^ (word >> np.uint64(31))


@compiled
def is_dropped(key: np.uint64, unit: int, number: int, rate: float) -> bool:
    """Whether a unit's spike, the ``number``-th of its sample counted from 0, is dropped."""
    if rate == 0.0:
        return False
    word = mixed(key + np.uint64(unit + 1) * GOLDEN)
    word = mixed(word + np.uint64(number + 1) * GOLDEN)
    return bool(np.float64(word >> np.uint64(11)) * 2.0**-53 < rate)
