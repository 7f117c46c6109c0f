"""Voltages of LI units that receive the same spikes at the same times: a group shares one pass.

The outputs of most networks have equal time constants and receive every hidden spike without a
delay.  Then all their voltages decay by the same factors between two arrivals.  These factors are
computed once for all of them; only the weights differ.  A single unit is the smallest such group.

Paper: L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.arrivals import NO_SYNAPSE, Arrivals
from evsim.engines.exact.kernels.backward.arrival_gradients import add_arrival_gradient
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.event_order import is_after_reading
from evsim.engines.exact.kernels.trial import Trial, share_decays
from evsim.equations.lif import (
    decays_and_convolution,
    difference_factors,
    integral_of_rise,
    integral_slopes,
    voltage_gradient,
)


@compiled
def end_of_group(units: np.ndarray, first: int, last: int) -> int:
    """The end, at most ``last``, of the group of alike LI units that begins with ``first``."""
    end = first + 1
    while end < last and not units[end].is_lif and share_decays(first, end, units):
        end += 1
    return end


@allocating
def with_states(states: np.ndarray, units: int) -> np.ndarray:
    """Scratch memory for three numbers of so many units, (3, units): the same if it suffices."""
    if units <= states.shape[1]:
        return states
    return new_states(units)


@allocating
def new_states(units: int) -> np.ndarray:
    """Room for three numbers of so many units."""
    return np.empty((3, units))


# -- voltages at moments ----------------------------------------------------------------------


@compiled
def trace_group(
    first: int,
    end: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    times: np.ndarray,
    after_arrivals: bool,
    states: np.ndarray,
    voltage_out: np.ndarray,
    current_out: np.ndarray,
) -> None:
    """V and I of units first to end - 1 at ascending times, each output (times, units).

    ``after_arrivals`` says whether they are taken before or after arrivals at these times;
    ``arrivals`` are those of the first unit.
    """
    tau_mem, tau_syn = trial.units[first].tau_mem, trial.units[first].tau_syn
    for column in range(end - first):
        states[0, column], states[1, column] = trial.units[first + column].start, 0.0
    now, i = 0.0, 0
    for k in range(times.size):
        while i < n and (
            not is_after_reading(arrivals.time[i], times[k])
            or (after_arrivals and arrivals.time[i] == times[k])
        ):
            if is_stopped():
                return
            flow_group(states, end - first, arrivals.time[i] - now, tau_mem, tau_syn)
            now = arrivals.time[i]
            for column in range(end - first):
                synapse = (
                    arrivals.synapse[i] + trial.incoming[first + column] - trial.incoming[first]
                )
                states[1, column] += trial.synapses[synapse].weight
            i += 1
        if is_stopped():
            return
        flow_group(states, end - first, times[k] - now, tau_mem, tau_syn)
        now = times[k]
        for column in range(end - first):
            voltage_out[k, column] = states[0, column]
            current_out[k, column] = states[1, column]


@compiled
def flow_group(states: np.ndarray, width: int, t: float, tau_mem: float, tau_syn: float) -> None:
    """V and I of all units after t ms without events, see ``lif.flow``."""
    if t == 0.0:
        return
    decay_mem, decay_syn, coupling = decays_and_convolution(t, tau_mem, tau_syn)
    response = coupling / tau_mem
    for column in range(width):
        voltage, current = states[0, column], states[1, column]
        states[0, column] = voltage * decay_mem + current * response
        states[1, column] = current * decay_syn


@compiled
def pull_back_group_moments(
    first: int,
    end: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    moment_cotangent: np.ndarray,
    states: np.ndarray,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull back cotangents, (moments, units), of voltages at the moments among the arrivals."""
    tau_mem, tau_syn = trial.units[first].tau_mem, trial.units[first].tau_syn
    width = end - first
    states[:, :width] = 0.0
    now = trial.duration
    for i in range(n - 1, -1, -1):
        if is_stopped():
            return
        time, spike = arrivals.time[i], arrivals.spike[i]
        adjoint_flow_group(states, width, now - time, tau_mem, tau_syn)
        now = time
        if arrivals.synapse[i] == NO_SYNAPSE:
            for column in range(width):
                if time > 0.0:
                    jump = -moment_cotangent[spike, column] / tau_mem
                    states[0, column] += jump
                    states[2, column] += jump
                else:  # V = start is read
                    gradients.start[first + column] += moment_cotangent[spike, column]
            continue
        total = 0.0
        for column in range(width):
            synapse = arrivals.synapse[i] + trial.incoming[first + column] - trial.incoming[first]
            total += add_arrival_gradient(
                synapse, trial.synapses[synapse].weight, states[1, column], states[2, column],
                tau_syn, gradients.weight, gradients.delay,
            )  # fmt: skip
        spike_time_gradient[spike] += total
    if trial.units[first].start_is_given:
        adjoint_flow_group(states, width, now, tau_mem, tau_syn)
        for column in range(width):
            gradients.start[first + column] += voltage_gradient(states[0, column], tau_mem)


