"""Collecting and sorting what reaches a unit whose presynaptic spikes are all known.

A moment at which the unit's voltage is read may stand among its arrivals: it reaches no
synapse, and at one instant it comes before arrivals.
"""

from __future__ import annotations

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.records import ARRIVAL

INSERTION_SORT_UP_TO = 48

MOMENT = -1  # in place of the synapse of an arrival


@compiled
def possible_arrivals(
    unit: int, synapses: np.ndarray, incoming: np.ndarray, count: np.ndarray
) -> int:
    """How many spikes are sent to a unit, whether or not they arrive within the trial."""
    total = 0
    for index in range(incoming[unit], incoming[unit + 1]):
        total += count[synapses[index].source]
    return total


@allocating
def with_room(arrivals: np.ndarray, needed: int) -> np.ndarray:
    """Scratch memory for that many arrivals: the same if it suffices."""
    if needed <= arrivals.size:
        return arrivals
    return np.empty(2 * needed, ARRIVAL)


@compiled
def collect_arrivals(
    unit: int,
    synapses: np.ndarray,
    incoming: np.ndarray,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    duration: float,
    arrivals: np.ndarray,
) -> int:
    """Fill the scratch memory with all arrivals within the trial, unsorted; their number."""
    n = 0
    for index in range(incoming[unit], incoming[unit + 1]):
        source = synapses[index].source
        delay = synapses[index].delay
        begin = start[source]
        for spike in range(begin, begin + count[source]):
            time = spikes[spike].time + delay
            if time > duration:
                break
            if spikes[spike].is_dropped:
                continue
            arrivals[n].time = time
            arrivals[n].synapse = index
            arrivals[n].spike = spike
            n += 1
    return n


@compiled
def collect_in_buckets(
    unit: int,
    synapses: np.ndarray,
    incoming: np.ndarray,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    duration: float,
    arrivals: np.ndarray,
    place: np.ndarray,
) -> int:
    """As ``collect_arrivals``, but in the order of time up to equal parts of the trial.

    There are ``place.size - 2`` parts.  Each arrival is put where its part begins: two rounds
    over all spikes, one to count, one to place them, and nothing is moved.
    """
    scale = (place.size - 2) / duration
    place[:] = 0
    for index in range(incoming[unit], incoming[unit + 1]):
        source, delay = synapses[index].source, synapses[index].delay
        for spike in range(start[source], start[source] + count[source]):
            time = spikes[spike].time + delay
            if time > duration:
                break
            if not spikes[spike].is_dropped:
                place[int(time * scale) + 1] += 1
    for part in range(1, place.size):
        place[part] += place[part - 1]
    n = place[place.size - 1]
    for index in range(incoming[unit], incoming[unit + 1]):
        source, delay = synapses[index].source, synapses[index].delay
        for spike in range(start[source], start[source] + count[source]):
            time = spikes[spike].time + delay
            if time > duration:
                break
            if not spikes[spike].is_dropped:
                part = int(time * scale)
                i = place[part]
                place[part] = i + 1
                arrivals[i].time = time
                arrivals[i].synapse = index
                arrivals[i].spike = spike
    return n


@compiled
def insertion_sort(arrivals: np.ndarray, n: int) -> None:
    """Sort the first n arrivals by time; equal times keep their order.  Fast if nearly sorted."""
    for i in range(1, n):
        time = arrivals[i].time
        if arrivals[i - 1].time <= time:
            continue
        synapse, spike = arrivals[i].synapse, arrivals[i].spike
        j = i
        while j > 0 and arrivals[j - 1].time > time:
            arrivals[j].time = arrivals[j - 1].time
            arrivals[j].synapse = arrivals[j - 1].synapse
            arrivals[j].spike = arrivals[j - 1].spike
            j -= 1
        arrivals[j].time = time
        arrivals[j].synapse = synapse
        arrivals[j].spike = spike


@allocating
def arrivals_at(
    unit: int,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    arrivals: np.ndarray,
    held: int,
    n: int,
) -> tuple[np.ndarray, int]:
    """All arrivals at a unit within the trial, sorted by time, and how many there are.

    They lie in the scratch memory ``arrivals``, or in a larger one if it is too small.  It
    still holds the ``n`` arrivals of the unit ``held`` (-1 for none): a unit that hears the
    same at the same times takes them over, with its own synapses.
    """
    if held >= 0 and units[held].arrival_group == units[unit].arrival_group:
        shift = incoming[unit] - incoming[held]
        for i in range(n):
            arrivals[i].synapse += shift
        return arrivals, n
    possible = possible_arrivals(unit, synapses, incoming, count)
    arrivals = with_room(arrivals, possible)
    if possible <= INSERTION_SORT_UP_TO:
        n = collect_arrivals(unit, synapses, incoming, spikes, start, count, duration, arrivals)
    else:
        place = np.empty(possible // 2 + 2, np.int64)
        n = collect_in_buckets(
            unit, synapses, incoming, spikes, start, count, duration, arrivals, place
        )
    insertion_sort(arrivals, n)
    return arrivals, n


@allocating
def with_moments(arrivals: np.ndarray, n: int, moments: np.ndarray) -> tuple[np.ndarray, int]:
    """Merge ascending moments into sorted arrivals; the number of a moment stands for its spike."""
    total = n + moments.size
    merged = arrivals
    if total > arrivals.size:
        merged = np.empty(2 * total, ARRIVAL)
        for k in range(n):  # a slice of records takes seconds to compile
            merged[k] = arrivals[k]
    i, m = n - 1, moments.size - 1
    for k in range(total - 1, -1, -1):
        if m < 0:
            break
        if i >= 0 and merged[i].time >= moments[m]:
            merged[k] = merged[i]
            i -= 1
        else:
            merged[k].time = moments[m]
            merged[k].synapse = MOMENT
            merged[k].spike = m
            m -= 1
    return merged, total
