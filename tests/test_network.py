"""Networks: refused arguments, and immutability."""

import copy

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

import evsim

INPUT = evsim.Input("input", 8)
HIDDEN = evsim.LIF("hidden", 4)
OUTPUT = evsim.LI("output", 2)
POPULATIONS = [INPUT, HIDDEN, OUTPUT]


def network_of(*connections, populations=POPULATIONS, seed=None):
    return evsim.Network(populations, connections, seed=seed)


def with_entry(shape, index, value):
    array = np.ones(shape)
    array[index] = value
    return array


# -- refusals: populations ----------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["tau_mem", "tau_syn"])
@pytest.mark.parametrize(
    ("value", "found"), [(0.0, "0"), (-3.0, "-3"), (np.nan, "nan"), (np.inf, "inf")]
)
def test_time_constants_must_be_finite_and_positive(parameter, value, found):
    with pytest.raises(
        ValueError, match=rf"^hidden\.{parameter} = {found} ms: it must be finite and > 0$"
    ):
        evsim.LIF("hidden", 4, **{parameter: value})
    with pytest.raises(ValueError, match=rf"^hidden\.{parameter}\[2\] = {found} ms: "):
        evsim.LIF("hidden", 4, **{parameter: with_entry(4, 2, value)})


@pytest.mark.parametrize("parameter", ["threshold", "reset", "rest", "start"])
@pytest.mark.parametrize(("value", "found"), [(np.nan, "nan"), (np.inf, "inf")])
def test_voltages_of_units_must_be_finite(parameter, value, found):
    with pytest.raises(
        ValueError, match=rf"^hidden\.{parameter}\[2\] = {found}: it must be finite$"
    ):
        evsim.LIF("hidden", 4, **{parameter: with_entry(4, 2, value)})
    if parameter in ("rest", "start"):
        with pytest.raises(
            ValueError, match=rf"^output\.{parameter} = {found}: it must be finite$"
        ):
            evsim.LI("output", 2, **{parameter: value})


def test_reset_and_start_must_be_below_the_threshold():
    """Each refusal names the value, its unit and the threshold of that unit."""
    with pytest.raises(
        ValueError, match=r"^hidden\.reset\[2\] = 1: it must be below hidden\.threshold\[2\] = 1$"
    ):
        evsim.LIF("hidden", 4, reset=[0.0, 0.5, 1.0, 0.0], threshold=[1.0] * 4)
    with pytest.raises(
        ValueError, match=r"^hidden\.reset = 0: it must be below hidden\.threshold = -3$"
    ):
        evsim.LIF("hidden", 4, threshold=-3.0)
    with pytest.raises(
        ValueError, match=r"^hidden\.start = 1\.5: it must be below hidden\.threshold = 1$"
    ):
        evsim.LIF("hidden", 4, start=1.5)
    with pytest.raises(
        ValueError,
        match=r"^hidden\.rest\[1\] = 2: it must be below hidden\.threshold\[1\] = 1, as V starts "
        "there: give start$",
    ):
        evsim.LIF("hidden", 4, rest=[0.0, 2.0, 0.0, 0.0])
    assert evsim.LIF("hidden", 4, rest=2.0, start=0.5).rest == 2.0
    drawn = evsim.LIF("hidden", 4, reset=evsim.Uniform(1.0, 2.0))
    with pytest.raises(ValueError, match=r"hidden\.reset\[0\] = 1\..*: it must be below"):
        evsim.Network([evsim.Input("input", 1), drawn], [], seed=0)


