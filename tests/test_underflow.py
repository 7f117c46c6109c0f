"""Numbers too small for float64 do no harm, and raise no error for any setting of NumPy."""

import numpy as np
import pytest

import evsim
from evsim import losses, readouts
from evsim.engines import Grid
from evsim.testing import check_loss

FAR = np.array([[0.0, 1000.0, 5000.0], [900.0, 0.0, 2000.0]])
LABELS = np.array([0, 2])


@pytest.fixture(autouse=True)
def _strict():
    """Every floating-point error is raised, as by ``np.seterr(all="raise")``."""
    with np.errstate(all="raise"):
        yield


def test_this_is_what_would_be_raised():
    with pytest.raises(FloatingPointError, match="underflow"):
        np.exp(np.array([-800.0]))


@pytest.mark.parametrize(
    ("loss", "values", "wanted"),
    [
        (losses.CrossEntropy(), FAR, [5000.0, 0.0]),
        (losses.FirstSpikeCrossEntropy(tau0=0.5, alpha=0.0), FAR, [0.0, 4000.0]),
        (losses.FirstSpikeCrossEntropy(tau0=0.5, tau1=1e-3, alpha=0.0), FAR, [0.0, 4000.0]),
        (losses.VoltageMSE(readouts.Voltage([1.0])), np.full((2, 1, 1), 1e-200), [0.0, 0.0]),
    ],
)
def test_losses(loss, values, wanted):
    labels = LABELS if loss.classifies else np.zeros(values.shape)
    found, derivative = loss(values, labels, 6000.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-300)
    assert np.isfinite(derivative).all()
    logarithms = losses.log_softmax(FAR)
    assert logarithms[0].tolist() == [-5000.0, -4000.0, 0.0]
    assert losses.cross_entropy(FAR, LABELS)[0].tolist() == [5000.0, 0.0]


def network(output):
    return evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("hidden", 4), output],
        [
            evsim.Connection("input", "hidden", evsim.Normal(10.0, 1.0), evsim.Uniform(0.0, 2.0)),
            evsim.Connection("hidden", output.name, evsim.Normal(12.0, 2.0)),
        ],
        seed=0,
    )


SPIKES = evsim.SpikeTrains.from_lists([[(1.0, 0), (4.0, 1)], [(2.0, 2), (3.0, 1)]], units=3)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["exact", Grid(dt=0.5), Grid(dt=0.5, precision="float32")])
@pytest.mark.parametrize(
    ("output", "loss"),
    [
        (evsim.LIF("output", 3), losses.FirstSpikeCrossEntropy(tau0=1e-3, alpha=0.0)),
        (evsim.LI("output", 3), losses.CrossEntropy(readouts.Mean("exponential"))),
        (evsim.LI("output", 3), losses.CrossEntropy(readouts.Peak())),
        (evsim.LI("output", 3), losses.TimeAveragedCrossEntropy()),
    ],
)
def test_a_network_is_run_and_trained_as_ever(engine, output, loss):
    """The trial is so long that currents fall below the smallest number."""
    own, duration = network(output), 4096.0

    def results():
        found = evsim.gradient(own, SPIKES, LABELS, loss, duration, engine=engine)
        voltage = found.run.voltage("hidden", [1.0, duration])
        adjoint = found.lambda_I("hidden", [1.0, duration])
        trained = evsim.fit(
            own, (SPIKES, LABELS), loss, duration=duration, optimizers={"weight": evsim.Adam(0.01)},
            epochs=2, validation=(SPIKES, LABELS), engine=engine, progress=False,
        )  # fmt: skip
        tested = evsim.evaluate(trained.network, (SPIKES, LABELS), loss, duration, engine=engine)
        values = [found.losses, voltage, adjoint, *found.parameters.values(), [tested.loss]]
        return np.concatenate([np.ravel(value) for value in values])

    strict = results()
    with np.errstate(all="ignore"):
        assert results().tobytes() == strict.tobytes()


def test_a_loss_is_checked():
    check_loss(losses.FirstSpikeCrossEntropy(tau0=1e-2, alpha=0.0))


def test_a_spike_at_the_smallest_time_is_dilated():
    spikes = evsim.SpikeTrains.from_lists([[(2.0**-1074, 0), (4.0, 0)]], units=1)
    dilate = evsim.augment.Dilate(0.5, 0.75)
    moved = dilate.transform(spikes, np.random.default_rng(0), 10.0)
    assert moved.spikes.times.size == 2
    assert 2.0 <= moved.spikes.times[1] <= 3.0
