"""The gradients to which the samples of a batch are added."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Gradients(NamedTuple):
    """Sums over samples: of weights and delays, each (synapses,), and of voltages, each (units,).

    The voltages are the parameters of a unit, measured from rest; the gradient of the start is 0
    where V starts at rest.  ``limited`` (1,) counts the emissions at which lambda_V- was limited.
    """

    weight: np.ndarray
    delay: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray
    start: np.ndarray
    limited: np.ndarray
