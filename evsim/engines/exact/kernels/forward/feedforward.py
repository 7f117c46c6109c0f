"""A LIF unit that listens only to units whose spikes are known: its trial in one sweep.

The sweep goes through its arrivals in the order of time and finds its emissions.  At one instant
emissions come before arrivals, and all arrivals are summed before the next crossing is sought.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.arrivals import Arrivals
from evsim.engines.exact.kernels.dropout import is_dropped
from evsim.engines.exact.kernels.forward.decays import Decays
from evsim.engines.exact.kernels.spike_records import (
    FULL,
    NO_CROSSING,
    OVERFLOW,
    STOPPED,
    TOO_FAST,
    TOO_MANY,
)
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import crossing_time, flow, is_refractory_after, reaches_threshold


@compiled
def simulate_unit(
    unit: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    decays: Decays,
    used: int,
    most: int,
    key: np.uint64,
    failure: np.ndarray,
) -> int:
    """Write a unit's emissions behind the ``used`` ones of the buffer; how many are used now.

    ``most`` may be used.  ``key`` decides which are dropped.  FULL if the buffer is too small.
    On failure ``failure`` holds the status and the time.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    threshold, refractory = trial.units[unit].threshold, trial.units[unit].refractory
    # Where V ends this close to the threshold, rounding does not tell on which side it was:
    # the time of the crossing decides, so that an emission due with an arrival comes first.
    nearly = threshold * (1.0 - 1e-9)
    highest_response = trial.units[unit].highest_response
    now, voltage, current = 0.0, 0.0, 0.0
    last_event = 0.0  # the arrival before the next one, or the beginning of the trial
    last_emission = free_at = -1.0
    is_refractory = False
    i, first = 0, used
    while True:
        if is_stopped_at(i):
            failure[0] = STOPPED
            return used
        until = arrivals.time[i] if i < n else trial.duration
        while now < until:
            if is_refractory:
                end = min(until, free_at)
                current *= exp(-(end - now) / tau_syn)
                now = end
                if until <= free_at:
                    break
                trial.spikes[used - 1].release_current = current
                is_refractory = False
            if now == last_event:
                next_voltage = voltage * decays.mem[i] + current * decays.response[i]
                next_current = current * decays.syn[i]
            else:
                next_voltage, next_current = flow(voltage, current, until - now, tau_mem, tau_syn)
            # V may have turned; it is below what its voltage and current alone can make.  Operators
            # in place of "and" and "or": the answer is nearly always no, its parts are not.
            highest = max(voltage, 0.0) + current * highest_response
            may_cross = (current > threshold) & (
                (next_voltage >= nearly) | ((next_current < threshold) & (highest >= nearly))
            )
            if not may_cross or not (
                threshold < next_voltage < inf
                or reaches_threshold(voltage, current, threshold, tau_mem, tau_syn)
            ):
                voltage, current, now = next_voltage, next_current, until
                break
            elapsed = crossing_time(voltage, current, threshold, tau_mem, tau_syn)
            if not elapsed >= 0.0:
                failure[0], failure[1] = NO_CROSSING, now
                return used
            emission = now + elapsed
            if emission > until:
                voltage, current, now = next_voltage, next_current, until
                break
            if emission <= last_emission:
                failure[0], failure[1] = TOO_FAST, now
                return used
            if emission == now:
                # Later than what it follows from, so that times alone tell what came first.
                emission = np.nextafter(now, inf)
            if is_stopped():
                failure[0] = STOPPED
                return used
            if used == most:
                failure[0], failure[1] = TOO_MANY, emission
                return used
            if used == trial.spikes.size:
                return FULL
            current *= exp(-elapsed / tau_syn)
            voltage = 0.0
            now = last_emission = emission
            free_at = emission + refractory
            trial.spikes[used].time = emission
            trial.spikes[used].drive = current - threshold
            is_refractory = is_refractory_after(emission, refractory)
            trial.spikes[used].release_current = 0.0 if is_refractory else current
            trial.spikes[used].is_dropped = is_dropped(
                key, unit, used - first, trial.units[unit].drop_rate
            )
            used += 1
            if free_at > trial.duration:
                return used
        if i == n:
            if not abs(current) < inf:
                failure[0], failure[1] = OVERFLOW, now
            return used
        last_event = now
        while i < n and arrivals.time[i] <= now:
            current += trial.synapses[arrivals.synapse[i]].weight
            i += 1
