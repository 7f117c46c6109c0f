"""How a unit of a recurrent component finds its next emission in a time slice.

It has two kinds of arrivals in the slice: those known when the slice began, in the slice's block,
and late ones that have been sent since.  A unit is taken through its arrivals up to a time before
which no other spike can still arrive.  From there it searches on for its next emission.

An emission is later than every arrival that its unit has passed, if only by the last bit.  So the
times alone tell which arrivals come before an emission, and which after it.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import compiled
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.forward.queue import restore_unit
from evsim.engines.exact.kernels.forward.recurrent_state import STEPS, Running
from evsim.engines.exact.kernels.forward.time_slices import SliceArrivals, SliceBlock, is_within
from evsim.equations.lif import first_crossing, flow, refractory_decay


@compiled
def advance(running: Running, unit: int, time: float, tau_mem: float, tau_syn: float) -> None:
    """Move a unit's V and I on to a time before which it does not emit."""
    states, spikes = running.states, running.spikes
    now, free_at = states[unit].now, states[unit].free_at
    spike = states[unit].spike
    if now <= free_at and free_at > spikes[spike].time:
        until = min(time, free_at)
        states[unit].current *= refractory_decay(until - now, tau_syn)
        now = until
        if not is_before_release(time, free_at):
            spikes[spike].release_current = states[unit].current
    if now < time:
        states[unit].voltage, states[unit].current = flow(
            states[unit].voltage, states[unit].current, time - now, tau_mem, tau_syn
        )
    states[unit].now = time


@compiled
def flow_to_event(
    voltage: float,
    current: float,
    now: float,
    i: int,
    block: SliceBlock,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float]:
    """V and I at event i of the block, which is later, without events in between."""
    if now == block.since[i]:
        decays = block.decays
        return voltage * decays.mem[i] + current * decays.response[i], current * decays.syn[i]
    return flow(voltage, current, block.events[i].time - now, tau_mem, tau_syn)


@compiled
def next_arrival(
    arriving: SliceArrivals, i: int, last: int, link: int
) -> tuple[float, float, int, int]:
    """Time and weight of the earlier of event i and late arrival ``link``, and what follows them.

    Infinity if there is neither.
    """
    block, late = arriving.block, arriving.late
    if i < last and (link < 0 or block.events[i].time <= late[link].time):
        return block.events[i].time, block.events[i].weight, i + 1, link
    if link >= 0:
        return late[link].time, late[link].weight, i, late[link].next
    return inf, 0.0, i, link


@compiled
def pass_arrivals(unit: int, until: float, running: Running, arriving: SliceArrivals) -> None:
    """Take a unit through its arrivals in the time slice before a time; it does not emit before."""
    units, states, block = running.units, running.states, arriving.block
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    free_at = states[unit].free_at
    i, last, link = states[unit].next, states[unit].last, states[unit].late
    time, weight, next_i, next_link = next_arrival(arriving, i, last, link)
    while time < until:
        if next_i > i and states[unit].now == block.since[i] and states[unit].now > free_at:
            states[unit].voltage, states[unit].current = flow_to_event(
                states[unit].voltage, states[unit].current, states[unit].now, i, block, tau_mem,
                tau_syn,
            )  # fmt: skip
            states[unit].now = time
        elif time > states[unit].now:
            advance(running, unit, time, tau_mem, tau_syn)
        states[unit].current += weight
        i, link = next_i, next_link
        time, weight, next_i, next_link = next_arrival(arriving, i, last, link)
    states[unit].next, states[unit].late = i, link


# -- the next emission --------------------------------------------------------------------------


@compiled
def stays_below(unit: int, until: float, running: Running) -> bool:
    """Whether a bound says that V does not reach the threshold before a time in this time slice.

    From tau_mem dV/dt = I - V follows V(t) <= max(V, 0) + the integral of max(I, 0)/tau_mem, and I
    is at most its value now plus the positive weights of the slice.
    """
    units, states = running.units, running.states
    current = max(states[unit].current, 0.0) + states[unit].excitation
    rise = current * (until - states[unit].now) / units[unit].tau_mem
    # The sum of weights is rounded; the error is far below this margin.
    return max(states[unit].voltage, 0.0) + rise < units[unit].threshold * (1.0 - 1e-6)


@compiled
def find_next_spike(
    unit: int, time_slice: int, running: Running, arriving: SliceArrivals, solve: bool
) -> bool:
    """Set a unit's due time: its emission in this slice if nothing more arrives, or infinity.

    If ``solve`` is false, the due time may be a lower bound: where the tangent of V, which lies
    above its concave rise, reaches the threshold.  Most emissions are never needed more exactly.
    To a threshold that is not above rest, V may rise in another way: then the bound is the time
    from which the search goes on.
    Returns false if the search for a crossing does not end.
    """
    units, states, block = running.units, running.states, arriving.block
    slices = arriving.slices
    states[unit].due, states[unit].is_exact = inf, True
    end_of_slice = slices.origin + (time_slice + 1) / slices.scale
    until = end_of_slice * (1.0 + 1e-12)  # not before it, however it is rounded
    if stays_below(unit, until, running):
        return True
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    threshold = units[unit].threshold
    voltage, current, now = states[unit].voltage, states[unit].current, states[unit].now
    free_at = states[unit].free_at
    emitted = running.spikes[states[unit].spike].time if states[unit].spike >= 0 else -1.0
    i, last, link = states[unit].next, states[unit].last, states[unit].late
    while True:
        running.work[STEPS] += 1
        time, weight, next_i, next_link = next_arrival(arriving, i, last, link)
        end = min(time, until)
        if now < free_at:
            moving = min(end, free_at)
            current *= refractory_decay(moving - now, tau_syn)
            now = moving
        if now >= free_at and (current > threshold or threshold < 0.0):
            bound = now
            if threshold > 0.0:
                slope = (current - voltage) / tau_mem
                bound = now + (threshold - voltage) / slope
            if bound <= end and not solve:
                states[unit].due, states[unit].is_exact = bound, False
                return True
            if bound <= end:
                elapsed = first_crossing(voltage, current, threshold, tau_mem, tau_syn, False)
                if not elapsed >= 0.0:
                    states[unit].due = now
                    return False
                due = now + elapsed
                if due == now and due != emitted:
                    due = np.nextafter(now, inf)
                if is_after_emission(end, due) and is_within(due, time_slice + 1, slices):
                    states[unit].due = due
                    # From the elapsed time, not from due - now, which is rounded once more.
                    states[unit].due_current = current * exp(-elapsed / tau_syn)
                    return True
        if time == inf:
            return True
        if now < time:
            if now >= free_at and next_i > i:
                voltage, current = flow_to_event(voltage, current, now, i, block, tau_mem, tau_syn)
            elif now >= free_at:
                voltage, current = flow(voltage, current, time - now, tau_mem, tau_syn)
            now = time
        current += weight
        i, link = next_i, next_link
        while True:
            time, weight, next_i, next_link = next_arrival(arriving, i, last, link)
            if time > now:
                break
            current += weight
            i, link = next_i, next_link


@compiled
def update_next_spike(
    unit: int, time_slice: int, running: Running, arriving: SliceArrivals, solve: bool
) -> bool:
    """Find a unit's next emission, and put the unit in its place in the heap."""
    states, heap = running.states, running.heap
    before = states[unit].due
    is_found = find_next_spike(unit, time_slice, running, arriving, solve)
    if states[unit].due != before:
        restore_unit(heap, states, heap.size, unit)
    return is_found
