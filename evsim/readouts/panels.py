"""Panels: parts of a trial on which V is smooth, and sums over the samples of a batch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.network.network import Network
from evsim.network.ragged_arrays import counted
from evsim.readouts.sample_times import SampleTimes


class Panels(NamedTuple):
    """Parts of each sample's trial on which V is smooth, in the order of sample and time.

    Samples are int64; starts and lengths are float64, in ms; each has shape (panels,).
    """

    samples: NDArray[np.int64]
    starts: NDArray[np.float64]
    lengths: NDArray[np.float64]


def graded_panels(
    event_times: SampleTimes, duration: float, shortest: float, longest: float = np.inf
) -> Panels:
    """The trial between its events, in parts that double from ``shortest`` ms after each event.

    Whatever changes within a time constant does so after an event and then decays, so few parts
    suffice even if one time constant is far shorter than the others.  Parts longer than ``longest``
    ms are divided into equal ones.
    """
    whole = _between(event_times, duration)
    parts = 1 + np.maximum(np.ceil(np.log2(whole.lengths / shortest)), 0).astype(np.int64)
    owner, part = counted(parts)
    starts = np.where(part == 0, 0.0, shortest * 2.0 ** (part - 1))
    last = part == parts[owner] - 1
    ends = np.where(last, whole.lengths[owner], shortest * 2.0**part)
    graded = Panels(whole.samples[owner], whole.starts[owner] + starts, ends - starts)
    return _divided(graded, longest)


def _divided(panels: Panels, longest: float) -> Panels:
    """Panels in equal parts where they are longer than ``longest`` ms."""
    parts = np.maximum(np.ceil(panels.lengths / longest), 1).astype(np.int64)
    owner, part = counted(parts)
    lengths = (panels.lengths / parts)[owner]
    return Panels(panels.samples[owner], panels.starts[owner] + part * lengths, lengths)


def _between(event_times: SampleTimes, duration: float) -> Panels:
    starts = np.insert(event_times.times, event_times.offsets[:-1], 0.0)
    ends = np.insert(event_times.times, event_times.offsets[1:], duration)
    samples = np.repeat(np.arange(event_times.offsets.size - 1), np.diff(event_times.offsets) + 1)
    return Panels(samples, starts, ends - starts)


def offsets_of(samples: NDArray[Any], batch_size: int) -> NDArray[np.int64]:
    """Where each sample begins, int64, (batch + 1,); ``samples`` are sorted."""
    return np.searchsorted(samples, np.arange(batch_size + 1))


def shortest_time_constant(network: Network, population: str) -> float:
    """The shortest time constant of a population's units in ms."""
    units = network.population(population)
    return float(min(np.min(getattr(units, name)) for name in ("tau_mem", "tau_syn")))


def sum_by_sample(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sums of ``values[offsets[b]:offsets[b + 1]]``, shape (batch, ...)."""
    sums = np.zeros((offsets.size - 1, *values.shape[1:]))
    for sample, (start, stop) in enumerate(pairwise(offsets.tolist())):
        # Along the last axis NumPy adds pairwise, which keeps the digits of long sums.
        sums[sample] = np.ascontiguousarray(values[start:stop].T).sum(axis=-1)
    return sums
