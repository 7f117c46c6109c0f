"""Loops over the samples of a batch that go backwards; see ``samples`` for how they share it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled, entry_point
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    merge_moments,
    most_arrivals,
    new_arrivals,
    possible_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.backward.adjoint_intervals import (
    WINDOW,
    fill_windows,
    most_windows,
    with_windows,
)
from evsim.engines.exact.kernels.backward.adjoint_sources import PEAK, Entering
from evsim.engines.exact.kernels.backward.arrival_gradients import (
    Gradients,
    Stage,
    new_stage,
    pull_back_arrivals,
)
from evsim.engines.exact.kernels.backward.recurrent import (
    add_sent,
    new_sent,
    pull_back_component,
    windows_of_component,
)
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
    fill_segments,
    with_segments,
)
from evsim.engines.exact.kernels.spike_records import STOPPED
from evsim.engines.exact.kernels.trial import Batch, Trial, trial_of


class Scratch(NamedTuple):
    """Memory that samples reuse."""

    arrivals: Arrivals
    states: np.ndarray  # (3, units)
    windows: np.ndarray
    stage: Stage


@allocating
def with_scratch(scratch: Scratch, arrivals: int, units: int, windows: int) -> Scratch:
    """Scratch memory with room for so many: the same if it suffices."""
    return Scratch(
        with_room(scratch.arrivals, arrivals),
        with_states(scratch.states, units),
        with_windows(scratch.windows, windows),
        scratch.stage,
    )


@allocating
def pull_back_layer(
    component: int,
    sample: int,
    entering: Entering,
    trial: Trial,
    components: Components,
    scratch: Scratch,
    adjoint: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> Scratch:
    """Pull adjoints of emissions, or cotangents of voltages, back; returns the scratch memory."""
    # The component is one population: its units follow each other.
    first = components.units[components.first[component]]
    last = components.units[components.first[component + 1] - 1] + 1
    moments = 0
    if entering.first_read == first:
        moments = entering.moment_start[sample + 1] - entering.moment_start[sample]
    if trial.units[first].is_lif:
        emissions = 0
        for unit in range(first, last):
            emissions = max(emissions, trial.counts[unit])
        windows = most_windows(emissions, moments)
        scratch = with_scratch(scratch, 0, 0, windows)
        pull_back_lif_units(
            first, last, sample, entering, trial, scratch, adjoint, gradients, failure
        )
    elif entering.first_read == first:
        needed = most_arrivals(first, last, trial)
        scratch = with_scratch(scratch, needed + moments, last - first, 0)
        pull_back_li_units(first, last, sample, entering, trial, scratch, adjoint, gradients)
    return scratch


@compiled
def pull_back_lif_units(
    first: int,
    last: int,
    sample: int,
    entering: Entering,
    trial: Trial,
    scratch: Scratch,
    adjoint: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> None:
    """Pull back what LIF units emit and what their voltages drive, to their arrivals."""
    begin, end = entering.moment_start[sample], entering.moment_start[sample + 1]
    no_one = entering.moment_start[:0]
    for unit in range(first, last):
        if is_stopped():
            failure[0] = STOPPED
            return
        drive, phantom = entering.drive[sample, unit], entering.phantom[sample, unit]
        is_read = entering.first_read <= unit < entering.last_read and end > begin
        if trial.counts[unit] == 0 and phantom == 0.0 and drive == 0.0 and not is_read:
            continue
        column, read_end = (unit - entering.first_read, end) if is_read else (0, begin)
        last_window, total = fill_windows(
            unit, phantom, drive, entering.moments[begin:read_end],
            entering.moment_cotangent[begin:read_end, column], entering, trial, adjoint,
            scratch.windows, failure,
        )  # fmt: skip
        if failure[0] != 0.0:
            failure[2] = unit
            return
        gradients.threshold[unit] += trial.units[unit].tau_mem * total
        pull_back_arrivals(
            unit, entering, trial, no_one, scratch.windows, 0, last_window, scratch.stage, adjoint,
            gradients,
        )  # fmt: skip


@compiled
def pull_back_li_units(
    first: int,
    last: int,
    sample: int,
    entering: Entering,
    trial: Trial,
    scratch: Scratch,
    adjoint: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull back what is read of LI units, to their arrivals."""
    begin, end = entering.moment_start[sample], entering.moment_start[sample + 1]
    drive, arrivals = entering.drive[sample], scratch.arrivals
    held, n = -1, 0
    unit = first
    while unit < last:
        own, unit = unit, unit + 1
        if entering.rate != PEAK:
            unit = end_of_group(trial.units, own, last)
        if end == begin and not np.any(drive[own:unit]):
            continue
        n = arrivals_at(own, trial, arrivals, held, n)
        if is_stopped():
            return
        held = own
        if np.any(drive[own:unit]):
            if entering.rate == PEAK:
                pull_back_peak(own, trial, arrivals, n, drive[own], adjoint, gradients)
            else:
                pull_back_group_mean(
                    own, unit, trial, arrivals, n, entering.rate, entering.slope, drive, adjoint,
                    gradients,
                )  # fmt: skip
        if end > begin:
            n = merge_moments(arrivals, n, entering.moments[begin:end])
            if is_stopped():
                return
            held = -1
            pull_back_group_moments(
                own, unit, trial, arrivals, n, entering.moment_cotangent[begin:end, own - first :],
                scratch.states, adjoint, gradients,
            )  # fmt: skip


