"""The peak of an LI unit's voltage, and its gradients at the unit's arrivals.

Paper: L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped_at
from evsim.engines.exact.kernels.arrivals import Arrivals
from evsim.engines.exact.kernels.backward.arrival_gradients import add_arrival_gradient
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import adjoint_flow, flow, peak_time


@compiled
def peak_voltage(unit: int, trial: Trial, arrivals: Arrivals, n: int) -> tuple[float, float, float]:
    """The largest voltage (L 29), its time, and the share of lambda_V's jump for arrivals then.

    At a smooth maximum V' = 0 and the share does not matter.  If arrivals end a rise, the peak is a
    kink at their time, and for them lambda_V jumps only by the share ``V'-/(V'- - V'+)``.  This
    makes the derivative of the peak with respect to the time of a single arrival V'-, as it must
    be.  The time is infinite if V is largest at the start.  The peak is infinite if a voltage or
    current is not finite.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    now, voltage, current = 0.0, trial.units[unit].start, 0.0
    best, best_time, best_share = voltage, inf, 0.0
    i = 0
    while True:
        if is_stopped_at(i):
            return best, best_time, best_share
        until = arrivals.time[i] if i < n else trial.duration
        t = peak_time(voltage, current, tau_mem, tau_syn)
        if now + t < until:
            top, _ = flow(voltage, current, t, tau_mem, tau_syn)
            if top > best:
                best, best_time, best_share = top, now + t, 0.0
        voltage, current = flow(voltage, current, until - now, tau_mem, tau_syn)
        now = until
        before = current
        while i < n and arrivals.time[i] <= now:
            current += trial.synapses[arrivals.synapse[i]].weight
            i += 1
        rise, fall = before - voltage, voltage - current
        if voltage > best and now == trial.duration:
            best, best_time, best_share = voltage, now, 0.0
        elif voltage > best and fall >= 0.0:
            best, best_time = voltage, now
            best_share = rise / (rise + fall) if rise > 0.0 else 0.0
        if now == trial.duration:
            if not (abs(current) < inf and abs(voltage) < inf):
                best = inf
            return best, best_time, best_share


@compiled
def peak_moment(unit: int, trial: Trial, arrivals: Arrivals, n: int, moment: np.ndarray) -> int:
    """Put the time of the peak into ``moment``, shape (1,); 0 if it is the start, else 1."""
    _, moment[0], _ = peak_voltage(unit, trial, arrivals, n)
    return 1 if moment[0] < inf else 0


@allocating
def with_moment(
    times: np.ndarray, cotangents: np.ndarray, time: float, cotangent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ascending times at which V is read, and their cotangents, with one more entry each."""
    more_times, more_cotangents = np.empty(times.size + 1), np.empty(times.size + 1)
    place = 0
    while place < times.size and times[place] <= time:
        place += 1
    more_times[:place], more_times[place + 1 :] = times[:place], times[place:]
    more_cotangents[:place], more_cotangents[place + 1 :] = cotangents[:place], cotangents[place:]
    more_times[place], more_cotangents[place] = time, cotangent
    return more_times, more_cotangents


@compiled
def pull_back_peak(
    unit: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    cotangent: float,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull the cotangent of a unit's peak voltage back to its arrivals and its start."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    _, peak, share = peak_voltage(unit, trial, arrivals, n)
    if peak == inf:
        gradients.start[unit] += cotangent
        return
    if trial.units[unit].start_is_given:
        by_start, _ = flow(1.0, 0.0, peak, tau_mem, tau_syn)
        gradients.start[unit] += cotangent * by_start
    jump = -cotangent / tau_mem
    for i in range(n):
        if is_stopped_at(i):
            return
        time, synapse = arrivals.time[i], arrivals.synapse[i]
        if time > peak:
            return
        lambda_v = share * jump if time == peak else jump
        _, lambda_i, difference = adjoint_flow(
            lambda_v, 0.0, lambda_v, peak - time, tau_mem, tau_syn
        )
        spike_time_gradient[arrivals.spike[i]] += add_arrival_gradient(
            synapse, trial.synapses[synapse].weight, lambda_i, difference, tau_syn,
            gradients.weight, gradients.delay,
        )  # fmt: skip
