"""The emissions of a recurrent component in a time slice, in their order.

Every unit has run ahead through its arrivals to the time when it may emit next.  The earliest of
these emissions is certain, because no other unit can send a spike that arrives before it.  It takes
place, and its spikes that arrive within the slice are added to the arrivals of their targets.  The
unit itself runs ahead again, and so do the targets that are not due before the arrival.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.event_order import is_after_emission
from evsim.engines.exact.kernels.failures import Status, fail, has_failed
from evsim.engines.exact.kernels.forward.arrival_lists import (
    ArrivalLists,
    Flight,
    add_to_list,
    with_room_in_lists,
)
from evsim.engines.exact.kernels.forward.late_arrivals import (
    insert_late_arrival,
    with_room_for_late,
)
from evsim.engines.exact.kernels.forward.next_spike import update_next_spike
from evsim.engines.exact.kernels.forward.recurrent_state import ARRIVALS, STEPS, Running
from evsim.engines.exact.kernels.forward.slice_arrivals import (
    SliceArrivals,
    begin_group,
    units_of_group,
)
from evsim.engines.exact.kernels.forward.time_slices import (
    PART_BITS,
    TimeSlices,
    end_of_slice,
    is_inside,
    is_within,
    part_at,
)
from evsim.engines.exact.kernels.spike_records import write_emission
from evsim.engines.runaway import BLOCK

STEPS_PER_ARRIVAL = 32  # in a time slice; with more it is too long


@compiled
def emit(running: Running, unit: int, spike: int, late: np.ndarray) -> None:
    """Emit when a unit is due: V is set to the reset, and I is unchanged."""
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
    """Whether a unit that has just emitted spikes ever faster, above the highest rate allowed.

    Its spikes are counted in blocks: the unit runs away if a block took less time than the one
    before it, and both together took less than the unit's ``shortest_blocks``.  Then
    ``failure.span`` is set to the time they took.  See ``evsim.engines.runaway``.
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
    """List a unit whose next emission must be found again; return how many are then listed."""
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
    """Send a spike to those targets at which it arrives within the block.

    Arrivals in this slice are late.  Returns the number of late arrivals afterwards, and the number
    of units that receive one before they are due.
    """
    states, synapses, outgoing = running.states, running.synapses, running.outgoing
    sent, place, end = running.spikes[spike].time, outgoing[unit], outgoing[unit + 1]
    touched_count = 0
    while place < end and is_within(sent + synapses[place].delay, slices.in_block, slices):
        target, weight = synapses[place].target, synapses[place].weight
        time = sent + synapses[place].delay
        part = part_at(time, slices)
        if part >> PART_BITS == time_slice:
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
    """Give every unit its arrivals in a slice, find its next emission; return how many arrive."""
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
    """Find the next emissions of the touched units; see ``run_ahead``."""
    states = running.states
    for i in range(touched_count):
        unit = running.touched[i]
        states[unit].is_touched = False
        if not update_next_spike(unit, until, time_slice, slices, running, arriving, late, solve):
            fail(failure, Status.NO_CROSSING, states[unit].due, unit)
            return


class Limits(NamedTuple):
    """When a time slice is too long: the arrivals it began with, and how much ``work`` it may take.

    ``sent`` is the count of arrivals when the slice began.  The count of steps may reach ``steps``,
    and more for each arrival.  The count of arrivals may reach ``all_arrivals`` before the block
    ends.
    """

    arrivals: int
    sent: int
    steps: int
    all_arrivals: int


class SliceResult(NamedTuple):
    """How the emissions of a time slice ended, and the state afterwards.

    ``is_full`` says whether the buffer of spikes is full; then the emissions continue after it has
    grown.  ``end`` is infinite if the slice ran to its end.  Otherwise it is the time at which the
    slice ended early because it had too many arrivals; ``arrivals`` is their number.
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
    """Run the emissions of a time slice that has begun, in their order."""
    spikes, states, outgoing = running.spikes, running.states, running.outgoing
    heap, work = running.heap, running.work
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
