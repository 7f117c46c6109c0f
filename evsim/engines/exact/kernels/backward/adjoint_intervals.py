"""The adjoints of a unit between its own events, from which they are known at any time.

Backwards, lambda_V and lambda_I of a unit jump where it emits, where a refractory period ends
and where its voltage is read, and flow freely in between: arrivals do not change them.  So a few
windows tell both at any time, and arrivals can be pulled back in any order.  Their difference is
carried along as a third, see ``lif``; it jumps by as much as lambda_V does.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.backward.adjoint_sources import Entering
from evsim.engines.exact.kernels.spike_records import GRAZING, STOPPED
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import driven_adjoint_flow, is_refractory_after

WINDOW = record(
    [
        ("begin", np.float64),  # the first time at which an arrival belongs to it; -inf if open
        ("end", np.float64),
        ("lambda_v", np.float64),  # at the end, after what happens there backwards
        ("lambda_i", np.float64),
        ("difference", np.float64),
        ("drive", np.float64),  # dF/dV over the weighting; 0 in a refractory period
        ("release", np.float64),  # of a refractory period: I lambda_V at its end
    ],
    align=True,
)
"""A part of the trial without jumps of a unit's adjoints.  Windows are listed latest first."""


@allocating
def with_windows(windows: np.ndarray, needed: int) -> np.ndarray:
    """Scratch memory for that many windows: the same if it suffices."""
    if needed <= windows.size:
        return windows
    return np.empty(2 * needed, WINDOW)


@compiled
def most_windows(emissions: int, moments: int) -> int:
    """How many windows a unit can have."""
    return 2 * emissions + moments + 1


@compiled
def open_window(
    windows: np.ndarray,
    w: int,
    end: float,
    lambda_v: float,
    lambda_i: float,
    difference: float,
    drive: float,
) -> None:
    """Begin window w, backwards, at its end."""
    windows[w].begin = -inf
    windows[w].end = end
    windows[w].lambda_v = lambda_v
    windows[w].lambda_i = lambda_i
    windows[w].difference = difference
    windows[w].drive = drive
    windows[w].release = 0.0


@compiled
def adjoints_at(
    unit: int, time: float, entering: Entering, trial: Trial, windows: np.ndarray, w: int
) -> tuple[float, float, float]:
    """lambda_V, lambda_I and their difference of a unit at a time in window w."""
    return driven_adjoint_flow(
        windows[w].lambda_v, windows[w].lambda_i, windows[w].difference, windows[w].end, time,
        windows[w].drive, entering.rate, entering.slope, trial.units[unit].tau_mem,
        trial.units[unit].tau_syn,
    )  # fmt: skip


# Windows are looked up in steps that double while they stay short of the right one, and halve
# where they do not: a near one is found at once, and a far one in few steps.


@compiled
def window_at(time: float, windows: np.ndarray, w: int, last: int) -> int:
    """The window that an arrival belongs to, of w to ``last``, which is open."""
    if time >= windows[w].begin:
        return w
    step = 1
    while step > 0:
        further = min(w + step, last)
        if time < windows[further].begin:
            w, step = further, 2 * step
        else:
            step //= 2
    return w + 1


@compiled
def window_from_open(time: float, windows: np.ndarray, w: int, first: int) -> int:
    """The window that an arrival belongs to, of w, which is open, back to ``first``."""
    step = 1
    while step > 0:
        further = max(w - step, first)
        if further < w and time >= windows[further].begin:
            w, step = further, 2 * step
        else:
            step //= 2
    return w


@compiled
def pull_back_moment(
    unit: int,
    time: float,
    cotangent: float,
    free_at: float,
    entering: Entering,
    trial: Trial,
    windows: np.ndarray,
    w: int,
) -> int:
    """The voltage is read: the jump of lambda_V, and the window that is open then.

    Where an emission or the refractory period after it, up to ``free_at``, keeps V at 0, and at
    the beginning of the trial, there is none.
    """
    if time <= max(free_at, 0.0):
        return w
    lambda_v, lambda_i, difference = adjoints_at(unit, time, entering, trial, windows, w)
    jump = -cotangent / trial.units[unit].tau_mem
    windows[w].begin = time
    open_window(
        windows, w + 1, time, lambda_v + jump, lambda_i, difference + jump, windows[w].drive
    )
    return w + 1


