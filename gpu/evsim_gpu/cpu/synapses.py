"""A spike's arrivals on the grid, and their adjoint beside them."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.backward.arrival_gradients import add_arrival_gradient
from evsim_gpu.cpu.records import Network, Spikes


@compiled
def deliver(row: int, step: int, network: Network, current: np.ndarray) -> None:
    """Add a spike's arrivals, through the synapses of one row, to the current of each step."""
    synapses = network.synapses
    for s in range(synapses.row_start[row], synapses.row_start[row + 1]):
        arrival = step + synapses.delay[s]
        if arrival <= network.steps:
            current[arrival, synapses.target[s]] += synapses.weight[s]


@compiled
def pull_back_spike(
    row: int,
    step: int,
    network: Network,
    first_column: int,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    spike_time_gradient: np.ndarray,
    spike: int,
) -> None:
    """Add the gradients of a spike's arrivals, and add to its S_k.

    ``adjoint`` (steps + 1, columns of the component, 2) has lambda_V and lambda_I after every grid
    point.
    """
    synapses, tau_syn = network.synapses, network.columns.tau_syn
    for s in range(synapses.row_start[row], synapses.row_start[row + 1]):
        arrival = step + synapses.delay[s]
        if arrival <= network.steps:
            target = synapses.target[s]
            lambda_v, lambda_i = adjoint[arrival, target, 0], adjoint[arrival, target, 1]
            spike_time_gradient[spike] += add_arrival_gradient(
                s, synapses.weight[s], lambda_i, lambda_v - lambda_i,
                tau_syn[first_column + target], weight_gradient, delay_gradient,
            )  # fmt: skip


@compiled
def collect(
    first: int,
    last: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    current: np.ndarray,
) -> None:
    """Add the arrivals of known spikes through connections first to last - 1.

    Connection by connection, source unit by source unit, spike by spike: the order of the sums.
    """
    synapses = network.synapses
    for connection in range(first, last):
        for i in range(synapses.source_units[connection]):
            row, source = synapses.row_first[connection] + i, synapses.source_first[connection] + i
            for spike in range(start[source], start[source] + count[source]):
                if is_stopped():
                    return
                if not spikes.dropped[spike]:
                    deliver(row, spikes.step[spike], network, current)


@compiled
def pull_back_connections(
    first: int,
    last: int,
    network: Network,
    first_column: int,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    spike_time_gradient: np.ndarray,
) -> None:
    """The adjoint of ``collect``."""
    synapses = network.synapses
    for connection in range(first, last):
        for i in range(synapses.source_units[connection]):
            row, source = synapses.row_first[connection] + i, synapses.source_first[connection] + i
            for spike in range(start[source], start[source] + count[source]):
                if is_stopped():
                    return
                if not spikes.dropped[spike]:
                    pull_back_spike(
                        row, spikes.step[spike], network, first_column, adjoint,
                        weight_gradient, delay_gradient, spike_time_gradient, spike,
                    )  # fmt: skip
