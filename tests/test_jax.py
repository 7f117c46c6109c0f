"""evsim.jax: values and gradients are those of evsim, under every transformation of JAX."""

import numpy as np
import pytest

import evsim
from evsim.losses import CrossEntropy
from evsim.readouts import FirstSpike, Mean, Peak, SpikeTimes, Voltage, VoltageTrace

jax = pytest.importorskip("jax", reason='JAX is not installed: pip install "evsim[jax]"')
jnp = jax.numpy
evsim_jax = evsim.jax

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _float64():
    """JAX in float64, for these tests only."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


LABELS = np.array([0, 1, 2, 1])
NAMES = (None, ("weight", "delay"), ("hidden.tau_mem", "input->hidden.weight"))


def network(sparse=False):
    rng = np.random.default_rng(3)
    inward = rng.normal(1.5, 0.5, (6, 5))
    if sparse:
        from scipy.sparse import csr_array

        inward = csr_array(inward * (rng.random((6, 5)) < 0.7))
    return evsim.Network(
        [evsim.Input("input", 5), evsim.LIF("hidden", 6), evsim.LI("output", 3)],
        [
            evsim.Connection("input", "hidden", inward, rng.uniform(0.0, 5.0, (6, 5))
                             if not sparse else 1.0),
            evsim.Connection("hidden", "hidden", rng.normal(0.0, 0.3, (6, 6)), 1.0),
            evsim.Connection("hidden", "output", rng.normal(0.0, 1.0, (3, 6))),
        ],
    )  # fmt: skip


def latencies():
    times = np.random.default_rng(4).uniform(0.0, 20.0, (4, 5))
    times[0, 2] = np.inf
    return times


def trains(times):
    return evsim.SpikeTrains.from_latencies(np.where(times < np.inf, times, np.nan))


def cross_entropy(read, parameters, spikes):
    rows = jax.nn.log_softmax(read(parameters, spikes))
    return -jnp.mean(rows[jnp.arange(4), LABELS])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("names", NAMES, ids=str)
def test_gradients_are_those_of_evsim(names, sparse):
    chosen, times = network(sparse), latencies()
    readout = Mean("exponential")
    read = evsim_jax.reader(chosen, readout, 40.0, names)
    expected = evsim.gradient(chosen, trains(times), LABELS, CrossEntropy(readout), 40.0, wrt=names)
    function = jax.jit(jax.value_and_grad(cross_entropy, argnums=(1, 2)), static_argnums=0)
    loss, (found, by_time) = function(read, read.parameters, jnp.asarray(times))
    assert abs(loss - expected.loss) < 1e-14
    assert set(found) == set(expected.parameters)
    for name, gradient in found.items():
        values = expected.parameters[name]
        values = values.data if hasattr(values, "indptr") else values
        np.testing.assert_allclose(gradient, values, rtol=1e-12, atol=1e-16, err_msg=name)
    order = np.lexsort((np.arange(20) % 5, times.ravel(), np.arange(20) // 5))
    order = order[times.ravel()[order] < np.inf]
    np.testing.assert_allclose(by_time.ravel()[order], expected.input_times, rtol=1e-12, atol=1e-16)
    assert by_time[0, 2] == 0
    as_trains = jax.grad(lambda p: cross_entropy(read, p, trains(times)))(read.parameters)
    for name, gradient in as_trains.items():
        np.testing.assert_array_equal(gradient, found[name])


@pytest.mark.parametrize(
    "readout",
    [
        Peak(),
        Voltage([5.0, 30.0]),
        FirstSpike(population="hidden"),
        SpikeTimes(2, population="hidden"),
    ],
    ids=str,
)
def test_every_readout_has_the_gradient_of_differences(readout):
    read = evsim_jax.reader(network(), readout, 40.0, ["input->hidden.weight", "hidden.tau_syn"])

    @jax.jit
    def function(parameters):
        values = read(parameters, jnp.asarray(latencies()))
        return jnp.sum(jnp.where(jnp.isfinite(values), jnp.sin(values), 0.0))

    found = jax.grad(function)(read.parameters)
    for name, step in (("input->hidden.weight", 1e-6), ("hidden.tau_syn", 1e-6)):
        up, down = (
            function({**read.parameters, name: read.parameters[name] + sign * step})
            for sign in (1, -1)
        )
        np.testing.assert_allclose(jnp.sum(found[name]), (up - down) / (2 * step), rtol=1e-6)
        assert jnp.any(found[name] != 0)


def test_a_missing_spike_makes_no_nan_and_has_no_gradient_unless_it_stands_for_the_end():
    quiet = network().replace({"input->hidden.weight": np.full((6, 5), 0.01)})
    names = ["input->hidden.weight"]
    infinite, end = (
        evsim_jax.reader(quiet, FirstSpike(population="hidden"), 40.0, names, missing=missing)
        for missing in ("infinite", "end")
    )
    times = jnp.asarray(latencies())
    assert jnp.all(jnp.isinf(infinite(infinite.parameters, times)))
    assert jnp.all(end(end.parameters, times) == 40.0)

    def differences(read):
        def square(parameters):
            spikes = read(parameters, times)
            return jnp.sum(jnp.square(spikes - spikes[:, :1]))

        return jax.grad(square)(read.parameters)[names[0]]

    assert jnp.all(differences(infinite) == 0)
    phantom = jax.grad(lambda p: jnp.sum(end(p, times)))(end.parameters)[names[0]]
    assert jnp.all(jnp.isfinite(phantom))
    assert jnp.any(phantom != 0)


def test_vmap_runs_one_after_the_other():
    read, times = evsim_jax.reader(network(), Mean(), 40.0), jnp.asarray(latencies())
    both = jnp.stack([times, times + 1.0])
    mapped = jax.vmap(lambda spikes: read(read.parameters, spikes))(both)
    for one, values in zip(both, mapped, strict=True):
        np.testing.assert_array_equal(values, read(read.parameters, one))
    weights = jax.vmap(
        jax.grad(lambda p, t: cross_entropy(read, p, t)), in_axes=(None, 0)
    )(read.parameters, both)  # fmt: skip
    single = jax.grad(lambda p: cross_entropy(read, p, both[1]))(read.parameters)
    np.testing.assert_array_equal(weights["input->hidden.delay"][1], single["input->hidden.delay"])


def test_padded_times_are_the_same_spikes():
    lists = [[(3.0, 1), (1.0, 1), (2.0, 0)], [], [(5.0, 4)]]
    spikes = evsim.SpikeTrains.from_lists(lists, units=5)
    padded = evsim_jax.padded_times(spikes)
    assert padded.shape == (3, 5, 2)
    assert padded[0, 1].tolist() == [1.0, 3.0]
    assert padded[0, 0].tolist() == [2.0, np.inf]
    read = evsim_jax.reader(network(), Mean(), 40.0)
    wider = evsim_jax.padded_times(spikes, 4)
    for given in (padded, wider):
        np.testing.assert_array_equal(read(read.parameters, given), read(read.parameters, spikes))
    with pytest.raises(ValueError, match="unit 1 has 2 spikes in sample 0: give spikes_per_unit"):
        evsim_jax.padded_times(spikes, 1)


def test_float32_is_what_jax_has_by_default():
    jax.config.update("jax_enable_x64", False)
    read = evsim_jax.reader(network(), Mean(), 40.0)
    values, found = jax.value_and_grad(lambda p: cross_entropy(read, p, latencies()))(
        read.parameters
    )
    assert values.dtype == found["input->hidden.weight"].dtype == jnp.float32
    exact = evsim.gradient(network(), trains(latencies()), LABELS, CrossEntropy(), 40.0)
    np.testing.assert_allclose(
        found["input->hidden.weight"],
        exact.parameters["input->hidden.weight"],
        rtol=1e-3,
        atol=1e-6,
    )


def test_a_batch_can_be_empty():
    read = evsim_jax.reader(network(), FirstSpike(population="hidden"), 40.0)
    times = jnp.zeros((0, latencies().shape[1]))
    values, pull_back = jax.vjp(read, read.parameters, times)
    by_parameter, by_time = pull_back(values)
    assert values.shape[0] == by_time.shape[0] == 0
    assert not any(gradient.any() for gradient in by_parameter.values())


def test_the_network_with_trained_values_is_an_evsim_network():
    read = evsim_jax.reader(network(True), Mean(), 40.0)
    doubled = {name: 2 * values for name, values in read.parameters.items()}
    new = read.network(doubled)
    np.testing.assert_array_equal(
        new.parameters["input->hidden.weight"].data,
        2 * network(True).parameters["input->hidden.weight"].data,
    )
    assert "of 2 parameters, 40 ms" in repr(evsim_jax.reader(network(), Mean(), 40.0, NAMES[2]))


def test_what_does_not_fit_is_refused_before_anything_runs():
    read, times = evsim_jax.reader(network(), Mean(), 40.0), jnp.asarray(latencies())
    start = read.parameters
    for arguments, words in (
        (([1.0], times), "parameters are of type list: give a dict"),
        (({**start, "hidden.tau": 3.0}, times), "hidden.tau"),
        (({"input->hidden.weight": start["input->hidden.weight"]}, times), "is missing: give all"),
        (({**start, "input->hidden.weight": jnp.ones((5, 6))}, times), r"has shape \(5, 6\)"),
        ((start, times.T), "give spike times in ms of shape"),
        ((start, jnp.ones((4, 5), int)), "give spike times in ms as floats"),
        ((start, {"inputs": times}), "inputs"),
        ((start, {}), "no spikes are given for the input 'input'"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            read(*arguments)
    with pytest.raises(TypeError, match="readout = 'peak'"):
        evsim_jax.reader(network(), "peak", 40.0)
    with pytest.raises(
        TypeError, match=r"and has no values: give Voltage\(times\), with the times"
    ):
        evsim_jax.reader(network(), VoltageTrace(), 40.0)
    with pytest.raises(ValueError, match="missing = 'none': choose one of infinite, end"):
        evsim_jax.reader(network(), Mean(), 40.0, missing="none")
    with pytest.raises(Exception, match=r"input->hidden.delay\[0, 0\] = -1 ms: delays must be"):
        read({**start, "input->hidden.delay": start["input->hidden.delay"] * 0 - 1.0}, times)
    with pytest.raises(Exception, match=r"at \(0, 0\) are -1 ms: spike times must be >= 0"):
        read(start, times.at[0, 0].set(-1.0))


def test_second_derivatives_are_refused():
    read, times = evsim_jax.reader(network(), Mean(), 40.0), jnp.asarray(latencies())

    def loss(parameters):
        return cross_entropy(read, parameters, times)

    def size(parameters):
        return sum(jnp.sum(gradient) for gradient in jax.grad(loss)(parameters).values())

    for derivative in (jax.hessian(loss), jax.grad(size)):
        with pytest.raises(NotImplementedError, match="evsim.jax has first derivatives only"):
            derivative(read.parameters)


def test_warnings_are_told_where_the_user_calls():
    read, times = evsim_jax.reader(network(), Mean(), 1.0), jnp.full((1, 5), 0.5)
    for call in (read, jax.jit(lambda parameters, times: read(parameters, times + 0.1))):
        with pytest.warns(evsim.TimeUnitWarning, match="seconds") as told:
            jax.block_until_ready(call(read.parameters, times))
        assert [each.filename for each in told] == [__file__]
