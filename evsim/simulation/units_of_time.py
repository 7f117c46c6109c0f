"""What looks like times in seconds where evsim has milliseconds, said in one line as a warning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evsim.display.warning_place import warn_caller
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains

FEWEST_SPIKES = 10
"""Fewer spikes may be close together by choice."""


class TimeUnitWarning(UserWarning):
    """Times that seem to be in seconds: evsim has milliseconds everywhere.

    A batch of at least 10 input spikes, all of which come within a thousandth of the trial; a trial
    shorter than 1 ms and than a twentieth of every membrane time constant.
    """


def warn_of_seconds(network: Network, inputs: Mapping[str, SpikeTrains], duration: float) -> None:
    """Warn of spike times and of a duration that seem to be in seconds."""
    shortest = network.per_unit("tau_mem", np.inf).min() if duration < 1 else np.inf
    if 20 * duration <= shortest < np.inf:
        warn_caller(
            f"seconds? a trial of duration = {duration:g} ms is short for membrane time constants "
            f"of at least {shortest:g} ms; evsim has all times in ms",
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
