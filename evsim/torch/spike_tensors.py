"""Input spikes in the form that PyTorch takes.

The spikes of an input are three entries.  For an operator of PyTorch they are tensors: the times,
units and offsets of spike trains; or times of shape (batch, units, spikes), infinite where there is
no spike, and two empty tensors.  Such times can have a gradient.  If no operator is needed, the
spike trains themselves are one entry and the other two are None, so that the spike trains need not
be built again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from evsim.arguments.words import number_of
from evsim.network.spike_trains import SpikeTrains
from evsim.simulation.input_times import TimesAsTrains, spikes_by_input

PER_INPUT = 3
"""The number of entries of an input."""

Entry: TypeAlias = "Tensor | SpikeTrains | None"


def input_entries(units: Mapping[str, int], spikes: Any) -> list[Entry]:
    """The entries of all inputs, three of each; refuses spikes that do not fit.

    ``units`` is the number of units of each input population.
    """
    given = spikes_by_input(units, spikes)
    entries: list[Entry] = []
    for name, count in units.items():
        entries += _entries_of(name, count, given[name])
    return entries


def _entries_of(name: str, units: int, spikes: Any) -> list[Entry]:
    if isinstance(spikes, SpikeTrains):
        if spikes.unit_count != units:
            raise ValueError(
                f"the input {name!r} has {number_of(units, 'unit')} but its spike trains have "
                f"{spikes.unit_count}"
            )
        return [spikes, None, None]
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
    # Two tensors, because torch.compile refuses a function that receives the same one twice.  They
    # are on the device of the times and not on the default device: "meta" would have no values.
    return [
        spikes,
        *(torch.empty(0, dtype=torch.int64, device=spikes.device) for _ in range(2)),
    ]


def as_tensors(entries: Sequence[Entry]) -> list[Tensor]:
    """The same entries for an operator, which takes only tensors."""
    tensors: list[Tensor] = []
    for entry in entries:
        if isinstance(entry, SpikeTrains):
            parts = (entry.times, entry.units, entry.offsets)
            tensors += [torch.from_numpy(part.copy()) for part in parts]
        elif entry is not None:
            tensors.append(entry)
    return tensors


def batch_size_of(tensors: Sequence[Tensor]) -> int:
    """The number of samples of an input with these three tensors."""
    times, _, offsets = tensors
    return offsets.shape[0] - 1 if times.dim() == 1 else times.shape[0]


def trains_of(name: str, units: int, entries: Sequence[Entry]) -> TimesAsTrains:
    """The spikes in the three entries of an input; refuses invalid times."""
    given, *others = entries
    if isinstance(given, SpikeTrains):
        return TimesAsTrains(given)
    assert given is not None
    times = given.detach().to("cpu", torch.float64).numpy()  # NumPy has no bfloat16
    if times.ndim == 1:
        emitters, offsets = (tensor.cpu().numpy() for tensor in as_tensors(others))
        return TimesAsTrains(SpikeTrains(times, emitters, offsets, units))
    return TimesAsTrains.of(name, times)
