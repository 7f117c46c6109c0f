"""Units that reach each other: one common order of events, forward and backward.

A spike in flight is one cursor in a queue, whatever the number of its synapses; the cursor
stands at the spike's next arrival.  A unit's due time is first a lower bound of its next
crossing, the tangent of its voltage, which lies above the concave rise; only a unit whose
bound comes first of all has its crossing solved for.  Most arrivals cost no exact crossing.
"""

from __future__ import annotations

from math import exp, inf
from typing import NamedTuple

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.dropout import is_dropped
from evsim.engines.kernels.entering import Entering
from evsim.engines.kernels.layered import adjoint_advance, emission_adjoint, pull_back_arrival
from evsim.engines.kernels.queue import (
    CURSOR,
    push_cursor,
    remove_first_cursor,
    replace_first_cursor,
    restore_unit,
)
from evsim.engines.kernels.records import FULL, GRAZING, NO_CROSSING, OVERFLOW, RUNAWAY, TOO_FAST
from evsim.lif import crossing_time, flow, reaches_threshold

STATE = np.dtype(
    [
        ("first", np.float64),  # V forward, lambda_V backward, at the time now
        ("second", np.float64),  # I forward, lambda_I backward
        ("now", np.float64),
        ("free_at", np.float64),  # the end of the refractory period
        ("h", np.float64),  # backward: kept at the end of a refractory period
        ("due", np.float64),  # when the unit emits, or a lower bound of it
        ("due_current", np.float64),  # I then, if due is exact
        ("spike", np.int64),  # the latest emission; -1 before the first
        ("number", np.int64),  # forward: how many emissions there were
        ("place", np.int64),  # in the heap of units
        ("is_exact", np.bool_),  # whether due is more than a bound
        ("is_touched", np.bool_),  # whether something arrived at this instant
    ]
)
"""The state of a unit while its component runs."""


class Components(NamedTuple):
    """Which units are run together, in the order of running.

    ``units[first[c]:first[c + 1]]`` are the units of component c.  For a recurrent component
    ``synapses[outgoing[c, u]:outgoing[c, u + 1]]`` are those from unit u into it, sorted by
    delay.
    """

    first: np.ndarray
    units: np.ndarray
    recurrent: np.ndarray
    outgoing: np.ndarray
    synapses: np.ndarray


class Flight(NamedTuple):
    """Scratch memory: both queues, and for each spike its unit and next synapse."""

    heap: np.ndarray
    touched: np.ndarray
    cursors: np.ndarray
    unit_of: np.ndarray
    next_synapse: np.ndarray


@allocating
def new_flight(units: int, spikes: int) -> Flight:
    """Scratch memory for that many units and spikes."""
    return Flight(
        np.empty(units, np.int64),
        np.empty(units, np.int64),
        np.empty(spikes, CURSOR),
        np.empty(spikes, np.int64),
        np.empty(spikes, np.int64),
    )


@compiled
def reset_states(states: np.ndarray, heap: np.ndarray, members: np.ndarray, now: float) -> None:
    """Rest: nothing has happened yet."""
    for i in range(members.size):
        unit = members[i]
        states[unit].first = states[unit].second = states[unit].h = 0.0
        states[unit].now = now
        states[unit].free_at = -1.0
        states[unit].due = inf
        states[unit].spike = -1
        states[unit].number = 0
        states[unit].place = i
        states[unit].is_exact = True
        states[unit].is_touched = False
        heap[i] = unit


# -- forward ------------------------------------------------------------------------------------


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


# -- backward -----------------------------------------------------------------------------------


@compiled
def adjoint_advance_unit(
    states: np.ndarray,
    spikes: np.ndarray,
    units: np.ndarray,
    unit: int,
    time: float,
    drive: float,
    rate: float,
    slope: float,
) -> None:
    """Move a unit's lambda_V and lambda_I back to a time not before its latest emission."""
    if states[unit].first == 0.0 and states[unit].second == 0.0 and drive == 0.0:
        states[unit].now = time
        return
    spike = states[unit].spike
    emission, free_at, release_current = 0.0, 0.0, 0.0
    if spike >= 0:
        emission = spikes[spike].time
        free_at = emission + units[unit].refractory
        release_current = spikes[spike].release_current
    states[unit].first, states[unit].second, states[unit].h = adjoint_advance(
        states[unit].first, states[unit].second, states[unit].h, states[unit].now, time,
        emission, free_at, release_current, drive, rate, slope, units[unit].tau_mem,
        units[unit].tau_syn,
    )  # fmt: skip
    states[unit].now = time


