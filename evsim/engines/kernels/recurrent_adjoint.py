"""Units that reach each other: the events of ``recurrent`` in reverse.

Each spike is again one cursor in a queue; it stands at the latest of its arrivals that have
not been gone through, and times are negated.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.entering import Entering
from evsim.engines.kernels.layered import adjoint_advance, emission_adjoint, pull_back_arrival
from evsim.engines.kernels.queue import push_cursor, remove_first_cursor, replace_first_cursor
from evsim.engines.kernels.records import GRAZING
from evsim.engines.kernels.recurrent_state import Components, Flight, reset_states


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
