"""Lists of arrivals at the units of a recurrent component, by parts of time slices and unit groups.

Arrivals in the current block are added to the lists when their spike is sent; all others, when
their block begins.  So memory holds only one block, however many arrivals the trial has.  A list
consists of chunks whose arrivals are contiguous in memory, so that it can be read fast.

Synapses are sorted by delay, and each spike in flight keeps its next synapse.  If a block ends
early, the spikes in flight return to the first synapses after that time.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.forward.time_slices import (
    PART_BITS,
    PARTS,
    TimeSlices,
    arrivals_in_block,
    cut,
    is_within,
    most_slices,
    part_at,
)

EVENT = record([("time", np.float64), ("weight", np.float64), ("member", np.int64)])
"""An arrival at a unit; ``member`` is the unit's index in the component."""

GROUP_BITS, CHUNK_BITS = 9, 4
GROUP = 1 << GROUP_BITS  # units; their arrivals in a time slice fit into the fast caches
CHUNK = 1 << CHUNK_BITS  # arrivals
NONE = -1  # in place of a chunk


class ArrivalLists(NamedTuple):
    """The lists of a block: ``(s groups + g) PARTS + p`` for part p of slice s and unit group g.

    Chunk c of ``events`` is followed by ``next_chunk[c]``.  A list begins with its
    ``first_chunk``, NONE if it is empty, and ``end`` is the place after its last event.  The first
    ``used[0]`` chunks are in use; chunk 0 is in no list, so that an empty list ends at 0.
    ``member`` is the index of each unit in the component, -1 for units outside it.
    """

    events: np.ndarray
    next_chunk: np.ndarray
    first_chunk: np.ndarray
    end: np.ndarray
    used: np.ndarray
    member: np.ndarray
    groups: int


class Flight(NamedTuple):
    """Spikes in flight: the first entries of ``spikes``, with the unit and next synapse of each.

    While a block runs, ``next_synapse`` is the first synapse at which the spike arrives in the
    block, and ``after_block`` the first at which it arrives later.
    """

    spikes: np.ndarray
    unit_of: np.ndarray
    next_synapse: np.ndarray
    after_block: np.ndarray


@allocating
def new_flight(spikes: int) -> Flight:
    """Room for so many spikes."""
    return Flight(
        np.empty(spikes, np.int64), np.empty(spikes, np.int64), np.empty(spikes, np.int64),
        np.empty(spikes, np.int64),
    )  # fmt: skip


@allocating
def grown_flight(flight: Flight, count: int, spikes: int) -> Flight:
    """The same first ``count`` spikes, with room for ``spikes`` spikes."""
    larger = new_flight(spikes)
    larger.spikes[:count] = flight.spikes[:count]
    larger.unit_of[:count] = flight.unit_of[:count]
    larger.next_synapse[:count] = flight.next_synapse[:count]
    larger.after_block[:count] = flight.after_block[:count]
    return larger


@allocating
def new_lists(members: np.ndarray, units: int) -> ArrivalLists:
    """Room for the lists of a block; the room for events grows."""
    member = np.full(units, -1)
    for m in range(members.size):
        member[members[m]] = m
    groups = (members.size + GROUP - 1) // GROUP
    lists = most_slices(members.size) * groups * PARTS
    chunks = 2 * lists + 64
    return ArrivalLists(
        np.empty(chunks * CHUNK, EVENT), np.empty(chunks, np.int64), np.empty(lists, np.int64),
        np.empty(lists, np.int64), np.ones(1, np.int64), member, groups,
    )  # fmt: skip


@compiled
def clear(lists: ArrivalLists, slices: TimeSlices) -> None:
    """Make the lists of the first block empty."""
    in_use = (slices.in_block * lists.groups) << PART_BITS
    lists.first_chunk[:in_use] = NONE
    lists.end[:in_use] = 0
    lists.used[0] = 1


@compiled
def have_room(lists: ArrivalLists, arrivals: int) -> bool:
    """Whether so many arrivals can be added, whichever lists they belong to."""
    needed = min(arrivals, lists.end.size) + arrivals // CHUNK + 1
    return lists.used[0] + needed <= lists.next_chunk.size


