"""The trial, in one pass, of a LIF unit that receives spikes only from units with known spikes.

The unit is advanced from arrival to arrival; see ``event_order`` for the order at one instant.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.failures import Status, fail
from evsim.engines.exact.kernels.forward.staging import Stage
from evsim.engines.exact.kernels.spike_records import NO_ROOM, write_emission
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import first_crossing, flow, refractory_decay


@compiled
def may_reach_threshold(
    voltage: float,
    current: float,
    next_voltage: float,
    next_current: float,
    threshold: float,
    highest_response: float,
) -> bool:
    """Whether V may reach the threshold before the next arrival.

    V is bounded by what its start and the current alone can produce.  If V exceeds a threshold that
    is not above rest, it does not fall below it again before the next arrival.
    """
    if threshold <= 0.0:
        rounding = 1e-9 * (abs(voltage) + abs(current) - threshold)
        return next_voltage >= threshold - rounding
    # If V ends this close to the threshold, rounding hides on which side it is.  Then the time of
    # the crossing decides.
    nearly = threshold * (1.0 - 1e-9)
    highest = max(voltage, 0.0) + current * highest_response
    # Operators instead of "and" and "or" avoid branches: the answer is nearly always no, but its
    # parts are not.
    return (current > threshold) & (
        (next_voltage >= nearly) | ((next_current < threshold) & (highest >= nearly))
    )


@compiled
def after_arrival(emission: float, arrival: float) -> float:
    """An emission's time, later than the arrival that caused it by at least the last bit.

    This way the times alone show which of them came first.
    """
    return np.nextafter(arrival, inf) if emission == arrival else emission


@compiled
def may_emit(
    unit: int,
    emission: float,
    now: float,
    last_emission: float,
    spike_count: int,
    spike_limit: int,
    failure: np.ndarray,
) -> bool:
    """Whether a unit's next emission is allowed; if not, ``failure`` says why."""
    if emission <= last_emission:
        fail(failure, Status.TOO_FAST, now, unit)
        return False
    if is_stopped():
        failure.status = Status.STOPPED
        return False
    if spike_count == spike_limit:
        fail(failure, Status.TOO_MANY, after_arrival(emission, now), unit)
        return False
    return True


@compiled
def pass_quickly(
    voltage: float,
    current: float,
    now: float,
    i: int,
    last: int,
    unit: int,
    shift: int,
    trial: Trial,
    stage: Stage,
) -> tuple[float, float, float, int]:
    """Pass arrivals i to last - 1 up to the first before which V may reach the threshold.

    Also stops at an arrival that is simultaneous with the one before, and after some thousands.
    ``now`` is the time of the last event, an arrival.  Returns V, I, the time, and the next
    arrival.
    """
    threshold = trial.units[unit].threshold
    highest_response = trial.units[unit].highest_response
    arrivals, decays = stage.arrivals, stage.decays
    end = min(last, (i & ~4095) + 4096)
    while i < end:
        next_voltage = voltage * decays.mem[i] + current * decays.response[i]
        next_current = current * decays.syn[i]
        if (arrivals.time[i] == now) | may_reach_threshold(
            voltage, current, next_voltage, next_current, threshold, highest_response
        ):
            break
        voltage, now = next_voltage, arrivals.time[i]
        current = next_current + trial.synapses[arrivals.synapse[i] + shift].weight
        i += 1
    return voltage, current, now, i


@compiled
def simulate_unit(
    unit: int,
    trial: Trial,
    stage: Stage,
    k: int,
    spike_count: int,
    spike_limit: int,
    key: np.uint64,
    failure: np.ndarray,
) -> int:
    """Write a unit's emissions after the ``spike_count`` spikes of the buffer.

    The unit is the k-th of the stage, which contains its arrivals.  Returns the number of spikes
    then in the buffer, at most ``spike_limit``, or NO_ROOM if the buffer is too small.  ``key``
    decides which spikes are dropped.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    threshold, refractory = trial.units[unit].threshold, trial.units[unit].refractory
    highest_response = trial.units[unit].highest_response
    now, voltage, current = 0.0, trial.units[unit].start, 0.0
    last_event = 0.0  # the arrival before the next one, or the beginning of the trial
    last_emission = free_at = -1.0
    is_refractory = False
    arrivals, decays, first = stage.arrivals, stage.decays, spike_count
    i, last = stage.begin[k], stage.begin[k] + stage.arrival_count[k]
    shift = trial.incoming[unit] - trial.incoming[stage.owner[k]]
    while True:
        if is_stopped_at(i):
            failure.status = Status.STOPPED
            return spike_count
        if now == last_event and not is_refractory:
            voltage, current, now, i = pass_quickly(
                voltage, current, now, i, last, unit, shift, trial, stage
            )
            last_event = now
        until = arrivals.time[i]
        while now < until:
            if is_refractory:
                end = min(until, free_at)
                current *= refractory_decay(end - now, tau_syn)
                now = end
                if is_before_release(until, free_at):
                    break
                trial.spikes[spike_count - 1].release_current = current
                is_refractory = False
            if now == last_event:
                next_voltage = voltage * decays.mem[i] + current * decays.response[i]
                next_current = current * decays.syn[i]
            else:
                next_voltage, next_current = flow(voltage, current, until - now, tau_mem, tau_syn)
            if not may_reach_threshold(
                voltage, current, next_voltage, next_current, threshold, highest_response
            ):
                voltage, current, now = next_voltage, next_current, until
                break
            is_certain = threshold > 0.0 and threshold < next_voltage < inf
            elapsed = first_crossing(voltage, current, threshold, tau_mem, tau_syn, is_certain)
            if not elapsed >= 0.0:
                fail(failure, Status.NO_CROSSING, now, unit)
                return spike_count
            emission = now + elapsed
            if not is_after_emission(until, emission):
                voltage, current, now = next_voltage, next_current, until
                break
            if not may_emit(unit, emission, now, last_emission, spike_count, spike_limit, failure):
                return spike_count
            emission = after_arrival(emission, now)
            if spike_count == trial.spikes.size:
                return NO_ROOM
            current *= exp(-elapsed / tau_syn)
            voltage = trial.units[unit].reset
            now = last_emission = emission
            free_at = emission + refractory
            is_refractory = write_emission(
                trial.spikes, spike_count, emission, current, unit, spike_count - first,
                trial.units, key,
            )  # fmt: skip
            spike_count += 1
            if free_at > trial.duration:
                return spike_count
        if i == last:
            if not abs(current) < inf:
                fail(failure, Status.OVERFLOW, now, unit)
            return spike_count
        last_event = now
        while i < last and arrivals.time[i] <= now:
            current += trial.synapses[arrivals.synapse[i] + shift].weight
            i += 1
