"""Losses: functions of a readout and the labels, with their derivatives.

A loss knows no engine.  Called with the readout's values it returns the loss of each sample
and the derivative of that loss by each value; the batch loss is the mean over samples.
A loss of your own is one such class; ``evsim.testing.check_loss`` checks it.

A silent unit's first spike counts as a spike at the end of the trial in the value.  Only the
true class gets a derivative there; engines turn it into a phantom spike (L section 4.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from evsim.readouts import FirstSpike, Mean, Peak, Readout

if TYPE_CHECKING:
    from evsim.simulation import Run


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a loss makes of a simulated batch.

    Parameters
    ----------
    losses : array, shape (batch,)
    values : array, shape (batch, units) or (batch, units, ...)
        What the loss shows of what it has read.
    predictions : array of int64, shape (batch,), or None
        None for a loss that does not classify.
    readout : Readout
        What is pulled back,
    cotangents : array
        with the derivative of each sample's loss by it, in the shape of its values, and
    spike_slopes : array or None
        by each spike time of the readout's population, shape (events,), where that is not in
        the readout's own derivative.
    """

    losses: np.ndarray
    values: np.ndarray
    predictions: np.ndarray | None
    readout: Readout
    cotangents: np.ndarray
    spike_slopes: np.ndarray | None = None


