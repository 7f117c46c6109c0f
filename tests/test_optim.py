import numpy as np
import pytest
from evsim.optim import Bounds
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

import evsim
from evsim.training.trained_parameters import (
    TrainedParameter,
    assign_lift,
    assign_optimizers,
    assign_projections,
)

START = np.array([[1.0, -2.0], [0.5, 3.0]])
FIRST = np.array([[0.1, -4.0], [1e-9, 0.0]])
SECOND = np.array([[-0.3, -2.0], [2e-9, 7.0]])


def small_network(weight=None, hidden=2):
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", hidden), evsim.LIF("output", 2)],
        [
            evsim.Connection(
                "input", "hidden", np.ones((hidden, 2)) if weight is None else weight, delay=1.0
            ),
            evsim.Connection("hidden", "output", np.ones((2, hidden)), np.zeros((2, hidden))),
        ],
    )


# -- optimisers ---------------------------------------------------------------------------


def test_adams_first_two_steps_are_those_of_the_closed_form():
    adam = evsim.Adam(0.1, beta1=0.8, beta2=0.9, epsilon=1e-8)
    parameter = TrainedParameter("weight", START, adam)

    parameter.step(FIRST, adam.learning_rate_in(1))
    # After one step both moments, freed of their bias, are those of the one gradient.
    expected = START - 0.1 * FIRST / (np.abs(FIRST) + 1e-8)
    np.testing.assert_allclose(parameter.values, expected, rtol=1e-14)

    parameter.step(SECOND, adam.learning_rate_in(1))
    mean = (0.8 * 0.2 * FIRST + 0.2 * SECOND) / (1 - 0.8**2)
    square = (0.9 * 0.1 * FIRST**2 + 0.1 * SECOND**2) / (1 - 0.9**2)
    expected -= 0.1 * mean / (np.sqrt(square) + 1e-8)
    np.testing.assert_allclose(parameter.values, expected, rtol=1e-14)


def test_adam_has_the_bits_of_its_formula_in_numpy():
    rng, adam = np.random.default_rng(0), evsim.Adam(1e-2, beta1=0.85, epsilon=1e-6)
    values = rng.normal(0, 1, (37, 211))
    expected, mean, square = values.copy(), 0.0, 0.0
    state = adam.start(values)
    for step in range(1, 4):
        gradient = rng.normal(0, 1, values.shape) * 10.0 ** rng.integers(-9, 9, values.shape)
        adam.step(values, gradient, state, 1e-2)
        mean = mean * 0.85 + (1.0 - 0.85) * gradient
        square = square * 0.999 + (1.0 - 0.999) * (gradient * gradient)
        rate = 1e-2 * (mean / (1.0 - 0.85**step))
        expected -= rate / (np.sqrt(square / (1.0 - 0.999**step)) + 1e-6)
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    "change",
    [np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2], lambda a: a.astype(np.float32)],
    ids=["by columns", "with gaps", "float32"],
)
def test_adam_takes_arrays_of_any_layout(change):
    adam, rng = evsim.Adam(1e-2), np.random.default_rng(0)
    start, gradient = rng.integers(-8, 8, (2, 4, 3)) / 4.0 + 0.125
    plain, other = start.copy(), change(start.copy())
    for values, slopes in ((plain, gradient), (other, change(gradient))):
        state = adam.start(values)
        for _ in range(3):
            adam.step(values, slopes, state, 1e-2)
        assert state["first_moment"].dtype == values.dtype
    np.testing.assert_allclose(other, plain, rtol=1e-6 if other.dtype == np.float32 else 1e-15)
    assert (plain != start).all()


def test_adam_takes_one_number():
    adam, value = evsim.Adam(1e-2), np.array(2.0)
    adam.step(value, np.array(-3.0), adam.start(value), 1e-2)
    assert value == pytest.approx(2.01)


@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_gradient_descent_under_a_constant_gradient_follows_the_geometric_series(momentum):
    parameter = TrainedParameter("weight", START, evsim.SGD(0.5, momentum=momentum))
    steps = 6
    for _ in range(steps):
        parameter.step(FIRST, 0.5)
    way = sum((1 - momentum**k) / (1 - momentum) for k in range(1, steps + 1))
    np.testing.assert_allclose(parameter.values, START - 0.5 * way * FIRST, rtol=1e-14)


