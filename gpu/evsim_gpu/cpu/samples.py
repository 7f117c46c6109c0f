"""Loops over the samples of a batch: what Python calls.

Each piece of the batch has separate spikes and sums.  The pieces do not depend on the number of
threads, so the results do not either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim._compile.decorators import allocating, compiled, entry_point
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.dropout import is_dropped
from evsim_gpu.cpu.backward import Gradients, SourceArrays, pull_back_component
from evsim_gpu.cpu.forward import first_overflow, run_component, sort_by_unit
from evsim_gpu.cpu.records import Network, Spikes, with_room
from evsim_gpu.cpu.states import fill_states, mean_of_unit, peak_of_unit, peak_share
from evsim_gpu.cpu.synapses import (
    Adjoints,
    ArrivalSums,
    collect,
    fill_gradients,
    pull_back_connections,
)


@allocating
def most_values(network: Network) -> int:
    """The largest number of values of a component, over all rows and columns."""
    most = 1
    for component in range(network.spiking.size):
        columns = network.first[component + 1] - network.first[component]
        most = max(most, (network.steps + 1 + network.reach[component]) * columns)
    return most


@allocating
def by_row(memory: np.ndarray, component: int, network: Network) -> np.ndarray:
    """Memory as the values of a component, (rows, columns).

    There is a row for each grid point, and more for arrivals after the end, see ``Network.reach``.
    """
    rows = network.steps + 1 + network.reach[component]
    columns = network.first[component + 1] - network.first[component]
    return memory[: rows * columns].reshape(rows, columns)


@allocating
def write_inputs(
    network: Network,
    input_step: np.ndarray,
    input_start: np.ndarray,
    key: np.uint64,
    spikes: Spikes,
    spike_count: int,
    start: np.ndarray,
    count: np.ndarray,
) -> int:
    """Write a sample's input spikes after the first ``spike_count``; return the number afterwards.

    ``input_start`` (units + 1,) says where those of each unit begin.  Units without input spikes
    also get a start, so that units that never emit have one.
    """
    for unit in range(count.size):
        start[unit] = spike_count
        count[unit] = input_start[unit + 1] - input_start[unit]
        for number in range(count[unit]):
            if is_stopped_at(number):
                return spike_count
            spikes.step[spike_count] = input_step[input_start[unit] + number]
            spikes.threshold_excess[spike_count] = spikes.release[spike_count] = 0.0
            spikes.dropped[spike_count] = is_dropped(
                key, unit, number, network.columns.drop_rate[unit]
            )
            spike_count += 1
    return spike_count


@entry_point
def simulate_samples(
    first: int,
    last: int,
    network: Network,
    input_step: np.ndarray,
    input_start: np.ndarray,
    keys: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    input_place: np.ndarray,
    overflow: np.ndarray,
) -> tuple[Spikes, int]:
    """All spikes of the samples, and how many there are.

    ``input_start`` (batch, units + 1) says where the input spikes of each unit begin.  Sets
    ``start`` and ``count`` (batch, units), ``input_place`` (batch,), where the inputs of each
    sample begin, and ``overflow``: the sample (-1 for none) and unit of the first current that is
    not finite, and the first step at which it is not.
    """
    columns = network.columns
    real = columns.threshold.dtype
    widest = 1
    for component in range(network.spiking.size):
        widest = max(widest, network.first[component + 1] - network.first[component])
    current = np.empty(most_values(network), real)
    spikes, events = empty_spikes(64, real), empty_spikes(4 * widest, real)
    column = np.empty(events.step.size, np.int32)
    spike_count = 0
    overflow[0] = -1
    for sample in range(first, last):
        sample_start, sample_count, key = start[sample], count[sample], keys[sample]
        inputs = input_start[sample]
        spikes = with_room(spikes, spike_count, inputs[inputs.size - 1] - inputs[0])
        input_place[sample] = spike_count
        spike_count = write_inputs(
            network, input_step, inputs, key, spikes, spike_count, sample_start, sample_count
        )
        for component in range(network.spiking.size):
            if not network.spiking[component]:
                continue
            size = network.first[component + 1] - network.first[component]
            arriving = by_row(current, component, network)
            for n in range(arriving.shape[0]):
                if is_stopped_at(n):
                    return spikes, spike_count
                arriving[n] = 0.0
            collect(
                network.synapses.external_first[component],
                network.synapses.internal_first[component],
                network, spikes, sample_start, sample_count, arriving,
            )  # fmt: skip
            events, column, found, too_large = run_component(
                component, network, arriving, key, events, column
            )
            if is_stopped():
                return spikes, spike_count
            if too_large >= 0:
                overflow[0] = sample
                overflow[1] = columns.unit[network.first[component] + too_large]
                decay = columns.decay_syn[network.first[component] + too_large]
                overflow[2] = first_overflow(decay, arriving[:, too_large])
                return spikes, spike_count
            spikes = with_room(spikes, spike_count, found)
            sort_by_unit(
                network.first[component], columns, events, column, found, spikes, spike_count,
                sample_start, sample_count, size,
            )  # fmt: skip
            spike_count += found
    return spikes, spike_count


@allocating
def empty_spikes(size: int, real: np.dtype) -> Spikes:
    """Room for so many spikes."""
    return Spikes(
        np.empty(size, np.int32),
        np.empty(size, real),
        np.empty(size, real),
        np.empty(size, np.bool_),
    )


@allocating
def states_of(
    component: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
) -> np.ndarray:
    """V and I of a component's units after every grid point, (steps + 1, columns, 2)."""
    size = network.first[component + 1] - network.first[component]
    states = np.empty((network.steps + 1, size, 2), network.columns.threshold.dtype)
    fill_states(component, network, spikes, start, count, states)
    return states


