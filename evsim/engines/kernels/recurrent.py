"""Units that reach each other: one common order of events.

A spike in flight is one cursor in a queue, whatever the number of its synapses; the cursor
stands at the spike's next arrival.  A unit's due time is first a lower bound of its next
crossing, the tangent of its voltage, which lies above the concave rise; only a unit whose
bound comes first of all has its crossing solved for.  Most arrivals cost no exact crossing.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.dropout import is_dropped
from evsim.engines.kernels.queue import (
    push_cursor,
    remove_first_cursor,
    replace_first_cursor,
    restore_unit,
)
from evsim.engines.kernels.records import FULL, NO_CROSSING, OVERFLOW, RUNAWAY, TOO_FAST
from evsim.engines.kernels.recurrent_state import Components, Flight, reset_states
from evsim.lif import crossing_time, flow, reaches_threshold


@compiled
def advance(
    states: np.ndarray, spikes: np.ndarray, unit: int, time: float, tau_mem: float, tau_syn: float
) -> None:
    """Move a unit's V and I on to a time before which it does not emit."""
    now, free_at = states[unit].now, states[unit].free_at
    spike = states[unit].spike
    if now <= free_at and free_at > spikes[spike].time:
        until = min(time, free_at)
        states[unit].second *= exp(-(until - now) / tau_syn)
        now = until
        if free_at < time:
            spikes[spike].release_current = states[unit].second
    if now < time:
        states[unit].first, states[unit].second = flow(
            states[unit].first, states[unit].second, time - now, tau_mem, tau_syn
        )
    states[unit].now = time


@compiled
def bound_due_time(
    states: np.ndarray, units: np.ndarray, heap: np.ndarray, unit: int, members: int
) -> None:
    """Set a unit's due time to a lower bound of its next crossing."""
    now = max(states[unit].now, states[unit].free_at)
    voltage, current = states[unit].first, states[unit].second
    if states[unit].now < now < inf:
        current *= exp(-(now - states[unit].now) / units[unit].tau_syn)
    threshold = units[unit].threshold
    due = inf
    if current > threshold:
        slope = (current - voltage) / units[unit].tau_mem
        due = now + (threshold - voltage) / slope
    states[unit].is_exact = due == inf
    if due != states[unit].due:
        states[unit].due = due
        restore_unit(heap, states, members, unit)


@compiled
def solve_due_time(
    states: np.ndarray, units: np.ndarray, heap: np.ndarray, unit: int, members: int
) -> bool:
    """Set a unit's due time to its next crossing; false if the solution does not end."""
    now = max(states[unit].now, states[unit].free_at)
    voltage, current = states[unit].first, states[unit].second
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    threshold = units[unit].threshold
    if now > states[unit].now:
        current *= exp(-(now - states[unit].now) / tau_syn)
    due = inf
    if reaches_threshold(voltage, current, threshold, tau_mem, tau_syn):
        elapsed = crossing_time(voltage, current, threshold, tau_mem, tau_syn)
        if not elapsed >= 0.0:
            return False
        due = now + elapsed
        # From the time that passes, not from due - now, which has been rounded once more.
        states[unit].due_current = current * exp(-elapsed / tau_syn)
    states[unit].due = due
    states[unit].is_exact = True
    restore_unit(heap, states, members, unit)
    return True


@allocating
def external_spikes(
    outgoing: np.ndarray,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    unit_of: np.ndarray,
) -> np.ndarray:
    """Spikes that reach the component from other units, sorted by time."""
    total = 0
    for unit in range(count.size):
        if outgoing[unit + 1] > outgoing[unit]:
            total += count[unit]
    found, times = np.empty(total, np.int64), np.empty(total)
    n = 0
    for unit in range(count.size):
        if outgoing[unit + 1] > outgoing[unit]:
            for spike in range(start[unit], start[unit] + count[unit]):
                if spikes[spike].is_dropped:
                    continue
                found[n] = spike
                times[n] = spikes[spike].time
                unit_of[spike] = unit
                n += 1
    return found[np.argsort(times[:n], kind="mergesort")]


@compiled
def launch(
    spike: int,
    unit: int,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
    duration: float,
    cursors: np.ndarray,
    next_synapse: np.ndarray,
    in_flight: int,
) -> int:
    """Send a spike on its way to its first synapse; how many are in flight now."""
    place = outgoing[unit]
    if place == outgoing[unit + 1]:
        return in_flight
    time = spikes[spike].time + synapses[place].delay
    if time > duration:
        return in_flight
    next_synapse[spike] = place
    push_cursor(cursors, in_flight, time, spike)
    return in_flight + 1


@compiled
def emit(
    states: np.ndarray,
    units: np.ndarray,
    spikes: np.ndarray,
    unit: int,
    spike: int,
    key: np.uint64,
) -> None:
    """Emission: V is set to 0, I goes on."""
    time = states[unit].due
    advance(states, spikes, unit, time, units[unit].tau_mem, units[unit].tau_syn)
    current = states[unit].second = states[unit].due_current
    states[unit].first = 0.0
    states[unit].free_at = time + units[unit].refractory
    states[unit].spike = spike
    spikes[spike].time = time
    spikes[spike].drive = current - units[unit].threshold
    spikes[spike].release_current = 0.0 if states[unit].free_at > time else current
    spikes[spike].is_dropped = is_dropped(key, unit, states[unit].number, units[unit].drop_rate)
    states[unit].number += 1