def test_decay_multiplies_the_learning_rate_once_per_epoch():
    rates = [evsim.Adam(0.2, decay=0.5).learning_rate_in(epoch) for epoch in (1, 2, 4)]
    assert rates == [0.2, 0.1, 0.025]


@pytest.mark.parametrize(
    ("plain", "decaying"),
    [
        (evsim.Adam(0.1), evsim.Adam(0.1, weight_decay=0.25)),
        (evsim.SGD(0.1, momentum=0.9), evsim.SGD(0.1, momentum=0.9, weight_decay=0.25)),
    ],
)
def test_weight_decay_shrinks_values_beside_the_step_and_leaves_the_moments_alone(plain, decaying):
    free = TrainedParameter("weight", START, plain)
    decayed = TrainedParameter("weight", START, decaying)
    values = START
    for gradient, rate in ((FIRST, 0.1), (SECOND, 0.05)):
        before = free.values.copy()
        free.step(gradient, rate)
        decayed.step(gradient, rate)
        values = (1.0 - 0.25 * rate) * values + (free.values - before)
        np.testing.assert_allclose(decayed.values, values, rtol=1e-14)
        for name, state in free.state.items():
            assert np.array_equal(decayed.state[name], state)


def test_long_gradients_are_scaled_to_the_largest_norm_and_short_ones_are_not():
    optimizer = evsim.SGD(1.0, momentum=0.5, clip=2.5)
    parameter = TrainedParameter("weight", np.zeros(2), optimizer)
    assert parameter.step(np.array([6.0, -8.0]), 1.0) is True
    np.testing.assert_allclose(parameter.values, [-1.5, 2.0], rtol=1e-15)
    assert parameter.step(np.array([1.5, 2.0]), 1.0) is False  # as long as allowed
    np.testing.assert_allclose(parameter.values, [-1.5 - 0.75 - 1.5, 2.0 + 1.0 - 2.0], rtol=1e-15)
    assert TrainedParameter("weight", np.zeros(2), evsim.SGD(1.0)).step(np.full(2, 1e9), 1.0) is (
        False
    )


