"""A recurrent component whose units receive many spikes, run from time step to time step.

V and I at the ends of steps are exact, however many arrivals a step has.  No arrival is sorted: the
effect of each on V and I at the end of its step is added.  A bound on V says which units may reach
the threshold within a step.  These few are advanced through their arrivals in the step one by one.

The emissions of a step take place in order of time.  A spike that arrives in the same step is
added to V and I at the end of the step, or to the arrivals of a unit that is advanced through them.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.event_order import is_before_release
from evsim.engines.exact.kernels.failures import Status, fail, has_failed
from evsim.engines.exact.kernels.forward.recurrent import (
    external_spikes,
    group_by_unit,
    running_of,
)
from evsim.engines.exact.kernels.forward.recurrent_state import (
    ARRIVALS,
    STEPS,
    Components,
    start_states,
)
from evsim.engines.exact.kernels.forward.slice_emissions import may_emit, runs_away
from evsim.engines.exact.kernels.forward.time_steps.arrivals import NO_STEP, send
from evsim.engines.exact.kernels.forward.time_steps.dense_synapses import DenseSynapses
from evsim.engines.exact.kernels.forward.time_steps.slots import (
    earliest,
    find_next_spike,
    insert,
    open_slot,
    pass_arrivals,
)
from evsim.engines.exact.kernels.forward.time_steps.state import (
    Members,
    Stepping,
    Windows,
    end_of,
    latest_before,
    new_members,
    new_scratch,
    new_sent,
    new_slots,
    new_sums,
    row_of,
    step_for,
)
from evsim.engines.exact.kernels.spike_records import NO_ROOM, write_emission
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.exponential import fused

UNSUITABLE = -2  # in place of a number: the component must run in time slices
FEWEST_ARRIVALS = 16  # at a unit from outside the component, on average, for time steps to pay
TOO_MANY = 4  # times the expected number of arrivals; then begin again with shorter steps
SETTLED = 100  # arrivals at a unit from inside, on average, before this is judged
ATTEMPTS = 4  # with shorter and shorter steps
VISITS = 8  # of single arrivals at a unit in a step, on average; with more, time slices are used
FIRST_STEPS = 100  # in which there may be more visits than that


# -- units in a step ----------------------------------------------------------------------------


@compiled
def bound_on_voltage(voltage: float, current: float, excitation: float, loss_mem: float) -> float:
    """A bound: V in a step exceeds neither this nor its value at the beginning.

    It follows from tau_mem dV/dt = I - V, as I is at most its value plus the step's positive
    weights.
    """
    return voltage + (max(current, 0.0) + excitation - voltage) * loss_mem


@compiled
def fill_bounds(members: Members, excitation: np.ndarray) -> None:
    """Set the bound on V of every unit in a step."""
    for m in range(excitation.size):
        members.bound[m] = bound_on_voltage(
            members.voltage[m], members.current[m], excitation[m], members.loss_mem[m]
        )


@compiled
def open_slots(n: int, windows: Windows, stepping: Stepping, failure: np.ndarray) -> int:
    """Give slots to the units that may reach the threshold in step n, or may move again.

    Returns the number of these units, or UNSUITABLE.
    """
    members, end = stepping.members, end_of(n, stepping)
    fill_bounds(members, stepping.sums.excitation[row_of(n, stepping.sums)])
    opened = 0
    for m in range(members.bound.size):
        if members.is_refractory[m]:
            if is_before_release(end, members.free_at[m]):
                continue
        elif not members.bound[m] >= members.nearly[m]:
            continue
        if not open_slot(m, n, opened, windows, stepping, failure):
            return UNSUITABLE
        opened += 1
    return opened


@compiled
def receive_now(
    source: int,
    sent: float,
    n: int,
    opened: int,
    windows: Windows,
    stepping: Stepping,
    failure: np.ndarray,
) -> int:
    """Let a spike arrive in the step n in which it was sent; ``scratch`` contains its arrivals.

    Returns the number of slots then open, or UNSUITABLE.
    """
    members, slots, scratch = stepping.members, stepping.slots, stepping.scratch
    row, weights = row_of(n, stepping.sums), stepping.dense.weight[source]
    voltage, current = stepping.sums.voltage[row], stepping.sums.current[row]
    excitation = stepping.sums.excitation[row]
    for m in range(weights.size):
        time, weight, k = scratch.time[m], weights[m], members.slot[m]
        if scratch.step[m] != n or weight == 0.0 or time > stepping.duration:
            continue
        if k >= 0:
            if not insert(slots, k, time, weight):
                return UNSUITABLE
            if time < slots.due[k]:
                pass_arrivals(k, sent, stepping)
                find_next_spike(k, n, False, stepping, failure)
            continue
        voltage[m] += weight * scratch.response[m]
        current[m] += weight * scratch.decay_syn[m]
        excitation[m] += max(weight, 0.0)
        bound = bound_on_voltage(
            members.voltage[m], members.current[m], excitation[m], members.loss_mem[m]
        )
        if bound >= members.nearly[m] and not members.is_refractory[m]:
            if not open_slot(m, n, opened, windows, stepping, failure):
                return UNSUITABLE
            opened += 1
    return opened


@compiled
def emit(k: int, spike: int, stepping: Stepping) -> None:
    """Emit: V is set to the reset, and I is unchanged."""
    members, slots, running = stepping.members, stepping.slots, stepping.running
    m, time = slots.member[k], slots.due[k]
    unit = running.members[m]
    slots.now[k], slots.next[k] = time, slots.due_next[k]
    slots.voltage[k], slots.current[k] = running.units[unit].reset, slots.due_current[k]
    members.free_at[m] = time + running.units[unit].refractory
    members.is_refractory[m] = write_emission(
        running.spikes, spike, time, slots.due_current[k], unit, running.states[unit].number,
        running.units, running.key,
    )  # fmt: skip
    running.states[unit].spike = spike
    running.states[unit].number += 1
    slots.due[k] = -inf  # not sought again before its spike has been sent


@compiled
def empty(sums: np.ndarray) -> None:
    """Set sums to 0."""
    for m in range(sums.size):
        sums[m] = 0.0


@compiled
def end_step(n: int, opened: int, stepping: Stepping) -> None:
    """Advance all units to the end of a step, and empty its row of the sums."""
    members, slots, running = stepping.members, stepping.slots, stepping.running
    row = row_of(n, stepping.sums)
    of_voltage, of_current = stepping.sums.voltage[row], stepping.sums.current[row]
    voltage, current = members.voltage, members.current
    excitation = stepping.sums.excitation[row]
    for m in range(voltage.size):
        # The remainder is computed as the whole minus the loss: otherwise the rounding error of a
        # factor that is the same in all steps would accumulate.
        left = fused(-members.loss_mem[m], voltage[m], voltage[m])
        voltage[m] = left + fused(members.response[m], current[m], of_voltage[m])
    for m in range(voltage.size):
        current[m] = fused(-members.loss_syn[m], current[m], current[m]) + of_current[m]
    empty(of_voltage)
    empty(of_current)
    empty(excitation)
    for m in range(voltage.size):
        if members.is_refractory[m]:
            voltage[m] = running.units[running.members[m]].reset
    for k in range(opened):
        m = slots.member[k]
        voltage[m], current[m] = slots.end_voltage[k], slots.end_current[k]
        members.is_refractory[m] = slots.end_is_refractory[k]
        members.slot[m] = -1


@compiled
def run_step(
    n: int,
    windows: Windows,
    spike_count: int,
    unit_of: np.ndarray,
    stepping: Stepping,
    failure: np.ndarray,
) -> tuple[int, int]:
    """The emissions of step n, in the order of time.

    Returns the number of spikes afterwards, or NO_ROOM or UNSUITABLE, and how many of them were
    sent inside the component.  ``unit_of`` receives the unit of each.
    """
    running, slots, dense = stepping.running, stepping.slots, stepping.dense
    first, last, first_inside, sent = windows
    opened = open_slots(n, windows, stepping, failure)
    while opened > 0 and not has_failed(failure):
        k = earliest(slots, opened)
        due = slots.due[k]
        if due == inf:
            break
        if is_stopped():
            failure.status = Status.STOPPED
            break
        if not slots.is_exact[k]:
            find_next_spike(k, n, True, stepping, failure)
            continue
        unit = running.members[slots.member[k]]
        if not may_emit(running, unit, spike_count, due, failure):
            break
        if spike_count == running.spikes.size:
            return NO_ROOM, sent
        emit(k, spike_count, stepping)
        if runs_away(running, unit, failure):
            fail(failure, Status.RUNAWAY, due, unit)
            break
        unit_of[spike_count] = unit
        source = dense.source[unit]
        if source >= 0 and not running.spikes[spike_count].is_dropped:
            stepping.inside.time[sent], stepping.inside.source[sent] = due, source
            sent += 1
            if send(source, due, n, stepping):
                windows = Windows(first, last, first_inside, sent)
                opened = receive_now(source, due, n, opened, windows, stepping, failure)
        spike_count += 1
        if opened != UNSUITABLE:
            find_next_spike(k, n, False, stepping, failure)
    if opened == UNSUITABLE:
        return UNSUITABLE, sent
    if not has_failed(failure):
        end_step(n, opened, stepping)
    return spike_count, sent


# -- the component ------------------------------------------------------------------------------


@compiled
def arrivals_from_outside(external: np.ndarray, unit_of: np.ndarray, outgoing: np.ndarray) -> int:
    """The number of arrivals in a component from outside it, including those after the end."""
    total = 0
    for spike in external:
        unit = unit_of[spike]
        total += outgoing[unit + 1] - outgoing[unit]
    return total


@compiled
def windows_of(n: int, before: Windows, stepping: Stepping) -> Windows:
    """The spikes that may arrive in step n; those from outside in this step are sent."""
    outside, inside, dense = stepping.outside, stepping.inside, stepping.dense
    first, last, first_inside, last_inside = before
    gone, until = latest_before(n, stepping.step), (n + 1) * stepping.step.length
    while last < outside.time.size and outside.time[last] <= until and not is_stopped():
        send(outside.source[last], outside.time[last], NO_STEP, stepping)
        last += 1
    while first < last and outside.time[first] + dense.longest_delay <= gone:
        first += 1
    while (
        first_inside < last_inside
        and inside.time[first_inside] + dense.longest_delay_inside <= gone
    ):
        first_inside += 1
    return Windows(first, last, first_inside, last_inside)


@compiled
def run_steps(
    spike_count: int,
    ratio: float,
    unit_of: np.ndarray,
    stepping: Stepping,
    failure: np.ndarray,
) -> tuple[int, float]:
    """All steps of a trial, for ``ratio`` times as many arrivals as there are from outside.

    Returns the number of spikes afterwards, or NO_ROOM or UNSUITABLE.  The second result is 0
    unless there are far more arrivals, so that the steps are too long; then it is the ratio so far.
    """
    work, step, members = stepping.running.work, stepping.step, stepping.running.members.size
    sent_before, visits_before = work[ARRIVALS], work[STEPS]
    windows = Windows(0, 0, 0, 0)
    for n in range(step.number):
        if is_stopped():
            failure.status = Status.STOPPED
            return spike_count, 0.0
        windows = windows_of(n, windows, stepping)
        spike_count, last_inside = run_step(n, windows, spike_count, unit_of, stepping, failure)
        if has_failed(failure) or spike_count < 0:
            return spike_count, 0.0
        windows = Windows(windows.first, windows.last, windows.first_inside, last_inside)
        sent, visits = work[ARRIVALS] - sent_before, work[STEPS] - visits_before
        if visits > 2 * sent + VISITS * (n + FIRST_STEPS) * members:
            return UNSUITABLE, 0.0
        outside = windows.last * members
        if sent > outside + SETTLED * members and sent > TOO_MANY * ratio * outside:
            return spike_count, sent / max(outside, 1)
    return spike_count, 0.0


@allocating
def simulate_in_steps(
    component: int,
    trial: Trial,
    components: Components,
    dense: DenseSynapses,
    spike_count: int,
    spike_limit: int,
    states: np.ndarray,
    unit_of: np.ndarray,
    work: np.ndarray,
    key: np.uint64,
    failure: np.ndarray,
) -> int:
    """Run a recurrent component and write its emissions after the ``spike_count`` spikes.

    Returns the number of spikes afterwards, at most ``spike_limit``; or NO_ROOM if the buffer is
    too small, or UNSUITABLE if ``recurrent.simulate_component`` is better.  ``unit_of``, of the
    length of the buffer, is scratch memory.  ``key`` decides which spikes are dropped.  Emissions
    are grouped by unit at the end.
    """
    running = running_of(component, trial, components, states, work, spike_limit, key)
    members, outgoing, units = running.members, running.outgoing, trial.units
    external = external_spikes(outgoing, trial, unit_of)
    if is_stopped():
        failure.status = Status.STOPPED
        return spike_count
    arrivals = arrivals_from_outside(external, unit_of, outgoing)
    if arrivals < FEWEST_ARRIVALS * members.size:
        return UNSUITABLE
    begin, ratio = spike_count, 1.0
    for _ in range(ATTEMPTS):
        start_states(states, units, members)
        step = step_for(ratio * arrivals, trial.duration, dense)
        room = trial.spikes.size - begin
        stepping = Stepping(
            step, trial.duration, running, dense, new_members(members, units, step),
            new_sums(step, dense), new_slots(members.size),
            new_scratch(members.size, max(external.size, room)), new_sent(external.size),
            new_sent(room),
        )  # fmt: skip
        for i in range(external.size):
            stepping.outside.time[i] = trial.spikes[external[i]].time
            stepping.outside.source[i] = dense.source[unit_of[external[i]]]
        spike_count, found = run_steps(begin, ratio, unit_of, stepping, failure)
        if found == 0.0:
            break
        spike_count, ratio = UNSUITABLE, 1.5 * found
    if has_failed(failure) or spike_count < 0:
        return spike_count
    for m in range(members.size):
        if not abs(stepping.members.current[m]) < inf:
            fail(failure, Status.OVERFLOW, trial.duration, members[m])
            return spike_count
    group_by_unit(members, trial, unit_of, begin, spike_count)
    return spike_count
