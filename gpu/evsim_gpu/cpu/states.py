"""Voltages and currents of units whose arrivals and emissions are known, and readouts of them."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim_gpu.cpu.forward import flow_step
from evsim_gpu.cpu.records import Columns, Network, Spikes, columns_of
from evsim_gpu.cpu.synapses import add_to, collect


@allocating
def fill_states(
    component: int,
    network: Network,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    states: np.ndarray,
) -> None:
    """V and I of a component's units after every grid point, (steps + 1, columns, 2)."""
    synapses, first, size = network.synapses, network.first[component], states.shape[1]
    columns = columns_of(network.columns, first, first + size)
    rows = network.steps + 1 + network.reach[component]
    arriving = np.zeros((rows, size), states.dtype)
    collect(
        synapses.external_first[component], synapses.external_first[component + 1], network, spikes,
        start, count, arriving,
    )  # fmt: skip
    voltage, current = columns.start.copy(), arriving[0].copy()
    excess = np.empty_like(voltage)
    emitted, free_at = np.zeros(size, np.int64), np.full(size, -1)
    for n in range(network.steps + 1):
        if is_stopped():
            return
        if n > 0:
            flow_step(columns, voltage, current, excess)
            for j in range(size):
                unit = columns.unit[j]
                if n <= free_at[j]:
                    voltage[j] = columns.reset[j]
                elif emitted[j] < count[unit] and spikes.step[start[unit] + emitted[j]] == n:
                    voltage[j] = columns.reset[j]
                    emitted[j] += 1
                    free_at[j] = n + columns.refractory[j]
            add_to(current, arriving[n])
        for j in range(size):
            states[n, j, 0], states[n, j, 1] = voltage[j], current[j]


@compiled
def mean_of_unit(
    states: np.ndarray,
    column: int,
    columns: Columns,
    first: int,
    spikes: Spikes,
    begin: int,
    end: int,
    f: np.ndarray,
    g: np.ndarray,
    by_voltage: np.ndarray,
    by_current: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add the weighted mean of V, the exact integral over each step, to ``total[0]``.

    Steps over which V is held are left out.
    """
    following, free_at = begin, -1
    for n in range(f.size):
        if is_stopped_at(n):
            return
        if following < end and spikes.step[following] == n:
            free_at = n + columns.refractory[first + column]
            following += 1
        if n >= free_at:  # otherwise V is held over the next step
            v, i = states[n, column, 0], states[n, column, 1]
            of_f = by_voltage[0] * v + by_current[0] * i
            of_g = by_voltage[1] * v + by_current[1] * i
            total[0] += f[n] * of_f + g[n] * of_g


@compiled
def peak_of_unit(states: np.ndarray, column: int) -> int:
    """The first grid point at which V is largest, or one at which V is NaN, if there is any."""
    best = 0
    for n in range(1, states.shape[0]):
        if is_stopped_at(n):
            break
        if not states[n, column, 0] <= states[best, column, 0]:
            best = n
    return best


@compiled
def peak_share(states: np.ndarray, column: int, peak: int, decay_syn: float) -> float:
    """The share of lambda_V's jump at a peak that acts on the times of arrivals at its grid point.

    Where arrivals end a rise, it is ``V'-/(V'- - V'+)``, so that the derivative of the peak with
    respect to the time of a single arrival is V'-.  It is 1 where V still rises after the arrivals,
    and 0 where V has stopped rising before them, and at both ends of the trial.
    """
    if peak == 0 or peak == states.shape[0] - 1:
        return 0.0
    voltage, current = states[peak, column, 0], states[peak, column, 1]
    rise, fall = decay_syn * states[peak - 1, column, 1] - voltage, voltage - current
    if fall < 0.0:
        return 1.0
    return rise / (rise + fall) if rise > 0.0 else 0.0
