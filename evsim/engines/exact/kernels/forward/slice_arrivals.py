"""The arrivals in a time slice, unit by unit in the order of time, and the decays between them.

The lists of a slice are in order of time, so the arrivals that a unit takes from them are nearly
sorted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim.engines.exact.kernels.forward.arrival_lists import (
    CHUNK,
    GROUP,
    PARTS,
    ArrivalLists,
    size_of_list,
)
from evsim.engines.exact.kernels.forward.decays import Decays, fill_decays, new_decays
from evsim.engines.exact.kernels.forward.recurrent_state import Running, begin_unit
from evsim.engines.exact.kernels.sorting import heap_sort


class SliceArrivals(NamedTuple):
    """The arrivals in a time slice that are known when it begins.

    ``first[m]`` is the first at the m-th unit of the component.  ``elapsed`` is the time since the
    previous event at the unit, in ms, and ``decays`` contains the factors of the flow over this
    time.  ``place`` is used for sorting.
    """

    first: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    elapsed: np.ndarray
    decays: Decays
    place: np.ndarray


@allocating
def new_slice_arrivals(first: np.ndarray, size: int) -> SliceArrivals:
    """Room for so many arrivals."""
    return SliceArrivals(
        first, np.empty(size), np.empty(size), np.empty(size), new_decays(size),
        np.empty(GROUP + 1, np.int64),
    )  # fmt: skip


@allocating
def with_room_for_slice(
    arriving: SliceArrivals, lists: ArrivalLists, time_slice: int
) -> SliceArrivals:
    """Room for all arrivals of a slice: the same if it suffices."""
    needed = 0
    first = time_slice * lists.groups * PARTS
    for index in range(first, first + lists.groups * PARTS):
        needed += size_of_list(lists, index)
    if needed <= arriving.time.size:
        return arriving
    return new_slice_arrivals(arriving.first, 2 * needed)


@compiled
def units_of_group(group: int, members: int) -> tuple[int, int]:
    """The first of the units of a group, and the one after the last."""
    return group * GROUP, min((group + 1) * GROUP, members)


@compiled
def begin_group(
    group: int, begin: int, time_slice: int, lists: ArrivalLists, running: Running,
    arriving: SliceArrivals,
) -> int:  # fmt: skip
    """Begin a slice for the units of a group, with their arrivals from place ``begin`` on.

    Returns the place after their last arrival.
    """
    states, members = running.states, running.members
    first, last = units_of_group(group, members.size)
    end = sort_by_unit(
        (time_slice * lists.groups + group) * PARTS, begin, first, last, lists, arriving
    )
    for m in range(first, last):
        sort_nearly_sorted(arriving, arriving.first[m], arriving.first[m + 1])
        begin_unit(members[m], states, arriving.first[m], arriving.first[m + 1])
    fill_elapsed(begin, end, first, last, running, arriving)
    return end


@compiled
def sort_by_unit(
    list_index: int, begin: int, first: int, last: int, lists: ArrivalLists,
    arriving: SliceArrivals,
) -> int:  # fmt: skip
    """Sort the arrivals at a unit group by unit, from ``begin`` on; return where they end.

    ``list_index`` is the list of the first part of the slice.
    """
    place, events = arriving.place, lists.events
    place[: last - first + 1] = 0
    for index in range(list_index, list_index + PARTS):
        chunk = lists.first_chunk[index]
        while chunk >= 0:
            following = lists.next_chunk[chunk]
            end = (chunk + 1) * CHUNK if following >= 0 else lists.end[index]
            for i in range(chunk * CHUNK, end):
                place[events[i].member - first + 1] += 1
            chunk = following
    arriving.first[first] = place[0] = begin
    for k in range(last - first):
        place[k + 1] += place[k]
        arriving.first[first + k + 1] = place[k + 1]
    for index in range(list_index, list_index + PARTS):
        chunk = lists.first_chunk[index]
        while chunk >= 0:
            following = lists.next_chunk[chunk]
            end = (chunk + 1) * CHUNK if following >= 0 else lists.end[index]
            for i in range(chunk * CHUNK, end):
                k = events[i].member - first
                arriving.time[place[k]] = events[i].time
                arriving.weight[place[k]] = events[i].weight
                place[k] += 1
            chunk = following
    return arriving.first[last]


@compiled
def sort_nearly_sorted(arriving: SliceArrivals, first: int, last: int) -> None:
    """Sort arrivals first to last - 1 by time; equal times keep their order.

    If that takes many steps, because arrivals are close together, another method is used.
    """
    times, weights = arriving.time, arriving.weight
    allowed = 32 * (last - first)
    for i in range(first + 1, last):
        time = times[i]
        if times[i - 1] <= time:
            continue
        weight = weights[i]
        j = i
        while j > first and times[j - 1] > time:
            times[j], weights[j] = times[j - 1], weights[j - 1]
            j -= 1
        times[j], weights[j] = time, weight
        allowed -= i - j
        if allowed < 0:
            heap_sort(times, weights, weights, first, last)
            return


@compiled
def fill_elapsed(
    begin: int, end: int, first: int, last: int, running: Running, arriving: SliceArrivals
) -> None:
    """Fill in the times since the previous event, and the factors of the flow over them."""
    states, members, units = running.states, running.members, running.units
    time, elapsed = arriving.time[begin:end], arriving.elapsed[begin:end]
    for i in range(1, end - begin):
        elapsed[i] = time[i] - time[i - 1]
    for m in range(first, last):
        i = arriving.first[m]
        if i < arriving.first[m + 1]:
            arriving.elapsed[i] = arriving.time[i] - states[members[m]].now
    if running.is_alike:
        tau_mem, tau_syn = units[members[0]].tau_mem, units[members[0]].tau_syn
        fill_decays(arriving.decays, begin, end, arriving.elapsed, tau_mem, tau_syn)
        return
    for m in range(first, last):
        tau_mem, tau_syn = units[members[m]].tau_mem, units[members[m]].tau_syn
        fill_decays(
            arriving.decays, arriving.first[m], arriving.first[m + 1], arriving.elapsed, tau_mem,
            tau_syn,
        )  # fmt: skip