@allocating
def with_room_in_lists(lists: ArrivalLists, arrivals: int) -> ArrivalLists:
    """Lists with room for so many more arrivals: the same ones if they have the room."""
    if have_room(lists, arrivals):
        return lists
    used = lists.used[0]
    chunks = 2 * (used + lists.end.size + arrivals // CHUNK + 1)
    events, next_chunk = np.empty(chunks * CHUNK, EVENT), np.empty(chunks, np.int64)
    for i in range(used * CHUNK):  # a slice of records takes seconds to compile
        events[i] = lists.events[i]
    next_chunk[:used] = lists.next_chunk[:used]
    return ArrivalLists(
        events, next_chunk, lists.first_chunk, lists.end, lists.used, lists.member, lists.groups
    )


@compiled
def add_to_list(lists: ArrivalLists, part: int, member: int, time: float, weight: float) -> None:
    """Append an arrival, for which there is room, to its list; ``part`` is ``part_at``."""
    time_slice, of_slice = part >> PART_BITS, part & (PARTS - 1)
    index = ((time_slice * lists.groups + (member >> GROUP_BITS)) << PART_BITS) + of_slice
    place = lists.end[index]
    if place & (CHUNK - 1) == 0:
        chunk = lists.used[0]
        lists.used[0] = chunk + 1
        lists.next_chunk[chunk] = NONE
        if place == 0:
            lists.first_chunk[index] = chunk
        else:
            lists.next_chunk[(place >> CHUNK_BITS) - 1] = chunk
        place = chunk << CHUNK_BITS
    lists.events[place].time = time
    lists.events[place].weight = weight
    lists.events[place].member = member
    lists.end[index] = place + 1


@compiled
def size_of_list(lists: ArrivalLists, index: int) -> int:
    """How many arrivals a list has."""
    size, chunk = 0, lists.first_chunk[index]
    while chunk >= 0 and lists.next_chunk[chunk] >= 0:
        size += CHUNK
        chunk = lists.next_chunk[chunk]
    return size + lists.end[index] - chunk * CHUNK if chunk >= 0 else 0


@compiled
def deliver(
    spike: int,
    time: float,
    end: int,
    slices: TimeSlices,
    synapses: np.ndarray,
    flight: Flight,
    lists: ArrivalLists,
) -> int:
    """Add the arrivals of a spike in the block to the lists; return their number.

    ``end`` is the synapse after its last.
    """
    begin = place = flight.next_synapse[spike]
    while place < end:
        arrival = time + synapses[place].delay
        if not is_within(arrival, slices.in_block, slices):
            break
        member = lists.member[synapses[place].target]
        add_to_list(lists, part_at(arrival, slices), member, arrival, synapses[place].weight)
        place += 1
    flight.after_block[spike] = place
    return place - begin


@compiled
def deliver_in_flight(
    first: int,
    in_flight: int,
    limit: int,
    slices: TimeSlices,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
    flight: Flight,
    lists: ArrivalLists,
) -> tuple[int, int]:
    """Deliver the spikes in flight, from the ``first``-th on, until the lists are full.

    Also stops after more than ``limit`` arrivals.  Returns the next spike that is not delivered,
    and the number of arrivals.
    """
    arrivals = 0
    for i in range(first, in_flight):
        spike = flight.spikes[i]
        end = outgoing[flight.unit_of[spike] + 1]
        if (
            is_stopped()
            or arrivals > limit
            or not have_room(lists, end - flight.next_synapse[spike])
        ):
            return i, arrivals
        arrivals += deliver(spike, spikes[spike].time, end, slices, synapses, flight, lists)
    return in_flight, arrivals


@allocating
def begin_block(
    lists: ArrivalLists,
    flight: Flight,
    in_flight: int,
    slices: TimeSlices,
    members: int,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> tuple[ArrivalLists, TimeSlices, int]:
    """Put the arrivals of the first block into lists; return their number.

    The slices stay the same or become shorter, so that the block does not have too many arrivals.
    Each attempt allows more arrivals, because they may all come at one instant.  After a stop the
    lists are not valid.
    """
    limit, arrivals, i = 4 * arrivals_in_block(members), 0, 0
    clear(lists, slices)
    while not is_stopped():
        i, more = deliver_in_flight(
            i, in_flight, limit - arrivals, slices, spikes, synapses, outgoing, flight, lists
        )
        arrivals += more
        if arrivals > limit:
            limit, arrivals, i = 2 * limit, 0, 0
            slices = cut(slices.origin, slices.duration, 0.25 / slices.scale, members)
            clear(lists, slices)
        elif i == in_flight:
            break
        else:
            spike = flight.spikes[i]
            end = outgoing[flight.unit_of[spike] + 1]
            lists = with_room_in_lists(lists, end - flight.next_synapse[spike])
    return lists, slices, arrivals


@compiled
def leave_block(
    flight: Flight,
    in_flight: int,
    end_of_block: float,
    duration: float,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> int:
    """Move the spikes in flight on to their arrivals after the block; return how many are left.

    ``end_of_block`` is infinite if the block has run to its end; otherwise the block ended early,
    before the arrivals at that time.
    """
    remaining = 0
    for i in range(in_flight):
        if is_stopped():
            return 0
        spike = flight.spikes[i]
        place, after = flight.next_synapse[spike], flight.after_block[spike]
        time = spikes[spike].time
        if end_of_block == inf:
            place = after
        while place < after and time + synapses[place].delay < end_of_block:
            place += 1
        flight.next_synapse[spike] = place
        if place < outgoing[flight.unit_of[spike] + 1] and (
            time + synapses[place].delay <= duration
        ):
            flight.spikes[remaining] = spike
            remaining += 1
    return remaining
