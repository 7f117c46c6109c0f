"""What every loop reads: a network, and the spikes of a batch or of one of its samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled


class Batch(NamedTuple):
    """A network and all spikes of some samples.

    In sample b unit u has ``counts[b, u]`` spikes, from ``spikes[starts[b, u]]`` on, in order of
    time.  The synapses to unit u are ``synapses[incoming[u]:incoming[u + 1]]``.
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
    """The same trial with a larger buffer of spikes."""
    return Trial(
        trial.units, trial.synapses, trial.incoming, trial.duration, spikes, trial.starts,
        trial.counts,
    )  # fmt: skip


@compiled
def have_equal_time_constants(one: int, other: int, units: np.ndarray) -> bool:
    """Whether the time constants of two units are equal."""
    return units[one].tau_mem == units[other].tau_mem and units[one].tau_syn == units[other].tau_syn


@compiled
def share_decays(one: int, other: int, units: np.ndarray) -> bool:
    """Whether two units receive the same spikes at the same times, with equal time constants."""
    return units[one].arrival_group == units[other].arrival_group and have_equal_time_constants(
        one, other, units
    )
