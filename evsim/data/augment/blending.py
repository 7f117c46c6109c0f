"""Blending: new samples made from two samples of the same class.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evsim.arguments.checks import check_finite, check_flag, checked_count, integer_array
from evsim.arguments.keywords import helpful
from evsim.data.augment.alignment import Alignment, Means
from evsim.data.augment.base import Augmentation, Augmented, Transformed, as_input, check_transform
from evsim.data.augment.events import chosen, inside, number_in_unit, per_spike
from evsim.data.dataset import Dataset
from evsim.network.dropout import spike_fractions
from evsim.network.spike_trains import SpikeTrains


@helpful
@dataclass(frozen=True)
class Blend(Augmentation):
    """New samples, each blended from two samples of the same class (L, section 2.3, and D).

    Both samples are shifted, in channel and in time, to the middle between their mean channels
    and their mean times.  Then each of their spikes is kept with a probability.  Shifts in
    channel are rounded towards zero, so the mean channels differ by less than 2 afterwards.

    The first sample is drawn from all samples that have a partner, the second from its partners:
    the other samples of its class in the data.  A sample without spikes has no mean and is never
    a partner, so a class with only one sample that spikes gets no new samples.  New samples
    follow the original ones.  A sample blended from two groups has group -1.

    Whether a spike is kept depends on a key, on its unit and on its number among the spikes of
    that unit, through the hash of ``evsim.network.dropout``.  Each of the two parts of a new sample
    has its own key.

    Parameters
    ----------
    samples : int, optional
        The number of new samples; by default the number of samples in the data.
    probability : float
        The probability that a spike is kept.
    same_group : bool
        Whether partners must also belong to the same group, such as the same speaker.
    time_step : float, optional
        Shifts in time are rounded towards zero to multiples of this number of ms.  The program
        of L uses 1 ms.  By default they are not rounded.
    keep_originals : bool
        Whether the original samples stay in the data.
    """

    samples: int | None = None
    probability: float = 0.5
    same_group: bool = False
    time_step: float | None = None
    keep_originals: bool = True

    def __post_init__(self) -> None:
        if self.samples is not None:
            checked_count(self.samples, "samples")
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
            check_flag(getattr(self, name), name)

    def _augment(
        self, data: Dataset, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Augmented:
        spiking = np.diff(spikes.offsets) > 0
        pairs = self.draw_pairs(data.labels, data.groups, spiking, generator)
        outcome = self.blend(spikes, pairs, generator, duration)
        labels, groups = kinds_of_pairs(data.labels, data.groups, pairs)
        blended = replace(data, spikes=as_input(data, outcome.spikes), labels=labels, groups=groups)
        return Augmented(
            Dataset.concatenate([data, blended]) if self.keep_originals else blended,
            outcome.lost,
            outcome.removed,
            silenced=int((np.diff(outcome.spikes.offsets) == 0).sum()),
        )

    def draw_pairs(
        self,
        labels: np.ndarray,
        groups: np.ndarray | None,
        spiking: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Draw the samples to blend, shape (new samples, 2).

        ``labels`` and ``groups`` are those of all samples; ``spiking`` says which of them spike.
        """
        count = labels.shape[0] if self.samples is None else self.samples
        return _draw_pairs(self._kinds(labels, groups), spiking, count, generator)

    def _kinds(self, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """One integer per sample, which two samples must share to be blended."""
        if labels.dtype.kind != "i":
            raise ValueError(
                f"labels are targets of shape {labels.shape[1:]}: Blend needs one class per "
                "sample, integers"
            )
        if not self.same_group:
            return labels
        if groups is None:
            raise ValueError("same_group=True needs data with groups: Dataset(..., groups=...)")
        both = np.stack([labels, groups])
        kinds = np.unique(both, axis=1, return_inverse=True)[1].ravel()
        alone = np.flatnonzero(groups == -1)  # in no group: each has nothing to share
        kinds[alone] = kinds.size + alone
        return kinds

    def blend(
        self,
        spikes: SpikeTrains,
        pairs: np.ndarray,
        generator: np.random.Generator,
        duration: float,
    ) -> Transformed:
        """Blend each pair of samples, shape (new samples, 2), into a new one.

        Raises ValueError for pairs of a wrong shape, and for a pair with a silent sample.
        """
        check_transform(spikes, generator, duration)
        pairs = integer_array(pairs, "pairs")
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"pairs has shape {pairs.shape}: give two samples each, shape (n, 2)")
        parents = spikes[pairs.ravel()]
        silent = np.diff(parents.offsets) == 0
        if silent.any():
            sample = pairs.ravel()[np.argmax(silent)]
            raise ValueError(f"sample {sample} is silent: it has no mean to align another with")
        moves = Alignment.of(Means.of(spikes), pairs, self.time_step)
        keys = draw_keys(len(pairs), generator)
        stays = _kept(parents, keys.ravel(), self.probability)
        times, units, offsets = chosen(
            parents.times + per_spike(moves.delays.ravel(), parents),
            parents.units + per_spike(moves.channels.ravel(), parents),
            parents.offsets[::2],
            stays,
        )
        outcome = inside(times, units, offsets, spikes.unit_count, duration)
        return replace(outcome, removed=stays.size - times.size)


def draw_keys(count: int, generator: np.random.Generator) -> np.ndarray:
    """The keys that decide which spikes of both parts of new samples are kept, (count, 2)."""
    return generator.integers(0, 2**64, (count, 2), dtype=np.uint64)


def kinds_of_pairs(
    labels: np.ndarray, groups: np.ndarray | None, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """The labels and groups of new samples; the group is -1 if those of the pair differ."""
    first, second = pairs.T
    if groups is not None:
        groups = np.where(groups[first] == groups[second], groups[first], -1)
    return labels[first], groups


def _kept(parents: SpikeTrains, keys: np.ndarray, probability: float) -> np.ndarray:
    """Which spikes are kept, given the key of each sample."""
    kept = np.empty(parents.times.size, bool)
    for key, start, stop in zip(keys, parents.offsets[:-1], parents.offsets[1:], strict=True):
        units = parents.units[start:stop]
        numbers = number_in_unit(units, parents.unit_count)
        kept[start:stop] = spike_fractions(key, units, numbers) < probability
    return kept


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
    other += other >= rank  # a sample is not its own partner
    return np.stack([candidates[first], candidates[start + other]], axis=1)
