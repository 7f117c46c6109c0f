"""Units that may reach the threshold in a step are advanced through its arrivals one by one.

Their arrivals are looked up among all spikes that may arrive in the step.  The time of a unit's
next emission is first bounded from below, and computed only if no other unit can emit before it.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import compiled
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.failures import Status, fail
from evsim.engines.exact.kernels.forward.recurrent_state import STEPS
from evsim.engines.exact.kernels.forward.time_steps.state import (
    MOST_IN_STEP,
    Sent,
    Slots,
    Stepping,
    Windows,
    end_of,
    latest_before,
)
from evsim.equations.lif import first_crossing, flow, refractory_decay


@compiled
def open_slot(
    m: int, n: int, k: int, windows: Windows, stepping: Stepping, failure: np.ndarray
) -> bool:
    """Give the m-th unit slot k in step n; false if it has too many arrivals."""
    members, slots = stepping.members, stepping.slots
    members.slot[m] = k
    slots.member[k], slots.arrivals[k] = m, 0
    slots.now[k], slots.next[k] = n * stepping.step.length, 0
    slots.voltage[k], slots.current[k] = members.voltage[m], members.current[m]
    if not look_up(k, n, windows.first, windows.last, stepping.outside, stepping):
        return False
    if not look_up(k, n, windows.first_inside, windows.last_inside, stepping.inside, stepping):
        return False
    find_next_spike(k, n, False, stepping, failure)
    return True


@compiled
def look_up(k: int, n: int, first: int, last: int, sent: Sent, stepping: Stepping) -> bool:
    """Find the arrivals of spikes first to last - 1 in step n; false if there are too many."""
    slots, scratch, m = stepping.slots, stepping.scratch, stepping.slots.member[k]
    delays, weights = stepping.dense.delay_to[m], stepping.dense.weight_to[m]
    before, until = latest_before(n, stepping.step), end_of(n, stepping)
    times, sources = sent.time[first:last], sent.source[first:last]
    arrivals, is_found = scratch.arrival[: last - first], scratch.is_found[: last - first]
    stepping.running.work[STEPS] += (last - first) // 8
    for i in range(times.size):
        arrivals[i] = times[i] + delays[sources[i]]
    for i in range(times.size):
        is_found[i] = (arrivals[i] > before) & (arrivals[i] <= until)
    for eight in range((times.size + 7) // 8):  # few of them arrive in this step
        if scratch.are_found[eight] == 0:
            continue
        for i in range(8 * eight, min(8 * eight + 8, times.size)):
            if is_found[i] and not insert(slots, k, arrivals[i], weights[sources[i]]):
                return False
    return True


@compiled
def insert(slots: Slots, k: int, time: float, weight: float) -> bool:
    """Put an arrival in its place, after those of the same time; false if there is no room."""
    i = slots.arrivals[k]
    if i == MOST_IN_STEP:
        return False
    slots.arrivals[k] += 1
    times, weights = slots.time[k], slots.weight[k]
    while i > 0 and times[i - 1] > time:
        times[i], weights[i] = times[i - 1], weights[i - 1]
        i -= 1
    times[i], weights[i] = time, weight
    return True


@compiled
def pass_arrivals(k: int, until: float, stepping: Stepping) -> None:
    """Advance a unit through its arrivals before a time; it does not emit before that time."""
    slots, members, running = stepping.slots, stepping.members, stepping.running
    m = slots.member[k]
    unit = running.members[m]
    tau_mem, tau_syn = running.units[unit].tau_mem, running.units[unit].tau_syn
    times, weights = slots.time[k], slots.weight[k]
    i, count = slots.next[k], slots.arrivals[k]
    now, voltage, current = slots.now[k], slots.voltage[k], slots.current[k]
    while i < count and times[i] < until:
        running.work[STEPS] += 1
        if now < times[i] and members.is_refractory[m]:
            current, now = wait(m, unit, current, now, times[i], stepping)
            members.is_refractory[m] = is_before_release(times[i], members.free_at[m])
        if now < times[i] and not members.is_refractory[m]:
            voltage, current = flow(voltage, current, times[i] - now, tau_mem, tau_syn)
        now = max(now, times[i])
        current += weights[i]
        i += 1
    slots.now[k], slots.voltage[k], slots.current[k], slots.next[k] = now, voltage, current, i


@compiled
def wait(
    m: int, unit: int, current: float, now: float, until: float, stepping: Stepping
) -> tuple[float, float]:
    """I, and the time, at the end of a refractory period or at ``until``, whichever comes first.

    At the end of the period, I is recorded in the spike that began it.
    """
    free_at, running = stepping.members.free_at[m], stepping.running
    moment = min(until, free_at)
    current *= refractory_decay(moment - now, running.units[unit].tau_syn)
    if not is_before_release(until, free_at):
        running.spikes[running.states[unit].spike].release_current = current
    return current, moment


@compiled
def find_next_spike(k: int, n: int, solve: bool, stepping: Stepping, failure: np.ndarray) -> None:
    """Set when a unit emits in step n if nothing more arrives, or else its state at the end.

    If ``solve`` is false, the time may be a lower bound: the time when the tangent of V, which lies
    above its concave rise, reaches the threshold.  Most emissions are never needed more exactly.
    """
    slots, members, running = stepping.slots, stepping.members, stepping.running
    m = slots.member[k]
    unit = running.members[m]
    tau_mem, tau_syn = running.units[unit].tau_mem, running.units[unit].tau_syn
    threshold, latest = running.units[unit].threshold, running.states[unit].spike
    emitted = running.spikes[latest].time if latest >= 0 else -1.0
    now, voltage, current = slots.now[k], slots.voltage[k], slots.current[k]
    is_refractory = members.is_refractory[m]
    times, weights = slots.time[k], slots.weight[k]
    i, count = slots.next[k], slots.arrivals[k]
    slots.due[k], slots.is_exact[k] = inf, True
    while True:
        running.work[STEPS] += 1
        until = times[i] if i < count else end_of(n, stepping)
        if now < until and is_refractory:
            current, now = wait(m, unit, current, now, until, stepping)
            is_refractory = is_before_release(until, members.free_at[m])
        if now < until and not is_refractory:
            if current > threshold:
                bound = now + (threshold - voltage) * tau_mem / (current - voltage)
                if bound <= until and not solve:
                    slots.due[k], slots.is_exact[k] = bound, False
                    return
                if bound <= until:
                    elapsed = first_crossing(voltage, current, threshold, tau_mem, tau_syn, False)
                    if not elapsed >= 0.0:
                        fail(failure, Status.NO_CROSSING, now, unit)
                        return
                    due = now + elapsed
                    if due == now and due != emitted:
                        due = np.nextafter(now, inf)
                    if is_after_emission(until, due):
                        slots.due[k], slots.due_next[k] = due, i
                        # Uses the elapsed time, because due - now is rounded once more.
                        slots.due_current[k] = current * exp(-elapsed / tau_syn)
                        return
            voltage, current = flow(voltage, current, until - now, tau_mem, tau_syn)
        now = max(now, until)
        if i == count:
            break
        while i < count and times[i] <= now:
            current += weights[i]
            i += 1
    slots.end_voltage[k], slots.end_current[k] = voltage, current
    slots.end_is_refractory[k] = is_refractory


@compiled
def earliest(slots: Slots, opened: int) -> int:
    """The slot, among the ``opened`` first, whose unit emits first."""
    first = 0
    for k in range(1, opened):
        if slots.due[k] < slots.due[first]:
            first = k
    return first
