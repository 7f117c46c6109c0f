"""Loops over the samples of a batch: what Python calls.

Every function works on samples first to last - 1 and touches no other, so that threads can
share a batch; a sample's result never depends on its neighbours.
"""

from __future__ import annotations

import numpy as np

from evsim.compiled import compiled, entry_point
from evsim.engines.kernels.arrivals import arrivals_at
from evsim.engines.kernels.layered import pull_back_unit, simulate_unit
from evsim.engines.kernels.records import ARRIVAL, FULL, SPIKE, grown_spikes
from evsim.engines.kernels.recurrent import (
    STATE,
    Components,
    new_flight,
    pull_back_component,
    simulate_component,
)
from evsim.engines.kernels.voltage import (
    mean_voltage,
    peak_voltage,
    pull_back_mean,
    pull_back_peak,
)

PEAK = -1.0  # in place of the decay rate of a mean's weighting


@compiled
def simulate_layer(
    component: int,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    components: Components,
    duration: float,
    spikes: np.ndarray,
    used: int,
    most: int,
    start: np.ndarray,
    count: np.ndarray,
    arrivals: np.ndarray,
    failure: np.ndarray,
) -> tuple[np.ndarray, int, np.ndarray]:
    """Run units that listen only to finished ones: the buffer, spikes in it, scratch memory."""
    for i in range(components.first[component], components.first[component + 1]):
        unit = components.units[i]
        start[unit] = used
        if not units[unit].is_lif:
            continue
        arrivals, n = arrivals_at(
            unit, synapses, incoming, duration, spikes, start, count, arrivals
        )
        now_used = FULL
        while now_used == FULL:
            now_used = simulate_unit(
                unit, units, synapses, arrivals, n, duration, spikes, used, most, failure
            )
            if now_used == FULL:
                spikes = grown_spikes(spikes, used)
        count[unit] = now_used - used
        used = now_used
        if failure[0] != 0.0:
            failure[2] = unit
            break
    return spikes, used, arrivals


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
    duration: float,
    spike_limit: int,
    start: np.ndarray,
    count: np.ndarray,
    input_place: np.ndarray,
    failure: np.ndarray,
) -> tuple[np.ndarray, int]:
    """All emissions of the samples in one buffer, and how many there are.

    ``input_time[input_start[b]:input_start[b + 1]]`` are sample b's input spikes, sorted by
    unit, then time; ``count`` (batch, units) holds their numbers.  Sets ``start`` and
    ``count`` of every unit, and ``input_place``, where each sample's inputs begin.
    A sample may emit ``spike_limit`` spikes.  ``failure`` is (status, time, unit, sample).
    """
    inputs = input_start[last] - input_start[first]
    spikes = np.empty(2 * inputs + 16 * (last - first) + 16, SPIKE)
    used = 0
    arrivals = np.empty(64, ARRIVAL)
    states = np.empty(start.shape[1], STATE)
    flight = new_flight(start.shape[1], 0)
    for sample in range(first, last):
        own_start, own_count = start[sample], count[sample]
        while used + input_start[sample + 1] - input_start[sample] > spikes.size:
            spikes = grown_spikes(spikes, used)
        place = input_place[sample] = used
        for unit in range(own_count.size):
            own_start[unit] = place
            place += own_count[unit]
        for i in range(input_start[sample], input_start[sample + 1]):
            spikes[used].time = input_time[i]
            spikes[used].drive = np.inf
            spikes[used].release_current = 0.0
            used += 1
        most = used + spike_limit
        for component in range(components.recurrent.size):
            if components.recurrent[component]:
                now_used = FULL
                while now_used == FULL:
                    if flight.cursors.size < spikes.size:
                        flight = new_flight(start.shape[1], spikes.size)
                    now_used = simulate_component(
                        component, units, components, duration, spikes, used, most, own_start,
                        own_count, states, flight, failure,
                    )  # fmt: skip
                    if now_used == FULL:
                        spikes = grown_spikes(spikes, used)
                used = now_used
            else:
                spikes, used, arrivals = simulate_layer(
                    component, units, synapses, incoming, components, duration, spikes, used,
                    most, own_start, own_count, arrivals, failure,
                )  # fmt: skip
            if failure[0] != 0.0:
                failure[3] = sample
                return spikes, used
    return spikes, used