@compiled
def last_place_within(
    spike_time: float, begin: int, end: int, synapses: np.ndarray, duration: float
) -> int:
    """Of the places begin to end - 1, the last that arrives within the trial; else begin - 1."""
    low, high = begin, end
    while low < high:
        middle = (low + high) >> 1
        if spike_time + synapses[middle].delay <= duration:
            low = middle + 1
        else:
            high = middle
    return low - 1


@allocating
def own_spikes(
    members: np.ndarray, spikes: np.ndarray, start: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The component's emissions and their units, latest first."""
    total = 0
    for unit in members:
        total += count[unit]
    own, owner, minus_time = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total)
    n = 0
    for unit in members:
        for spike in range(start[unit], start[unit] + count[unit]):
            own[n], owner[n], minus_time[n] = spike, unit, -spikes[spike].time
            n += 1
    order = np.argsort(minus_time, kind="mergesort")
    return own[order], owner[order]


@allocating
def in_order_of_last_arrival(
    outgoing: np.ndarray,
    synapses: np.ndarray,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    duration: float,
    unit_of: np.ndarray,
    next_synapse: np.ndarray,
) -> np.ndarray:
    """Spikes with an arrival in the component within the trial, the latest arrival first.

    Sets each one's next synapse to that arrival's.
    """
    total = 0
    for unit in range(count.size):
        if outgoing[unit + 1] > outgoing[unit]:
            total += count[unit]
    found, minus_time = np.empty(total, np.int64), np.empty(total)
    n = 0
    for unit in range(count.size):
        begin, end = outgoing[unit], outgoing[unit + 1]
        if end == begin:
            continue
        for spike in range(start[unit], start[unit] + count[unit]):
            place = last_place_within(spikes[spike].time, begin, end, synapses, duration)
            if place >= begin and not spikes[spike].is_dropped:
                unit_of[spike] = unit
                next_synapse[spike] = place
                found[n] = spike
                minus_time[n] = -(spikes[spike].time + synapses[place].delay)
                n += 1
    return found[np.argsort(minus_time[:n], kind="mergesort")]


@allocating
def pull_back_component(
    component: int,
    sample: int,
    entering: Entering,
    units: np.ndarray,
    components: Components,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    states: np.ndarray,
    flight: Flight,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    threshold_gradient: np.ndarray,
    failure: np.ndarray,
) -> None:
    """Pull the adjoints of a component's emissions back to its arrivals, latest event first."""
    members = components.units[components.first[component] : components.first[component + 1]]
    outgoing, synapses = components.outgoing[component], components.synapses
    own, own_unit = own_spikes(members, spikes, start, count)
    waiting = in_order_of_last_arrival(
        outgoing, synapses, spikes, start, count, duration, flight.unit_of, flight.next_synapse
    )
    pull_back_until_start(
        sample, entering, members, outgoing, synapses, own, own_unit, waiting, units, duration,
        spikes, start, count, states, flight, adjoint, weight_gradient, delay_gradient,
        threshold_gradient, failure,
    )  # fmt: skip


