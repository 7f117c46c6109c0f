"""Units that reach each other: one common order of emissions.

The trial is cut into stretches.  In each, every unit looks ahead through the arrivals it knows of
for its next emission.  The earliest of all is certain: whatever the others will send comes no
earlier.  It is carried out, and what it sends within the stretch is put among its targets'
arrivals; those, and the unit itself, look ahead again, from the last of their events before it.
A unit that cannot reach the threshold in a stretch, by a bound on its voltage, need not look.

Looking ahead costs little if there are few arrivals in a stretch.  Activity may rise so much that
there are many, there or in the chunk: then both end where they are, and the rest of the trial is
cut anew.  So the cost of an arrival does not depend on how many there are.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.dropout import is_dropped
from evsim.engines.exact.kernels.forward.next_spike import (
    INNER,
    advance,
    insert_link,
    look_ahead_again,
    pass_arrivals,
    sort_links,
    with_links,
)
from evsim.engines.exact.kernels.forward.recurrent_state import (
    ARRIVALS,
    STEPS,
    Components,
    Running,
    reset_states,
)
from evsim.engines.exact.kernels.forward.time_slices import (
    Chunk,
    Flight,
    Stretches,
    arrivals_in_chunk,
    cut,
    cut_again,
    cut_shorter,
    cut_to_fit,
    fill,
    is_inside,
    is_within,
    leave_chunk,
    length_for,
    most_lists,
    new_chunk,
    stretch_at,
)
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.spike_records import (
    FULL,
    NO_CROSSING,
    OVERFLOW,
    RUNAWAY,
    STOPPED,
    TOO_FAST,
    TOO_MANY,
)
from evsim.engines.exact.kernels.trial import Trial
from evsim.engines.runaway import BLOCK
from evsim.equations.lif import is_refractory_after


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

STEPS_PER_ARRIVAL = 32  # in a stretch, before it is found to be too long


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
    is_refractory = is_refractory_after(time, units[unit].refractory)
    spikes[spike].release_current = 0.0 if is_refractory else current
    spikes[spike].is_dropped = is_dropped(key, unit, states[unit].number, units[unit].drop_rate)
    states[unit].number += 1


@compiled
def runs_away(running: Running, unit: int, failure: np.ndarray) -> bool:
    """Whether a unit that has just emitted does so ever faster, above the highest rate allowed.

    Its spikes are counted in blocks: it runs away if a block took less time than the one before
    it, and both together less than the unit's ``shortest_blocks``.  See ``evsim.engines.runaway``.
    The time they took is put into ``failure[4]``.
    """
    states = running.states
    time, number = running.spikes[states[unit].spike].time, states[unit].number
    if number == 1:
        states[unit].block_began = time
    if number % BLOCK != 0:
        return False
    length, before = time - states[unit].block_began, states[unit].block_length
    states[unit].block_began, states[unit].block_length = time, length
    if not (length < before and length + before < running.units[unit].shortest_blocks):
        return False
    failure[4] = length + before
    return True


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
    inner: np.ndarray,
    heads: np.ndarray,
    used: int,
) -> tuple[int, int]:
    """Send a spike to its targets: what arrives within the chunk is put among their arrivals.

    Returns how many links are used now, and how many units were touched: those at which something
    arrives in this stretch.
    """
    spikes, states, touched = running.spikes, running.states, running.touched
    synapses, outgoing = running.synapses, running.outgoing
    sent, place, end = spikes[spike].time, outgoing[unit], outgoing[unit + 1]
    members, count = heads.size // last, 0
    while place < end and is_within(sent + synapses[place].delay, last, stretches):
        target, weight = synapses[place].target, synapses[place].weight
        time = sent + synapses[place].delay
        s = stretch_at(time, stretches)
        if s == stretch:
            states[target].inner, used = insert_link(
                running, inner, states[target].inner, used, time, weight
            )
            states[target].excitation += max(weight, 0.0)
            if not states[target].is_touched:
                states[target].is_touched = True
                touched[count] = target
                count += 1
        else:
            own = s * members + chunk.member[target]
            inner[used].time, inner[used].weight = time, weight
            inner[used].next = heads[own]
            heads[own] = used
            chunk.excitation[own] += max(weight, 0.0)
            used += 1
        place += 1
    running.work[ARRIVALS] += place - outgoing[unit]
    flight.next_synapse[spike], flight.after_chunk[spike] = outgoing[unit], place
    return used, count


@allocating
def simulate_component(
    component: int,
    trial: Trial,
    components: Components,
    used: int,
    most: int,
    states: np.ndarray,
    flight: Flight,
    work: np.ndarray,
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
        np.empty(members.size, np.int64), work,
    )  # fmt: skip
    reset_states(states, members, 0.0)
    begin, next_external, in_flight, is_last = used, 0, 0, False
    while not is_last:
        while next_external < external.size:
            spike = external[next_external]
            if not is_within(spikes[spike].time, stretches.in_chunk, stretches):
                break
            flight.next_synapse[spike] = outgoing[flight.unit_of[spike]]
            flight.spikes[in_flight] = spike
            in_flight += 1
            next_external += 1
        stretches = cut_to_fit(
            chunk, flight, in_flight, stretches, members.size, spikes, synapses, outgoing
        )
        last = stretches.in_chunk
        is_last = last == stretches.number
        chunk = fill(chunk, flight, in_flight, stretches, members, units, spikes, synapses)
        work[ARRIVALS] += chunk.first[members.size * last]
        own_heads = heads[: members.size * last]
        own_heads[:] = -1
        links, end_of_chunk = 0, inf
        sent = work[ARRIVALS]
        for stretch in range(last):
            if is_stopped():
                failure[0] = STOPPED
                return used
            before = used
            used, inner, links, end_of_chunk, arrivals = emit_in_stretch(
                stretch, last, stretches, running, used, most, flight, in_flight, chunk, inner,
                own_heads, links, key, failure,
            )  # fmt: skip
            if used == FULL or failure[0] != 0.0:
                return used
            in_flight += used - before
            if end_of_chunk < inf:
                break
        in_flight = leave_chunk(
            flight, in_flight, end_of_chunk, duration, spikes, synapses, outgoing
        )
        if end_of_chunk < inf:
            is_last = False
            stretches = cut_shorter(stretches, stretch, end_of_chunk, arrivals, members.size)
        else:
            arrivals = chunk.first[members.size * last] + work[ARRIVALS] - sent
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
        states[unit].inner = sort_links(inner, heads[own])
        states[unit].excitation = chunk.excitation[own]
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
) -> tuple[int, np.ndarray, int, float, int]:
    """The emissions of a stretch in their order; how many spikes are used then, or FULL.

    And the links, of which there may be more, and how many are used; the time at which the stretch
    ended because there is too much in it, or infinity; and how many arrivals there were.
    """
    spikes, states, outgoing = running.spikes, running.states, running.outgoing
    heap, touched, work, members = running.heap, running.touched, running.work, running.members
    if not begin_stretch(stretch, stretches, running, chunk, inner, heads, failure):
        return used, inner, links, inf, 0
    # What ending the stretch costs, and what belongs to it in any case.
    most_steps = work[STEPS] + chunk.first[members.size * last] + 32 * members.size
    arrivals = chunk.first[(stretch + 1) * members.size] - chunk.first[stretch * members.size]
    sent, most_links = work[ARRIVALS], 4 * arrivals_in_chunk(members.size)
    while states[heap[0]].due < inf:
        unit = heap[0]
        due = states[unit].due
        if is_stopped():
            failure[0] = STOPPED
            return used, inner, links, inf, 0
        if not states[unit].is_exact:
            if not look_ahead_again(unit, stretch, stretches, running, chunk, inner, True):
                failure[0], failure[1], failure[2] = NO_CROSSING, due, unit
                return used, inner, links, inf, 0
            continue
        if used == most:
            failure[0], failure[1], failure[2] = TOO_MANY, due, unit
            return used, inner, links, inf, 0
        if used == spikes.size:
            return FULL, inner, links, inf, 0
        if states[unit].spike >= 0 and due <= spikes[states[unit].spike].time:
            failure[0], failure[1], failure[2] = TOO_FAST, due, unit
            return used, inner, links, inf, 0
        handled = arrivals + work[ARRIVALS] - sent
        is_too_much = work[STEPS] > most_steps + STEPS_PER_ARRIVAL * handled or links > most_links
        if is_too_much and is_inside(due, stretch, stretches):
            for other in members:
                pass_arrivals(other, due, running, chunk, inner)
            return used, inner, links, due, handled
        pass_arrivals(unit, due, running, chunk, inner)
        emit(running, unit, used, key)
        if runs_away(running, unit, failure):
            failure[0], failure[1], failure[2] = RUNAWAY, due, unit
            return used, inner, links, inf, 0
        flight.unit_of[used] = unit
        flight.spikes[in_flight] = used
        in_flight += 1
        count = 0
        if spikes[used].is_dropped:
            flight.next_synapse[used] = flight.after_chunk[used] = outgoing[unit + 1]
        else:
            inner = with_links(inner, links, outgoing[unit + 1] - outgoing[unit])
            links, count = send(
                used, unit, stretch, last, stretches, running, chunk, flight, inner, heads, links
            )
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
                return used, inner, links, inf, 0
    for unit in members:
        pass_arrivals(unit, inf, running, chunk, inner)
    return used, inner, links, inf, 0


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
