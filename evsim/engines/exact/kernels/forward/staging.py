"""The arrivals at several units, one after the other, so that loops over them are long.

Units of small networks have too few arrivals for a loop over those of one unit to be fast.
Therefore the arrivals at consecutive units are collected first, and then the decays of V and I
between them are computed in one loop.  Units that receive the same spikes at the same times share
both.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    new_arrivals,
    possible_arrivals,
    sorted_arrivals,
)
from evsim.engines.exact.kernels.forward.decays import Decays, fill_decays, new_decays
from evsim.engines.exact.kernels.trial import Trial, have_equal_time_constants, share_decays

UNITS = 64  # the most units whose arrivals are collected together
FURTHER_ARRIVALS = 1024  # room for arrivals besides those of one unit
SILENT = -1  # in place of a number of arrivals: the unit need not be simulated


class Stage(NamedTuple):
    """The arrivals at some units, and how V and I decay up to each.

    Those at the k-th unit begin at place ``begin[k]``; there are ``arrival_count[k]``, followed by
    the end of the trial as if it were another arrival.  ``owner[k]`` is the unit for which they
    were collected, and to which the synapses belong.  ``elapsed`` are the times between arrivals,
    in ms.
    """

    arrivals: Arrivals
    elapsed: np.ndarray
    decays: Decays
    begin: np.ndarray
    arrival_count: np.ndarray
    owner: np.ndarray


@allocating
def new_stage(arrivals: int) -> Stage:
    """Room for so many arrivals at one unit, and for a few more units."""
    size = arrivals + 1 + FURTHER_ARRIVALS
    return Stage(
        new_arrivals(size), np.empty(size), new_decays(size), np.empty(UNITS, np.int64),
        np.empty(UNITS, np.int64), np.empty(UNITS, np.int64),
    )  # fmt: skip


@compiled
def has_room(stage: Stage, arrivals: int) -> bool:
    """Whether there is room for so many arrivals at one unit."""
    return arrivals + 1 + FURTHER_ARRIVALS <= stage.elapsed.size


@compiled
def arrivals_from(arrivals: Arrivals, begin: int) -> Arrivals:
    """The part of the memory from a place on."""
    return Arrivals(
        arrivals.time[begin:], arrivals.synapse[begin:], arrivals.spike[begin:], arrivals.place
    )


@compiled
def add_to_stage(stage: Stage, unit: int, begin: int, possible: int, trial: Trial) -> int:
    """Write a unit's arrivals and the times between them from a place on; return their number."""
    arrivals = arrivals_from(stage.arrivals, begin)
    n = sorted_arrivals(unit, trial, arrivals, possible)
    if is_stopped():
        return 0
    arrivals.time[n] = trial.duration
    stage.elapsed[begin] = arrivals.time[0]
    for i in range(1, n + 1):
        stage.elapsed[begin + i] = arrivals.time[i] - arrivals.time[i - 1]
    return n


@compiled
def stays_silent(unit: int, trial: Trial) -> bool:
    """Whether a unit stays below the threshold even if all its excitation came at once.

    False as well if a current might not be a finite number.
    """
    excitation = total = 0.0
    for synapse in range(trial.incoming[unit], trial.incoming[unit + 1]):
        weight = trial.synapses[synapse].weight * trial.counts[trial.synapses[synapse].source]
        excitation += max(weight, 0.0)
        total += abs(weight)
    highest = max(trial.units[unit].start, 0.0) + excitation * trial.units[unit].highest_response
    # Rounding errors are far below this margin.  With a threshold up to 0, a unit may spike without
    # input.
    nearly = trial.units[unit].threshold * (1.0 - 1e-6)
    return highest < nearly and total < inf


@compiled
def fill_stage(stage: Stage, first: int, last: int, trial: Trial, kept: int) -> tuple[int, int]:
    """Collect the arrivals at units from ``first`` on, which have equal time constants.

    ``kept`` is the index, in the previous stage, of the unit whose arrivals are still there; -1 for
    none.  Returns the number of units, and the index of the unit whose arrivals come last.  After a
    stop the stage is not valid.
    """
    units, owner, begin, count, end = trial.units, -1, 0, 0, 0
    if kept >= 0:
        owner, begin, count = stage.owner[kept], stage.begin[kept], stage.arrival_count[kept]
        end = begin + count + 1
    new, k, latest = end, 0, -1
    while k < UNITS and first + k < last:
        unit = first + k
        if is_stopped() or not have_equal_time_constants(unit, first, units):
            break
        stage.arrival_count[k] = SILENT
        if not stays_silent(unit, trial):
            if owner < 0 or not share_decays(owner, unit, units):
                possible = possible_arrivals(unit, trial)
                if end + possible + 1 > stage.elapsed.size:
                    if latest >= 0:
                        break
                    new = end = 0
                owner, begin = unit, end
                count = add_to_stage(stage, unit, begin, possible, trial)
                end = begin + count + 1
            stage.owner[k], stage.begin[k], stage.arrival_count[k] = owner, begin, count
            latest = k
        k += 1
    tau_mem, tau_syn = units[first].tau_mem, units[first].tau_syn
    fill_decays(stage.decays, new, end, stage.elapsed, tau_mem, tau_syn)
    return k, latest
