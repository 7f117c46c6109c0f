"""Recurrent components, whose units send spikes to each other: one common order of emissions.

The trial is cut into time slices.  In each slice every unit finds its next emission from the
arrivals known so far.  The earliest of these emissions is certain: no other unit can send a spike
that arrives before it.  It takes place, and its spikes that arrive within the slice are added to
the arrivals of their targets.  The targets and the unit itself then find their next emissions
again, each from its last arrival before that time.  A unit that cannot reach the threshold in a
slice, by a bound on its voltage, is left out.

The search is cheap if a slice has few arrivals.  If activity rises and a slice or its block gets
many, both end early, and the rest of the trial is cut again.  So the cost of an arrival does not
depend on how many there are.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.failures import Status, fail, has_failed
from evsim.engines.exact.kernels.forward.late_arrivals import (
    LATE_ARRIVAL,
    insert_late_arrival,
    sort_late_arrivals,
    with_room_for_late,
)
from evsim.engines.exact.kernels.forward.next_spike import (
    advance,
    pass_arrivals,
    update_next_spike,
)
from evsim.engines.exact.kernels.forward.recurrent_state import (
    ARRIVALS,
    STEPS,
    Components,
    Running,
    start_states,
)
from evsim.engines.exact.kernels.forward.time_slices import (
    Flight,
    SliceArrivals,
    arrivals_in_block,
    cut,
    cut_again,
    cut_shorter,
    cut_to_fit,
    fill,
    is_inside,
    is_within,
    leave_block,
    length_for,
    list_limit,
    new_block,
    slice_at,
)
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.spike_records import NO_ROOM, write_emission
from evsim.engines.exact.kernels.trial import Trial
from evsim.engines.runaway import BLOCK


@allocating
def external_spikes(outgoing: np.ndarray, trial: Trial, unit_of: np.ndarray) -> np.ndarray:
    """Spikes of other units that are sent into the component, sorted by time."""
    spikes, start, count = trial.spikes, trial.starts, trial.counts
    total = 0
    for unit in range(count.size):
        if outgoing[unit + 1] > outgoing[unit]:
            total += count[unit]
    external, times = np.empty(total, np.int64), np.empty(total)
    n = 0
    for unit in range(count.size):
        if outgoing[unit + 1] > outgoing[unit]:
            for spike in range(start[unit], start[unit] + count[unit]):
                if is_stopped_at(spike):
                    return external[:0]
                if spikes[spike].is_dropped:
                    continue
                external[n] = spike
                times[n] = spikes[spike].time
                unit_of[spike] = unit
                n += 1
    return external[stable_order(times[:n])]


# -- emissions ----------------------------------------------------------------------------------

STEPS_PER_ARRIVAL = 32  # in a time slice, before it is found to be too long


@compiled
def emit(running: Running, unit: int, spike: int) -> None:
    """Emission: V is set to the reset, I goes on."""
    states, units = running.states, running.units
    time = states[unit].due
    advance(running, unit, time, units[unit].tau_mem, units[unit].tau_syn)
    current = states[unit].current = states[unit].due_current
    states[unit].voltage = units[unit].reset
    states[unit].free_at = time + units[unit].refractory
    states[unit].spike = spike
    write_emission(
        running.spikes, spike, time, current, unit, states[unit].number, units, running.key
    )
    states[unit].number += 1


@compiled
def runs_away(running: Running, unit: int, failure: np.ndarray) -> bool:
    """Whether a unit that has just emitted does so ever faster, above the highest rate allowed.

    Its spikes are counted in blocks: it runs away if a block took less time than the one before
    it, and both together less than the unit's ``shortest_blocks``.  See ``evsim.engines.runaway``.
    Then ``failure.span`` gets the time they took.
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
    failure.span = length + before
    return True


@compiled
def may_emit(
    running: Running, unit: int, spike_count: int, due: float, failure: np.ndarray
) -> bool:
    """Whether a unit's next emission, at ``due``, is allowed; if not, ``failure`` says why."""
    states, spikes = running.states, running.spikes
    if spike_count == running.spike_limit:
        fail(failure, Status.TOO_MANY, due, unit)
        return False
    if states[unit].spike >= 0 and due <= spikes[states[unit].spike].time:
        fail(failure, Status.TOO_FAST, due, unit)
        return False
    return True


