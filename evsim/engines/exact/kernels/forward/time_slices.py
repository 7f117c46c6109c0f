"""How the trial of a recurrent component is cut into short time slices.

Many slices make a block.  If a slice turns out to be too long, its block ends early, and the rest
of the trial is cut again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import compiled
from evsim.engines.exact.kernels.trial import Trial

ARRIVALS_PER_UNIT = 8  # on average in a time slice
FEWEST_ARRIVALS = 128  # in a slice, so that small networks have more for each unit
SHORTER, LONGER = 0.25, 4.0  # times the usual length: where a slice may equal the shortest delay
EXPECTED_SPIKES = 16  # of a unit of the component, before it has run
PART_BITS = 5
PARTS = 1 << PART_BITS  # of a time slice; a power of two, so that the rounded parts make it up
SHORTEST = 1e-280  # ms that are cut; parts of less would have lengths that are not numbers
BLOCK_LIMIT = 4096  # slices of a block times units, so that arrivals stay in the fast caches
MOST_SLICES = 32  # of a block


@compiled
def arrivals_in_block(members: int) -> int:
    """The most arrivals that a block should have, for a component of so many units."""
    return ARRIVALS_PER_UNIT * max(BLOCK_LIMIT, members)


@compiled
def most_slices(members: int) -> int:
    """The most slices that a block may have."""
    return min(max(BLOCK_LIMIT // members, 1), MOST_SLICES)


@compiled
def arrivals_per_unit(members: int) -> int:
    """The average number of arrivals at each unit in a slice, unless delays require otherwise."""
    return max(FEWEST_ARRIVALS // members, ARRIVALS_PER_UNIT)


class TimeSlices(NamedTuple):
    """How the rest of a trial is cut: into ``number`` time slices, ``in_block`` to a block.

    By definition, time t falls into slice int((t - origin) scale), whatever the rounding.  The last
    slice reaches a little beyond the end of the trial, so that events at the end belong to it.
    """

    number: int
    in_block: int
    origin: float  # ms
    scale: float  # per ms
    duration: float  # of the trial, ms


@compiled
def cut(origin: float, duration: float, length: float, members: int) -> TimeSlices:
    """Time slices of about this length in ms, from a time to the end of the trial."""
    rest = max(duration - origin, SHORTEST)
    number = int(min(max(np.ceil(rest / length), 1.0), 2.0**40)) if rest > SHORTEST else 1
    in_block = min(number, most_slices(members))
    return TimeSlices(number, in_block, origin, number / (rest * (1.0 + 1e-12)), duration)


@compiled
def shortest_delay(outgoing: np.ndarray, synapses: np.ndarray, members: np.ndarray) -> float:
    """The shortest delay inside the component, in ms; the synapses of a unit are sorted by it."""
    shortest = np.inf
    for unit in members:
        if outgoing[unit + 1] > outgoing[unit]:
            shortest = min(shortest, synapses[outgoing[unit]].delay)
    return shortest


@compiled
def length_of_slice(per_arrival: float, shortest: float, members: int) -> float:
    """The length of a slice, if a unit has an arrival every ``per_arrival`` ms.

    Within the ``shortest`` delay inside the component no unit influences another.  So a slice has
    this length, unless it would have very many arrivals, or too few to justify the cost of
    beginning it.
    """
    usual = arrivals_per_unit(members) * per_arrival
    return min(shortest, LONGER * usual) if shortest >= SHORTER * usual else usual


@compiled
def expected_length(
    outgoing: np.ndarray, trial: Trial, members: np.ndarray, shortest: float
) -> float:
    """The length of a slice if units spike as often as expected."""
    count, duration = trial.counts, trial.duration
    arrivals = 1
    for unit in range(count.size):
        arrivals += count[unit] * (outgoing[unit + 1] - outgoing[unit])
    for unit in members:
        expected = max(EXPECTED_SPIKES - count[unit], 0)
        arrivals += expected * (outgoing[unit + 1] - outgoing[unit])
    return length_of_slice(duration / arrivals * members.size, shortest, members.size)


@compiled
def cut_again(
    slices: TimeSlices, arrivals: int, members: int, shortest: float, longest: float
) -> TimeSlices:
    """Time slices from the end of the first block on, with a length that suits its arrivals.

    No slice is longer than ``longest``, because a busy block may follow a quiet one.
    """
    elapsed = slices.in_block / slices.scale
    length = length_of_slice(elapsed / max(arrivals, 1) * members, shortest, members)
    return cut(slices.origin + elapsed, slices.duration, min(length, longest), members)


@compiled
def cut_shorter(
    slices: TimeSlices, time_slice: int, now: float, arrivals: int, members: int
) -> TimeSlices:
    """Time slices from now on, shorter than the current one, which has had so many arrivals."""
    elapsed = now - (slices.origin + time_slice / slices.scale)
    length = max(elapsed, 0.0) / max(arrivals, 1) * arrivals_per_unit(members) * members
    return cut(now, slices.duration, min(length, 0.5 / slices.scale), members)


@compiled
def slice_at(time: float, slices: TimeSlices) -> int:
    """The time slice into which a time falls."""
    return int((time - slices.origin) * slices.scale)


@compiled
def part_at(time: float, slices: TimeSlices) -> int:
    """The part of a time slice into which a time falls; those of slice s begin with s PARTS."""
    return int((time - slices.origin) * slices.scale * PARTS)


@compiled
def end_of_slice(time_slice: int, slices: TimeSlices) -> float:
    """The end of a time slice; rounding never makes it too early."""
    return (slices.origin + (time_slice + 1) / slices.scale) * (1.0 + 1e-12)


@compiled
def is_inside(time: float, time_slice: int, slices: TimeSlices) -> bool:
    """Whether a time is in a time slice and not at its very beginning."""
    return (time - slices.origin) * slices.scale > time_slice and (
        slice_at(time, slices) == time_slice
    )


@compiled
def is_within(time: float, last: int, slices: TimeSlices) -> bool:
    """Whether a time is within the trial, and before time slice ``last``."""
    return time <= slices.duration and (time - slices.origin) * slices.scale < last
