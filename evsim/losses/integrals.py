"""Losses that integrate a function of V(t) over the trial.

L is Nowotny, Turner and Knight, loss shaping with EventProp.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.keywords import helpful
from evsim.losses.loss import Loss, Outcome
from evsim.losses.voltages import cross_entropy
from evsim.readouts import Mean, ReadableRun, VoltageAt, VoltageTrace
from evsim.readouts.integration import Integral


@dataclass(frozen=True)
class IntegralLoss(Loss):
    """``(1/T) * integral of a function of V(t) dt`` over the trial.

    Subclasses define the function as ``integrand``.  It should be smooth in V, but it may be steep,
    because the integration is adaptive.

    Parameters
    ----------
    readout : VoltageTrace
        Which population is read, and to what tolerance.
    """

    readout: VoltageTrace = field(default_factory=VoltageTrace)

    def __post_init__(self) -> None:
        if not isinstance(self.readout, VoltageTrace):
            raise ValueError(
                f"{type(self).__name__} needs the readout VoltageTrace, not {self.readout}: "
                "it integrates over the trial"
            )

    @abstractmethod
    def integrand(
        self, voltages: NDArray[np.float64], labels: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The function of V, shape (times,), and its derivative, shape (times, units).

        ``voltages`` has shape (times, units); ``labels`` has, for each time, the label of its
        sample, shape (times,) for classes.
        """

    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        raise TypeError(
            f"{type(self).__name__} is an integral over the trial and no function of a few "
            "values: use evaluate(run, labels)"
        )

    @np.errstate(under="ignore")
    def evaluate(self, run: ReadableRun, labels: NDArray[Any]) -> Outcome:
        integral = self.readout.integrate(
            run, lambda voltages, samples: self.integrand(voltages, labels[samples])
        )
        values = self.summary(run, labels, integral)
        jumps = integral.spike_time_gradient
        return Outcome(
            losses=integral.values / run.duration,
            values=values,
            predictions=self.predict(values) if self.classifies else None,
            readout=VoltageAt(integral.nodes, population=self.readout.population),
            cotangents=(integral.weights / run.duration)[:, None] * integral.derivative,
            spike_slopes=None if jumps is None else jumps / run.duration,
        )

    def summary(
        self, run: ReadableRun, labels: NDArray[Any], integral: Integral
    ) -> NDArray[np.float64]:
        """The values that are shown and decide the class, shape (batch, units): the mean of V."""
        return self.readout_values(run)

    def readout_values(self, run: ReadableRun) -> NDArray[np.float64]:
        """The same without labels; a subclass with another ``summary`` overrides this too."""
        if type(self).summary is not IntegralLoss.summary:
            raise TypeError(
                f"{type(self).__name__} overrides summary, which is given labels: override "
                "readout_values too, which shows the same without them"
            )
        return run.read(Mean(population=self.readout.population))


@helpful
@dataclass(frozen=True)
class TimeAveragedCrossEntropy(IntegralLoss):
    """``(1/T) * integral of -log softmax(V(t))_c dt`` for the true class c (L 1, without 1/T).

    Its values are the time averages of the classes' probabilities; it predicts the class with the
    largest one.
    """

    def integrand(
        self, voltages: NDArray[np.float64], labels: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return cross_entropy(voltages, labels)

    def readout_values(self, run: ReadableRun) -> NDArray[np.float64]:
        # The probabilities are the same for every label, to the tolerance of the readout.
        return self.evaluate(run, np.zeros(run.batch_size, np.int64)).values

    def summary(
        self, run: ReadableRun, labels: NDArray[Any], integral: Integral
    ) -> NDArray[np.float64]:
        """Time average of each class's probability: this is the derivative, plus 1 for c."""
        probabilities = integral.derivative_values / run.duration
        probabilities[np.arange(labels.size), labels] += 1.0
        return probabilities
