"""How a readout's cotangents, and what goes with them, enter the adjoints of a batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PEAK = -1.0  # in place of the decay rate of a mean's weighting


class Entering(NamedTuple):
    """What is pulled back.

    Parameters
    ----------
    rate, slope : float
        The weighting ``w(t) = (1 + slope t) e^{-rate t}`` of a mean; rate PEAK for a peak.
    drive : array, shape (batch, units of all populations)
        dF/dV = drive * w(t) of each unit; for a peak the cotangent of its voltage there.
    phantom : array, shape (batch, units of all populations)
        lambda_V at the end of the trial, as a phantom spike makes it.
    moments, moment_start : arrays, shapes (moments,) and (batch + 1,)
        Times in ms, ascending inside each sample, at which voltages are read.
    moment_cotangent : array, shape (moments, units of the population that is read)
    first_read, last_read : int
        That population's units are ``first_read`` to ``last_read - 1``.
    limit : float
        The largest |lambda_V-| at an emission.
    """

    rate: float
    slope: float
    drive: np.ndarray
    phantom: np.ndarray
    moments: np.ndarray
    moment_start: np.ndarray
    moment_cotangent: np.ndarray
    first_read: int
    last_read: int
    limit: float
