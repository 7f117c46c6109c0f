"""Pulling arrivals back: the adjoints of the target at each arrival, and the gradients they give.

Arrivals are collected, a few hundred at a time.  First the adjoints at the end of each arrival's
interval are looked up.  Then the adjoints at all arrivals are computed in one loop over flat arrays
and added to the gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.backward.adjoint_intervals import adjoints_at, interval_at
from evsim.engines.exact.kernels.backward.adjoint_sources import SourceArrays
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import adjoint_flow, arrival_gradient


@compiled
def add_arrival_gradient(
    synapse: int,
    weight: float,
    lambda_i: float,
    difference: float,
    tau_syn: float,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
) -> float:
    """Add ``arrival_gradient`` to a synapse's weight and delay; return its part of S_k."""
    of_weight, of_time = arrival_gradient(weight, lambda_i, difference, tau_syn)
    weight_gradient[synapse] += of_weight
    delay_gradient[synapse] += of_time
    return of_time


GROUP_SIZE = 512
"""The number of arrivals that are pulled back together; they fit into the fastest cache."""

CELLS = 1024
"""The number of equal parts of the trial; intervals are listed for units with more arrivals."""


class ArrivalGroup(NamedTuple):
    """Arrivals that are pulled back together; each array has room for GROUP_SIZE.

    ``elapsed`` is the time from the arrival to the end of its interval, in ms.  At first lambda_V,
    lambda_I and their difference are those at the end; later the last two are those at the arrival.
    ``cells`` is used to search for intervals.
    """

    elapsed: np.ndarray
    lambda_v: np.ndarray
    lambda_i: np.ndarray
    difference: np.ndarray
    synapse: np.ndarray
    spike: np.ndarray
    cells: np.ndarray


@allocating
def new_group() -> ArrivalGroup:
    """Room for GROUP_SIZE arrivals."""
    return ArrivalGroup(
        np.empty(GROUP_SIZE), np.empty(GROUP_SIZE), np.empty(GROUP_SIZE), np.empty(GROUP_SIZE),
        np.empty(GROUP_SIZE, np.int64), np.empty(GROUP_SIZE, np.int64),
        np.empty(CELLS + 1, np.int32),
    )  # fmt: skip


@compiled
def list_intervals(
    cells: np.ndarray, duration: float, intervals: np.ndarray, first: int, last: int
) -> None:
    """Divide the trial into equal cells, and list the latest interval in each of them.

    An arrival in a cell belongs to that interval, or to one of the few earlier ones that also reach
    into the cell.
    """
    k, scale = first, CELLS / duration
    for cell in range(CELLS, -1, -1):
        while k < last and int(intervals[k].begin * scale) > cell:
            k += 1
        cells[cell] = k


@compiled
def listed_interval(time: float, cells: np.ndarray, duration: float, intervals: np.ndarray) -> int:
    """The interval that an arrival belongs to, which comes before the end of the trial."""
    k = int(cells[int(time * (CELLS / duration))])
    while time < intervals[k].begin:
        k += 1
    return k


@compiled
def put_in_group(
    group: ArrivalGroup,
    n: int,
    unit: int,
    time: float,
    sources: SourceArrays,
    trial: Trial,
    intervals: np.ndarray,
    k: int,
) -> None:
    """Put the adjoints at the end of an arrival's interval into place n of the group.

    If the readout has a dF/dV there, the adjoints at the arrival itself are put there instead.
    """
    group.elapsed[n] = intervals[k].end - time
    group.lambda_v[n], group.lambda_i[n] = intervals[k].lambda_v, intervals[k].lambda_i
    group.difference[n] = intervals[k].difference
    if intervals[k].voltage_cotangent != 0.0:
        group.elapsed[n] = 0.0
        group.lambda_v[n], group.lambda_i[n], group.difference[n] = adjoints_at(
            unit, time, sources, trial, intervals, k
        )


@compiled
def flow_back(group: ArrivalGroup, n: int, tau_mem: float, tau_syn: float) -> None:
    """The adjoints of n arrivals at units of these time constants, from those at later times."""
    for i in range(n):
        _, group.lambda_i[i], group.difference[i] = adjoint_flow(
            group.lambda_v[i], group.lambda_i[i], group.difference[i], group.elapsed[i], tau_mem,
            tau_syn,
        )  # fmt: skip


