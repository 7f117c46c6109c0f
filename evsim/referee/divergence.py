"""The first spike of a sample that only one program has, and what could have caused that.

A program that rounds or that has a time step decides some spikes differently although it simulates
the same model: where V only grazes the threshold, where V is above it for less than a step, and
where an inhibitory arrival and an emission are so close that an error swaps them.  So the margins
of such a decision are measured in evsim's run and compared with the earlier errors of the other
program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evsim.equations import lif
from evsim.network.network import Network
from evsim.referee.matching import SpikeMatches
from evsim.referee.unit_trace import Activity, UnitTrace

Cause = Literal["near-tie", "graze", "brief crossing", "earlier errors", "unexplained"]

ROUNDING = 64.0
"""Errors of this many units in the last place are rounding."""


@dataclass(frozen=True)
class Divergence:
    """The first spike of a sample that only one program has.

    Parameters
    ----------
    sample, unit : int
    population : str
    time : float
        The time of the spike, in ms, in the program that has it.
    kind : str
        "missing" in the other program, or "additional" there.
    voltage_margin : float
        If the spike is missing: how far V would rise above the threshold without its reset.  If
        it is additional: how far evsim's V stays below the threshold, at most ``largest_shift``
        from it; infinity if the unit is then refractory or V rises to a spike.
    time_above : float
        How long V would be above the threshold without the reset, in ms; NaN for an additional
        spike.
    tie_margin : float
        By how much an inhibitory arrival would have to move to change the decision, in ms; infinity
        if no arrival could.
    tie_with : (population, unit), or None
        Whose spike that arrival is.
    time_error : float
        The largest error of a spike time in the sample before, in ms, or the time step.
    voltage_error : float
        By how much V changes in ``time_error`` where it is steepest before the spike.
    cause : str
        "near-tie" if ``tie_margin`` is at most ``time_error``; "brief crossing" if ``time_above``
        is at most the time step; "graze" if ``voltage_margin`` is at most ``voltage_error``;
        "earlier errors" if the exact equations, given the other program's own earlier spikes, lead
        to the same result; else "unexplained".
    is_rounding : bool
        Whether the margin is so small that rounding of float64 could decide.
    """

    sample: int
    population: str
    unit: int
    time: float
    kind: Literal["missing", "additional"]
    voltage_margin: float
    time_above: float
    tie_margin: float
    tie_with: tuple[str, int] | None
    time_error: float
    voltage_error: float
    cause: Cause
    is_rounding: bool

    @property
    def place(self) -> str:
        """Which spike it is, in words."""
        return (
            f"unit {self.unit} of {self.population!r} in sample {self.sample} at {self.time:.6g} ms"
        )


def first_unmatched(matches: SpikeMatches) -> list[int]:
    """The row of the first spike without a partner of each sample that has one."""
    rows = np.flatnonzero(~matches.is_matched)
    _, first = np.unique(matches.sample[rows], return_index=True)  # rows are ordered by time
    return [int(rows[i]) for i in first]


def divergence_at(
    row: int, matches: SpikeMatches, ours: Activity, theirs: Activity, time_step: float
) -> Divergence:
    """Measure the margins of a spike without a partner.

    ``ours`` has the spikes of evsim, ``theirs`` those of the other program.  ``time_step`` is the
    time step of the latter in ms, 0 if it has none.
    """
    population = matches.populations[matches.population[row]]
    sample, unit = int(matches.sample[row]), int(matches.unit[row])
    time = float(matches.time[row])
    trace = UnitTrace.of(ours, population, unit, sample)
    is_missing = bool(matches.is_missing[row])
    window = max(time - matches.largest_shift, 0.0), time + matches.largest_shift
    if is_missing:
        voltage, above = trace.excursion(time)
        tie = _inhibition_after(trace, time, matches.largest_shift)
    else:
        voltage, above = trace.near_miss(window[0], min(window[1], ours.duration)), np.nan
        tie = _inhibition_before(trace, *window)
    tie_margin, source = tie
    time_error = max(_error_before(matches, sample, time), time_step)
    voltage_error = time_error * trace.steepest(window[0], time)
    cause: Cause = "unexplained"
    if tie_margin <= time_error:
        cause = "near-tie"
    elif above <= time_step:
        cause = "brief crossing"
    elif voltage <= voltage_error:
        cause = "graze"
    elif _follows(
        UnitTrace.of(theirs, population, unit, sample),
        time,
        is_missing,
        time_error,
        voltage_error,
    ):
        cause = "earlier errors"
    is_rounding = bool(
        tie_margin <= ROUNDING * np.spacing(ours.duration)
        or voltage <= ROUNDING * np.spacing(trace.unit.threshold)
    )
    return Divergence(
        sample=sample,
        population=population,
        unit=unit,
        time=time,
        kind="missing" if is_missing else "additional",
        voltage_margin=voltage,
        time_above=above,
        tie_margin=tie_margin,
        tie_with=None if source is None else unit_named(ours.network, source),
        time_error=time_error,
        voltage_error=voltage_error,
        cause="graze" if cause == "unexplained" and is_rounding else cause,
        is_rounding=is_rounding,
    )


def _error_before(matches: SpikeMatches, sample: int, time: float) -> float:
    """The largest error of a spike time in a sample before a time, in ms."""
    chosen = (matches.sample == sample) & matches.is_matched & (matches.time < time)
    return float(np.abs(matches.error[chosen]).max(initial=0.0))


def _follows(
    theirs: UnitTrace, time: float, is_missing: bool, time_error: float, voltage_error: float
) -> bool:
    """Whether, by the exact equations, the other program's earlier spikes lead to what it does.

    That is, up to the errors: to its additional spike, or from its last spike before the missing
    one to its next.
    """
    side: Literal["left", "right"] = "right" if is_missing else "left"
    index = int(np.searchsorted(theirs.emissions, time, side=side))
    found = float(theirs.emissions[index]) if index < theirs.emissions.size else np.inf
    start = int(theirs.places_of_emissions[index - 1]) if index else 0
    exact = theirs.next_crossing(start)
    if exact == found or abs(found - exact) <= time_error:
        return True
    if exact < found:  # it is late: how far above the threshold would V rise by then?
        return theirs.excursion(exact, until=found)[0] <= voltage_error
    return theirs.unit.threshold - theirs.before(found)[0] <= voltage_error


def _inhibition_after(trace: UnitTrace, time: float, limit: float) -> tuple[float, int | None]:
    """How soon after an emission an arrival comes that would have prevented it; and its source."""
    _, current = trace.before(time)
    arrivals = trace.arrivals
    soon = (arrivals.times >= time) & (arrivals.times <= time + limit)
    for i in np.flatnonzero(soon & (arrivals.weights < 0.0)).tolist():
        if current + arrivals.weights[i] <= trace.unit.threshold:
            return float(arrivals.times[i]) - time, int(arrivals.sources[i])
    return np.inf, None


def _inhibition_before(trace: UnitTrace, start: float, end: float) -> tuple[float, int | None]:
    """How much later an arrival would have to come so that V reaches the threshold before it."""
    unit, arrivals = trace.unit, trace.arrivals
    best: tuple[float, int | None] = (np.inf, None)
    chosen = (arrivals.times >= start) & (arrivals.times <= end) & (arrivals.weights < 0.0)
    for i in np.flatnonzero(chosen).tolist():
        time = float(arrivals.times[i])
        index = int(np.searchsorted(trace.times, time)) - 1
        if trace.free_at[max(index, 0)] > time:
            continue
        voltage, current = trace.before(time)
        if not lif.reaches_threshold(voltage, current, unit.threshold, unit.tau_mem, unit.tau_syn):
            continue
        later = lif.crossing_time(voltage, current, unit.threshold, unit.tau_mem, unit.tau_syn)
        best = min(best, (float(later), int(arrivals.sources[i])), key=lambda pair: pair[0])
    return best


def unit_named(network: Network, place: int) -> tuple[str, int]:
    """The population and the number of a unit, from its number in the network."""
    first = network.topology.first_unit
    index = int(np.searchsorted(first, place, side="right")) - 1
    return network.populations[index].name, place - int(first[index])
