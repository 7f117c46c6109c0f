"""A warning, of one line, of times that seem to be in seconds; evsim uses milliseconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evsim.display.warning_place import warn_caller
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains

FEWEST_SPIKES = 10
"""Fewer spikes may be close together by choice."""


LONGEST_IN_SECONDS = 2.0
"""Trials of more seconds are rare, and trials of more milliseconds may be meant."""


class TimeUnitWarning(UserWarning):
    """Times that seem to be in seconds: evsim uses milliseconds everywhere.

    It is raised for a batch of at least 10 input spikes that all come within a thousandth of the
    trial.  It is also raised for a trial of at most 2 ms in which no unit can do much: the trial is
    at most a fifth of every ``tau_mem``, and shorter than twice every ``tau_syn``.  Both time
    constants count, because units that hardly leak may be fast through ``tau_syn`` only.  The times
    of input spikes in such a trial do not count, since they may be in seconds too.
    """


def warn_of_seconds(network: Network, inputs: Mapping[str, SpikeTrains], duration: float) -> None:
    """Warn of spike times and of a duration that seem to be in seconds."""
    if duration <= LONGEST_IN_SECONDS:
        tau_mem, tau_syn = (network.per_unit(n, np.inf).min() for n in ("tau_mem", "tau_syn"))
        if 5 * duration <= tau_mem < np.inf and duration < 2 * tau_syn:
            warn_caller(
                f"seconds? a trial of duration = {duration:g} ms is short for time constants of at "
                f"least {tau_mem:g} ms (tau_mem) and {tau_syn:g} ms (tau_syn); evsim has all times "
                "in ms",
                TimeUnitWarning,
            )
            return
    times = [trains.times for trains in inputs.values() if trains.times.size]
    if sum(own.size for own in times) < FEWEST_SPIKES:
        return
    last = max(float(own.max()) for own in times)
    first = min(float(own.min()) for own in times)
    if first < last <= duration / 1000:
        warn_caller(
            f"seconds? all input spikes come within {last:g} ms, less than a thousandth of the "
            f"trial of {duration:g} ms; give times in ms, or say unit='s' where the SpikeTrains "
            "are made",
            TimeUnitWarning,
        )
