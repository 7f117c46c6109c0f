"""Loops over the samples of a batch: what Python calls to run a network.

Every function works on samples first to last - 1 and touches no other, so that threads can
share a batch; a sample's result never depends on its neighbours.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import allocating, compiled, entry_point
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    most_arrivals,
    new_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.dropout import is_dropped
from evsim.engines.exact.kernels.forward.decays import (
    Decays,
    fill_decays,
    new_decays,
    share_decays,
    with_room_for,
)
from evsim.engines.exact.kernels.forward.feedforward import simulate_unit
from evsim.engines.exact.kernels.forward.recurrent import simulate_component
from evsim.engines.exact.kernels.forward.recurrent_state import STATE, Components
from evsim.engines.exact.kernels.forward.time_slices import new_flight
from evsim.engines.exact.kernels.spike_records import FULL, SPIKE, STOPPED, grown_spikes
from evsim.engines.exact.kernels.trial import Trial, with_spikes


@allocating
def simulate_layer(
    component: int,
    trial: Trial,
    components: Components,
    used: int,
    most: int,
    arrivals: Arrivals,
    decays: Decays,
    key: np.uint64,
    failure: np.ndarray,
) -> tuple[Trial, int, Arrivals, Decays]:
    """Run units that listen only to finished ones; how many spikes are used then.

    With the trial, whose buffer may be larger now, and the scratch memories.
    """
    # The component is one population: its units follow each other.
    unit = components.units[components.first[component]]
    last = components.units[components.first[component + 1] - 1] + 1
    if not trial.units[unit].is_lif:
        trial.starts[unit:last] = used
        return trial, used, arrivals, decays
    needed = most_arrivals(unit, last, trial)
    arrivals, decays = with_room(arrivals, needed), with_room_for(decays, needed)
    while unit < last:
        unit, used = simulate_units(unit, last, trial, used, most, arrivals, decays, key, failure)
        if failure[0] != 0.0:
            break
        if unit < last:
            trial = with_spikes(trial, grown_spikes(trial.spikes, used))
    return trial, used, arrivals, decays


@compiled
def stays_silent(unit: int, trial: Trial) -> bool:
    """Whether a unit stays below the threshold even if all its excitation came at once.

    Where a current might be no finite number it must be looked at.
    """
    excitation = total = 0.0
    for synapse in range(trial.incoming[unit], trial.incoming[unit + 1]):
        weight = trial.synapses[synapse].weight * trial.counts[trial.synapses[synapse].source]
        excitation += max(weight, 0.0)
        total += abs(weight)
    # What rounding may lack is far below this margin.
    nearly = trial.units[unit].threshold * (1.0 - 1e-6)
    return excitation * trial.units[unit].highest_response < nearly and total < inf


@compiled
def simulate_units(
    first: int,
    last: int,
    trial: Trial,
    used: int,
    most: int,
    arrivals: Arrivals,
    decays: Decays,
    key: np.uint64,
    failure: np.ndarray,
) -> tuple[int, int]:
    """Run LIF units one by one; the first that did not fit into the buffer, and spikes in it."""
    held, n = -1, 0
    for unit in range(first, last):
        if is_stopped():
            failure[0] = STOPPED
            return unit, used
        if stays_silent(unit, trial):
            trial.starts[unit], trial.counts[unit] = used, 0
            continue
        n = arrivals_at(unit, trial, arrivals, held, n)
        if held < 0 or not share_decays(held, unit, trial.units):
            tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
            fill_decays(decays, arrivals, n, trial.duration, tau_mem, tau_syn)
        if is_stopped():
            failure[0] = STOPPED
            return unit, used
        held = unit
        now_used = simulate_unit(unit, trial, arrivals, n, decays, used, most, key, failure)
        if now_used == FULL:
            return unit, used
        trial.starts[unit], trial.counts[unit] = used, now_used - used
        used = now_used
        if failure[0] != 0.0:
            failure[2] = unit
            return unit, used
    return last, used


@compiled
def take_up_inputs(
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
            spikes[place].drive = np.inf
            spikes[place].release_current = 0.0
            spikes[place].is_dropped = is_dropped(key, unit, number, units[unit].drop_rate)
            place += 1
            i += 1


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
    failure: np.ndarray,
) -> tuple[np.ndarray, int]:
    """All emissions of the samples in one buffer, and how many there are.

    ``input_time[input_start[b]:input_start[b + 1]]`` are sample b's input spikes, sorted by
    unit, then time; ``count`` (batch, units) holds their numbers, ``keys`` (batch,) decide
    about dropout.  ``recurrent`` says which components are, None that none is: then the loops
    for them are left out, and not compiled.  Sets ``start`` and ``count`` of every unit, and
    ``input_place``, where each sample's inputs begin.  A sample may emit ``spike_limit`` spikes.
    ``work`` (2,) counts what recurrent components cost, see ``recurrent_state``.  ``failure`` is
    (status, time, unit, sample, time that the last spikes took if the unit runs away).
    """
    inputs = input_start[last] - input_start[first]
    spikes = np.empty(2 * inputs + 16 * (last - first) + 16, SPIKE)
    used = 0
    arrivals, decays = new_arrivals(64), new_decays(64)
    if recurrent is not None:
        states = np.empty(start.shape[1], STATE)
        flight = new_flight(0)
    for sample in range(first, last):
        own_start, own_count, key = start[sample], count[sample], keys[sample]
        begin, end = input_start[sample], input_start[sample + 1]
        while used + end - begin > spikes.size:
            spikes = grown_spikes(spikes, used)
        input_place[sample] = used
        take_up_inputs(units, input_time[begin:end], spikes, used, own_start, own_count, key)
        used += end - begin
        if is_stopped():
            failure[0] = STOPPED
            return spikes, used
        most = used + spike_limit
        trial = Trial(units, synapses, incoming, duration, spikes, own_start, own_count)
        for component in range(components.recurrent.size):
            if recurrent is not None and recurrent[component]:
                now_used = FULL
                while now_used == FULL:
                    if flight.spikes.size < trial.spikes.size:
                        flight = new_flight(trial.spikes.size)
                    now_used = simulate_component(
                        component,
                        trial,
                        components,
                        used,
                        most,
                        states,
                        flight,
                        work,
                        key,
                        failure,
                    )
                    if now_used == FULL:
                        trial = with_spikes(trial, grown_spikes(trial.spikes, used))
                used = now_used
            else:
                trial, used, arrivals, decays = simulate_layer(
                    component, trial, components, used, most, arrivals, decays, key, failure
                )
            spikes = trial.spikes
            if failure[0] != 0.0:
                failure[3] = sample
                return spikes, used
    return spikes, used


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
    """Add the arrivals within the trial, and those after its end, to ``arrivals`` (2,).

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
