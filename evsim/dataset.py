"""Dataset: input spikes with the class of each sample; evaluate: a network's results on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.network import Network
from evsim.simulation import check_duration, check_inputs, check_network, simulate
from evsim.spikes import SpikeTrains


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples to train on or to test with.

    Parameters
    ----------
    spikes : SpikeTrains, or a mapping from input population to SpikeTrains
        All inputs with the same number of samples.
    labels : array of int, shape (samples,)
        The class of each sample, >= 0.

    Raises
    ------
    TypeError, ValueError
        For labels that are not one class per sample, and inputs of different lengths.
    """

    spikes: SpikeTrains | Mapping[str, SpikeTrains]
    labels: np.ndarray

    def __post_init__(self) -> None:
        spikes = self.spikes
        if isinstance(spikes, Mapping):
            spikes = dict(spikes)
            object.__setattr__(self, "spikes", spikes)
        sizes = _sample_counts(spikes)
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the inputs differ in their number of samples: {sizes}")
        labels = _checked_labels(self.labels, next(iter(sizes.values())))
        object.__setattr__(self, "labels", labels)

    @classmethod
    def of(cls, data: Dataset | Sequence[Any]) -> Dataset:
        """The dataset itself, or one made of a pair (spikes, labels)."""
        if isinstance(data, Dataset):
            return data
        if isinstance(data, (tuple, list)) and len(data) == 2:
            return cls(*data)
        raise TypeError(
            f"data is of type {type(data).__name__}: give an evsim.Dataset or a pair "
            "(spikes, labels)"
        )

    def __len__(self) -> int:
        """Number of samples."""
        return self.labels.size

    def __getitem__(self, index: int | slice | np.ndarray) -> Dataset:
        """Select samples: an index gives a dataset of one, a slice or an index array several."""
        if isinstance(self.spikes, SpikeTrains):
            spikes: Any = self.spikes[index]
        else:
            spikes = {name: trains[index] for name, trains in self.spikes.items()}
        labels = self.labels[index]
        part = object.__new__(Dataset)
        object.__setattr__(part, "spikes", spikes)
        object.__setattr__(part, "labels", labels if labels.ndim else labels[np.newaxis])
        return part

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array of the dataset by name, for checksums."""
        spikes = self.spikes
        named = {"spikes": spikes} if isinstance(spikes, SpikeTrains) else spikes
        arrays = {"labels": self.labels}
        for name, trains in named.items():
            arrays[f"{name}.times"] = trains.times
            arrays[f"{name}.units"] = trains.units
            arrays[f"{name}.offsets"] = trains.offsets
        return arrays

    def __repr__(self) -> str:
        return f"Dataset({self.spikes!r}, {np.unique(self.labels).size} classes)"


# -- evaluation ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a network does on a dataset.

    ``loss`` is the mean over samples, ``accuracy`` the fraction of right predictions;
    ``losses`` and ``predictions`` have shape (samples,), ``readout`` (samples, units).
    """

    loss: float
    accuracy: float
    losses: np.ndarray
    predictions: np.ndarray
    readout: np.ndarray


def evaluate(
    network: Network,
    data: Dataset | tuple[Any, Any],
    loss: Loss,
    duration: float,
    *,
    engine: str | Engine = "exact",
    batch_size: int = 256,
) -> Evaluation:
    """Run a network on a dataset without learning.

    ``data`` is a Dataset or a pair (spikes, labels); the other arguments are those of
    ``evsim.gradient``.  ``batch_size`` samples run at a time, which changes no result.

    Raises TypeError and ValueError for arguments that do not fit together.
    """
    engine = resolve(engine)
    duration = check_duration(duration)
    batch_size = checked_integer(batch_size, "batch_size", 1)
    data = checked_data(network, data, loss, "data")
    parts = []
    for start in range(0, len(data), batch_size):
        batch = data[start : start + batch_size]
        run = simulate(network, batch.spikes, duration, engine)
        values = run.read(loss.readout)
        parts.append((values, loss(values, batch.labels, duration)[0], loss.predict(values)))
    readout, losses, predictions = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Evaluation(
        loss=float(np.mean(losses)),
        accuracy=float(np.mean(predictions == data.labels)),
        losses=losses,
        predictions=predictions,
        readout=readout,
    )


# -- checks ------------------------------------------------------------------------------


def checked_data(network: Network, data: Any, loss: Loss, argument: str) -> Dataset:
    """The data as a Dataset; refuses what does not fit the network and the loss."""
    check_network(network)
    if not isinstance(loss, Loss):
        raise TypeError(f"loss = {loss!r}: it must be a Loss such as evsim.losses.CrossEntropy()")
    classes = network.population(loss.readout.population_of(network)).units
    try:
        data = Dataset.of(data)
        if len(data) == 0:
            raise ValueError("the dataset is empty: it needs at least one sample")
        check_inputs(network, data.spikes)
        loss.check_labels(data.labels, len(data), classes)
    except (TypeError, ValueError) as error:
        error.add_note(f"in the argument {argument!r}")
        raise
    return data


def checked_integer(value: Any, name: str, minimum: int) -> int:
    """The value as an int; refuses other types and what is below the minimum."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} = {value!r}: it must be an integer")
    if value < minimum:
        raise ValueError(f"{name} = {value}: it must be at least {minimum}")
    return int(value)


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
    array = np.asarray(labels)
    if array.shape != (samples,):
        raise ValueError(f"labels has shape {array.shape}: give one per sample, shape ({samples},)")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"labels has type {array.dtype}: it must hold integers")
    if array.size and array.min() < 0:
        sample = int(np.argmax(array < 0))
        raise ValueError(f"labels[{sample}] = {array[sample]}: classes are counted from 0")
    array = np.array(array, np.int64)
    array.setflags(write=False)
    return array
