"""Spikes as lists of (time, unit) pairs: checks, and error messages for wrong lists."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    LARGEST_FLOAT,
    listed,
    shown,
)

LISTS = "give a list of (time, unit) pairs for each sample, such as [[(1.5, 0), (2.0, 1)], []]"


def pairs_of(sample: Any, place: int) -> tuple[tuple[Any, Any], ...]:
    """The (time, unit) pairs of one sample; refuses other forms and names the right one."""
    name = f"samples[{place}]"
    if isinstance(sample, Mapping):
        raise TypeError(
            f"{name} = {shown(sample)}: a mapping; give (time, unit) pairs, "
            "[(time, unit) for unit, times in sample.items() for time in times]"
        )
    spikes = listed(sample, name, LISTS)
    if isinstance(sample, tuple) and len(spikes) == 2 and all(map(_is_number, spikes)):
        raise TypeError(f"{name} = {shown(sample)} is one spike, not the list of a sample: {LISTS}")
    for number, spike in enumerate(spikes):
        if not isinstance(spike, (tuple, list)) and np.ndim(spike) != 1:
            raise TypeError(f"{name}[{number}] = {shown(spike)}: give a (time, unit) pair")
        if len(spike) != 2:
            raise ValueError(
                f"{name}[{number}] = {shown(spike)} has {len(spike)} entries: give a "
                "(time, unit) pair"
            )
    return spikes


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))


def check_pairs(times: list[Any], units: list[Any], samples: list[int], unit_count: int) -> None:
    """Refuse invalid times and units that do not exist; messages name their place in a sample."""

    def place(event: int) -> str:
        number = event - bisect_left(samples, samples[event])
        pair = f"({shown(times[event])}, {shown(units[event])})"
        return f"samples[{samples[event]}][{number}] = {pair}"

    for event, (time, unit) in enumerate(zip(times, units, strict=True)):
        if isinstance(unit, (bool, np.bool_)) or not isinstance(unit, (int, np.integer)):
            hint = ""
            if _are_exchanged(times, units, unit_count):
                hint = "; time and unit seem to be exchanged, give (time, unit)"
            raise TypeError(f"{place(event)}: the unit must be an integer{hint}")
        if not 0 <= unit < unit_count:
            raise ValueError(
                f"{place(event)}: a population of {unit_count} has units 0 to {unit_count - 1}"
            )
        if not _is_number(time) or isinstance(time, (bool, np.bool_)):
            raise TypeError(f"{place(event)}: the time must be a number, in ms")
        if not 0 <= time <= LARGEST_FLOAT:
            raise ValueError(
                f"{place(event)}: spike times must be finite and >= 0; leave out spikes that do "
                "not happen"
            )


def _are_exchanged(times: list[Any], units: list[Any], unit_count: int) -> bool:
    """Whether the pairs seem to be (unit, time): all times are valid units, some units are not."""
    return all(
        isinstance(time, (int, np.integer)) and 0 <= time < unit_count for time in times
    ) and any(isinstance(unit, (float, np.floating)) for unit in units)
