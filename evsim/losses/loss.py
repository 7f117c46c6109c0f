"""What every loss is, what it returns, and weighted sums of losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import (
    check_is,
    check_number,
    checked_count,
    integer_array,
    is_integer,
    listed,
    refuse_masked,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.readouts import ReadableRun, Readout
from evsim.readouts.base import ReadoutCotangents


@dataclass(frozen=True, eq=False, repr=False)
class Outcome(Brief):
    """What a loss computes from a simulated batch.

    Parameters
    ----------
    losses : array, shape (batch,)
    values : array, shape (batch, units) or (batch, units, ...)
        The values that the loss shows.
    predictions : array of int64, shape (batch,), or None
        None for a loss that does not classify.
    readout : Readout
        The readout through which the gradient is computed.
    cotangents : array
        The derivative of each sample's loss with respect to the readout, in the shape of its
        values.
    spike_slopes : array or None
        The derivative of each sample's loss with respect to each spike time of the readout's
        population, shape (events,), where that is not in the readout's own derivative.
    further : tuple of ReadoutCotangents
        The other readouts of a loss of several readouts, with their cotangents.
    """

    losses: NDArray[np.float64]
    values: NDArray[np.float64]
    predictions: NDArray[np.int64] | None
    readout: Readout
    cotangents: NDArray[np.float64]
    spike_slopes: NDArray[np.float64] | None = None
    further: tuple[ReadoutCotangents, ...] = ()

    @property
    def parts(self) -> tuple[ReadoutCotangents, ...]:
        """All readouts through which the gradient is computed, with their cotangents."""
        main = ReadoutCotangents(self.readout, self.cotangents, self.spike_slopes)
        return (main, *self.further)

    def check(self, loss: Loss, run: ReadableRun) -> None:
        """Refuse arrays of other shapes, which NumPy would broadcast silently."""
        expected: list[tuple[str, Any, tuple[int, ...]]] = [
            ("losses", self.losses, (run.batch_size,))
        ]
        for part in self.parts:
            name = part.readout.population_of(run.network)
            units = run.network.population(name).units
            shape = part.readout.shape(run.batch_size, units)
            expected.append(("derivative", part.cotangents, shape))
            if part.spike_slopes is not None:
                events = (int(run.spike_counts[name].sum()),)
                expected.append(("spike_slopes", part.spike_slopes, events))
        for what, array, shape in expected:
            refuse_masked(array, f"the {what} of {type(loss).__name__}")
            if np.shape(array) != shape or not isinstance(array, np.ndarray):
                raise ValueError(
                    f"the {what} of {type(loss).__name__} are of type {type(array).__name__} and "
                    f"shape {np.shape(array)}: they must be an array of shape {shape}; "
                    "evsim.testing.check_loss looks for more"
                )

    def check_derivative(self, loss: Loss, run: ReadableRun) -> None:
        """Refuse a derivative that is not finite if the loss is finite.

        The gradient would be NaN although the loss looks right.
        """
        for part in self.parts:
            samples = part.readout.samples(run.batch_size)
            self._check_finite(loss, part.cotangents, samples)
            if part.spike_slopes is not None:
                spikes = run.spikes[part.readout.population_of(run.network)]
                self._check_finite(loss, part.spike_slopes, spikes.samples)

    def _check_finite(
        self, loss: Loss, array: NDArray[np.float64], samples: NDArray[np.int64]
    ) -> None:
        """Refuse the first row that is not finite; ``samples`` has the sample of each row."""
        if np.isfinite(array).all():
            return
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


class Loss(ABC):
    """A differentiable function of one readout.

    Subclasses have a ``readout`` and are called with its ``values``, of shape (batch, units)
    or (batch, units, ...), the ``labels`` of the batch and the trial's ``duration`` in ms.
    They return the loss of each sample, shape (batch,), and its derivative with respect to
    ``values``, in their shape.

    ``classifies`` says whether labels are classes, int of shape (batch,).  A loss with other
    targets sets it to False and overrides ``check_labels``.

    Losses can be added and multiplied by numbers: ``first + 0.5 * second`` is a loss, see
    ``evsim.losses.WeightedSum``.
    """

    readout: Readout
    classifies: ClassVar[bool] = True

    def evaluate(self, run: ReadableRun, labels: NDArray[Any]) -> Outcome:
        """The loss of a simulated batch, and what its gradient is computed from."""
        values = self.readout_values(run)
        losses, derivative = self(values, labels, run.duration)
        predictions = self.predict(values) if self.classifies else None
        return Outcome(losses, values, predictions, self.readout, derivative)

    def readout_values(self, run: ReadableRun) -> NDArray[np.float64]:
        """The values that the loss shows for a simulated batch, and from which it predicts.

        They do not depend on labels; ``Outcome.values`` are the same.
        """
        return run.read(self.readout)

    @abstractmethod
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of each sample and its derivative with respect to each value."""

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The predicted class of each sample, int64, shape (batch,); -1 for none."""
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

    def units_read(self, network: Network) -> int:
        """The number of units of the population that is read: of the classes, if there are any."""
        return network.population(self.readout.population_of(network)).units

    def labels_for(
        self, network: Network, labels: Sequence[Any] | NDArray[Any], batch_size: int
    ) -> Any:
        """The labels of a batch as ``evaluate`` takes them; refuses those that do not fit."""
        return self.check_labels(labels, batch_size, self.units_read(network))

    def check_readouts(
        self, network: Network, duration: float, batch_size: int | None = None
    ) -> None:
        """Refuse a network that lacks what is read, and trials or batches that do not fit."""
        self.readout.population_of(network)
        self.readout.check(duration, batch_size)

    def check_in_trial(self, labels: NDArray[Any], duration: float) -> None:
        """Refuse labels that a trial of ``duration`` ms cannot reach; most losses have none."""
        return

    # -- sums -------------------------------------------------------------------------------

    def __add__(self, other: Loss) -> Loss:
        if not isinstance(other, Loss):
            return NotImplemented
        return WeightedSum((*terms_of(self), *terms_of(other)))

    def __radd__(self, other: Any) -> Loss:
        # ``sum(losses)`` begins with 0.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: Loss) -> Loss:
        return self + -1.0 * other if isinstance(other, Loss) else NotImplemented

    def __mul__(self, factor: float) -> Loss:
        if not (is_integer(factor) or isinstance(factor, (float, np.floating))):
            return NotImplemented
        return WeightedSum(tuple((factor * weight, term) for weight, term in terms_of(self)))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Loss:
        if not (is_integer(divisor) or isinstance(divisor, (float, np.floating))):
            return NotImplemented
        return self * (1.0 / divisor)

    def __neg__(self) -> Loss:
        return -1.0 * self


@helpful
@dataclass(frozen=True, repr=False)
class WeightedSum(Loss):
    """A weighted sum of losses, made by ``first + 0.5 * second``.

    The terms may read different quantities of different populations, hidden ones too.  Every term
    receives the same labels and checks them.  Predictions and values are those of the first term
    that classifies; if none does, values are those of the first term.

    Parameters
    ----------
    terms : tuple of (weight, Loss)
        Weights are finite numbers.
    """

    terms: tuple[tuple[float, Loss], ...]

    def __post_init__(self) -> None:
        terms = listed(self.terms, "terms", "give pairs (weight, loss)")
        if not terms:
            raise ValueError("the sum has no terms: give at least one pair (weight, loss)")
        checked = []
        for place, pair in enumerate(terms):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(f"terms[{place}] = {shown(pair)}: give a pair (weight, loss)")
            weight, term = pair
            check_number(weight, "the weight of a loss")
            if not np.isfinite(weight):
                raise ValueError(f"the weight of {term!r} is {weight}: it must be finite")
            check_is(term, f"terms[{place}][1]", Loss, "give a loss")
            checked.append((float(weight), term))
        object.__setattr__(self, "terms", tuple(checked))

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {term!r}" for weight, term in self.terms)

    @property
    def main(self) -> int:
        """The index of the term whose values and predictions are shown."""
        return next((i for i, (_, term) in enumerate(self.terms) if term.classifies), 0)

    @property
    def readout(self) -> Readout:  # type: ignore[override]
        """What the main term reads."""
        return self.terms[self.main][1].readout

    def readout_values(self, run: ReadableRun) -> NDArray[np.float64]:
        """The values that the main term shows."""
        return self.terms[self.main][1].readout_values(run)

    @property
    def classifies(self) -> bool:  # type: ignore[override]
        """Whether any of the terms does."""
        return any(term.classifies for _, term in self.terms)

    @np.errstate(under="ignore")
    def evaluate(self, run: ReadableRun, labels: Any) -> Outcome:
        """The sum for a simulated batch; ``labels`` are those that ``check_labels`` returned."""
        outcomes = [
            term.evaluate(run, of_term)
            for (_, term), of_term in zip(self.terms, labels, strict=True)
        ]
        for (_, term), outcome in zip(self.terms, outcomes, strict=True):
            outcome.check(term, run)
            outcome.check_derivative(term, run)
        parts = [
            part.scaled(weight)
            for (weight, _), outcome in zip(self.terms, outcomes, strict=True)
            for part in outcome.parts
        ]
        weights, main = [weight for weight, _ in self.terms], outcomes[self.main]
        return Outcome(
            losses=np.sum([w * o.losses for w, o in zip(weights, outcomes, strict=True)], axis=0),
            values=main.values,
            predictions=main.predictions,
            readout=parts[0].readout,
            cotangents=parts[0].cotangents,
            spike_slopes=parts[0].spike_slopes,
            further=tuple(parts[1:]),
        )

    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        raise TypeError(
            "a sum of losses is a function of several readouts: use evaluate(run, labels)"
        )

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The classes that the main term predicts."""
        return self.terms[self.main][1].predict(values)

    def labels_for(self, network: Network, labels: Any, batch_size: int) -> Any:
        """The checked labels of each term, as a tuple."""
        checked = []
        for _, term in self.terms:
            try:
                checked.append(term.labels_for(network, labels, batch_size))
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                told = (
                    f"{error}; labels are given to every term of the sum, and this one is {term!r}"
                )
                raise kind(told) from error
        return tuple(checked)

    def check_readouts(
        self, network: Network, duration: float, batch_size: int | None = None
    ) -> None:
        for _, term in self.terms:
            term.check_readouts(network, duration, batch_size)

    def check_in_trial(self, labels: Any, duration: float) -> None:
        for (_, term), of_term in zip(self.terms, labels, strict=True):
            term.check_in_trial(of_term, duration)


def terms_of(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    """The terms of a sum of losses, or a loss as the only one, with their weights."""
    return loss.terms if isinstance(loss, WeightedSum) else ((1.0, loss),)
