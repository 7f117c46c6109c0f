"""What is refused that no other test looks at: each message names what was found and a remedy."""

import numpy as np
import pytest

import evsim
from evsim import losses
from evsim.engines import Reference
from evsim.losses import Loss
from evsim.readouts import Mean, SpikeTimes


class WithDerivative(Loss):
    """The mean voltage, with one value of its derivative and one loss replaced."""

    def __init__(self, derivative, loss=0.0):
        self.readout = Mean()
        self.replaced = derivative, loss

    def __call__(self, values, labels, duration):
        derivative, found = np.ones_like(values), np.zeros(len(values))
        derivative[1, 0], found[1] = self.replaced
        return found, derivative


def small_network(output=evsim.LI):
    return evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", 2), output("output", 2)],
        [evsim.Connection("input", "hidden", 9.0), evsim.Connection("hidden", "output", 9.0)],
    )


TWO_SAMPLES = evsim.SpikeTrains.from_lists([[(1.0, 0)], [(2.0, 0)]], units=1)


@pytest.mark.parametrize("engine", ["exact", "reference", "grid"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_derivative_that_is_no_number(engine, value):
    """It once made every gradient NaN beside a loss that looked well."""
    message = rf"derivative of WithDerivative in sample 1 is {value}, though its loss is 0: every"
    with pytest.raises(FloatingPointError, match=message):
        evsim.gradient(
            small_network(), TWO_SAMPLES, [0, 1], WithDerivative(value), 20.0, engine=engine
        )


def test_a_loss_that_is_no_number_is_seen():
    """The loss says so itself; training ends there with the epoch and the sample."""
    loss = WithDerivative(np.nan, np.nan)
    assert np.isnan(evsim.gradient(small_network(), TWO_SAMPLES, [0, 1], loss, 20.0).loss)


@pytest.mark.parametrize(
    ("digits", "error", "message"),
    [(15, ValueError, "digits = 15: it must be at least 16"), (True, TypeError, "an integer or")],
)
def test_digits_of_the_reference(digits, error, message):
    with pytest.raises(error, match=message):
        Reference(digits=digits)


def test_targets_before_the_trial():
    with pytest.raises(ValueError, match=r"labels\[1, 0, 0\] = -1.0 ms: no spike is ever before 0"):
        evsim.gradient(
            small_network(evsim.LIF),
            TWO_SAMPLES,
            np.array([[[1.0], [2.0]], [[-1.0], [np.nan]]]),
            losses.SpikeTimeMSE(SpikeTimes(1)),
            20.0,
        )
