"""How a unit that others reach looks ahead in a stretch of the trial for its next emission.

What reaches it are the events of the stretch, known when it begins, and links: arrivals that
were sent since, in a list of each unit's by time.  A unit is taken through them up to a time
that is certain, and looks ahead from there.

An emission is later than every arrival that its unit has taken up, if only by the last bit.  So
the times alone tell on which side of an emission an arrival is.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim.engines.exact.kernels.forward.queue import restore_unit
from evsim.engines.exact.kernels.forward.recurrent_state import STEPS, Running
from evsim.engines.exact.kernels.forward.time_slices import Chunk, Stretches, is_within
from evsim.equations.lif import crossing_time, flow, reaches_threshold

INNER = record([("time", np.float64), ("weight", np.float64), ("next", np.int64)])
"""An arrival that was sent in the chunk it falls into: a link in a list of its target.

The list of the stretch that runs is in the order of time; those of later ones are not yet.
"""


@compiled
def advance(running: Running, unit: int, time: float, tau_mem: float, tau_syn: float) -> None:
    """Move a unit's V and I on to a time before which it does not emit."""
    states, spikes = running.states, running.spikes
    now, free_at = states[unit].now, states[unit].free_at
    spike = states[unit].spike
    if now <= free_at and free_at > spikes[spike].time:
        until = min(time, free_at)
        states[unit].current *= exp(-(until - now) / tau_syn)
        now = until
        if free_at < time:
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
    chunk: Chunk,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float]:
    """V and I at event i of the chunk, which is later, without events in between."""
    if now == chunk.since[i]:
        decays = chunk.decays
        return voltage * decays.mem[i] + current * decays.response[i], current * decays.syn[i]
    return flow(voltage, current, chunk.events[i].time - now, tau_mem, tau_syn)


# -- the arrivals of a unit that are still to come ------------------------------------------


@compiled
def next_arrival(
    chunk: Chunk, inner: np.ndarray, i: int, last: int, link: int
) -> tuple[float, float, int, int]:
    """Time and weight of the earlier of an event and a link, and what comes after it.

    Infinity if there is neither.
    """
    if i < last and (link < 0 or chunk.events[i].time <= inner[link].time):
        return chunk.events[i].time, chunk.events[i].weight, i + 1, link
    if link >= 0:
        return inner[link].time, inner[link].weight, i, inner[link].next
    return inf, 0.0, i, link


@compiled
def insert_link(
    running: Running, inner: np.ndarray, head: int, used: int, time: float, weight: float
) -> tuple[int, int]:
    """Put an arrival into a list by time, or add it to the one at its time.

    Returns the head of the list, and how many links are used then.
    """
    before, link = -1, head
    while link >= 0 and inner[link].time < time:
        before, link = link, inner[link].next
        running.work[STEPS] += 1
    if link >= 0 and inner[link].time == time:
        inner[link].weight += weight
        return head, used
    inner[used].time, inner[used].weight, inner[used].next = time, weight, link
    if before < 0:
        return used, used + 1
    inner[before].next = used
    return head, used + 1


@compiled
def sort_links(inner: np.ndarray, head: int) -> int:
    """Sort a list by time, by merging sorted parts that get twice as long; its new head."""
    if head < 0 or inner[head].next < 0:
        return head
    size = 1
    while True:
        left, head, tail, parts = head, -1, -1, 0
        while left >= 0:
            parts += 1
            right, left_size = left, 0
            while left_size < size and right >= 0:
                left_size += 1
                right = inner[right].next
            right_size = size
            while left_size > 0 or (right_size > 0 and right >= 0):
                take_right = left_size == 0 or (
                    right_size > 0 and right >= 0 and inner[right].time < inner[left].time
                )
                if take_right:
                    link, right = right, inner[right].next
                    right_size -= 1
                else:
                    link, left = left, inner[left].next
                    left_size -= 1
                if tail < 0:
                    head = link
                else:
                    inner[tail].next = link
                tail = link
            left = right
        inner[tail].next = -1
        if parts == 1:
            return head
        size *= 2


@compiled
def pass_arrivals(
    unit: int, until: float, running: Running, chunk: Chunk, inner: np.ndarray
) -> None:
    """Take a unit through its arrivals of the stretch before a time, up to which it emits not."""
    units, states = running.units, running.states
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    free_at = states[unit].free_at
    i, last, link = states[unit].next, states[unit].last, states[unit].inner
    time, weight, next_i, next_link = next_arrival(chunk, inner, i, last, link)
    while time < until:
        if next_i > i and states[unit].now == chunk.since[i] and states[unit].now > free_at:
            states[unit].voltage, states[unit].current = flow_to_event(
                states[unit].voltage, states[unit].current, states[unit].now, i, chunk, tau_mem,
                tau_syn,
            )  # fmt: skip
            states[unit].now = time
        elif time > states[unit].now:
            advance(running, unit, time, tau_mem, tau_syn)
        states[unit].current += weight
        i, link = next_i, next_link
        time, weight, next_i, next_link = next_arrival(chunk, inner, i, last, link)
    states[unit].next, states[unit].inner = i, link


