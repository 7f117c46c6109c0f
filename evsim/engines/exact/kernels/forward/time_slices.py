"""Arrivals at the units of a recurrent component, one part of the trial after the other.

The trial is cut into short time slices; many of them make a block.  When a block begins, the
arrivals in it of all spikes sent so far are counted, then written by slice and by unit.  So memory
holds one block only, however many arrivals the trial has.  Synapses are sorted by delay, and each
spike in flight keeps its next synapse; blocks come in the order of time.  If a slice turns out to
be too long, its block ends early, and the spikes in flight go back to the synapses after that time.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.forward.decays import Decays, new_decays, set_factors
from evsim.engines.exact.kernels.sorting import heap_sort
from evsim.engines.exact.kernels.trial import Trial

EVENT = record(
    [
        ("time", np.float64),
        ("weight", np.float64),
    ]
)
"""An arrival."""

ARRIVALS_PER_UNIT = 8  # on average in a time slice
EXPECTED_SPIKES = 16  # of a unit of the component, before it has run
SHORTEST = 1e-280  # ms that are cut; lengths of parts of less would not all be numbers
LIST_LIMIT = 4096  # slices of a block times units; so many counters stay in the fast caches


class SliceBlock(NamedTuple):
    """Arrivals of a block of time slices, list by list; slice s and the m-th unit: list s M + m.

    ``events[first[l]:first[l + 1]]`` are those of list l, by time; ``excitation[l]`` sums their
    positive weights.  ``decays`` has the factors of the flow to each event from ``since``, the
    time of the event before it at its unit, NaN for the first.  ``member`` says which of the M
    units of the component each unit is.
    """

    first: np.ndarray
    excitation: np.ndarray
    member: np.ndarray
    events: np.ndarray
    since: np.ndarray
    decays: Decays


class Flight(NamedTuple):
    """Spikes in flight: the first of ``spikes``, and for every spike its unit and next synapse.

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


@compiled
def list_limit(members: int) -> int:
    """The largest number of lists of a block, for a component of so many units."""
    return max(LIST_LIMIT, members)


@compiled
def arrivals_in_block(members: int) -> int:
    """How many arrivals a block should have at most."""
    return ARRIVALS_PER_UNIT * list_limit(members)


@allocating
def new_block(members: np.ndarray, units: int) -> SliceBlock:
    """Room for the lists of a block; that for events grows when it is filled."""
    lists = list_limit(members.size)
    member = np.full(units, -1)
    for m in range(members.size):
        member[members[m]] = m
    return SliceBlock(
        np.empty(lists + 2, np.int64), np.empty(lists), member, np.empty(256, EVENT),
        np.empty(256), new_decays(256),
    )  # fmt: skip


class TimeSlices(NamedTuple):
    """How the rest of a trial is cut: into ``number`` time slices, ``in_block`` to a block.

    Time t falls into slice int((t - origin) scale), however that is rounded.  The last slice
    reaches a little beyond the end of the trial, so that events at the end belong to it.
    """

    number: int
    in_block: int
    origin: float  # ms
    scale: float  # per ms
    duration: float  # of the trial, ms


class SliceArrivals(NamedTuple):
    """All arrivals of the block that runs: those known at its beginning, and the late ones.

    ``late`` has the late arrivals; ``list_heads[l]`` is the first of list l, -1 for none.
    """

    slices: TimeSlices
    block: SliceBlock
    late: np.ndarray
    list_heads: np.ndarray


