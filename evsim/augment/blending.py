"""New samples made of two of the same class."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evsim.augment.augmentation import Augmentation, Augmented, Transformed, as_input
from evsim.augment.events import chosen, draw_per_spike, in_order, inside, per_spike
from evsim.checks import check_finite, checked_integer
from evsim.dataset import Dataset
from evsim.spikes import SpikeTrains


@dataclass(frozen=True)
class Blend(Augmentation):
    """New samples, each made of two of the same class (L section 2.3, D).

    Both are shifted, in channel and in time, to the middle between their mean channels and
    their mean times; then each of their spikes is kept with a probability.  Channels shift by
    whole numbers, cut off towards zero, so the means in channel agree up to less than 2.

    The first of the two is drawn from all samples that have a partner, the second from its
    partners: the other samples of its class, in the whole data.  A silent sample has no mean
    and is no partner; a class with one sample that spikes gets no new ones.  The new samples
    come after those there are.  One blended of two groups has group -1.

    Parameters
    ----------
    samples : int, optional
        How many to make; by default as many as the data has.
    probability : float
        With which each spike is kept.
    same_group : bool
        Whether partners are of the same group, such as the speaker, too.
    time_step : float, optional
        Times shift by whole multiples of this number of ms, cut off towards zero; 1 ms is
        what the program of L does.  By default they shift exactly.
    keep_originals : bool
        False leaves only the new samples.
    """

    samples: int | None = None
    probability: float = 0.5
    same_group: bool = False
    time_step: float | None = None
    keep_originals: bool = True

    def __post_init__(self) -> None:
        if self.samples is not None:
            checked_integer(self.samples, "samples", 1)
        check_finite(self.probability, "probability")
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability = {self.probability}: it must be in (0, 1]")
        if self.time_step is not None:
            check_finite(self.time_step, "time_step")
            if not self.time_step > 0:
                raise ValueError(
                    f"time_step = {self.time_step} ms: it must be > 0; None shifts times exactly"
                )
        for name in ("same_group", "keep_originals"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} = {getattr(self, name)!r}: it must be True or False")

    def _augment(
        self, data: Dataset, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Augmented:
        pairs = _draw_pairs(
            self._kinds(data),
            np.diff(spikes.offsets) > 0,
            len(data) if self.samples is None else self.samples,
            generator,
        )
        outcome = self.blend(spikes, pairs, generator, duration)
        first, second = pairs.T
        groups = data.groups
        if groups is not None:
            groups = np.where(groups[first] == groups[second], groups[first], -1)
        blended = Dataset(as_input(data, outcome.spikes), data.labels[first], groups)
        return Augmented(
            Dataset.concatenate([data, blended]) if self.keep_originals else blended,
            outcome.lost,
            outcome.removed,
            silenced=int((np.diff(outcome.spikes.offsets) == 0).sum()),
        )

    def _kinds(self, data: Dataset) -> np.ndarray:
        """What two samples must share to be blended, as one integer per sample."""
        if not data.has_classes:
            raise ValueError(
                f"labels are targets of shape {data.labels.shape[1:]}: Blend needs one class per "
                "sample, integers"
            )
        if not self.same_group:
            return data.labels
        if data.groups is None:
            raise ValueError("same_group=True needs data with groups: Dataset(..., groups=...)")
        both = np.stack([data.labels, data.groups])
        return np.unique(both, axis=1, return_inverse=True)[1].ravel()

    def blend(
        self,
        spikes: SpikeTrains,
        pairs: np.ndarray,
        generator: np.random.Generator,
        duration: float,
    ) -> Transformed:
        """One new sample from each of these pairs of samples, shape (new samples, 2).

        ValueError for what are no pairs, and for a pair with a silent sample.
        """
        pairs = np.asarray(pairs)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"pairs has shape {pairs.shape}: give two samples each, shape (n, 2)")
        parents = in_order(spikes[pairs.ravel()])
        silent = np.diff(parents.offsets) == 0
        if silent.any():
            sample = pairs.ravel()[np.argmax(silent)]
            raise ValueError(f"sample {sample} is silent: it has no mean to align another with")
        channels = np.trunc(_way_to_the_middle(_means(parents.units, parents)))
        delays = _way_to_the_middle(_means(parents.times, parents))
        if self.time_step is not None:
            delays = self.time_step * np.trunc(delays / self.time_step)
        offsets = parents.offsets[::2]
        stays = draw_per_spike(offsets, generator, "random") < self.probability
        times, units, offsets = chosen(
            parents.times + per_spike(delays, parents),
            parents.units + per_spike(channels, parents),
            offsets,
            stays,
        )
        outcome = inside(times, units, offsets, spikes.unit_count, duration)
        return replace(outcome, removed=stays.size - times.size)


def _draw_pairs(
    kinds: np.ndarray, spiking: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Pairs of different samples of one kind that both spike, shape (count, 2)."""
    candidates = np.flatnonzero(spiking)
    candidates = candidates[np.argsort(kinds[candidates], kind="stable")]
    _, starts, kind, sizes = np.unique(
        kinds[candidates], return_index=True, return_inverse=True, return_counts=True
    )
    paired = np.flatnonzero(sizes[kind] > 1)
    if paired.size == 0:
        raise ValueError(
            f"no two of the {kinds.size} samples can be blended: there must be two that spike "
            "and share their class (with same_group=True their group too)"
        )
    first = paired[generator.integers(0, paired.size, count)]
    start, rank = starts[kind[first]], first - starts[kind[first]]
    other = generator.integers(0, sizes[kind[first]] - 1)
    other += other >= rank  # skips the first itself
    return np.stack([candidates[first], candidates[start + other]], axis=1)


def _means(values: np.ndarray, spikes: SpikeTrains) -> np.ndarray:
    """The mean over the spikes of each sample; none may be silent."""
    return np.bincount(spikes.samples, weights=values) / np.diff(spikes.offsets)


def _way_to_the_middle(values: np.ndarray) -> np.ndarray:
    """From each of two neighbours, 0 and 1, 2 and 3, ..., to the middle between them."""
    half = (values[1::2] - values[::2]) / 2
    return np.stack([half, -half], axis=1).ravel()
