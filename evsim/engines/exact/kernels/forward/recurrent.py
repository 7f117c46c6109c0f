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
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.failures import Status, fail, has_failed
from evsim.engines.exact.kernels.forward.arrival_lists import (
    ArrivalLists,
    Flight,
    add_to_list,
    begin_block,
    grown_flight,
    leave_block,
    new_lists,
    with_room_in_lists,
)
from evsim.engines.exact.kernels.forward.late_arrivals import (
    LATE_ARRIVAL,
    insert_late_arrival,
    with_room_for_late,
)
from evsim.engines.exact.kernels.forward.next_spike import update_next_spike
from evsim.engines.exact.kernels.forward.recurrent_state import (
    ARRIVALS,
    STEPS,
    Components,
    Running,
    are_alike,
    start_states,
    with_buffer,
)
from evsim.engines.exact.kernels.forward.slice_arrivals import (
    SliceArrivals,
    begin_group,
    new_slice_arrivals,
    units_of_group,
    with_room_for_slice,
)
from evsim.engines.exact.kernels.forward.time_slices import (
    PARTS,
    TimeSlices,
    arrivals_in_block,
    cut,
    cut_again,
    cut_shorter,
    end_of_slice,
    expected_length,
    is_inside,
    is_within,
    part_at,
    shortest_delay,
)
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.spike_records import grown_spikes, write_emission
from evsim.engines.exact.kernels.trial import Trial, with_spikes
from evsim.engines.runaway import BLOCK
from evsim.equations.lif import refractory_decay


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
def emit(running: Running, unit: int, spike: int, late: np.ndarray) -> None:
    """Emission when a unit is due: V is set to the reset, I goes on."""
    states, units = running.states, running.units
    time, current = states[unit].due, states[unit].due_current
    states[unit].voltage, states[unit].current = units[unit].reset, current
    states[unit].now = time
    states[unit].free_at = time + units[unit].refractory
    states[unit].next = states[unit].ahead_next
    while states[unit].late >= 0 and not is_after_emission(late[states[unit].late].time, time):
        states[unit].late = late[states[unit].late].next
    states[unit].is_refractory = write_emission(
        running.spikes, spike, time, current, unit, states[unit].number, units, running.key
    )
    states[unit].spike = spike
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
def touch(unit: int, running: Running, count: int) -> int:
    """List a unit whose next emission has to be found again; how many are listed then."""
    if running.states[unit].is_touched:
        return count
    running.states[unit].is_touched = True
    running.touched[count] = unit
    return count + 1


@compiled
def send(
    spike: int,
    unit: int,
    time_slice: int,
    slices: TimeSlices,
    running: Running,
    lists: ArrivalLists,
    late: np.ndarray,
    flight: Flight,
    late_count: int,
) -> tuple[int, int]:
    """Send a spike to its targets, as far as it arrives within the block.

    Arrivals in this slice are late.  Returns how many late arrivals there are then, and how many
    units are touched by one before they are due.
    """
    states, synapses, outgoing = running.states, running.synapses, running.outgoing
    sent, place, end = running.spikes[spike].time, outgoing[unit], outgoing[unit + 1]
    touched_count = 0
    while place < end and is_within(sent + synapses[place].delay, slices.in_block, slices):
        target, weight = synapses[place].target, synapses[place].weight
        time = sent + synapses[place].delay
        part = part_at(time, slices)
        if part // PARTS == time_slice:
            states[target].late, late_count = insert_late_arrival(
                running, late, states[target].late, late_count, time, weight
            )
            if not is_after_emission(time, states[target].due):
                touched_count = touch(target, running, touched_count)
        else:
            add_to_list(lists, part, lists.member[target], time, weight)
        place += 1
    running.work[ARRIVALS] += place - outgoing[unit]
    flight.next_synapse[spike], flight.after_block[spike] = outgoing[unit], place
    return late_count, touched_count


@compiled
def begin_slice(
    time_slice: int,
    slices: TimeSlices,
    running: Running,
    lists: ArrivalLists,
    arriving: SliceArrivals,
    late: np.ndarray,
    failure: np.ndarray,
) -> int:
    """Give every unit its arrivals of a slice, and find its next emission; how many arrive."""
    members, states, end = running.members, running.states, 0
    until = end_of_slice(time_slice, slices)
    for group in range(lists.groups):
        if is_stopped():
            failure.status = Status.STOPPED
            return end
        end = begin_group(group, end, time_slice, lists, running, arriving)
        for m in range(*units_of_group(group, members.size)):
            unit = members[m]
            if not update_next_spike(
                unit, until, time_slice, slices, running, arriving, late, False
            ):
                fail(failure, Status.NO_CROSSING, states[unit].due, unit)
                return end
    return end


