"""A LIF unit that listens only to units whose spikes are known: its trial in one sweep.

Forward, the sweep goes through its arrivals in the order of time and finds its emissions;
backward, it goes through arrivals and emissions in reverse.  At one instant emissions come
before arrivals, and all arrivals are summed before the next crossing is sought.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim.compiled import compiled
from evsim.engines.kernels.arrivals import MOMENT
from evsim.engines.kernels.dropout import is_dropped
from evsim.engines.kernels.records import (
    FULL,
    GRAZING,
    NO_CROSSING,
    OVERFLOW,
    RUNAWAY,
    TOO_FAST,
)
from evsim.lif import crossing_time, driven_adjoint_flow, flow, reaches_threshold


@compiled
def simulate_unit(
    unit: int,
    units: np.ndarray,
    synapses: np.ndarray,
    arrivals: np.ndarray,
    n: int,
    duration: float,
    spikes: np.ndarray,
    used: int,
    most: int,
    key: np.uint64,
    failure: np.ndarray,
) -> int:
    """Write a unit's emissions behind the ``used`` ones of the buffer; how many are used now.

    ``most`` may be used.  ``key`` decides which are dropped.  FULL if the buffer is too small.
    On failure ``failure`` holds the status and the time.
    """
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    threshold, refractory = units[unit].threshold, units[unit].refractory
    # Where V ends this close to the threshold, rounding does not tell on which side it was:
    # the time of the crossing decides, so that an emission due with an arrival comes first.
    nearly = threshold * (1.0 - 1e-9)
    now, voltage, current = 0.0, 0.0, 0.0
    last_emission = free_at = -1.0
    is_refractory = False
    i, first = 0, used
    while True:
        until = arrivals[i].time if i < n else duration
        while now < until:
            if is_refractory:
                end = min(until, free_at)
                current *= exp(-(end - now) / tau_syn)
                now = end
                if until <= free_at:
                    break
                spikes[used - 1].release_current = current
                is_refractory = False
            next_voltage, next_current = voltage, current
            if voltage != 0.0 or current != 0.0:
                next_voltage, next_current = flow(voltage, current, until - now, tau_mem, tau_syn)
            may_cross = current > threshold and (next_voltage >= nearly or next_current < threshold)
            if not may_cross or not reaches_threshold(
                voltage, current, threshold, tau_mem, tau_syn
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
            if used == most:
                failure[0], failure[1] = RUNAWAY, emission
                return used
            if used == spikes.size:
                return FULL
            current *= exp(-elapsed / tau_syn)
            voltage = 0.0
            now = last_emission = emission
            free_at = emission + refractory
            spikes[used].time = emission
            spikes[used].drive = current - threshold
            is_refractory = free_at > emission
            spikes[used].release_current = 0.0 if is_refractory else current
            spikes[used].is_dropped = is_dropped(key, unit, used - first, units[unit].drop_rate)
            used += 1
            if free_at > duration:
                return used
        if i == n:
            if not abs(current) < inf:
                failure[0], failure[1] = OVERFLOW, now
            return used
        while i < n and arrivals[i].time <= now:
            current += synapses[arrivals[i].synapse].weight
            i += 1


@compiled
def adjoint_advance(
    lambda_v: float,
    lambda_i: float,
    release_adjoint: float,
    now: float,
    earlier: float,
    emission: float,
    free_at: float,
    release_current: float,
    drive: float,
    rate: float,
    slope: float,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float, float]:
    """lambda_V, lambda_I and h at an earlier time, not before the unit's latest emission.

    Inside the refractory period that follows the emission lambda_V is 0.  On reaching its
    end backwards ``h = I lambda_V`` is kept: the part of the emission's adjoint that comes
    through the voltage moving again.  Arrivals at the end belong to the period.
    """
    if now > free_at and earlier <= free_at:
        lambda_v, lambda_i = driven_adjoint_flow(
            lambda_v, lambda_i, now, free_at, drive, rate, slope, tau_mem, tau_syn
        )
        release_adjoint = release_current * lambda_v
        if free_at > emission:
            lambda_v = 0.0
        now = free_at
    if now > earlier:
        if now > free_at:
            lambda_v, lambda_i = driven_adjoint_flow(
                lambda_v, lambda_i, now, earlier, drive, rate, slope, tau_mem, tau_syn
            )
        else:
            lambda_i *= exp(-(now - earlier) / tau_syn)
    return lambda_v, lambda_i, release_adjoint


@compiled
def emission_adjoint(
    slope: float, drive: float, limit: float, rate_jump: float
) -> tuple[float, bool]:
    """lambda_V- at an emission, from the derivative of the loss by its time; whether limited.

    ``lambda_V- = S_k/(I - threshold)`` (D Table 1), kept within the limit, and then changed by
    the rate regulariser (L 7).  Where the drive I - threshold rounds to 0 it is the limit.
    """
    is_limited = abs(slope) > limit * max(drive, 0.0)
    if is_limited:
        lambda_v = limit if slope > 0.0 else -limit
    else:
        lambda_v = slope / drive if slope != 0.0 else 0.0
    return lambda_v - rate_jump, is_limited


@compiled
def pull_back_arrival(
    synapse: int,
    spike: int,
    weight: float,
    lambda_v: float,
    lambda_i: float,
    tau_syn: float,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
) -> None:
    """Add an arrival's part to the gradients and to the adjoint of the spike it came from."""
    by_time = weight * (lambda_v - lambda_i)
    weight_gradient[synapse] -= tau_syn * lambda_i
    delay_gradient[synapse] += by_time
    adjoint[spike] += by_time


