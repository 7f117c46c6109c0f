"""The intervals between the jumps of a unit's adjoints, which give the adjoints at any time.

Backwards in time, lambda_V and lambda_I of a unit jump where it emits, where a refractory period
ends and where its voltage is read.  In between they follow a closed form: arrivals do not change
them.  Therefore a few intervals give both at any time, and arrivals can be pulled back in any
order.  Their difference is a third adjoint, see ``lif``; it jumps by as much as lambda_V does.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.backward.adjoint_sources import SourceArrays
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.failures import Status, fail, has_failed
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import (
    difference_jump,
    driven_adjoint_flow,
    is_lost_in_rounding,
    is_refractory_after,
    lambda_v_before_emission,
    restart_gradient,
    voltage_gradient,
    weighting_integral,
)

ADJOINT_INTERVAL = record(
    [
        ("begin", np.float64),  # the earliest time of an arrival that belongs to it; -inf if open
        ("end", np.float64),
        ("lambda_v", np.float64),  # at the end, after (backwards) the jumps there
        ("lambda_i", np.float64),
        ("difference", np.float64),
        ("voltage_cotangent", np.float64),  # dF/dV over the weighting; 0 in a refractory period
        ("restart", np.float64),  # ``restart_gradient`` at the end of a refractory period
    ],
    align=True,
)
"""A part of the trial without jumps of a unit's adjoints.  Intervals are listed latest first."""


@allocating
def with_intervals(intervals: np.ndarray, needed: int) -> np.ndarray:
    """Scratch memory for that many intervals: the same if it suffices."""
    if needed <= intervals.size:
        return intervals
    return np.empty(2 * needed, ADJOINT_INTERVAL)


@compiled
def interval_limit(emissions: int, moments: int) -> int:
    """The largest number of intervals that a unit can have."""
    return 2 * emissions + moments + 1


@compiled
def open_interval(
    intervals: np.ndarray,
    k: int,
    end: float,
    lambda_v: float,
    lambda_i: float,
    difference: float,
    voltage_cotangent: float,
) -> None:
    """Begin interval k at its end, as time runs backwards."""
    intervals[k].begin = -inf
    intervals[k].end = end
    intervals[k].lambda_v = lambda_v
    intervals[k].lambda_i = lambda_i
    intervals[k].difference = difference
    intervals[k].voltage_cotangent = voltage_cotangent
    intervals[k].restart = 0.0


@compiled
def adjoints_at(
    unit: int, time: float, sources: SourceArrays, trial: Trial, intervals: np.ndarray, k: int
) -> tuple[float, float, float]:
    """lambda_V, lambda_I and their difference of a unit at a time in interval k."""
    return driven_adjoint_flow(
        intervals[k].lambda_v, intervals[k].lambda_i, intervals[k].difference, intervals[k].end,
        time, intervals[k].voltage_cotangent, sources.rate[unit], sources.slope[unit],
        trial.units[unit].tau_mem, trial.units[unit].tau_syn,
    )  # fmt: skip


# The search takes steps that double while they stay short of the interval, and then halve: it finds
# a near interval at once, and a far one in few steps.


@compiled
def interval_at(time: float, intervals: np.ndarray, k: int, last: int) -> int:
    """The interval, among k to ``last`` (which is open), to which an arrival belongs."""
    if time >= intervals[k].begin:
        return k
    step = 1
    while step > 0:
        further = min(k + step, last)
        if time < intervals[further].begin:
            k, step = further, 2 * step
        else:
            step //= 2
    return k + 1


@compiled
def interval_from_open(time: float, intervals: np.ndarray, k: int, first: int) -> int:
    """The interval, among k (which is open) back to ``first``, to which an arrival belongs."""
    step = 1
    while step > 0:
        further = max(k - step, first)
        if further < k and time >= intervals[further].begin:
            k, step = further, 2 * step
        else:
            step //= 2
    return k


@compiled
def pull_back_moment(
    unit: int,
    time: float,
    cotangent: float,
    free_at: float,
    sources: SourceArrays,
    trial: Trial,
    intervals: np.ndarray,
    k: int,
    gradients: Gradients,
) -> int:
    """Make lambda_V jump where the voltage is read; return the interval that is then open.

    lambda_V does not jump at the beginning of the trial, where the start is read.  Nor does it jump
    while V is at the reset after an emission, up to the end ``free_at`` of the refractory period.
    """
    if is_before_release(time, free_at):
        gradients.reset[unit] += cotangent
        return k
    if time <= 0.0:
        gradients.start[unit] += cotangent
        return k
    lambda_v, lambda_i, difference = adjoints_at(unit, time, sources, trial, intervals, k)
    jump = -cotangent / trial.units[unit].tau_mem
    intervals[k].begin = time
    open_interval(
        intervals,
        k + 1,
        time,
        lambda_v + jump,
        lambda_i,
        difference + jump,
        intervals[k].voltage_cotangent,
    )
    return k + 1


