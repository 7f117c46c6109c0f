"""Dataset: the input spikes and the label of each sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evsim.arguments.checks import check_is, integer_array, listed, real_array, shown
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.network.sample_selection import chosen_samples
from evsim.network.spike_formats.events import TimeUnit
from evsim.network.spike_trains import SpikeTrains


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples for training or testing.

    Parameters
    ----------
    spikes : SpikeTrains, or a mapping from input population to SpikeTrains
        All inputs must have the same number of samples.
    labels : array of int, shape (samples,), or of numbers, shape (samples, ...)
        The class of each sample, >= 0.  For losses that do not classify, the targets of each
        sample in the shape that the loss requires; NaN or masked entries have no target.
    groups : array of int, shape (samples,), optional
        The group of each sample, such as its speaker; used to split data.
    group_names : sequence of str, optional
        The names of groups 0, 1, ...  When datasets are joined, groups of the same name become
        one group, whatever their numbers.

    Raises
    ------
    TypeError, ValueError
        If the numbers of labels, groups and samples of the inputs differ.
    """

    spikes: SpikeTrains | Mapping[str, SpikeTrains]
    labels: np.ndarray
    groups: np.ndarray | None = None
    group_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        spikes = self.spikes
        if isinstance(spikes, Mapping):
            spikes = dict(spikes)
            object.__setattr__(self, "spikes", spikes)
        sizes = _sample_counts(spikes)
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the inputs differ in their number of samples: {sizes}")
        samples = next(iter(sizes.values()))
        object.__setattr__(self, "labels", _checked_labels(self.labels, samples))
        if self.groups is not None:
            object.__setattr__(self, "groups", _checked_groups(self.groups, samples))
        if self.group_names is not None:
            names = _checked_names(self.group_names, self.groups)
            object.__setattr__(self, "group_names", names)

    @classmethod
    def of(cls, data: Dataset | Sequence[Any]) -> Dataset:
        """The dataset itself, or a dataset made from a pair (spikes, labels)."""
        if isinstance(data, Dataset):
            return data
        if isinstance(data, (tuple, list)) and len(data) == 2:
            return cls(*data)
        raise TypeError(
            f"data is of type {type(data).__name__}: give an evsim.Dataset or a pair "
            "(spikes, labels)"
        )

    @classmethod
    def from_tonic(
        cls, samples: Sequence[Any], *, sensor_size: Sequence[int], unit: TimeUnit = "us"
    ) -> Dataset:
        """Build from a data set of the library tonic: pairs (recording, class).

        ``SpikeTrains.from_tonic`` describes the recordings and the other arguments.

        Raises TypeError and ValueError for entries that are not such pairs.
        """
        if not hasattr(samples, "__len__") or not hasattr(samples, "__getitem__"):
            raise TypeError(f"samples = {shown(samples)}: {_PAIRS}")
        recordings, labels = [], []
        for place in range(len(samples)):
            pair = samples[place]
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(f"samples[{place}] = {shown(pair)}: {_PAIRS}")
            recordings.append(pair[0])
            labels.append(pair[1])
        spikes = SpikeTrains.from_tonic(recordings, sensor_size=sensor_size, unit=unit)
        return cls(spikes, np.array(labels))

    @classmethod
    def concatenate(cls, parts: Sequence[Dataset]) -> Dataset:
        """Join datasets, sample after sample.

        Raises TypeError and ValueError for parts that differ in their inputs, in the kind or
        shape of their labels, or in whether they have groups.
        """
        parts = listed(parts, "parts", "give a list of Datasets")
        if not parts:
            raise ValueError("parts is empty: concatenate needs at least one Dataset")
        for place, part in enumerate(parts):
            check_is(part, f"parts[{place}]", Dataset, "give an evsim.Dataset")
        first = parts[0]
        for what, of in _WHAT_PARTS_SHARE.items():
            found = {str(of(part)): None for part in parts}
            if len(found) > 1:
                raise ValueError(
                    f"datasets that differ in their {what} cannot be joined: {'; '.join(found)}"
                )
        parts = with_common_groups(parts)
        first = parts[0]
        named = [part.inputs for part in parts]
        joined = {
            name: SpikeTrains.concatenate([inputs[name] for inputs in named]) for name in named[0]
        }
        labels = np.concatenate([part.labels for part in parts])
        groups = [part.groups for part in parts if part.groups is not None]
        return cls(
            joined if isinstance(first.spikes, Mapping) else joined["spikes"],
            labels,
            np.concatenate(groups) if groups else None,
            first.group_names,
        )

    @property
    def inputs(self) -> Mapping[str, SpikeTrains]:
        """The spikes of each input by name; a single input without a name is "spikes"."""
        return {"spikes": self.spikes} if isinstance(self.spikes, SpikeTrains) else self.spikes

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, not targets."""
        return self.labels.dtype.kind == "i"

    def __len__(self) -> int:
        """Number of samples."""
        return int(self.labels.shape[0])

    def __getitem__(self, index: int | slice | np.ndarray) -> Dataset:
        """The selected samples: an index selects one, a slice or an array of indices several."""
        index = chosen_samples(index, len(self))
        if isinstance(self.spikes, SpikeTrains):
            spikes: Any = self.spikes._of_samples(index)
        else:
            spikes = {name: trains._of_samples(index) for name, trains in self.spikes.items()}
        part = object.__new__(Dataset)
        object.__setattr__(part, "spikes", spikes)
        object.__setattr__(part, "labels", self.labels[index])
        object.__setattr__(part, "groups", None if self.groups is None else self.groups[index])
        object.__setattr__(part, "group_names", self.group_names)
        return part

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array of the dataset by name, for checksums and files."""
        arrays = {"labels": self.labels}
        if self.groups is not None:
            arrays["groups"] = self.groups
        for name, trains in self.inputs.items():
            arrays[f"{name}.times"] = trains.times
            arrays[f"{name}.units"] = trains.units
            arrays[f"{name}.offsets"] = trains.offsets
        return arrays

    def __repr__(self) -> str:
        if self.has_classes:
            what = f"{np.unique(self.labels).size} classes"
        else:
            what = f"targets of shape {self.labels.shape[1:]}"
        groups = "" if self.groups is None else f", {np.unique(self.groups).size} groups"
        return f"Dataset({self.spikes!r}, {what}{groups})"


