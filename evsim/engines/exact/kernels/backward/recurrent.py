"""Recurrent components, backwards: the events of ``forward.recurrent`` in reverse.

S_k of an emission contains the adjoints of its targets at the times of its arrivals, which are
later.  Therefore emissions are pulled back in reverse order of time: when an emission is pulled
back, all later ones have been, and the intervals into which its arrivals fall are known.  Arrivals
from units outside the component need no order and are pulled back at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.backward.adjoint_intervals import (
    add_start_gradient,
    interval_from_open,
    interval_limit,
    open_interval,
    pull_back_emission,
    pull_back_moment,
    pull_back_release,
)
from evsim.engines.exact.kernels.backward.adjoint_sources import SourceArrays
from evsim.engines.exact.kernels.backward.arrival_gradients import (
    GROUP_SIZE,
    ArrivalGroup,
    add_arrival_gradient,
    empty_group,
    pull_back_arrivals,
    put_in_group,
)
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.failures import Status, has_failed
from evsim.engines.exact.kernels.forward.recurrent_state import Components
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.trial import Trial, have_equal_time_constants
from evsim.equations.lif import adjoint_flow, is_refractory_after


class Sent(NamedTuple):
    """Gradients of the synapses inside recurrent components, in the order of ``Components``.

    It also holds scratch memory for the time constants of the targets of a group of arrivals.
    """

    weight: np.ndarray
    delay: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray


@allocating
def new_sent(synapses: int) -> Sent:
    """Zeros."""
    return Sent(np.zeros(synapses), np.zeros(synapses), np.empty(GROUP_SIZE), np.empty(GROUP_SIZE))


PROGRESS = record(
    [
        ("first", np.int64),  # of its intervals; -1 for a unit outside the component
        ("open", np.int64),  # the last of its intervals, which is open
        ("remaining", np.int64),  # how many of its emissions have not been pulled back
        ("free_at", np.float64),  # when the refractory period after the latest of these ends
        ("tau_mem", np.float64),
        ("tau_syn", np.float64),
    ]
)
"""How far a unit has been pulled back, stored together with what each arrival at it needs.

``free_at`` is -1 if no refractory period is left, or once it has been entered.
"""


class Progress(NamedTuple):
    """How far the units of a component have been pulled back; ``units`` are PROGRESS records."""

    intervals: np.ndarray
    units: np.ndarray


@compiled
def add_sent(sent: Sent, synapses: np.ndarray, gradients: Gradients) -> None:
    """Add the gradients in ``sent`` to those of all synapses."""
    for place in range(synapses.size):
        gradients.weight[synapses[place].index] += sent.weight[place]
        gradients.delay[synapses[place].index] += sent.delay[place]


@allocating
def component_spikes(members: np.ndarray, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """The component's emissions and their units, latest first."""
    total = 0
    for unit in members:
        total += trial.counts[unit]
    spikes, units = np.empty(total, np.int64), np.empty(total, np.int64)
    minus_time = np.empty(total)
    n = 0
    for unit in members:
        for spike in range(trial.starts[unit], trial.starts[unit] + trial.counts[unit]):
            if is_stopped_at(n):
                return spikes[:0], units[:0]
            spikes[n], units[n], minus_time[n] = spike, unit, -trial.spikes[spike].time
            n += 1
    order = stable_order(minus_time)
    return spikes[order], units[order]


@compiled
def moments_read(sample: int, sources: SourceArrays, members: np.ndarray) -> int:
    """The number of moments of a sample at which voltages of the component are read."""
    for unit in members:
        if unit == sources.first_read:
            return sources.moment_start[sample + 1] - sources.moment_start[sample]
    return 0


@compiled
def intervals_of_component(
    component: int, sample: int, sources: SourceArrays, trial: Trial, components: Components
) -> int:
    """The largest number of intervals that the units of a component can have together."""
    members = components.units[components.first[component] : components.first[component + 1]]
    moments = moments_read(sample, sources, members)
    needed = 0
    for unit in members:
        needed += interval_limit(trial.counts[unit], moments)
    return needed


