"""Samples of continuous channels as one array of frames, and the checks of what a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evsim.arguments.checks import (
    check_choice,
    checked_count,
    listed,
    real_array,
)
from evsim.network.spike_trains import MOST_UNITS

Outside = Literal["refuse", "clip"]
Samples = np.ndarray | Sequence[np.ndarray]

_SAMPLES = (
    "give an array of shape (batch, time, channels), or a list of arrays of shape (time, channels)"
)


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """The frames of all samples, one after the other.

    ``values`` has shape (frames, channels); ``samples`` and ``numbers``, shape (frames,), say of
    which sample a frame is and which of its frames, both counted from 0.
    """

    values: np.ndarray
    samples: np.ndarray
    numbers: np.ndarray
    batch_size: int

    @classmethod
    def of(cls, samples: Any) -> Frames:
        """Check samples and join them."""
        if hasattr(samples, "ndim"):
            array = real_array(samples, "samples")
            if array.ndim != 3:
                raise ValueError(f"samples has shape {array.shape}: {_SAMPLES}")
            batch = list(array)
            channels = array.shape[2]
        else:
            given = listed(samples, "samples", _SAMPLES)
            batch = [real_array(each, f"samples[{n}]") for n, each in enumerate(given)]
            for number, sample in enumerate(batch):
                if sample.ndim != 2 or sample.shape[1] != batch[0].shape[1]:
                    same = f", all with {batch[0].shape[1]} channels" if batch[0].ndim == 2 else ""
                    raise ValueError(
                        f"samples[{number}] has shape {sample.shape}: {_SAMPLES}{same}"
                    )
            if not batch:
                raise ValueError(f"samples is empty: {_SAMPLES}")
            channels = batch[0].shape[1]
        if not channels:
            raise ValueError(f"samples has no channels: {_SAMPLES}")
        lengths = np.array([len(sample) for sample in batch], np.int64)
        begins = np.cumsum(lengths) - lengths
        frames = cls(
            np.concatenate([np.empty((0, channels)), *batch]).astype(np.float64),
            np.repeat(np.arange(len(batch)), lengths),
            np.arange(lengths.sum()) - np.repeat(begins, lengths),
            len(batch),
        )
        frames._refuse(~np.isfinite(frames.values), "leave frames that were not measured out")
        return frames

    def within(self, low: np.ndarray, high: np.ndarray, outside: Outside) -> np.ndarray:
        """The values, refused or clipped where they are not within [low, high]."""
        wrong = (self.values < low) | (self.values > high)
        if outside == "refuse":
            self._refuse(
                wrong,
                "it is not within low and high; widen them, or set outside='clip', which replaces "
                "values outside by low or high",
            )
        values: np.ndarray = np.clip(self.values, low, high)
        return values

    def _refuse(self, wrong: np.ndarray, rule: str) -> None:
        if wrong.any():
            frame, channel = np.argwhere(wrong)[0]
            place = f"samples[{self.samples[frame]}][{self.numbers[frame]}, {channel}]"
            raise ValueError(f"{place} = {self.values[frame, channel]:g}: {rule}")


def checked_limits(low: Any, high: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each channel, both of shape (channels,)."""
    limits = []
    for name, given in (("low", low), ("high", high)):
        array = real_array(given, name).astype(np.float64)
        if array.shape not in ((), (channels,)):
            raise ValueError(
                f"{name} has shape {array.shape}: give one number, or one for each of {channels} "
                "channels"
            )
        limits.append(np.broadcast_to(array, channels))
    wrong = ~(np.isfinite(limits[0]) & np.isfinite(limits[1]) & (limits[0] < limits[1]))
    if wrong.any():
        channel = int(np.argmax(wrong))
        raise ValueError(
            f"low = {limits[0][channel]:g} and high = {limits[1][channel]:g} of channel {channel}: "
            "they must be finite, and low < high"
        )
    return limits[0], limits[1]


def checked_frame_length(frame_length: Any, frames: Frames) -> np.ndarray:
    """The length of each frame in ms, shape (frames,), given one for all or one per sample."""
    array = real_array(frame_length, "frame_length", "times in ms").astype(np.float64)
    if array.shape not in ((), (frames.batch_size,)):
        raise ValueError(
            f"frame_length has shape {array.shape}: give one number, or one for each of "
            f"{frames.batch_size} samples"
        )
    wrong = ~(np.isfinite(array) & (array > 0))
    if wrong.any():
        raise ValueError(f"frame_length = {array[wrong].flat[0]:g} ms: it must be finite and > 0")
    lengths: np.ndarray = np.broadcast_to(array, frames.batch_size)[frames.samples]
    return lengths


def check_outside(outside: str) -> None:
    """Refuse unknown rules for values outside [low, high]."""
    check_choice(outside, "outside", ("refuse", "clip"))


def checked_unit_count(channels: int, units: int) -> int:
    """The number of units of all channels."""
    return checked_count(channels * units, "channels times units", 1, MOST_UNITS)
