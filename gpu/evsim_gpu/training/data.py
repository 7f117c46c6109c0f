"""A data set that stays on the device, and the batches that are made from it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.data.augment import Blend
from evsim.data.augment.events import order_by_unit
from evsim.display.short_repr import Brief
from evsim.network.populations import Input
from evsim.network.spike_trains import SpikeTrains
from evsim.training.task import Task
from evsim_gpu.cuda.batch import CudaInputs
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.training.augmented_samples import SAMPLE_PART, AugmentedSamples, ChannelCounts


@dataclass(frozen=True, eq=False, repr=False)
class EpochInputs(Brief):
    """What the batches of an epoch are made from, on the device, in the order of training.

    Parameters
    ----------
    parts : uint8
        The bytes of two records of ``SAMPLE_PART`` per sample.
    keys : uint64, shape (samples,)
        The dropout keys.
    labels : int32, shape (samples,)
    probability : float
        The probability with which blends keep a spike.
    """

    parts: Any
    keys: Any
    labels: Any
    probability: float


class TrainingData:
    """The spikes of a task's data on the device.

    Parameters
    ----------
    kernels : Kernels
        Of ``TRAINING_FILES``.
    layout : GridLayout
    task : Task
        A task whose network has one input population.

    Attributes
    ----------
    times : float64, shape (spikes,)
        In ms, sorted by sample, channel and time.
    starts : int64, shape (samples * channels + 1,)
        The first spike of each channel in each sample.
    """

    def __init__(self, kernels: Kernels, layout: GridLayout, task: Task) -> None:
        self.kernels, self.layout, self.task = kernels, layout, task
        spikes = next(iter(task.data.inputs.values()))
        self.spike_counts = ChannelCounts(spikes) if task.augmentation else None
        self.channels = spikes.unit_count
        inputs = [isinstance(p, Input) for p in layout.network.populations]
        self.first_unit = int(layout.network.topology.first_unit[inputs.index(True)])
        self.units = layout.units.size
        lists = task.batch_size * self.units
        capacity = self._spike_limit(spikes)
        needed = spikes.times.nbytes + 8 * self.channels * len(spikes) + 16 * lists
        needed += (2 if layout.drop_rate.any() else 1) * 4 * capacity
        cupy = kernels.cupy
        with kernels.memory_for(needed, "the training data"):
            self.times, self.starts = (cupy.asarray(part) for part in _sorted_by_unit(spikes))
            self.step = cupy.empty(capacity, np.int32)
            self.count = cupy.empty(lists, np.int64)
            self.start = cupy.zeros(lists + 1, np.int64)

    def _spike_limit(self, spikes: SpikeTrains) -> int:
        """The largest number of spikes that a batch can have, whatever its samples."""
        counts = np.sort(np.diff(spikes.offsets))[::-1]
        if any(isinstance(each, Blend) for each in self.task.augmentation):
            return 2 * self.task.batch_size * int(counts.max(initial=0))
        return int(counts[: self.task.batch_size].sum())

    def augmented(self, epoch: int) -> AugmentedSamples:
        """The augmented samples of an epoch, as parts of samples of the data."""
        return AugmentedSamples.of_epoch(self.task, epoch, self.spike_counts)

    def upload(
        self, augmented: AugmentedSamples, order: np.ndarray, keys: np.ndarray | None
    ) -> EpochInputs:
        """Copy the samples of an epoch to the device; ``keys`` are the dropout keys, uint64."""
        asarray = self.kernels.cupy.asarray
        keys = np.zeros(order.size, np.uint64) if keys is None else keys[order]
        needed = order.size * (2 * SAMPLE_PART.itemsize + 12)
        with self.kernels.memory_for(needed, "an epoch's order"):
            return EpochInputs(
                parts=asarray(augmented.parts[order].view(np.uint8).ravel()),
                keys=asarray(keys),
                labels=asarray(augmented.labels[order].astype(np.int32)),
                probability=augmented.probability,
            )

    def make_batch(self, inputs: EpochInputs, samples: slice, lost: Any) -> CudaInputs:
        """The spikes of some samples; adds those that blends lose to ``lost``, uint64, (1,)."""
        batch = samples.stop - samples.start
        lists = batch * self.units
        record = 2 * SAMPLE_PART.itemsize
        sources = (
            np.int32(batch), np.int32(self.units), np.int32(self.first_unit),
            np.int32(self.channels), inputs.parts[samples.start * record : samples.stop * record],
            self.times, self.starts, np.float64(inputs.probability),
            np.float64(self.layout.duration),
        )  # fmt: skip
        count, start = self.count[:lists], self.start[: lists + 1]
        self.kernels.launch_each("count_input_spikes", lists, (*sources, count, lost))
        self.kernels.cupy.cumsum(count, out=start[1:])
        grid = np.float64(self.layout.dt), np.int32(self.layout.steps)
        self.kernels.launch_each("write_input_spikes", lists, (*sources, *grid, start, self.step))
        return CudaInputs(self.step, start, batch, inputs.keys[samples])


def _sorted_by_unit(spikes: SpikeTrains) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Times sorted by sample, unit and time, and where those of each unit begin."""
    samples, channels = len(spikes), spikes.unit_count
    times = np.empty_like(spikes.times)
    counts = np.empty((samples, channels), np.int64)
    for sample, (first, last) in enumerate(
        zip(spikes.offsets[:-1], spikes.offsets[1:], strict=True)
    ):
        units = spikes.units[first:last]
        times[first:last] = spikes.times[first:last][order_by_unit(units, channels)]
        counts[sample] = np.bincount(units, minlength=channels)
    starts = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts.ravel(), out=starts[1:])
    return times, starts
