"""check_loss accepts every loss of the library, and names what is wrong with other losses."""

from dataclasses import dataclass

import numpy as np
import pytest

from evsim import losses
from evsim.readouts import Mean, Peak, Readout, SampleTimes, SpikeTimes, Voltage, VoltageAt
from evsim.testing import check_loss, differentiate

GENERATOR = np.random.default_rng(0)
SPIKE_TARGETS = np.where(
    GENERATOR.random((6, 3, 3)) < 0.2, np.nan, GENERATOR.uniform(0.0, 20.0, (6, 3, 3))
)
VOLTAGE_TARGETS = GENERATOR.normal(0.0, 1.0, (5, 3, 2))
OURS = [
    (losses.CrossEntropy(), None),
    (losses.CrossEntropy(Mean("sigmoid")), None),
    (losses.CrossEntropy(Mean("input")), None),
    (losses.CrossEntropy(Peak()), None),
    (losses.CrossEntropy(Mean(population="named")), None),
    (losses.TimeAveragedCrossEntropy(), None),
    (losses.FirstSpikeCrossEntropy(), None),
    (losses.FirstSpikeCrossEntropy(tau0=0.1, alpha=0.0), None),
    (losses.TimeInvariantMSE(), None),
    (losses.SpikeTimeMSE(), SPIKE_TARGETS[:, :, 0]),
    (losses.SpikeTimeMSE(SpikeTimes(3)), SPIKE_TARGETS),
    (losses.VoltageMSE(Voltage([3.0, 15.0])), VOLTAGE_TARGETS),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "labels"),
    OURS,
    ids=[f"{number} {type(a).__name__}" for number, (a, _) in enumerate(OURS)],
)
def test_ours_are_right(loss, labels):
    check_loss(loss, labels=labels, end_to_end=True)
    for seed in range(20):
        check_loss(loss, labels=labels, duration=20.0, seed=seed)


def test_any_number_of_units_and_any_duration():
    check_loss(losses.CrossEntropy(), units=20, labels=[19, 0, 7])
    check_loss(losses.FirstSpikeCrossEntropy(tau0=50.0, tau1=400.0), units=1, duration=1000.0)
    check_loss(losses.TimeInvariantMSE(), units=5, duration=0.5, end_to_end=True)


# -- wrong losses -------------------------------------------------------------------------


@dataclass(frozen=True)
class SquaredError(losses.Loss):
    """Right: ``1/2 sum over k of (z_k - [k = c])^2``."""

    readout: Readout = Mean()

    def __call__(self, values, labels, duration):
        errors = values - np.eye(values.shape[1])[labels]
        return 0.5 * np.sum(errors**2, axis=1), errors


class WrongSign(SquaredError):
    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        return found, -derivative


class MeanForSum(SquaredError):
    """The derivative of the batch mean."""

    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        return found, derivative / labels.size


class SlightlyWrong(SquaredError):
    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        derivative[:, 1] *= 1 + 1e-6
        return found, derivative


class Neighbourly(SquaredError):
    """A wrong loss: a sample's loss depends on the other samples of the batch."""

    def __call__(self, values, labels, duration):
        return super().__call__(values - values.mean(axis=0), labels, duration)


class ChangesItsArguments(SquaredError):
    def __call__(self, values, labels, duration):
        values -= np.eye(values.shape[1])[labels]
        return 0.5 * np.sum(values**2, axis=1), values


class WrongShape(SquaredError):
    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        return found.mean(), derivative


class NotANumber(SquaredError):
    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        derivative[1, 2] = np.nan
        return found, derivative


class Unlike(SquaredError):
    """A wrong loss: it returns different values each time."""

    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        return found + np.random.default_rng().random(found.size), derivative


class Rough(SquaredError):
    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        return found + 1e-3 * np.sin(1e6 * values[:, 0]), derivative


class Single(SquaredError):
    def __call__(self, values, labels, duration):
        found, derivative = super().__call__(values, labels, duration)
        return found.astype(np.float32), derivative


class OneResult(SquaredError):
    def __call__(self, values, labels, duration):
        return super().__call__(values, labels, duration)[0]


