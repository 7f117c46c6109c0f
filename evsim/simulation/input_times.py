"""Input spikes as arrays of times, (batch, units) or (batch, units, spikes), and back.

Libraries that differentiate arrays hold the times of input spikes in this form, with infinity where
there is no spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import checked_count, unknown_name
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.network.spike_trains import SpikeTrains


@dataclass(frozen=True, eq=False)
class TimesAsTrains:
    """Spike trains made of an array of times, and where each event was in the array.

    Parameters
    ----------
    trains : SpikeTrains
    places : array, shape (events,)
        The index of each event in the flattened array.
    shape : tuple of int
        That of the array; () where spike trains were given and there is no array.
    """

    trains: SpikeTrains
    places: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, times: NDArray[np.float64]) -> TimesAsTrains:
        """The spikes of an input in an array of times in ms.

        Raises ValueError for a time that is negative or NaN.
        """
        check_input_times(name, times)
        batch = times.shape[0]
        rows = times.reshape(batch, int(np.prod(times.shape[1:])))
        order = np.argsort(rows, axis=1, kind="stable")
        rows = np.take_along_axis(rows, order, axis=1)
        happens = rows < np.inf
        spikes_per_unit = int(np.prod(times.shape[2:]))
        offsets = np.zeros(batch + 1, np.int64)
        np.cumsum(happens.sum(axis=1), out=offsets[1:])
        units = order[happens] // max(spikes_per_unit, 1)
        places = (order + rows.shape[1] * np.arange(batch)[:, None])[happens]
        return cls(SpikeTrains(rows[happens], units, offsets, times.shape[1]), places, times.shape)

    def gradient(self, by_event: NDArray[np.float64]) -> NDArray[np.float64]:
        """A gradient with respect to the times of events, in the shape of the array.

        It is 0 where there is no spike.
        """
        flat = np.zeros(self.shape)
        flat.reshape(-1)[self.places] = by_event
        return flat


def check_input_times(name: str, times: NDArray[np.float64]) -> None:
    """Refuse times that are negative or NaN; ``name`` is that of the input."""
    wrong = ~(times >= 0)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"spikes of {name!r} at {index} are {times[index]:g} ms: spike times must be >= 0, and "
            "infinity where there is no spike"
        )


def spikes_by_input(units: Mapping[str, int], spikes: Any) -> Mapping[str, Any]:
    """The spikes of each input by name, from a mapping or from the spikes of the only input.

    ``units`` is the number of units of each input population.

    Raises ValueError for an unknown input, and for one that has no spikes.
    """
    if not isinstance(spikes, Mapping):
        if len(units) != 1:
            raise ValueError(
                f"the network has the inputs {', '.join(units)}: give a mapping from each name "
                "to its spikes"
            )
        return dict.fromkeys(units, spikes)
    for name in spikes:
        if name not in units:
            raise ValueError(unknown_name("input", name, units))
    for name in units:
        if name not in spikes:
            raise ValueError(f"no spikes are given for the input {name!r}")
    return spikes


@helpful
def padded_times(spikes: SpikeTrains, spikes_per_unit: int | None = None) -> NDArray[np.float64]:
    """The times of all spikes in ms, shape (batch, units, spikes); infinity where there is none.

    ``spikes_per_unit`` is the size of the last axis; by default it is the largest number of spikes
    of a unit in a sample.

    Raises ValueError if a unit has more spikes than that.
    """
    counts = spikes.counts()
    most = int(counts.max(initial=0))
    if spikes_per_unit is None:
        spikes_per_unit = most
    spikes_per_unit = checked_count(spikes_per_unit, "spikes_per_unit", 0)
    if most > spikes_per_unit:
        sample, unit = np.unravel_index(int(np.argmax(counts)), counts.shape)
        raise ValueError(
            f"unit {unit} has {number_of(most, 'spike')} in sample {sample}: give "
            f"spikes_per_unit of at least {most}"
        )
    times = np.full((*counts.shape, spikes_per_unit), np.inf)
    order = np.lexsort((spikes.times, spikes.units, spikes.samples))
    owner = (spikes.samples * spikes.unit_count + spikes.units)[order]
    starts = np.cumsum(counts.ravel()) - counts.ravel()
    number = np.arange(owner.size) - starts[owner]
    times.reshape(-1)[owner * spikes_per_unit + number] = spikes.times[order]
    return times
