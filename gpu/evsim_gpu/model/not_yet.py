"""What the grid does not compute: reset, rest and start other than 0."""

from __future__ import annotations

import numpy as np

from evsim.engines.rest import FromRest, voltages_from_rest
from evsim.network.network import Network


def refuse_voltages(network: Network) -> None:
    """ValueError for a network whose reset, rest or start is not 0."""
    voltages = voltages_from_rest(network)
    if np.any(voltages.reset) or np.any(voltages.start) or np.any(network.per_unit("rest", 0.0)):
        raise ValueError(
            "the grid engine knows units with reset = rest = start = 0 only: use the exact engine"
        )


def only_threshold(threshold: np.ndarray) -> FromRest:
    """The gradients with respect to thresholds; those with respect to reset and start are NaN."""
    unknown = np.full(threshold.shape, np.nan)
    return FromRest(threshold, unknown, unknown)
