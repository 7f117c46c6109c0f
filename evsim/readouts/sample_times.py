"""Times of each sample of a batch, at which states are read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import refuse_masked
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of


@helpful
class SampleTimes(NamedTuple):
    """Times of each sample: those of sample b are ``times[offsets[b]:offsets[b + 1]]``.

    In ms and ascending inside each sample; float64, shape (times,), and int64, shape (batch + 1,).
    """

    times: NDArray[np.float64]
    offsets: NDArray[np.int64]

    @classmethod
    def same(cls, times: NDArray[np.float64], batch_size: int) -> SampleTimes:
        """The same ascending times in every sample of a batch."""
        return cls(np.tile(times, batch_size), times.size * np.arange(batch_size + 1))

    @property
    def samples(self) -> NDArray[np.int64]:
        """The sample of each time, int64, shape (times,)."""
        return np.repeat(np.arange(self.offsets.size - 1), np.diff(self.offsets))

    def __repr__(self) -> str:
        return (
            f"SampleTimes({number_of(self.times.size, 'time')} in "
            f"{number_of(self.offsets.size - 1, 'sample')})"
        )


def check_sample_times(times: SampleTimes, batch_size: int, duration: float) -> None:
    """Refuse times that are not those of a batch of trials of ``duration`` ms."""
    if not isinstance(times, SampleTimes):
        raise TypeError(
            f"the times of each sample (moments) are of type {type(times).__name__}: give "
            "evsim.readouts.SampleTimes"
        )
    parts: tuple[tuple[str, Any, type[np.generic]], ...] = (
        ("times", times.times, np.float64),
        ("offsets", times.offsets, np.int64),
    )
    for name, array, kind in parts:
        refuse_masked(array, f"{name} of moments")
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
            raise TypeError(f"{name} of moments must be a one-dimensional array of {kind.__name__}")
    ms, offsets = times
    ends = offsets[[0, -1]].tolist() if offsets.size else []
    if offsets.size != batch_size + 1 or ends != [0, ms.size] or (np.diff(offsets) < 0).any():
        raise ValueError(
            f"offsets of moments must rise from 0 to {ms.size}, the number of times, in "
            f"{batch_size + 1} entries, one more than there are samples: found {offsets}"
        )
    follows = np.diff(times.samples) == 0
    wrong = ~((ms >= 0) & (ms <= duration))
    wrong[1:] |= follows & (np.diff(ms) < 0)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"moment {place}, of sample {times.samples[place]}, is at {ms[place]} ms: "
            f"those of one sample must ascend within the trial, 0 to {duration:g} ms"
        )
