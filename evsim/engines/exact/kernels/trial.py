"""What every loop reads: a network, and the spikes of a batch or of one of its samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating


class Batch(NamedTuple):
    """A network and all spikes of some samples.

    In sample b unit u has ``counts[b, u]`` spikes, ``spikes[starts[b, u]]`` and those behind it, in
    the order of time.  The synapses of unit u are ``synapses[incoming[u]:incoming[u + 1]]``.
    """

    units: np.ndarray
    synapses: np.ndarray
    incoming: np.ndarray
    duration: float  # ms
    spikes: np.ndarray
    starts: np.ndarray  # (batch, units)
    counts: np.ndarray


class Trial(NamedTuple):
    """A network and the spikes of one sample, as far as they are known."""

    units: np.ndarray
    synapses: np.ndarray
    incoming: np.ndarray
    duration: float  # ms
    spikes: np.ndarray
    starts: np.ndarray  # (units,)
    counts: np.ndarray


@allocating
def trial_of(batch: Batch, sample: int) -> Trial:
    """One sample of a batch."""
    return Trial(
        batch.units, batch.synapses, batch.incoming, batch.duration, batch.spikes,
        batch.starts[sample], batch.counts[sample],
    )  # fmt: skip


@allocating
def with_spikes(trial: Trial, spikes: np.ndarray) -> Trial:
    """The same with a larger buffer of spikes."""
    return Trial(
        trial.units, trial.synapses, trial.incoming, trial.duration, spikes, trial.starts,
        trial.counts,
    )  # fmt: skip