@entry_point(part="traces")
def write_states(
    first: int,
    last: int,
    component: int,
    first_column: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    voltage: np.ndarray,
    current: np.ndarray,
) -> None:
    """V and I of some columns of a component, each (batch, steps + 1, units)."""
    for sample in range(first, last):
        states = states_of(component, network, spikes, start[sample], count[sample])
        for n in range(states.shape[0]):
            if is_stopped():
                return
            for unit in range(voltage.shape[2]):
                voltage[sample, n, unit] = states[n, first_column + unit, 0]
                current[sample, n, unit] = states[n, first_column + unit, 1]


@entry_point(part="readouts")
def read_means(
    first: int,
    last: int,
    component: int,
    first_column: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    f: np.ndarray,
    g: np.ndarray,
    by_voltage: np.ndarray,
    by_current: np.ndarray,
    values: np.ndarray,
) -> None:
    """Weighted means, see ``evsim_gpu.device.MeanForm``, (batch, units); ``values`` must be 0."""
    base = network.first[component]
    for sample in range(first, last):
        states = states_of(component, network, spikes, start[sample], count[sample])
        for i in range(values.shape[1]):
            if is_stopped():
                return
            unit = network.columns.unit[base + first_column + i]
            begin = start[sample, unit]
            mean_of_unit(
                states, first_column + i, network.columns, base, spikes, begin,
                begin + count[sample, unit], f, g, by_voltage[:, i], by_current[:, i],
                values[sample, i : i + 1],
            )  # fmt: skip


@entry_point(part="readouts")
def read_peaks(
    first: int,
    last: int,
    component: int,
    first_column: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    values: np.ndarray,
    steps: np.ndarray,
    shares: np.ndarray,
) -> None:
    """Largest voltages, the first grid points with them and ``peak_share``, each (batch, units)."""
    decay_syn = network.columns.decay_syn
    for sample in range(first, last):
        states = states_of(component, network, spikes, start[sample], count[sample])
        for i in range(values.shape[1]):
            if is_stopped():
                return
            column = first_column + i
            peak = peak_of_unit(states, column)
            steps[sample, i], values[sample, i] = peak, states[peak, column, 0]
            decay = decay_syn[network.first[component] + column]
            shares[sample, i] = peak_share(states, column, peak, decay)


