"""V, I and their adjoints at given times, once all spikes are known."""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import compiled, entry_point
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    largest_arrival_count,
    new_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.backward.adjoint_intervals import (
    ADJOINT_INTERVAL,
    adjoints_at,
    fill_intervals,
    interval_at,
    interval_limit,
    with_intervals,
)
from evsim.engines.exact.kernels.backward.adjoint_sources import (
    SourceArrays,
    Sources,
    sources_of_unit,
)
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.event_order import EMISSION, READING, next_event
from evsim.engines.exact.kernels.failures import FAILURE
from evsim.engines.exact.kernels.readouts.integrals import (
    end_of_group,
    new_states,
    trace_group,
    with_states,
)
from evsim.engines.exact.kernels.readouts.peak import peak_moment, with_moment
from evsim.engines.exact.kernels.trial import Batch, Trial, trial_of
from evsim.equations.lif import flow_through_refractory


@compiled
def trace_unit(
    unit: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    first: int,
    last: int,
    times: np.ndarray,
    after_arrivals: bool,
    voltage_out: np.ndarray,
    current_out: np.ndarray,
) -> None:
    """V and I of one unit at ascending times, after an emission at the same time.

    ``after_arrivals`` says whether they are taken before or after arrivals at the same time.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    now, voltage, current, free_at = 0.0, trial.units[unit].start, 0.0, 0.0
    i, emission = 0, first
    for k in range(times.size):
        if is_stopped_at(k):
            return
        reading = inf if after_arrivals else times[k]
        while not is_stopped_at(i + emission):
            arrival_time = arrivals.time[i] if i < n else inf
            emission_time = trial.spikes[emission].time if emission < last else inf
            time, kind = next_event(emission_time, reading, arrival_time, inf)
            if kind == READING or time > times[k]:
                break
            voltage, current = flow_through_refractory(
                voltage, current, now, time, free_at, tau_mem, tau_syn
            )
            now = time
            if kind == EMISSION:
                voltage = trial.units[unit].reset
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
    after_arrivals: bool,
    batch: Batch,
    voltage: np.ndarray,
    current: np.ndarray,
) -> None:
    """V and I, (times, units), of units first_unit to last_unit - 1.

    ``times[times_start[b]:times_start[b + 1]]`` are the times of sample b, ascending.
    """
    arrivals = new_arrivals(64)
    states = new_states(16)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        cached, n = -1, 0
        begin, end = times_start[sample], times_start[sample + 1]
        needed = largest_arrival_count(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        unit = first_unit
        while unit < last_unit and end > begin:
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return
            cached, begin_spike, column = unit, trial.starts[unit], unit - first_unit
            if trial.units[unit].is_lif:
                trace_unit(
                    unit, trial, arrivals, n, begin_spike, begin_spike + trial.counts[unit],
                    times[begin:end], after_arrivals, voltage[begin:end, column],
                    current[begin:end, column],
                )  # fmt: skip
                unit += 1
            else:
                unit = end_of_group(trial.units, cached, last_unit)
                states = with_states(states, unit - cached)
                trace_group(
                    cached, unit, trial, arrivals, n, times[begin:end], after_arrivals, states,
                    voltage[begin:end, column:], current[begin:end, column:],
                )  # fmt: skip


@compiled
def adjoint_trace_unit(
    unit: int,
    phantom: float,
    voltage_cotangent: float,
    moments: np.ndarray,
    moment_cotangent: np.ndarray,
    sources: SourceArrays,
    trial: Trial,
    spike_time_gradient: np.ndarray,
    intervals: np.ndarray,
    gradients: Gradients,
    times: np.ndarray,
    failure: np.ndarray,
    lambda_v_out: np.ndarray,
    lambda_i_out: np.ndarray,
) -> None:
    """lambda_V and lambda_I of a unit at ascending times, before (backwards) the jumps there."""
    last_interval, _ = fill_intervals(
        unit, phantom, voltage_cotangent, moments, moment_cotangent, sources, trial,
        spike_time_gradient, intervals, gradients, failure,
    )  # fmt: skip
    interval = 0
    for k in range(times.size - 1, -1, -1):
        if is_stopped_at(k):
            return
        if times[k] == trial.duration:  # the limit from later times, before a phantom's jump
            lambda_v_out[k], lambda_i_out[k] = 0.0, 0.0
            continue
        interval = interval_at(times[k], intervals, interval, last_interval)
        # At the end of a refractory period the limit from later times is not 0 yet.
        is_end = times[k] == intervals[interval].end and intervals[interval].begin < times[k]
        is_from_later = interval > 0 and is_end
        lambda_v_out[k], lambda_i_out[k], _ = adjoints_at(
            unit, times[k], sources, trial, intervals, interval - 1 if is_from_later else interval
        )


@entry_point(part="traces")
def adjoint_trace_samples(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    times: np.ndarray,
    sources: Sources,
    batch: Batch,
    spike_time_gradient: np.ndarray,
    lambda_v: np.ndarray,
    lambda_i: np.ndarray,
) -> None:
    """lambda_V and lambda_I, (batch, units, times), of units first_unit to last_unit - 1."""
    arrivals = new_arrivals(64)
    peak = np.empty(1)
    intervals = np.empty(64, ADJOINT_INTERVAL)
    failures, zeros = np.zeros(1, FAILURE), np.zeros(batch.units.size)
    gradients = Gradients(zeros, zeros, zeros, zeros, zeros, np.zeros(1, np.int64))  # not used
    own = sources_of_unit(first_unit, sources)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        begin, end = own.moment_start[sample], own.moment_start[sample + 1]
        needed = largest_arrival_count(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        for unit in range(first_unit, last_unit):
            voltage_cotangent = own.voltage_cotangent[sample, unit]
            moments, moment_cotangent = peak[:0], peak[:0]
            if own.first_read <= unit < own.last_read:
                column = unit - own.first_read
                moments = own.moments[begin:end]
                moment_cotangent = own.moment_cotangent[begin:end, column]
            if own.peak_cotangent[sample, unit] != 0.0:
                n = arrivals_at(unit, trial, arrivals, -1, 0)
                if is_stopped():
                    return
                if peak_moment(unit, trial, arrivals, n, peak) > 0:
                    moments, moment_cotangent = with_moment(
                        moments, moment_cotangent, peak[0], own.peak_cotangent[sample, unit]
                    )
            if is_stopped():
                return
            intervals = with_intervals(intervals, interval_limit(trial.counts[unit], moments.size))
            adjoint_trace_unit(
                unit, own.phantom[sample, unit], voltage_cotangent, moments, moment_cotangent,
                own, trial, spike_time_gradient, intervals, gradients, times, failures[0],
                lambda_v[sample, unit - first_unit], lambda_i[sample, unit - first_unit],
            )  # fmt: skip
