"""Arrivals at units that reach each other, one part of the trial after the other.

A spike in flight is a cursor that stands at its next synapse, synapses being sorted by delay.
What arrives in a chunk of the trial is counted, then written where it belongs: by stretch, a short
part of the chunk, and by unit.  Memory holds one chunk, however many arrivals the trial has.
Chunks come in the order of time; a cursor stands at its spike's earliest arrival still to come.
A chunk whose stretches turn out to be too long ends before its time, and the cursors go back.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.forward.decays import Decays, new_decays, set_factors
from evsim.engines.exact.kernels.trial import Trial

EVENT = record(
    [
        ("time", np.float64),
        ("weight", np.float64),
    ]
)
"""An arrival."""

ARRIVALS_PER_UNIT = 8  # on average in a stretch
EXPECTED_SPIKES = 16  # of a unit of the component, before it has run
SHORTEST = 1e-280  # ms that are cut; lengths of parts of less would not all be numbers
MOST_LISTS = 4096  # stretches of a chunk times units; so many counters stay in the fast caches


class Chunk(NamedTuple):
    """Arrivals of a chunk, list by list: those of stretch s at the m-th unit make list s M + m.

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

    While a chunk runs, ``next_synapse`` is the first that the spike reaches in the chunk, and
    ``after_chunk`` the first that it reaches later.
    """

    spikes: np.ndarray
    unit_of: np.ndarray
    next_synapse: np.ndarray
    after_chunk: np.ndarray


@allocating
def new_flight(spikes: int) -> Flight:
    """Room for so many spikes."""
    return Flight(
        np.empty(spikes, np.int64), np.empty(spikes, np.int64), np.empty(spikes, np.int64),
        np.empty(spikes, np.int64),
    )  # fmt: skip


@compiled
def most_lists(members: int) -> int:
    """How many lists a chunk may have for a component of so many units."""
    return max(MOST_LISTS, members)


@compiled
def arrivals_in_chunk(members: int) -> int:
    """How many arrivals a chunk is meant to have at most."""
    return ARRIVALS_PER_UNIT * most_lists(members)


@allocating
def new_chunk(members: np.ndarray, units: int) -> Chunk:
    """Room for the lists of a chunk; that for events grows when it is filled."""
    lists = most_lists(members.size)
    member = np.full(units, -1)
    for m in range(members.size):
        member[members[m]] = m
    return Chunk(
        np.empty(lists + 2, np.int64), np.empty(lists), member, np.empty(256, EVENT),
        np.empty(256), new_decays(256),
    )  # fmt: skip


class Stretches(NamedTuple):
    """How what is left of a trial is cut: into ``number`` stretches, ``in_chunk`` to a chunk.

    Time t falls into stretch int((t - origin) scale), however that is rounded.  The last one has
    some room beyond the end of the trial, so that what happens at the end belongs to it.
    """

    number: int
    in_chunk: int
    origin: float  # ms
    scale: float  # per ms
    duration: float  # of the trial, ms


@compiled
def cut(origin: float, duration: float, length: float, members: int) -> Stretches:
    """Stretches from a time to the end of the trial, of about a length in ms."""
    rest = max(duration - origin, SHORTEST)
    number = int(min(max(np.ceil(rest / length), 1.0), 2.0**40)) if rest > SHORTEST else 1
    in_chunk = min(number, max(1, MOST_LISTS // members))
    return Stretches(number, in_chunk, origin, number / (rest * (1.0 + 1e-12)), duration)


@compiled
def length_for(outgoing: np.ndarray, trial: Trial, members: np.ndarray) -> float:
    """The length with a few arrivals for each unit, if its units spike as often as is expected."""
    count, duration = trial.counts, trial.duration
    arrivals = 1
    for unit in range(count.size):
        arrivals += count[unit] * (outgoing[unit + 1] - outgoing[unit])
    for unit in members:
        more = max(EXPECTED_SPIKES - count[unit], 0)
        arrivals += more * (outgoing[unit + 1] - outgoing[unit])
    return duration / arrivals * ARRIVALS_PER_UNIT * members.size


@compiled
def cut_again(stretches: Stretches, arrivals: int, members: int, longest: float) -> Stretches:
    """Stretches from the end of the first chunk on, with a length that suits its arrivals.

    None is longer than ``longest``: after a quiet chunk may come one that is not.
    """
    elapsed = stretches.in_chunk / stretches.scale
    length = elapsed / max(arrivals, 1) * ARRIVALS_PER_UNIT * members
    return cut(stretches.origin + elapsed, stretches.duration, min(length, longest), members)


@compiled
def cut_shorter(
    stretches: Stretches, stretch: int, now: float, arrivals: int, members: int
) -> Stretches:
    """Stretches from now on, shorter than the one that runs, which has had so many arrivals."""
    elapsed = now - (stretches.origin + stretch / stretches.scale)
    length = max(elapsed, 0.0) / max(arrivals, 1) * ARRIVALS_PER_UNIT * members
    return cut(now, stretches.duration, min(length, 0.5 / stretches.scale), members)


@compiled
def stretch_at(time: float, stretches: Stretches) -> int:
    """The stretch that a time falls into."""
    return int((time - stretches.origin) * stretches.scale)


@compiled
def is_inside(time: float, stretch: int, stretches: Stretches) -> bool:
    """Whether a time is in a stretch and not at its very beginning."""
    return (time - stretches.origin) * stretches.scale > stretch and (
        stretch_at(time, stretches) == stretch
    )


@compiled
def is_within(time: float, last: int, stretches: Stretches) -> bool:
    """Whether a time is within the trial, and before stretch ``last``."""
    return time <= stretches.duration and (time - stretches.origin) * stretches.scale < last


@compiled
def count_chunk(
    chunk: Chunk,
    flight: Flight,
    in_flight: int,
    most: int,
    stretches: Stretches,
    members: int,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> bool:
    """Count what arrives in the first chunk; false if that is more than ``most``."""
    last = stretches.in_chunk
    _clear(chunk, members * last)
    arrivals = 0
    for i in range(in_flight):
        if is_stopped():
            return True
        spike = flight.spikes[i]
        begin, end = flight.next_synapse[spike], outgoing[flight.unit_of[spike] + 1]
        time, place = spikes[spike].time, begin
        while place < end and is_within(time + synapses[place].delay, last, stretches):
            _count(chunk, place, time, synapses, stretches, members)
            place += 1
        flight.after_chunk[spike] = place
        arrivals += place - begin
        if arrivals > most:
            return False
    return True


@compiled
def cut_to_fit(
    chunk: Chunk,
    flight: Flight,
    in_flight: int,
    stretches: Stretches,
    members: int,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> Stretches:
    """The same stretches, or shorter ones, so that the first chunk has not too many arrivals.

    More of them are allowed with every try: they may all come at one instant.  Leaves them counted.
    """
    most = 4 * arrivals_in_chunk(members)
    while not count_chunk(
        chunk, flight, in_flight, most, stretches, members, spikes, synapses, outgoing
    ):
        most *= 2
        stretches = cut(stretches.origin, stretches.duration, 0.25 / stretches.scale, members)
    return stretches


@allocating
def fill(
    chunk: Chunk,
    flight: Flight,
    in_flight: int,
    stretches: Stretches,
    members: np.ndarray,
    units: np.ndarray,
    spikes: np.ndarray,
    synapses: np.ndarray,
) -> Chunk:
    """Take up the arrivals of the spikes in flight, which have been counted, in the first chunk.

    What is there after a stop is of no use.
    """
    lists = members.size * stretches.in_chunk
    chunk = _with_places(chunk, lists)
    for i in range(in_flight):
        if is_stopped():
            return chunk
        spike = flight.spikes[i]
        time = spikes[spike].time
        for place in range(flight.next_synapse[spike], flight.after_chunk[spike]):
            _write(chunk, place, time, synapses, stretches, members.size)
    _finish(chunk, lists)
    _fill_decays(chunk, lists, members, units)
    return chunk


@compiled
def leave_chunk(
    flight: Flight,
    in_flight: int,
    end_of_chunk: float,
    duration: float,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> int:
    """Move cursors on to what arrives after the chunk; how many spikes are in flight then.

    The chunk ended as it was planned if ``end_of_chunk`` is infinite, otherwise before what
    arrives at that time.
    """
    remaining = 0
    for i in range(in_flight):
        if is_stopped():
            return 0
        spike = flight.spikes[i]
        place, after = flight.next_synapse[spike], flight.after_chunk[spike]
        time = spikes[spike].time
        if end_of_chunk == inf:
            place = after
        while place < after and time + synapses[place].delay < end_of_chunk:
            place += 1
        flight.next_synapse[spike] = place
        if place < outgoing[flight.unit_of[spike] + 1] and (
            time + synapses[place].delay <= duration
        ):
            flight.spikes[remaining] = spike
            remaining += 1
    return remaining


# Counters are one list ahead, ``first[l + 2]``, while arrivals are counted, and ``first[l + 1]`` is
# where the next one of list l goes while they are written: then it ends where list l ends.


@compiled
def _clear(chunk: Chunk, lists: int) -> None:
    chunk.first[: lists + 2] = 0
    chunk.excitation[:lists] = 0.0


@compiled
def _count(
    chunk: Chunk,
    place: int,
    time: float,
    synapses: np.ndarray,
    stretches: Stretches,
    members: int,
) -> None:
    s = stretch_at(time + synapses[place].delay, stretches)
    chunk.first[s * members + chunk.member[synapses[place].target] + 2] += 1


@allocating
def _with_places(chunk: Chunk, lists: int) -> Chunk:
    for i in range(2, lists + 2):
        chunk.first[i] += chunk.first[i - 1]
    total = chunk.first[lists + 1]
    if total <= chunk.events.size:
        return chunk
    return Chunk(
        chunk.first, chunk.excitation, chunk.member, np.empty(2 * total, EVENT),
        np.empty(2 * total), new_decays(2 * total),
    )  # fmt: skip


@compiled
def _write(
    chunk: Chunk,
    place: int,
    time: float,
    synapses: np.ndarray,
    stretches: Stretches,
    members: int,
) -> None:
    time += synapses[place].delay
    weight = synapses[place].weight
    s = stretch_at(time, stretches)
    own = s * members + chunk.member[synapses[place].target]
    i = chunk.first[own + 1]
    chunk.first[own + 1] = i + 1
    chunk.events[i].time = time
    chunk.events[i].weight = weight
    chunk.excitation[own] += max(weight, 0.0)


@compiled
def _finish(chunk: Chunk, lists: int) -> None:
    """Sort every list by time; there are few arrivals in most."""
    for own in range(lists):
        first, last = chunk.first[own], chunk.first[own + 1]
        if not _sort_by_insertion(chunk.events, first, last):
            _sort_by_heap(chunk.events, first, last)


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


@compiled
def _is_later(events: np.ndarray, i: int, time: float, weight: float) -> bool:
    return events[i].time > time or (events[i].time == time and events[i].weight > weight)


@compiled
def _sort_by_heap(events: np.ndarray, first: int, last: int) -> None:
    """Sort events first to last - 1 by time, and equal times by weight: many in no order."""
    n = last - first
    for place in range(n // 2 - 1, -1, -1):
        _sink(events, first, place, n, events[first + place].time, events[first + place].weight)
    for end in range(last - 1, first, -1):
        time, weight = events[end].time, events[end].weight
        events[end].time, events[end].weight = events[first].time, events[first].weight
        _sink(events, first, 0, end - first, time, weight)


@compiled
def _sink(events: np.ndarray, first: int, place: int, n: int, time: float, weight: float) -> None:
    """Put an event into the heap of n events that begins at ``first``, from a free place down."""
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        other = first + child + 1
        if child + 1 < n and _is_later(
            events, other, events[other - 1].time, events[other - 1].weight
        ):
            child += 1
        if not _is_later(events, first + child, time, weight):
            break
        events[first + place].time = events[first + child].time
        events[first + place].weight = events[first + child].weight
        place = child
    events[first + place].time, events[first + place].weight = time, weight


@allocating
def _fill_decays(chunk: Chunk, lists: int, members: np.ndarray, units: np.ndarray) -> None:
    """How V and I decay before each event, if nothing else happens at its unit."""
    latest = np.full(members.size, np.nan)
    for own in range(lists):
        m = own % members.size
        for i in range(chunk.first[own], chunk.first[own + 1]):
            chunk.since[i] = latest[m]
            latest[m] = chunk.events[i].time
    tau_mem, tau_syn = units[members[0]].tau_mem, units[members[0]].tau_syn
    is_alike = True
    for unit in members:
        is_alike &= units[unit].tau_mem == tau_mem and units[unit].tau_syn == tau_syn
    if is_alike:
        for i in range(chunk.first[lists]):
            elapsed = chunk.events[i].time - chunk.since[i]
            set_factors(chunk.decays, i, elapsed, tau_mem, tau_syn)
        return
    for own in range(lists):
        unit = members[own % members.size]
        for i in range(chunk.first[own], chunk.first[own + 1]):
            elapsed = chunk.events[i].time - chunk.since[i]
            set_factors(chunk.decays, i, elapsed, units[unit].tau_mem, units[unit].tau_syn)
