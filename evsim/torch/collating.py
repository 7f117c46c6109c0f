"""collate: the samples of a DataLoader as one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.data import default_collate

from evsim.arguments.checks import listed, shown
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.data.dataset import Dataset
from evsim.network.spike_trains import SpikeTrains


@helpful
def collate(samples: Any) -> Any:
    """Join samples into a batch: ``DataLoader(data, batch_size=100, collate_fn=evsim.torch.collate)``.

    Spike trains have different numbers of spikes, so they cannot be stacked like arrays.  They
    become the SpikeTrains of the batch, which ``Module`` takes.  Samples of an ``evsim.Dataset``
    become a pair of spikes and labels.  Tuples, lists and mappings are joined entry by entry.
    Everything else is joined as PyTorch does it, for example numbers to a tensor.

    Parameters
    ----------
    samples : list
        All of the same form, such as ``(spikes[i], label)`` with SpikeTrains of one sample.

    Raises
    ------
    TypeError, ValueError
        For samples that cannot be joined.
    """  # noqa: E501
    batch = listed(samples, "samples", "give a list of samples")
    if not batch:
        raise ValueError("samples is empty: a batch has at least one sample")
    return _joined(batch)


def _joined(batch: tuple[Any, ...]) -> Any:
    first = batch[0]
    if isinstance(first, SpikeTrains):
        _check_single(batch)
        return SpikeTrains.concatenate(batch)
    if isinstance(first, Dataset):
        _check_single(batch)
        joined = Dataset.concatenate(batch)
        return joined.spikes, torch.tensor(joined.labels)
    if isinstance(first, Mapping):
        _check_same_entries(batch, list)
        return {name: _joined(tuple(sample[name] for sample in batch)) for name in first}
    if isinstance(first, (tuple, list)):
        _check_same_entries(batch, len)
        return tuple(_joined(entries) for entries in zip(*batch, strict=True))
    return default_collate(list(batch))


def _check_same_entries(batch: tuple[Any, ...], entries: Callable[[Any], Any]) -> None:
    for place, sample in enumerate(batch):
        if type(sample) is not type(batch[0]) or entries(sample) != entries(batch[0]):
            raise ValueError(
                f"samples[0] and samples[{place}] differ in their entries, {shown(batch[0])} and "
                f"{shown(sample)}: give samples of the same form"
            )


def _check_single(batch: tuple[Any, ...]) -> None:
    for place, sample in enumerate(batch):
        if len(sample) != 1:
            raise ValueError(
                f"samples[{place}] = {sample!r} holds {number_of(len(sample), 'sample')}: a "
                "sample of a DataLoader is a single one, such as spikes[i]"
            )