@compiled
def send(
    spike: int,
    unit: int,
    time_slice: int,
    running: Running,
    arriving: SliceArrivals,
    flight: Flight,
    late_count: int,
) -> tuple[int, int]:
    """Send a spike to its targets: its arrivals within the block become late arrivals.

    Returns how many late arrivals there are then, and how many units were touched: those at which
    the spike arrives in this slice.
    """
    spikes, states, touched = running.spikes, running.states, running.touched
    synapses, outgoing = running.synapses, running.outgoing
    slices, block, late, list_heads = arriving
    sent, place, end = spikes[spike].time, outgoing[unit], outgoing[unit + 1]
    members, touched_count = running.members.size, 0
    while place < end and is_within(sent + synapses[place].delay, slices.in_block, slices):
        target, weight = synapses[place].target, synapses[place].weight
        time = sent + synapses[place].delay
        s = slice_at(time, slices)
        if s == time_slice:
            states[target].late, late_count = insert_late_arrival(
                running, late, states[target].late, late_count, time, weight
            )
            states[target].excitation += max(weight, 0.0)
            if not states[target].is_touched:
                states[target].is_touched = True
                touched[touched_count] = target
                touched_count += 1
        else:
            index = s * members + block.member[target]
            late[late_count].time, late[late_count].weight = time, weight
            late[late_count].next = list_heads[index]
            list_heads[index] = late_count
            block.excitation[index] += max(weight, 0.0)
            late_count += 1
        place += 1
    running.work[ARRIVALS] += place - outgoing[unit]
    flight.next_synapse[spike], flight.after_block[spike] = outgoing[unit], place
    return late_count, touched_count


@compiled
def begin_slice(
    time_slice: int, running: Running, arriving: SliceArrivals, failure: np.ndarray
) -> bool:
    """Give every unit its arrivals of a slice, and find its next emission; false on failure."""
    members, states, block = running.members, running.states, arriving.block
    for m in range(members.size):
        unit, index = members[m], time_slice * members.size + m
        states[unit].next, states[unit].last = block.first[index], block.first[index + 1]
        states[unit].late = sort_late_arrivals(arriving.late, arriving.list_heads[index])
        states[unit].excitation = block.excitation[index]
        if not update_next_spike(unit, time_slice, running, arriving, False):
            fail(failure, Status.NO_CROSSING, states[unit].due, unit)
            return False
    return True


class SliceResult(NamedTuple):
    """How a time slice ended, and what there is then.

    ``spike_count`` is NO_ROOM if the buffer of spikes is too small.  ``end`` is infinite if the
    slice ran to its end, and else the time at which it ended early, for it has too many arrivals;
    then ``arrivals`` is their number.
    """

    spike_count: int
    late: np.ndarray
    late_count: int
    end: float  # ms
    arrivals: int


@allocating
def emit_in_slice(
    time_slice: int,
    running: Running,
    arriving: SliceArrivals,
    flight: Flight,
    in_flight: int,
    spike_count: int,
    late_count: int,
    failure: np.ndarray,
) -> SliceResult:
    """The emissions of a time slice in their order."""
    spikes, states, outgoing = running.spikes, running.states, running.outgoing
    heap, touched, work, members = running.heap, running.touched, running.work, running.members
    slices, block, late, list_heads = arriving
    if not begin_slice(time_slice, running, arriving, failure):
        return SliceResult(spike_count, late, late_count, inf, 0)
    # The cost of ending the slice, and that of its first arrivals, which cannot be avoided.
    step_limit = work[STEPS] + block.first[members.size * slices.in_block] + 32 * members.size
    begin = time_slice * members.size
    arrivals = block.first[begin + members.size] - block.first[begin]
    sent, late_limit = work[ARRIVALS], 4 * arrivals_in_block(members.size)
    while states[heap[0]].due < inf:
        unit = heap[0]
        due = states[unit].due
        if is_stopped():
            failure.status = Status.STOPPED
            break
        if not states[unit].is_exact:
            if not update_next_spike(unit, time_slice, running, arriving, True):
                fail(failure, Status.NO_CROSSING, due, unit)
                break
            continue
        if not may_emit(running, unit, spike_count, due, failure):
            break
        if spike_count == spikes.size:
            return SliceResult(NO_ROOM, late, late_count, inf, 0)
        handled = arrivals + work[ARRIVALS] - sent
        step_count, allowed = work[STEPS], step_limit + STEPS_PER_ARRIVAL * handled
        is_too_long = step_count > allowed or late_count > late_limit
        if is_too_long and is_inside(due, time_slice, slices):
            for other in members:
                pass_arrivals(other, due, running, arriving)
            return SliceResult(spike_count, late, late_count, due, handled)
        pass_arrivals(unit, due, running, arriving)
        emit(running, unit, spike_count)
        if runs_away(running, unit, failure):
            fail(failure, Status.RUNAWAY, due, unit)
            break
        flight.unit_of[spike_count] = unit
        flight.spikes[in_flight] = spike_count
        in_flight += 1
        touched_count = 0
        if spikes[spike_count].is_dropped:
            flight.next_synapse[spike_count] = flight.after_block[spike_count] = outgoing[unit + 1]
        else:
            late = with_room_for_late(late, late_count, outgoing[unit + 1] - outgoing[unit])
            arriving = SliceArrivals(slices, block, late, list_heads)
            late_count, touched_count = send(
                spike_count, unit, time_slice, running, arriving, flight, late_count
            )
        spike_count += 1
        if not states[unit].is_touched:
            touched[touched_count] = unit
            touched_count += 1
        if not update_touched(touched_count, due, time_slice, running, arriving, failure):
            break
    if not has_failed(failure):
        for unit in members:
            pass_arrivals(unit, inf, running, arriving)
    return SliceResult(spike_count, late, late_count, inf, 0)


