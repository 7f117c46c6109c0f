"""Units that reach each other: one common order of emissions.

The trial is cut into stretches.  In each, every unit looks ahead through the arrivals it knows of
for its next emission.  The earliest of all is certain: whatever the others will send comes no
earlier.  It is carried out, and what it sends within the stretch is put among its targets'
arrivals; those, and the unit itself, look ahead again, from the last of their events before it.
A unit that cannot reach the threshold in a stretch, by a bound on its voltage, need not look.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.dropout import is_dropped
from evsim.engines.kernels.looking_ahead import (
    INNER,
    advance,
    look_ahead_again,
    pass_arrivals,
    with_link,
    with_links,
)
from evsim.engines.kernels.records import (
    FULL,
    NO_CROSSING,
    OVERFLOW,
    RUNAWAY,
    STOPPED,
    TOO_FAST,
)
from evsim.engines.kernels.recurrent_state import Components, Running, reset_states
from evsim.engines.kernels.sorting import stable_order
from evsim.engines.kernels.stopped import is_stopped, is_stopped_at
from evsim.engines.kernels.stretches import (
    Chunk,
    Flight,
    Stretches,
    cut,
    cut_again,
    fill,
    is_within,
    length_for,
    most_lists,
    new_chunk,
    stretch_at,
)
from evsim.engines.kernels.trial import Trial


@allocating
def external_spikes(outgoing: np.ndarray, trial: Trial, unit_of: np.ndarray) -> np.ndarray:
    """Spikes that reach the component from other units, sorted by time."""
    spikes, start, count = trial.spikes, trial.starts, trial.counts
    total = 0
    for unit in range(count.size):
        if outgoing[unit + 1] > outgoing[unit]:
            total += count[unit]
    found, times = np.empty(total, np.int64), np.empty(total)
    n = 0
    for unit in range(count.size):
        if outgoing[unit + 1] > outgoing[unit]:
            for spike in range(start[unit], start[unit] + count[unit]):
                if is_stopped_at(spike):
                    return found[:0]
                if spikes[spike].is_dropped:
                    continue
                found[n] = spike
                times[n] = spikes[spike].time
                unit_of[spike] = unit
                n += 1
    return found[stable_order(times[:n])]


# -- emissions ----------------------------------------------------------------------------------


@compiled
def emit(running: Running, unit: int, spike: int, key: np.uint64) -> None:
    """Emission: V is set to 0, I goes on."""
    states, units, spikes = running.states, running.units, running.spikes
    time = states[unit].due
    advance(running, unit, time, units[unit].tau_mem, units[unit].tau_syn)
    current = states[unit].current = states[unit].due_current
    states[unit].voltage = 0.0
    states[unit].free_at = time + units[unit].refractory
    states[unit].spike = spike
    spikes[spike].time = time
    spikes[spike].drive = current - units[unit].threshold
    spikes[spike].release_current = 0.0 if states[unit].free_at > time else current
    spikes[spike].is_dropped = is_dropped(key, unit, states[unit].number, units[unit].drop_rate)
    states[unit].number += 1


@compiled
def send(
    spike: int,
    unit: int,
    stretch: int,
    last: int,
    stretches: Stretches,
    running: Running,
    chunk: Chunk,
    flight: Flight,
    in_flight: int,
    inner: np.ndarray,
    heads: np.ndarray,
    used: int,
) -> tuple[int, int, int]:
    """Send a spike to its targets: what arrives within the chunk is put among their arrivals.

    Returns how many spikes are in flight and links used now, and how many units were touched:
    those at which something arrives in this stretch.
    """
    spikes, states, touched = running.spikes, running.states, running.touched
    synapses, outgoing = running.synapses, running.outgoing
    time, place, end = spikes[spike].time, outgoing[unit], outgoing[unit + 1]
    members, count = heads.size // last, 0
    while place < end and is_within(time + synapses[place].delay, last, stretches):
        target, weight = synapses[place].target, synapses[place].weight
        inner[used].time, inner[used].weight = time + synapses[place].delay, weight
        s = stretch_at(inner[used].time, stretches)
        if s == stretch:
            states[target].inner = with_link(inner, states[target].inner, used)
            states[target].excitation += max(weight, 0.0)
            if not states[target].is_touched:
                states[target].is_touched = True
                touched[count] = target
                count += 1
        else:
            own = s * members + chunk.member[target]
            heads[own] = with_link(inner, heads[own], used)
            chunk.excitation[own] += max(weight, 0.0)
        used += 1
        place += 1
    if place < end and time + synapses[place].delay <= stretches.duration:
        flight.next_synapse[spike] = place
        flight.spikes[in_flight] = spike
        in_flight += 1
    return in_flight, used, count


@allocating
def simulate_component(
    component: int,
    trial: Trial,
    components: Components,
    used: int,
    most: int,
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
    units, duration, spikes, start = trial.units, trial.duration, trial.spikes, trial.starts
    members = components.units[components.first[component] : components.first[component + 1]]
    outgoing, synapses = components.outgoing[component], components.synapses
    external = external_spikes(outgoing, trial, flight.unit_of)
    if is_stopped():
        failure[0] = STOPPED
        return used
    length = length_for(outgoing, trial, members)
    stretches = cut(0.0, duration, length, members.size)
    chunk = new_chunk(members, start.size)
    heads = np.empty(most_lists(members.size), np.int64)
    inner = np.empty(64, INNER)
    running = Running(
        members, units, outgoing, synapses, spikes, states, members.copy(),
        np.empty(members.size, np.int64),
    )  # fmt: skip
    reset_states(states, members, 0.0)
    begin, next_external, in_flight, is_last = used, 0, 0, False
    while not is_last:
        last = stretches.in_chunk
        is_last = last == stretches.number
        while next_external < external.size:
            spike = external[next_external]
            if not is_within(spikes[spike].time, last, stretches):
                break
            flight.next_synapse[spike] = outgoing[flight.unit_of[spike]]
            flight.spikes[in_flight] = spike
            in_flight += 1
            next_external += 1
        chunk, in_flight = fill(
            chunk, flight, in_flight, stretches, last, members, units, spikes, synapses, outgoing
        )
        own_heads = heads[: members.size * last]
        own_heads[:] = -1
        links = 0
        for stretch in range(last):
            if is_stopped():
                failure[0] = STOPPED
                return used
            used, in_flight, inner, links = emit_in_stretch(
                stretch, last, stretches, running, used, most, flight, in_flight, chunk, inner,
                own_heads, links, key, failure,
            )  # fmt: skip
            if used == FULL or failure[0] != 0.0:
                return used
        arrivals = chunk.first[members.size * last] + links
        stretches = cut_again(stretches, arrivals, members.size, length)
    for unit in members:
        advance(running, unit, duration, units[unit].tau_mem, units[unit].tau_syn)
        if not abs(states[unit].current) < inf:
            failure[0], failure[1], failure[2] = OVERFLOW, duration, unit
    if failure[0] == 0.0:
        group_by_unit(members, trial, flight.unit_of, begin, used)
    return used


@compiled
def begin_stretch(
    stretch: int,
    stretches: Stretches,
    running: Running,
    chunk: Chunk,
    inner: np.ndarray,
    heads: np.ndarray,
    failure: np.ndarray,
) -> bool:
    """Give every unit its arrivals of a stretch, and let it look ahead; false on failure."""
    members, states = running.members, running.states
    for m in range(members.size):
        unit, own = members[m], stretch * members.size + m
        states[unit].next, states[unit].last = chunk.first[own], chunk.first[own + 1]
        states[unit].inner, states[unit].excitation = heads[own], chunk.excitation[own]
        if not look_ahead_again(unit, stretch, stretches, running, chunk, inner, False):
            failure[0], failure[1], failure[2] = NO_CROSSING, states[unit].due, unit
            return False
    return True


@allocating
def emit_in_stretch(
    stretch: int,
    last: int,
    stretches: Stretches,
    running: Running,
    used: int,
    most: int,
    flight: Flight,
    in_flight: int,
    chunk: Chunk,
    inner: np.ndarray,
    heads: np.ndarray,
    links: int,
    key: np.uint64,
    failure: np.ndarray,
) -> tuple[int, int, np.ndarray, int]:
    """The emissions of a stretch in their order; how many spikes are used then, or FULL.

    And how many are in flight, the links, of which there may be more, and how many are used.
    """
    spikes, states, outgoing = running.spikes, running.states, running.outgoing
    heap, touched = running.heap, running.touched
    if not begin_stretch(stretch, stretches, running, chunk, inner, heads, failure):
        return used, in_flight, inner, links
    while states[heap[0]].due < inf:
        unit = heap[0]
        due = states[unit].due
        if is_stopped():
            failure[0] = STOPPED
            return used, in_flight, inner, links
        if not states[unit].is_exact:
            if not look_ahead_again(unit, stretch, stretches, running, chunk, inner, True):
                failure[0], failure[1], failure[2] = NO_CROSSING, due, unit
                return used, in_flight, inner, links
            continue
        if used == most:
            failure[0], failure[1], failure[2] = RUNAWAY, due, unit
            return used, in_flight, inner, links
        if used == spikes.size:
            return FULL, in_flight, inner, links
        if states[unit].spike >= 0 and due <= spikes[states[unit].spike].time:
            failure[0], failure[1], failure[2] = TOO_FAST, due, unit
            return used, in_flight, inner, links
        pass_arrivals(unit, due, running, chunk, inner)
        emit(running, unit, used, key)
        flight.unit_of[used] = unit
        count = 0
        if not spikes[used].is_dropped:
            inner = with_links(inner, links, outgoing[unit + 1] - outgoing[unit])
            in_flight, links, count = send(
                used, unit, stretch, last, stretches, running, chunk, flight, in_flight, inner,
                heads, links,
            )  # fmt: skip
        used += 1
        if not states[unit].is_touched:
            touched[count] = unit
            count += 1
        for i in range(count):
            other = touched[i]
            states[other].is_touched = False
            pass_arrivals(other, due, running, chunk, inner)
            if not look_ahead_again(other, stretch, stretches, running, chunk, inner, False):
                failure[0], failure[1], failure[2] = NO_CROSSING, states[other].due, other
                return used, in_flight, inner, links
    for unit in running.members:
        pass_arrivals(unit, inf, running, chunk, inner)
    return used, in_flight, inner, links


@allocating
def group_by_unit(
    members: np.ndarray, trial: Trial, unit_of: np.ndarray, first: int, last: int
) -> None:
    """Reorder the emissions ``first`` to ``last - 1`` from the order of time to that of units."""
    spikes, start, count = trial.spikes, trial.starts, trial.counts
    for spike in range(first, last):
        if is_stopped_at(spike):
            return
        count[unit_of[spike]] += 1
    place = first
    for unit in members:
        start[unit] = place
        place += count[unit]
        count[unit] = 0
    in_time = spikes[first:last].copy()
    for i in range(last - first):
        if is_stopped_at(i):
            return
        unit = unit_of[first + i]
        spikes[start[unit] + count[unit]] = in_time[i]
        count[unit] += 1
