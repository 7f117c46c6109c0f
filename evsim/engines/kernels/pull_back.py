"""Loops over the samples of a batch that go backwards; see ``samples`` for how they share it."""

from __future__ import annotations

import numpy as np

from evsim.compiled import allocating, entry_point
from evsim.engines.kernels.arrivals import arrivals_at, with_moments
from evsim.engines.kernels.entering import PEAK, Entering
from evsim.engines.kernels.integrators import (
    end_of_group,
    pull_back_group_mean,
    pull_back_group_moments,
    with_states,
)
from evsim.engines.kernels.layered import pull_back_unit
from evsim.engines.kernels.peak import peak_moment, pull_back_peak
from evsim.engines.kernels.records import ARRIVAL
from evsim.engines.kernels.recurrent_adjoint import pull_back_component
from evsim.engines.kernels.recurrent_state import STATE, Components
from evsim.engines.kernels.segments import (
    SEGMENT,
    add_time_constant_gradients,
    fill_segments,
    with_segments,
)
from evsim.engines.kernels.stretches import new_flight


@allocating
def pull_back_layer(
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
    arrivals: np.ndarray,
    scratch: np.ndarray,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    threshold_gradient: np.ndarray,
    failure: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Pull adjoints of emissions, or cotangents of voltages, back; returns the scratch memory."""
    drive, phantom = entering.drive[sample], entering.phantom[sample]
    begin, end = entering.moment_start[sample], entering.moment_start[sample + 1]
    held, n = -1, 0
    i, last = components.first[component], components.first[component + 1]
    last_unit = components.units[last - 1] + 1
    while i < last:
        unit = components.units[i]
        is_read = entering.first_read <= unit < entering.last_read
        has_moments = is_read and end > begin
        following = unit + 1
        if not units[unit].is_lif and entering.rate != PEAK:
            following = end_of_group(units, unit, last_unit)
        i += following - unit
        has_drive = is_read and np.any(drive[unit:following])
        if count[unit] == 0 and phantom[unit] == 0.0 and not has_drive and not has_moments:
            continue
        arrivals, n = arrivals_at(
            unit, units, synapses, incoming, duration, spikes, start, count, arrivals, held, n
        )
        held = unit
        column = unit - entering.first_read if is_read else 0
        moment_cotangent = entering.moment_cotangent[begin:end, column:]
        if has_moments:
            arrivals, n = with_moments(arrivals, n, entering.moments[begin:end])
            held = -1
        if units[unit].is_lif:
            pull_back_unit(
                unit, units, synapses, arrivals, n, duration, spikes, start[unit],
                start[unit] + count[unit], phantom[unit], drive[unit], entering.rate,
                entering.slope, moment_cotangent[: end - begin if has_moments else 0, 0],
                entering.limit, adjoint, weight_gradient, delay_gradient, threshold_gradient,
                failure,
            )  # fmt: skip
        elif has_moments:
            scratch = with_states(scratch, following - unit)
            pull_back_group_moments(
                unit, following, units, synapses, incoming, arrivals, n, duration,
                moment_cotangent, scratch, adjoint, weight_gradient, delay_gradient,
            )  # fmt: skip
        elif entering.rate == PEAK:
            pull_back_peak(
                unit, units, synapses, arrivals, n, duration, drive[unit], adjoint,
                weight_gradient, delay_gradient,
            )  # fmt: skip
        else:
            pull_back_group_mean(
                unit, following, units, synapses, incoming, arrivals, n, entering.rate,
                entering.slope, duration, drive, adjoint, weight_gradient, delay_gradient,
            )  # fmt: skip
        if failure[0] != 0.0:
            failure[2] = unit
            break
    return arrivals, scratch


@entry_point
def pull_back_samples(
    first: int,
    last: int,
    entering: Entering,
    components: Components,
    recurrent: np.ndarray | None,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    adjoint: np.ndarray,
    weight_gradient: np.ndarray,
    delay_gradient: np.ndarray,
    threshold_gradient: np.ndarray,
    failure: np.ndarray,
) -> None:
    """Add the samples' gradients, and complete the adjoint of every spike.

    ``adjoint`` comes with the derivatives of the loss by each spike's time.  Gradients by
    weights and delays have shape (synapses,), those by thresholds (units,).  ``recurrent`` is
    that of ``simulate_samples``.  ``failure`` is (status, time, unit, sample, number of limited
    adjoints).
    """
    arrivals, scratch = np.empty(64, ARRIVAL), np.empty((2, 16))
    if recurrent is not None:
        states = np.empty(start.shape[1], STATE)
        flight = new_flight(0)
    for sample in range(first, last):
        own_start, own_count = start[sample], count[sample]
        for component in range(components.recurrent.size - 1, -1, -1):
            if recurrent is not None and recurrent[component]:
                if flight.spikes.size < spikes.size:
                    flight = new_flight(spikes.size)
                pull_back_component(
                    component, sample, entering, units, components, duration, spikes, own_start,
                    own_count, states, flight, adjoint, weight_gradient, delay_gradient,
                    threshold_gradient, failure,
                )  # fmt: skip
            else:
                arrivals, scratch = pull_back_layer(
                    component, sample, entering, units, synapses, incoming, components, duration,
                    spikes, own_start, own_count, arrivals, scratch, adjoint, weight_gradient,
                    delay_gradient, threshold_gradient, failure,
                )  # fmt: skip
            if failure[0] != 0.0:
                failure[3] = sample
                return


@entry_point
def pull_back_time_constants(
    first: int,
    last: int,
    wanted: np.ndarray,
    entering: Entering,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    adjoint: np.ndarray,
    tau_mem_gradient: np.ndarray,
    tau_syn_gradient: np.ndarray,
) -> None:
    """Add the samples' gradients by the time constants of the wanted units, each (units,).

    After ``pull_back_samples``, which has completed the adjoint of every spike: now all that a
    unit hears and emits is known, and each can be gone through by itself.
    """
    arrivals = np.empty(64, ARRIVAL)
    segments = np.empty(64, SEGMENT)
    peak, peak_cotangent = np.empty(1), np.empty(1)
    for sample in range(first, last):
        begin, end = entering.moment_start[sample], entering.moment_start[sample + 1]
        held, n = -1, 0
        for unit in wanted:
            own, emissions = start[sample, unit], count[sample, unit]
            drive, phantom = entering.drive[sample, unit], entering.phantom[sample, unit]
            is_read = entering.first_read <= unit < entering.last_read and end > begin
            if emissions == 0 and drive == 0.0 and phantom == 0.0 and not is_read:
                continue
            arrivals, n = arrivals_at(
                unit, units, synapses, incoming, duration, spikes, start[sample], count[sample],
                arrivals, held, n,
            )  # fmt: skip
            held = unit
            moments, moment_cotangent = peak[:0], peak_cotangent[:0]
            if entering.rate == PEAK and drive != 0.0:
                found = peak_moment(unit, units, synapses, arrivals, n, duration, peak)
                peak_cotangent[0] = drive
                moments, moment_cotangent = peak[:found], peak_cotangent[:found]
                drive = 0.0
            elif is_read:
                column = unit - entering.first_read
                moments = entering.moments[begin:end]
                moment_cotangent = entering.moment_cotangent[begin:end, column]
            segments = with_segments(segments, n + 2 * emissions + moments.size)
            pieces = fill_segments(
                unit, units, synapses, arrivals, n, spikes, own, own + emissions, duration, moments,
                segments,
            )  # fmt: skip
            add_time_constant_gradients(
                unit, units, segments, pieces, duration, spikes, phantom, drive, entering.rate,
                entering.slope, moment_cotangent, entering.limit, adjoint, tau_mem_gradient,
                tau_syn_gradient,
            )  # fmt: skip
