"""Augmented samples, each described as two parts of samples of the data instead of as spikes.

The host draws the same random numbers as ``evsim.augment``; the device makes the spikes of a batch
when it trains on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evsim.data.augment import Blend, Shift
from evsim.data.augment.alignment import Alignment, Means, unit_sums
from evsim.data.augment.blending import draw_keys, kinds_of_pairs
from evsim.network.spike_trains import SpikeTrains
from evsim.training.task import AugmentationLike, Task

SAMPLE_PART = np.dtype(
    [
        ("delay", np.float64),  # how much later its spikes come, ms
        ("key", np.uint64),  # decides which of its spikes a blend keeps
        ("source", np.int32),  # the sample of the data that it is a part of; -1 for no part
        ("shift", np.int32),  # by how many channels its spikes are shifted in total
        ("first", np.int32),  # the first channel of the source that is not shifted out,
        ("last", np.int32),  # and the channel after the last one
        ("shift_before_blend", np.int32),  # ``shift``, ``first`` and ``last`` before the blend
        ("first_before_blend", np.int32),
        ("last_before_blend", np.int32),
        ("blended", np.int32),  # 1 if it is a part of a blend
    ],
    align=True,
)
"""A part of a sample; ``SamplePart`` of kernels/training/input_batches.cu has the same fields."""


def unsupported_augmentation(augmentation: Sequence[AugmentationLike]) -> str | None:
    """Why the device cannot augment samples; None if it can."""
    for each in augmentation:
        if type(each) not in (Shift, Blend):
            return f"spikes are augmented by {each!r}"
    if sum(isinstance(each, Blend) for each in augmentation) > 1:
        return "samples are blended twice"
    return None


class ChannelCounts:
    """Counts and mean times of the spikes of each channel in each sample of the data.

    Attributes
    ----------
    before : int64, shape (samples, channels + 1)
        The number of spikes of all lower channels.
    times : float64, shape (samples, channels)
        The sums of the spike times, ms.
    """

    def __init__(self, spikes: SpikeTrains) -> None:
        samples, channels = len(spikes), spikes.unit_count
        self.before = np.zeros((samples, channels + 1), np.int64)
        self.times = np.empty((samples, channels))
        for sample in range(samples):  # one by one, as the keys of all would be a large array
            row = slice(sample, sample + 1)
            counts, self.times[row] = unit_sums(spikes, row)
            np.cumsum(counts, axis=1, out=self.before[row, 1:])

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.times.shape[1]

    def spikes_of(self, parts: np.ndarray) -> NDArray[np.int64]:
        """The number of spikes of each part that are not shifted out, (parts,)."""
        source = parts["source"]
        counts: NDArray[np.int64] = (
            self.before[source, parts["last"]] - self.before[source, parts["first"]]
        )
        return counts

    def means(self, parts: np.ndarray) -> Means:
        """Mean channels and times of parts that are not blended, one part per sample in order."""
        if (parts["shift"] == 0).all():
            return self._unshifted
        size = max(1, 2**22 // self.channels)  # limits the memory of a chunk of samples
        chunks = [slice(first, first + size) for first in range(0, parts.size, size)]
        return Means.joined([self._means(parts[chunk], chunk) for chunk in chunks])

    @cached_property
    def _unshifted(self) -> Means:
        return Means.by_unit(np.diff(self.before, axis=1), self.times)

    def _means(self, parts: np.ndarray, rows: slice) -> Means:
        channel = np.arange(self.channels)
        first, last, shift = (parts[name][:, None] for name in ("first", "last", "shift"))
        stays = (channel >= first) & (channel < last)
        counts = np.diff(self.before[rows], axis=1) * stays
        return Means.by_unit(counts, self.times[rows] * stays, shift[:, 0])


@dataclass(frozen=True, eq=False)
class AugmentedSamples:
    """Samples that consist of parts of samples of the data.

    Parameters
    ----------
    parts : records of SAMPLE_PART, shape (samples, 2)
    labels, groups : shape (samples,)
    channels : int
    lost : int
        The number of spikes that were shifted out of the channels, in samples that are not
        blended.  Those of blends are counted when the batches are made.
    probability : float
        The probability with which blends keep a spike.
    """

    parts: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None
    channels: int
    lost: int = 0
    probability: float = 1.0

    @classmethod
    def plain(
        cls, labels: np.ndarray, groups: np.ndarray | None, channels: int
    ) -> AugmentedSamples:
        """The samples of the data without augmentation."""
        parts = np.zeros((labels.shape[0], 2), SAMPLE_PART)
        parts["source"][:, 0], parts["source"][:, 1] = np.arange(labels.shape[0]), -1
        parts["last"] = channels
        return cls(parts, labels, groups, channels)

    @classmethod
    def of_epoch(
        cls, task: Task, epoch: int, spike_counts: ChannelCounts | None
    ) -> AugmentedSamples:
        """The samples of an epoch; ``spike_counts`` are needed only if there is augmentation."""
        spikes = next(iter(task.data.inputs.values()))
        augmented = cls.plain(task.data.labels, task.data.groups, spikes.unit_count)
        for number, augmentation in enumerate(task.augmentation):
            generator = task.augmentation_generator(epoch, number)
            assert spike_counts is not None
            if isinstance(augmentation, Shift):
                augmented = augmented.shifted(augmentation, generator, spike_counts)
            else:
                assert isinstance(augmentation, Blend)
                augmented = augmented.blended(augmentation, generator, spike_counts)
        return augmented

    def __len__(self) -> int:
        """The number of samples."""
        return int(self.parts.shape[0])

    def shifted(
        self, augmentation: Shift, generator: np.random.Generator, spike_counts: ChannelCounts
    ) -> AugmentedSamples:
        """The samples after ``evsim.augment.Shift``."""
        shifts = augmentation.draw(len(self), generator)
        parts = _shifted(self.parts, shifts[:, None], self.channels)
        unblended = self.parts["blended"][:, 0] == 0
        before, after = (
            spike_counts.spikes_of(each[unblended, 0]).sum() for each in (self.parts, parts)
        )
        return replace(self, parts=parts, lost=self.lost + int(before - after))

    def blended(
        self, augmentation: Blend, generator: np.random.Generator, spike_counts: ChannelCounts
    ) -> AugmentedSamples:
        """The samples after ``evsim.augment.Blend``; none of them may be blended already."""
        samples = self.parts[:, 0]  # each has one part only
        spiking = spike_counts.spikes_of(samples) > 0
        pairs = augmentation.draw_pairs(self.labels, self.groups, spiking, generator)
        moves = Alignment.of(spike_counts.means(samples), pairs, augmentation.time_step)
        new = samples[pairs]
        new["blended"], new["shift_before_blend"] = 1, new["shift"]
        new["first_before_blend"], new["last_before_blend"] = new["first"], new["last"]
        new["delay"], new["key"] = moves.delays, draw_keys(len(pairs), generator)
        new = _shifted(new, moves.channels, self.channels)
        labels, groups = kinds_of_pairs(self.labels, self.groups, pairs)
        if augmentation.keep_originals:
            new = np.concatenate([self.parts, new])
            labels = np.concatenate([self.labels, labels])
            if groups is not None and self.groups is not None:
                groups = np.concatenate([self.groups, groups])
        return replace(
            self, parts=new, labels=labels, groups=groups, probability=augmentation.probability
        )


def _shifted(parts: np.ndarray, shifts: NDArray[np.int64], channels: int) -> np.ndarray:
    """The same parts, shifted by more channels; ``shifts`` has shape (samples, 1 or 2)."""
    parts = parts.copy()
    # A shift by the number of channels already shifts every spike out.
    parts["shift"] += np.clip(shifts, -channels, channels).astype(np.int32)
    parts["first"] = np.maximum(parts["first"], -parts["shift"])
    parts["last"] = np.minimum(parts["last"], channels - parts["shift"])
    parts["first"] = np.minimum(parts["first"], channels)  # if all spikes are shifted out
    parts["last"] = np.maximum(parts["last"], parts["first"])
    return parts