@compiled
def update_touched(
    touched_count: int,
    until: float,
    time_slice: int,
    slices: TimeSlices,
    running: Running,
    arriving: SliceArrivals,
    late: np.ndarray,
    solve: bool,
    failure: np.ndarray,
) -> None:
    """Find the next emissions of the touched units, see ``run_ahead``."""
    states = running.states
    for i in range(touched_count):
        unit = running.touched[i]
        states[unit].is_touched = False
        if not update_next_spike(unit, until, time_slice, slices, running, arriving, late, solve):
            fail(failure, Status.NO_CROSSING, states[unit].due, unit)
            return


class Limits(NamedTuple):
    """When a time slice is too long: the arrivals that it began with, and what ``work`` may count.

    ``sent`` is how many arrivals were counted when it began; ``steps`` may be counted, and more for
    each arrival.  ``all_arrivals`` may be counted before the block ends.
    """

    arrivals: int
    sent: int
    steps: int
    all_arrivals: int


class SliceResult(NamedTuple):
    """How the emissions of a time slice ended, and what there is then.

    ``is_full`` says that the buffer of spikes is: then they go on after it has grown.  ``end`` is
    infinite if the slice ran to its end, and else the time at which it ended early, for it has too
    many arrivals; ``arrivals`` is their number.
    """

    spike_count: int
    lists: ArrivalLists
    late: np.ndarray
    late_count: int
    is_full: bool
    end: float  # ms
    arrivals: int


@allocating
def emit_in_slice(
    time_slice: int,
    slices: TimeSlices,
    running: Running,
    lists: ArrivalLists,
    arriving: SliceArrivals,
    late: np.ndarray,
    late_count: int,
    flight: Flight,
    in_flight: int,
    spike_count: int,
    limits: Limits,
    failure: np.ndarray,
) -> SliceResult:
    """The emissions of a time slice, which has begun, in their order."""
    spikes, states, outgoing = running.spikes, running.states, running.outgoing
    heap, touched, work = running.heap, running.touched, running.work
    until, touched_count, solve, is_ending = end_of_slice(time_slice, slices), 0, False, False
    arrivals = limits.arrivals
    while True:
        update_touched(
            touched_count, until, time_slice, slices, running, arriving, late, solve, failure
        )
        unit = heap[0]
        due = states[unit].due
        if has_failed(failure) or is_ending or due == inf:
            break
        if is_stopped():
            failure.status = Status.STOPPED
            break
        touched_count, solve = 0, not states[unit].is_exact
        if solve:
            touched_count = touch(unit, running, touched_count)
            continue
        if not may_emit(running, unit, spike_count, due, failure):
            break
        if spike_count == spikes.size:
            return SliceResult(spike_count, lists, late, late_count, True, inf, 0)
        arrivals = limits.arrivals + work[ARRIVALS] - limits.sent
        is_too_long = work[STEPS] > limits.steps + STEPS_PER_ARRIVAL * arrivals or (
            work[ARRIVALS] > limits.all_arrivals
        )
        if is_too_long and is_inside(due, time_slice, slices):
            until, is_ending, solve = due, True, True
            for other in running.members:
                touched_count = touch(other, running, touched_count)
            continue
        emit(running, unit, spike_count, late)
        if runs_away(running, unit, failure):
            fail(failure, Status.RUNAWAY, due, unit)
            break
        flight.unit_of[spike_count] = unit
        flight.spikes[in_flight] = spike_count
        in_flight += 1
        if spikes[spike_count].is_dropped:
            flight.next_synapse[spike_count] = flight.after_block[spike_count] = outgoing[unit + 1]
        else:
            synapses = outgoing[unit + 1] - outgoing[unit]
            late = with_room_for_late(late, late_count, synapses)
            lists = with_room_in_lists(lists, synapses)
            late_count, touched_count = send(
                spike_count, unit, time_slice, slices, running, lists, late, flight, late_count
            )
        spike_count += 1
        touched_count = touch(unit, running, touched_count)
    return SliceResult(
        spike_count, lists, late, late_count, False, until if is_ending else inf, arrivals
    )


# -- the component ------------------------------------------------------------------------------


