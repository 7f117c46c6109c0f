"""What a readout adds to the adjoints of a batch: the right-hand sides of the adjoint equations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SourceArrays(NamedTuple):
    """The sources of a readout's adjoints as arrays; those it does not have are zeros or empty.

    Parameters
    ----------
    is_peak : bool
        Whether the readout is the peak voltage.
    rate, slope : float
        The weighting ``w(t) = (1 + slope t) e^{-rate t}`` of a mean.
    voltage_cotangent : array, shape (batch, units of all populations)
        ``dF/dV = voltage_cotangent w(t)`` of each unit, per ms; for a peak, the cotangent of the
        peak voltage.
    phantom : array, shape (batch, units of all populations)
        lambda_V at the end of the trial, of units with a phantom spike there.
    moments, moment_start : arrays, shapes (moments,) and (batch + 1,)
        Times in ms, ascending inside each sample, at which voltages are read.
    moment_cotangent : array, shape (moments, units of the population that is read)
    first_read, last_read : int
        That population's units are ``first_read`` to ``last_read - 1``.
    limit : float
        The largest |lambda_V-| at an emission.
    """

    is_peak: bool
    rate: float
    slope: float
    voltage_cotangent: np.ndarray
    phantom: np.ndarray
    moments: np.ndarray
    moment_start: np.ndarray
    moment_cotangent: np.ndarray
    first_read: int
    last_read: int
    limit: float