class Loss(ABC):
    """A differentiable function of one readout.

    Subclasses have a ``readout`` and are called with its ``values``, of shape (batch, units)
    or (batch, units, ...), the ``labels`` of the batch and the trial's ``duration`` in ms.
    They return the loss of each sample, shape (batch,), and its derivative by ``values``, in
    their shape.

    ``classifies`` says whether labels are classes, int of shape (batch,).  A loss with other
    targets sets it to False and overrides ``check_labels``.
    """

    readout: Readout
    classifies: ClassVar[bool] = True

    def evaluate(self, run: Run, labels: np.ndarray) -> Outcome:
        """The loss of a simulated batch, and what is to be pulled back."""
        values = run.read(self.readout)
        losses, derivative = self(values, labels, run.duration)
        predictions = self.predict(values) if self.classifies else None
        return Outcome(losses, values, predictions, self.readout, derivative)

    @abstractmethod
    def __call__(
        self, values: np.ndarray, labels: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each sample and its derivative by each value."""

    def predict(self, values: np.ndarray) -> np.ndarray:
        """The class each sample is put in, int64, shape (batch,); -1 for none."""
        return np.argmax(values, axis=1)

    def check_labels(
        self, labels: Sequence[Any] | np.ndarray, batch_size: int, classes: int
    ) -> np.ndarray:
        """The labels as int64, shape (batch,); refuses those that do not fit.

        ``classes`` is the number of units of the readout's population.
        """
        array = np.asarray(labels)
        if array.shape != (batch_size,):
            raise ValueError(
                f"labels has shape {array.shape}: give one per sample, shape ({batch_size},)"
            )
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"labels has type {array.dtype}: it must hold integers")
        wrong = (array < 0) | (array >= classes)
        if wrong.any():
            sample = int(np.argmax(wrong))
            raise ValueError(
                f"labels[{sample}] = {array[sample]}: with {classes} output units labels are "
                f"0 to {classes - 1}"
            )
        return array.astype(np.int64)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy of a voltage readout (L 2, 5 with ``Mean``; L 29 with ``Peak``)."""

    readout: Readout = Mean()

    def __post_init__(self) -> None:
        if not isinstance(self.readout, (Mean, Peak)):
            raise ValueError(
                f"CrossEntropy needs a voltage readout, Mean or Peak, not {self.readout}: "
                "for spike times use FirstSpikeCrossEntropy"
            )

    def __call__(
        self, values: np.ndarray, labels: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(labels.size)
        log_probability = log_softmax(values)
        derivative = np.exp(log_probability)
        derivative[rows, labels] = np.expm1(log_probability[rows, labels])
        return -log_probability[rows, labels], derivative


@dataclass(frozen=True)
class _FirstSpikeLoss(Loss):
    """Losses of the first spike of each output unit."""

    def __post_init__(self) -> None:
        if not isinstance(self.readout, FirstSpike):
            raise ValueError(
                f"{type(self).__name__} needs the readout FirstSpike, not {self.readout}: "
                "for voltages use CrossEntropy"
            )

    def predict(self, values: np.ndarray) -> np.ndarray:
        """The unit that spikes first; -1 where all are silent."""
        return np.where(np.isfinite(values).any(axis=1), np.argmin(values, axis=1), -1)


@dataclass(frozen=True)
class FirstSpikeCrossEntropy(_FirstSpikeLoss):
    """Cross-entropy of ``softmax(-t/tau0)`` over first spikes t, with a pull to early ones.

    ``-log(exp(-t_c/tau0) / sum_k exp(-t_k/tau0)) + alpha (exp(t_c/tau1) - 1)`` for the true
    class c (W 3; ``L_time`` of L).

    Parameters
    ----------
    tau0, tau1 : float
        In ms, > 0.
    alpha : float
        Not negative.
    readout : FirstSpike
    """

    tau0: float = 0.5
    tau1: float = 6.4
    alpha: float = 3e-3
    readout: FirstSpike = FirstSpike()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tau0", "tau1"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} = {getattr(self, name)} ms: it must be finite and > 0")
        if not 0 <= self.alpha < np.inf:
            raise ValueError(f"alpha = {self.alpha}: it must be finite and >= 0")

    def __call__(
        self, values: np.ndarray, labels: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(labels.size)
        silent = values == np.inf
        times = np.where(silent, duration, values)
        log_probability = log_softmax(-times / self.tau0)
        true_time = times[rows, labels]
        with np.errstate(over="ignore"):
            pull = self.alpha * np.expm1(true_time / self.tau1) if self.alpha else 0.0 * true_time
            slope = self.alpha / self.tau1 * np.exp(true_time / self.tau1) if self.alpha else pull
        overflow = np.isinf(pull) | np.isinf(slope)
        if overflow.any():
            sample = int(np.argmax(overflow))
            raise OverflowError(
                f"alpha exp(t/tau1) overflows in sample {sample}, where the true class spikes at "
                f"{true_time[sample]:g} ms and tau1 = {self.tau1:g} ms: use a larger tau1"
            )
        derivative = np.where(silent, 0.0, -np.exp(log_probability) / self.tau0)
        derivative[rows, labels] = -np.expm1(log_probability[rows, labels]) / self.tau0 + slope
        return pull - log_probability[rows, labels], derivative


@dataclass(frozen=True)
class TimeInvariantMSE(_FirstSpikeLoss):
    """``1/2 sum over k != c of (t_k - t_c - delta)^2`` over first spikes t (D 71).

    The true class c is to spike ``delta`` ms before every other.

    Parameters
    ----------
    delta : float
        In ms, >= 0.
    readout : FirstSpike
    """

    delta: float = 2.0
    readout: FirstSpike = FirstSpike()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.delta < np.inf:
            raise ValueError(f"delta = {self.delta} ms: it must be finite and >= 0")

    def __call__(
        self, values: np.ndarray, labels: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(labels.size)
        silent = values == np.inf
        times = np.where(silent, duration, values)
        derivative = times - times[rows, labels][:, None] - self.delta
        derivative[rows, labels] = 0.0
        losses = 0.5 * np.sum(derivative**2, axis=1)
        derivative[rows, labels] = -derivative.sum(axis=1)
        others = np.ones_like(silent)
        others[rows, labels] = False
        derivative[silent & others] = 0.0
        return losses, derivative


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax over the last axis, to all digits however close to 0 it is."""
    largest = np.argmax(values, axis=-1, keepdims=True)
    shifted = values - np.take_along_axis(values, largest, axis=-1)
    others = np.exp(shifted)
    np.put_along_axis(others, largest, 0.0, axis=-1)
    return shifted - np.log1p(others.sum(axis=-1, keepdims=True))
