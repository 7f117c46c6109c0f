"""Readouts that are made of voltages at moments: which moments, and with what weights.

An engine knows elementary readouts only.  The mean voltage with a sigmoid weighting is a sum
over the nodes of a quadrature, that weighted by input spikes a sum over those spikes, and the
voltage at given times is itself; each is linear in V at its moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.engines.protocol import Adjoint, Adjustments
from evsim.readouts import Readout, is_elementary

if TYPE_CHECKING:
    from evsim.simulation import Run


def read(run: Run, readout: Readout) -> np.ndarray:
    """The values of any readout, in the shape the readout states."""
    if is_elementary(readout):
        return run.engine.read(run.state, readout)
    raise NotImplementedError(readout)


def pull_back(
    run: Run,
    readout: Readout,
    cotangents: np.ndarray,
    wrt: Sequence[str],
    adjustments: Adjustments,
) -> Adjoint:
    """Gradients of ``sum(cotangents * readout)`` for any readout, see ``Engine.pull_back``."""
    if is_elementary(readout):
        return run.engine.pull_back(run.state, readout, cotangents, wrt, adjustments)
    raise NotImplementedError(readout)