@pytest.mark.parametrize("optimizer", [evsim.Adam(0.1), evsim.SGD(0.1, momentum=0.9)])
def test_sparse_and_scalar_parameters_step_as_the_entries_of_a_dense_one(optimizer):
    mask = np.array([[True, False], [False, True]])
    dense = TrainedParameter("dense", START, optimizer)
    sparse = TrainedParameter("sparse", csr_array(np.where(mask, START, 0)), optimizer)
    scalar = TrainedParameter("scalar", START[0, 0], optimizer)
    for gradient in (FIRST, SECOND):
        dense.step(gradient, 0.1)
        sparse.step(gradient[mask], 0.1)
        scalar.step(gradient[0, 0], 0.1)
    assert np.array_equal(sparse.holder.toarray(), np.where(mask, dense.values, 0))
    assert scalar.values.shape == ()
    assert scalar.values == dense.values[0, 0]
    assert np.array_equal(START, [[1.0, -2.0], [0.5, 3.0]])  # the original is left alone


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: evsim.Adam(0.0), "learning_rate = 0.0: it must be finite and > 0"),
        (lambda: evsim.Adam(np.nan), "learning_rate = nan"),
        (lambda: evsim.Adam(0.1, beta1=1.0), r"beta1 = 1.0: it must be in \[0, 1\)"),
        (lambda: evsim.Adam(0.1, beta2=-0.1), "beta2 = -0.1"),
        (lambda: evsim.Adam(0.1, epsilon=0.0), "epsilon = 0.0"),
        (lambda: evsim.SGD(0.1, momentum=1.0), "momentum = 1.0"),
        (lambda: evsim.SGD(0.1, decay=0.0), "decay = 0.0: it must be finite and > 0"),
        (lambda: evsim.SGD(0.1, weight_decay=-1.0), "weight_decay = -1.0: it must be >= 0"),
        (lambda: evsim.Adam(0.1, weight_decay=10.0), "below 1/learning_rate = 10, where one step"),
        (lambda: evsim.Adam(0.1, clip=0.0), "clip = 0.0: it must be > 0; infinity for no"),
        (lambda: Bounds(1.0, 0.0), "low must not exceed high"),
    ],
)
def test_optimisers_refuse_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- projections --------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    start=arrays(float, 4, elements=st.floats(0, 5)),
    gradients=st.lists(arrays(float, 4, elements=st.floats(-10, 10)), min_size=1, max_size=8),
    optimizer=st.sampled_from(
        [evsim.Adam(2.0), evsim.SGD(1.5), evsim.SGD(1.5, momentum=0.9), evsim.Adam(0.3)]
    ),
)
def test_delays_stay_in_bounds_and_keep_no_momentum_out_of_them(start, gradients, optimizer):
    parameter = TrainedParameter("delay", start, optimizer, (Bounds(0.0, 5.0),))
    for gradient in gradients:
        free = TrainedParameter("delay", parameter.values, optimizer)
        free.state = {name: state.copy() for name, state in parameter.state.items()}
        free.step(gradient, optimizer.learning_rate)
        parameter.step(gradient, optimizer.learning_rate)

        below, above = free.values < 0, free.values > 5
        inside = ~(below | above)
        assert np.array_equal(parameter.values[inside], free.values[inside])
        assert (parameter.values[below] == 0).all()
        assert (parameter.values[above] == 5).all()
        if "first_moment" in parameter.state:
            moment, free_moment = parameter.state["first_moment"], free.state["first_moment"]
            assert (moment[below] <= 0).all()  # the step goes against the moment
            assert (moment[above] >= 0).all()
            kept = inside | (below & (free_moment <= 0)) | (above & (free_moment >= 0))
            assert np.array_equal(moment[kept], free_moment[kept])
            assert (moment[~kept] == 0).all()


def test_a_delay_pressed_against_its_bound_leaves_it_at_the_first_gradient_inwards():
    parameter = TrainedParameter(
        "delay", np.array([1.0]), evsim.SGD(1.0, momentum=0.9), (Bounds(0.0, np.inf),)
    )
    for _ in range(5):
        parameter.step(np.array([3.0]), 1.0)
    assert parameter.values == 0.0
    parameter.step(np.array([-0.25]), 1.0)
    assert parameter.values == 0.25


def test_a_projection_must_keep_the_shape():
    parameter = TrainedParameter("a.weight", START, evsim.SGD(0.1), (np.ravel,))
    with pytest.raises(ValueError, match=r"the projection of a.weight turned .* \(2, 2\) into \(4"):
        parameter.step(FIRST, 0.1)


# -- who trains what ----------------------------------------------------------------------


def test_full_names_win_over_kinds_and_none_leaves_out():
    weight, delay = evsim.Adam(0.1), evsim.SGD(0.2)
    assigned = assign_optimizers(
        {
            "input->hidden.weight": delay,
            "weight": weight,
            "delay": delay,
            "input->hidden.delay": None,
        },
        small_network().parameters,
    )
    assert list(assigned.items()) == [
        ("input->hidden.weight", delay),
        ("hidden->output.weight", weight),
        ("hidden->output.delay", delay),
    ]


@pytest.mark.parametrize(
    ("optimizers", "error", "message"),
    [
        ({"weights": evsim.Adam(0.1)}, ValueError, "no parameter 'weights'; did you mean 'weight'"),
        ({"input->hiden.delay": evsim.Adam(0.1)}, ValueError, "did you mean 'input->hidden.delay'"),
        ({"weight": 0.1}, TypeError, r"optimizers\['weight'\] = 0.1: give an optimiser"),
        ({}, ValueError, "optimizers leaves nothing to train"),
        ({"hidden.threshold": None}, ValueError, "optimizers leaves nothing to train"),
        (evsim.Adam(0.1), TypeError, "give a mapping"),
    ],
)
def test_optimisers_that_train_nothing_are_refused(optimizers, error, message):
    with pytest.raises(error, match=message):
        assign_optimizers(optimizers, small_network().parameters)


