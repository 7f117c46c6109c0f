"""Run.pull_back, and weighted sums of losses on several readouts and populations."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse
from networks import random_case

import evsim
from evsim import losses, readouts
from evsim.engines import Exact, Grid
from evsim.readouts import FirstSpike, Mean, Peak, SpikeTimes, Voltage

ENGINES = {"exact": Exact(threads=1), "reference": "reference", "grid": Grid(dt=0.5, threads=1)}

TERMS = (
    (1.0, losses.CrossEntropy(Mean("exponential"))),
    (0.5, losses.CrossEntropy(Mean(population="second"))),
    (-0.3, losses.CrossEntropy(Peak())),
    (0.1, losses.FirstSpikeCrossEntropy(readout=FirstSpike(population="first"))),
    (0.7, losses.CrossEntropy(Mean("linear", population="first"))),
)

SLOW_TERMS = (
    (2.0, losses.TimeAveragedCrossEntropy()),
    (-0.5, losses.TimeAveragedCrossEntropy(readouts.VoltageTrace(population="second"))),
)
"""Further terms, which take the reference engine long."""


def case(kind="recurrent", seed=2):
    found = random_case(
        np.random.default_rng(seed), kind, batch=3, output="LI", duration=20.0, refractory=0.0
    )
    return found.network, found.inputs, np.array([0, 1, 1])


def stored(values):
    """The numbers of a parameter, dense or sparse."""
    return values.data if scipy.sparse.issparse(values) else np.asarray(values)


def total_of(terms):
    return sum((weight * term for weight, term in terms[1:]), start=terms[0][0] * terms[0][1])


@pytest.mark.parametrize("kind", ["recurrent", "two populations, mutual"])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_gradient_of_a_sum_is_the_sum_of_the_gradients(engine, kind):
    network, inputs, labels = case(kind)
    terms = TERMS if engine == "reference" else TERMS + SLOW_TERMS
    how = {"duration": 20.0, "engine": ENGINES[engine]}
    found = evsim.gradient(network, inputs, labels, total_of(terms), **how)
    parts = [(w, evsim.gradient(network, inputs, labels, term, **how)) for w, term in terms]
    assert found.run.spike_counts["first"].sum() > 5
    np.testing.assert_allclose(found.losses, sum(w * p.losses for w, p in parts), rtol=1e-14)
    for name, gradient in found.parameters.items():
        every = [w * stored(p.parameters[name]) for w, p in parts]
        scale = sum(np.abs(one).max() for one in every)
        np.testing.assert_allclose(
            stored(gradient), sum(every), rtol=0, atol=1e-12 * scale + 1e-15, err_msg=name
        )
    for name, gradient in found.input_times_by_name.items():
        expected = sum(w * p.input_times_by_name[name] for w, p in parts)
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13)
    times = [1.0, 7.5, 19.0]
    for trace in ("lambda_V", "lambda_I"):
        expected = sum(w * getattr(p, trace)("first", times) for w, p in parts)
        np.testing.assert_allclose(
            getattr(found, trace)("first", times), expected, rtol=1e-9, atol=1e-13
        )
    assert np.abs(expected).max() > 0


def test_a_limit_acts_on_the_sum_of_all_terms():
    """Two halves of a loss of a hidden and of an output population, against twice as much of it."""
    network, inputs, labels = case()
    hidden = losses.CrossEntropy(Mean(population="second"))
    whole = 1000.0 * losses.CrossEntropy() + 1000.0 * hidden
    halves = 500.0 * losses.CrossEntropy() + 500.0 * hidden
    halves = halves + halves
    how = {"duration": 20.0, "engine": Exact(threads=1), "lambda_limit": 1.0}
    free = evsim.gradient(network, inputs, labels, whole, 20.0, engine=Exact(threads=1))
    one, two = (evsim.gradient(network, inputs, labels, loss, **how) for loss in (whole, halves))
    assert one.limited == two.limited > 0
    for name, gradient in one.parameters.items():
        np.testing.assert_allclose(stored(two.parameters[name]), stored(gradient), rtol=1e-9)
    limited, unlimited = (stored(found.parameters["left->first.weight"]) for found in (one, free))
    assert np.abs(limited).max() < np.abs(unlimited).max()
    with pytest.raises(ValueError, match="Grid pulls them back one by one and cannot limit their"):
        evsim.gradient(network, inputs, labels, whole, **(how | {"engine": ENGINES["grid"]}))


def test_a_function_of_several_readouts_has_the_gradient_of_differences():
    """The oracle is a difference quotient of a function that is written here in NumPy."""
    network, inputs, _ = case("feedforward", seed=5)
    mean, spikes = Mean(population="output"), SpikeTimes(1, population="second")
    voltage = Voltage([6.0, 18.0], population="first")

    def function(network):
        run = evsim.simulate(network, inputs, 20.0, Exact(threads=1))
        z, t, v = run.read(mean), run.read(spikes), run.read(voltage)
        value = np.sum(np.sin(z)) + np.sum(np.where(np.isfinite(t), t**2, 0.0)) + np.prod(v[:, 0])
        return run, z, t, v, value

    run, z, t, v, _ = function(network)
    assert np.isfinite(t).sum() >= 2
    product = np.zeros_like(v)
    product[:, 0] = np.prod(v[:, 0]) / v[:, 0]
    cotangents = {
        mean: np.cos(z),
        spikes: np.where(np.isfinite(t), 2 * t, 0.0),
        voltage: product,
    }
    pulled = run.pull_back(cotangents)
    assert set(pulled.parameters) == set(network.parameters)
    for name in ("left->first.weight", "first.tau_mem", "second.tau_syn", "second.threshold"):
        values = network.parameters[name]
        step = 1e-6 * (1 + np.zeros(values.shape))
        if not isinstance(values, np.ndarray):
            continue
        up, down = (function(network.replace({name: values + s * step})) for s in (1, -1))
        difference = (up[-1] - down[-1]) / 2e-6
        np.testing.assert_allclose(np.sum(pulled.parameters[name]), difference, rtol=2e-6)


def test_pulling_back_the_derivative_of_a_loss_gives_its_gradient():
    network, inputs, labels = case()
    loss = TERMS[0][1]
    found = evsim.gradient(network, inputs, labels, loss, 20.0)
    run = evsim.simulate(network, inputs, 20.0)
    _, derivative = loss(run.read(loss.readout), labels, 20.0)
    pulled = run.pull_back(loss.readout, derivative / 3, wrt=["first->first.weight"])
    assert list(pulled.parameters) == ["first->first.weight"]
    np.testing.assert_array_equal(
        stored(pulled.parameters["first->first.weight"]),
        stored(found.parameters["first->first.weight"]),
    )
    assert "PulledBack" in repr(pulled)


def test_a_sum_trains_and_resumes_in_a_run_folder(tmp_path):
    network, inputs, _ = case("feedforward")
    data = evsim.Dataset(inputs, np.array([0, 1, 1]))
    loss = total_of(TERMS[:3])

    def fit(epochs, folder=None, resume=False):
        return evsim.fit(
            network, data, loss, duration=20.0, optimizers={"weight": evsim.Adam(0.01)},
            epochs=epochs, run_folder=folder, resume=resume, progress=False, validation=data,
        )  # fmt: skip

    fit(2, tmp_path / "run")
    resumed, straight = fit(4, tmp_path / "run", resume=True), fit(4)
    for name, values in straight.network.parameters.items():
        np.testing.assert_array_equal(stored(resumed.network.parameters[name]), stored(values))
    assert straight.history[-1].loss < straight.history[0].loss
    assert straight.history[-1].validation_accuracy is not None


def test_sums_are_flat_and_say_what_they_are():
    a, b = TERMS[0][1], TERMS[2][1]
    total = 2 * (a + 0.5 * b) - b
    assert isinstance(total, losses.WeightedSum)
    assert total.terms == ((2.0, a), (1.0, b), (-1.0, b))
    assert repr(a + 0.5 * b) == f"1 * {a!r} + 0.5 * {b!r}"
    assert (-a / 4 - b / 2).terms == ((-0.25, a), (-0.5, b))
    assert sum([a, b]).terms == (a + b).terms
    assert (a + b).classifies
    assert (a + b).readout is a.readout
    targets = losses.SpikeTimeMSE(SpikeTimes(population="first"))
    assert (targets + a).readout is a.readout
    assert not (targets + 2 * targets).classifies


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda a: a * np.inf, "the weight of .* is inf: it must be finite"),
        (lambda a: losses.WeightedSum(()), "the sum has no terms"),
        (lambda a: losses.WeightedSum((a,)), r"terms\[0\] = .*: give a pair \(weight, loss\)"),
        (lambda a: losses.WeightedSum(((1.0, 3),)), r"terms\[0\]\[1\] = 3: give a loss"),
        (lambda a: a + 3, "unsupported operand"),
        (lambda a: a / a, "unsupported operand"),
        (lambda a: "x" * a, "can't multiply sequence|unsupported operand"),
        (lambda a: (a + a)(np.zeros((1, 2)), np.zeros(1, int), 1.0), "use evaluate"),
    ],
)
def test_what_is_no_sum_is_refused(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make(TERMS[0][1])


def test_what_cannot_be_pulled_back_is_refused():
    network, inputs, _ = case()
    run = evsim.simulate(network, inputs, 20.0)
    mean, good = Mean(), np.zeros((3, 2))
    bad = good.copy()
    bad[1, 1] = np.nan
    for arguments, words in (
        ((mean, good.T), r"have shape \(2, 3\): give them in the shape of its values, \(3, 2\)"),
        ((mean, bad), r"at \(1, 1\) are nan: they must be finite; give 0 where"),
        ((mean,), "cotangents are missing: give the derivative with respect to"),
        (({mean: good}, good), "beside a mapping that has them already"),
        (({},), "the mapping is empty"),
        (("peak", good), "readout = 'peak': give one such as"),
        (([mean], [good]), r"readout = \[Mean.*: give one such as .*, or a mapping {readout: cot"),
        (({"peak": good},), "readout = 'peak': give one such as"),
        ((Peak(population="first"), good), "Peak"),
        ((mean, good, ["hidden.weight"]), "hidden.weight"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            run.pull_back(*arguments)


def test_a_term_refuses_labels_that_do_not_fit_it():
    network, inputs, _ = case()
    loss = losses.CrossEntropy() + losses.CrossEntropy(Mean(population="second"))
    words = (
        r"labels\[2\] = 2: with 2 output units .*; labels are given to every term of the sum, and"
    )
    with pytest.raises(ValueError, match=f"{words} this one is CrossEntropy"):
        evsim.gradient(network, inputs, [0, 1, 2], loss, 20.0)
    targets = losses.SpikeTimeMSE(SpikeTimes(population="first"))
    with pytest.raises(TypeError, match="must hold integers; .* this one is CrossEntropy"):
        evsim.gradient(network, inputs, np.full((3, 4, 1), 9.0), targets + loss, 20.0)
    wrong = losses.CrossEntropy() + losses.CrossEntropy(Mean(population="third"))
    with pytest.raises(ValueError, match="third"):
        evsim.gradient(network, inputs, [0, 1, 1], wrong, 20.0)


@dataclasses.dataclass(frozen=True)
class Broken(losses.Loss):
    readout: readouts.Readout = Mean(population="first")

    def __call__(self, values, labels, duration):
        return np.zeros(len(values)), np.full_like(values, np.nan)


def test_a_term_with_a_derivative_that_is_no_number_is_named():
    network, inputs, labels = case()
    with pytest.raises(AssertionError, match="derivative"):
        evsim.testing.check_loss(losses.CrossEntropy() + Broken())
    evsim.testing.check_loss(losses.CrossEntropy() + 2 * losses.CrossEntropy(Peak()))
    with pytest.raises(FloatingPointError, match="the derivative of Broken in sample 0 is nan"):
        evsim.gradient(network, inputs, labels, losses.CrossEntropy() + Broken(), 20.0)
