"""The adjoints of a unit between its own events, from which they are known at any time.

Backwards, lambda_V and lambda_I of a unit jump where it emits, where a refractory period ends
and where its voltage is read, and flow freely in between: arrivals do not change them.  So a few
windows tell both at any time, and arrivals can be pulled back in any order.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.records import GRAZING
from evsim.lif import driven_adjoint_flow

WINDOW = np.dtype(
    [
        ("begin", np.float64),  # the first time at which an arrival belongs to it; -inf if open
        ("end", np.float64),
        ("lambda_v", np.float64),  # at the end, after what happens there backwards
        ("lambda_i", np.float64),
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
    windows: np.ndarray, w: int, end: float, lambda_v: float, lambda_i: float, drive: float
) -> None:
    """Begin window w, backwards, at its end."""
    windows[w].begin = -inf
    windows[w].end = end
    windows[w].lambda_v = lambda_v
    windows[w].lambda_i = lambda_i
    windows[w].drive = drive
    windows[w].release = 0.0


@compiled
def adjoints_at(
    time: float,
    windows: np.ndarray,
    w: int,
    rate: float,
    slope: float,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float]:
    """lambda_V and lambda_I at a time in window w."""
    return driven_adjoint_flow(
        windows[w].lambda_v, windows[w].lambda_i, windows[w].end, time, windows[w].drive, rate,
        slope, tau_mem, tau_syn,
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
    time: float,
    cotangent: float,
    free_at: float,
    windows: np.ndarray,
    w: int,
    rate: float,
    slope: float,
    tau_mem: float,
    tau_syn: float,
) -> int:
    """The voltage is read: the jump of lambda_V, and the window that is open then.

    Where an emission or the refractory period after it, up to ``free_at``, keeps V at 0, and at
    the beginning of the trial, there is none.
    """
    if time <= max(free_at, 0.0):
        return w
    lambda_v, lambda_i = adjoints_at(time, windows, w, rate, slope, tau_mem, tau_syn)
    windows[w].begin = time
    open_window(windows, w + 1, time, lambda_v - cotangent / tau_mem, lambda_i, windows[w].drive)
    return w + 1


@compiled
def pull_back_release(
    emission: np.void,
    unit: np.void,
    windows: np.ndarray,
    w: int,
    rate: float,
    slope: float,
) -> int:
    """Enter the refractory period after an emission from its end; the window that is open then.

    In the period lambda_V is 0.  On reaching its end backwards ``h = I lambda_V`` is kept: the part
    of the emission's adjoint that comes through the voltage moving again.  Arrivals at the end
    belong to the period.  The trial may end within it.
    """
    free_at = emission.time + unit.refractory
    if windows[w].end <= free_at:
        windows[w].lambda_v = windows[w].drive = 0.0
        return w
    lambda_v, lambda_i = adjoints_at(free_at, windows, w, rate, slope, unit.tau_mem, unit.tau_syn)
    windows[w].begin = np.nextafter(free_at, inf)
    open_window(windows, w + 1, free_at, 0.0, lambda_i, 0.0)
    windows[w + 1].release = emission.release_current * lambda_v
    return w + 1


@compiled
def pull_back_emission(
    emission: np.void,
    slope_by_time: float,
    unit: np.void,
    drive: float,
    limit: float,
    windows: np.ndarray,
    w: int,
    rate: float,
    slope: float,
    failure: np.ndarray,
) -> int:
    """The jump of lambda_V at an emission, and the window that is open then.

    ``slope_by_time`` is S_k, the derivative of the loss by its time through readout and synapses.
    A refractory period after it has been entered.
    """
    lambda_v, lambda_i = adjoints_at(
        emission.time, windows, w, rate, slope, unit.tau_mem, unit.tau_syn
    )
    h = windows[w].release if unit.refractory > 0.0 else emission.release_current * lambda_v
    windows[w].begin = emission.time
    if not emission.drive > 0.0 and limit == inf:
        failure[0], failure[1] = GRAZING, emission.time
        return w
    lambda_v, is_limited = emission_adjoint(
        slope_by_time + h, emission.drive, limit, unit.rate_jump
    )
    failure[4] += is_limited
    open_window(windows, w + 1, emission.time, lambda_v, lambda_i, drive)
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
    units: np.ndarray,
    spikes: np.ndarray,
    first: int,
    last: int,
    duration: float,
    phantom: float,
    drive: float,
    rate: float,
    slope: float,
    moments: np.ndarray,
    moment_cotangent: np.ndarray,
    limit: float,
    adjoint: np.ndarray,
    windows: np.ndarray,
    failure: np.ndarray,
) -> tuple[int, float]:
    """All windows of a unit, and the sum of lambda_V- over its emissions.

    These are ``first`` to ``last - 1`` of the buffer, and ``adjoint`` holds what is known of S_k.
    ``phantom`` is lambda_V at the end of the trial, where a silent output gets its gradient.  The
    loss's dF/dV is ``drive`` times the weighting, and ``moment_cotangent`` at the moments.
    Returns the number of the last window, the earliest.
    """
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    w, total, m = 0, phantom, moments.size - 1
    open_window(windows, 0, duration, phantom, 0.0, drive)
    for spike in range(last - 1, first - 2, -1):
        time = free_at = -1.0
        if spike >= first:
            time = spikes[spike].time
            free_at = time + units[unit].refractory
        while m >= 0 and moments[m] >= time:
            w = pull_back_moment(
                moments[m], moment_cotangent[m], free_at, windows, w, rate, slope, tau_mem, tau_syn
            )
            m -= 1
        if spike >= first:
            if units[unit].refractory > 0.0:
                w = pull_back_release(spikes[spike], units[unit], windows, w, rate, slope)
            w = pull_back_emission(
                spikes[spike], adjoint[spike], units[unit], drive, limit, windows, w, rate, slope,
                failure,
            )  # fmt: skip
            if failure[0] != 0.0:
                break
            total += windows[w].lambda_v
    return w, total