@allocating
def open_last_intervals(
    sample: int,
    sources: SourceArrays,
    trial: Trial,
    members: np.ndarray,
    intervals: np.ndarray,
    gradients: Gradients,
) -> Progress:
    """Open the interval of each unit at the end of the trial, where only phantom spikes occur."""
    progress = Progress(intervals, np.empty(trial.starts.size, PROGRESS))
    of_units = progress.units
    for unit in range(of_units.size):
        of_units[unit].first = -1
    moments = moments_read(sample, sources, members)
    place = 0
    for unit in members:
        voltage_cotangent, phantom = (
            sources.voltage_cotangent[sample, unit],
            sources.phantom[sample, unit],
        )
        of_units[unit].first = of_units[unit].open = place
        of_units[unit].remaining = trial.counts[unit]
        of_units[unit].tau_mem = trial.units[unit].tau_mem
        of_units[unit].tau_syn = trial.units[unit].tau_syn
        open_interval(intervals, place, trial.duration, phantom, 0.0, phantom, voltage_cotangent)
        gradients.threshold[unit] += trial.units[unit].tau_mem * phantom
        of_units[unit].free_at = next_release(unit, trial, progress)
        place += interval_limit(trial.counts[unit], moments)
    return progress


@allocating
def pull_back_component(
    component: int,
    sample: int,
    sources: SourceArrays,
    trial: Trial,
    components: Components,
    intervals: np.ndarray,
    group: ArrivalGroup,
    sent: Sent,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> None:
    """Pull the adjoints of a component's emissions back to its arrivals.

    ``intervals`` has room for the intervals of all its units, one unit after the other.
    """
    members = components.units[components.first[component] : components.first[component + 1]]
    outgoing = components.outgoing[component]
    progress = open_last_intervals(sample, sources, trial, members, intervals, gradients)
    earliest = sources.moment_start[sample]
    moment = earliest + moments_read(sample, sources, members) - 1
    emissions, emitters = component_spikes(members, trial)
    for i in range(emissions.size):
        spike, unit = emissions[i], emitters[i]
        if is_stopped():
            failure.status = Status.STOPPED
            return
        while moment >= earliest and is_after_emission(
            sources.moments[moment], trial.spikes[spike].time
        ):
            if is_stopped():
                failure.status = Status.STOPPED
                return
            pull_back_voltages(moment, sources, trial, progress, gradients)
            moment -= 1
        if not trial.spikes[spike].is_dropped:
            pull_back_sent(
                unit, spike, outgoing, components.synapses, sources, trial, progress, group, sent,
                spike_time_gradient, gradients,
            )  # fmt: skip
        if progress.units[unit].free_at >= 0.0:
            enter_refractory_period(unit, sources, trial, progress, gradients)
        progress.units[unit].open = pull_back_emission(
            unit, spike, spike_time_gradient[spike], sources.voltage_cotangent[sample, unit],
            sources, trial, intervals, progress.units[unit].open, gradients, failure,
        )  # fmt: skip
        if has_failed(failure):
            return
        lambda_v = intervals[progress.units[unit].open].lambda_v
        gradients.threshold[unit] += trial.units[unit].tau_mem * lambda_v
        progress.units[unit].remaining -= 1
        progress.units[unit].free_at = next_release(unit, trial, progress)
    if is_stopped():
        failure.status = Status.STOPPED
        return
    while moment >= earliest:
        pull_back_voltages(moment, sources, trial, progress, gradients)
        moment -= 1
    n, grouped = 0, members[0]  # arrivals in the group, and the last unit where they arrive
    for unit in members:
        if is_stopped():
            failure.status = Status.STOPPED
            return
        add_start_gradient(unit, sources, trial, intervals, progress.units[unit].open, gradients)
        if n > 0 and not have_equal_time_constants(unit, grouped, trial.units):
            empty_group(group, n, grouped, trial, spike_time_gradient, gradients)
            n = 0
        n = pull_back_arrivals(
            unit, n, components.external_first[unit], components.external_first[unit + 1],
            components.external, sources, trial, intervals, progress.units[unit].first,
            progress.units[unit].open, group, spike_time_gradient, gradients,
        )  # fmt: skip
        grouped = unit
    empty_group(group, n, grouped, trial, spike_time_gradient, gradients)


@compiled
def next_release(unit: int, trial: Trial, progress: Progress) -> float:
    """The end of the refractory period after the latest remaining emission; -1 for none."""
    if progress.units[unit].remaining == 0:
        return -1.0
    time = trial.spikes[trial.starts[unit] + progress.units[unit].remaining - 1].time
    refractory = trial.units[unit].refractory
    return time + refractory if is_refractory_after(time, refractory) else -1.0


@compiled
def enter_refractory_period(
    unit: int, sources: SourceArrays, trial: Trial, progress: Progress, gradients: Gradients
) -> None:
    """Enter the refractory period after a unit's latest remaining emission, from its end."""
    spike = trial.starts[unit] + progress.units[unit].remaining - 1
    progress.units[unit].open = pull_back_release(
        unit, spike, sources, trial, progress.intervals, progress.units[unit].open, gradients
    )
    progress.units[unit].free_at = -1.0


@compiled
def pull_back_voltages(
    moment: int, sources: SourceArrays, trial: Trial, progress: Progress, gradients: Gradients
) -> None:
    """Make lambda_V of the units that are read jump at a moment."""
    for column in range(sources.moment_cotangent.shape[1]):
        unit = sources.first_read + column
        if progress.units[unit].first < 0:
            continue  # of a population between those of the component
        free_at = -1.0
        if progress.units[unit].remaining > 0:
            spike = trial.starts[unit] + progress.units[unit].remaining - 1
            free_at = trial.spikes[spike].time + trial.units[unit].refractory
        progress.units[unit].open = pull_back_moment(
            unit, sources.moments[moment], sources.moment_cotangent[moment, column], free_at,
            sources, trial, progress.intervals, progress.units[unit].open, gradients,
        )  # fmt: skip


@compiled
def pull_back_sent(
    unit: int,
    spike: int,
    outgoing: np.ndarray,
    synapses: np.ndarray,
    sources: SourceArrays,
    trial: Trial,
    progress: Progress,
    group: ArrivalGroup,
    sent: Sent,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull back the arrivals of an emission inside its component, and add them to its S_k.

    ``synapses`` are sorted by delay; arrivals at the end of the trial have no effect.  If a spike
    arrives in a refractory period, all readings after the period have been pulled back.
    """
    place, end = outgoing[unit], outgoing[unit + 1]
    emission = trial.spikes[spike].time
    total = 0.0
    while place < end:
        first, n = place, 0
        while place < end and n < GROUP_SIZE:
            time, target = emission + synapses[place].delay, synapses[place].target
            if time >= trial.duration:
                end = place
                break
            if is_before_release(time, progress.units[target].free_at):
                enter_refractory_period(target, sources, trial, progress, gradients)
            k = interval_from_open(
                time, progress.intervals, progress.units[target].open, progress.units[target].first
            )
            sent.tau_mem[n] = progress.units[target].tau_mem
            sent.tau_syn[n] = progress.units[target].tau_syn
            put_in_group(group, n, target, time, sources, trial, progress.intervals, k)
            n += 1
            place += 1
        for i in range(n):
            _, group.lambda_i[i], group.difference[i] = adjoint_flow(
                group.lambda_v[i], group.lambda_i[i], group.difference[i], group.elapsed[i],
                sent.tau_mem[i], sent.tau_syn[i],
            )  # fmt: skip
        for i in range(n):
            total += add_arrival_gradient(
                first + i, synapses[first + i].weight, group.lambda_i[i], group.difference[i],
                sent.tau_syn[i], sent.weight, sent.delay,
            )  # fmt: skip
    spike_time_gradient[spike] += total