def test_start_is_a_parameter_where_it_is_given():
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", 2), evsim.LI("output", 3, start=0.5)], []
    )
    names = [name for name in network.parameters if name.endswith((".reset", ".rest", ".start"))]
    assert names == ["hidden.reset", "hidden.rest", "output.rest", "output.start"]
    np.testing.assert_array_equal(network.per_unit("start"), [np.nan, 0, 0, 0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"no parameter 'hidden\.start'"):
        network.replace({"hidden.start": 0.1})


def test_refractory_may_be_zero_or_infinite_but_not_negative_or_nan():
    assert evsim.LIF("hidden", 4, refractory=0.0).refractory == 0
    assert evsim.LIF("hidden", 4, refractory=np.inf).refractory == np.inf
    with pytest.raises(ValueError, match=r"hidden\.refractory = -1 ms: it must be >= 0"):
        evsim.LIF("hidden", 4, refractory=-1.0)
    with pytest.raises(ValueError, match=r"hidden\.refractory\[1\] = nan ms: it must be >= 0"):
        evsim.LIF("hidden", 4, refractory=with_entry(4, 1, np.nan))


def test_unit_parameters_must_have_one_value_or_one_per_unit():
    with pytest.raises(ValueError, match=r"output\.tau_mem has shape \(3,\): .*shape \(2,\)"):
        evsim.LI("output", 2, tau_mem=[1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=r"output\.tau_syn has type <U1: .* real numbers"):
        evsim.LI("output", 2, tau_syn="5")


@pytest.mark.parametrize("units", [0, -1])
def test_a_population_has_at_least_one_unit(units):
    with pytest.raises(ValueError, match=rf"hidden: units = {units}: it must be at least 1"):
        evsim.LIF("hidden", units)


@pytest.mark.parametrize("units", [3.0, "3", True, None])
def test_units_is_an_integer(units):
    with pytest.raises(TypeError, match=r"hidden: units = .* must be an integer"):
        evsim.LIF("hidden", units)


@pytest.mark.parametrize("name", ["a.b", "a->b"])
def test_population_names_leave_room_for_parameter_names(name):
    with pytest.raises(ValueError, match="kept for the names of parameters and connections"):
        evsim.Input(name, 1)


def test_population_names_are_non_empty_strings():
    for name in ("", 3):
        with pytest.raises(TypeError, match="must be a non-empty string"):
            evsim.Input(name, 1)


def test_a_population_name_is_given_once():
    with pytest.raises(ValueError, match="population name 'hidden' is given twice"):
        network_of(populations=[INPUT, HIDDEN, evsim.LI("hidden", 2)])


def test_a_network_is_made_of_populations_and_connections():
    with pytest.raises(ValueError, match="at least one population"):
        evsim.Network([], [])
    with pytest.raises(
        TypeError, match=r"populations\[0\] = 'hidden': give evsim.Input, LIF or LI"
    ):
        evsim.Network(["hidden"], [])
    with pytest.raises(TypeError, match=r"connections\[0\] = .*: give evsim\.Connection"):
        network_of(("input", "hidden", 1.0))


# -- refusals: connections ----------------------------------------------------------------


def test_connections_join_known_populations_in_a_possible_direction():
    with pytest.raises(
        ValueError,
        match=r"'input->hiden': there is no population 'hiden'; did you mean 'hidden'",
    ):
        network_of(evsim.Connection("input", "hiden", 1.0))
    with pytest.raises(ValueError, match="'hidden->input' targets the input 'input'"):
        network_of(evsim.Connection("hidden", "input", 1.0))
    with pytest.raises(ValueError, match="'output->hidden' starts at 'output', whose LI units"):
        network_of(evsim.Connection("output", "hidden", 1.0))


def test_connection_names_differ_and_hold_no_dot():
    twice = evsim.Connection("input", "hidden", 1.0)
    with pytest.raises(ValueError, match="two connections are called 'input->hidden'"):
        network_of(twice, twice)
    with pytest.raises(ValueError, match=r"connection name 'a\.b': '\.' is kept"):
        evsim.Connection("input", "hidden", 1.0, name="a.b")


def test_a_negative_delay_is_named_by_its_index():
    delay = with_entry((4, 8), (3, 7), -0.5)
    message = r"^input->hidden\.delay\[3, 7\] = -0\.5 ms: delays must be >= 0$"
    with pytest.raises(ValueError, match=message):
        network_of(evsim.Connection("input", "hidden", 1.0, delay))
    with pytest.raises(ValueError, match=message):
        network_of(evsim.Connection("input", "hidden", csr_array(delay), csr_array(delay)))
    with pytest.raises(ValueError, match=message):
        network_of(evsim.Connection("input", "hidden", 1.0)).replace({"input->hidden.delay": delay})
    with pytest.raises(ValueError, match=r"^input->hidden\.delay = -0\.5 ms: "):
        network_of(evsim.Connection("input", "hidden", 1.0, -0.5))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["weight", "delay"])
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_weights_and_delays_must_be_finite(value, kind, form):
    values = {"weight": np.ones((4, 8)), "delay": np.ones((4, 8))}
    values[kind] = with_entry((4, 8), (1, 5), value)
    connection = evsim.Connection("input", "hidden", form(values["weight"]), form(values["delay"]))
    message = rf"input->hidden\.{kind}\[1, 5\] = {value}: it must be finite"
    with pytest.raises(ValueError, match=message):
        network_of(connection)


@pytest.mark.parametrize("kind", ["weight", "delay"])
@pytest.mark.parametrize("shape", [(8, 4), (8,), (4,), (1,), (2, 8), (1, 4, 8), (0, 8)])
def test_shapes_must_broadcast_to_post_by_pre(kind, shape):
    values = {"weight": 1.0, "delay": 1.0, kind: np.ones(shape)}
    with pytest.raises(
        ValueError,
        match=rf"input->hidden\.{kind} has shape .*\(post, pre\) = \(4, 8\), or shared as "
        r"\(1, 8\), \(4, 1\) or \(\)",
    ):
        network_of(evsim.Connection("input", "hidden", **values))


@pytest.mark.parametrize("weight", ["1", 1j, True])
def test_weights_are_real_numbers(weight):
    with pytest.raises(TypeError, match=r"input->hidden\.weight has type .* real numbers"):
        network_of(evsim.Connection("input", "hidden", weight))


def test_sparse_parameters_must_fit_each_other():
    weight = csr_array(np.eye(4, 8))
    others = csr_array(np.eye(4, 8, k=1))
    for delay, message in [
        (others, "does not store the same entries"),
        (
            np.ones((4, 8)),
            r"dense, shape \(4, 8\), .* shared one of shape \(\), \(1, 8\) or \(4, 1\)",
        ),
    ]:
        with pytest.raises(ValueError, match=r"input->hidden\.delay .*" + message):
            network_of(evsim.Connection("input", "hidden", weight, delay))
    with pytest.raises(ValueError, match="delay is sparse while the weight is dense"):
        network_of(evsim.Connection("input", "hidden", 1.0, others))
    with pytest.raises(ValueError, match=r"weight has shape \(8, 4\): .* = \(4, 8\)"):
        network_of(evsim.Connection("input", "hidden", csr_array(np.eye(8, 4))))


def test_a_synapse_is_stored_once():
    twice = coo_array(([1.0, 2.0, 3.0], ([0, 0, 1], [2, 2, 2])), shape=(4, 8))
    unsummed = csr_array(([1.0, 2.0, 3.0], [2, 2, 2], [0, 2, 3, 3, 3]), shape=(4, 8))
    for weight in (twice, unsummed):
        with pytest.raises(ValueError, match="weight stores 1 entries more than once"):
            network_of(evsim.Connection("input", "hidden", weight))


# -- refusals: replace -----------------------------------------------------------------------


def test_replace_names_what_is_unknown_and_what_was_meant():
    network = network_of(evsim.Connection("input", "hidden", 1.0))
    with pytest.raises(ValueError, match=r"no parameter 'hidden\.tau'; did you mean 'hidden\.tau_"):
        network.replace({"hidden.tau": 3.0})
    with pytest.raises(ValueError, match=r"no parameter 'xyz'; there are input->hidden\.weight, "):
        network.replace({"xyz": 3.0})
    with pytest.raises(ValueError, match=r"hidden\.reset\[3\] = 0: .* hidden\.threshold\[3\] = 0"):
        network.replace({"hidden.threshold": with_entry(4, 3, 0.0)})


# -- a frozen value ------------------------------------------------------------------------


def recurrent_network(sparse=False):
    generator = np.random.default_rng(1)
    weight = generator.normal(size=(4, 8))
    if sparse:
        weight = csr_array(weight * (generator.random((4, 8)) < 0.4))
    return network_of(
        evsim.Connection("input", "hidden", weight, generator.random((1, 8))),
        evsim.Connection("hidden", "hidden", generator.normal(size=(4, 4)), 1.5),
        evsim.Connection("hidden", "output", generator.normal(size=(2, 4))),
    )


def test_parameters_are_named_and_float64():
    parameters = recurrent_network().parameters
    assert list(parameters) == [
        "input->hidden.weight",
        "input->hidden.delay",
        "hidden->hidden.weight",
        "hidden->hidden.delay",
        "hidden->output.weight",
        "hidden->output.delay",
        "hidden.tau_mem",
        "hidden.tau_syn",
        "hidden.threshold",
        "hidden.reset",
        "hidden.rest",
        "output.tau_mem",
        "output.tau_syn",
        "output.rest",
    ]
    assert {values.dtype for values in parameters.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("sparse", [False, True])
def test_nothing_in_a_network_can_be_written_to(sparse):
    given = np.ones(4)
    network = recurrent_network(sparse).replace({"hidden.threshold": given})
    given[:] = -1.0
    np.testing.assert_array_equal(network.parameters["hidden.threshold"], np.ones(4))
    for values in network.parameters.values():
        arrays = (
            [values.data, values.indices, values.indptr] if hasattr(values, "tocsr") else [values]
        )
        for array in arrays:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    with pytest.raises(TypeError, match="does not support item assignment"):
        network.parameters["hidden.threshold"] = 2.0


def test_replace_changes_what_it_names_and_keeps_the_rest():
    network = recurrent_network()
    delay = np.random.default_rng(2).random((4, 1))
    changed = network.replace({"input->hidden.delay": delay, "output.tau_syn": [3.0, 4.0]})
    np.testing.assert_array_equal(changed.parameters["input->hidden.delay"], delay)
    np.testing.assert_array_equal(changed.parameters["output.tau_syn"], [3.0, 4.0])
    assert network.parameters["input->hidden.delay"].shape == (1, 8)
    assert network.parameters["output.tau_syn"] == 5.0
    for name, values in network.parameters.items():
        if name not in ("input->hidden.delay", "output.tau_syn"):
            np.testing.assert_array_equal(changed.parameters[name], values)


def test_replace_tells_a_connection_from_a_population_of_its_name():
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3)],
        [evsim.Connection("input", "hidden", 1.0, name="hidden")],
    )
    changed = network.replace({"hidden.weight": 2.0, "hidden.rest": 0.5, "hidden.delay": 3.0})
    found = {name: value.tolist() for name, value in changed.parameters.items()}
    before = {name: value.tolist() for name, value in network.parameters.items()}
    assert found == before | {"hidden.weight": 2.0, "hidden.rest": 0.5, "hidden.delay": 3.0}


