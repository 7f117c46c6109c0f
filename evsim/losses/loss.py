"""What every loss is, and the targets of those that do not classify."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import (
    check_is,
    checked_count,
    integer_array,
    listed,
    real_array,
    refuse_masked,
)
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.readouts import ReadableRun, Readout


@dataclass(frozen=True, eq=False, repr=False)
class Outcome(Brief):
    """What a loss makes of a simulated batch.

    Parameters
    ----------
    losses : array, shape (batch,)
    values : array, shape (batch, units) or (batch, units, ...)
        What the loss shows of what it has read.
    predictions : array of int64, shape (batch,), or None
        None for a loss that does not classify.
    readout : Readout
        What the gradient goes through.
    cotangents : array
        The derivative of each sample's loss with respect to the readout, in the shape of its
        values.
    spike_slopes : array or None
        The derivative of each sample's loss with respect to each spike time of the readout's
        population, shape (events,), where that is not in the readout's own derivative.
    """

    losses: NDArray[np.float64]
    values: NDArray[np.float64]
    predictions: NDArray[np.int64] | None
    readout: Readout
    cotangents: NDArray[np.float64]
    spike_slopes: NDArray[np.float64] | None = None

    def check(self, loss: Loss, run: ReadableRun) -> None:
        """Refuse arrays of other shapes, which NumPy would broadcast without a word."""
        name = self.readout.population_of(run.network)
        units = run.network.population(name).units
        expected = {
            "losses": (self.losses, (run.batch_size,)),
            "derivative": (self.cotangents, self.readout.shape(run.batch_size, units)),
        }
        if self.spike_slopes is not None:
            expected["spike_slopes"] = self.spike_slopes, (int(run.spike_counts[name].sum()),)
        for what, (array, shape) in expected.items():
            refuse_masked(array, f"the {what} of {type(loss).__name__}")
            if np.shape(array) != shape or not isinstance(array, np.ndarray):
                raise ValueError(
                    f"the {what} of {type(loss).__name__} are of type {type(array).__name__} and "
                    f"shape {np.shape(array)}: they must be an array of shape {shape}; "
                    "evsim.testing.check_loss looks for more"
                )

    def check_derivative(self, loss: Loss, run: ReadableRun) -> None:
        """Refuse a derivative that is no finite number beside a loss that is one.

        It would make the gradient NaN while the loss looks well.
        """
        owners = self.readout.samples(run.batch_size), self._samples_of_spikes(run)
        parts = zip((self.cotangents, self.spike_slopes), owners, strict=True)
        for array, samples in parts:
            if array is None or np.isfinite(array).all():
                continue
            rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
            wrong = ~rows & np.isfinite(self.losses[samples])
            if wrong.any():
                row = int(np.argmax(wrong))
                values = array[row].ravel()
                raise FloatingPointError(
                    f"the derivative of {type(loss).__name__} in sample {samples[row]} is "
                    f"{values[~np.isfinite(values)][0]}, though its loss is "
                    f"{self.losses[samples[row]]:g}: every derivative must be finite; "
                    "evsim.testing.check_loss compares it with differences"
                )

    def _samples_of_spikes(self, run: ReadableRun) -> NDArray[np.int64]:
        if self.spike_slopes is None:
            return np.empty(0, np.int64)
        return run.spikes[self.readout.population_of(run.network)].samples


class Loss(ABC):
    """A differentiable function of one readout.

    Subclasses have a ``readout`` and are called with its ``values``, of shape (batch, units)
    or (batch, units, ...), the ``labels`` of the batch and the trial's ``duration`` in ms.
    They return the loss of each sample, shape (batch,), and its derivative with respect to
    ``values``, in their shape.

    ``classifies`` says whether labels are classes, int of shape (batch,).  A loss with other
    targets sets it to False and overrides ``check_labels``.
    """

    readout: Readout
    classifies: ClassVar[bool] = True

    def evaluate(self, run: ReadableRun, labels: NDArray[Any]) -> Outcome:
        """The loss of a simulated batch, and what the gradient goes through."""
        values = self.readout_values(run)
        losses, derivative = self(values, labels, run.duration)
        predictions = self.predict(values) if self.classifies else None
        return Outcome(losses, values, predictions, self.readout, derivative)

    def readout_values(self, run: ReadableRun) -> NDArray[np.float64]:
        """The values that the loss shows of a simulated batch, and from which it predicts.

        They need no labels; ``Outcome.values`` are the same.
        """
        return run.read(self.readout)

    @abstractmethod
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample and its derivative with respect to each value."""

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The class each sample is put in, int64, shape (batch,); -1 for none."""
        classes: NDArray[np.int64] = np.argmax(values, axis=1)
        return classes

    def check_labels(
        self, labels: Sequence[Any] | NDArray[Any], batch_size: int, classes: int
    ) -> NDArray[Any]:
        """The labels as int64, shape (batch,); refuses those that do not fit.

        ``classes`` is the number of units of the readout's population.
        """
        batch_size = checked_count(batch_size, "batch_size", 0)
        classes = checked_count(classes, "classes")
        array = integer_array(labels, "labels")
        if array.shape != (batch_size,):
            raise ValueError(
                f"labels has shape {array.shape}: give one per sample, shape ({batch_size},)"
            )
        wrong = (array < 0) | (array >= classes)
        if wrong.any():
            sample = int(np.argmax(wrong))
            raise ValueError(
                f"labels[{sample}] = {array[sample]}: with {classes} output units labels are "
                f"0 to {classes - 1}"
            )
        return array

    def check_in_trial(self, labels: NDArray[Any], duration: float) -> None:
        """Refuse labels that a trial of ``duration`` ms cannot reach; most losses have none."""
        return


_SHAPE = "give a tuple of integers"


@helpful
def check_targets(
    labels: Sequence[Any] | NDArray[Any], shape: tuple[int, ...], axes: str, unit: str = ""
) -> NDArray[np.float64]:
    """Targets as float64 of that shape, NaN where there is none; refuses those that do not fit.

    Masked targets are none.
    ``axes`` says in words what the shape is, ``unit`` what the targets are given in.
    """
    shape = tuple(checked_count(n, "an entry of shape", 0) for n in listed(shape, "shape", _SHAPE))
    for name, text in (("axes", axes), ("unit", unit)):
        check_is(text, name, str, "give words")
    array = real_array(labels, "labels", "targets, numbers", masked=np.nan)
    if array.shape != shape:
        raise ValueError(
            f"labels has shape {array.shape}: give the targets as {axes}, shape {shape}, "
            "with NaN where there is none"
        )
    array = array.astype(np.float64)
    infinite = np.isinf(array)
    if infinite.any():
        index = np.unravel_index(int(np.argmax(infinite)), shape)
        raise ValueError(
            f"labels[{', '.join(map(str, index))}] = {array[index]}{unit}: a target must be "
            "finite, or NaN for none"
        )
    return array
