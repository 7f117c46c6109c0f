"""Units that reach each other: the events of ``recurrent`` in reverse.

The derivative by an emission's time needs the adjoints of its targets where it arrives, which is
later.  So emissions come in the reverse order of time: when one is pulled back, those after it
have been, and with them the windows are known that its arrivals fall into.  What comes from units
outside needs no order, and is pulled back at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.backward.adjoint_intervals import (
    most_windows,
    open_window,
    pull_back_emission,
    pull_back_moment,
    pull_back_release,
    window_from_open,
)
from evsim.engines.exact.kernels.backward.adjoint_sources import Entering
from evsim.engines.exact.kernels.backward.arrival_gradients import (
    STAGED,
    Gradients,
    Stage,
    pull_back_arrivals,
    put_on_stage,
)
from evsim.engines.exact.kernels.forward.recurrent_state import Components
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.spike_records import STOPPED
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import adjoint_flow, arrival_slopes, is_refractory_after


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


class Progress(NamedTuple):
    """How far the units of a component have been pulled back.

    The windows of unit u are ``windows[first[u]:open[u] + 1]``; first is -1 for units outside.
    ``to_come[u]`` of its emissions have not been pulled back, and the refractory period after the
    latest of these ends at ``free_at[u]``, which is -1 once it has been entered.
    """

    windows: np.ndarray
    first: np.ndarray
    open: np.ndarray
    to_come: np.ndarray
    free_at: np.ndarray


@compiled
def add_sent(sent: Sent, synapses: np.ndarray, gradients: Gradients) -> None:
    """Add them to the gradients by all synapses."""
    for place in range(synapses.size):
        gradients.weight[synapses[place].index] += sent.weight[place]
        gradients.delay[synapses[place].index] += sent.delay[place]


@allocating
def own_spikes(members: np.ndarray, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """The component's emissions and their units, latest first."""
    total = 0
    for unit in members:
        total += trial.counts[unit]
    own, owner, minus_time = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total)
    n = 0
    for unit in members:
        for spike in range(trial.starts[unit], trial.starts[unit] + trial.counts[unit]):
            if is_stopped_at(n):
                return own[:0], owner[:0]
            own[n], owner[n], minus_time[n] = spike, unit, -trial.spikes[spike].time
            n += 1
    order = stable_order(minus_time)
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
    component: int, sample: int, entering: Entering, trial: Trial, components: Components
) -> int:
    """How many windows the units of a component can have together."""
    members = components.units[components.first[component] : components.first[component + 1]]
    moments = moments_read(sample, entering, members)
    needed = 0
    for unit in members:
        needed += most_windows(trial.counts[unit], moments)
    return needed


@allocating
def at_the_end(
    sample: int,
    entering: Entering,
    trial: Trial,
    members: np.ndarray,
    windows: np.ndarray,
    gradients: Gradients,
) -> Progress:
    """The end of the trial: nothing but phantom spikes.  There is room for all windows."""
    units = trial.starts.size
    progress = Progress(
        windows, np.full(units, -1), np.empty(units, np.int64), trial.counts.copy(),
        np.full(units, -1.0),
    )  # fmt: skip
    moments = moments_read(sample, entering, members)
    place = 0
    for unit in members:
        drive, phantom = entering.drive[sample, unit], entering.phantom[sample, unit]
        progress.first[unit] = progress.open[unit] = place
        open_window(windows, place, trial.duration, phantom, 0.0, phantom, drive)
        gradients.threshold[unit] += trial.units[unit].tau_mem * phantom
        progress.free_at[unit] = next_release(unit, trial, progress)
        place += most_windows(trial.counts[unit], moments)
    return progress


