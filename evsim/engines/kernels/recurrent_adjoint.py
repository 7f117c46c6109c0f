"""Units that reach each other: the events of ``recurrent`` in reverse.

The derivative by an emission's time needs the adjoints of its targets where it arrives, which is
later.  So emissions come in the reverse order of time: when one is pulled back, those after it
have been, and with them the windows are known that its arrivals fall into.  What comes from units
outside needs no order, and is pulled back at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim.compiled import allocating, compiled
from evsim.engines.kernels.entering import Entering
from evsim.engines.kernels.gathering import (
    STAGED,
    Gradients,
    Stage,
    pull_back_arrivals,
    put_on_stage,
)
from evsim.engines.kernels.recurrent_state import Components
from evsim.engines.kernels.windows import (
    most_windows,
    open_window,
    pull_back_emission,
    pull_back_moment,
    pull_back_release,
    window_from_open,
)
from evsim.lif import adjoint_flow


class Sent(NamedTuple):
    """Gradients by the synapses of recurrent components, in the order of these."""

    weight: np.ndarray
    delay: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray


@allocating
def new_sent(synapses: int) -> Sent:
    """Zeros."""
    return Sent(np.zeros(synapses), np.zeros(synapses), np.empty(STAGED), np.empty(STAGED))


@compiled
def add_sent(sent: Sent, synapses: np.ndarray, gradients: Gradients) -> None:
    """Add them to the gradients by all synapses."""
    for place in range(synapses.size):
        gradients.weight[synapses[place].index] += sent.weight[place]
        gradients.delay[synapses[place].index] += sent.delay[place]


@allocating
def own_spikes(
    members: np.ndarray, spikes: np.ndarray, start: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The component's emissions and their units, latest first."""
    total = 0
    for unit in members:
        total += count[unit]
    own, owner, minus_time = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total)
    n = 0
    for unit in members:
        for spike in range(start[unit], start[unit] + count[unit]):
            own[n], owner[n], minus_time[n] = spike, unit, -spikes[spike].time
            n += 1
    order = np.argsort(minus_time, kind="mergesort")
    return own[order], owner[order]


@compiled
def moments_read(sample: int, entering: Entering, members: np.ndarray) -> int:
    """At how many moments of a sample voltages of the component are read."""
    for unit in members:
        if unit == entering.first_read:
            return entering.moment_start[sample + 1] - entering.moment_start[sample]
    return 0


@compiled
def windows_of_component(
    component: int,
    sample: int,
    entering: Entering,
    components: Components,
    count: np.ndarray,
) -> int:
    """How many windows the units of a component can have together."""
    members = components.units[components.first[component] : components.first[component + 1]]
    moments = moments_read(sample, entering, members)
    needed = 0
    for unit in members:
        needed += most_windows(count[unit], moments)
    return needed