@compiled
def pull_back_release(
    unit: int, spike: int, entering: Entering, trial: Trial, windows: np.ndarray, w: int
) -> int:
    """Enter the refractory period after an emission from its end; the window that is open then.

    In the period lambda_V is 0.  On reaching its end backwards ``h = I lambda_V`` is kept: the part
    of the emission's adjoint that comes through the voltage moving again.  Arrivals at the end
    belong to the period.  The trial may end within it.
    """
    free_at = trial.spikes[spike].time + trial.units[unit].refractory
    if windows[w].end <= free_at:
        windows[w].lambda_v = windows[w].drive = 0.0
        windows[w].difference = -windows[w].lambda_i
        return w
    lambda_v, lambda_i, _ = adjoints_at(unit, free_at, entering, trial, windows, w)
    windows[w].begin = np.nextafter(free_at, inf)
    open_window(windows, w + 1, free_at, 0.0, lambda_i, -lambda_i, 0.0)
    windows[w + 1].release = trial.spikes[spike].release_current * lambda_v
    return w + 1


@compiled
def pull_back_emission(
    unit: int,
    spike: int,
    slope_by_time: float,
    drive: float,
    entering: Entering,
    trial: Trial,
    windows: np.ndarray,
    w: int,
    failure: np.ndarray,
) -> int:
    """The jump of lambda_V at an emission, and the window that is open then.

    ``slope_by_time`` is S_k, the derivative of the loss by its time through readout and synapses.
    A refractory period after it has been entered.  Without one, lambda_V times I is a part of S_k,
    and lambda_V jumps by ``(slope_by_time + threshold lambda_V)/(I - threshold)``: so the
    difference keeps its digits where I is far above the threshold and the jump is small.
    """
    time, emission_drive = trial.spikes[spike].time, trial.spikes[spike].drive
    threshold, rate_jump = trial.units[unit].threshold, trial.units[unit].rate_jump
    later_v, lambda_i, difference = adjoints_at(unit, time, entering, trial, windows, w)
    is_held = is_refractory_after(time, trial.units[unit].refractory)
    h = windows[w].release if is_held else trial.spikes[spike].release_current * later_v
    windows[w].begin = time
    if not emission_drive > 0.0 and entering.limit == inf:
        failure[0], failure[1] = GRAZING, time
        return w
    lambda_v, is_limited = emission_adjoint(
        slope_by_time + h, emission_drive, entering.limit, rate_jump
    )
    failure[4] += is_limited
    if is_held or is_limited or not emission_drive > 0.0:
        difference = lambda_v - lambda_i
    else:
        difference += (slope_by_time + threshold * later_v) / emission_drive - rate_jump
    open_window(windows, w + 1, time, lambda_v, lambda_i, difference, drive)
    return w + 1


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
def fill_windows(
    unit: int,
    phantom: float,
    drive: float,
    moments: np.ndarray,
    moment_cotangent: np.ndarray,
    entering: Entering,
    trial: Trial,
    adjoint: np.ndarray,
    windows: np.ndarray,
    failure: np.ndarray,
) -> tuple[int, float]:
    """All windows of a unit, and the sum of lambda_V- over its emissions.

    ``adjoint`` holds what is known of S_k of these.  ``phantom`` is lambda_V at the end of the
    trial, where a silent output gets its gradient.  The loss's dF/dV is ``drive`` times the
    weighting, and ``moment_cotangent`` at the moments.
    Returns the number of the last window, the earliest.
    """
    w, total, m = 0, phantom, moments.size - 1
    open_window(windows, 0, trial.duration, phantom, 0.0, phantom, drive)
    begin = trial.starts[unit]
    for spike in range(begin + trial.counts[unit] - 1, begin - 2, -1):
        time = free_at = -1.0
        if is_stopped():
            failure[0] = STOPPED
            break
        if spike >= begin:
            time = trial.spikes[spike].time
            free_at = time + trial.units[unit].refractory
        while m >= 0 and moments[m] >= time:
            if is_stopped_at(m):
                break
            w = pull_back_moment(
                unit, moments[m], moment_cotangent[m], free_at, entering, trial, windows, w
            )
            m -= 1
        if spike >= begin:
            if is_refractory_after(time, trial.units[unit].refractory):
                w = pull_back_release(unit, spike, entering, trial, windows, w)
            w = pull_back_emission(
                unit, spike, adjoint[spike], drive, entering, trial, windows, w, failure
            )
            if failure[0] != 0.0:
                break
            total += windows[w].lambda_v
    return w, total
