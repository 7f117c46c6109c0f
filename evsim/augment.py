"""augment: shift, blend, jitter, dilation, thinning and delay lines of input spikes.

An augmentation is called with a dataset, a random generator and the trial's duration, and
returns a new dataset with what became of the spikes::

    generator = numpy.random.default_rng(seed)
    outcome = augment.Shift(channels=40)(data, generator, duration=1000.0)
    outcome.data, outcome.lost

Units are channels in an order that means something, such as the frequencies of a cochlea.  A
spike whose channel is none of the population's, or whose time is outside the trial
[0, duration], is lost, and counted.

The same generator state gives the same bits.  What an augmentation does to one sample depends
on that state and on the sample's place in the data, not on the spikes of other samples, nor
on the order in which spikes of one time are stored.  (Which samples are blended depends on
the classes of all.)  The result of every augmentation is ordered by time, then unit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from evsim.dataset import Dataset, checked_integer
from evsim.simulation import check_duration
from evsim.spikes import SpikeTrains

__all__ = [
    "Augmentation",
    "Augmented",
    "Blend",
    "DelayLine",
    "Dilate",
    "Jitter",
    "SampleAugmentation",
    "Shift",
    "Thin",
    "Transformed",
    "delay_line",
]

Rounding = Literal["truncate", "uniform"]
Distribution = Literal["log-uniform", "uniform"]


# -- what comes out -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Transformed:
    """Spike trains after a change, and what is no longer in them.

    ``lost`` spikes left the channels or the trial, ``removed`` ones were taken out on purpose.
    """

    spikes: SpikeTrains
    lost: int
    removed: int = 0


@dataclass(frozen=True, eq=False)
class Augmented:
    """A dataset after an augmentation, and what became of its spikes.

    Parameters
    ----------
    data : Dataset
    lost : int
        Spikes that left the channels or the trial.
    removed : int
        Spikes taken out on purpose, by Thin or Blend.
    silenced : int
        Samples that had spikes and have none left.  They stay in the data, silent.
    """

    data: Dataset
    lost: int
    removed: int
    silenced: int


# -- the common form ----------------------------------------------------------------------


class Augmentation(ABC):
    """A random change of a dataset's input spikes.

    Its settings are refused with a ValueError or TypeError when it is made.
    """

    def __call__(
        self,
        data: Dataset | tuple[Any, Any],
        generator: np.random.Generator,
        duration: float,
    ) -> Augmented:
        """Augment a dataset; it stays as it is.

        Parameters
        ----------
        data : Dataset or pair (spikes, labels)
            With spikes of one input population.
        generator : numpy.random.Generator
            Every random choice is drawn from it.
        duration : float
            The trial is [0, duration] ms.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit together, and if no spike at all would be left.
        """
        data = Dataset.of(data)
        spikes = _only_input(data)
        if not isinstance(generator, np.random.Generator):
            raise TypeError(
                f"generator is of type {type(generator).__name__}: give "
                "numpy.random.default_rng(seed)"
            )
        outcome = self._augment(data, spikes, generator, check_duration(duration))
        if spikes.times.size and not _only_input(outcome.data).times.size:
            raise ValueError(
                f"{self} leaves none of the {spikes.times.size} spikes of the data "
                f"({outcome.lost} lost, {outcome.removed} removed): give it smaller settings, or "
                "times in ms and the duration of their trial"
            )
        return outcome

    @abstractmethod
    def _augment(
        self, data: Dataset, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Augmented:
        """The augmented dataset; ``spikes`` are those of its only input."""


class SampleAugmentation(Augmentation):
    """An augmentation that changes each sample by itself: as many samples, labels untouched."""

    @abstractmethod
    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        """Change the spikes alone."""

    def _augment(
        self, data: Dataset, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Augmented:
        outcome = self.transform(spikes, generator, duration)
        silenced = (np.diff(spikes.offsets) > 0) & (np.diff(outcome.spikes.offsets) == 0)
        return Augmented(
            replace(data, spikes=_as_input(data, outcome.spikes)),
            outcome.lost,
            outcome.removed,
            int(silenced.sum()),
        )


# -- channels -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Shift(SampleAugmentation):
    """All spikes of a sample move by the same number of channels (L, D).

    Parameters
    ----------
    channels : int
        The limit c of the shift.
    rounding : "truncate" or "uniform"
        How the shift is drawn.  "truncate", as in the program of L, takes a number from
        [-c, c) and cuts off its fraction: -(c - 1) to c - 1, with 0 twice as likely as any
        other.  "uniform", as in the program of D, takes one of the integers -c to c - 1.

    Notes
    -----
    Shift before a delay line: after it, spikes would cross from one copy into the next.
    """

    channels: int = 40
    rounding: Rounding = "truncate"

    def __post_init__(self) -> None:
        checked_integer(self.channels, "channels", 1)
        _check_choice(self.rounding, "rounding", Rounding)

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        limit, samples = self.channels, len(spikes)
        if self.rounding == "truncate":
            shifts = np.trunc(generator.uniform(-limit, limit, samples)).astype(np.int64)
        else:
            shifts = generator.integers(-limit, limit, samples)
        units = spikes.units + _per_spike(shifts, spikes)
        return _inside(spikes.times, units, spikes.offsets, spikes.unit_count, np.inf)


@dataclass(frozen=True)
class Jitter(SampleAugmentation):
    """Each spike moves by a number of channels of its own, round(N(0, deviation)).

    One of the augmentations that L tried for spoken digits and did without.
    """

    deviation: float

    def __post_init__(self) -> None:
        _check_number(self.deviation, "deviation")
        if not self.deviation > 0:
            raise ValueError(f"deviation = {self.deviation}: it must be > 0 channels")

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        spikes = _in_order(spikes)
        moves = _draw_per_spike(spikes.offsets, generator, "standard_normal")
        moves *= self.deviation
        np.rint(moves, out=moves)
        moves += spikes.units
        return _inside(spikes.times, moves, spikes.offsets, spikes.unit_count, np.inf)


# -- time ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dilate(SampleAugmentation):
    """The times of each sample are multiplied by one factor between ``low`` and ``high``.

    ``distribution`` is that of the factor: "log-uniform", as in the program of L, or
    "uniform", as in its text.  L tried dilation for spoken digits and did without.
    """

    low: float
    high: float
    distribution: Distribution = "log-uniform"

    def __post_init__(self) -> None:
        _check_number(self.low, "low")
        _check_number(self.high, "high")
        if not 0 < self.low <= self.high:
            raise ValueError(
                f"Dilate({self.low}, {self.high}): low must be > 0 and must not exceed high"
            )
        _check_choice(self.distribution, "distribution", Distribution)

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        if self.distribution == "uniform":
            factors = generator.uniform(self.low, self.high, len(spikes))
        else:
            factors = np.exp(generator.uniform(np.log(self.low), np.log(self.high), len(spikes)))
        with np.errstate(over="ignore"):  # what overflows is beyond every trial
            times = spikes.times * _per_spike(factors, spikes)
        return _inside(times, spikes.units, spikes.offsets, spikes.unit_count, duration)


@dataclass(frozen=True)
class DelayLine(SampleAugmentation):
    """A delay line of the input, see ``delay_line``; it draws nothing.

    As an augmentation it takes its place after others: ``Shift`` and ``Blend`` are meant for
    the channels themselves.  Data to validate or test with needs the same delay line.
    """

    copies: int = 10
    spacing: float = 30.0

    def __post_init__(self) -> None:
        _check_delay_line(self.copies, self.spacing)

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        return delay_line(spikes, self.copies, self.spacing, duration)


def delay_line(
    spikes: SpikeTrains, copies: int = 10, spacing: float = 30.0, duration: float | None = None
) -> Transformed:
    """Give the network each input spike several times, later and later (L section 2.3).

    Copy k of channel c is unit ``k * unit_count + c`` and spikes ``k * spacing`` later; copy
    0 is the input itself.

    Parameters
    ----------
    spikes : SpikeTrains
    copies : int
        In all, the input itself included.  L has 10 in its text and 11 in its program.
    spacing : float
        In ms.
    duration : float, optional
        Copies of spikes later than this time, in ms, are lost and counted; by default none.

    Returns
    -------
    Transformed
        Its spikes have ``copies * unit_count`` units.
    """
    _check_delay_line(copies, spacing)
    end = np.inf if duration is None else check_duration(duration)
    # The copies of a sample as samples of their own, one after the other, to be merged.
    repeated = spikes[np.repeat(np.arange(len(spikes)), copies)]
    copy = np.tile(np.arange(copies), len(spikes))
    return _inside(
        repeated.times + _per_spike(spacing * copy, repeated),
        repeated.units + _per_spike(spikes.unit_count * copy, repeated),
        repeated.offsets[::copies],
        spikes.unit_count * copies,
        end,
    )


def _check_delay_line(copies: int, spacing: float) -> None:
    checked_integer(copies, "copies", 1)
    _check_number(spacing, "spacing")
    if not spacing >= 0:
        raise ValueError(f"spacing = {spacing} ms: it must be >= 0")


# -- fewer spikes -------------------------------------------------------------------------


@dataclass(frozen=True)
class Thin(SampleAugmentation):
    """Each spike is removed with the given probability."""

    probability: float

    def __post_init__(self) -> None:
        _check_number(self.probability, "probability")
        if not 0 <= self.probability < 1:
            raise ValueError(
                f"probability = {self.probability}: it must be in [0, 1); 1 would remove every "
                "spike"
            )

    def transform(
        self, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Transformed:
        spikes = _in_order(spikes)
        stays = _draw_per_spike(spikes.offsets, generator, "random") >= self.probability
        times, units, offsets = _chosen(spikes.times, spikes.units, spikes.offsets, stays)
        remaining = _trains(times, units, offsets, spikes.unit_count)
        return Transformed(remaining, lost=0, removed=spikes.times.size - times.size)


# -- new samples --------------------------------------------------------------------------


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
        _check_number(self.probability, "probability")
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability = {self.probability}: it must be in (0, 1]")
        if self.time_step is not None:
            _check_number(self.time_step, "time_step")
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
        blended = Dataset(_as_input(data, outcome.spikes), data.labels[first], groups)
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
        parents = _in_order(spikes[pairs.ravel()])
        silent = np.diff(parents.offsets) == 0
        if silent.any():
            sample = pairs.ravel()[np.argmax(silent)]
            raise ValueError(f"sample {sample} is silent: it has no mean to align another with")
        channels = np.trunc(_way_to_the_middle(_means(parents.units, parents)))
        delays = _way_to_the_middle(_means(parents.times, parents))
        if self.time_step is not None:
            delays = self.time_step * np.trunc(delays / self.time_step)
        offsets = parents.offsets[::2]
        stays = _draw_per_spike(offsets, generator, "random") < self.probability
        times, units, offsets = _chosen(
            parents.times + _per_spike(delays, parents),
            parents.units + _per_spike(channels, parents),
            offsets,
            stays,
        )
        outcome = _inside(times, units, offsets, spikes.unit_count, duration)
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


# -- draws --------------------------------------------------------------------------------


def _draw_per_spike(
    offsets: np.ndarray, generator: np.random.Generator, distribution: str
) -> np.ndarray:
    """One number per spike, from a stream of its own for each sample, shape (events,).

    ``distribution`` is the name of a generator's method.
    """
    seeds = generator.integers(0, 2**63, offsets.size - 1)
    numbers = np.empty(offsets[-1])
    for seed, start, stop in zip(seeds, offsets[:-1], offsets[1:], strict=True):
        getattr(np.random.default_rng(seed), distribution)(out=numbers[start:stop])
    return numbers


def _per_spike(values: np.ndarray, spikes: SpikeTrains) -> np.ndarray:
    """The value of each spike's sample."""
    return np.repeat(values, np.diff(spikes.offsets))


