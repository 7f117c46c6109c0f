"""The loops over the samples of a batch that Python calls for gradients.

See ``forward.simulate`` for how threads share a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled, entry_point
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    largest_arrival_count,
    merge_readings,
    new_arrivals,
    possible_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.backward.adjoint_intervals import (
    ADJOINT_INTERVAL,
    add_start_gradient,
    fill_intervals,
    interval_limit,
    with_intervals,
)
from evsim.engines.exact.kernels.backward.adjoint_sources import (
    SourceArrays,
    Sources,
    sources_of_unit,
)
from evsim.engines.exact.kernels.backward.arrival_gradients import (
    ArrivalGroup,
    empty_group,
    new_group,
    pull_back_arrivals,
)
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.backward.recurrent import (
    add_sent,
    intervals_of_component,
    new_sent,
    pull_back_component,
)
from evsim.engines.exact.kernels.failures import Status, has_failed
from evsim.engines.exact.kernels.forward.recurrent_state import Components
from evsim.engines.exact.kernels.readouts.integrals import (
    end_of_group,
    new_states,
    pull_back_group_mean,
    pull_back_group_moments,
    with_states,
)
from evsim.engines.exact.kernels.readouts.peak import peak_moment, pull_back_peak, with_moment
from evsim.engines.exact.kernels.readouts.trajectory import (
    SEGMENT,
    add_time_constant_gradients,
    fill_trajectory,
    with_segments_for,
)
from evsim.engines.exact.kernels.trial import Batch, Trial, have_equal_time_constants, trial_of


class Scratch(NamedTuple):
    """Memory that samples reuse."""

    arrivals: Arrivals
    states: np.ndarray  # (3, units)
    intervals: np.ndarray
    group: ArrivalGroup


@allocating
def with_scratch(scratch: Scratch, arrivals: int, units: int, intervals: int) -> Scratch:
    """Scratch memory with room for at least these numbers: the same if it suffices."""
    return Scratch(
        with_room(scratch.arrivals, arrivals),
        with_states(scratch.states, units),
        with_intervals(scratch.intervals, intervals),
        scratch.group,
    )


@allocating
def pull_back_layer(
    component: int,
    sample: int,
    sources: SourceArrays,
    trial: Trial,
    components: Components,
    scratch: Scratch,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> Scratch:
    """Pull a feedforward component back to its arrivals; returns the scratch memory."""
    # The component is one population: its units follow each other.
    first = components.units[components.first[component]]
    last = components.units[components.first[component + 1] - 1] + 1
    moments = 0
    if sources.first_read == first:
        moments = sources.moment_start[sample + 1] - sources.moment_start[sample]
    if trial.units[first].is_lif:
        emissions = 0
        for unit in range(first, last):
            emissions = max(emissions, trial.counts[unit])
        intervals = interval_limit(emissions, moments)
        scratch = with_scratch(scratch, 0, 0, intervals)
        pull_back_lif_units(
            first, last, sample, sources, trial, scratch, spike_time_gradient, gradients, failure
        )
    elif sources.first_read == first:
        needed = largest_arrival_count(first, last, trial)
        scratch = with_scratch(scratch, needed + moments, last - first, 0)
        pull_back_li_units(
            first, last, sample, sources, trial, scratch, spike_time_gradient, gradients
        )
    return scratch


@compiled
def pull_back_lif_units(
    first: int,
    last: int,
    sample: int,
    sources: SourceArrays,
    trial: Trial,
    scratch: Scratch,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> None:
    """Pull emissions and cotangents of the voltages of LIF units back to their arrivals."""
    begin, end = sources.moment_start[sample], sources.moment_start[sample + 1]
    no_source = sources.moment_start[:0]
    n, grouped = 0, first  # arrivals in the group, and the last of the units where they arrive
    for unit in range(first, last + 1):
        if is_stopped():
            failure.status = Status.STOPPED
            return
        if n > 0 and (unit == last or not have_equal_time_constants(unit, grouped, trial.units)):
            empty_group(scratch.group, n, grouped, trial, spike_time_gradient, gradients)
            n = 0
        if unit == last:
            break
        voltage_cotangent = sources.voltage_cotangent[sample, unit]
        phantom = sources.phantom[sample, unit]
        is_read = sources.first_read <= unit < sources.last_read and end > begin
        if trial.counts[unit] == 0 and phantom == 0.0 and voltage_cotangent == 0.0 and not is_read:
            continue
        column, read_end = (unit - sources.first_read, end) if is_read else (0, begin)
        last_interval, total = fill_intervals(
            unit, phantom, voltage_cotangent, sources.moments[begin:read_end],
            sources.moment_cotangent[begin:read_end, column], sources, trial, spike_time_gradient,
            scratch.intervals, gradients, failure,
        )  # fmt: skip
        if has_failed(failure):
            return
        gradients.threshold[unit] += trial.units[unit].tau_mem * total
        add_start_gradient(unit, sources, trial, scratch.intervals, last_interval, gradients)
        n = pull_back_arrivals(
            unit, n, sources, trial, no_source, scratch.intervals, 0, last_interval, scratch.group,
            spike_time_gradient, gradients,
        )  # fmt: skip
        grouped = unit


@compiled
def pull_back_li_units(
    first: int,
    last: int,
    sample: int,
    sources: SourceArrays,
    trial: Trial,
    scratch: Scratch,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull cotangents of the voltages of LI units back to their arrivals."""
    begin, end = sources.moment_start[sample], sources.moment_start[sample + 1]
    voltage_cotangent, arrivals = sources.voltage_cotangent[sample], scratch.arrivals
    cached, n = -1, 0
    unit = first
    while unit < last:
        group_end = unit + 1
        if not sources.is_peak:
            group_end = end_of_group(trial.units, unit, last)
        has_cotangent = np.any(voltage_cotangent[unit:group_end])
        if end > begin or has_cotangent:
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return
            cached = unit
            if has_cotangent and sources.is_peak:
                pull_back_peak(
                    unit, trial, arrivals, n, voltage_cotangent[unit], spike_time_gradient,
                    gradients,
                )  # fmt: skip
            elif has_cotangent:
                pull_back_group_mean(
                    unit, group_end, trial, arrivals, n, sources.rate[unit], sources.slope[unit],
                    voltage_cotangent, spike_time_gradient, gradients,
                )  # fmt: skip
            if end > begin:
                n = merge_readings(arrivals, n, sources.moments[begin:end])
                if is_stopped():
                    return
                cached = -1
                pull_back_group_moments(
                    unit, group_end, trial, arrivals, n,
                    sources.moment_cotangent[begin:end, unit - first :], scratch.states,
                    spike_time_gradient, gradients,
                )  # fmt: skip
        unit = group_end


