"""Losses of voltages: softmax cross-entropy, and distance from targets.

L is Nowotny, Turner and Knight, loss shaping with EventProp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.keywords import helpful
from evsim.losses.loss import Loss
from evsim.losses.targets import check_targets
from evsim.readouts import Mean, Peak, Readout, Voltage


@helpful
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy of a voltage readout (L 2, 5 with ``Mean``; L 29 with ``Peak``).

    ``Mean`` is of LI or LIF units, with any of its weightings.
    """

    readout: Readout = Mean()

    def __post_init__(self) -> None:
        if not isinstance(self.readout, (Mean, Peak)):
            raise ValueError(
                f"CrossEntropy needs a voltage readout, Mean or Peak, not {self.readout!r}: "
                "for spike times use FirstSpikeCrossEntropy"
            )

    @np.errstate(under="ignore")
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return cross_entropy(values, labels)


@helpful
@dataclass(frozen=True)
class VoltageMSE(Loss):
    """Half the sum of squared errors of V at given times, ``1/2 sum (V(t) - target)^2``.

    The labels are the targets, float of shape (batch, units, times), NaN where there is none.

    Parameters
    ----------
    readout : Voltage
        Which times, ``Voltage([10.0, 20.0])``.
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
    values: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``-log softmax(values)_c`` of each row for its class c, and its derivative.

    The derivative is with respect to each value.  Values have shape (rows, classes), labels have
    shape (rows,).
    """
    rows = np.arange(labels.size)
    log_probability = log_softmax(values)
    derivative = np.exp(log_probability)
    derivative[rows, labels] = np.expm1(log_probability[rows, labels])
    return -log_probability[rows, labels], derivative


@np.errstate(under="ignore")
@helpful
def log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the softmax over the last axis, to all digits however close to 0 it is."""
    largest = np.argmax(values, axis=-1, keepdims=True)
    shifted = values - np.take_along_axis(values, largest, axis=-1)
    others = np.exp(shifted)
    np.put_along_axis(others, largest, 0.0, axis=-1)
    total: NDArray[np.float64] = np.log1p(others.sum(axis=-1, keepdims=True))
    return shifted - total