@compiled
def pull_back_release(
    unit: int,
    spike: int,
    sources: SourceArrays,
    trial: Trial,
    intervals: np.ndarray,
    k: int,
    gradients: Gradients,
) -> int:
    """Enter the refractory period after an emission from its end; return the open interval.

    Within the period lambda_V is 0; its value at the end is kept in ``restart_gradient``.  A mean
    reads the reset within the period.  The trial may end within the period.
    """
    time = trial.spikes[spike].time
    free_at = time + trial.units[unit].refractory
    if intervals[k].voltage_cotangent != 0.0:
        span = min(free_at, trial.duration) - time
        area = weighting_integral(time, span, sources.rate[unit], sources.slope[unit])
        gradients.reset[unit] += intervals[k].voltage_cotangent * area
    if is_before_release(intervals[k].end, free_at):
        intervals[k].lambda_v = intervals[k].voltage_cotangent = 0.0
        intervals[k].difference = -intervals[k].lambda_i
        return k
    lambda_v, lambda_i, _ = adjoints_at(unit, free_at, sources, trial, intervals, k)
    intervals[k].begin = np.nextafter(free_at, inf)  # see ``is_before_release``
    open_interval(intervals, k + 1, free_at, 0.0, lambda_i, -lambda_i, 0.0)
    intervals[k + 1].restart = restart(unit, spike, lambda_v, trial, gradients)
    return k + 1


@compiled
def restart(unit: int, spike: int, lambda_v: float, trial: Trial, gradients: Gradients) -> float:
    """Add to dL/dreset, and return h_k, as V starts to move again after an emission."""
    gradients.reset[unit] += voltage_gradient(lambda_v, trial.units[unit].tau_mem)
    drive = trial.spikes[spike].release_current - trial.units[unit].reset
    return restart_gradient(drive, lambda_v)


@compiled
def pull_back_emission(
    unit: int,
    spike: int,
    direct_gradient: float,
    voltage_cotangent: float,
    sources: SourceArrays,
    trial: Trial,
    intervals: np.ndarray,
    k: int,
    gradients: Gradients,
    failure: np.ndarray,
) -> int:
    """Make lambda_V jump at an emission; return the interval that is then open.

    ``direct_gradient`` is S_k without ``restart_gradient``: the part through readout and synapses.
    The refractory period after the emission, if there is one, has already been entered.
    """
    time, threshold_excess = trial.spikes[spike].time, trial.spikes[spike].threshold_excess
    rate_jump = trial.units[unit].rate_jump
    later_v, lambda_i, difference = adjoints_at(unit, time, sources, trial, intervals, k)
    is_refractory = is_refractory_after(time, trial.units[unit].refractory)
    of_restart = intervals[k].restart
    if not is_refractory:
        of_restart = restart(unit, spike, later_v, trial, gradients)
    intervals[k].begin = time  # see ``is_after_emission``
    threshold = trial.units[unit].threshold
    if sources.limit == inf and is_lost_in_rounding(threshold_excess, threshold):
        fail(failure, Status.GRAZING, time, unit)
        return k
    lambda_v, is_limited = lambda_v_before_emission(
        direct_gradient + of_restart, threshold_excess, sources.limit, rate_jump
    )
    gradients.limited[0] += is_limited
    if is_refractory or is_limited or not threshold_excess > 0.0:
        difference = lambda_v - lambda_i
    else:
        fall = threshold - trial.units[unit].reset
        difference += difference_jump(direct_gradient, later_v, fall, threshold_excess, rate_jump)
    open_interval(intervals, k + 1, time, lambda_v, lambda_i, difference, voltage_cotangent)
    return k + 1


@compiled
def fill_intervals(
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
    failure: np.ndarray,
) -> tuple[int, float]:
    """Fill all intervals of a unit.

    Returns the index of the last, which is the earliest in time, and the sum of the unit's
    lambda_V- over emissions and the phantom spike.  ``spike_time_gradient`` contains S_k of the
    unit's spikes through readout and synapses.  ``phantom`` is lambda_V at the end of the trial.
    The readout's dF/dV is ``voltage_cotangent`` times the weighting, and ``moment_cotangent`` at
    the moments.
    """
    k, total, m = 0, phantom, moments.size - 1
    open_interval(intervals, 0, trial.duration, phantom, 0.0, phantom, voltage_cotangent)
    begin = trial.starts[unit]
    for spike in range(begin + trial.counts[unit] - 1, begin - 2, -1):
        time = free_at = -1.0
        if is_stopped():
            failure.status = Status.STOPPED
            break
        if spike >= begin:
            time = trial.spikes[spike].time
            free_at = time + trial.units[unit].refractory
        while m >= 0 and is_after_emission(moments[m], time):
            if is_stopped_at(m):
                break
            k = pull_back_moment(
                unit, moments[m], moment_cotangent[m], free_at, sources, trial, intervals, k,
                gradients,
            )  # fmt: skip
            m -= 1
        if spike >= begin:
            if is_refractory_after(time, trial.units[unit].refractory):
                k = pull_back_release(unit, spike, sources, trial, intervals, k, gradients)
            k = pull_back_emission(
                unit,
                spike,
                spike_time_gradient[spike],
                voltage_cotangent,
                sources,
                trial,
                intervals,
                k,
                gradients,
                failure,
            )
            if has_failed(failure):
                break
            total += intervals[k].lambda_v
    return k, total


@compiled
def add_start_gradient(
    unit: int,
    sources: SourceArrays,
    trial: Trial,
    intervals: np.ndarray,
    last: int,
    gradients: Gradients,
) -> None:
    """Add the part through V to dL/dstart; ``last`` is the earliest interval of the unit."""
    if trial.units[unit].start_is_given:
        lambda_v, _, _ = adjoints_at(unit, 0.0, sources, trial, intervals, last)
        gradients.start[unit] += voltage_gradient(lambda_v, trial.units[unit].tau_mem)
