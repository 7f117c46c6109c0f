"""Units that reach each other: the events of ``recurrent`` in reverse.

The derivative by an emission's time needs the adjoints of its targets where it arrives, which is
later.  So emissions come in the reverse order of time, and before one is pulled back each of its
targets is swept back to its time: through the arrivals there, all of which are known now.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.entering import Entering
from evsim.engines.kernels.layered import adjoint_advance, emission_adjoint, pull_back_arrival
from evsim.engines.kernels.records import GRAZING
from evsim.engines.kernels.recurrent_state import Components, reset_states
from evsim.engines.kernels.stretches import (
    Chunk,
    Flight,
    Stretches,
    cut,
    fill_backward,
    length_for,
    new_chunk,
    stretch_at,
)


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
    own_spike, own_unit = own_spikes(members, spikes, start, count)
    waiting = in_order_of_last_arrival(
        outgoing, synapses, spikes, start, count, duration, flight.unit_of, flight.next_synapse
    )
    reset_adjoints(
        sample, entering, members, units, start, count, duration, states, threshold_gradient
    )
    moment = entering.moment_start[sample] - 1
    if np.any(members == entering.first_read):
        moment = entering.moment_start[sample + 1] - 1
    length = length_for(outgoing, count, members, duration)
    stretches = cut(0.0, duration, length, members.size)
    chunk = new_chunk(members, start.size)
    next_waiting, in_flight, emission = 0, 0, 0
    for chunk_number in range((stretches.number - 1) // stretches.in_chunk, -1, -1):
        first = chunk_number * stretches.in_chunk
        last = min(first + stretches.in_chunk, stretches.number)
        while next_waiting < waiting.size:
            spike = waiting[next_waiting]
            latest = spikes[spike].time + synapses[flight.next_synapse[spike]].delay
            if stretch_at(latest, stretches) < first:
                break
            flight.spikes[in_flight] = spike
            in_flight += 1
            next_waiting += 1
        chunk, in_flight = fill_backward(
            chunk, flight, in_flight, stretches, first, last, members.size, spikes, synapses,
            outgoing,
        )  # fmt: skip
        for stretch in range(last - 1, first - 1, -1):
            for m in range(members.size):
                own = (stretch - first) * members.size + m
                states[members[m]].last = chunk.first[own]
                states[members[m]].next = chunk.first[own + 1] - 1
            emission, moment = pull_back_stretch(
                stretch, stretches, sample, entering, chunk, moment, emission, own_spike, own_unit,
                members, outgoing, synapses, units, duration, spikes, start, states, adjoint,
                weight_gradient, delay_gradient, threshold_gradient, failure,
            )  # fmt: skip
            if failure[0] != 0.0:
                return


@compiled
def reset_adjoints(
    sample: int,
    entering: Entering,
    members: np.ndarray,
    units: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    duration: float,
    states: np.ndarray,
    threshold_gradient: np.ndarray,
) -> None:
    """The end of the trial: nothing but phantom spikes."""
    phantom = entering.phantom[sample]
    reset_states(states, members, duration)
    for unit in members:
        states[unit].first = phantom[unit]
        threshold_gradient[unit] += units[unit].tau_mem * phantom[unit]
        if count[unit] > 0:
            states[unit].spike = start[unit] + count[unit] - 1


@compiled
def pull_back_stretch(
    stretch: int,
    stretches: Stretches,
    sample: int,
    entering: Entering,
    chunk: Chunk,
    moment: int,
    emission: int,
    own: np.ndarray,
    own_unit: np.ndarray,
    members: np.ndarray,
    outgoing: np.ndarray,
    synapses: np.ndarray,
    units: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    states: np.ndarray,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    threshold_gradient: np.ndarray,
    failure: np.ndarray,
) -> tuple[int, int]:
    """The events of a stretch in reverse; the emission and moment to come next.

    ``own`` are the component's emissions and ``own_unit`` their units, latest first.  A moment
    comes after emissions and before arrivals of its time.
    """
    drive, rate, slope = entering.drive[sample], entering.rate, entering.slope
    earliest = entering.moment_start[sample]
    while True:
        emission_time = spikes[own[emission]].time if emission < own.size else -1.0
        moment_time = entering.moments[moment] if moment >= earliest else -1.0
        latest = max(emission_time, moment_time)
        if latest < 0.0 or stretch_at(latest, stretches) < stretch:
            break
        if moment_time >= emission_time:
            for column in range(entering.moment_cotangent.shape[1]):
                unit = entering.first_read + column
                sweep(
                    unit, moment_time, drive[unit], rate, slope, chunk, units, duration, spikes,
                    states, adjoint, weight_gradient, delay_gradient,
                )  # fmt: skip
            pull_back_moment(
                moment_time, entering.first_read, entering.moment_cotangent[moment], drive, rate,
                slope, units, spikes, states,
            )  # fmt: skip
            moment -= 1
            continue
        spike, unit = own[emission], own_unit[emission]
        emission += 1
        for place in range(outgoing[unit], outgoing[unit + 1]):
            target = synapses[place].target
            sweep(
                target, emission_time, drive[target], rate, slope, chunk, units, duration,
                spikes, states, adjoint, weight_gradient, delay_gradient,
            )  # fmt: skip
        sweep(
            unit, emission_time, drive[unit], rate, slope, chunk, units, duration, spikes,
            states, adjoint, weight_gradient, delay_gradient,
        )  # fmt: skip
        pull_back_emission(
            unit, spike, drive[unit], rate, slope, entering.limit, units, spikes, start, states,
            adjoint, threshold_gradient, failure,
        )  # fmt: skip
        if failure[0] != 0.0:
            return emission, moment
    for unit in members:
        sweep(
            unit, -inf, drive[unit], rate, slope, chunk, units, duration, spikes, states,
            adjoint, weight_gradient, delay_gradient,
        )  # fmt: skip
    return emission, moment


@compiled
def sweep(
    unit: int,
    until: float,
    drive: float,
    rate: float,
    slope: float,
    chunk: Chunk,
    units: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    states: np.ndarray,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
) -> None:
    """Pull a unit's arrivals back that are not before a time, the latest first.

    Arrivals at the end of the trial have no effect.
    """
    first, i = states[unit].last, states[unit].next
    tau_syn = units[unit].tau_syn
    while i >= first and chunk.events[i].time >= until:
        time = chunk.events[i].time
        if time < duration:
            adjoint_advance_unit(states, spikes, units, unit, time, drive, rate, slope)
            pull_back_arrival(
                chunk.events[i].synapse, chunk.events[i].spike, chunk.events[i].weight,
                states[unit].first, states[unit].second, tau_syn, adjoint, weight_gradient,
                delay_gradient,
            )  # fmt: skip
        i -= 1
    states[unit].next = i


@compiled
def pull_back_emission(
    unit: int,
    spike: int,
    drive: float,
    rate: float,
    slope: float,
    limit: float,
    units: np.ndarray,
    spikes: np.ndarray,
    start: np.ndarray,
    states: np.ndarray,
    adjoint: np.ndarray,
    threshold_gradient: np.ndarray,
    failure: np.ndarray,
) -> None:
    """The jump of lambda_V at an emission whose derivative by time is known."""
    time = spikes[spike].time
    adjoint_advance_unit(states, spikes, units, unit, time, drive, rate, slope)
    if not spikes[spike].drive > 0.0 and limit == inf:
        failure[0], failure[1], failure[2] = GRAZING, time, unit
        return
    states[unit].first, is_limited = emission_adjoint(
        adjoint[spike] + states[unit].h, spikes[spike].drive, limit, units[unit].rate_jump
    )
    failure[4] += is_limited
    threshold_gradient[unit] += units[unit].tau_mem * states[unit].first
    states[unit].h = 0.0
    states[unit].spike = spike - 1 if spike > start[unit] else -1


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
