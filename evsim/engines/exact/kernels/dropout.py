"""Which spikes are dropped, for compiled loops: the hash of ``evsim.network.dropout``."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import compiled
from evsim.network.dropout import spike_fraction as plain_spike_fraction

spike_fraction = compiled(plain_spike_fraction)


@compiled
def is_dropped(key: np.uint64, unit: int, number: int, rate: float) -> bool:
    """Whether a unit's spike, the ``number``-th of its sample counted from 0, is dropped."""
    if rate == 0.0:
        return False
    return bool(spike_fraction(key, np.uint64(unit), np.uint64(number)) < rate)
