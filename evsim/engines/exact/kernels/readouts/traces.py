"""States at given times, from spikes that are all known; what traces are drawn from."""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import compiled, entry_point
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    most_arrivals,
    new_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.backward.adjoint_intervals import (
    WINDOW,
    adjoints_at,
    fill_windows,
    most_windows,
    window_at,
    with_windows,
)
from evsim.engines.exact.kernels.backward.adjoint_sources import PEAK, Entering
from evsim.engines.exact.kernels.readouts.integrals import (
    end_of_group,
    new_states,
    trace_group,
    with_states,
)
from evsim.engines.exact.kernels.readouts.peak import peak_moment, with_moment
from evsim.engines.exact.kernels.trial import Batch, Trial, trial_of
from evsim.equations.lif import flow


@compiled
def flow_through_refractory(
    voltage: float,
    current: float,
    now: float,
    time: float,
    free_at: float,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float]:
    """V and I at a later time; V stays where it is until ``free_at``."""
    if now < free_at:
        until = min(time, free_at)
        current *= exp(-(until - now) / tau_syn)
        now = until
    if now < time:
        return flow(voltage, current, time - now, tau_mem, tau_syn)
    return voltage, current


@compiled
def trace_unit(
    unit: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    first: int,
    last: int,
    times: np.ndarray,
    sees_arrivals: bool,
    voltage_out: np.ndarray,
    current_out: np.ndarray,
) -> None:
    """V and I of one unit at ascending times, after an emission there.

    Before or after arrivals there, as ``sees_arrivals`` says.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    now, voltage, current, free_at = 0.0, 0.0, 0.0, 0.0
    i, emission = 0, first
    for k in range(times.size):
        if is_stopped_at(k):
            return
        while not is_stopped_at(i + emission):
            arrival_time = arrivals.time[i] if i < n else inf
            emission_time = trial.spikes[emission].time if emission < last else inf
            event = min(arrival_time, emission_time)
            if event > times[k]:
                break
            if event == times[k] and emission_time > event and not sees_arrivals:
                break
            voltage, current = flow_through_refractory(
                voltage, current, now, event, free_at, tau_mem, tau_syn
            )
            now = event
            if emission_time <= arrival_time:
                voltage = 0.0
                free_at = emission_time + trial.units[unit].refractory
                emission += 1
            else:
                current += trial.synapses[arrivals.synapse[i]].weight
                i += 1
        voltage_out[k], current_out[k] = flow_through_refractory(
            voltage, current, now, times[k], free_at, tau_mem, tau_syn
        )


@entry_point(part="traces")
def trace_samples(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    times: np.ndarray,
    times_start: np.ndarray,
    sees_arrivals: bool,
    batch: Batch,
    voltage: np.ndarray,
    current: np.ndarray,
) -> None:
    """V and I, (times, units), of units first_unit to last_unit - 1.

    ``times[times_start[b]:times_start[b + 1]]`` are sample b's, ascending.
    """
    arrivals = new_arrivals(64)
    states = new_states(16)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        held, n = -1, 0
        begin, end = times_start[sample], times_start[sample + 1]
        needed = most_arrivals(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        unit = first_unit
        while unit < last_unit and end > begin:
            n = arrivals_at(unit, trial, arrivals, held, n)
            if is_stopped():
                return
            held, own, column = unit, trial.starts[unit], unit - first_unit
            if trial.units[unit].is_lif:
                trace_unit(
                    unit, trial, arrivals, n, own, own + trial.counts[unit], times[begin:end],
                    sees_arrivals, voltage[begin:end, column], current[begin:end, column],
                )  # fmt: skip
                unit += 1
            else:
                unit = end_of_group(trial.units, held, last_unit)
                states = with_states(states, unit - held)
                trace_group(
                    held, unit, trial, arrivals, n, times[begin:end], sees_arrivals, states,
                    voltage[begin:end, column:], current[begin:end, column:],
                )  # fmt: skip


@compiled
def adjoint_trace_unit(
    unit: int,
    phantom: float,
    drive: float,
    moments: np.ndarray,
    moment_cotangent: np.ndarray,
    entering: Entering,
    trial: Trial,
    adjoint: np.ndarray,
    windows: np.ndarray,
    times: np.ndarray,
    failure: np.ndarray,
    lambda_v_out: np.ndarray,
    lambda_i_out: np.ndarray,
) -> None:
    """lambda_V and lambda_I of a unit at ascending times, before (backwards) the jumps there."""
    last_window, _ = fill_windows(
        unit, phantom, drive, moments, moment_cotangent, entering, trial, adjoint, windows, failure
    )
    w = 0
    for k in range(times.size - 1, -1, -1):
        if is_stopped_at(k):
            return
        if times[k] == trial.duration:  # from later times: before a phantom's jump
            lambda_v_out[k], lambda_i_out[k] = 0.0, 0.0
            continue
        w = window_at(times[k], windows, w, last_window)
        # At the end of a refractory period the limit from later times is not 0 yet.
        of_later = w > 0 and times[k] == windows[w].end and windows[w].begin < times[k]
        lambda_v_out[k], lambda_i_out[k], _ = adjoints_at(
            unit, times[k], entering, trial, windows, w - 1 if of_later else w
        )


@entry_point(part="traces")
def adjoint_trace_samples(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    times: np.ndarray,
    entering: Entering,
    batch: Batch,
    adjoint: np.ndarray,
    lambda_v: np.ndarray,
    lambda_i: np.ndarray,
) -> None:
    """lambda_V and lambda_I, (batch, units, times), of units first_unit to last_unit - 1."""
    arrivals = new_arrivals(64)
    peak = np.empty(1)
    windows, failure = np.empty(64, WINDOW), np.zeros(5)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        begin, end = entering.moment_start[sample], entering.moment_start[sample + 1]
        needed = most_arrivals(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        for unit in range(first_unit, last_unit):
            drive = entering.drive[sample, unit]
            moments, moment_cotangent = peak[:0], peak[:0]
            if entering.first_read <= unit < entering.last_read:
                column = unit - entering.first_read
                moments = entering.moments[begin:end]
                moment_cotangent = entering.moment_cotangent[begin:end, column]
            if entering.rate == PEAK:
                if drive != 0.0:
                    n = arrivals_at(unit, trial, arrivals, -1, 0)
                    if is_stopped():
                        return
                    if peak_moment(unit, trial, arrivals, n, peak) > 0:
                        moments, moment_cotangent = with_moment(
                            moments, moment_cotangent, peak[0], drive
                        )
                drive = 0.0
            if is_stopped():
                return
            windows = with_windows(windows, most_windows(trial.counts[unit], moments.size))
            adjoint_trace_unit(
                unit, entering.phantom[sample, unit], drive, moments, moment_cotangent, entering,
                trial, adjoint, windows, times, failure, lambda_v[sample, unit - first_unit],
                lambda_i[sample, unit - first_unit],
            )  # fmt: skip
