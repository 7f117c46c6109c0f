"""The loops over the samples of a batch that Python calls to read voltages.

See ``forward.simulate`` for how threads share a batch.

Paper: L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, entry_point
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.arrivals import (
    arrivals_at,
    largest_arrival_count,
    new_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.readouts.integrals import (
    end_of_group,
    mean_of_group,
    new_states,
    with_states,
)
from evsim.engines.exact.kernels.readouts.peak import peak_voltage
from evsim.engines.exact.kernels.readouts.trajectory import (
    SEGMENT,
    fill_trajectory,
    mean_over_trajectory,
    with_segments_for,
)
from evsim.engines.exact.kernels.sorting import stable_order
from evsim.engines.exact.kernels.trial import Batch, trial_of


@entry_point(part="readouts")
def read_means(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    rate: float,
    slope: float,
    batch: Batch,
    values: np.ndarray,
) -> None:
    """Write weighted mean voltages of units first_unit to last_unit - 1 to ``values``.

    They are ``(1/T) * integral of w(t) V dt`` with ``w(t) = (1 + slope t) e^{-rate t}`` (L 2, 5);
    ``values`` has the shape (batch, units).
    """
    arrivals = new_arrivals(64)
    trajectory = np.empty(64, SEGMENT)
    states = new_states(16)
    no_moments = np.empty(0)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        needed = largest_arrival_count(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        cached, n = -1, 0
        unit = first_unit
        while unit < last_unit:
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return
            cached, end = unit, unit + 1
            column = unit - first_unit
            if trial.units[unit].is_lif:
                first_spike, emissions = trial.starts[unit], trial.counts[unit]
                trajectory = with_segments_for(trajectory, n + 2 * emissions)
                segments = fill_trajectory(
                    unit, trial, arrivals, n, first_spike, first_spike + emissions, no_moments,
                    trajectory,
                )  # fmt: skip
                values[sample, column] = mean_over_trajectory(
                    unit, trial, trajectory, segments, rate, slope
                )
            else:
                end = end_of_group(trial.units, unit, last_unit)
                states = with_states(states, end - unit)
                mean_of_group(
                    unit, end, trial, arrivals, n, rate, slope, states, values[sample, column:]
                )
            unit = end


@entry_point(part="readouts")
def read_peaks(
    first: int, last: int, first_unit: int, last_unit: int, batch: Batch, values: np.ndarray
) -> None:
    """Write peak voltages of units first_unit to last_unit - 1 to ``values`` (batch, units)."""
    arrivals = new_arrivals(64)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        needed = largest_arrival_count(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        cached, n = -1, 0
        for unit in range(first_unit, last_unit):
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return
            cached = unit
            values[sample, unit - first_unit], _, _ = peak_voltage(unit, trial, arrivals, n)


@allocating
def with_room_for_kinks(found: np.ndarray, count: int, extra: int) -> np.ndarray:
    """A buffer with room for ``extra`` kinks after the first ``count``: the same if it suffices."""
    if count + extra <= found.size:
        return found
    larger = np.empty(2 * (count + extra))
    larger[:count] = found[:count]
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

    These are the times of arrivals, emissions and ends of refractory periods within the trial, each
    time once, without 0 and the end; sample after sample.  ``kinks`` (batch,) receives their
    numbers.
    """
    arrivals = new_arrivals(64)
    found = np.empty(64)
    count = 0
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        begin = count
        needed = largest_arrival_count(first_unit, last_unit, trial)
        arrivals = with_room(arrivals, needed)
        cached, n = -1, 0
        for unit in range(first_unit, last_unit):
            is_same = (
                cached >= 0 and trial.units[cached].arrival_group == trial.units[unit].arrival_group
            )
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return found
            cached = unit
            first_spike, emissions = trial.starts[unit], trial.counts[unit]
            found = with_room_for_kinks(found, count, n + 2 * emissions)
            if not is_same:
                for i in range(n):
                    found[count] = arrivals.time[i]
                    count += 1
            for spike in range(first_spike, first_spike + emissions):
                found[count] = trial.spikes[spike].time
                found[count + 1] = trial.spikes[spike].time + trial.units[unit].refractory
                count += 2
        times = found[begin:count].copy()
        order = stable_order(times)
        if is_stopped():
            return found
        count = begin
        previous = 0.0
        for k in range(order.size):
            time = times[order[k]]
            if previous < time < trial.duration:
                previous = found[count] = time
                count += 1
        kinks[sample] = count - begin
    return found[:count]