@entry_point
def read_voltages(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    rate: float,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    values: np.ndarray,
) -> None:
    """Mean (or, for rate PEAK, peak) voltage of LI units first_unit to last_unit - 1."""
    arrivals = np.empty(64, ARRIVAL)
    for sample in range(first, last):
        for unit in range(first_unit, last_unit):
            arrivals, n = arrivals_at(
                unit, synapses, incoming, duration, spikes, start[sample], count[sample],
                arrivals,
            )  # fmt: skip
            if rate == PEAK:
                value, _, _ = peak_voltage(unit, units, synapses, arrivals, n, duration)
            else:
                value = mean_voltage(unit, units, synapses, arrivals, n, rate, duration)
            values[sample, unit - first_unit] = value


@compiled
def pull_back_layer(
    component: int,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    components: Components,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    rate: float,
    cotangent: np.ndarray,
    phantom: np.ndarray,
    arrivals: np.ndarray,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    failure: np.ndarray,
) -> np.ndarray:
    """Pull adjoints of emissions, or cotangents of voltages, back; returns the scratch memory."""
    for i in range(components.first[component], components.first[component + 1]):
        unit = components.units[i]
        if count[unit] == 0 and cotangent[unit] == 0.0 and phantom[unit] == 0.0:
            continue
        arrivals, n = arrivals_at(
            unit, synapses, incoming, duration, spikes, start, count, arrivals
        )
        if units[unit].is_lif:
            pull_back_unit(
                unit, units, synapses, arrivals, n, duration, spikes, start[unit],
                start[unit] + count[unit], phantom[unit], adjoint, weight_gradient,
                delay_gradient, failure,
            )  # fmt: skip
        elif rate == PEAK:
            pull_back_peak(
                unit, units, synapses, arrivals, n, duration, cotangent[unit], adjoint,
                weight_gradient, delay_gradient,
            )  # fmt: skip
        else:
            pull_back_mean(
                unit, units, synapses, arrivals, n, rate, duration, cotangent[unit], adjoint,
                weight_gradient, delay_gradient,
            )  # fmt: skip
        if failure[0] != 0.0:
            failure[2] = unit
            break
    return arrivals


@entry_point
def pull_back_samples(
    first: int,
    last: int,
    rate: float,
    cotangent: np.ndarray,
    phantom: np.ndarray,
    components: Components,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    failure: np.ndarray,
) -> None:
    """Add the samples' gradients per synapse, and complete the adjoint of every spike.

    ``cotangent`` and ``phantom`` have shape (batch, units): the cotangent of each LI unit's
    mean (or, for rate PEAK, peak) voltage, and lambda_V at the end of the trial for silent
    outputs.  ``adjoint`` comes with the derivatives of the loss by each spike's time.
    """
    arrivals = np.empty(64, ARRIVAL)
    states = np.empty(start.shape[1], STATE)
    flight = new_flight(start.shape[1], 0)
    for sample in range(first, last):
        own_start, own_count = start[sample], count[sample]
        for component in range(components.recurrent.size - 1, -1, -1):
            if components.recurrent[component]:
                if flight.cursors.size < spikes.size:
                    flight = new_flight(start.shape[1], spikes.size)
                pull_back_component(
                    component, units, components, duration, spikes, own_start, own_count,
                    states, flight, phantom[sample], adjoint, weight_gradient, delay_gradient,
                    failure,
                )  # fmt: skip
            else:
                arrivals = pull_back_layer(
                    component, units, synapses, incoming, components, duration, spikes, own_start,
                    own_count, rate, cotangent[sample], phantom[sample], arrivals, adjoint,
                    weight_gradient, delay_gradient, failure,
                )  # fmt: skip
            if failure[0] != 0.0:
                failure[3] = sample
                return


@entry_point
def count_arrivals(
    first: int,
    last: int,
    synapses: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    arrivals: np.ndarray,
) -> None:
    """Add the arrivals within the trial, and those after its end, to ``arrivals`` (2,)."""
    for sample in range(first, last):
        for synapse in range(synapses.source.size):
            source = synapses[synapse].source
            begin = start[sample, source]
            for spike in range(begin, begin + count[sample, source]):
                late = spikes[spike].time + synapses[synapse].delay > duration
                arrivals[1 if late else 0] += 1