# -- events -------------------------------------------------------------------------------


def _inside(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int, end: float
) -> Transformed:
    """The events in [0, end] ms and of units 0 to unit_count - 1; how many others there were.

    Events are grouped by sample; inside a sample they may be in any order.  ``units`` may be
    floats that hold integers, however large.
    """
    stays = (times >= 0) & (times <= end) & (units >= 0) & (units < unit_count)
    kept_times, kept_units, kept_offsets = _chosen(times, units, offsets, stays)
    spikes = _trains(kept_times, kept_units, kept_offsets, unit_count)
    return Transformed(spikes, lost=times.size - kept_times.size)


def _chosen(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, stays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, units and offsets of the events that stay."""
    before = np.zeros(stays.size + 1, np.int64)
    np.cumsum(stays, out=before[1:])
    return times[stays], units[stays], before[offsets]


def _trains(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int
) -> SpikeTrains:
    """Spike trains of events that are grouped by sample, put in the order of time, then unit.

    Most augmentations leave most of the order as it is; only what is out of order is sorted.
    """
    units = units.astype(np.int64)
    _sort_by_time(times, units, offsets)
    return SpikeTrains(times, _sorted_ties(times, units, offsets, unit_count), offsets, unit_count)


def _in_order(spikes: SpikeTrains) -> SpikeTrains:
    """The same spikes, those of one sample and time in the order of their units."""
    units = _sorted_ties(spikes.times, spikes.units, spikes.offsets, spikes.unit_count)
    if units is spikes.units:
        return spikes
    return SpikeTrains(spikes.times, units, spikes.offsets, spikes.unit_count)


def _sort_by_time(times: np.ndarray, units: np.ndarray, offsets: np.ndarray) -> None:
    """Sort the events of each sample by time, in place."""
    backwards = np.flatnonzero(times[1:] < times[:-1]) + 1
    samples = np.searchsorted(offsets, backwards, side="right") - 1
    for sample in np.unique(samples[backwards != offsets[samples]]):
        events = slice(offsets[sample], offsets[sample + 1])
        # Stable, because it merges runs that are sorted already in linear time.
        order = np.argsort(times[events], kind="stable")
        times[events] = times[events][order]
        units[events] = units[events][order]


def _sorted_ties(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int
) -> np.ndarray:
    """The units with those of one sample and time sorted; the array itself if they were."""
    begins = np.ones(times.size, bool)
    begins[1:] = times[1:] != times[:-1]
    begins[offsets[:-1][offsets[:-1] < times.size]] = True
    if begins.all():
        return units
    # One key sorts units inside ties and moves nothing across.
    ties = np.cumsum(begins) * unit_count
    keys = ties + units
    if (keys[1:] >= keys[:-1]).all():
        return units
    keys.sort()
    keys -= ties
    return keys


# -- inputs and settings ------------------------------------------------------------------


def _only_input(data: Dataset) -> SpikeTrains:
    if len(data.inputs) > 1:
        raise ValueError(
            f"the data has the inputs {', '.join(data.inputs)}: augmentations take data of one "
            "input population; transform the spikes of each by hand"
        )
    return next(iter(data.inputs.values()))


def _as_input(data: Dataset, spikes: SpikeTrains) -> SpikeTrains | Mapping[str, SpikeTrains]:
    """The spikes in the form that the data has its own in."""
    return spikes if isinstance(data.spikes, SpikeTrains) else dict.fromkeys(data.spikes, spikes)


def _check_number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} = {value!r}: it must be a number")
    if not np.isfinite(value):
        raise ValueError(f"{name} = {value}: it must be finite")


def _check_choice(value: Any, name: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} = {value!r}: choose one of {', '.join(get_args(choices))}")