@compiled
def add_group(
    group: ArrivalGroup,
    n: int,
    synapses: np.ndarray,
    tau_syn: float,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Add the gradients of n arrivals at a unit, and add to S_k of their spikes."""
    i = 0
    while i < n:
        synapse = group.synapse[i]
        weight = synapses[synapse].weight
        weight_total = delay_total = 0.0
        while i < n and group.synapse[i] == synapse:
            of_weight, of_time = arrival_gradient(
                weight, group.lambda_i[i], group.difference[i], tau_syn
            )
            weight_total += of_weight
            delay_total += of_time
            spike_time_gradient[group.spike[i]] += of_time
            i += 1
        gradients.weight[synapse] += weight_total
        gradients.delay[synapse] += delay_total


@compiled
def empty_group(
    group: ArrivalGroup,
    n: int,
    unit: int,
    trial: Trial,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull back the n arrivals of a group, at units with the time constants of this unit."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    flow_back(group, n, tau_mem, tau_syn)
    add_group(group, n, trial.synapses, tau_syn, spike_time_gradient, gradients)


@compiled
def sent_through(first: int, last: int, listed: np.ndarray, trial: Trial) -> int:
    """The number of spikes sent through synapses that are given as for ``pull_back_arrivals``."""
    total = 0
    for place in range(first, last):
        synapse = listed[place] if listed.size > 0 else place
        total += trial.counts[trial.synapses[synapse].source]
    return total


@compiled
def pull_back_arrivals(
    unit: int,
    n: int,
    first_synapse: int,
    last_synapse: int,
    listed: np.ndarray,
    sources: SourceArrays,
    trial: Trial,
    intervals: np.ndarray,
    first_interval: int,
    last_interval: int,
    group: ArrivalGroup,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> int:
    """Pull arrivals at a unit back, synapse by synapse; the last of them stay in the group.

    This way the groups are full even if units have few arrivals.  On entry the group has n
    arrivals, at units with the same time constants; the number afterwards is returned.

    The synapses are ``first_synapse`` to ``last_synapse - 1`` or, unless ``listed`` is empty, the
    entries of ``listed`` at these places.  The unit's intervals are ``first_interval`` to
    ``last_interval``.  Arrivals at the end of the trial have no effect.
    """
    # After the last jump both adjoints are 0, unless the readout has a dF/dV there.
    is_zero = (
        intervals[first_interval].lambda_v == 0.0
        and intervals[first_interval].lambda_i == 0.0
        and intervals[first_interval].voltage_cotangent == 0.0
    )
    latest = min(trial.duration, intervals[first_interval].begin) if is_zero else trial.duration
    if not latest > 0.0:
        return n
    has_cells = last_interval > first_interval + 1 and (
        sent_through(first_synapse, last_synapse, listed, trial) > CELLS
    )
    if has_cells:
        list_intervals(group.cells, trial.duration, intervals, first_interval, last_interval)
    for place in range(first_synapse, last_synapse):
        synapse = listed[place] if listed.size > 0 else place
        source, delay = trial.synapses[synapse].source, trial.synapses[synapse].delay
        k = first_interval
        for spike in range(
            trial.starts[source] + trial.counts[source] - 1, trial.starts[source] - 1, -1
        ):
            if is_stopped_at(spike):
                return n
            time = trial.spikes[spike].time + delay
            if time >= latest or trial.spikes[spike].is_dropped:
                continue
            if has_cells:
                k = listed_interval(time, group.cells, trial.duration, intervals)
            else:
                k = interval_at(time, intervals, k, last_interval)
            group.synapse[n] = synapse
            group.spike[n] = spike
            put_in_group(group, n, unit, time, sources, trial, intervals, k)
            n += 1
            if n == GROUP_SIZE:
                if is_stopped():
                    return 0
                empty_group(group, n, unit, trial, spike_time_gradient, gradients)
                n = 0
    return n