class PredictsNothing(SquaredError):
    def predict(self, values):
        return np.argmax(values)


class PredictsTooMuch(SquaredError):
    def predict(self, values):
        return np.argmax(values, axis=1) + 1


class TakesAnything(SquaredError):
    def check_labels(self, labels, batch_size, classes):
        return np.asarray(labels)


class SilentIsNotANumber(losses.TimeInvariantMSE):
    """A wrong loss: it ignores that the spike time of a silent unit is infinite."""

    def __call__(self, values, labels, duration):
        with np.errstate(invalid="ignore"):
            errors = values - values[np.arange(labels.size), labels][:, None]
            return 0.5 * np.sum(errors**2, axis=1), errors


class WrongIntegrand(losses.TimeAveragedCrossEntropy):
    def integrand(self, voltages, labels):
        found, derivative = super().integrand(voltages, labels)
        return found, 2 * derivative


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            WrongSign(),
            r"^the derivative of the loss of sample 0 by values\[0, 0\] = 0.1\d* is -0.1(\d*): "
            r"finite differences give 0.1\1\d*$",
        ),
        (MeanForSum(), r"derivative of sample 0 is .* alone and .* in a batch of 6: samples must"),
        (SlightlyWrong(), r"by values\[0, 1\] = .*: finite differences give"),
        (Neighbourly(), "loss of sample 0 is .* alone and .*: samples must not touch each other"),
        (ChangesItsArguments(), "changes its argument values: work on a copy"),
        (WrongShape(), r"the losses are of type float64: they must be an array of float64"),
        (NotANumber(), r"derivative\[1, 2\] is nan: it must be finite"),
        (Unlike(), "the losses of two calls with the same values differ"),
        (Rough(), r"by values\[\d, 0\] = .* do not settle: it must be smooth"),
        (Single(), "the losses are of type float32: they must be an array of float64"),
        (OneResult(), "the loss returns a ndarray: it must return a pair"),
        (PredictsNothing(), r"predict has the result .*: it must be an array with one class per"),
        (PredictsTooMuch(), "predict puts samples into .*: it must give integers, from 0 to 2"),
        (TakesAnything(), "check_labels takes labels of one sample too few, for 7 samples"),
        (SilentIsNotANumber(), r"losses\[0\] is inf: it must be finite"),
        (WrongIntegrand(), r"by voltages\[0, 0\] = .*: finite differences give"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, losses.Loss) else "",
)
def test_what_is_wrong_is_named(loss, message):
    check_loss(SquaredError())
    with pytest.raises(AssertionError, match=message):
        check_loss(loss)


class WrongSlopesOfSpikes(SquaredError):
    """Right as a function; but its derivative is not what it asks to be pulled back."""

    def evaluate(self, run, labels):
        outcome = super().evaluate(run, labels)
        object.__setattr__(outcome, "cotangents", 1.001 * outcome.cotangents)
        return outcome


def test_what_only_shows_in_a_network():
    loss = WrongSlopesOfSpikes()
    check_loss(loss)
    with pytest.raises(
        AssertionError,
        match=r"network with LI output the derivative of the loss by input .*weight\[0, 0\] = ",
    ):
        check_loss(loss, end_to_end=True)


# -- what it is asked ---------------------------------------------------------------------


def test_what_cannot_be_checked():
    with pytest.raises(TypeError, match="loss is of type str: derive it from evsim.losses.Loss"):
        check_loss("cross-entropy")
    with pytest.raises(ValueError, match="does not classify: give check_loss its targets"):
        check_loss(losses.SpikeTimeMSE())
    with pytest.raises(TypeError, match="does not know what values VoltageAt"):
        check_loss(SquaredError(VoltageAt(SampleTimes(np.empty(0), np.zeros(1, int)))))


def test_differences_reach_many_digits():
    slope, error = differentiate(lambda by: np.array([np.exp(3 * by), np.cos(by)]), 0.1)
    np.testing.assert_allclose(slope, [3.0, 0.0], rtol=1e-12, atol=1e-12)
    assert (error < 1e-10).all()
