"""Arrivals at units that reach each other, one part of the trial after the other.

A spike in flight is a cursor that stands at its next synapse, synapses being sorted by delay.
What arrives in a chunk of the trial is counted, then written where it belongs: by stretch, a short
part of the chunk, and by unit.  Memory holds one chunk, however many arrivals the trial has.
Chunks come in the order of time; a cursor stands at its spike's earliest arrival still to come.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim.compiled import allocating, compiled, record
from evsim.engines.kernels.decays import Decays, new_decays, set_factors
from evsim.engines.kernels.trial import Trial

EVENT = record(
    [
        ("time", np.float64),
        ("weight", np.float64),
        ("synapse", np.int64),  # its number in the topology
        ("spike", np.int64),
    ]
)
"""An arrival."""

ARRIVALS_PER_UNIT = 8  # on average in a stretch
EXPECTED_SPIKES = 16  # of a unit of the component, before it has run
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
    """Spikes in flight: the first of ``spikes``, and for every spike its unit and next synapse."""

    spikes: np.ndarray
    unit_of: np.ndarray
    next_synapse: np.ndarray


@allocating
def new_flight(spikes: int) -> Flight:
    """Room for so many spikes."""
    return Flight(
        np.empty(spikes, np.int64), np.empty(spikes, np.int64), np.empty(spikes, np.int64)
    )


@compiled
def most_lists(members: int) -> int:
    """How many lists a chunk may have for a component of so many units."""
    return max(MOST_LISTS, members)


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
    rest = max(duration - origin, 1e-300)
    number = int(min(max(np.ceil(rest / length), 1.0), 2.0**40))
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
def stretch_at(time: float, stretches: Stretches) -> int:
    """The stretch that a time falls into."""
    return int((time - stretches.origin) * stretches.scale)


@compiled
def is_within(time: float, last: int, stretches: Stretches) -> bool:
    """Whether a time is within the trial, and before stretch ``last``."""
    return time <= stretches.duration and (time - stretches.origin) * stretches.scale < last


@allocating
def fill(
    chunk: Chunk,
    flight: Flight,
    in_flight: int,
    stretches: Stretches,
    last: int,
    members: np.ndarray,
    units: np.ndarray,
    spikes: np.ndarray,
    synapses: np.ndarray,
    outgoing: np.ndarray,
) -> tuple[Chunk, int]:
    """Take up the arrivals in stretches 0 to last - 1; how many are in flight after them."""
    lists = members.size * last
    _clear(chunk, lists)
    for i in range(in_flight):
        spike = flight.spikes[i]
        place, end = flight.next_synapse[spike], outgoing[flight.unit_of[spike] + 1]
        time = spikes[spike].time
        while place < end and is_within(time + synapses[place].delay, last, stretches):
            _count(chunk, place, time, synapses, stretches, members.size)
            place += 1
    chunk = _with_places(chunk, lists)
    remaining = 0
    for i in range(in_flight):
        spike = flight.spikes[i]
        place, end = flight.next_synapse[spike], outgoing[flight.unit_of[spike] + 1]
        time = spikes[spike].time
        while place < end and is_within(time + synapses[place].delay, last, stretches):
            _write(chunk, place, spike, time, synapses, stretches, members.size)
            place += 1
        flight.next_synapse[spike] = place
        if place < end and time + synapses[place].delay <= stretches.duration:
            flight.spikes[remaining] = spike
            remaining += 1
    _finish(chunk, lists)
    _fill_decays(chunk, lists, members, units)
    return chunk, remaining


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
    spike: int,
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
    chunk.events[i].synapse = synapses[place].index
    chunk.events[i].spike = spike
    chunk.excitation[own] += max(weight, 0.0)


@compiled
def _finish(chunk: Chunk, lists: int) -> None:
    """Sort every list by time; there are few arrivals in each."""
    events = chunk.events
    for own in range(lists):
        first = chunk.first[own]
        for i in range(first + 1, chunk.first[own + 1]):
            time = events[i].time
            if events[i - 1].time <= time:
                continue
            weight, synapse, spike = events[i].weight, events[i].synapse, events[i].spike
            j = i
            while j > first and events[j - 1].time > time:
                events[j].time = events[j - 1].time
                events[j].weight = events[j - 1].weight
                events[j].synapse = events[j - 1].synapse
                events[j].spike = events[j - 1].spike
                j -= 1
            events[j].time = time
            events[j].weight = weight
            events[j].synapse = synapse
            events[j].spike = spike


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
