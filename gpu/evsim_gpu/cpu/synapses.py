"""Arrivals of spikes on the grid, each with its adjoint.

Where all synapses of a source unit have the same delay, a spike adds its weights to one row, that
of the step at which it arrives.  Where delays differ, each arrival has its own row.  Then the
arrivals of known spikes are added for a few target units at a time, whose steps fit into a cache.
In both cases, the arrivals at a unit and a step are added connection by connection, source unit by
source unit, spike by spike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.equations.lif import arrival_gradient, arrival_time_gradient
from evsim_gpu.cpu.records import Network, Spikes, Synapses


class Adjoints(NamedTuple):
    """lambda_I and lambda_V - lambda_I of a component after every grid point, (rows, columns).

    They are in the first steps + 1 rows; the rows after these, for arrivals after the end, are 0.
    """

    lambda_i: np.ndarray
    difference: np.ndarray


class ArrivalSums(NamedTuple):
    """Sums of ``Adjoints`` over the arrivals of each synapse, (synapses,)."""

    lambda_i: np.ndarray
    difference: np.ndarray


# -- a spike ---------------------------------------------------------------------------------


@compiled
def add_to(total: np.ndarray, values: np.ndarray) -> None:
    """Add values, elementwise."""
    for j in range(values.size):
        total[j] += values[j]


@compiled
def sum_of(values: np.ndarray) -> float:
    """The sum of some values, which are overwritten: halves are added to halves.

    So the order of additions depends only on the number of values.
    """
    size = values.size
    if size == 0:
        return 0.0
    while size > 1:
        half = (size + 1) // 2
        add_to(values[:half], values[half:size])
        size = half
    return values[0]


@compiled
def deliver(row: int, step: int, network: Network, current: np.ndarray) -> None:
    """Add a spike's arrivals, through the synapses of one row, to the current of each step.

    ``current`` has rows for arrivals after the end where delays differ, see ``Network.reach``.
    """
    synapses = network.synapses
    begin, end = synapses.row_start[row], synapses.row_start[row + 1]
    delay, first = synapses.row_delay[row], synapses.row_column[row]
    weights = synapses.weight[begin:end]
    if delay < 0:
        scatter(step, weights, synapses.offset[begin:end], current)
    elif step + delay <= network.steps:
        arriving = current[step + delay]
        if first >= 0:
            add_to(arriving[first : first + weights.size], weights)
        else:
            for s in range(weights.size):
                arriving[synapses.target[begin + s]] += weights[s]


@compiled
def scatter(step: int, weights: np.ndarray, offset: np.ndarray, current: np.ndarray) -> None:
    """Add the weights of a spike's synapses to the current (rows, columns)."""
    following = current.reshape(current.size)[step * current.shape[1] :]
    for s in range(weights.size):
        following[offset[s]] += weights[s]


@compiled
def gather(step: int, offset: np.ndarray, values: np.ndarray, gathered: np.ndarray) -> None:
    """The values (rows, columns) at the arrivals of a spike."""
    following = values.reshape(values.size)[step * values.shape[1] :]
    for s in range(offset.size):
        gathered[s] = following[offset[s]]


@compiled
def pull_back_spike(
    row: int,
    step: int,
    network: Network,
    adjoints: Adjoints,
    sums: ArrivalSums,
    scratch: np.ndarray,
) -> float:
    """The adjoint of ``deliver``: add to the sums of a spike's synapses; return its part of S_k.

    ``scratch`` (2, columns) is overwritten.
    """
    synapses = network.synapses
    begin, end = synapses.row_start[row], synapses.row_start[row + 1]
    size, delay, first = end - begin, synapses.row_delay[row], synapses.row_column[row]
    lambda_i, difference = scratch[0, :size], scratch[1, :size]
    if delay < 0:
        offset = synapses.offset[begin:end]
        gather(step, offset, adjoints.lambda_i, lambda_i)
        gather(step, offset, adjoints.difference, difference)
    elif step + delay > network.steps:
        return 0.0
    elif first >= 0:
        lambda_i = adjoints.lambda_i[step + delay, first : first + size]
        difference = adjoints.difference[step + delay, first : first + size]
    else:
        for s in range(size):
            lambda_i[s] = adjoints.lambda_i[step + delay, synapses.target[begin + s]]
            difference[s] = adjoints.difference[step + delay, synapses.target[begin + s]]
    return add_arrivals(begin, end, synapses.weight, lambda_i, difference, sums, scratch[1])


