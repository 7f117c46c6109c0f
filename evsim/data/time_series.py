"""TimeSeries: labelled samples of continuous channels, which an encoder turns into spikes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import check_is, integer_array, listed, real_array
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.network.sample_selection import chosen_samples


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class TimeSeries(Brief):
    """Labelled samples of continuous channels.

    Parameters
    ----------
    samples : sequence of arrays, each of shape (time, channels)
        The lengths may differ, but the number of channels may not.
    labels : array of int, shape (samples,)
        Indices into ``class_names``.
    class_names : sequence of str

    Raises
    ------
    TypeError, ValueError
        For samples of other shapes, and for labels without a sample or without a name.
    """

    samples: tuple[np.ndarray, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        given = listed(self.samples, "samples", "give a list of arrays of shape (time, channels)")
        samples = tuple(_frozen_sample(each, place) for place, each in enumerate(given))
        for place, sample in enumerate(samples):
            if sample.shape[1] != samples[0].shape[1]:
                raise ValueError(
                    f"samples[{place}] has {sample.shape[1]} channels, samples[0] has "
                    f"{samples[0].shape[1]}: all samples must have the same channels"
                )
        names = tuple(listed(self.class_names, "class_names", "give a list of names"))
        for place, name in enumerate(names):
            check_is(name, f"class_names[{place}]", str, "give a name")
        labels = np.array(integer_array(self.labels, "labels"))
        if labels.shape != (len(samples),):
            raise ValueError(
                f"labels has shape {labels.shape}: give one per sample, shape ({len(samples)},)"
            )
        wrong = (labels < 0) | (labels >= len(names))
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(
                f"labels[{place}] = {labels[place]}: {len(names)} class_names name the classes 0 "
                f"to {len(names) - 1}"
            )
        labels.setflags(write=False)
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", names)

    @property
    def lengths(self) -> np.ndarray:
        """The number of frames of each sample, int64, shape (samples,)."""
        return np.array([len(sample) for sample in self.samples], np.int64)

    def mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the standard deviation of each channel over all frames, (channels,)."""
        frames = np.concatenate(self.samples)
        return frames.mean(axis=0), frames.std(axis=0)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.samples)

    def __getitem__(self, index: Any) -> TimeSeries:
        """The selected samples: an index selects one, a slice or an array of indices several."""
        chosen = chosen_samples(index, len(self))
        return TimeSeries(
            tuple(self.samples[place] for place in chosen), self.labels[chosen], self.class_names
        )


def _frozen_sample(values: Any, place: int) -> np.ndarray:
    array = np.array(real_array(values, f"samples[{place}]"), np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"samples[{place}] has shape {array.shape}: give (time, channels), neither of them 0"
        )
    array.setflags(write=False)
    return array
