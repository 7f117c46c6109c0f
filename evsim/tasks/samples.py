"""The samples of tasks whose data are files: where they lie, and which of them are taken."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset


@dataclass(frozen=True)
class DataSettings:
    """Where the data of a task come from, and which of them are taken."""

    data: Path | None = None
    """Folder with the files of the data set; if not given that of the environment variable
    EVSIM_DATA, else evsim's cache."""

    classes: tuple[int, ...] | None = None
    """Only samples of these classes, which the outputs then stand for in this order; if not
    given all."""

    train_size: int | None = None
    """Training samples, drawn evenly from all classes; if not given all."""

    test_size: int | None = None
    """Test samples, drawn evenly from all classes; if not given all."""

    data_seed: int = 0
    """Seed of which samples are drawn; runs with different seeds see the same samples unless it
    is changed."""

    def check_samples(self, class_count: int) -> None:
        """Refuse classes that there are not."""
        if self.classes is None:
            return
        for label in self.classes:
            if not 0 <= label < class_count:
                raise ValueError(f"classes names {label}: there are 0 to {class_count - 1}")
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes = {self.classes}: give at least two, each once")

    def chosen_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Of the names of all classes those of the outputs."""
        return names if self.classes is None else tuple(names[label] for label in self.classes)


def only_classes(data: Dataset, classes: tuple[int, ...] | None) -> Dataset:
    """The samples of some classes, numbered from 0 in the order given; all samples for None."""
    if classes is None:
        return data
    chosen = data[np.flatnonzero(np.isin(data.labels, classes))]
    number = np.full(max(classes) + 1, -1)
    number[list(classes)] = np.arange(len(classes))
    return replace(chosen, labels=number[chosen.labels])


def drawn(data: Dataset, size: int | None, name: str, seed: int) -> Dataset:
    """So many samples of a dataset, drawn evenly from its classes; all of them for None.

    ``name`` is that of the samples, such as "train"; each has its own random stream.
    """
    return data if size is None else divided(data, size, name, seed)[0]


def divided(data: Dataset, size: int, name: str, seed: int) -> tuple[Dataset, Dataset]:
    """So many samples, drawn evenly from the classes of a dataset, and the others."""
    if size > len(data):
        raise ValueError(f"{name}_size = {size}: there are only {len(data)} samples")
    stream = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))
    order = np.random.default_rng(stream).permutation(len(data))
    by_class = order[np.argsort(data.labels[order], kind="stable")]
    counts = np.unique(data.labels, return_counts=True)[1]
    # Each class its share rounded down, and what is left to those that lost most by it.
    shares = size * counts
    wanted = shares // len(data)
    wanted[np.argsort(-(shares % len(data)), kind="stable")[: size - wanted.sum()]] += 1
    place = np.concatenate([np.arange(count) for count in counts])
    taken = np.zeros(len(data), bool)
    taken[by_class[place < np.repeat(wanted, counts)]] = True
    return data[np.flatnonzero(taken)], data[np.flatnonzero(~taken)]