@compiled
def update_touched(
    touched_count: int,
    due: float,
    time_slice: int,
    running: Running,
    arriving: SliceArrivals,
    failure: np.ndarray,
) -> bool:
    """Find the next emissions of the units touched by an emission at ``due``; false on failure."""
    states = running.states
    for i in range(touched_count):
        unit = running.touched[i]
        states[unit].is_touched = False
        pass_arrivals(unit, due, running, arriving)
        if not update_next_spike(unit, time_slice, running, arriving, False):
            fail(failure, Status.NO_CROSSING, states[unit].due, unit)
            return False
    return True


# -- the component ------------------------------------------------------------------------------


@compiled
def put_in_flight(
    external: np.ndarray,
    next_external: int,
    running: Running,
    arriving: SliceArrivals,
    flight: Flight,
    in_flight: int,
) -> tuple[int, int]:
    """Put the external spikes of the coming block in flight.

    Returns the next external spike, and how many are in flight then.
    """
    slices = arriving.slices
    while next_external < external.size:
        spike = external[next_external]
        if not is_within(running.spikes[spike].time, slices.in_block, slices):
            break
        flight.next_synapse[spike] = running.outgoing[flight.unit_of[spike]]
        flight.spikes[in_flight] = spike
        in_flight += 1
        next_external += 1
    return next_external, in_flight


@compiled
def finish(running: Running, duration: float, failure: np.ndarray) -> None:
    """Take every unit to the end of the trial; a failure if its current is not finite there."""
    states, units = running.states, running.units
    for unit in running.members:
        advance(running, unit, duration, units[unit].tau_mem, units[unit].tau_syn)
        if not abs(states[unit].current) < inf:
            fail(failure, Status.OVERFLOW, duration, unit)


@allocating
def simulate_component(
    component: int,
    trial: Trial,
    components: Components,
    spike_count: int,
    spike_limit: int,
    states: np.ndarray,
    flight: Flight,
    work: np.ndarray,
    key: np.uint64,
    failure: np.ndarray,
) -> int:
    """Run a recurrent component and write its emissions behind the ``spike_count`` spikes.

    Returns how many spikes the buffer then has, at most ``spike_limit``, or NO_ROOM if it is too
    small.  ``key`` decides which spikes are dropped.  Emissions are grouped by unit at the end;
    while the component runs they are in the order of time.
    """
    units, duration, spikes = trial.units, trial.duration, trial.spikes
    members = components.units[components.first[component] : components.first[component + 1]]
    outgoing, synapses = components.outgoing[component], components.synapses
    external = external_spikes(outgoing, trial, flight.unit_of)
    if is_stopped():
        failure.status = Status.STOPPED
        return spike_count
    length = length_for(outgoing, trial, members)
    running = Running(
        members, units, outgoing, synapses, spikes, states, members.copy(),
        np.empty(members.size, np.int64), work, spike_limit, key,
    )  # fmt: skip
    start_states(states, units, members, 0.0)
    slices = cut(0.0, duration, length, members.size)
    block = new_block(members, trial.starts.size)
    late = np.empty(64, LATE_ARRIVAL)
    list_heads = np.empty(list_limit(members.size), np.int64)
    begin, next_external, in_flight, is_last = spike_count, 0, 0, False
    while not is_last:
        next_external, in_flight = put_in_flight(
            external, next_external, running, SliceArrivals(slices, block, late, list_heads),
            flight, in_flight,
        )  # fmt: skip
        slices = cut_to_fit(
            block, flight, in_flight, slices, members.size, spikes, synapses, outgoing
        )
        lists = members.size * slices.in_block
        is_last = slices.in_block == slices.number
        block = fill(block, flight, in_flight, slices, members, units, spikes, synapses)
        work[ARRIVALS] += block.first[lists]
        list_heads[:lists] = -1
        late_count, end_of_block, sent = 0, inf, work[ARRIVALS]
        for time_slice in range(slices.in_block):
            if is_stopped():
                failure.status = Status.STOPPED
                return spike_count
            before = spike_count
            spike_count, late, late_count, end_of_block, arrivals = emit_in_slice(
                time_slice, running, SliceArrivals(slices, block, late, list_heads), flight,
                in_flight, spike_count, late_count, failure,
            )  # fmt: skip
            if spike_count == NO_ROOM or has_failed(failure):
                return spike_count
            in_flight += spike_count - before
            if end_of_block < inf:
                break
        in_flight = leave_block(
            flight, in_flight, end_of_block, duration, spikes, synapses, outgoing
        )
        if end_of_block < inf:
            is_last = False
            slices = cut_shorter(slices, time_slice, end_of_block, arrivals, members.size)
        else:
            arrivals = block.first[lists] + work[ARRIVALS] - sent
            slices = cut_again(slices, arrivals, members.size, length)
    finish(running, duration, failure)
    if not has_failed(failure):
        group_by_unit(members, trial, flight.unit_of, begin, spike_count)
    return spike_count


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
