"""The trajectory of a unit: V and I at the start of each segment between its events.

Integrals over the trial are sums over segments: the mean voltage of a unit that spikes, and the
gradients of its time constants.  All arrivals at the unit and its emissions are known.

Papers: D is Mészáros, Knight, Nowotny (learning delays with EventProp),
L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped_at
from evsim.engines.exact.kernels.arrivals import Arrivals
from evsim.engines.exact.kernels.event_order import (
    ARRIVAL,
    EMISSION,
    READING,
    RELEASE,
    next_event,
)
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import (
    driven_adjoint_flow,
    flow,
    flow_by_time_constants,
    integral_slopes,
    integral_slopes_by_time_constants,
    is_refractory_after,
    lambda_v_before_emission,
    refractory_decay,
    restart_gradient,
    weighting_integral,
)

SEGMENT = record(
    [
        ("time", np.float64),  # ms
        ("voltage", np.float64),  # after the event at this time
        ("current", np.float64),
        ("kind", np.int64),  # of event, see ``event_order``; ARRIVAL at the trial's beginning
        ("index", np.int64),  # of the emission among the spikes, or of the reading
        ("is_refractory", np.bool_),  # V stays at the reset
    ],
    align=True,
)
"""A part of the trial without events; it ends where the next one begins, or with the trial."""


@allocating
def with_segments_for(trajectory: np.ndarray, events: int) -> np.ndarray:
    """Scratch memory for that many events: the same if it suffices."""
    if events + 1 <= trajectory.size:
        return trajectory
    return np.empty(2 * events + 16, SEGMENT)


@compiled
def fill_trajectory(
    unit: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    first: int,
    last: int,
    moments: np.ndarray,
    trajectory: np.ndarray,
) -> int:
    """Fill the scratch memory with a unit's segments; returns how many there are."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    now, voltage, current, is_refractory, free_at = 0.0, trial.units[unit].start, 0.0, False, inf
    i, emission, m = 0, first, 0
    count = 0
    kind, index = ARRIVAL, 0
    while True:
        is_together = count > 0 and trajectory[count - 1].time == now
        if kind == ARRIVAL and is_together and trajectory[count - 1].kind in (READING, ARRIVAL):
            count -= 1  # simultaneous arrivals are one event
            kind, index = trajectory[count].kind, trajectory[count].index
        if is_stopped_at(count):
            return 0
        trajectory[count].time = now
        trajectory[count].voltage = voltage
        trajectory[count].current = current
        trajectory[count].kind = kind
        trajectory[count].index = index
        trajectory[count].is_refractory = is_refractory
        count += 1
        emission_time = trial.spikes[emission].time if emission < last else inf
        moment_time = moments[m] if m < moments.size else inf
        arrival_time = arrivals.time[i] if i < n else inf
        event, kind = next_event(emission_time, moment_time, arrival_time, free_at)
        if event > trial.duration:
            return count
        if event > now:
            if is_refractory:
                current *= refractory_decay(event - now, tau_syn)
            else:
                voltage, current = flow(voltage, current, event - now, tau_mem, tau_syn)
            now = event
        index = 0
        if kind == EMISSION:
            voltage = trial.units[unit].reset
            index = emission
            is_refractory = is_refractory_after(event, trial.units[unit].refractory)
            free_at = event + trial.units[unit].refractory if is_refractory else inf
            emission += 1
        elif kind == READING:
            index = m
            m += 1
        elif kind == ARRIVAL:
            current += trial.synapses[arrivals.synapse[i]].weight
            i += 1
        else:
            is_refractory, free_at = False, inf


