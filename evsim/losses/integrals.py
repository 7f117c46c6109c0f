"""Losses that integrate a function of V(t) over the trial."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.losses.loss import Loss, Outcome
from evsim.losses.voltages import cross_entropy
from evsim.network.populations import LIF
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.integration import Integral, integrate
from evsim.readouts.readouts import Mean, Moments, VoltageAt, VoltageTrace

if TYPE_CHECKING:
    from evsim.simulation.run import Run


@dataclass(frozen=True)
class IntegralLoss(Loss):
    """``(1/T) * integral of a function of V(t) dt`` over the trial.

    Subclasses say which function with ``integrand``.  It is to be smooth in V; the integral is
    adaptive, and so it may be steep.

    Parameters
    ----------
    readout : VoltageTrace
        Of which population, and to what tolerance.
    """

    readout: VoltageTrace = field(default_factory=VoltageTrace)

    def __post_init__(self) -> None:
        if not isinstance(self.readout, VoltageTrace):
            raise ValueError(
                f"{type(self).__name__} needs the readout VoltageTrace, not {self.readout}: "
                "it integrates over the trial"
            )

    @abstractmethod
    def integrand(self, voltages: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The function of V, shape (moments,), and its derivative, shape (moments, units).

        ``voltages`` has shape (moments, units), ``labels`` has that of its sample for each
        moment, shape (moments,) for classes.
        """

    def __call__(
        self, values: np.ndarray, labels: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        raise TypeError(
            f"{type(self).__name__} is an integral over the trial and no function of a few "
            "values: use evaluate(run, labels)"
        )

    @np.errstate(under="ignore")
    def evaluate(self, run: Run, labels: np.ndarray) -> Outcome:
        population = self.readout.population_of(run.network)
        integral = integrate(
            run,
            population,
            lambda voltages, samples: self.integrand(voltages, labels[samples]),
            self.readout.tolerance,
        )
        values = self.summary(run, labels, integral)
        return Outcome(
            losses=integral.values / run.duration,
            values=values,
            predictions=self.predict(values) if self.classifies else None,
            readout=VoltageAt(integral.moments, population=population),
            cotangents=(integral.weights / run.duration)[:, None] * integral.derivative,
            spike_slopes=self._spike_slopes(run, population, labels),
        )

    def summary(self, run: Run, labels: np.ndarray, integral: Integral) -> np.ndarray:
        """What is shown of the trial and decides its class, shape (batch, units): the mean of V."""
        return run.read(Mean(population=self.readout.population_of(run.network)))

    def _spike_slopes(self, run: Run, name: str, labels: np.ndarray) -> np.ndarray | None:
        """l_V- - l_V+ at each spike, where V goes from the threshold to 0 (D Table 1).

        Units that spike at one instant are taken one after the other, in both orders, so that
        their sum is what moving all of them does.
        """
        population = run.network.population(name)
        if not isinstance(population, LIF):
            return None
        spikes = run.spikes[name]
        voltages, _ = run.probe(name, Moments(spikes.times, spikes.offsets))
        thresholds = np.broadcast_to(population.threshold, population.units)
        own, units = spikes.units[:, None], np.arange(population.units)
        labels = labels[spikes.samples]

        def difference(yet_to_spike: np.ndarray) -> np.ndarray:
            around = np.where(yet_to_spike, thresholds, voltages)
            before, _ = self.integrand(np.where(units == own, thresholds, around), labels)
            after, _ = self.integrand(np.where(units == own, 0.0, around), labels)
            return before - after

        together = _spiking_together(spikes)
        both_orders = difference(together & (units > own)) + difference(together & (units < own))
        return both_orders / (2 * run.duration)


def _spiking_together(spikes: SpikeTrains) -> np.ndarray:
    """Which units spike at the instant of each spike, shape (events, units)."""
    starts = np.append(True, (np.diff(spikes.times) != 0) | (np.diff(spikes.samples) != 0))
    instant = np.cumsum(starts[: spikes.times.size]) - 1
    spiking = np.zeros((spikes.times.size, spikes.unit_count), bool)
    spiking[instant, spikes.units] = True
    return spiking[instant]


@helpful
@dataclass(frozen=True)
class TimeAveragedCrossEntropy(IntegralLoss):
    """``(1/T) * integral of -log softmax(V(t))_c dt`` for the true class c (L 1, without 1/T).

    It shows the time averages of the classes' probabilities, and predicts the largest.
    """

    def integrand(self, voltages: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return cross_entropy(voltages, labels)

    def summary(self, run: Run, labels: np.ndarray, integral: Integral) -> np.ndarray:
        """Time average of each class's probability: the derivative is that, less 1 for c."""
        probabilities = integral.derivative_values / run.duration
        probabilities[np.arange(labels.size), labels] += 1.0
        return probabilities