@compiled
def cut(origin: float, duration: float, length: float, members: int) -> TimeSlices:
    """Time slices from a time to the end of the trial, of about a length in ms."""
    rest = max(duration - origin, SHORTEST)
    number = int(min(max(np.ceil(rest / length), 1.0), 2.0**40)) if rest > SHORTEST else 1
    in_block = min(number, max(1, LIST_LIMIT // members))
    return TimeSlices(number, in_block, origin, number / (rest * (1.0 + 1e-12)), duration)


@compiled
def length_for(outgoing: np.ndarray, trial: Trial, members: np.ndarray) -> float:
    """The length of a slice with a few arrivals per unit, if units spike as often as expected."""
    count, duration = trial.counts, trial.duration
    arrivals = 1
    for unit in range(count.size):
        arrivals += count[unit] * (outgoing[unit + 1] - outgoing[unit])
    for unit in members:
        expected = max(EXPECTED_SPIKES - count[unit], 0)
        arrivals += expected * (outgoing[unit + 1] - outgoing[unit])
    return duration / arrivals * ARRIVALS_PER_UNIT * members.size


@compiled
def cut_again(slices: TimeSlices, arrivals: int, members: int, longest: float) -> TimeSlices:
    """Time slices from the end of the first block on, with a length that suits its arrivals.

    None is longer than ``longest``: a busy block may follow a quiet one.
    """
    elapsed = slices.in_block / slices.scale
    length = elapsed / max(arrivals, 1) * ARRIVALS_PER_UNIT * members
    return cut(slices.origin + elapsed, slices.duration, min(length, longest), members)


@compiled
def cut_shorter(
    slices: TimeSlices, time_slice: int, now: float, arrivals: int, members: int
) -> TimeSlices:
    """Time slices from now on, shorter than the one that runs, which has had so many arrivals."""
    elapsed = now - (slices.origin + time_slice / slices.scale)
    length = max(elapsed, 0.0) / max(arrivals, 1) * ARRIVALS_PER_UNIT * members
    return cut(now, slices.duration, min(length, 0.5 / slices.scale), members)


@compiled
def slice_at(time: float, slices: TimeSlices) -> int:
    """The time slice that a time falls into."""
    return int((time - slices.origin) * slices.scale)


@compiled
def is_inside(time: float, time_slice: int, slices: TimeSlices) -> bool:
    """Whether a time is in a time slice and not at its very beginning."""
    return (time - slices.origin) * slices.scale > time_slice and (
        slice_at(time, slices) == time_slice
    )


@compiled
def is_within(time: float, last: int, slices: TimeSlices) -> bool:
    """Whether a time is within the trial, and before time slice ``last``."""
    return time <= slices.duration and (time - slices.origin) * slices.scale < last


@compiled
def count_block(
    block: SliceBlock,
    flight: Flight,
    in_flight: int,
    limit: int,
    slices: TimeSlices,
    members: int,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> bool:
    """Count what arrives in the first block; false if that is more than ``limit``."""
    last = slices.in_block
    _clear(block, members * last)
    arrivals = 0
    for i in range(in_flight):
        if is_stopped():
            return True
        spike = flight.spikes[i]
        begin, end = flight.next_synapse[spike], outgoing[flight.unit_of[spike] + 1]
        time, place = spikes[spike].time, begin
        while place < end and is_within(time + synapses[place].delay, last, slices):
            _count(block, place, time, synapses, slices, members)
            place += 1
        flight.after_block[spike] = place
        arrivals += place - begin
        if arrivals > limit:
            return False
    return True


@compiled
def cut_to_fit(
    block: SliceBlock,
    flight: Flight,
    in_flight: int,
    slices: TimeSlices,
    members: int,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> TimeSlices:
    """The same slices, or shorter ones, so that the first block does not have too many arrivals.

    Each try allows more of them: they may all come at one instant.  They are counted then.
    """
    limit = 4 * arrivals_in_block(members)
    while not count_block(
        block, flight, in_flight, limit, slices, members, spikes, synapses, outgoing
    ):
        limit *= 2
        slices = cut(slices.origin, slices.duration, 0.25 / slices.scale, members)
    return slices


@allocating
def fill(
    block: SliceBlock,
    flight: Flight,
    in_flight: int,
    slices: TimeSlices,
    members: np.ndarray,
    units: np.ndarray,
    spikes: np.ndarray,
    synapses: np.ndarray,
) -> SliceBlock:
    """Write the arrivals of the spikes in flight, which have been counted, into the first block.

    After a stop the block is not valid.
    """
    lists = members.size * slices.in_block
    block = _with_places(block, lists)
    for i in range(in_flight):
        if is_stopped():
            return block
        spike = flight.spikes[i]
        time = spikes[spike].time
        for place in range(flight.next_synapse[spike], flight.after_block[spike]):
            _write(block, place, time, synapses, slices, members.size)
    _finish(block, lists)
    _fill_decays(block, lists, members, units)
    return block


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
    """Move the spikes in flight on to their arrivals after the block; how many there are then.

    ``end_of_block`` is infinite if the block has run to its end; otherwise it ended early, before
    the arrivals at that time.
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


# While arrivals are counted, ``first[l + 2]`` counts those of list l; while they are written,
# ``first[l + 1]`` is the place of the next one of list l.  In the end it is where list l ends.


@compiled
def _clear(block: SliceBlock, lists: int) -> None:
    block.first[: lists + 2] = 0
    block.excitation[:lists] = 0.0


@compiled
def _count(
    block: SliceBlock,
    place: int,
    time: float,
    synapses: np.ndarray,
    slices: TimeSlices,
    members: int,
) -> None:
    s = slice_at(time + synapses[place].delay, slices)
    block.first[s * members + block.member[synapses[place].target] + 2] += 1


@allocating
def _with_places(block: SliceBlock, lists: int) -> SliceBlock:
    for i in range(2, lists + 2):
        block.first[i] += block.first[i - 1]
    total = block.first[lists + 1]
    if total <= block.events.size:
        return block
    return SliceBlock(
        block.first, block.excitation, block.member, np.empty(2 * total, EVENT),
        np.empty(2 * total), new_decays(2 * total),
    )  # fmt: skip


@compiled
def _write(
    block: SliceBlock,
    place: int,
    time: float,
    synapses: np.ndarray,
    slices: TimeSlices,
    members: int,
) -> None:
    time += synapses[place].delay
    weight = synapses[place].weight
    s = slice_at(time, slices)
    index = s * members + block.member[synapses[place].target]
    i = block.first[index + 1]
    block.first[index + 1] = i + 1
    block.events[i].time = time
    block.events[i].weight = weight
    block.excitation[index] += max(weight, 0.0)


@compiled
def _finish(block: SliceBlock, lists: int) -> None:
    """Sort every list by time; most have few arrivals."""
    events = block.events
    for index in range(lists):
        first, last = block.first[index], block.first[index + 1]
        if not _sort_by_insertion(events, first, last):
            heap_sort(events["time"], events["weight"], events["weight"], first, last)


@compiled
def _sort_by_insertion(events: np.ndarray, first: int, last: int) -> bool:
    """Sort events first to last - 1 by time; false if that takes too many steps.

    Equal times keep their order.
    """
    allowed = 32 * (last - first)
    for i in range(first + 1, last):
        time, weight = events[i].time, events[i].weight
        j = i
        while j > first and events[j - 1].time > time:
            events[j].time, events[j].weight = events[j - 1].time, events[j - 1].weight
            j -= 1
        events[j].time, events[j].weight = time, weight
        allowed -= i - j
        if allowed < 0:
            return False
    return True


@allocating
def _fill_decays(block: SliceBlock, lists: int, members: np.ndarray, units: np.ndarray) -> None:
    """How V and I decay up to each event from the one before, without events in between."""
    latest = np.full(members.size, np.nan)
    for index in range(lists):
        m = index % members.size
        for i in range(block.first[index], block.first[index + 1]):
            block.since[i] = latest[m]
            latest[m] = block.events[i].time
    tau_mem, tau_syn = units[members[0]].tau_mem, units[members[0]].tau_syn
    is_alike = True
    for unit in members:
        is_alike &= units[unit].tau_mem == tau_mem and units[unit].tau_syn == tau_syn
    if is_alike:
        for i in range(block.first[lists]):
            elapsed = block.events[i].time - block.since[i]
            set_factors(block.decays, i, elapsed, tau_mem, tau_syn)
        return
    for index in range(lists):
        unit = members[index % members.size]
        for i in range(block.first[index], block.first[index + 1]):
            elapsed = block.events[i].time - block.since[i]
            set_factors(block.decays, i, elapsed, units[unit].tau_mem, units[unit].tau_syn)