@compiled
def adjoint_flow_group(
    states: np.ndarray, width: int, t: float, tau_mem: float, tau_syn: float
) -> None:
    """lambda_V, lambda_I and their difference, t ms earlier, see ``lif.adjoint_flow``."""
    if t == 0.0:
        return
    decay_mem, decay_syn, coupling = decays_and_convolution(t, tau_mem, tau_syn)
    response = coupling / tau_syn
    of_difference, of_v, of_i = difference_factors(decay_mem, decay_syn, response, tau_mem, tau_syn)
    for column in range(width):
        lambda_v, lambda_i = states[0, column], states[1, column]
        states[0, column] = lambda_v * decay_mem
        states[1, column] = lambda_i * decay_syn + lambda_v * response
        states[2, column] = states[2, column] * of_difference - lambda_v * of_v - lambda_i * of_i


# -- mean voltages ----------------------------------------------------------------------------


@compiled
def mean_of_group(
    first: int,
    end: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    rate: float,
    slope: float,
    states: np.ndarray,
    values: np.ndarray,
) -> None:
    """``(1/T) * integral of w(t) V dt`` (L 2, 5) of each unit into ``values``, (units,).

    It is the sum of a closed form of the start and of each arrival; the sum's rounding errors are
    compensated.
    """
    tau_mem, tau_syn = trial.units[first].tau_mem, trial.units[first].tau_syn
    states[:, : end - first] = 0.0
    if trial.units[first].start_is_given:
        by_start, _ = integral_slopes(0.0, trial.duration, rate, slope, tau_mem, tau_syn)
        for column in range(end - first):
            states[0, column] = trial.units[first + column].start * by_start
    time, by_current = inf, 0.0
    for i in range(n):
        if is_stopped_at(i):
            return
        if arrivals.time[i] != time:
            time = arrivals.time[i]
            _, by_current = integral_slopes(
                time, trial.duration - time, rate, slope, tau_mem, tau_syn
            )
        for column in range(end - first):
            synapse = arrivals.synapse[i] + trial.incoming[first + column] - trial.incoming[first]
            part = trial.synapses[synapse].weight * by_current
            total = states[0, column]
            after = total + part
            lost = (total - after) + part if abs(total) >= abs(part) else (part - after) + total
            states[0, column] = after
            states[1, column] += lost
    for column in range(end - first):
        values[column] = (states[0, column] + states[1, column]) / trial.duration


@compiled
def pull_back_group_mean(
    first: int,
    end: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    rate: float,
    slope: float,
    voltage_cotangent: np.ndarray,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull back ``dF/dV = voltage_cotangent w(t)`` of each unit; the argument covers all units."""
    tau_mem, tau_syn = trial.units[first].tau_mem, trial.units[first].tau_syn
    if trial.units[first].start_is_given:
        by_start, _ = integral_slopes(0.0, trial.duration, rate, slope, tau_mem, tau_syn)
        for unit in range(first, end):
            gradients.start[unit] += voltage_cotangent[unit] * by_start
    time, by_current, rise = inf, 0.0, 0.0
    for i in range(n):
        if is_stopped_at(i):
            return
        if arrivals.time[i] != time:
            time = arrivals.time[i]
            span = trial.duration - time
            _, by_current = integral_slopes(time, span, rate, slope, tau_mem, tau_syn)
            rise = integral_of_rise(by_current, time, span, rate, slope, tau_mem, tau_syn)
        total = 0.0
        for column in range(end - first):
            synapse = arrivals.synapse[i] + trial.incoming[first + column] - trial.incoming[first]
            lambda_i = -voltage_cotangent[first + column] * by_current / tau_syn
            difference = -voltage_cotangent[first + column] * rise
            total += add_arrival_gradient(
                synapse, trial.synapses[synapse].weight, lambda_i, difference, tau_syn,
                gradients.weight, gradients.delay,
            )  # fmt: skip
        spike_time_gradient[arrivals.spike[i]] += total