_PAIRS = "give pairs (recording, class), such as a data set of tonic"


def _inputs_of(data: Dataset) -> str:
    inputs = sorted(data.inputs.items())
    return ", ".join(
        f"{name!r} of {number_of(trains.unit_count, 'unit')}" for name, trains in inputs
    )


_WHAT_PARTS_SHARE: dict[str, Callable[[Dataset], str]] = {
    "inputs": _inputs_of,
    "labels": lambda data: (
        "classes" if data.has_classes else f"targets of shape {data.labels.shape[1:]}"
    ),
    "groups": lambda data: (
        "no groups"
        if data.groups is None
        else "numbered groups"
        if data.group_names is None
        else "named groups"
    ),
}


def with_common_groups(parts: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """The same datasets, with the same number for groups of the same name in all of them.

    The names are those of the first dataset, followed by new names in the others.  Datasets
    without group names do not change.
    """
    given = dict.fromkeys(name for part in parts for name in part.group_names or ())
    names = tuple(given)
    return tuple(
        part if part.group_names in (None, names) else _renumbered(part, names) for part in parts
    )


def _renumbered(data: Dataset, names: tuple[str, ...]) -> Dataset:
    """The same dataset with groups numbered by the index of their names in ``names``."""
    assert data.groups is not None
    assert data.group_names is not None
    # -1, the group of a sample that belongs to no single group, does not change.
    numbers = np.array([*(names.index(name) for name in data.group_names), -1])
    return replace(data, groups=numbers[data.groups], group_names=names)


def _sample_counts(spikes: Any) -> dict[str, int]:
    named = spikes if isinstance(spikes, dict) else {"input": spikes}
    if not named:
        raise ValueError("spikes is an empty mapping: give SpikeTrains for each input population")
    for name, trains in named.items():
        if not isinstance(trains, SpikeTrains):
            raise TypeError(
                f"spikes of {name!r} are of type {type(trains).__name__}: give SpikeTrains"
            )
    return {name: len(trains) for name, trains in named.items()}


def _checked_labels(labels: Any, samples: int) -> np.ndarray:
    """Classes as int64, (samples,), or targets as float64, (samples, ...); read-only."""
    # A masked integer could not become NaN, which means "no target".
    whole = getattr(getattr(labels, "dtype", None), "kind", "") in ("i", "u")
    what = "classes as integers, or targets"
    array = real_array(labels, "labels", what, masked=None if whole else np.nan)
    targets = array.dtype.kind == "f" or array.ndim > 1
    if targets and (array.size or array.ndim > 1):
        if array.shape[:1] != (samples,):
            raise ValueError(
                f"labels has shape {array.shape}: give targets for each of {samples} samples"
            )
        array = np.array(array, np.float64)
        array.setflags(write=False)
        return array
    if array.shape != (samples,):
        raise ValueError(f"labels has shape {array.shape}: give one per sample, shape ({samples},)")
    array = np.array(integer_array(array, "labels", what))
    if array.size and array.min() < 0:
        sample = int(np.argmax(array < 0))
        raise ValueError(f"labels[{sample}] = {array[sample]}: classes are counted from 0")
    array.setflags(write=False)
    return array


def _checked_names(names: Any, groups: np.ndarray | None) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"group_names = {names!r}: give a list of names, one for each group")
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"group_names[{number}] = {name!r}: give a name")
        if name in names[:number]:
            raise ValueError(f"group_names[{number}] = {name!r} is there twice: names must differ")
    if groups is None:
        raise ValueError("group_names are given without groups: give the group of each sample")
    wrong = (groups < -1) | (groups >= len(names))
    if wrong.any():
        sample = int(np.argmax(wrong))
        raise ValueError(
            f"groups[{sample}] = {groups[sample]}: {len(names)} group_names name the groups 0 to "
            f"{len(names) - 1}"
        )
    return tuple(names)


def _checked_groups(groups: Any, samples: int) -> np.ndarray:
    array = np.array(integer_array(groups, "groups"))
    if array.shape != (samples,):
        raise ValueError(f"groups has shape {array.shape}: give one per sample, shape ({samples},)")
    array.setflags(write=False)
    return array
