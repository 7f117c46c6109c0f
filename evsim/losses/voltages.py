"""Losses of voltages: softmax cross-entropy, and distance from targets.

L is Nowotny, Turner and Knight, loss shaping with EventProp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_number, shown
from evsim.arguments.keywords import helpful
from evsim.losses.loss import Loss
from evsim.losses.targets import check_targets
from evsim.readouts import Mean, Peak, Readout, Voltage
from evsim.storage.description import ADDED_LATER


@helpful
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy of a voltage readout (L 2, 5 with ``Mean``; L 29 with ``Peak``).

    Parameters
    ----------
    readout : Mean, Peak or Voltage
        ``Mean`` reads LI or LIF units, with any of its weightings; ``Voltage`` reads one time.
    label_smoothing : float
        s in [0, 1).  Of K classes, the true one should have the probability 1 - s + s/K, the others
        s/K each (Szegedy et al., *Rethinking the inception architecture for computer vision*, 2016,
        section 7).  The default 0 is the plain cross-entropy.
    """

    readout: Readout = Mean()
    label_smoothing: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if not isinstance(self.readout, (Mean, Peak, Voltage)):
            raise ValueError(
                f"CrossEntropy needs a voltage readout, Mean, Peak or Voltage, not "
                f"{self.readout!r}: for spike times use FirstSpikeCrossEntropy"
            )
        if isinstance(self.readout, Voltage) and len(self.readout.times) != 1:
            raise ValueError(
                f"CrossEntropy reads {len(self.readout.times)} times: give one, Voltage([20.0])"
            )
        _check_label_smoothing(self.label_smoothing)

    @np.errstate(under="ignore")
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        losses, derivative = cross_entropy(
            self._one_each(values), labels, label_smoothing=self.label_smoothing
        )
        return losses, derivative.reshape(values.shape)

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The class of the largest value."""
        return super().predict(self._one_each(values))

    def _one_each(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values, one per unit, (batch, units); those of ``Voltage`` have an axis of times."""
        return values[:, :, 0] if isinstance(self.readout, Voltage) else values


@helpful
@dataclass(frozen=True)
class VoltageMSE(Loss):
    """Half the sum of squared errors of V at given times, ``1/2 sum (V(t) - target)^2``.

    The labels are the targets, float of shape (batch, units, times), NaN where there is none.

    Parameters
    ----------
    readout : Voltage
        States the times, such as ``Voltage([10.0, 20.0])``.
    """

    readout: Voltage

    classifies: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.readout, Voltage):
            raise ValueError(
                f"VoltageMSE needs the readout Voltage, not {self.readout}: say at which times, "
                "VoltageMSE(Voltage([10.0, 20.0]))"
            )

    @np.errstate(under="ignore")
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        errors = np.where(np.isnan(labels), 0.0, values - labels)
        return 0.5 * np.sum(errors**2, axis=(1, 2)), errors

    def check_labels(
        self, labels: Sequence[Any] | NDArray[Any], batch_size: int, classes: int
    ) -> NDArray[Any]:
        """The targets as float64, (batch, units, times); refuses those that do not fit."""
        shape = (batch_size, classes, len(self.readout.times))
        return check_targets(labels, shape, "(batch, units, times)")


@np.errstate(under="ignore")
@helpful
def cross_entropy(
    values: NDArray[np.float64], labels: NDArray[np.int64], *, label_smoothing: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``-log softmax(values)_c`` of each row for its class c, and its derivative.

    The derivative is with respect to each value.  Values have shape (rows, classes), labels have
    shape (rows,).  With ``label_smoothing`` s, the loss is 1 - s times that plus s times its mean
    over all classes c.
    """
    _check_label_smoothing(label_smoothing)
    if labels.size and not 0 <= labels.min() <= labels.max() < values.shape[1]:
        raise ValueError(f"labels = {shown(labels)}: give classes from 0 to {values.shape[1] - 1}")
    rows = np.arange(labels.size)
    log_probability = log_softmax(values)
    derivative = np.exp(log_probability)
    derivative[rows, labels] = np.expm1(log_probability[rows, labels])
    losses = -log_probability[rows, labels]
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_probability.mean(axis=1)
        derivative -= label_smoothing / values.shape[1]
        derivative[rows, labels] += label_smoothing
    return losses, derivative


def _check_label_smoothing(label_smoothing: float) -> None:
    check_number(label_smoothing, "label_smoothing")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing = {label_smoothing}: it must be in [0, 1)")


@np.errstate(under="ignore")
@helpful
def log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the softmax over the last axis, accurate to all digits, however close to 0."""
    largest = np.argmax(values, axis=-1, keepdims=True)
    shifted = values - np.take_along_axis(values, largest, axis=-1)
    others = np.exp(shifted)
    np.put_along_axis(others, largest, 0.0, axis=-1)
    total: NDArray[np.float64] = np.log1p(others.sum(axis=-1, keepdims=True))
    return shifted - total
