"""Input spikes as tensors, which is how they reach an operator of PyTorch.

The spikes of an input are three tensors.  Spike trains are their times, units and offsets.  Times
of shape (batch, units, spikes), infinite where there is no spike, have two empty tensors beside
them; they can have a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evsim.network.spike_trains import SpikeTrains
from evsim.simulation.input_times import TimesAsTrains, spikes_by_input

PER_INPUT = 3
"""The number of tensors of an input."""


def input_tensors(units: Mapping[str, int], spikes: Any) -> list[Tensor]:
    """The tensors of all inputs, three of each; refuses spikes that do not fit.

    ``units`` is the number of units of each input population.
    """
    given = spikes_by_input(units, spikes)
    tensors: list[Tensor] = []
    for name, count in units.items():
        tensors += _tensors_of(name, count, given[name])
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


def trains_of(name: str, units: int, tensors: Sequence[Tensor]) -> TimesAsTrains:
    """The spikes in the three tensors of an input; refuses times that are none."""
    times = tensors[0].detach().to("cpu", torch.float64).numpy()  # NumPy has no bfloat16
    if times.ndim == 1:
        emitters, offsets = (tensor.cpu().numpy() for tensor in tensors[1:])
        return TimesAsTrains(SpikeTrains(times, emitters, offsets, units))
    return TimesAsTrains.of(name, times)
