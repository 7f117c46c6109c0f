"""The loops over the samples of a batch that Python calls to run a network.

Each call simulates samples first to last - 1 and writes only to these, so that threads can share a
batch.  The result of a sample never depends on the other samples.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, compiled, entry_point
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.arrivals import largest_arrival_count
from evsim.engines.exact.kernels.dropout import is_dropped
from evsim.engines.exact.kernels.failures import Status, has_failed
from evsim.engines.exact.kernels.forward.arrival_lists import Flight, new_flight
from evsim.engines.exact.kernels.forward.feedforward import simulate_unit
from evsim.engines.exact.kernels.forward.recurrent import simulate_component
from evsim.engines.exact.kernels.forward.recurrent_state import STATE, Components, units_of_layer
from evsim.engines.exact.kernels.forward.staging import (
    SILENT,
    Stage,
    fill_stage,
    has_room,
    new_stage,
)
from evsim.engines.exact.kernels.forward.time_steps.component import UNSUITABLE, simulate_in_steps
from evsim.engines.exact.kernels.forward.time_steps.dense_synapses import (
    DenseSynapses,
    dense_synapses_of,
    has_tables,
)
from evsim.engines.exact.kernels.spike_records import NO_ROOM, SPIKE, grown_spikes
from evsim.engines.exact.kernels.trial import Trial, with_spikes


@compiled
def arrivals_in_layer(
    component: int,
    sample: int,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    components: Components,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
) -> int:
    """The largest number of arrivals at a LIF unit of a feedforward component in a sample."""
    trial = Trial(units, synapses, incoming, duration, spikes, start[sample], count[sample])
    first, last = units_of_layer(component, components)
    return largest_arrival_count(first, last, trial) if units[first].is_lif else 0


@compiled
def simulate_layer(
    component: int,
    done: int,
    sample: int,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    components: Components,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    spike_count: int,
    spike_limit: int,
    stage: Stage,
    key: np.uint64,
    failure: np.ndarray,
) -> tuple[int, int]:
    """Run the units of a feedforward component that have not been run yet.

    Returns how many have been run (fewer than all if their spikes do not fit into the buffer), and
    how many spikes there are.
    """
    # The trial is assembled here, where references to arrays are not counted.
    trial = Trial(units, synapses, incoming, duration, spikes, start[sample], count[sample])
    first, last = units_of_layer(component, components)
    if not units[first].is_lif:
        trial.starts[first:last] = spike_count
        return last - first, spike_count
    unit, spike_count = simulate_units(
        first + done, last, trial, spike_count, spike_limit, stage, key, failure
    )
    return unit - first, spike_count


@compiled
def simulate_units(
    first: int,
    last: int,
    trial: Trial,
    spike_count: int,
    spike_limit: int,
    stage: Stage,
    key: np.uint64,
    failure: np.ndarray,
) -> tuple[int, int]:
    """Run LIF units one by one; return the first that did not fit, and the spikes in the buffer."""
    unit, kept = first, -1
    while unit < last:
        staged, kept = fill_stage(stage, unit, last, trial, kept)
        if is_stopped():
            failure.status = Status.STOPPED
            return unit, spike_count
        for k in range(staged):
            new_count = spike_count
            if stage.arrival_count[k] != SILENT:
                new_count = simulate_unit(
                    unit, trial, stage, k, spike_count, spike_limit, key, failure
                )
                if new_count == NO_ROOM:
                    return unit, spike_count
            trial.starts[unit], trial.counts[unit] = spike_count, new_count - spike_count
            spike_count = new_count
            if has_failed(failure):
                return unit, spike_count
            unit += 1
    return last, spike_count


@compiled
def write_inputs(
    units: np.ndarray,
    input_time: np.ndarray,
    spikes: np.ndarray,
    place: int,
    start: np.ndarray,
    count: np.ndarray,
    key: np.uint64,
) -> None:
    """Write a sample's input spikes, sorted by unit and time, to the buffer from ``place`` on."""
    i = 0
    for unit in range(count.size):
        start[unit] = place
        for number in range(count[unit]):
            if is_stopped_at(i):
                return
            spikes[place].time = input_time[i]
            spikes[place].threshold_excess = np.inf
            spikes[place].release_current = 0.0
            spikes[place].is_dropped = is_dropped(key, unit, number, units[unit].drop_rate)
            place += 1
            i += 1