@compiled
def add_arrivals(
    begin: int,
    end: int,
    weight: np.ndarray,
    lambda_i: np.ndarray,
    difference: np.ndarray,
    sums: ArrivalSums,
    products: np.ndarray,
) -> float:
    """Add the adjoints at a spike's arrivals to the sums of its synapses begin to end - 1.

    Returns the arrivals' part of the spike's S_k; ``products`` is overwritten.
    """
    add_to(sums.lambda_i[begin:end], lambda_i)
    add_to(sums.difference[begin:end], difference)
    weights = weight[begin:end]  # the loop is vectorised only if indices begin at 0
    for s in range(weights.size):
        products[s] = arrival_time_gradient(weights[s], difference[s])
    return sum_of(products[: weights.size])


# -- connections -----------------------------------------------------------------------------


@allocating
def collect(
    first: int,
    last: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    current: np.ndarray,
) -> None:
    """Add the arrivals of known spikes through connections first to last - 1."""
    for connection in range(first, last):
        if network.synapses.reach[connection] > 0:
            collect_in_blocks(connection, network, spikes, start, count, current)
        else:
            collect_rows(connection, network, spikes, start, count, current)


@compiled
def collect_rows(
    connection: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    current: np.ndarray,
) -> None:
    """Add the arrivals through a connection in which the delays of each row are the same."""
    synapses = network.synapses
    for i in range(synapses.source_units[connection]):
        row, source = synapses.row_first[connection] + i, synapses.source_first[connection] + i
        for spike in range(start[source], start[source] + count[source]):
            if is_stopped():
                return
            if not spikes.dropped[spike]:
                deliver(row, spikes.step[spike], network, current)


@allocating
def collect_in_blocks(
    connection: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    current: np.ndarray,
) -> None:
    """Add the arrivals through a connection in which the delays of a row differ."""
    synapses, steps, columns = network.synapses, network.steps, current.shape[1]
    width = synapses.width[connection]
    block = np.empty((steps + 1 + synapses.reach[connection], width), current.dtype)
    for first in range(0, columns, width):
        size = min(width, columns - first)
        for n in range(steps + 1):
            for j in range(size):
                block[n, j] = current[n, first + j]
        for i in range(synapses.source_units[connection]):
            if is_stopped():
                return
            source = synapses.source_first[connection] + i
            begin, end = synapses_to(
                synapses.row_first[connection] + i, first, first + size, synapses
            )
            weights, offset = synapses.weight[begin:end], synapses.offset[begin:end]
            for spike in range(start[source], start[source] + count[source]):
                step = spikes.step[spike]
                if step <= steps and not spikes.dropped[spike]:
                    scatter(step, weights, offset, block)
        for n in range(steps + 1):
            for j in range(size):
                current[n, first + j] = block[n, j]


@compiled
def synapses_to(row: int, first: int, last: int, synapses: Synapses) -> tuple[int, int]:
    """The synapses of a row to the columns first to last - 1: the first, and the one after."""
    begin, end = synapses.row_start[row], synapses.row_start[row + 1]
    targets = synapses.target[begin:end]
    return begin + number_below(targets, first), begin + number_below(targets, last)