@compiled
def put_in_flight(
    external: np.ndarray,
    next_external: int,
    slices: TimeSlices,
    running: Running,
    flight: Flight,
    in_flight: int,
) -> tuple[int, int]:
    """Put the external spikes of the coming block in flight.

    Returns the next external spike, and how many are in flight then.
    """
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
        current, free_at = states[unit].ahead_current, states[unit].free_at
        if not abs(current) < inf:
            fail(failure, Status.OVERFLOW, duration, unit)
        if states[unit].ahead_is_refractory and not is_before_release(duration, free_at):
            current *= refractory_decay(free_at - states[unit].ahead_now, units[unit].tau_syn)
            running.spikes[states[unit].spike].release_current = current


@allocating
def running_of(
    component: int, trial: Trial, components: Components, states: np.ndarray, work: np.ndarray,
    spike_limit: int, key: np.uint64,
) -> Running:  # fmt: skip
    """What a component needs to run."""
    members = components.units[components.first[component] : components.first[component + 1]]
    return Running(
        members, trial.units, components.outgoing[component], components.synapses, trial.spikes,
        states, members.copy(), np.empty(members.size, np.int64), work, spike_limit, key,
        are_alike(members, trial.units),
    )  # fmt: skip


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
) -> tuple[int, np.ndarray, Flight]:
    """Run a recurrent component and write its emissions behind the ``spike_count`` spikes.

    Returns how many spikes there are then, at most ``spike_limit``, and both buffers, which grow
    when they are full.  ``key`` decides which spikes are dropped.  Emissions are grouped by unit at
    the end; while the component runs they are in the order of time.
    """
    duration = trial.duration
    running = running_of(component, trial, components, states, work, spike_limit, key)
    members, outgoing, synapses = running.members, running.outgoing, running.synapses
    external = external_spikes(outgoing, trial, flight.unit_of)
    if is_stopped():
        failure.status = Status.STOPPED
        return spike_count, trial.spikes, flight
    start_states(states, trial.units, members)
    shortest = shortest_delay(outgoing, synapses, members)
    length = expected_length(outgoing, trial, members, shortest)
    slices = cut(0.0, duration, length, members.size)
    lists = new_lists(members, trial.starts.size)
    arriving = new_slice_arrivals(np.empty(members.size + 1, np.int64), 256)
    late = np.empty(64, LATE_ARRIVAL)
    begin, next_external, in_flight, is_last = spike_count, 0, 0, False
    while not is_last:
        next_external, in_flight = put_in_flight(
            external, next_external, slices, running, flight, in_flight
        )
        lists, slices, in_block = begin_block(
            lists, flight, in_flight, slices, members.size, trial.spikes, synapses, outgoing
        )
        is_last = slices.in_block == slices.number
        work[ARRIVALS] += in_block
        before, end_of_block = work[ARRIVALS] - in_block, inf
        most = work[ARRIVALS] + 4 * arrivals_in_block(members.size)
        for time_slice in range(slices.in_block):
            if is_stopped():
                failure.status = Status.STOPPED
                return spike_count, trial.spikes, flight
            arriving = with_room_for_slice(arriving, lists, time_slice)
            steps = work[STEPS] + work[ARRIVALS] - before + 32 * members.size
            arrivals = begin_slice(time_slice, slices, running, lists, arriving, late, failure)
            limits = Limits(arrivals, work[ARRIVALS], steps, most)
            late_count, is_full = 0, True
            while is_full and not has_failed(failure):
                was = spike_count
                spike_count, lists, late, late_count, is_full, end_of_block, arrivals = (
                    emit_in_slice(
                        time_slice, slices, running, lists, arriving, late, late_count, flight,
                        in_flight, spike_count, limits, failure,
                    )
                )  # fmt: skip
                in_flight += spike_count - was
                if is_full:
                    trial = with_spikes(trial, grown_spikes(trial.spikes, spike_count))
                    running = with_buffer(running, trial.spikes)
                    flight = grown_flight(flight, spike_count, trial.spikes.size)
            if has_failed(failure):
                return spike_count, trial.spikes, flight
            if end_of_block < inf:
                break
        in_flight = leave_block(
            flight, in_flight, end_of_block, duration, trial.spikes, synapses, outgoing
        )
        if end_of_block < inf:
            is_last = False
            slices = cut_shorter(slices, time_slice, end_of_block, arrivals, members.size)
        else:
            arrivals = work[ARRIVALS] - before
            slices = cut_again(slices, arrivals, members.size, shortest, length)
    finish(running, duration, failure)
    if not has_failed(failure):
        group_by_unit(members, trial, flight.unit_of, begin, spike_count)
    return spike_count, trial.spikes, flight


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
