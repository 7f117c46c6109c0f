"""The highest voltage that one current produces, for arrays of time constants."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def highest_response(tau_mem: ArrayLike, tau_syn: ArrayLike) -> np.ndarray:
    """The highest V after an arrival of weight 1 at V = 0, if nothing follows.

    V = I = e^(-t/tau_syn) at the peak, see ``lif.peak_time``: ``r^(1/(1 - r))`` with
    r = tau_syn/tau_mem, and 1/e at equal time constants.  Time constants are in ms; the result has
    the shape to which they broadcast.
    """
    tau_mem, tau_syn = np.asarray(tau_mem, np.float64), np.asarray(tau_syn, np.float64)
    rest = (tau_mem - tau_syn) / tau_mem
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log1p(-rest) / rest
        power = np.where(np.abs(rest) < 0.5, power, np.log(tau_syn / tau_mem) / rest)
    highest: np.ndarray = np.exp(np.where(rest == 0.0, -1.0, power))
    return highest