@allocating
def pull_back_component(
    component: int,
    sample: int,
    entering: Entering,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    components: Components,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    windows: np.ndarray,
    stage: Stage,
    sent: Sent,
    adjoint: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> None:
    """Pull the adjoints of a component's emissions back to its arrivals.

    ``windows`` has room for those of all its units, one unit after the other.
    """
    members = components.units[components.first[component] : components.first[component + 1]]
    rate, slope = entering.rate, entering.slope
    drive, phantom = entering.drive[sample], entering.phantom[sample]
    moment_start = entering.moment_start[sample]
    moment = moment_start + moments_read(sample, entering, members) - 1
    # Of every unit: its first window and the open one, the number of emissions still to come, and
    # when the refractory period after the latest of these ends, if it has not been entered.
    first_window, open_at = np.full(start.size, -1), np.empty(start.size, np.int64)
    to_come, free_at = count.copy(), np.full(start.size, -1.0)
    needed = 0
    for unit in members:
        first_window[unit] = open_at[unit] = needed
        needed += most_windows(count[unit], moment + 1 - moment_start)
    for unit in members:
        open_window(windows, first_window[unit], duration, phantom[unit], 0.0, drive[unit])
        gradients.threshold[unit] += units[unit].tau_mem * phantom[unit]
        free_at[unit] = next_release(unit, units, spikes, start, to_come)

    own_spike, own_unit = own_spikes(members, spikes, start, count)
    for emission in range(own_spike.size):
        spike, unit = own_spike[emission], own_unit[emission]
        while moment >= moment_start and entering.moments[moment] >= spikes[spike].time:
            pull_back_voltages(
                moment, entering, drive, units, spikes, start, to_come, windows, open_at
            )
            moment -= 1
        if not spikes[spike].is_dropped:
            pull_back_sent(
                unit, spike, components.outgoing[component], components.synapses, units, duration,
                spikes, start, to_come, free_at, windows, first_window, open_at, rate, slope, stage,
                sent, adjoint,
            )  # fmt: skip
        if free_at[unit] >= 0.0:
            open_at[unit] = pull_back_release(
                spikes[spike], units[unit], windows, open_at[unit], rate, slope
            )
        open_at[unit] = pull_back_emission(
            spikes[spike], adjoint[spike], units[unit], drive[unit], entering.limit, windows,
            open_at[unit], rate, slope, failure,
        )  # fmt: skip
        if failure[0] != 0.0:
            failure[2] = unit
            return
        gradients.threshold[unit] += units[unit].tau_mem * windows[open_at[unit]].lambda_v
        to_come[unit] -= 1
        free_at[unit] = next_release(unit, units, spikes, start, to_come)
    while moment >= moment_start:
        pull_back_voltages(moment, entering, drive, units, spikes, start, to_come, windows, open_at)
        moment -= 1
    for unit in members:
        pull_back_arrivals(
            unit, units, synapses, incoming, duration, spikes, start, count, first_window,
            windows, first_window[unit], open_at[unit], rate, slope, stage, adjoint,
            gradients,
        )  # fmt: skip


@compiled
def next_release(
    unit: int, units: np.ndarray, spikes: np.ndarray, start: np.ndarray, to_come: np.ndarray
) -> float:
    """The end of the refractory period after the latest emission still to come; -1 for none."""
    if to_come[unit] == 0 or units[unit].refractory == 0.0:
        return -1.0
    return spikes[start[unit] + to_come[unit] - 1].time + units[unit].refractory


@compiled
def pull_back_voltages(
    moment: int,
    entering: Entering,
    drive: np.ndarray,
    units: np.ndarray,
    spikes: np.ndarray,
    start: np.ndarray,
    to_come: np.ndarray,
    windows: np.ndarray,
    open_at: np.ndarray,
) -> None:
    """The voltages of the units that are read, at a moment."""
    for column in range(entering.moment_cotangent.shape[1]):
        unit = entering.first_read + column
        free_at = -1.0
        if to_come[unit] > 0:
            free_at = spikes[start[unit] + to_come[unit] - 1].time + units[unit].refractory
        open_at[unit] = pull_back_moment(
            entering.moments[moment], entering.moment_cotangent[moment, column], free_at, windows,
            open_at[unit], entering.rate, entering.slope, units[unit].tau_mem,
            units[unit].tau_syn,
        )  # fmt: skip


@compiled
def pull_back_sent(
    unit: int,
    spike: int,
    outgoing: np.ndarray,
    synapses: np.ndarray,
    units: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    to_come: np.ndarray,
    free_at: np.ndarray,
    windows: np.ndarray,
    first_window: np.ndarray,
    open_at: np.ndarray,
    rate: float,
    slope: float,
    stage: Stage,
    sent: Sent,
    adjoint: np.ndarray,
) -> None:
    """Pull back what an emission of the component sends into it; complete the derivative by it.

    ``synapses`` are sorted by delay; arrivals at the end of the trial have no effect.
    """
    place, end = outgoing[unit], outgoing[unit + 1]
    emission = spikes[spike].time
    total = 0.0
    while place < end:
        first, n = place, 0
        while place < end and n < STAGED:
            time, target = emission + synapses[place].delay, synapses[place].target
            if time >= duration:
                end = place
                break
            if time <= free_at[target]:
                open_at[target] = pull_back_release(
                    spikes[start[target] + to_come[target] - 1], units[target], windows,
                    open_at[target], rate, slope,
                )  # fmt: skip
                free_at[target] = -1.0
            w = window_from_open(time, windows, open_at[target], first_window[target])
            tau_mem, tau_syn = units[target].tau_mem, units[target].tau_syn
            sent.tau_mem[n], sent.tau_syn[n] = tau_mem, tau_syn
            put_on_stage(stage, n, time, windows, w, rate, slope, tau_mem, tau_syn)
            n += 1
            place += 1
        for i in range(n):
            stage.lambda_v[i], stage.lambda_i[i] = adjoint_flow(
                stage.lambda_v[i], stage.lambda_i[i], stage.elapsed[i], sent.tau_mem[i],
                sent.tau_syn[i],
            )  # fmt: skip
        for i in range(n):
            by_time = synapses[first + i].weight * (stage.lambda_v[i] - stage.lambda_i[i])
            sent.weight[first + i] -= sent.tau_syn[i] * stage.lambda_i[i]
            sent.delay[first + i] += by_time
            total += by_time
    adjoint[spike] += total
