"""Input spikes as tensors, which is how they reach an operator of PyTorch.

The spikes of an input are three tensors.  Spike trains are their times, units and offsets.  Times
of shape (batch, units, spikes), infinite where there is no spike, have two empty tensors beside
them; they can have a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evsim.arguments.checks import shown, unknown_name
from evsim.network.spike_trains import SpikeTrains

PER_INPUT = 3
"""The number of tensors of an input."""


def input_tensors(units: Mapping[str, int], spikes: Any) -> list[Tensor]:
    """The tensors of all inputs, three of each; refuses spikes that do not fit.

    ``units`` is the number of units of each input population.
    """
    if not isinstance(spikes, Mapping):
        if len(units) != 1:
            raise ValueError(
                f"the network has the inputs {', '.join(units)}: give a mapping from each name "
                "to its spikes"
            )
        spikes = dict.fromkeys(units, spikes)
    for name in spikes:
        if name not in units:
            raise ValueError(unknown_name("input", name, units))
    tensors = []
    for name, count in units.items():
        if name not in spikes:
            raise ValueError(f"no spikes are given for the input {name!r}")
        tensors += _tensors_of(name, count, spikes[name])
    return tensors


def _tensors_of(name: str, units: int, spikes: Any) -> list[Tensor]:
    if isinstance(spikes, SpikeTrains):
        parts = (spikes.times, spikes.units, spikes.offsets)
        if spikes.unit_count != units:
            raise ValueError(
                f"the input {name!r} has {units} units but its spike trains have "
                f"{spikes.unit_count}"
            )
        return [torch.from_numpy(part.copy()) for part in parts]
    if not isinstance(spikes, Tensor):
        raise TypeError(
            f"spikes of {name!r} are of type {type(spikes).__name__}: give SpikeTrains, or a "
            "tensor of spike times in ms of shape (batch, units) or (batch, units, spikes)"
        )
    if not spikes.is_floating_point():
        raise TypeError(
            f"spikes of {name!r} are a tensor of {spikes.dtype}: give spike times in ms as floats, "
            "infinity where there is no spike"
        )
    if spikes.dim() not in (2, 3) or spikes.shape[1] != units:
        raise ValueError(
            f"spikes of {name!r} have shape {tuple(spikes.shape)}: give spike times in ms of shape "
            f"(batch, units) or (batch, units, spikes) with {units} units"
        )
    # Two tensors, because torch.compile refuses a function that gets the same one twice.
    return [spikes, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)]


def batch_size_of(tensors: Sequence[Tensor]) -> int:
    """The number of samples of an input with these three tensors."""
    times, _, offsets = tensors
    return offsets.shape[0] - 1 if times.dim() == 1 else times.shape[0]


@dataclass(frozen=True, eq=False)
class GivenInput:
    """The spikes of an input as an engine takes them.

    For spikes that were given as times of shape (batch, units, ...), ``places`` has the index of
    each event in the flattened times, shape (events,), and ``shape`` the shape of the times.
    """

    trains: SpikeTrains
    places: NDArray[np.int64] | None = None
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, units: int, tensors: Sequence[Tensor]) -> GivenInput:
        """The spikes in the three tensors of an input; refuses times that are none."""
        times, emitters, offsets = (tensor.detach().cpu().numpy() for tensor in tensors)
        if times.ndim == 1:  # they were SpikeTrains before, see ``input_tensors``
            return cls(SpikeTrains._trusted(times, emitters, offsets, units))
        times = times.astype(np.float64)
        _check_times(name, times)
        batch = times.shape[0]
        rows = times.reshape(batch, -1)
        order = np.argsort(rows, axis=1, kind="stable")
        rows = np.take_along_axis(rows, order, axis=1)
        happens = rows < np.inf
        spikes_per_unit = int(np.prod(times.shape[2:]))
        offsets = np.zeros(batch + 1, np.int64)
        np.cumsum(happens.sum(axis=1), out=offsets[1:])
        emitters = order[happens] // spikes_per_unit
        places = (order + rows.shape[1] * np.arange(batch)[:, None])[happens]
        trains = SpikeTrains._trusted(rows[happens], emitters.astype(np.int32), offsets, units)
        return cls(trains, places, times.shape)

    def gradient(self, by_event: NDArray[np.float64]) -> NDArray[np.float64]:
        """A gradient with respect to the times of events in the shape of the times given.

        It is 0 where there is no spike.
        """
        flat = np.zeros(self.shape)
        flat.reshape(-1)[self.places] = by_event
        return flat


def _check_times(name: str, times: NDArray[np.float64]) -> None:
    wrong = ~(times >= 0)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"spikes of {name!r} at {index} are {shown(float(times[index]))} ms: spike times must "
            "be >= 0, and infinity where there is no spike"
        )