@allocating
def simulate_component(
    component: int,
    units: np.ndarray,
    components: Components,
    duration: float,
    spikes: np.ndarray,
    used: int,
    most: int,
    start: np.ndarray,
    count: np.ndarray,
    states: np.ndarray,
    flight: Flight,
    key: np.uint64,
    failure: np.ndarray,
) -> int:
    """Run a recurrent component and write its emissions behind the ``used`` ones.

    ``most`` may be used; ``key`` decides which are dropped.  Returns how many are used now, FULL
    if the buffer is too small.  They are grouped by unit at the end; while the component runs
    they lie in the order of time.
    """
    members = components.units[components.first[component] : components.first[component + 1]]
    outgoing = components.outgoing[component]
    external = external_spikes(outgoing, spikes, start, count, flight.unit_of)
    now_used = emit_until_end(
        members, outgoing, components.synapses, external, units, duration, spikes, used, most,
        states, flight, key, failure,
    )  # fmt: skip
    if now_used != FULL and failure[0] == 0.0:
        group_by_unit(members, spikes, flight.unit_of, used, now_used, start, count)
    return now_used


@compiled
def emit_until_end(
    members: np.ndarray,
    outgoing: np.ndarray,
    synapses: np.ndarray,
    external: np.ndarray,
    units: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    used: int,
    most: int,
    states: np.ndarray,
    flight: Flight,
    key: np.uint64,
    failure: np.ndarray,
) -> int:
    """The events of a component in their order; how many spikes are used then, or FULL.

    ``external`` are the spikes that reach it from other units, sorted by time.
    """
    heap, touched, cursors = flight.heap, flight.touched, flight.cursors
    unit_of, next_synapse = flight.unit_of, flight.next_synapse
    reset_states(states, heap, members, 0.0)
    next_external, in_flight = 0, 0
    while True:
        while next_external < external.size:
            spike = external[next_external]
            if in_flight > 0 and spikes[spike].time > cursors[0].time:
                break
            next_external += 1
            in_flight = launch(
                spike, unit_of[spike], spikes, synapses, outgoing, duration, cursors,
                next_synapse, in_flight,
            )  # fmt: skip
        arrival = cursors[0].time if in_flight > 0 else inf
        unit = heap[0]
        due = states[unit].due
        if due <= arrival and due <= duration:
            if not states[unit].is_exact:
                if not solve_due_time(states, units, heap, unit, members.size):
                    failure[0], failure[1], failure[2] = NO_CROSSING, due, unit
                    return used
                continue
            if used == most:
                failure[0], failure[1], failure[2] = RUNAWAY, due, unit
                return used
            if used == spikes.size:
                return FULL
            if states[unit].spike >= 0 and due <= spikes[states[unit].spike].time:
                failure[0], failure[1], failure[2] = TOO_FAST, due, unit
                return used
            emit(states, units, spikes, unit, used, key)
            unit_of[used] = unit
            bound_due_time(states, units, heap, unit, members.size)
            if not spikes[used].is_dropped:
                in_flight = launch(
                    used, unit, spikes, synapses, outgoing, duration, cursors, next_synapse,
                    in_flight,
                )  # fmt: skip
            used += 1
        elif arrival <= duration:
            in_flight = arrive(
                arrival, units, synapses, outgoing, duration, spikes, states, heap, touched,
                cursors, unit_of, next_synapse, in_flight, members.size,
            )  # fmt: skip
        else:
            break
    for unit in members:
        advance(states, spikes, unit, duration, units[unit].tau_mem, units[unit].tau_syn)
        if not abs(states[unit].second) < inf:
            failure[0], failure[1], failure[2] = OVERFLOW, duration, unit
    return used


@compiled
def arrive(
    time: float,
    units: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    states: np.ndarray,
    heap: np.ndarray,
    touched: np.ndarray,
    cursors: np.ndarray,
    unit_of: np.ndarray,
    next_synapse: np.ndarray,
    in_flight: int,
    members: int,
) -> int:
    """All arrivals due at one instant: sum them, then bound the crossings; spikes in flight."""
    touched_count = 0
    while in_flight > 0 and cursors[0].time == time:
        spike = cursors[0].spike
        place = next_synapse[spike]
        unit = synapses[place].target
        if not states[unit].is_touched:
            advance(states, spikes, unit, time, units[unit].tau_mem, units[unit].tau_syn)
            states[unit].is_touched = True
            touched[touched_count] = unit
            touched_count += 1
        states[unit].second += synapses[place].weight
        place += 1
        next_time = inf
        if place < outgoing[unit_of[spike] + 1]:
            next_time = spikes[spike].time + synapses[place].delay
        if next_time <= duration:
            next_synapse[spike] = place
            replace_first_cursor(cursors, in_flight, next_time, spike)
        else:
            remove_first_cursor(cursors, in_flight)
            in_flight -= 1
    for i in range(touched_count):
        unit = touched[i]
        states[unit].is_touched = False
        bound_due_time(states, units, heap, unit, members)
    return in_flight


@allocating
def group_by_unit(
    members: np.ndarray,
    spikes: np.ndarray,
    unit_of: np.ndarray,
    first: int,
    last: int,
    start: np.ndarray,
    count: np.ndarray,
) -> None:
    """Reorder the emissions ``first`` to ``last - 1`` from the order of time to that of units."""
    for spike in range(first, last):
        count[unit_of[spike]] += 1
    place = first
    for unit in members:
        start[unit] = place
        place += count[unit]
        count[unit] = 0
    in_time = spikes[first:last].copy()
    for i in range(last - first):
        unit = unit_of[first + i]
        spikes[start[unit] + count[unit]] = in_time[i]
        count[unit] += 1