@compiled
def number_below(values: np.ndarray, bound: int) -> int:
    """How many values of a sorted array are less than a bound."""
    low, high = 0, values.size
    while low < high:
        middle = (low + high) // 2
        if values[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@allocating
def pull_back_connections(
    first: int,
    last: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    adjoints: Adjoints,
    sums: ArrivalSums,
    spike_time_gradient: np.ndarray,
) -> None:
    """The adjoint of ``collect``: add to the sums of synapses, and to each spike's S_k."""
    for connection in range(first, last):
        if network.synapses.reach[connection] > 0:
            pull_back_blocks(
                connection, network, spikes, start, count, adjoints, sums, spike_time_gradient
            )
        else:
            pull_back_rows(
                connection, network, spikes, start, count, adjoints, sums, spike_time_gradient
            )


@allocating
def pull_back_rows(
    connection: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    adjoints: Adjoints,
    sums: ArrivalSums,
    spike_time_gradient: np.ndarray,
) -> None:
    """The adjoint of ``collect_rows``."""
    synapses = network.synapses
    scratch = np.empty((2, adjoints.lambda_i.shape[1]), adjoints.lambda_i.dtype)
    for i in range(synapses.source_units[connection]):
        row, source = synapses.row_first[connection] + i, synapses.source_first[connection] + i
        for spike in range(start[source], start[source] + count[source]):
            if is_stopped():
                return
            if not spikes.dropped[spike]:
                spike_time_gradient[spike] += pull_back_spike(
                    row, spikes.step[spike], network, adjoints, sums, scratch
                )


@allocating
def pull_back_blocks(
    connection: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    adjoints: Adjoints,
    sums: ArrivalSums,
    spike_time_gradient: np.ndarray,
) -> None:
    """The adjoint of ``collect_in_blocks``."""
    synapses, steps, columns = network.synapses, network.steps, adjoints.lambda_i.shape[1]
    width = synapses.width[connection]
    rows = steps + 1 + synapses.reach[connection]
    block = np.zeros((rows, width, 2), adjoints.lambda_i.dtype)  # of zeros after the end
    scratch = np.empty((2, width), block.dtype)
    for first in range(0, columns, width):
        size = min(width, columns - first)
        for n in range(steps + 1):
            for j in range(size):
                block[n, j, 0] = adjoints.lambda_i[n, first + j]
                block[n, j, 1] = adjoints.difference[n, first + j]
        for i in range(synapses.source_units[connection]):
            if is_stopped():
                return
            source = synapses.source_first[connection] + i
            begin, end = synapses_to(
                synapses.row_first[connection] + i, first, first + size, synapses
            )
            for spike in range(start[source], start[source] + count[source]):
                if spikes.step[spike] <= steps and not spikes.dropped[spike]:
                    spike_time_gradient[spike] += pull_back_arrivals(
                        begin, end, spikes.step[spike], synapses, block, sums, scratch
                    )


@compiled
def pull_back_arrivals(
    begin: int,
    end: int,
    step: int,
    synapses: Synapses,
    adjoints: np.ndarray,
    sums: ArrivalSums,
    scratch: np.ndarray,
) -> float:
    """Add to the sums of synapses begin to end - 1 of one spike; return its part of S_k.

    ``adjoints`` (rows, columns, 2) are lambda_I and lambda_V - lambda_I, and ``scratch``
    (2, columns) is overwritten.
    """
    size = end - begin
    lambda_i, difference = scratch[0, :size], scratch[1, :size]
    offset = synapses.offset[begin:end]
    pairs = adjoints.reshape(adjoints.size)[2 * step * adjoints.shape[1] :]
    for s in range(size):
        place = np.uint64(2) * offset[s]
        lambda_i[s] = pairs[place]
        difference[s] = pairs[place + np.uint64(1)]
    return add_arrivals(begin, end, synapses.weight, lambda_i, difference, sums, scratch[1])


@compiled
def fill_gradients(
    component: int, network: Network, sums: ArrivalSums, weight: np.ndarray, delay: np.ndarray
) -> None:
    """The gradients of the weights and delays of a component's synapses (synapses,) from the sums.

    They are those of one arrival with the sums as its adjoints, because gradients are linear in the
    adjoints.
    """
    synapses, tau_syn = network.synapses, network.columns.tau_syn
    first_column = network.first[component]
    for connection in range(
        synapses.external_first[component], synapses.external_first[component + 1]
    ):
        row = synapses.row_first[connection]
        end = synapses.row_start[row + synapses.source_units[connection]]
        for s in range(synapses.row_start[row], end):
            weight[s], delay[s] = arrival_gradient(
                synapses.weight[s], sums.lambda_i[s], sums.difference[s],
                tau_syn[first_column + synapses.target[s]],
            )  # fmt: skip
