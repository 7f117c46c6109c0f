"""A unit's trial as segments of free flow, with V and I at the start of each.

What integrals over the trial are made of: the mean voltage of a unit that spikes, and the
gradients of its time constants.  All its spikes and those it hears are known.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped_at
from evsim.engines.exact.kernels.arrivals import Arrivals
from evsim.engines.exact.kernels.backward.adjoint_intervals import emission_adjoint
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import (
    driven_adjoint_flow,
    flow,
    flow_by_time_constants,
    integral_slopes,
    integral_slopes_by_time_constants,
    is_refractory_after,
)

# What happens at the start of a segment.
ARRIVAL = 0  # or the beginning of the trial
MOMENT = 1
EMISSION = 2
RELEASE = 3  # the end of a refractory period

SEGMENT = record(
    [
        ("time", np.float64),  # ms
        ("voltage", np.float64),  # after what happens there
        ("current", np.float64),
        ("kind", np.int64),
        ("index", np.int64),  # of the emission among spikes, or of the moment
        ("is_held", np.bool_),  # V stays at 0, within a refractory period
    ],
    align=True,
)
"""A stretch without events; it ends where the next one begins, or with the trial."""


@allocating
def with_segments(segments: np.ndarray, events: int) -> np.ndarray:
    """Scratch memory for that many events: the same if it suffices."""
    if events + 1 <= segments.size:
        return segments
    return np.empty(2 * events + 16, SEGMENT)


@compiled
def fill_segments(
    unit: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    first: int,
    last: int,
    moments: np.ndarray,
    segments: np.ndarray,
) -> int:
    """Fill the scratch memory with a unit's segments; their number.

    At one instant emissions come first, then moments, arrivals, and the end of a period.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    now, voltage, current, is_held, free_at = 0.0, 0.0, 0.0, False, inf
    i, emission, m = 0, first, 0
    count = 0
    kind, index = ARRIVAL, 0
    while True:
        is_together = count > 0 and segments[count - 1].time == now
        if kind == ARRIVAL and is_together and segments[count - 1].kind <= MOMENT:
            count -= 1  # what arrives together is one event
            kind, index = segments[count].kind, segments[count].index
        if is_stopped_at(count):
            return 0
        segments[count].time = now
        segments[count].voltage = voltage
        segments[count].current = current
        segments[count].kind = kind
        segments[count].index = index
        segments[count].is_held = is_held
        count += 1
        emission_time = trial.spikes[emission].time if emission < last else inf
        moment_time = moments[m] if m < moments.size else inf
        arrival_time = arrivals.time[i] if i < n else inf
        event = min(emission_time, moment_time, arrival_time, free_at)
        if event > trial.duration:
            return count
        if event > now:
            if is_held:
                current *= exp(-(event - now) / tau_syn)
            else:
                voltage, current = flow(voltage, current, event - now, tau_mem, tau_syn)
            now = event
        kind, index = ARRIVAL, 0
        if emission_time == event:
            voltage = 0.0
            kind, index = EMISSION, emission
            is_held = is_refractory_after(event, trial.units[unit].refractory)
            free_at = event + trial.units[unit].refractory if is_held else inf
            emission += 1
        elif moment_time == event:
            kind, index = MOMENT, m
            m += 1
        elif arrival_time == event:
            current += trial.synapses[arrivals.synapse[i]].weight
            i += 1
        else:
            kind = RELEASE
            is_held, free_at = False, inf


@compiled
def mean_over_segments(
    unit: int, trial: Trial, segments: np.ndarray, count: int, rate: float, slope: float
) -> float:
    """``(1/T) * integral of w(t) V dt`` (L 2, 5)."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    total = 0.0
    end = trial.duration
    for k in range(count - 1, -1, -1):
        if is_stopped_at(k):
            return 0.0
        start = segments[k].time
        if not segments[k].is_held and end > start:
            by_voltage, by_current = integral_slopes(
                start, end - start, rate, slope, tau_mem, tau_syn
            )
            total += segments[k].voltage * by_voltage + segments[k].current * by_current
        end = start
    return total / trial.duration


@compiled
def add_time_constant_gradients(
    unit: int,
    trial: Trial,
    segments: np.ndarray,
    count: int,
    phantom: float,
    drive: float,
    rate: float,
    slope: float,
    moment_cotangent: np.ndarray,
    limit: float,
    adjoint: np.ndarray,
    tau_mem_gradient: np.ndarray,
    tau_syn_gradient: np.ndarray,
) -> None:
    """Add ``integral of lambda_V V' dt`` and ``integral of lambda_I I' dt`` (D Table 1).

    Segment by segment, backwards: with dL/dV = -tau_mem lambda_V and dL/dI = -tau_syn lambda_I
    at the end of a segment, its part is what the time constant does to V and I there, and to
    the readout's own integral.  ``adjoint`` is complete: S_k of every emission but for h.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    by_mem = by_syn = 0.0
    end, lambda_v, lambda_i, h = trial.duration, phantom, 0.0, 0.0
    for k in range(count - 1, -1, -1):
        if is_stopped_at(k):
            return
        start, voltage, current = segments[k].time, segments[k].voltage, segments[k].current
        kind, span = segments[k].kind, end - start
        if segments[k].is_held:
            decay = exp(-span / tau_syn)
            by_syn -= tau_syn * lambda_i * current * decay * (span / tau_syn / tau_syn)
            lambda_i *= decay
        elif span > 0.0:
            v_by_mem, v_by_syn, i_by_syn = flow_by_time_constants(
                voltage, current, span, tau_mem, tau_syn
            )
            by_mem -= tau_mem * lambda_v * v_by_mem
            by_syn -= tau_mem * lambda_v * v_by_syn + tau_syn * lambda_i * i_by_syn
            if drive != 0.0:
                voltage_by_mem, current_by_mem, current_by_syn = integral_slopes_by_time_constants(
                    start, span, rate, slope, tau_mem, tau_syn
                )
                by_mem += drive * (voltage * voltage_by_mem + current * current_by_mem)
                by_syn += drive * current * current_by_syn
            lambda_v, lambda_i, _ = driven_adjoint_flow(
                lambda_v, lambda_i, 0.0, end, start, drive, rate, slope, tau_mem, tau_syn
            )
        if kind == EMISSION:
            spike = segments[k].index
            if not segments[k].is_held:
                h = current * lambda_v
            lambda_v, _ = emission_adjoint(
                adjoint[spike] + h, trial.spikes[spike].drive, limit, trial.units[unit].rate_jump
            )
            h = 0.0
        elif kind == RELEASE:
            h = current * lambda_v
            lambda_v = 0.0
        elif kind == MOMENT and not segments[k].is_held and not resets_at(segments, k):
            lambda_v -= moment_cotangent[segments[k].index] / tau_mem
        end = start
    tau_mem_gradient[unit] += by_mem
    tau_syn_gradient[unit] += by_syn


@compiled
def resets_at(segments: np.ndarray, k: int) -> bool:
    """Whether V was set to 0 by an emission at the very time at which segment k begins."""
    before = k - 1
    while before >= 0 and segments[before].time == segments[k].time:
        if segments[before].kind == EMISSION:
            return True
        before -= 1
    return False
