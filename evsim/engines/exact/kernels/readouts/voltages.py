"""Loops over the samples of a batch that read voltages; see ``samples`` for how they share it."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, entry_point
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.arrivals import arrivals_at, most_arrivals, new_arrivals, with_room
from evsim.engines.exact.kernels.backward.adjoint_sources import PEAK
from evsim.engines.exact.kernels.readouts.integrals import (
    end_of_group,
    mean_of_group,
    new_states,
    with_states,
)
from evsim.engines.exact.kernels.readouts.peak import peak_voltage
from evsim.engines.exact.kernels.readouts.trajectory import (
    SEGMENT,
    fill_segments,
    mean_over_segments,
    with_segments,
)
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.trial import Batch, trial_of


@entry_point(part="readouts")
def read_voltages(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    rate: float,
    slope: float,
    batch: Batch,
    values: np.ndarray,
) -> None:
    """Mean (or, for rate PEAK, peak) voltage of units first_unit to last_unit - 1."""
    arrivals = new_arrivals(64)
    segments = np.empty(64, SEGMENT)
    states = new_states(16)
    no_moments = np.empty(0)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        needed = most_arrivals(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        held, n = -1, 0
        unit = first_unit
        while unit < last_unit:
            n = arrivals_at(unit, trial, arrivals, held, n)
            if is_stopped():
                return
            held, end = unit, unit + 1
            column = unit - first_unit
            if rate == PEAK:
                values[sample, column], _, _ = peak_voltage(unit, trial, arrivals, n)
            elif trial.units[unit].is_lif:
                own, emissions = trial.starts[unit], trial.counts[unit]
                segments = with_segments(segments, n + 2 * emissions)
                pieces = fill_segments(
                    unit, trial, arrivals, n, own, own + emissions, no_moments, segments
                )
                values[sample, column] = mean_over_segments(
                    unit, trial, segments, pieces, rate, slope
                )
            else:
                end = end_of_group(trial.units, unit, last_unit)
                states = with_states(states, end - unit)
                mean_of_group(
                    unit, end, trial, arrivals, n, rate, slope, states, values[sample, column:]
                )
            unit = end


@allocating
def room_for_kinks(found: np.ndarray, used: int, more: int) -> np.ndarray:
    """A buffer with room for more behind the used ones: the same if it has it."""
    if used + more <= found.size:
        return found
    larger = np.empty(2 * (used + more))
    larger[:used] = found[:used]
    return larger


@entry_point(part="readouts")
def find_kinks(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    batch: Batch,
    kinks: np.ndarray,
) -> np.ndarray:
    """The times at which V of any of the units is not smooth, ascending in each sample.

    Arrivals, emissions and ends of refractory periods within the trial, each time once, without
    0 and the end; sample after sample.  ``kinks`` (batch,) gets their numbers.
    """
    arrivals = new_arrivals(64)
    found = np.empty(64)
    used = 0
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        begin = used
        needed = most_arrivals(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        held, n = -1, 0
        for unit in range(first_unit, last_unit):
            is_same = (
                held >= 0 and trial.units[held].arrival_group == trial.units[unit].arrival_group
            )
            n = arrivals_at(unit, trial, arrivals, held, n)
            if is_stopped():
                return found
            held = unit
            own, emissions = trial.starts[unit], trial.counts[unit]
            found = room_for_kinks(found, used, n + 2 * emissions)
            if not is_same:
                for i in range(n):
                    found[used] = arrivals.time[i]
                    used += 1
            for spike in range(own, own + emissions):
                found[used] = trial.spikes[spike].time
                found[used + 1] = trial.spikes[spike].time + trial.units[unit].refractory
                used += 2
        own_times = found[begin:used].copy()
        order = stable_order(own_times)
        if is_stopped():
            return found
        for k in range(order.size):
            found[begin + k] = own_times[order[k]]
        end = used
        used = begin
        previous = 0.0
        for k in range(begin, end):
            if previous < found[k] < trial.duration:
                previous = found[used] = found[k]
                used += 1
        kinks[sample] = used - begin
    return found[:used]