def test_replace_shares_the_topology_unless_synapses_change():
    network = recurrent_network(sparse=True)
    topology = network.topology
    weight = network.parameters["input->hidden.weight"]
    assert network.replace({"hidden.tau_mem": 9.0}).topology is topology
    assert network.replace({"input->hidden.weight": 2 * weight}).topology is topology
    rewired = network.replace({"input->hidden.weight": np.ones((4, 8))})
    assert rewired.topology.source.size == topology.source.size - weight.nnz + 32


def test_zeros_that_a_sparse_weight_stores_are_synapses():
    weight = csr_array(([0.0, 2.0], [1, 7], [0, 1, 1, 2, 2]), shape=(4, 8))
    network = network_of(evsim.Connection("input", "hidden", weight))
    np.testing.assert_array_equal(network.weight_per_synapse(), [0.0, 2.0])


def test_repr_says_what_is_connected():
    assert repr(recurrent_network()) == (
        "Network(\n"
        "  Input 'input': 8 units\n"
        "  LIF 'hidden': 4 units\n"
        "  LI 'output': 2 units\n"
        "  Connection 'input->hidden': 32 synapses, delay shape (1, 8)\n"
        "  Connection 'hidden->hidden': 16 synapses, delay shape ()\n"
        "  Connection 'hidden->output': 8 synapses, delay shape ()\n"
        ")"
    )


