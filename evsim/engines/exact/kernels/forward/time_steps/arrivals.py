"""How a spike arrives at the units of a component: it is added to the sums of its steps.

An arrival takes effect at its exact time: what is added is its effect on V and I at the end of its
step.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import compiled
from evsim.engines.exact.kernels.forward.recurrent_state import ARRIVALS
from evsim.engines.exact.kernels.forward.time_steps.state import (
    Scratch,
    Step,
    Stepping,
    row_of,
    step_at,
)
from evsim.equations.lif import decays_and_response

NO_STEP = -1


@compiled
def send(source: int, time: float, now: int, stepping: Stepping) -> bool:
    """Add a spike's arrivals within the trial to the sums of their steps.

    Returns whether some arrive in step ``now``: these are left out and are found in ``scratch``.
    """
    sums, scratch, dense = stepping.sums, stepping.scratch, stepping.dense
    stepping.running.work[ARRIVALS] += dense.weight.shape[1]
    common = dense.common_delay[source]
    if common >= 0.0 and step_at(time + common, stepping.step) != now:
        if time + common <= stepping.duration:
            add_together(time + common, dense.weight[source], stepping)
        return False
    fill_arrivals(source, time, stepping)
    arrives_now = fill_additions(now, dense.weight[source], stepping.duration, scratch)
    rows, members = sums.current.shape
    for m in range(members):
        scratch.place[m] = (scratch.step[m] & (rows - 1)) * members + m
    add_at(sums.voltage.reshape(rows * members), scratch.place, scratch.of_voltage)
    add_at(sums.current.reshape(rows * members), scratch.place, scratch.of_current)
    add_at(sums.excitation.reshape(rows * members), scratch.place, scratch.excitation)
    return arrives_now


@compiled
def add_together(arrival: float, weights: np.ndarray, stepping: Stepping) -> None:
    """Add a spike that arrives at all units at one time to the sums of its step."""
    step, dense, sums, running = stepping.step, stepping.dense, stepping.sums, stepping.running
    n = step_at(arrival, step)
    row = row_of(n, sums)
    for r in range(dense.run.size - 1):
        first, last = dense.run[r], dense.run[r + 1]
        unit = running.members[first]
        tau_mem, tau_syn = running.units[unit].tau_mem, running.units[unit].tau_syn
        _, decay_syn, response = decays_and_response(
            (n + 1) * step.length - arrival, tau_mem, tau_syn, tau_mem
        )
        add_times(sums.voltage[row, first:last], weights[first:last], response)
        add_times(sums.current[row, first:last], weights[first:last], decay_syn)
    add_positive(sums.excitation[row], weights)


@compiled
def add_times(total: np.ndarray, weights: np.ndarray, factor: float) -> None:
    """Add weights times a factor."""
    for m in range(weights.size):
        total[m] += weights[m] * factor


@compiled
def add_positive(total: np.ndarray, weights: np.ndarray) -> None:
    """Add the weights that are positive."""
    for m in range(weights.size):
        total[m] += max(weights[m], 0.0)


@compiled
def add_at(total: np.ndarray, place: np.ndarray, values: np.ndarray) -> None:
    """Add each value at its place."""
    for m in range(values.size):
        total[place[m]] += values[m]


@compiled
def fill_arrivals(source: int, time: float, stepping: Stepping) -> None:
    """Set the time and step of a spike's arrival at each unit, and its effect by the step's end."""
    dense, scratch, running = stepping.dense, stepping.scratch, stepping.running
    fill_steps(time, dense.delay[source], stepping.step, scratch)
    for r in range(dense.run.size - 1):
        first, last = dense.run[r], dense.run[r + 1]
        unit = running.members[first]
        fill_factors(
            stepping.step.length, running.units[unit].tau_mem, running.units[unit].tau_syn,
            scratch.time[first:last], scratch.step[first:last], scratch.response[first:last],
            scratch.decay_syn[first:last],
        )  # fmt: skip


@compiled
def fill_steps(time: float, delays: np.ndarray, step: Step, scratch: Scratch) -> None:
    """Set the times and steps of arrivals."""
    times, steps = scratch.time, scratch.step
    for m in range(delays.size):
        times[m] = time + delays[m]
    for m in range(delays.size):
        steps[m] = step_at(times[m], step)


@compiled
def fill_factors(
    length: float,
    tau_mem: float,
    tau_syn: float,
    times: np.ndarray,
    steps: np.ndarray,
    responses: np.ndarray,
    decays: np.ndarray,
) -> None:
    """Set how V responds and I decays from arrivals to the ends of their steps."""
    for m in range(times.size):
        # The steps of times far after the end are wrong; such arrivals do not count.
        left = max((steps[m] + 1) * length - times[m], 0.0)
        _, decay_syn, response = decays_and_response(left, tau_mem, tau_syn, tau_mem)
        responses[m] = response
        decays[m] = decay_syn


@compiled
def fill_additions(now: int, weights: np.ndarray, duration: float, scratch: Scratch) -> bool:
    """Set what arrivals add to the sums: 0 in step ``now`` and after the end of the trial.

    Returns whether there are some in step ``now``.
    """
    steps, times, counted = scratch.step, scratch.time, scratch.excitation
    arrivals_now = 0
    for m in range(weights.size):
        arrivals_now += (steps[m] == now) & (times[m] <= duration)
    for m in range(weights.size):
        counted[m] = weights[m] if (steps[m] != now) & (times[m] <= duration) else 0.0
    for m in range(weights.size):
        scratch.of_voltage[m] = counted[m] * scratch.response[m]
    for m in range(weights.size):
        scratch.of_current[m] = counted[m] * scratch.decay_syn[m]
    for m in range(weights.size):
        scratch.excitation[m] = max(counted[m], 0.0)
    return arrivals_now > 0