@allocating
def simulate_loop(
    component: int,
    trial: Trial,
    components: Components,
    dense: DenseSynapses,
    spike_count: int,
    spike_limit: int,
    states: np.ndarray,
    flight: Flight,
    work: np.ndarray,
    key: np.uint64,
    failure: np.ndarray,
) -> tuple[int, np.ndarray, Flight]:
    """Run a recurrent component in time steps where that is faster, and else in time slices.

    Returns the number of spikes afterwards, and both buffers, which grow when they are full.
    """
    new_count = NO_ROOM if has_tables(dense) else UNSUITABLE
    while new_count == NO_ROOM:
        new_count = simulate_in_steps(
            component, trial, components, dense, spike_count, spike_limit, states,
            flight.unit_of, work, key, failure,
        )  # fmt: skip
        if new_count == NO_ROOM:
            trial = with_spikes(trial, grown_spikes(trial.spikes, spike_count))
            flight = new_flight(trial.spikes.size)
    if new_count != UNSUITABLE:
        return new_count, trial.spikes, flight
    return simulate_component(
        component, trial, components, spike_count, spike_limit, states, flight, work, key, failure
    )


@entry_point
def simulate_samples(
    first: int,
    last: int,
    input_time: np.ndarray,
    input_start: np.ndarray,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    components: Components,
    recurrent: np.ndarray | None,
    duration: float,
    spike_limit: int,
    keys: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    input_place: np.ndarray,
    work: np.ndarray,
    failures: np.ndarray,
) -> tuple[np.ndarray, int]:
    """All spikes of the samples in one buffer, and how many there are.

    ``input_time[input_start[b]:input_start[b + 1]]`` are sample b's input spikes, sorted by
    unit, then time; ``count`` (batch, units) contains their numbers, and ``keys`` (batch,) decide
    which spikes are dropped.  ``recurrent`` says which components are recurrent.  If none is, it is
    None, and the loops for them are not compiled.  Sets ``start`` and ``count`` of every unit, and
    ``input_place``, where each sample's inputs begin.  A sample may emit ``spike_limit`` spikes.
    ``work`` (2,) counts what recurrent components cost, see ``recurrent_state``.  ``failures``
    (1,) receives what stops the loop.
    """
    failure = failures[0]
    inputs = input_start[last] - input_start[first]
    spikes = np.empty(2 * inputs + 16 * (last - first) + 16, SPIKE)
    spike_count = 0
    stage = new_stage(64)
    if recurrent is not None:
        states = np.empty(start.shape[1], STATE)
        flight = new_flight(0)
        tables = dense_synapses_of(components, recurrent, units)
    for sample in range(first, last):
        sample_start, sample_count, key = start[sample], count[sample], keys[sample]
        begin, end = input_start[sample], input_start[sample + 1]
        while spike_count + end - begin > spikes.size:
            spikes = grown_spikes(spikes, spike_count)
        input_place[sample] = spike_count
        write_inputs(
            units, input_time[begin:end], spikes, spike_count, sample_start, sample_count, key
        )
        spike_count += end - begin
        if is_stopped():
            failure.status = Status.STOPPED
            return spikes, spike_count
        sample_limit = spike_count + spike_limit
        for component in range(components.recurrent.size):
            if recurrent is not None and recurrent[component]:
                trial = Trial(
                    units, synapses, incoming, duration, spikes, sample_start, sample_count
                )
                if flight.spikes.size < spikes.size:
                    flight = new_flight(spikes.size)
                spike_count, spikes, flight = simulate_loop(
                    component, trial, components, tables[component], spike_count, sample_limit,
                    states, flight, work, key, failure,
                )  # fmt: skip
            else:
                arrivals = arrivals_in_layer(
                    component, sample, units, synapses, incoming, duration, components, spikes,
                    start, count,
                )  # fmt: skip
                if not has_room(stage, arrivals):
                    stage = new_stage(2 * arrivals)
                done, unit_count = 0, components.first[component + 1] - components.first[component]
                while done < unit_count:
                    done, spike_count = simulate_layer(
                        component, done, sample, units, synapses, incoming, duration, components,
                        spikes, start, count, spike_count, sample_limit, stage, key, failure,
                    )  # fmt: skip
                    if has_failed(failure):
                        break
                    if done < unit_count:
                        spikes = grown_spikes(spikes, spike_count)
            if has_failed(failure):
                failure.sample = sample
                return spikes, spike_count
    return spikes, spike_count


@entry_point(part="loops for all networks")
def count_arrivals(
    first: int,
    last: int,
    outgoing: np.ndarray,
    delays: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    arrivals: np.ndarray,
) -> None:
    """Add the numbers of arrivals within the trial, and after its end, to ``arrivals`` (2,).

    ``delays[outgoing[u]:outgoing[u + 1]]`` are those of the synapses from unit u, ascending.
    """
    for sample in range(first, last):
        for unit in range(count.shape[1]):
            begin, end = outgoing[unit], outgoing[unit + 1]
            if begin == end:
                continue
            for spike in range(start[sample, unit], start[sample, unit] + count[sample, unit]):
                if is_stopped():
                    return
                if spikes[spike].is_dropped:
                    continue
                in_time = end
                while in_time > begin and spikes[spike].time + delays[in_time - 1] > duration:
                    in_time -= 1
                arrivals[0] += in_time - begin
                arrivals[1] += end - in_time