@entry_point
def pull_back_samples(
    first: int,
    last: int,
    entering: Entering,
    components: Components,
    recurrent: np.ndarray | None,
    batch: Batch,
    adjoint: np.ndarray,
    gradients: Gradients,
    failure: np.ndarray,
) -> None:
    """Add the samples' gradients, and complete the adjoint of every spike.

    ``adjoint`` comes with the derivatives of the loss by each spike's time.  ``recurrent`` is that
    of ``simulate_samples``.  ``failure`` is (status, time, unit, sample, number of limited
    adjoints).
    """
    scratch = Scratch(new_arrivals(64), new_states(16), np.empty(64, WINDOW), new_stage())
    if recurrent is not None:
        sent = new_sent(components.synapses.size)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        for component in range(components.recurrent.size - 1, -1, -1):
            if recurrent is not None and recurrent[component]:
                needed = windows_of_component(component, sample, entering, trial, components)
                scratch = with_scratch(scratch, 0, 0, needed)
                pull_back_component(
                    component, sample, entering, trial, components, scratch.windows, scratch.stage,
                    sent, adjoint, gradients, failure,
                )  # fmt: skip
            else:
                scratch = pull_back_layer(
                    component, sample, entering, trial, components, scratch, adjoint, gradients,
                    failure,
                )  # fmt: skip
            if is_stopped():
                failure[0] = STOPPED
            if failure[0] != 0.0:
                failure[3] = sample
                return
    if recurrent is not None:
        add_sent(sent, components.synapses, gradients)


@entry_point(part="gradients by time constants")
def pull_back_time_constants(
    first: int,
    last: int,
    wanted: np.ndarray,
    entering: Entering,
    batch: Batch,
    adjoint: np.ndarray,
    tau_mem_gradient: np.ndarray,
    tau_syn_gradient: np.ndarray,
) -> None:
    """Add the samples' gradients by the time constants of the wanted units, each (units,).

    After ``pull_back_samples``, which has completed the adjoint of every spike: now all that a
    unit hears and emits is known, and each can be gone through by itself.
    """
    arrivals = new_arrivals(64)
    segments = np.empty(64, SEGMENT)
    peak = np.empty(1)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        begin, end = entering.moment_start[sample], entering.moment_start[sample + 1]
        needed = 0
        for unit in wanted:
            needed = max(needed, possible_arrivals(unit, trial))
        arrivals = with_room(arrivals, needed)
        held, n = -1, 0
        for unit in wanted:
            own, emissions = trial.starts[unit], trial.counts[unit]
            drive, phantom = entering.drive[sample, unit], entering.phantom[sample, unit]
            is_read = entering.first_read <= unit < entering.last_read and end > begin
            if emissions == 0 and drive == 0.0 and phantom == 0.0 and not is_read:
                continue
            n = arrivals_at(unit, trial, arrivals, held, n)
            if is_stopped():
                return
            held = unit
            moments, moment_cotangent = peak[:0], peak[:0]
            if is_read:
                column = unit - entering.first_read
                moments = entering.moments[begin:end]
                moment_cotangent = entering.moment_cotangent[begin:end, column]
            if entering.rate == PEAK and drive != 0.0:
                if peak_moment(unit, trial, arrivals, n, peak) > 0:
                    moments, moment_cotangent = with_moment(
                        moments, moment_cotangent, peak[0], drive
                    )
                drive = 0.0
            segments = with_segments(segments, n + 2 * emissions + moments.size)
            pieces = fill_segments(
                unit, trial, arrivals, n, own, own + emissions, moments, segments
            )
            if is_stopped():
                return
            add_time_constant_gradients(
                unit, trial, segments, pieces, phantom, drive, entering.rate, entering.slope,
                moment_cotangent, entering.limit, adjoint, tau_mem_gradient, tau_syn_gradient,
            )  # fmt: skip