# -- looking ahead ----------------------------------------------------------------------------


@compiled
def stays_below(unit: int, until: float, running: Running) -> bool:
    """Whether a bound says that V does not reach the threshold before a time in this stretch.

    From tau_mem dV/dt = I - V follows V(t) <= max(V, 0) + the integral of max(I, 0)/tau_mem, and I
    is at most what it is plus the positive weights of the stretch.
    """
    units, states = running.units, running.states
    current = max(states[unit].current, 0.0) + states[unit].excitation
    rise = current * (until - states[unit].now) / units[unit].tau_mem
    # The sum of weights is rounded; what it may lack is far below this margin.
    return max(states[unit].voltage, 0.0) + rise < units[unit].threshold * (1.0 - 1e-6)


@compiled
def look_ahead(
    unit: int,
    stretch: int,
    stretches: Stretches,
    running: Running,
    chunk: Chunk,
    inner: np.ndarray,
    solve: bool,
) -> bool:
    """Set a unit's due time: its emission in this stretch if nothing more arrives, or infinity.

    Unless crossings are to be solved for, it is a lower bound: where the tangent of V, which lies
    above its concave rise, reaches the threshold.  Most are never needed any better.
    False if the search for a crossing does not end.  An emission at the time of an arrival comes
    first, and arrivals of one instant are summed before the next crossing is sought.
    """
    units, states = running.units, running.states
    states[unit].due, states[unit].is_exact = inf, True
    end_of_stretch = stretches.origin + (stretch + 1) / stretches.scale
    until = end_of_stretch * (1.0 + 1e-12)  # not before it, however it is rounded
    if stays_below(unit, until, running):
        return True
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    threshold = units[unit].threshold
    voltage, current, now = states[unit].voltage, states[unit].current, states[unit].now
    free_at = states[unit].free_at
    emitted = running.spikes[states[unit].spike].time if states[unit].spike >= 0 else -1.0
    i, last, link = states[unit].next, states[unit].last, states[unit].inner
    while True:
        running.work[STEPS] += 1
        time, weight, next_i, next_link = next_arrival(chunk, inner, i, last, link)
        end = min(time, until)
        if now < free_at:
            moving = min(end, free_at)
            current *= exp(-(moving - now) / tau_syn)
            now = moving
        if now >= free_at and current > threshold:
            slope = (current - voltage) / tau_mem
            bound = now + (threshold - voltage) / slope
            if bound <= end and not solve:
                states[unit].due, states[unit].is_exact = bound, False
                return True
            if bound <= end and reaches_threshold(voltage, current, threshold, tau_mem, tau_syn):
                elapsed = crossing_time(voltage, current, threshold, tau_mem, tau_syn)
                if not elapsed >= 0.0:
                    states[unit].due = now
                    return False
                due = now + elapsed
                if due == now and due != emitted:
                    due = np.nextafter(now, inf)
                if due <= end and is_within(due, stretch + 1, stretches):
                    states[unit].due = due
                    # From the time that passes, not from due - now, which is rounded once more.
                    states[unit].due_current = current * exp(-elapsed / tau_syn)
                    return True
        if time == inf:
            return True
        if now < time:
            if now >= free_at and next_i > i:
                voltage, current = flow_to_event(voltage, current, now, i, chunk, tau_mem, tau_syn)
            elif now >= free_at:
                voltage, current = flow(voltage, current, time - now, tau_mem, tau_syn)
            now = time
        current += weight
        i, link = next_i, next_link
        while True:
            time, weight, next_i, next_link = next_arrival(chunk, inner, i, last, link)
            if time > now:
                break
            current += weight
            i, link = next_i, next_link


@compiled
def look_ahead_again(
    unit: int,
    stretch: int,
    stretches: Stretches,
    running: Running,
    chunk: Chunk,
    inner: np.ndarray,
    solve: bool,
) -> bool:
    """Look ahead, and put the unit in its place among the others."""
    states, heap = running.states, running.heap
    before = states[unit].due
    is_found = look_ahead(unit, stretch, stretches, running, chunk, inner, solve)
    if states[unit].due != before:
        restore_unit(heap, states, heap.size, unit)
    return is_found


@allocating
def with_links(inner: np.ndarray, used: int, more: int) -> np.ndarray:
    """The links, with room for more."""
    if used + more <= inner.size:
        return inner
    larger = np.empty(2 * (used + more), INNER)
    for i in range(used):  # a slice of records takes seconds to compile
        larger[i] = inner[i]
    return larger
