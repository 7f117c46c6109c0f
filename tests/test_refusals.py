"""Refused arguments that no other test covers: each message names the value and a remedy."""

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
    """This once made every gradient NaN, while the loss was finite."""
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


def gradient_with(**options):
    loss = losses.CrossEntropy()
    return evsim.gradient(small_network(), TWO_SAMPLES, [0, 1], loss, 20.0, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gradient_with(dropout=0.1), TypeError, r"dropout = 0.1: give evsim.Dropout\("),
        (
            lambda: gradient_with(dropout=evsim.Dropout({"hiden": 0.1})),
            ValueError,
            "dropout: there is no population 'hiden'; did you mean 'hidden'",
        ),
        (
            lambda: evsim.Dropout({"hidden": 0.1}, keys=np.array([1, 2])),
            TypeError,
            r"keys has type int64 and shape \(2,\): give uint64, \(batch,\)",
        ),
        (
            lambda: gradient_with(regularisers=["hidden"]),
            TypeError,
            r"regularisers holds 'hidden': give evsim.RateRegulariser\(",
        ),
        (
            lambda: gradient_with(wrt=["hidden.tau"]),
            ValueError,
            "there is no parameter 'hidden.tau'; did you mean 'hidden.tau_",
        ),
        (
            lambda: evsim.Adam(0.1, schedule=[0.5]),
            TypeError,
            r"schedule holds 0.5: give schedules such as evsim.schedules.EaseIn\(\)",
        ),
        (
            lambda: evsim.Dataset({}, [0]),
            ValueError,
            "spikes is an empty mapping: give SpikeTrains for each input population",
        ),
        (
            lambda: Mean("sigmoid").form(20.0),
            ValueError,
            "the weighting 'sigmoid' has no closed form",
        ),
        (
            lambda: evsim.metrics.confusion_matrix([0, 1, 1], [0, 1], 2),
            ValueError,
            "there are 3 labels but 2 predictions: give one of each per sample",
        ),
    ],
)
def test_arguments_that_do_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_damaged_number_is_found_by_its_checksum(tmp_path):
    """One bit of one weight; the file is whole otherwise."""
    path = tmp_path / "network.safetensors"
    evsim.storage.save_network(path, small_network())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(evsim.storage.StorageError, match="checksum does not fit: restore it from"):
        evsim.storage.load_network(path)


def test_a_stored_population_of_an_unknown_kind(tmp_path):
    path, network = tmp_path / "network.safetensors", small_network()
    structure = evsim.storage.network_structure(network)
    structure["populations"][1]["kind"] = "AdEx"
    arrays = evsim.storage.network_arrays(network)
    evsim.storage.save_arrays(path, "network", arrays, structure)
    with pytest.raises(evsim.storage.StorageError, match="unknown kind of population 'AdEx'"):
        evsim.storage.load_network(path)