@entry_point
def pull_back_samples(
    first: int,
    last: int,
    sources: Sources,
    components: Components,
    recurrent: np.ndarray | None,
    batch: Batch,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
    failures: np.ndarray,
) -> None:
    """Add the samples' gradients, and complete S_k of every spike.

    ``spike_time_gradient`` comes with the derivatives of the readout with respect to each spike's
    time.  ``recurrent`` is that of ``simulate_samples``.  ``failures`` (1,) gets what stops the
    loop.
    """
    failure = failures[0]
    scratch = Scratch(new_arrivals(64), new_states(16), np.empty(64, ADJOINT_INTERVAL), new_group())
    if recurrent is not None:
        sent = new_sent(components.synapses.size)
    own, group = sources_of_unit(0, sources), sources.of_unit[0]
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        for component in range(components.recurrent.size - 1, -1, -1):
            unit = components.units[components.first[component]]
            if sources.of_unit[unit] != group:
                own, group = sources_of_unit(unit, sources), sources.of_unit[unit]
            if recurrent is not None and recurrent[component]:
                needed = intervals_of_component(component, sample, own, trial, components)
                scratch = with_scratch(scratch, 0, 0, needed)
                pull_back_component(
                    component, sample, own, trial, components, scratch.intervals, scratch.group,
                    sent, spike_time_gradient, gradients, failure,
                )  # fmt: skip
            else:
                scratch = pull_back_layer(
                    component, sample, own, trial, components, scratch, spike_time_gradient,
                    gradients, failure,
                )  # fmt: skip
            if is_stopped():
                failure.status = Status.STOPPED
            if has_failed(failure):
                failure.sample = sample
                return
    if recurrent is not None:
        add_sent(sent, components.synapses, gradients)


@entry_point(part="gradients of time constants")
def pull_back_time_constants(
    first: int,
    last: int,
    wanted: np.ndarray,
    sources: Sources,
    batch: Batch,
    spike_time_gradient: np.ndarray,
    tau_mem_gradient: np.ndarray,
    tau_syn_gradient: np.ndarray,
) -> None:
    """Add the samples' gradients of the wanted units' time constants, each (units,).

    To be called after ``pull_back_samples``, which completes S_k of every spike: then all arrivals
    at a unit and all its emissions are known, and each unit can be treated alone.
    """
    arrivals = new_arrivals(64)
    trajectory = np.empty(64, SEGMENT)
    peak = np.empty(1)
    own, group = sources_of_unit(wanted[0], sources), sources.of_unit[wanted[0]]
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        needed = 0
        for unit in wanted:
            needed = max(needed, possible_arrivals(unit, trial))
        arrivals = with_room(arrivals, needed)
        cached, n = -1, 0
        for unit in wanted:
            first_spike, emissions = trial.starts[unit], trial.counts[unit]
            voltage_cotangent = sources.voltage_cotangent[sample, unit]
            phantom = sources.phantom[sample, unit]
            if sources.of_unit[unit] != group:
                own, group = sources_of_unit(unit, sources), sources.of_unit[unit]
            begin, end = own.moment_start[sample], own.moment_start[sample + 1]
            is_read = own.first_read <= unit < own.last_read and end > begin
            if emissions == 0 and voltage_cotangent == 0.0 and phantom == 0.0 and not is_read:
                continue
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return
            cached = unit
            moments, moment_cotangent = peak[:0], peak[:0]
            if is_read:
                column = unit - own.first_read
                moments = own.moments[begin:end]
                moment_cotangent = own.moment_cotangent[begin:end, column]
            if own.is_peak and voltage_cotangent != 0.0:
                if peak_moment(unit, trial, arrivals, n, peak) > 0:
                    moments, moment_cotangent = with_moment(
                        moments, moment_cotangent, peak[0], voltage_cotangent
                    )
                voltage_cotangent = 0.0
            trajectory = with_segments_for(trajectory, n + 2 * emissions + moments.size)
            segments = fill_trajectory(
                unit, trial, arrivals, n, first_spike, first_spike + emissions, moments, trajectory
            )
            if is_stopped():
                return
            add_time_constant_gradients(
                unit, trial, trajectory, segments, phantom, voltage_cotangent, own.rate[unit],
                own.slope[unit], moment_cotangent, own.limit, spike_time_gradient,
                tau_mem_gradient, tau_syn_gradient,
            )  # fmt: skip
