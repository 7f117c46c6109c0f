"""Collecting and sorting the arrivals at a unit whose presynaptic spikes are all known.

Readings of the unit's voltage may be merged into its arrivals; a reading has no synapse.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.event_order import is_after_reading
from evsim.engines.exact.kernels.sorting import heap_sort
from evsim.engines.exact.kernels.trial import Trial

INSERTION_SORT_UP_TO = 48  # arrivals; more are sorted into buckets first

NO_SYNAPSE = -1  # in place of a synapse: not an arrival, but a reading of the voltage


class Arrivals(NamedTuple):
    """Scratch memory for the arrivals at a unit: the time, synapse and spike of each.

    ``place`` counts the arrivals in each bucket while they are sorted.
    """

    time: np.ndarray
    synapse: np.ndarray
    spike: np.ndarray
    place: np.ndarray


@allocating
def new_arrivals(size: int) -> Arrivals:
    """Scratch memory for ``size`` arrivals."""
    return Arrivals(
        np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64),
        np.empty(buckets_for(size) + 2, np.int32),
    )  # fmt: skip


@compiled
def buckets_for(arrivals: int) -> int:
    """The number of buckets, equal parts of the trial, into which so many arrivals are sorted.

    With two buckets per arrival, most arrivals need not be moved within their bucket.
    """
    return 2 * arrivals


@compiled
def possible_arrivals(unit: int, trial: Trial) -> int:
    """How many spikes are sent to a unit, whether or not they arrive within the trial."""
    total = 0
    for index in range(trial.incoming[unit], trial.incoming[unit + 1]):
        total += trial.counts[trial.synapses[index].source]
    return total


@compiled
def largest_arrival_count(first: int, last: int, trial: Trial) -> int:
    """The largest number of spikes that are sent to any of the units first to last - 1."""
    largest = 0
    for unit in range(first, last):
        if is_stopped():
            return 0
        if unit == first or trial.units[unit].arrival_group != trial.units[unit - 1].arrival_group:
            largest = max(largest, possible_arrivals(unit, trial))
    return largest


@allocating
def with_room(arrivals: Arrivals, needed: int) -> Arrivals:
    """Scratch memory for that many arrivals: the same if it suffices."""
    if needed <= arrivals.time.size:
        return arrivals
    return new_arrivals(2 * needed)


@compiled
def copy_arrival(source: Arrivals, i: int, target: Arrivals, k: int) -> None:
    """Copy arrival i of one memory to place k of another, or of the same."""
    target.time[k] = source.time[i]
    target.synapse[k] = source.synapse[i]
    target.spike[k] = source.spike[i]


@compiled
def collect_arrivals(unit: int, trial: Trial, arrivals: Arrivals) -> int:
    """Fill the scratch memory with all arrivals within the trial, unsorted; return their number."""
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
def collect_in_buckets(unit: int, trial: Trial, arrivals: Arrivals, buckets: int) -> int:
    """Like ``collect_arrivals``, but sorted by bucket; within each bucket the order is the same.

    Makes two passes over all spikes, one to count and one to write, so that nothing is moved.
    """
    place = arrivals.place
    place[: buckets + 2] = 0
    pass_spikes(unit, trial, arrivals, buckets, False)
    if is_stopped():
        return 0
    n, bucket = 0, 1
    while bucket < buckets + 2:
        if is_stopped():
            return 0
        end = min(bucket + 4096, buckets + 2)
        for i in range(bucket, end):
            n += place[i]
            place[i] = n
        bucket = end
    pass_spikes(unit, trial, arrivals, buckets, True)
    return n


@compiled
def pass_spikes(unit: int, trial: Trial, arrivals: Arrivals, buckets: int, writes: bool) -> None:
    """Count the arrivals of each bucket, one place ahead, or write them to the bucket."""
    place = arrivals.place
    scale = buckets / trial.duration
    for index in range(trial.incoming[unit], trial.incoming[unit + 1]):
        source, delay = trial.synapses[index].source, trial.synapses[index].delay
        spike, last = trial.starts[source], trial.starts[source] + trial.counts[source]
        while spike < last:
            if is_stopped():
                return
            end = min(spike + 4096, last)  # no check for a stop in the inner loop, for speed
            while spike < end:
                time = trial.spikes[spike].time + delay
                if time > trial.duration:
                    last = spike
                    break
                if not trial.spikes[spike].is_dropped:
                    bucket = int(time * scale)
                    if writes:
                        i = place[bucket]
                        place[bucket] = i + 1
                        arrivals.time[i] = time
                        arrivals.synapse[i] = index
                        arrivals.spike[i] = spike
                    else:
                        place[bucket + 1] += 1
                spike += 1


@compiled
def put_in_order(arrivals: Arrivals, n: int) -> None:
    """Sort the first n arrivals by time; equal times stay in the order of synapses and spikes.

    They were collected in that order, which is nearly the order of time for most of them.
    """
    if not insertion_sort(arrivals, n):
        heap_sort(arrivals.time, arrivals.synapse, arrivals.spike, 0, n)


@compiled
def insertion_sort(arrivals: Arrivals, n: int) -> bool:
    """Sort by insertion; false if it takes too many steps, as with many unordered arrivals."""
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
def arrivals_at(unit: int, trial: Trial, arrivals: Arrivals, cached: int, n: int) -> int:
    """Put all arrivals at a unit within the trial, sorted by time, into the scratch memory.

    The memory must be large enough.  Returns the number of arrivals.  On entry the memory contains
    the ``n`` arrivals of the unit ``cached`` (-1 for none).  If both units receive the same spikes
    at the same times, only the synapses are changed.  After a stop the memory is not valid: check
    ``is_stopped``.
    """
    if is_stopped():  # the memory may be too small then
        return 0
    if cached >= 0 and trial.units[cached].arrival_group == trial.units[unit].arrival_group:
        shift = trial.incoming[unit] - trial.incoming[cached]
        for i in range(n):
            if is_stopped_at(i):
                return 0
            arrivals.synapse[i] += shift
        return n
    return sorted_arrivals(unit, trial, arrivals, possible_arrivals(unit, trial))


@compiled
def sorted_arrivals(unit: int, trial: Trial, arrivals: Arrivals, possible: int) -> int:
    """Like ``arrivals_at`` with nothing cached; ``possible`` is ``possible_arrivals``."""
    if possible <= INSERTION_SORT_UP_TO:
        n = collect_arrivals(unit, trial, arrivals)
    else:
        n = collect_in_buckets(unit, trial, arrivals, buckets_for(possible))
    put_in_order(arrivals, n)
    return n


@compiled
def merge_readings(arrivals: Arrivals, n: int, moments: np.ndarray) -> int:
    """Merge readings at ascending moments into sorted arrivals; return the number of both together.

    A reading has its index among the moments in place of a spike.  There must be room for all.
    """
    total = n + moments.size
    i, m = n - 1, moments.size - 1
    for k in range(total - 1, -1, -1):
        if m < 0:
            break
        if is_stopped_at(k):
            return 0
        if i >= 0 and is_after_reading(arrivals.time[i], moments[m]):
            copy_arrival(arrivals, i, arrivals, k)
            i -= 1
        else:
            arrivals.time[k] = moments[m]
            arrivals.synapse[k] = NO_SYNAPSE
            arrivals.spike[k] = m
            m -= 1
    return total
