"""Recurrent components, whose units send spikes to each other: one common order of emissions.

The trial is cut into time slices.  In each slice every unit runs ahead on its own through the
arrivals known so far, until it may emit; then the emissions take place in order, see
``slice_emissions``.

The search is cheap if a slice has few arrivals.  If activity rises and a slice or its block gets
too many, both end early, and the rest of the trial is cut again.  So the cost of an arrival does
not depend on how many there are.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.event_order import is_before_release
from evsim.engines.exact.kernels.failures import Status, fail, has_failed
from evsim.engines.exact.kernels.forward.arrival_lists import (
    Flight,
    begin_block,
    grown_flight,
    leave_block,
    new_lists,
)
from evsim.engines.exact.kernels.forward.late_arrivals import LATE_ARRIVAL
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
    new_slice_arrivals,
    with_room_for_slice,
)
from evsim.engines.exact.kernels.forward.slice_emissions import (
    Limits,
    begin_slice,
    emit_in_slice,
)
from evsim.engines.exact.kernels.forward.time_slices import (
    TimeSlices,
    arrivals_in_block,
    cut,
    cut_again,
    cut_shorter,
    expected_length,
    is_within,
    shortest_delay,
)
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.spike_records import grown_spikes
from evsim.engines.exact.kernels.trial import Trial, with_spikes
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

    Returns the next external spike, and the number of spikes then in flight.
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
    """Advance every unit to the end of the trial; it fails if its current is not finite there."""
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
    """Run a recurrent component and write its emissions after the ``spike_count`` spikes.

    Returns the number of spikes afterwards, at most ``spike_limit``, and both buffers, which grow
    when they are full.  ``key`` decides which spikes are dropped.  Emissions are grouped by unit at
    the end; while the component runs they are in order of time.
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
    """Reorder the emissions ``first`` to ``last - 1`` from order of time to order of units."""
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
