"""What the samples of an epoch are made of: augmentation as a list of parts, not of spikes.

The host draws what ``evsim.augment`` draws, from the same generators; the device makes the
spikes of a batch when its turn comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evsim.data.augment import Blend, Shift
from evsim.data.augment.alignment import Alignment, Means, unit_sums
from evsim.data.augment.blending import draw_keys, kinds_of_pairs
from evsim.network.spike_trains import SpikeTrains
from evsim.training.task import AugmentationLike, Task

PART = np.dtype(
    [
        ("delay", np.float64),  # ms by which its spikes come later
        ("key", np.uint64),  # decides which of its spikes are kept, if it is blended
        ("source", np.int32),  # sample of the data; -1 for no part
        ("shift", np.int32),  # channels by which its spikes move in all
        ("first", np.int32),  # the first channel of the source that stays among the channels,
        ("last", np.int32),  # and the one after the last
        ("moved", np.int32),  # channels by which its spikes had moved when it was blended
        ("known_first", np.int32),  # the first channel of the source that was there then,
        ("known_last", np.int32),  # and the one after the last
        ("blended", np.int32),  # 1 if it is part of a blend
    ],
    align=True,
)
"""A part of a sample, as kernels/batches.cu reads it."""


def unsupported_augmentation(augmentation: Sequence[AugmentationLike]) -> str | None:
    """What of an augmentation cannot be done on the device; None if all of it can."""
    for each in augmentation:
        if type(each) not in (Shift, Blend):
            return f"spikes are augmented by {each!r}"
    if sum(isinstance(each, Blend) for each in augmentation) > 1:
        return "samples are blended twice"
    return None


class ChannelCounts:
    """How many spikes each channel of each sample of the data has, and when in the mean.

    ``before`` counts those of lower channels, int64, (samples, channels + 1); ``times`` holds
    the sums of their times, float64, (samples, channels).
    """

    def __init__(self, spikes: SpikeTrains) -> None:
        samples, channels = len(spikes), spikes.unit_count
        self.before = np.zeros((samples, channels + 1), np.int64)
        self.times = np.empty((samples, channels))
        for sample in range(samples):  # one by one: the keys of all would be a large array
            own = slice(sample, sample + 1)
            counts, self.times[own] = unit_sums(spikes, own)
            np.cumsum(counts, axis=1, out=self.before[own, 1:])

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return self.times.shape[1]

    def spikes_of(self, parts: np.ndarray) -> np.ndarray:
        """How many spikes of their sources stay among the channels, (parts,)."""
        source = parts["source"]
        return self.before[source, parts["last"]] - self.before[source, parts["first"]]

    def means(self, parts: np.ndarray) -> Means:
        """Mean channels and times of parts that are not blended, one for each sample in order."""
        if (parts["shift"] == 0).all():
            return self._unmoved
        chunk = max(1, 2**22 // self.channels)
        rows = [slice(first, first + chunk) for first in range(0, parts.size, chunk)]
        return Means.joined([self._means(parts[own], own) for own in rows])

    @cached_property
    def _unmoved(self) -> Means:
        return Means.by_unit(np.diff(self.before, axis=1), self.times)

    def _means(self, parts: np.ndarray, rows: slice) -> Means:
        channel = np.arange(self.channels)
        first, last, shift = (parts[name][:, None] for name in ("first", "last", "shift"))
        stays = (channel >= first) & (channel < last)
        counts = np.diff(self.before[rows], axis=1) * stays
        return Means.by_unit(counts, self.times[rows] * stays, shift[:, 0])


@dataclass(frozen=True, eq=False)
class AugmentedSamples:
    """Samples made of parts of others.

    ``parts`` has shape (samples, 2), of ``PART``; ``lost`` counts spikes that left the channels
    of samples that are not blended.  Those of blends are counted when they are made.
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
        """The data as they are."""
        parts = np.zeros((labels.shape[0], 2), PART)
        parts["source"][:, 0], parts["source"][:, 1] = np.arange(labels.shape[0]), -1
        parts["last"] = channels
        return cls(parts, labels, groups, channels)

    @classmethod
    def of_epoch(
        cls, task: Task, epoch: int, spike_counts: ChannelCounts | None
    ) -> AugmentedSamples:
        """The training data of an epoch; the counts of the data are for augmentation."""
        spikes = next(iter(task.data.inputs.values()))
        augmented = cls.plain(task.data.labels, task.data.groups, spikes.unit_count)
        for place, augmentation in enumerate(task.augmentation):
            generator = task.augmentation_generator(epoch, place)
            assert spike_counts is not None
            if isinstance(augmentation, Shift):
                augmented = augmented.shifted(augmentation, generator, spike_counts)
            else:
                assert isinstance(augmentation, Blend)
                augmented = augmented.blended(augmentation, generator, spike_counts)
        return augmented

    def __len__(self) -> int:
        """Number of samples."""
        return self.parts.shape[0]

    def shifted(
        self, augmentation: Shift, generator: np.random.Generator, spike_counts: ChannelCounts
    ) -> AugmentedSamples:
        """What ``evsim.augment.Shift`` makes of the samples."""
        shifts = augmentation.draw(len(self), generator)
        parts = _moved(self.parts, shifts[:, None], self.channels)
        whole = self.parts["blended"][:, 0] == 0
        before, after = (spike_counts.spikes_of(own[whole, 0]).sum() for own in (self.parts, parts))
        return replace(self, parts=parts, lost=self.lost + int(before - after))

    def blended(
        self, augmentation: Blend, generator: np.random.Generator, spike_counts: ChannelCounts
    ) -> AugmentedSamples:
        """What ``evsim.augment.Blend`` makes of the samples, none of which is blended."""
        whole = self.parts[:, 0]
        spiking = spike_counts.spikes_of(whole) > 0
        pairs = augmentation.draw_pairs(self.labels, self.groups, spiking, generator)
        moves = Alignment.of(spike_counts.means(whole), pairs, augmentation.time_step)
        new = whole[pairs]
        new["blended"], new["moved"] = 1, new["shift"]
        new["known_first"], new["known_last"] = new["first"], new["last"]
        new["delay"], new["key"] = moves.delays, draw_keys(len(pairs), generator)
        new = _moved(new, moves.channels, self.channels)
        labels, groups = kinds_of_pairs(self.labels, self.groups, pairs)
        if augmentation.keep_originals:
            new = np.concatenate([self.parts, new])
            labels = np.concatenate([self.labels, labels])
            if groups is not None and self.groups is not None:
                groups = np.concatenate([self.groups, groups])
        return replace(
            self, parts=new, labels=labels, groups=groups, probability=augmentation.probability
        )


def _moved(parts: np.ndarray, shifts: np.ndarray, channels: int) -> np.ndarray:
    """Parts whose spikes move by so many channels more, (samples, 1 or 2)."""
    parts = parts.copy()
    # No spike stays that moves by as many channels as there are, or more.
    parts["shift"] += np.clip(shifts, -channels, channels).astype(np.int32)
    parts["first"] = np.maximum(parts["first"], -parts["shift"])
    parts["last"] = np.minimum(parts["last"], channels - parts["shift"])
    parts["first"] = np.minimum(parts["first"], channels)  # of a part that has left them all
    parts["last"] = np.maximum(parts["last"], parts["first"])
    return parts