def test_copies_are_as_frozen_as_the_original():
    weight = csr_array(np.eye(2))
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 2)],
        [evsim.Connection("input", "hidden", weight, delay=[[1.0, 2.0]])],
    )
    assert len(network.parameters) == 7  # and the view of them is made
    other = copy.deepcopy(network)
    assert not other.parameters["input->hidden.weight"].data.flags.writeable
    assert not other.parameters["input->hidden.delay"].flags.writeable
    assert not other.parameters["hidden.tau_mem"].flags.writeable
    assert not copy.deepcopy(evsim.SpikeTrains.from_lists([[]], units=1)).offsets.flags.writeable
    np.testing.assert_array_equal(other.weight_per_synapse(), [1.0, 1.0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: evsim.Network([evsim.Input("a", 1)], [], seed=-1), ValueError, "seed = -1: it"),
        (lambda: evsim.Network([evsim.Input("a", 1)], [], seed=1.5), TypeError, "seed = 1.5: it"),
        (lambda: evsim.Connection("a", "b", 1.0, name=3), TypeError, "name = 3 of a connection"),
        (lambda: evsim.Normal("a", 1), TypeError, "mean = 'a': it must be a number"),
        (lambda: evsim.Uniform(0, np.inf), ValueError, "high = inf: it must be finite"),
        (lambda: evsim.Constant(1, sharing="x"), ValueError, "sharing = 'x': choose one of syn"),
    ],
)
def test_what_is_no_seed_name_or_number_is_refused_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_initialiser_cannot_replace_a_parameter():
    network = evsim.Network(
        [evsim.Input("a", 1), evsim.LI("b", 1)], [evsim.Connection("a", "b", 1.0)], seed=3
    )
    with pytest.raises(TypeError, match=r"a->b.weight is replaced by Normal.*: give an array"):
        network.replace({"a->b.weight": evsim.Normal(0, 1)})


