"""How a unit of a recurrent component finds its next emission in a time slice.

It has two kinds of arrivals in the slice: those known when the slice began, and late ones that were
sent since.  From its state at a time before which nothing can change any more, the unit runs ahead
through all of them until it may emit, or to the end of the slice.  If another arrival comes in
between, it runs ahead again.

An emission is later than every arrival before it, by at least the last bit.  So the times alone
show which arrivals come before an emission, and which after it.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import compiled
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.forward.queue import restore_unit
from evsim.engines.exact.kernels.forward.recurrent_state import STEPS, Running
from evsim.engines.exact.kernels.forward.slice_arrivals import SliceArrivals
from evsim.engines.exact.kernels.forward.time_slices import TimeSlices, is_within
from evsim.equations.lif import first_crossing, flow, refractory_decay


@compiled
def is_released_within(free_at: float, until: float, time_slice: int, slices: TimeSlices) -> bool:
    """Whether a refractory period ends before a time in this slice, and before the trial does."""
    return free_at < min(until, slices.duration) and is_within(free_at, time_slice + 1, slices)


@compiled
def pass_quickly(
    voltage: float,
    current: float,
    now: float,
    i: int,
    last: int,
    until: float,
    threshold: float,
    tau_mem: float,
    arriving: SliceArrivals,
) -> tuple[float, float, float, int]:
    """Pass arrivals i to last - 1 up to the first before which V may reach the threshold.

    It may do so where its tangent does, apart from rounding.  Also stops where the decays are not
    those since ``now``.  Returns V, I, the time, and the next arrival.
    """
    time, elapsed, weight, decays = (
        arriving.time,
        arriving.elapsed,
        arriving.weight,
        arriving.decays,
    )
    margin = 1e-15 * until
    while i < last:
        rise = (current - voltage) * (elapsed[i] * (1.0 + 1e-9) + margin)
        # Operators instead of "and" avoid branches: the answer is nearly always no, but its parts
        # are not.
        may_reach = (current > threshold) & (rise >= (threshold - voltage) * tau_mem)
        if (time[i] - now != elapsed[i]) | may_reach | (threshold <= 0.0) | (time[i] >= until):
            break
        voltage = voltage * decays.mem[i] + current * decays.response[i]
        current = current * decays.syn[i] + weight[i]
        now = time[i]
        i += 1
    return voltage, current, now, i


@compiled
def run_ahead(
    unit: int,
    until: float,
    time_slice: int,
    slices: TimeSlices,
    running: Running,
    arriving: SliceArrivals,
    late: np.ndarray,
    solve: bool,
) -> bool:
    """Set a unit's due time: when it emits in this slice if nothing more arrives, or infinity.

    Only arrivals before ``until``, at most the end of the slice, are known.  If ``solve`` is false,
    the due time may be a lower bound: the time when the tangent of V, which lies above its concave
    rise, reaches the threshold.  Most emissions are never needed more exactly.  If the threshold is
    not above rest, the rise of V need not be concave: then the bound is the time from which the
    search continues.  Returns false if the search for a crossing does not end.
    """
    units, states, decays = running.units, running.states, arriving.decays
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    threshold = units[unit].threshold
    voltage, current, now = states[unit].voltage, states[unit].current, states[unit].now
    is_refractory, is_found = states[unit].is_refractory, True
    i, last, link = states[unit].next, states[unit].last, states[unit].late
    states[unit].due, states[unit].is_exact = inf, True
    steps = 0
    while True:
        late_time = late[link].time if link >= 0 else inf
        if not is_refractory:
            steps -= i
            voltage, current, now, i = pass_quickly(
                voltage, current, now, i, last, min(late_time, until), threshold, tau_mem, arriving
            )
            steps += i
        steps += 1
        time = arriving.time[i] if i < last else inf
        is_late = late_time < time
        time = min(late_time, time)
        end = min(time, until)
        if is_refractory:
            free_at = states[unit].free_at
            if time < until and is_before_release(time, free_at):
                current *= refractory_decay(time - now, tau_syn)
                now = time
            elif time < until or is_released_within(free_at, until, time_slice, slices):
                current *= refractory_decay(free_at - now, tau_syn)
                running.spikes[states[unit].spike].release_current = current
                now, is_refractory = free_at, False
            else:
                break
        if now < end and (current > threshold or threshold < 0.0):
            bound = now
            if threshold > 0.0:
                slope = (current - voltage) / tau_mem
                bound = now + (threshold - voltage) / slope
            if bound <= end and not is_refractory:
                if not solve:
                    states[unit].due, states[unit].is_exact = bound, False
                    break
                elapsed = first_crossing(voltage, current, threshold, tau_mem, tau_syn, False)
                if not elapsed >= 0.0:
                    states[unit].due, is_found = now, False
                    break
                due = now + elapsed
                if due == now and not is_emission(due, unit, running):
                    due = np.nextafter(now, inf)
                if is_after_emission(end, due) and is_within(due, time_slice + 1, slices):
                    states[unit].due = due
                    # Uses the elapsed time, because due - now is rounded once more.
                    states[unit].due_current = current * exp(-elapsed / tau_syn)
                    break
        if time >= until:
            break
        if now < time:
            elapsed = time - now
            if not is_late and elapsed == arriving.elapsed[i]:
                voltage = voltage * decays.mem[i] + current * decays.response[i]
                current = current * decays.syn[i]
            else:
                voltage, current = flow(voltage, current, elapsed, tau_mem, tau_syn)
            now = time
        if is_late:
            current += late[link].weight
            link = late[link].next
        else:
            current += arriving.weight[i]
            i += 1
    running.work[STEPS] += steps
    states[unit].ahead_voltage, states[unit].ahead_current = voltage, current
    states[unit].ahead_now, states[unit].ahead_next = now, i
    states[unit].ahead_is_refractory = is_refractory
    return is_found


@compiled
def is_emission(time: float, unit: int, running: Running) -> bool:
    """Whether a unit emitted its latest spike at exactly this time."""
    spike = running.states[unit].spike
    return spike >= 0 and running.spikes[spike].time == time


@compiled
def update_next_spike(
    unit: int,
    until: float,
    time_slice: int,
    slices: TimeSlices,
    running: Running,
    arriving: SliceArrivals,
    late: np.ndarray,
    solve: bool,
) -> bool:
    """Find a unit's next emission, and put the unit in its place in the heap."""
    states, heap = running.states, running.heap
    before = states[unit].due
    is_found = run_ahead(unit, until, time_slice, slices, running, arriving, late, solve)
    if states[unit].due != before:
        restore_unit(heap, states, heap.size, unit)
    return is_found