@compiled
def pull_back_unit(
    unit: int,
    units: np.ndarray,
    synapses: np.ndarray,
    arrivals: np.ndarray,
    n: int,
    duration: float,
    spikes: np.ndarray,
    first: int,
    last: int,
    phantom: float,
    drive: float,
    rate: float,
    slope: float,
    moment_cotangent: np.ndarray,
    limit: float,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    threshold_gradient: np.ndarray,
    failure: np.ndarray,
) -> None:
    """Pull the adjoints of a unit's emissions, and what its voltage drives, back to its arrivals.

    Its emissions are ``first`` to ``last - 1`` of the buffer; ``adjoint`` holds what is known
    of S_k, the derivative of the loss by each emission time.  ``phantom`` is lambda_V at the
    end of the trial, where a silent output gets its gradient.  The loss's dF/dV is ``drive``
    times the weighting, and ``moment_cotangent`` at the moments among the arrivals; where an
    emission or a refractory period keeps V at 0, a moment has no effect.
    """
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    now, lambda_v, lambda_i = duration, phantom, 0.0
    i = n - 1
    if phantom != 0.0:
        threshold_gradient[unit] += tau_mem * phantom
        while i >= 0 and arrivals[i].time == duration:
            i -= 1
    elif drive == 0.0 and moment_cotangent.size == 0:
        if last == first:
            return
        while i >= 0 and arrivals[i].time > spikes[last - 1].time:
            i -= 1
        now = spikes[last - 1].time
    for emission_index in range(last - 1, first - 2, -1):
        if emission_index >= first:
            emission = spikes[emission_index].time
            free_at = emission + units[unit].refractory
            release_current = spikes[emission_index].release_current
        else:
            emission, free_at, release_current = 0.0, 0.0, 0.0
        h = 0.0
        while i >= 0 and arrivals[i].time >= emission:
            time, synapse, spike = arrivals[i].time, arrivals[i].synapse, arrivals[i].spike
            lambda_v, lambda_i, h = adjoint_advance(
                lambda_v, lambda_i, h, now, time, emission, free_at, release_current, drive, rate,
                slope, tau_mem, tau_syn,
            )  # fmt: skip
            now = time
            if synapse != MOMENT:
                pull_back_arrival(
                    synapse, spike, synapses[synapse].weight, lambda_v, lambda_i, tau_syn, adjoint,
                    weight_gradient, delay_gradient,
                )  # fmt: skip
            elif time > free_at:
                lambda_v -= moment_cotangent[spike] / tau_mem
            i -= 1
        if emission_index < first:
            return
        lambda_v, lambda_i, h = adjoint_advance(
            lambda_v, lambda_i, h, now, emission, emission, free_at, release_current, drive, rate,
            slope, tau_mem, tau_syn,
        )  # fmt: skip
        now = emission
        if not spikes[emission_index].drive > 0.0 and limit == inf:
            failure[0], failure[1] = GRAZING, emission
            return
        lambda_v, is_limited = emission_adjoint(
            adjoint[emission_index] + h, spikes[emission_index].drive, limit, units[unit].rate_jump
        )
        failure[4] += is_limited
        threshold_gradient[unit] += tau_mem * lambda_v