@compiled
def mean_over_trajectory(
    unit: int, trial: Trial, trajectory: np.ndarray, count: int, rate: float, slope: float
) -> float:
    """``(1/T) * integral of w(t) V dt`` (L 2, 5)."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    total = 0.0
    end = trial.duration
    for k in range(count - 1, -1, -1):
        if is_stopped_at(k):
            return 0.0
        start = trajectory[k].time
        if trajectory[k].is_refractory:
            if trajectory[k].voltage != 0.0:
                area = weighting_integral(start, end - start, rate, slope)
                total += trajectory[k].voltage * area
        elif end > start:
            by_voltage, by_current = integral_slopes(
                start, end - start, rate, slope, tau_mem, tau_syn
            )
            total += trajectory[k].voltage * by_voltage + trajectory[k].current * by_current
        end = start
    return total / trial.duration


@compiled
def add_time_constant_gradients(
    unit: int,
    trial: Trial,
    trajectory: np.ndarray,
    count: int,
    phantom: float,
    voltage_cotangent: float,
    rate: float,
    slope: float,
    moment_cotangent: np.ndarray,
    limit: float,
    spike_time_gradient: np.ndarray,
    tau_mem_gradient: np.ndarray,
    tau_syn_gradient: np.ndarray,
) -> None:
    """Add ``integral of lambda_V V' dt`` and ``integral of lambda_I I' dt`` (D Table 1).

    The sum runs over the segments, backwards.  Each contributes dL/dV = -tau_mem lambda_V and
    dL/dI = -tau_syn lambda_I at its end times the derivatives of V and I there with respect to the
    time constant, plus the derivative of the readout's integral over the segment.
    ``spike_time_gradient`` is S_k of every emission without ``restart_gradient``.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    reset = trial.units[unit].reset
    by_mem = by_syn = 0.0
    end, lambda_v, lambda_i, restart = trial.duration, phantom, 0.0, 0.0
    for k in range(count - 1, -1, -1):
        if is_stopped_at(k):
            return
        start, voltage, current = trajectory[k].time, trajectory[k].voltage, trajectory[k].current
        kind, span = trajectory[k].kind, end - start
        if trajectory[k].is_refractory:
            decay = refractory_decay(span, tau_syn)
            by_syn -= tau_syn * lambda_i * current * decay * (span / tau_syn / tau_syn)
            lambda_i *= decay
        elif span > 0.0:
            v_by_mem, v_by_syn, i_by_syn = flow_by_time_constants(
                voltage, current, span, tau_mem, tau_syn
            )
            by_mem -= tau_mem * lambda_v * v_by_mem
            by_syn -= tau_mem * lambda_v * v_by_syn + tau_syn * lambda_i * i_by_syn
            if voltage_cotangent != 0.0:
                voltage_by_mem, current_by_mem, current_by_syn = integral_slopes_by_time_constants(
                    start, span, rate, slope, tau_mem, tau_syn
                )
                by_mem += voltage_cotangent * (voltage * voltage_by_mem + current * current_by_mem)
                by_syn += voltage_cotangent * current * current_by_syn
            lambda_v, lambda_i, _ = driven_adjoint_flow(
                lambda_v, lambda_i, 0.0, end, start, voltage_cotangent, rate, slope, tau_mem,
                tau_syn,
            )  # fmt: skip
        if kind == EMISSION:
            spike = trajectory[k].index
            if not trajectory[k].is_refractory:
                restart = restart_gradient(current - reset, lambda_v)
            lambda_v, _ = lambda_v_before_emission(
                spike_time_gradient[spike] + restart, trial.spikes[spike].threshold_excess, limit,
                trial.units[unit].rate_jump,
            )  # fmt: skip
            restart = 0.0
        elif kind == RELEASE:
            restart = restart_gradient(current - reset, lambda_v)
            lambda_v = 0.0
        elif kind == READING and not trajectory[k].is_refractory and not resets_at(trajectory, k):
            lambda_v -= moment_cotangent[trajectory[k].index] / tau_mem
        end = start
    tau_mem_gradient[unit] += by_mem
    tau_syn_gradient[unit] += by_syn


@compiled
def resets_at(trajectory: np.ndarray, k: int) -> bool:
    """Whether the unit emits where segment k begins, so that V is the reset there."""
    before = k - 1
    while before >= 0 and trajectory[before].time == trajectory[k].time:
        if trajectory[before].kind == EMISSION:
            return True
        before -= 1
    return False
