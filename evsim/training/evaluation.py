"""evaluate: the loss and the predictions of a network on a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import check_duration, checked_count
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset
from evsim.display.short_repr import Brief
from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.metrics import accuracy_by_class, confusion_matrix, unclassified
from evsim.network.checks import check_inputs, check_network
from evsim.network.network import Network
from evsim.simulation.checks import check_is_loss
from evsim.simulation.run import run_checked
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
    ``evsim.gradient``.  ``batch_size`` samples are simulated at a time; this changes no result.

    Raises TypeError and ValueError for arguments that do not fit together.
    """
    engine = resolve(engine)
    duration = check_duration(duration)
    batch_size = checked_count(batch_size, "batch_size")
    data = checked_data(network, data, loss, duration)
    loss.readout.check(duration)
    classes = _units_read(network, loss)
    inputs = check_inputs(network, data.spikes)
    warn_of_unreached(network, inputs, duration)
    warn_of_seconds(network, inputs, duration)
    parts = []
    for start in range(0, len(data), batch_size):
        batch = data[start : start + batch_size]
        run = run_checked(network, check_inputs(network, batch.spikes), duration, engine)
        labels = loss.check_labels(batch.labels, len(batch), classes)
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
        classes=classes,
    )


def checked_data(
    network: Network, data: Any, loss: Loss, duration: float, which: str = ""
) -> Dataset:
    """The data as a Dataset; data that do not fit the network, loss and trial are refused.

    ``which`` names the data in messages, such as "validation".
    """
    check_network(network)
    check_is_loss(loss)
    classes = _units_read(network, loss)
    try:
        dataset = Dataset.of(data)
        if len(dataset) == 0:
            raise ValueError("the dataset is empty: it needs at least one sample")
        check_inputs(network, dataset.spikes)
        loss.check_in_trial(loss.check_labels(dataset.labels, len(dataset), classes), duration)
    except (TypeError, ValueError) as error:
        if which:
            error.args = (f"{which} data: {error}",)
        raise
    return dataset


def _units_read(network: Network, loss: Loss) -> int:
    return network.population(loss.readout.population_of(network)).units