# -- unit parameters that are drawn -------------------------------------------------------


def test_unit_parameters_are_drawn_per_unit_when_a_network_is_built():
    hidden = evsim.LIF(
        "hidden", 400, tau_mem=evsim.Uniform(3.0, 60.0), tau_syn=evsim.Uniform(3.0, 60.0),
        threshold=evsim.Constant(2.0),
    )  # fmt: skip
    output = evsim.LI("output", 2, tau_mem=evsim.Uniform(3.0, 60.0, "shared"))
    network = network_of(populations=[INPUT, hidden, output], seed=4)
    values = network.parameters
    assert values["hidden.tau_mem"].shape == (400,)
    assert np.unique(values["hidden.tau_mem"]).size == 400
    assert not np.array_equal(values["hidden.tau_mem"], values["hidden.tau_syn"])
    assert np.array_equal(values["hidden.threshold"], np.full(400, 2.0))
    assert values["output.tau_mem"].shape == ()
    again = network_of(populations=[output, hidden, INPUT], seed=4).parameters
    other = network_of(populations=[INPUT, hidden, output], seed=5).parameters
    for name in ("hidden.tau_mem", "output.tau_mem"):
        assert np.array_equal(values[name], again[name])
        assert not np.array_equal(values[name], other[name])
    changed = network.replace({"hidden.threshold": 1.5})
    assert np.array_equal(changed.parameters["hidden.tau_mem"], values["hidden.tau_mem"])


@pytest.mark.parametrize(
    ("changes", "seed", "error", "message"),
    [
        ({"tau_mem": evsim.Normal(5.0, 1.0)}, None, ValueError,
         r"hidden\.tau_mem is drawn from Normal.* seed=0"),
        ({"tau_syn": evsim.Uniform(-2.0, -1.0)}, 1, ValueError,
         r"hidden\.tau_syn\[0\] = -1\.\d+ ms: it must be finite and > 0"),
        ({"threshold": evsim.Uniform(1.0, 2.0, "axonal")}, 1, ValueError,
         "a population has no axonal parameters"),
        ({"refractory": evsim.Constant(1.0)}, 1, TypeError, r"hidden\.refractory is a Constant"),
    ],
)  # fmt: skip
def test_draws_that_no_unit_can_have_are_refused(changes, seed, error, message):
    with pytest.raises(error, match=message):
        network_of(populations=[INPUT, evsim.LIF("hidden", 4, **changes)], seed=seed)