@entry_point
def pull_back_samples(
    first: int,
    last: int,
    network: Network,
    sources: SourceArrays,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    slopes: np.ndarray,
    with_time_constants: bool,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
    wanted: int,
    first_column: int,
    lambda_v: np.ndarray,
    lambda_i: np.ndarray,
) -> None:
    """Add the samples' gradients, and complete S_k of every spike.

    On entry ``spike_time_gradient`` contains the readout's direct part.  The adjoints of some
    columns of the component ``wanted`` (-1 for none) are written to ``lambda_v`` and ``lambda_i``
    (batch, steps + 1, units).
    """
    real = network.columns.threshold.dtype
    synapses = network.synapses.weight.size
    sums = ArrivalSums(np.zeros(synapses, real), np.zeros(synapses, real))
    memory = np.empty((3, most_values(network)), real)
    for sample in range(first, last):
        sample_start, sample_count = start[sample], count[sample]
        for component in range(network.spiking.size - 1, -1, -1):
            if not network.spiking[component] and component != sources.component:
                continue
            states = np.empty((0, 0, 2), real)
            if with_time_constants:
                states = states_of(component, network, spikes, sample_start, sample_count)
            if is_stopped():
                return
            begin, end = network.first[component], network.first[component + 1]
            all_lambda_v = by_row(memory[0], component, network)
            adjoints = Adjoints(
                by_row(memory[1], component, network), by_row(memory[2], component, network)
            )
            for part in adjoints:
                part[network.steps + 1 :] = 0.0
            pull_back_component(
                component, sample, network, sources, spikes, sample_start, sample_count,
                slopes[begin:end], states, spike_time_gradient, all_lambda_v, adjoints, sums,
                gradients,
            )  # fmt: skip
            pull_back_connections(
                network.synapses.external_first[component],
                network.synapses.internal_first[component],
                network, spikes, sample_start, sample_count, adjoints, sums, spike_time_gradient,
            )  # fmt: skip
            if component == wanted:
                for n in range(network.steps + 1):
                    if is_stopped():
                        return
                    for unit in range(lambda_v.shape[2]):
                        lambda_v[sample, n, unit] = all_lambda_v[n, first_column + unit]
                        lambda_i[sample, n, unit] = adjoints.lambda_i[n, first_column + unit]
    for component in range(network.spiking.size):
        fill_gradients(component, network, sums, gradients.weight, gradients.delay)


@compiled
def number_up_to(bound: int, delay: np.ndarray) -> int:
    """How many delays, int32, are at most ``bound``; counted in int32 for vector instructions."""
    found: Any = np.int32(0)
    limit = np.int32(bound)
    for s in range(delay.size):
        found += np.int32(delay[s] <= limit)
    return int(found)


@entry_point
def count_arrivals(
    first: int,
    last: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    arrivals: np.ndarray,
) -> None:
    """Add the numbers of arrivals within the trial, and after its end, to ``arrivals`` (2,)."""
    synapses = network.synapses
    for sample in range(first, last):
        for connection in range(synapses.source_first.size):
            for i in range(synapses.source_units[connection]):
                source = synapses.source_first[connection] + i
                row = synapses.row_first[connection] + i
                begin, end = synapses.row_start[row], synapses.row_start[row + 1]
                first_spike = start[sample, source]
                for spike in range(first_spike, first_spike + count[sample, source]):
                    if is_stopped():
                        return
                    if spikes.dropped[spike]:
                        continue
                    latest = network.steps - spikes.step[spike]
                    if synapses.row_delay[row] >= 0:
                        in_time = (end - begin) * (synapses.row_delay[row] <= latest)
                    else:
                        in_time = number_up_to(latest, synapses.delay[begin:end])
                    arrivals[0] += in_time
                    arrivals[1] += end - begin - in_time