@allocating
def pull_back_component(
    component: int,
    sample: int,
    entering: Entering,
    trial: Trial,
    components: Components,
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
    outgoing = components.outgoing[component]
    progress = at_the_end(sample, entering, trial, members, windows, gradients)
    earliest = entering.moment_start[sample]
    moment = earliest + moments_read(sample, entering, members) - 1
    own_spike, own_unit = own_spikes(members, trial)
    for emission in range(own_spike.size):
        spike, unit = own_spike[emission], own_unit[emission]
        if is_stopped():
            failure[0] = STOPPED
            return
        while moment >= earliest and entering.moments[moment] >= trial.spikes[spike].time:
            if is_stopped():
                failure[0] = STOPPED
                return
            pull_back_voltages(moment, entering, trial, progress)
            moment -= 1
        if not trial.spikes[spike].is_dropped:
            pull_back_sent(
                unit, spike, outgoing, components.synapses, entering, trial, progress, stage, sent,
                adjoint,
            )  # fmt: skip
        if progress.free_at[unit] >= 0.0:
            enter_refractory_period(unit, entering, trial, progress)
        progress.open[unit] = pull_back_emission(
            unit, spike, adjoint[spike], entering.drive[sample, unit], entering, trial, windows,
            progress.open[unit], failure,
        )  # fmt: skip
        if failure[0] != 0.0:
            failure[2] = unit
            return
        lambda_v = windows[progress.open[unit]].lambda_v
        gradients.threshold[unit] += trial.units[unit].tau_mem * lambda_v
        progress.to_come[unit] -= 1
        progress.free_at[unit] = next_release(unit, trial, progress)
    if is_stopped():
        failure[0] = STOPPED
        return
    while moment >= earliest:
        pull_back_voltages(moment, entering, trial, progress)
        moment -= 1
    for unit in members:
        if is_stopped():
            failure[0] = STOPPED
            return
        pull_back_arrivals(
            unit, entering, trial, progress.first, windows, progress.first[unit],
            progress.open[unit], stage, adjoint, gradients,
        )  # fmt: skip


@compiled
def next_release(unit: int, trial: Trial, progress: Progress) -> float:
    """The end of the refractory period after the latest emission still to come; -1 for none."""
    if progress.to_come[unit] == 0:
        return -1.0
    time = trial.spikes[trial.starts[unit] + progress.to_come[unit] - 1].time
    refractory = trial.units[unit].refractory
    return time + refractory if is_refractory_after(time, refractory) else -1.0


@compiled
def enter_refractory_period(
    unit: int, entering: Entering, trial: Trial, progress: Progress
) -> None:
    """Enter the refractory period after a unit's latest emission still to come, from its end."""
    spike = trial.starts[unit] + progress.to_come[unit] - 1
    progress.open[unit] = pull_back_release(
        unit, spike, entering, trial, progress.windows, progress.open[unit]
    )
    progress.free_at[unit] = -1.0


@compiled
def pull_back_voltages(moment: int, entering: Entering, trial: Trial, progress: Progress) -> None:
    """The voltages of the units that are read, at a moment."""
    for column in range(entering.moment_cotangent.shape[1]):
        unit = entering.first_read + column
        free_at = -1.0
        if progress.to_come[unit] > 0:
            spike = trial.starts[unit] + progress.to_come[unit] - 1
            free_at = trial.spikes[spike].time + trial.units[unit].refractory
        progress.open[unit] = pull_back_moment(
            unit, entering.moments[moment], entering.moment_cotangent[moment, column], free_at,
            entering, trial, progress.windows, progress.open[unit],
        )  # fmt: skip


@compiled
def pull_back_sent(
    unit: int,
    spike: int,
    outgoing: np.ndarray,
    synapses: np.ndarray,
    entering: Entering,
    trial: Trial,
    progress: Progress,
    stage: Stage,
    sent: Sent,
    adjoint: np.ndarray,
) -> None:
    """Pull back what an emission of the component sends into it; complete the derivative by it.

    ``synapses`` are sorted by delay; arrivals at the end of the trial have no effect.  When
    something arrives in a refractory period, all moments after the period have been.
    """
    place, end = outgoing[unit], outgoing[unit + 1]
    emission = trial.spikes[spike].time
    total = 0.0
    while place < end:
        first, n = place, 0
        while place < end and n < STAGED:
            time, target = emission + synapses[place].delay, synapses[place].target
            if time >= trial.duration:
                end = place
                break
            if time <= progress.free_at[target]:
                enter_refractory_period(target, entering, trial, progress)
            w = window_from_open(
                time, progress.windows, progress.open[target], progress.first[target]
            )
            sent.tau_mem[n] = trial.units[target].tau_mem
            sent.tau_syn[n] = trial.units[target].tau_syn
            put_on_stage(stage, n, target, time, entering, trial, progress.windows, w)
            n += 1
            place += 1
        for i in range(n):
            _, stage.lambda_i[i], stage.difference[i] = adjoint_flow(
                stage.lambda_v[i], stage.lambda_i[i], stage.difference[i], stage.elapsed[i],
                sent.tau_mem[i], sent.tau_syn[i],
            )  # fmt: skip
        for i in range(n):
            by_weight, by_time = arrival_slopes(
                synapses[first + i].weight, stage.lambda_i[i], stage.difference[i], sent.tau_syn[i]
            )
            sent.weight[first + i] += by_weight
            sent.delay[first + i] += by_time
            total += by_time
    adjoint[spike] += total
