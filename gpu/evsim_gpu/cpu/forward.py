"""The time loop of a component, forward: from currents to emissions.

A step to a grid point consists of three parts.  V and I move by the closed form; units with V at or
above the threshold emit and are reset; then the arrivals due there are added to I, including those
of zero delay.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.dropout import is_dropped
from evsim_gpu.cpu.records import Columns, Network, Spikes, columns_of, with_room
from evsim_gpu.cpu.synapses import add_to, deliver


@compiled
def flow_step(
    columns: Columns, voltage: np.ndarray, current: np.ndarray, excess: np.ndarray
) -> None:
    """V and I of all units after a step without events, and the threshold excess of a crossing.

    The excess replaces I - threshold at a crossing inside the step: I before the step minus V
    after it.  It is positive if V was below the threshold and no longer is, because V cannot have
    reached I.  It exceeds tau_mem times the mean slope of V by about half the change of I over the
    step, so that a barely crossed threshold does not outweigh all others.  Each quantity has its
    own loop, because the compiler does not vectorise a loop that writes several arrays.
    """
    for j in range(voltage.size):
        voltage[j] = columns.decay_mem[j] * voltage[j] + columns.rise[j] * current[j]
    for j in range(voltage.size):
        excess[j] = current[j] - voltage[j]
    for j in range(voltage.size):
        current[j] = columns.decay_syn[j] * current[j]


@allocating
def run_component(
    component: int,
    network: Network,
    current: np.ndarray,
    key: np.uint64,
    events: Spikes,
    column: np.ndarray,
) -> tuple[Spikes, np.ndarray, int, int]:
    """Emissions of a component's units by time, then column; and the first unit that overflows.

    ``current`` (rows, columns) contains the arrivals from outside, and receives those from inside,
    some of which may come up to ``Network.reach`` steps after the end.  ``events`` and ``column``,
    of the same length, are scratch memory; they are returned with the number of emissions that they
    contain.
    """
    first = network.first[component]
    size = network.first[component + 1] - first
    columns = columns_of(network.columns, first, first + size)
    voltage, now = columns.start.copy(), current[0].copy()
    excess = np.empty_like(voltage)
    free_at, latest = np.full(size, -1), np.full(size, -1)
    number = np.zeros(size, np.int64)
    spike_count = 0
    for n in range(1, network.steps + 1):
        if is_stopped():
            break
        flow_step(columns, voltage, now, excess)
        before = spike_count
        if spike_count + size > column.size:
            events = with_room(events, spike_count, size)
            larger = np.empty(events.step.size, np.int32)
            larger[:spike_count] = column[:spike_count]
            column = larger
        for j in range(size):
            if n <= free_at[j]:
                voltage[j] = columns.reset[j]
            elif voltage[j] >= columns.threshold[j]:
                voltage[j] = columns.reset[j]
                unit = columns.unit[j]
                (
                    events.step[spike_count],
                    events.threshold_excess[spike_count],
                    column[spike_count],
                ) = n, excess[j], j
                events.release[spike_count] = 0.0
                events.dropped[spike_count] = is_dropped(
                    key, unit, number[j], columns.drop_rate[unit]
                )
                number[j] += 1
                latest[j] = spike_count
                free_at[j] = n + columns.refractory[j]
                spike_count += 1
        if spike_count > before:
            deliver_inside(component, network, before, spike_count, events, column, current)
        add_to(now, current[n])
        if network.is_held[component]:
            for j in range(size):
                if n == free_at[j]:
                    events.release[latest[j]] = now[j]
    overflow = -1
    for j in range(size - 1, -1, -1):
        if columns.is_lif[j] and not np.isfinite(now[j]):
            overflow = j
    return events, column, spike_count, overflow


@compiled
def first_overflow(decay: float, arriving: np.ndarray) -> int:
    """The first step at which a current made of these arrivals is not finite."""
    now = arriving[0]
    for n in range(1, arriving.size):
        if not np.isfinite(now):
            return n - 1
        now = decay * now + arriving[n]
    return arriving.size - 1


@compiled
def deliver_inside(
    component: int,
    network: Network,
    begin: int,
    end: int,
    events: Spikes,
    column: np.ndarray,
    current: np.ndarray,
) -> None:
    """Deliver the emissions of one step through the connections inside their component."""
    synapses = network.synapses
    for connection in range(
        synapses.internal_first[component], synapses.external_first[component + 1]
    ):
        for event in range(begin, end):
            if is_stopped():
                return
            i = column[event] - synapses.source_column[connection]
            if 0 <= i < synapses.source_units[connection] and not events.dropped[event]:
                row = synapses.row_first[connection] + i
                deliver(row, events.step[event], network, current)


@allocating
def sort_by_unit(
    first: int,
    columns: Columns,
    events: Spikes,
    column: np.ndarray,
    found: int,
    spikes: Spikes,
    spike_count: int,
    start: np.ndarray,
    count: np.ndarray,
    size: int,
) -> None:
    """Write emissions, which are in order of time, after the earlier spikes, unit by unit."""
    for j in range(size):
        count[columns.unit[first + j]] = 0
    for event in range(found):
        count[columns.unit[first + column[event]]] += 1
    place = np.empty(size, np.int64)
    for j in range(size):
        place[j] = start[columns.unit[first + j]] = spike_count
        spike_count += count[columns.unit[first + j]]
    for event in range(found):
        if is_stopped_at(event):
            return
        to = place[column[event]]
        place[column[event]] += 1
        spikes.step[to], spikes.threshold_excess[to] = (
            events.step[event],
            events.threshold_excess[event],
        )
        spikes.release[to], spikes.dropped[to] = events.release[event], events.dropped[event]
