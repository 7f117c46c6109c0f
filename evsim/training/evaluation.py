"""evaluate and predict: the results of a network on a dataset, with and without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import check_duration, check_is, checked_count
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset
from evsim.display.short_repr import Brief
from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.metrics import accuracy_by_class, confusion_matrix, unclassified
from evsim.network.checks import check_inputs, check_network
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import Readout
from evsim.simulation.checks import check_is_loss
from evsim.simulation.run import Run, run_checked
from evsim.simulation.silence import warn_of_unreached
from evsim.simulation.units_of_time import warn_of_seconds


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Brief):
    """How well a network does on a dataset.

    ``loss`` is the mean over samples, ``accuracy`` the fraction of correct predictions;
    ``losses`` and ``predictions`` have shape (samples,), ``readout`` (samples, units) or
    (samples, units, ...).  ``accuracy`` and ``predictions`` are None for a loss that does not
    classify.  ``labels`` are those of the dataset, ``classes`` is the number of output units.
    """

    loss: float
    accuracy: float | None
    losses: np.ndarray
    predictions: np.ndarray | None
    readout: np.ndarray
    labels: np.ndarray
    classes: int

    @property
    def confusion(self) -> np.ndarray:
        """Samples of each true class (row) by predicted class, int64, shape (classes, classes)."""
        return confusion_matrix(self.labels, self._classification(), self.classes)

    @property
    def unclassified(self) -> np.ndarray:
        """Samples of each true class without a predicted class, int64, shape (classes,)."""
        return unclassified(self.labels, self._classification(), self.classes)

    @property
    def accuracy_by_class(self) -> np.ndarray:
        """Accuracy on each true class, shape (classes,); NaN for a class without samples."""
        return accuracy_by_class(self.labels, self._classification(), self.classes)

    def _classification(self) -> np.ndarray:
        if self.predictions is None:
            raise ValueError("the loss does not classify: there are no predictions to count")
        return self.predictions


@np.errstate(under="ignore")
@helpful
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
    ``evsim.gradient``.  ``batch_size`` samples are simulated at a time; this changes no result but
    that of a loss whose samples depend on their batch: ``Existence(when="silent-in-batch")``.

    Raises TypeError and ValueError for arguments that do not fit together.
    """
    engine = resolve(engine)
    duration = check_duration(duration)
    batch_size = checked_count(batch_size, "batch_size")
    data = checked_data(network, data, loss, duration)
    loss.check_readouts(network, duration)
    inputs = check_inputs(network, data.spikes)
    warn_of_unreached(network, inputs, duration)
    warn_of_seconds(network, inputs, duration)
    parts = []
    for chosen, run in _runs(network, inputs, duration, engine, batch_size):
        labels = loss.labels_for(network, data.labels[chosen], run.batch_size)
        outcome = loss.evaluate(run, labels)
        outcome.check(loss, run)
        parts.append((outcome.losses, outcome.values, outcome.predictions))
    losses, readout, predictions = zip(*parts, strict=True)
    found = np.concatenate(predictions) if loss.classifies else None
    return Evaluation(
        loss=float(np.mean(np.concatenate(losses))),
        accuracy=None if found is None else float(np.mean(found == data.labels)),
        losses=np.concatenate(losses),
        predictions=found,
        readout=np.concatenate(readout),
        labels=data.labels,
        classes=loss.units_read(network),
    )


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(Brief):
    """The results of a network on samples.

    ``readout`` has shape (samples, units) or (samples, units, ...).  ``predictions`` are the
    classes, int64, shape (samples,), -1 where there is none; None for a readout without a loss,
    and for a loss that does not classify.
    """

    readout: np.ndarray
    predictions: np.ndarray | None


@np.errstate(under="ignore")
@helpful
def predict(
    network: Network,
    data: SpikeTrains | Mapping[str, SpikeTrains] | Dataset | tuple[Any, Any],
    readout: Readout | Loss,
    duration: float,
    *,
    engine: str | Engine = "exact",
    batch_size: int = 256,
) -> Prediction:
    """Run a network on samples whose labels need not be known.

    Parameters
    ----------
    network : Network
    data : SpikeTrains, mapping from input population to SpikeTrains, Dataset or pair
        The labels of a Dataset or of a pair (spikes, labels) are not used.
    readout : Readout or Loss
        What is computed from each trial.  A loss stands for its readout, and also decides the
        classes: ``predictions`` and ``readout`` are those of ``evsim.evaluate``.
    duration : float
        The trial is [0, duration] ms.
    engine : str or Engine
    batch_size : int
        How many samples are simulated at a time; this changes no result.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together.
    """
    check_network(network)
    check_is(readout, "readout", (Readout, Loss), _READOUT)
    engine = resolve(engine)
    duration = check_duration(duration)
    batch_size = checked_count(batch_size, "batch_size")
    loss = readout if isinstance(readout, Loss) else None
    read = readout.readout if isinstance(readout, Loss) else readout
    read.population_of(network)
    inputs = _checked_inputs(network, data)
    samples = len(next(iter(inputs.values())))
    if samples == 0:
        raise ValueError("the data are empty: give at least one sample")
    read.check(duration, min(samples, batch_size))
    warn_of_unreached(network, inputs, duration)
    warn_of_seconds(network, inputs, duration)
    values = np.concatenate(
        [
            run.read(read) if loss is None else loss.readout_values(run)
            for _, run in _runs(network, inputs, duration, engine, batch_size)
        ]
    )
    if loss is None or not loss.classifies:
        return Prediction(values, None)
    return Prediction(values, loss.predict(values))


_READOUT = "give a readout such as evsim.readouts.Peak(), or a loss"


def _checked_inputs(network: Network, data: Any) -> dict[str, SpikeTrains]:
    """The spikes of each input, from data that may have labels too."""
    spikes = data.spikes if isinstance(data, Dataset) else data
    if isinstance(data, tuple) and len(data) == 2:
        spikes = data[0]
    check_is(spikes, "data", (SpikeTrains, Mapping), _DATA)
    try:
        return check_inputs(network, spikes)
    except (TypeError, ValueError) as error:
        error.args = (f"data: {error}",)
        raise


_DATA = "give SpikeTrains, a mapping from each input to its SpikeTrains, or a Dataset"


def _runs(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    engine: Engine,
    batch_size: int,
) -> Iterator[tuple[slice, Run]]:
    """The simulation of each batch in turn, and the samples in it."""
    samples = len(next(iter(inputs.values())))
    for start in range(0, samples, batch_size):
        chosen = slice(start, start + batch_size)
        batch = {name: trains[chosen] for name, trains in inputs.items()}
        yield chosen, run_checked(network, batch, duration, engine)


def checked_data(
    network: Network, data: Any, loss: Loss, duration: float, which: str = ""
) -> Dataset:
    """The data as a Dataset; data that do not fit the network, loss and trial are refused.

    ``which`` names the data in messages, such as "validation".
    """
    check_network(network)
    check_is_loss(loss)
    loss.check_readouts(network, duration)
    try:
        dataset = Dataset.of(data)
        if len(dataset) == 0:
            raise ValueError("the dataset is empty: it needs at least one sample")
        check_inputs(network, dataset.spikes)
        loss.check_in_trial(loss.labels_for(network, dataset.labels, len(dataset)), duration)
    except (TypeError, ValueError) as error:
        if which:
            error.args = (f"{which} data: {error}",)
        raise
    return dataset
