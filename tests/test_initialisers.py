"""Initialisers: shapes, independent streams, distributions, refusals."""

import numpy as np
import pytest

import evsim
from evsim.network.initialisers import Gamma


def network_of(*connections, seed=None, sizes=(8, 4, 2)):
    populations = [
        evsim.Input("input", sizes[0]),
        evsim.LIF("hidden", sizes[1]),
        evsim.LI("output", sizes[2]),
    ]
    return evsim.Network(populations, connections, seed=seed)


def test_each_parameter_is_drawn_from_its_own_stream():
    first = evsim.Connection("input", "hidden", evsim.Normal(1.0, 2.0), evsim.Uniform(0.0, 9.0))
    second = evsim.Connection("hidden", "output", evsim.Normal(1.0, 2.0))
    alone = network_of(first, seed=5).parameters
    together = network_of(second, first, seed=5).parameters
    for name in ("input->hidden.weight", "input->hidden.delay"):
        np.testing.assert_array_equal(alone[name], together[name])
    assert not np.array_equal(
        alone["input->hidden.weight"], network_of(first, seed=6).parameters["input->hidden.weight"]
    )
    assert not np.array_equal(
        alone["input->hidden.weight"][:2, :4], together["hidden->output.weight"]
    )


@pytest.mark.parametrize(
    ("sharing", "shape"),
    [("synaptic", (4, 8)), ("axonal", (1, 8)), ("dendritic", (4, 1)), ("shared", ())],
)
def test_sharing_decides_the_shape(sharing, shape):
    for initialiser in (evsim.Normal(5.0, 0.1, sharing), evsim.Uniform(4.0, 6.0, sharing)):
        network = network_of(evsim.Connection("input", "hidden", 1.0, initialiser), seed=3)
        values = network.parameters["input->hidden.delay"]
        assert values.shape == shape
        assert ((values > 4) & (values < 6)).all()
        assert np.unique(values).size == values.size
    network = network_of(evsim.Connection("input", "hidden", 1.0, evsim.Constant(2.0, sharing)))
    np.testing.assert_array_equal(network.parameters["input->hidden.delay"], np.full(shape, 2.0))


def test_drawn_values_follow_their_distribution():
    normal = evsim.Connection("input", "hidden", evsim.Normal(3.0, 0.5), evsim.Uniform(1.0, 7.0))
    parameters = network_of(normal, seed=0, sizes=(100, 200, 1)).parameters
    weight, delay = parameters["input->hidden.weight"], parameters["input->hidden.delay"]
    # Five standard errors of 20,000 draws.
    assert abs(weight.mean() - 3.0) < 5 * 0.5 / np.sqrt(weight.size)
    assert abs(weight.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * weight.size)
    assert abs(delay.mean() - 4.0) < 5 * np.sqrt(3.0) / np.sqrt(delay.size)
    assert delay.min() >= 1.0
    assert delay.max() < 7.0


def test_gamma_follows_its_distribution_between_its_ends():
    # Order 3: the fraction below x is 1 - exp(-y) (1 + y + y^2/2) with y = 3 x / mean.
    def below(x):
        return 1 - np.exp(-3 * x / 20) * (1 + 3 * x / 20 + (3 * x / 20) ** 2 / 2)

    count = 20_000
    values = Gamma(20.0, low=3.0, high=60.0).draw(np.random.default_rng(0), (count,))
    assert (values.min(), values.max()) == (3.0, 60.0)
    for x in (3.0, 10.0, 20.0, 40.0):
        error = np.sqrt(below(x) * (1 - below(x)) / count)
        assert abs(np.mean(values <= x) - below(x)) < 5 * error
    free = Gamma(20.0).draw(np.random.default_rng(0), (count,))
    assert abs(free.mean() - 20.0) < 5 * 20.0 / np.sqrt(3 * count)
    assert np.array_equal(values, np.clip(free, 3.0, 60.0))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"mean": 0.0}, ValueError, r"mean = 0\.0: it must be > 0"),
        ({"mean": 1.0, "shape": -3.0}, ValueError, r"shape = -3\.0: it must be > 0"),
        ({"mean": 1.0, "low": 2.0, "high": 1.0}, ValueError, "low = 2.0, high = 1.0: they must"),
        ({"mean": 1.0, "low": np.inf}, ValueError, "low = inf: it must be finite"),
        ({"mean": "20"}, TypeError, "mean = '20': it must be a number"),
    ],
)
def test_gamma_refuses_what_is_no_distribution(settings, error, message):
    with pytest.raises(error, match=message):
        Gamma(**settings)


def test_initialisers_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match=r"input->hidden\.weight is drawn from Normal.* seed=0"):
        network_of(evsim.Connection("input", "hidden", evsim.Normal(0.0, 1.0)))
    with pytest.raises(ValueError, match="sharing = 'neuronal': choose one of synaptic, axonal"):
        network_of(evsim.Connection("input", "hidden", evsim.Constant(1.0, "neuronal")))
    with pytest.raises(ValueError, match=r"standard_deviation = -1\.0: it must be >= 0"):
        evsim.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match=r"Uniform\(2\.0, 1\.0\): low must not exceed high"):
        evsim.Uniform(2.0, 1.0)
    with pytest.raises(ValueError, match=r"input->hidden\.delay\[\d, \d\] = -.* delays must be"):
        network_of(evsim.Connection("input", "hidden", 1.0, evsim.Uniform(-2.0, -1.0)), seed=1)
