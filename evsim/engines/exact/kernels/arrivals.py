"""Collecting and sorting what reaches a unit whose presynaptic spikes are all known.

A moment at which the unit's voltage is read may stand among its arrivals: it reaches no
synapse, and at one instant it comes before arrivals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.trial import Trial

INSERTION_SORT_UP_TO = 48

MOMENT = -1  # in place of the synapse of an arrival


class Arrivals(NamedTuple):
    """Scratch memory for what reaches a unit: when, by which synapse, and which spike it is.

    ``place`` counts arrivals in parts of the trial while they are put in order.
    """

    time: np.ndarray
    synapse: np.ndarray
    spike: np.ndarray
    place: np.ndarray


@allocating
def new_arrivals(size: int) -> Arrivals:
    """Room for so many."""
    return Arrivals(
        np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64),
        np.empty(parts_for(size) + 2, np.int64),
    )  # fmt: skip


@compiled
def parts_for(arrivals: int) -> int:
    """How many equal parts of the trial so many arrivals are sorted into."""
    return arrivals // 2


@compiled
def possible_arrivals(unit: int, trial: Trial) -> int:
    """How many spikes are sent to a unit, whether or not they arrive within the trial."""
    total = 0
    for index in range(trial.incoming[unit], trial.incoming[unit + 1]):
        total += trial.counts[trial.synapses[index].source]
    return total


@compiled
def most_arrivals(first: int, last: int, trial: Trial) -> int:
    """How many spikes are sent to one of the units first to last - 1 at most."""
    most = 0
    for unit in range(first, last):
        if is_stopped():
            return 0
        if unit == first or trial.units[unit].arrival_group != trial.units[unit - 1].arrival_group:
            most = max(most, possible_arrivals(unit, trial))
    return most


@allocating
def with_room(arrivals: Arrivals, needed: int) -> Arrivals:
    """Scratch memory for that many arrivals: the same if it suffices."""
    if needed <= arrivals.time.size:
        return arrivals
    return new_arrivals(2 * needed)


@compiled
def copy_arrival(source: Arrivals, i: int, target: Arrivals, k: int) -> None:
    """Put arrival i of one memory at place k of another, or of the same."""
    target.time[k] = source.time[i]
    target.synapse[k] = source.synapse[i]
    target.spike[k] = source.spike[i]


@compiled
def collect_arrivals(unit: int, trial: Trial, arrivals: Arrivals) -> int:
    """Fill the scratch memory with all arrivals within the trial, unsorted; their number."""
    n = 0
    for index in range(trial.incoming[unit], trial.incoming[unit + 1]):
        source = trial.synapses[index].source
        delay = trial.synapses[index].delay
        begin = trial.starts[source]
        for spike in range(begin, begin + trial.counts[source]):
            time = trial.spikes[spike].time + delay
            if time > trial.duration:
                break
            if trial.spikes[spike].is_dropped:
                continue
            arrivals.time[n] = time
            arrivals.synapse[n] = index
            arrivals.spike[n] = spike
            n += 1
    return n


@compiled
def collect_in_buckets(unit: int, trial: Trial, arrivals: Arrivals, parts: int) -> int:
    """As ``collect_arrivals``, but in the order of time up to equal parts of the trial.

    Each arrival is put where its part begins: two rounds over all spikes, one to count, one to
    place them, and nothing is moved.
    """
    place = arrivals.place
    scale = parts / trial.duration
    place[: parts + 2] = 0
    for index in range(trial.incoming[unit], trial.incoming[unit + 1]):
        source, delay = trial.synapses[index].source, trial.synapses[index].delay
        spike, last = trial.starts[source], trial.starts[source] + trial.counts[source]
        while spike < last:
            if is_stopped():
                return 0
            end = min(spike + 4096, last)  # nothing is asked within the inner loop, for speed
            while spike < end:
                time = trial.spikes[spike].time + delay
                if time > trial.duration:
                    last = spike
                    break
                if not trial.spikes[spike].is_dropped:
                    place[int(time * scale) + 1] += 1
                spike += 1
    for part in range(1, parts + 2):
        if is_stopped_at(part):
            return 0
        place[part] += place[part - 1]
    n = place[parts + 1]
    for index in range(trial.incoming[unit], trial.incoming[unit + 1]):
        source, delay = trial.synapses[index].source, trial.synapses[index].delay
        spike, last = trial.starts[source], trial.starts[source] + trial.counts[source]
        while spike < last:
            if is_stopped():
                return 0
            end = min(spike + 4096, last)
            while spike < end:
                time = trial.spikes[spike].time + delay
                if time > trial.duration:
                    last = spike
                    break
                if not trial.spikes[spike].is_dropped:
                    part = int(time * scale)
                    i = place[part]
                    place[part] = i + 1
                    arrivals.time[i] = time
                    arrivals.synapse[i] = index
                    arrivals.spike[i] = spike
                spike += 1
    return n


@compiled
def put_in_order(arrivals: Arrivals, n: int) -> None:
    """Sort the first n arrivals by time; equal times stay in the order of synapses and spikes.

    They have been collected in that order, and most of them nearly by time.
    """
    if not insertion_sort(arrivals, n):
        heap_sort(arrivals, n)


@compiled
def insertion_sort(arrivals: Arrivals, n: int) -> bool:
    """Sort by insertion; false if that takes too many steps, as many arrivals in no order do."""
    allowed = 64 * n
    for i in range(1, n):
        if is_stopped_at(i):
            return True
        time = arrivals.time[i]
        if arrivals.time[i - 1] <= time:
            continue
        synapse, spike = arrivals.synapse[i], arrivals.spike[i]
        j = i
        while j > 0 and arrivals.time[j - 1] > time:
            copy_arrival(arrivals, j - 1, arrivals, j)
            j -= 1
        arrivals.time[j] = time
        arrivals.synapse[j] = synapse
        arrivals.spike[j] = spike
        allowed -= i - j
        if allowed < 0:
            return False
    return True


@compiled
def is_later(arrivals: Arrivals, i: int, time: float, synapse: int, spike: int) -> bool:
    """Whether arrival i comes after another in the order that arrivals have."""
    if arrivals.time[i] != time:
        return arrivals.time[i] > time
    if arrivals.synapse[i] != synapse:
        return arrivals.synapse[i] > synapse
    return arrivals.spike[i] > spike


@compiled
def heap_sort(arrivals: Arrivals, n: int) -> None:
    """Sort by a heap, in a number of steps that does not depend on the order there was."""
    for place in range(n // 2 - 1, -1, -1):
        if is_stopped_at(place):
            return
        sink(
            arrivals, place, n, arrivals.time[place], arrivals.synapse[place], arrivals.spike[place]
        )
    for end in range(n - 1, 0, -1):
        if is_stopped_at(end):
            return
        time, synapse, spike = arrivals.time[end], arrivals.synapse[end], arrivals.spike[end]
        copy_arrival(arrivals, 0, arrivals, end)
        sink(arrivals, 0, end, time, synapse, spike)


@compiled
def sink(arrivals: Arrivals, place: int, n: int, time: float, synapse: int, spike: int) -> None:
    """Put an arrival into a heap of n, from a free place down."""
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        other = child + 1
        if other < n and is_later(
            arrivals, other, arrivals.time[child], arrivals.synapse[child], arrivals.spike[child]
        ):
            child = other
        if not is_later(arrivals, child, time, synapse, spike):
            break
        copy_arrival(arrivals, child, arrivals, place)
        place = child
    arrivals.time[place] = time
    arrivals.synapse[place] = synapse
    arrivals.spike[place] = spike


@compiled
def arrivals_at(unit: int, trial: Trial, arrivals: Arrivals, held: int, n: int) -> int:
    """Put all arrivals at a unit within the trial, sorted by time, into the scratch memory.

    There is room for them.  Returns how many there are.  The memory still holds the ``n`` arrivals
    of the unit ``held`` (-1 for none): a unit that hears the same at the same times takes them
    over, with its own synapses.  What is there after a stop is of no use: ask ``is_stopped``.
    """
    if is_stopped():  # so there may be less room
        return 0
    if held >= 0 and trial.units[held].arrival_group == trial.units[unit].arrival_group:
        shift = trial.incoming[unit] - trial.incoming[held]
        for i in range(n):
            if is_stopped_at(i):
                return 0
            arrivals.synapse[i] += shift
        return n
    possible = possible_arrivals(unit, trial)
    if possible <= INSERTION_SORT_UP_TO:
        n = collect_arrivals(unit, trial, arrivals)
    else:
        n = collect_in_buckets(unit, trial, arrivals, parts_for(possible))
    put_in_order(arrivals, n)
    return n


@compiled
def merge_moments(arrivals: Arrivals, n: int, moments: np.ndarray) -> int:
    """Merge ascending moments into sorted arrivals; the number of a moment stands for its spike.

    There is room for them.  Returns how many there are together.
    """
    total = n + moments.size
    i, m = n - 1, moments.size - 1
    for k in range(total - 1, -1, -1):
        if m < 0:
            break
        if is_stopped_at(k):
            return 0
        if i >= 0 and arrivals.time[i] >= moments[m]:
            copy_arrival(arrivals, i, arrivals, k)
            i -= 1
        else:
            arrivals.time[k] = moments[m]
            arrivals.synapse[k] = MOMENT
            arrivals.spike[k] = m
            m -= 1
    return total