@compiled
def pull_back_until_start(
    sample: int,
    entering: Entering,
    members: np.ndarray,
    outgoing: np.ndarray,
    synapses: np.ndarray,
    own: np.ndarray,
    own_unit: np.ndarray,
    waiting: np.ndarray,
    units: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    states: np.ndarray,
    flight: Flight,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    threshold_gradient: np.ndarray,
    failure: np.ndarray,
) -> None:
    """The events of a component in reverse.

    ``own`` are its emissions and ``own_unit`` their units, latest first; ``waiting`` the spikes
    that arrive in it, in the order of their last arrival.
    """
    cursors, unit_of, next_synapse = flight.cursors, flight.unit_of, flight.next_synapse
    drive, phantom = entering.drive[sample], entering.phantom[sample]
    rate, slope, limit = entering.rate, entering.slope, entering.limit
    moments, moment_cotangent = entering.moments, entering.moment_cotangent
    earliest = entering.moment_start[sample]
    moment = earliest - 1
    reset_states(states, flight.heap, members, duration)
    for unit in members:
        if unit == entering.first_read:
            moment = entering.moment_start[sample + 1] - 1
        states[unit].first = phantom[unit]
        threshold_gradient[unit] += units[unit].tau_mem * phantom[unit]
        if count[unit] > 0:
            states[unit].spike = start[unit] + count[unit] - 1
    next_waiting, in_flight, emission = 0, 0, 0
    while True:
        # Times are negated in this queue: its first is the latest.
        while next_waiting < waiting.size:
            spike = waiting[next_waiting]
            time = spikes[spike].time + synapses[next_synapse[spike]].delay
            if in_flight > 0 and -time > cursors[0].time:
                break
            push_cursor(cursors, in_flight, -time, spike)
            in_flight += 1
            next_waiting += 1
        arrival = -cursors[0].time if in_flight > 0 else -1.0
        emission_time = spikes[own[emission]].time if emission < own.size else -1.0
        if moment >= earliest and arrival < moments[moment] >= emission_time:
            pull_back_moment(
                moments[moment], entering.first_read, moment_cotangent[moment], drive, rate, slope,
                units, spikes, states,
            )  # fmt: skip
            moment -= 1
        elif emission_time > arrival:
            spike, unit = own[emission], own_unit[emission]
            emission += 1
            adjoint_advance_unit(
                states, spikes, units, unit, emission_time, drive[unit], rate, slope
            )
            if not spikes[spike].drive > 0.0 and limit == inf:
                failure[0], failure[1], failure[2] = GRAZING, emission_time, unit
                return
            states[unit].first, is_limited = emission_adjoint(
                adjoint[spike] + states[unit].h, spikes[spike].drive, limit, units[unit].rate_jump
            )
            failure[4] += is_limited
            threshold_gradient[unit] += units[unit].tau_mem * states[unit].first
            states[unit].h = 0.0
            states[unit].spike = spike - 1 if spike > start[unit] else -1
        elif in_flight > 0:
            in_flight = pull_back_first_cursor(
                arrival, duration, units, synapses, outgoing, spikes, states, cursors, unit_of,
                next_synapse, in_flight, drive, rate, slope, adjoint, weight_gradient,
                delay_gradient,
            )  # fmt: skip
        else:
            return


@compiled
def pull_back_moment(
    time: float,
    first: int,
    cotangent: np.ndarray,
    drive: np.ndarray,
    rate: float,
    slope: float,
    units: np.ndarray,
    spikes: np.ndarray,
    states: np.ndarray,
) -> None:
    """The voltages of units from ``first`` on are read: their lambda_V jump."""
    for column in range(cotangent.size):
        unit = first + column
        adjoint_advance_unit(states, spikes, units, unit, time, drive[unit], rate, slope)
        spike = states[unit].spike
        if spike < 0 or time > spikes[spike].time + units[unit].refractory:
            states[unit].first -= cotangent[column] / units[unit].tau_mem


@compiled
def pull_back_first_cursor(
    time: float,
    duration: float,
    units: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
    spikes: np.ndarray,
    states: np.ndarray,
    cursors: np.ndarray,
    unit_of: np.ndarray,
    next_synapse: np.ndarray,
    in_flight: int,
    drive: np.ndarray,
    rate: float,
    slope: float,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
) -> int:
    """Pull the latest arrival back and move its cursor to the arrival before; spikes in flight."""
    spike = cursors[0].spike
    place = next_synapse[spike]
    unit = synapses[place].target
    if time < duration:
        adjoint_advance_unit(states, spikes, units, unit, time, drive[unit], rate, slope)
        pull_back_arrival(
            synapses[place].index, spike, synapses[place].weight, states[unit].first,
            states[unit].second, units[unit].tau_syn, adjoint, weight_gradient, delay_gradient,
        )  # fmt: skip
    if place > outgoing[unit_of[spike]]:
        next_synapse[spike] = place - 1
        earlier = spikes[spike].time + synapses[place - 1].delay
        replace_first_cursor(cursors, in_flight, -earlier, spike)
        return in_flight
    remove_first_cursor(cursors, in_flight)
    return in_flight - 1
