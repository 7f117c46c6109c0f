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
    sorted_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.backward.adjoint_intervals import (
    ADJOINT_INTERVAL,
    add_start_gradient,
    fill_intervals,
    interval_limit,
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
from evsim.engines.exact.kernels.backward.shared_arrivals import (
    SharedArrivals,
    end_of_sharing,
    is_worth_sharing,
    new_shared_arrivals,
    prepare,
    pull_back_shared,
)
from evsim.engines.exact.kernels.failures import Status, has_failed
from evsim.engines.exact.kernels.forward.recurrent_state import Components, units_of_layer
from evsim.engines.exact.kernels.readouts.integrals import (
    end_of_group,
    new_states,
    pull_back_group_mean,
    pull_back_group_moments,
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
    shared: SharedArrivals


class Needed(NamedTuple):
    """How much of the scratch memory is needed."""

    arrivals: int  # at an LI unit, with readings
    units: int  # LI units
    intervals: int
    shared_arrivals: int  # at units that share them
    shared_synapses: int


@allocating
def members_of(component: int, components: Components) -> np.ndarray:
    """The units of a component."""
    return components.units[components.first[component] : components.first[component + 1]]


@compiled
def larger(one: Needed, other: Needed) -> Needed:
    """Room for both."""
    return Needed(
        max(one.arrivals, other.arrivals), max(one.units, other.units),
        max(one.intervals, other.intervals), max(one.shared_arrivals, other.shared_arrivals),
        max(one.shared_synapses, other.shared_synapses),
    )  # fmt: skip


@allocating
def new_scratch(needed: Needed) -> Scratch:
    """Scratch memory with that much room."""
    return Scratch(
        new_arrivals(needed.arrivals), new_states(needed.units),
        np.empty(needed.intervals, ADJOINT_INTERVAL), new_group(),
        new_shared_arrivals(needed.shared_arrivals, needed.shared_synapses),
    )  # fmt: skip


@compiled
def moments_of(first: int, sample: int, sources: SourceArrays) -> int:
    """The number of moments of a sample at which the population from unit ``first`` on is read."""
    if sources.first_read != first:
        return 0
    return sources.moment_start[sample + 1] - sources.moment_start[sample]


@compiled
def needed_for_layer(
    component: int, sample: int, sources: SourceArrays, batch: Batch, components: Components
) -> Needed:
    """The scratch memory that a feedforward component needs for a sample."""
    trial = Trial(
        batch.units, batch.synapses, batch.incoming, batch.duration, batch.spikes,
        batch.starts[sample], batch.counts[sample],
    )  # fmt: skip
    first, last = units_of_layer(component, components)
    moments = moments_of(first, sample, sources)
    if not trial.units[first].is_lif:
        if sources.first_read != first:
            return Needed(0, 0, 0, 0, 0)
        return Needed(largest_arrival_count(first, last, trial) + moments, last - first, 0, 0, 0)
    emissions = arrivals = synapses = 0
    unit = first
    while unit < last:
        end = end_of_sharing(unit, last, trial)
        if is_worth_sharing(unit, end, trial):
            arrivals = max(arrivals, possible_arrivals(unit, trial))
            synapses = max(synapses, trial.incoming[unit + 1] - trial.incoming[unit])
        unit = end
    for unit in range(first, last):
        emissions = max(emissions, trial.counts[unit])
    members = components.units[components.first[component] : components.first[component + 1]]
    of_peaks = arrivals_of_peaks(members, sample, sources, trial)
    return Needed(of_peaks, 0, interval_limit(emissions, moments), arrivals, synapses)


@compiled
def pull_back_layer(
    component: int,
    sample: int,
    sources: SourceArrays,
    batch: Batch,
    components: Components,
    scratch: Scratch,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> None:
    """Pull a feedforward component back to its arrivals."""
    # Without trial_of, which counts references to the arrays: this takes longer than a small layer.
    trial = Trial(
        batch.units, batch.synapses, batch.incoming, batch.duration, batch.spikes,
        batch.starts[sample], batch.counts[sample],
    )  # fmt: skip
    first, last = units_of_layer(component, components)
    if trial.units[first].is_lif:
        pull_back_silent_peaks(
            components.units[components.first[component] : components.first[component + 1]],
            sample, sources, trial, scratch.arrivals, spike_time_gradient, gradients,
        )  # fmt: skip
        pull_back_lif_units(
            first, last, sample, sources, trial, scratch, spike_time_gradient, gradients, failure
        )
    elif sources.first_read == first:
        pull_back_li_units(
            first, last, sample, sources, trial, scratch, spike_time_gradient, gradients
        )


@compiled
def pull_back_silent_peaks(
    members: np.ndarray,
    sample: int,
    sources: SourceArrays,
    trial: Trial,
    arrivals: Arrivals,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull the peaks of LIF units that do not spike back to their arrivals.

    Such a unit has no emission, so nothing else depends on its adjoint, and its arrivals are those
    of an LI unit.
    """
    for unit in members:
        cotangent = sources.peak_cotangent[sample, unit]
        if cotangent == 0.0 or trial.counts[unit] > 0:
            continue
        n = sorted_arrivals(unit, trial, arrivals, possible_arrivals(unit, trial))
        if is_stopped():
            return
        pull_back_peak(unit, trial, arrivals, n, cotangent, spike_time_gradient, gradients)


@compiled
def arrivals_of_peaks(members: np.ndarray, sample: int, sources: SourceArrays, trial: Trial) -> int:
    """The largest number of arrivals at units whose peaks are pulled back."""
    most = 0
    for unit in members:
        if sources.peak_cotangent[sample, unit] != 0.0:
            most = max(most, possible_arrivals(unit, trial))
    return most


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
    all_synapses = sources.moment_start[:0]
    n, grouped = 0, first  # arrivals in the group, and the last of the units where they arrive
    end_of_shared, is_shared, prepared = first, False, -1
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
        if unit >= end_of_shared:
            end_of_shared, prepared = end_of_sharing(unit, last, trial), -1
            is_shared = is_worth_sharing(unit, end_of_shared, trial)
        if is_shared and voltage_cotangent == 0.0:
            if prepared < 0:
                prepared = prepare(scratch.shared, unit, trial)
            pull_back_shared(
                unit, prepared, trial, scratch.intervals, last_interval, scratch.shared,
                spike_time_gradient, gradients,
            )  # fmt: skip
            continue
        n = pull_back_arrivals(
            unit, n, trial.incoming[unit], trial.incoming[unit + 1], all_synapses, sources, trial,
            scratch.intervals, 0, last_interval, scratch.group, spike_time_gradient, gradients,
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
    voltage_cotangent, peak_cotangent = (
        sources.voltage_cotangent[sample],
        sources.peak_cotangent[sample],
    )
    has_peaks, arrivals = np.any(peak_cotangent[first:last]), scratch.arrivals
    cached, n = -1, 0
    unit = first
    while unit < last:
        group_end = unit + 1
        if not has_peaks:
            group_end = end_of_group(trial.units, unit, last)
        has_cotangent = np.any(voltage_cotangent[unit:group_end])
        if end > begin or has_cotangent or has_peaks:
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return
            cached = unit
            if peak_cotangent[unit] != 0.0:
                pull_back_peak(
                    unit, trial, arrivals, n, peak_cotangent[unit], spike_time_gradient, gradients
                )
            if has_cotangent:
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

    On entry ``spike_time_gradient`` contains the derivatives of the readout with respect to each
    spike's time.  ``recurrent`` is that of ``simulate_samples``.  ``failures`` (1,) receives what
    stops the loop.
    """
    failure = failures[0]
    if recurrent is not None:
        sent = new_sent(components.synapses.size)
    own, group = sources_of_unit(0, sources), sources.of_unit[0]
    needed = Needed(1, 1, 1, 1, 1)
    for component in range(components.recurrent.size):
        unit = components.units[components.first[component]]
        if sources.of_unit[unit] != group:
            own, group = sources_of_unit(unit, sources), sources.of_unit[unit]
        for sample in range(first, last):
            if is_stopped():
                failure.status = Status.STOPPED
                return
            if recurrent is not None and recurrent[component]:
                trial = trial_of(batch, sample)
                intervals = intervals_of_component(component, sample, own, trial, components)
                members = members_of(component, components)
                arrivals = arrivals_of_peaks(members, sample, own, trial)
                needed = larger(needed, Needed(arrivals, 0, intervals, 0, 0))
            else:
                needed = larger(needed, needed_for_layer(component, sample, own, batch, components))
    scratch = new_scratch(needed)
    for sample in range(first, last):
        for component in range(components.recurrent.size - 1, -1, -1):
            unit = components.units[components.first[component]]
            if sources.of_unit[unit] != group:
                own, group = sources_of_unit(unit, sources), sources.of_unit[unit]
            if recurrent is not None and recurrent[component]:
                trial = trial_of(batch, sample)
                pull_back_silent_peaks(
                    members_of(component, components), sample, own, trial, scratch.arrivals,
                    spike_time_gradient, gradients,
                )  # fmt: skip
                pull_back_component(
                    component, sample, own, trial, components,
                    scratch.intervals, scratch.group, sent, spike_time_gradient, gradients,
                    failure,
                )  # fmt: skip
            else:
                pull_back_layer(
                    component, sample, own, batch, components, scratch, spike_time_gradient,
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

    Call this after ``pull_back_samples``, which completes S_k of every spike.  Then all arrivals at
    a unit and all its emissions are known, and each unit can be treated on its own.
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
            peak_cotangent = sources.peak_cotangent[sample, unit]
            phantom = sources.phantom[sample, unit]
            if sources.of_unit[unit] != group:
                own, group = sources_of_unit(unit, sources), sources.of_unit[unit]
            begin, end = own.moment_start[sample], own.moment_start[sample + 1]
            is_read = own.first_read <= unit < own.last_read and end > begin
            has_no_source = voltage_cotangent == peak_cotangent == phantom == 0.0 and not is_read
            if emissions == 0 and has_no_source:
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
            if peak_cotangent != 0.0 and peak_moment(unit, trial, arrivals, n, peak) > 0:
                moments, moment_cotangent = with_moment(
                    moments, moment_cotangent, peak[0], peak_cotangent
                )
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