@pytest.mark.parametrize(
    ("projections", "delay_max", "error", "message"),
    [
        (None, -1.0, ValueError, "delay_max = -1.0 ms: it must be >= 0"),
        (None, 0.5, ValueError, r"delay starts at 1, outside its bounds \[0, 0.5\]"),
        ({"weight": (2, 3)}, np.inf, ValueError, r"hidden.weight starts at 1, outside .* \[2, 3\]"),
        ({"threshold": (0, 1)}, np.inf, ValueError, "no trained parameter 'threshold'"),
        ({"weight": 3.0}, np.inf, TypeError, "give bounds"),
        (
            {"tau_mem": (0.0, 30.0)},
            np.inf,
            ValueError,
            r"tau_mem are \[0, 30\].* must be > 0",
        ),
    ],
)
def test_projections_that_cannot_hold_are_refused(projections, delay_max, error, message):
    parameters = small_network().parameters
    names = ("input->hidden.weight", "input->hidden.delay", "hidden.tau_mem")
    trained = {n: parameters[n] for n in names}
    with pytest.raises(error, match=message):
        assign_projections(projections, delay_max, trained)


def test_a_largest_delay_without_trained_delays_is_refused():
    trained = {"a.weight": START}
    with pytest.raises(ValueError, match="delay_max = 5 ms would have no effect"):
        assign_projections(None, 5.0, trained)


def test_lift_reaches_the_rows_of_the_units_only_and_stays_in_bounds():
    silent = np.array([False, True])
    sparse = csr_array(np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
    for value, expected in [
        (START, START + np.array([[0, 0], [0.25, 0.25]])),
        (START[:, :1], START[:, :1] + np.array([[0], [0.25]])),
    ]:
        parameter = TrainedParameter("weight", value, evsim.SGD(0.1))
        parameter.lift(silent, 0.25)
        assert np.array_equal(parameter.values, expected)
    for bounds, lifted in [((), 3.25), ((Bounds(0.0, 3.125),), 3.125)]:
        parameter = TrainedParameter("weight", sparse, evsim.SGD(0.1), bounds)
        parameter.lift(silent, 0.25)
        assert np.array_equal(parameter.holder.toarray(), [[1.0, 0.0, 2.0], [0.0, lifted, 0.0]])


def test_the_population_the_loss_reads_is_lifted_only_by_name():
    network = small_network()
    trained = dict.fromkeys(["input->hidden.weight", "hidden->output.weight"])
    assert assign_lift(0.5, network, "output", trained) == {"hidden": {"input->hidden.weight": 0.5}}
    assert assign_lift({"output": 0.5}, network, "output", trained) == {
        "output": {"hidden->output.weight": 0.5}
    }
    assert assign_lift(0.0, network, "output", trained) == {}


@pytest.mark.parametrize(
    ("lift", "network", "trained", "message"),
    [
        (0.1, small_network(np.ones((1, 2))), ["input->hidden.weight"], "its 2 units share"),
        (0.1, small_network(1.0), ["input->hidden.weight"], r"shape \(\), which its 2 units"),
        (0.1, small_network(), ["input->hidden.delay"], "none of its incoming weights is trained"),
        ({"input": 0.1}, small_network(), [], "names 'input', whose units never spike"),
        ({"hiden": 0.1}, small_network(), [], "no population 'hiden'"),
        (-0.1, small_network(), [], "silent_lift = -0.1: it must be finite and >= 0"),
    ],
)
def test_lifts_that_cannot_be_are_refused(lift, network, trained, message):
    with pytest.raises(ValueError, match=message):
        assign_lift(lift, network, "output", dict.fromkeys(trained))


def test_a_weight_shared_by_a_population_of_one_unit_can_be_lifted():
    network = small_network(np.ones((1, 2)), hidden=1)
    lift = assign_lift(0.1, network, "output", {"input->hidden.weight": None})
    assert lift == {"hidden": {"input->hidden.weight": 0.1}}
