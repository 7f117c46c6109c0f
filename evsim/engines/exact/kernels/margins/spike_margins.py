"""How far the spikes of a batch are from another pattern: the margins of spikes and of silences.

Between two spikes of a unit, V has local maxima below the threshold; the highest of them is the
first to become a spike.  A spike vanishes when V, without the reset, would no longer rise above the
threshold.  Both margins are voltages.
"""

from __future__ import annotations

from math import inf

import numpy as np

from evsim._compile.decorators import compiled, entry_point, record
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    largest_arrival_count,
    new_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.event_order import EMISSION
from evsim.engines.exact.kernels.readouts.trajectory import (
    SEGMENT,
    fill_trajectory,
    with_segments_for,
)
from evsim.engines.exact.kernels.trial import Batch, Trial, trial_of
from evsim.equations.lif import flow, peak_time

SILENCE = record([("below", np.float64), ("time", np.float64)], align=True)
"""The threshold minus the highest local maximum of V between two spikes, and its time in ms.

``below`` is infinite where V has no local maximum.  V at the end of the trial counts as one if it
is rising.
"""

SPIKE_MARGIN = record(
    [
        ("below", np.float64),  # SILENCE before the spike
        ("below_time", np.float64),
        ("above", np.float64),  # how far V would rise above the threshold without the reset
        ("since_arrival", np.float64),  # ms from the latest arrival at the unit; infinity if none
        ("until_arrival", np.float64),  # ms to the next one; arrivals at the spike come after it
        ("release_since", np.float64),  # the same for the end of the refractory period
        ("release_until", np.float64),
    ],
    align=True,
)
"""The margins of a spike."""


@compiled
def fill_silences(
    unit: int,
    trial: Trial,
    trajectory: np.ndarray,
    count: int,
    margins: np.ndarray,
) -> tuple[float, float]:
    """Fill ``below`` and ``below_time`` of a unit's spikes; returns SILENCE after the latest."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    threshold = trial.units[unit].threshold
    highest, highest_time = -inf, inf
    for k in range(count):
        if is_stopped_at(k):
            return inf, inf
        is_last = k + 1 == count
        end = trial.duration if is_last else trajectory[k + 1].time
        ends_with_spike = not is_last and trajectory[k + 1].kind == EMISSION
        start, voltage, current = trajectory[k].time, trajectory[k].voltage, trajectory[k].current
        if not trajectory[k].is_refractory and end > start:
            t = peak_time(voltage, current, tau_mem, tau_syn)
            top, top_time = -inf, inf
            if start + t < end:
                top, _ = flow(voltage, current, t, tau_mem, tau_syn)
                top_time = start + t
            elif not ends_with_spike:
                at_end, rising_to = flow(voltage, current, end - start, tau_mem, tau_syn)
                if rising_to > at_end and (is_last or trajectory[k + 1].current <= at_end):
                    top, top_time = at_end, end
            if top > highest:
                highest, highest_time = top, top_time
        if ends_with_spike:
            spike = trajectory[k + 1].index
            margins[spike].below = threshold - highest
            margins[spike].below_time = highest_time
            highest, highest_time = -inf, inf
    return threshold - highest, highest_time


@compiled
def first_arrival_from(time: float, arrivals: Arrivals, n: int) -> int:
    """The index of the first of n arrivals that is not before a time; n if all are before it."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if arrivals.time[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def rise_without_reset(
    unit: int, trial: Trial, arrivals: Arrivals, n: int, i: int, time: float, current: float
) -> float:
    """How far V rises above the threshold after a spike if it is not reset.

    ``current`` is I at the spike, and arrival i the next one.  The rise ends at the first maximum
    of V, or with the trial.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    threshold = trial.units[unit].threshold
    voltage, now = threshold, time
    while True:
        if is_stopped_at(i):
            return 0.0
        until = arrivals.time[i] if i < n else trial.duration
        t = peak_time(voltage, current, tau_mem, tau_syn)
        if now + t < until:
            top, _ = flow(voltage, current, t, tau_mem, tau_syn)
            return top - threshold
        voltage, current = flow(voltage, current, until - now, tau_mem, tau_syn)
        now = until
        if i == n:
            return voltage - threshold
        while i < n and arrivals.time[i] == now:
            current += trial.synapses[arrivals.synapse[i]].weight
            i += 1
        if current <= voltage:
            return voltage - threshold


@compiled
def fill_spikes(
    unit: int,
    trial: Trial,
    arrivals: Arrivals,
    n: int,
    trajectory: np.ndarray,
    count: int,
    margins: np.ndarray,
) -> None:
    """Fill in the other margins of a unit's spikes."""
    for k in range(count):
        if is_stopped_at(k):
            return
        if trajectory[k].kind != EMISSION:
            continue
        spike, time = trajectory[k].index, trajectory[k].time
        i = first_arrival_from(time, arrivals, n)
        margins[spike].above = rise_without_reset(
            unit, trial, arrivals, n, i, time, trajectory[k].current
        )
        margins[spike].since_arrival = time - arrivals.time[i - 1] if i > 0 else inf
        margins[spike].until_arrival = arrivals.time[i] - time if i < n else inf
        margins[spike].release_since = margins[spike].release_until = inf
        release = time + trial.units[unit].refractory
        if time < release <= trial.duration:
            i = first_arrival_from(release, arrivals, n)
            margins[spike].release_since = release - arrivals.time[i - 1] if i > 0 else inf
            margins[spike].release_until = arrivals.time[i] - release if i < n else inf


@entry_point(part="margins of spikes")
def measure_margins(
    first: int, last: int, batch: Batch, margins: np.ndarray, latest: np.ndarray
) -> None:
    """Measure the margins of all LIF units of samples first to last - 1.

    ``margins`` are the SPIKE_MARGIN of all spikes of these samples; ``latest`` (batch, units) are
    the SILENCE after the latest spike of each unit.
    """
    arrivals = new_arrivals(64)
    trajectory = np.empty(64, SEGMENT)
    no_moments = np.empty(0)
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        arrivals = with_room(arrivals, largest_arrival_count(0, trial.units.size, trial))
        cached, n = -1, 0
        for unit in range(trial.units.size):
            if not trial.units[unit].is_lif:
                continue
            n = arrivals_at(unit, trial, arrivals, cached, n)
            if is_stopped():
                return
            cached = unit
            spike, spikes = trial.starts[unit], trial.counts[unit]
            trajectory = with_segments_for(trajectory, n + 2 * spikes)
            count = fill_trajectory(
                unit, trial, arrivals, n, spike, spike + spikes, no_moments, trajectory
            )
            below, time = fill_silences(unit, trial, trajectory, count, margins)
            latest[sample, unit].below, latest[sample, unit].time = below, time
            fill_spikes(unit, trial, arrivals, n, trajectory, count, margins)
