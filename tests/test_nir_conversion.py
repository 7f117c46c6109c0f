"""Networks become NIR graphs and come back; graphs that are put together in many ways are read."""

import warnings

import numpy as np
import pytest

import evsim

nir = pytest.importorskip("nir", reason='NIR files need pip install "evsim[nir]"')

from nir_graphs import (  # noqa: E402
    CONVENTIONS,
    EVENT,
    assert_same,
    graph,
    layered,
    matrix,
    neuron,
    per_synapse,
    random_network,
    random_spikes,
    small,
    spikes_of,
    synaptic_by_hand,
)

CoarseStepWarning = evsim.nir.CoarseStepWarning


# -- round trips ------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_a_random_network_comes_back(seed, convention, tmp_path):
    network = random_network(seed)
    written, read, rtol = CONVENTIONS[convention]
    file = tmp_path / "network.nir"
    returned = evsim.nir.write(network, file, synaptic_delays=True, **written)
    for origin in (file, str(file), returned):
        assert_same(evsim.nir.read(origin, sparse=True, **read), network, rtol)
    nir.read(file)  # which checks the types of all nodes


def test_a_network_that_comes_back_gives_the_same_spikes(tmp_path):
    network = random_network(0)
    spikes = random_spikes(network, 0)
    evsim.nir.write(network, tmp_path / "network.nir", synaptic_delays=True, **EVENT)
    found = spikes_of(evsim.nir.read(tmp_path / "network.nir"), spikes)
    expected = spikes_of(network, spikes)
    assert min(trains.times.size for trains in expected.values()) > 20
    assert found == expected


def test_a_graph_states_what_its_numbers_mean():
    network = random_network(1)
    written = {"time_unit": "s", "spike": "pulse", "dt": 0.1}
    made = evsim.nir.write(network, synaptic_delays=True, **written)
    assert_same(evsim.nir.read(made, sparse=True), network, 9e-16)
    made.metadata = {}
    with pytest.raises(ValueError, match="NIR does not define the unit of time and the size"):
        evsim.nir.read(made)
    again = evsim.nir.read(made, sparse=True, **written)
    np.testing.assert_allclose(
        np.sort(again.delay_per_synapse()), np.sort(network.delay_per_synapse()), rtol=9e-16
    )


def test_a_shared_delay_needs_one_node():
    for delay, order in (([[1.0], [2.0]], "linear delay"), ([[1.0, 2.0, 0.0]], "delay linear")):
        network = evsim.Network(
            [evsim.Input("in", 3), evsim.LIF("lif", 2)],
            [evsim.Connection("in", "lif", np.ones((2, 3)), delay)],
        )
        made = evsim.nir.write(network, **EVENT)
        names = {"linear": "in_to_lif", "delay": "in_to_lif_delay"}
        first, second = (names[kind] for kind in order.split())
        assert {("in", first), (first, second), (second, "lif")} <= set(made.edges)
        assert_same(evsim.nir.read(made), network)


def test_the_numbers_for_snntorch_are_those_of_its_import():
    network = evsim.Network(
        [evsim.Input("in", 1), evsim.LIF("lif", 1, 20.0, 5.0)],
        [evsim.Connection("in", "lif", 8.0)],
    )
    made = evsim.nir.write(network, target="snntorch")
    lif = made.nodes["lif"]
    assert lif.tau_mem == pytest.approx(0.02)
    assert lif.r == pytest.approx(200.0)  # tau_mem/dt with a dt of 0.1 ms
    assert lif.w_in == pytest.approx(50.0)  # tau_syn/dt
    assert made.nodes["in_to_lif"].weight == pytest.approx(8.0 / 200.0)


# -- graphs that are put together in other ways ---------------------------------------------------


def test_synapses_with_a_delay_each_are_put_together_again():
    """Linear, Delay, Linear, where each row of the first repeats one unit."""
    g = np.random.default_rng(0)
    weight, delay = g.normal(size=(2, 3)), g.uniform(0, 5, (2, 3))
    fan = np.tile(np.eye(3), (2, 1))
    spread = np.zeros((2, 6))
    for target in range(2):
        spread[target, 3 * target : 3 * target + 3] = weight[target]
    made = layered(nir.Linear(fan), nir.Delay(delay.ravel()), nir.Linear(spread))
    (connection,) = evsim.nir.read(made, **EVENT).connections
    np.testing.assert_array_equal(connection.weight, weight)
    np.testing.assert_array_equal(connection.delay, delay)


def test_paths_of_different_delays_become_parallel_connections():
    """Two channels between the layers, of different delays, which every synapse has."""
    into, out = matrix(2, 3), matrix(2, 2, 1)
    made = layered(nir.Linear(into), nir.Delay(np.array([1.0, 4.0])), nir.Linear(out))
    network = evsim.nir.read(made, **EVENT)
    assert [c.name for c in network.connections] == ["input->lif", "input->lif 2"]
    for channel, name in enumerate(["input->lif", "input->lif 2"]):
        weight, delay = per_synapse(network, name)
        np.testing.assert_allclose(weight, np.outer(out[:, channel], into[channel]), rtol=1e-15)
        assert np.all(delay == [1.0, 4.0][channel])


def test_matrices_and_factors_in_a_row_are_multiplied():
    scale, one, two = np.array([0.5, 2.0, 3.0]), matrix(4, 3), matrix(2, 4, 1)
    made = layered(nir.Scale(scale), nir.Linear(one), nir.Linear(two))
    network = evsim.nir.read(made, **EVENT)
    np.testing.assert_allclose(per_synapse(network, "input->lif")[0], two @ one * scale)


@pytest.mark.parametrize("delays", [None, [1.0, 2.0]])
def test_a_weight_of_0_is_a_synapse_unless_the_user_says_otherwise(delays):
    weight = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 4.0]])
    made = layered(nir.Linear(weight), *([] if delays is None else [nir.Delay(np.array(delays))]))
    found = per_synapse(evsim.nir.read(made, **EVENT), "input->lif")
    np.testing.assert_array_equal(found[0], weight)
    expected = np.broadcast_to(np.reshape(delays or [0.0, 0.0], (2, 1)), (2, 3))
    np.testing.assert_array_equal(found[1], expected)
    found = per_synapse(evsim.nir.read(made, **EVENT, sparse=True), "input->lif")
    np.testing.assert_array_equal(found[0], np.where(weight == 0, np.nan, weight))
    silent = evsim.nir.read(layered(nir.Linear(0 * weight)), **EVENT)
    np.testing.assert_array_equal(per_synapse(silent, "input->lif")[0], 0 * weight)


def test_an_edge_alone_connects_each_unit_to_one():
    network = evsim.nir.read(layered(inputs=2), **EVENT)
    np.testing.assert_array_equal(
        per_synapse(network, "input->lif")[0], [[1.0, np.nan], [np.nan, 1.0]]
    )


def test_a_delay_alone_keeps_its_units_apart():
    network = evsim.nir.read(layered(nir.Delay(np.array([1.0, 2.5])), inputs=2), **EVENT)
    np.testing.assert_array_equal(
        per_synapse(network, "input->lif")[1], [[1.0, np.nan], [np.nan, 2.5]]
    )


def test_edges_that_meet_are_added():
    one, two = matrix(2, 3), matrix(2, 3, 1)
    nodes = {
        "input": nir.Input(np.array([3])),
        "other": nir.Input(np.array([3])),
        "one": nir.Linear(one),
        "two": nir.Linear(two),
        "lif": neuron(),
        "output": nir.Output(np.array([2])),
    }
    edges = ["input one lif output", "input two lif", "other two"]
    network = evsim.nir.read(graph(nodes, edges), **EVENT)
    assert [p.name for p in network.populations] == ["input", "other", "lif"]
    found = {c.name: per_synapse(network, c.name)[0] for c in network.connections}
    np.testing.assert_array_equal(found["input->lif"] + found["input->lif 2"], one + two)
    np.testing.assert_array_equal(found["other->lif"], two)


def test_graphs_inside_graphs_are_unfolded():
    one, loop, two = matrix(2, 3), matrix(2, 2, 1), matrix(2, 2, 2)
    inner = graph(
        {
            "in": nir.Input(np.array([2])),
            "lif": neuron(),
            "w_rec": nir.Linear(loop),
            "out": nir.Output(np.array([2])),
        },
        ["in lif w_rec lif", "lif out"],
    )
    nodes = {
        "input": nir.Input(np.array([3])),
        "one": nir.Linear(one),
        "layer": inner,
        "two": nir.Linear(two),
        "last": neuron(kind="CubaLI"),
        "output": nir.Output(np.array([2])),
    }
    network = evsim.nir.read(graph(nodes, ["input one layer two last output"]), **EVENT)
    assert [p.name for p in network.populations] == ["input", "layer_lif", "last"]
    expected = {"input->layer_lif": one, "layer_lif->layer_lif": loop, "layer_lif->last": two}
    assert {c.name for c in network.connections} == set(expected)
    for name, weight in expected.items():
        np.testing.assert_array_equal(per_synapse(network, name)[0], weight)


def test_images_are_flattened_row_by_row():
    weight = matrix(2, 6)
    made = layered(nir.Flatten(None, 0, -1), nir.Linear(weight))
    made.nodes["input"] = nir.Input(np.array([2, 3]))
    network = evsim.nir.read(made, **EVENT)
    assert network.population("input").units == 6
    np.testing.assert_array_equal(per_synapse(network, "input->lif")[0], weight)


def test_single_numbers_are_shared_by_the_units_that_the_graph_gives_a_node():
    values = {"tau_mem": 20.0, "tau_syn": 5.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0}
    node = nir.CubaLIF(**{name: np.array(value) for name, value in values.items()})
    made = layered(nir.Linear(matrix(2, 3)))
    made.nodes["lif"] = node
    network = evsim.nir.read(made, **EVENT)
    assert network.population("lif").units == 2
    assert network.parameters["lif.tau_mem"].shape == ()


def test_the_populations_of_outputs_come_last():
    nodes = {
        "a last": neuron(kind="CubaLI"),
        "b": nir.Linear(matrix(2, 2)),
        "c first": neuron(),
        "d input": nir.Input(np.array([2])),
        "e": nir.Output(np.array([2])),
    }
    edges = ["d input", "c first"], ["c first", "b"], ["b", "a last"], ["a last", "e"]
    made = nir.NIRGraph(nodes, [tuple(edge) for edge in edges], type_check=False)
    network = evsim.nir.read(made, **EVENT)
    assert [p.name for p in network.populations] == ["d input", "c first", "a last"]
    assert network.output.name == "a last"


def test_names_that_evsim_cannot_have_are_changed():
    nodes = {"x.y": nir.Input(np.array([2])), "x_y": neuron(), "z->": neuron()}
    made = nir.NIRGraph(nodes, [("x.y", "x_y"), ("x_y", "z->")], type_check=False)
    network = evsim.nir.read(made, **EVENT)
    assert [p.name for p in network.populations] == ["x_y", "x_y_2", "z_to_"]


# -- biases -----------------------------------------------------------------------------------


def test_a_bias_is_a_rest_and_a_spike_at_the_start_that_cannot_be_forgotten():
    made = layered(
        nir.Affine(matrix(2, 3), np.array([0.5, 0.0])), r=2.0, w_in=1.5, v_leak=0.1, v_threshold=9.0
    )
    network = evsim.nir.read(made, **EVENT)
    assert [p.name for p in network.populations] == ["input", "bias", "lif"]
    np.testing.assert_allclose(network.population("lif").rest, [0.1 + 1.5, 0.1])
    assert network.population("lif").start == 0.1
    np.testing.assert_allclose(per_synapse(network, "bias->lif")[0], [[-1.5], [0.0]])

    spikes = evsim.SpikeTrains.from_lists([[(3.0, 1)], [], []], units=3)
    with pytest.raises(ValueError, match="the network has the inputs input, bias: give a mapping"):
        evsim.simulate(network, spikes, 10.0)
    with pytest.raises(ValueError, match="no spikes are given for the input 'bias'"):
        evsim.simulate(network, {"input": spikes}, 10.0)
    given = evsim.nir.with_bias(network, spikes)
    assert given["input"] is spikes
    assert given["bias"].to_lists() == [[(0.0, 0)]] * 3
    assert evsim.nir.with_bias(network, {"input": spikes}) == given


def test_a_bias_leads_to_the_current_that_the_equation_says():
    """Without spikes, V of an LI is the response to a current that rises from 0 to r w_in b."""
    made = layered(nir.Affine(matrix(2, 3), np.array([0.5, -0.25])))
    made.nodes["lif"] = neuron(kind="CubaLI", tau_mem=20.0, tau_syn=5.0, r=2.0, w_in=1.5)
    network = evsim.nir.read(made, **EVENT)
    silent = evsim.SpikeTrains.from_lists([[]], units=3)
    times = np.array([0.0, 2.0, 10.0, 50.0])
    run = evsim.simulate(network, evsim.nir.with_bias(network, silent), 60.0, "reference")
    rise = 1 - (20.0 * np.exp(-times / 20.0) - 5.0 * np.exp(-times / 5.0)) / 15.0
    expected = np.outer([1.5, -0.75], rise)
    np.testing.assert_allclose(run.voltage("lif", times)[0], expected, atol=1e-14)


def test_a_bias_per_step_is_added_as_often_as_there_are_steps():
    made = layered(nir.Affine(matrix(2, 3), np.array([0.5, 0.0])), tau_syn=5.0, v_threshold=99.0)
    network = evsim.nir.read(made, **EVENT, dt=0.25, bias="per step")
    np.testing.assert_allclose(network.population("lif").rest, [0.5 * 5.0 / 0.25, 0.0])
    pulses = [evsim.nir.read(made, time_unit="ms", spike="pulse", dt=0.25, bias=bias)
              for bias in ("constant", "per step")]  # fmt: skip
    assert_same(*pulses)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_biases_are_written_as_biases(convention):
    made = layered(
        nir.Affine(matrix(2, 3), np.array([0.5, -0.2])), r=2.0, v_leak=0.1, v_threshold=[9.0, 8.0]
    )
    network = evsim.nir.read(made, **EVENT)
    written, read, rtol = CONVENTIONS[convention]
    again = evsim.nir.write(network, **written)
    assert [type(node).__name__ for node in again.nodes.values()] == [
        "Input", "CubaLIF", "Affine", "Output"
    ]  # fmt: skip
    assert_same(evsim.nir.read(again, **read), network, max(rtol, 1e-15))


def test_biases_that_do_not_fit_remain_an_input_and_a_start():
    network = evsim.nir.read(
        layered(nir.Affine(matrix(2, 3), np.ones(2)), v_threshold=9.0), **EVENT
    )
    changed = network.replace({"lif.rest": 0.5})
    with pytest.raises(ValueError, match="lif.start differs from its rest, and in NIR V has no st"):
        evsim.nir.write(changed, **EVENT)
    made = evsim.nir.write(changed, **EVENT, lossy=True)
    assert isinstance(made.nodes["bias"], nir.Input)
    assert isinstance(made.nodes["bias_to_lif"], nir.Linear)
    fitting = changed.replace({"bias->lif.weight": np.full((2, 1), -0.5)})  # start - rest
    (affine,) = [
        n for n in evsim.nir.write(fitting, **EVENT).nodes.values() if isinstance(n, nir.Affine)
    ]
    np.testing.assert_array_equal(affine.bias, [0.5, 0.5])


def test_with_bias_leaves_a_network_without_biases_as_it_is():
    network = evsim.nir.read(layered(nir.Linear(matrix(2, 3))), **EVENT)
    spikes = evsim.SpikeTrains.from_lists([[(3.0, 1)]], units=3)
    assert evsim.nir.with_bias(network, spikes) == {"input": spikes}


def test_the_input_of_the_biases_can_have_another_name():
    made = layered(nir.Affine(matrix(2, 3), np.ones(2)), v_threshold=9.0)
    made.nodes["bias"] = made.nodes.pop("input")
    made.edges = [("bias", "middle0"), *made.edges[1:]]
    with pytest.raises(ValueError, match=r"a node that is called 'bias': .* bias_input=\.\.\."):
        evsim.nir.read(made, **EVENT)
    network = evsim.nir.read(made, **EVENT, bias_input="constant")
    spikes = evsim.SpikeTrains.from_lists([[(3.0, 1)]], units=3)
    assert set(evsim.nir.with_bias(network, spikes, bias_input="constant")) == {"bias", "constant"}
    several = evsim.nir.with_bias(network, {"bias": spikes}, bias_input="constant")
    assert several["constant"].to_lists() == [[(0.0, 0)]]


def test_with_bias_refuses_what_it_cannot_complete():
    network = random_network(0)
    spikes = evsim.SpikeTrains.from_lists([[]], units=3)
    with pytest.raises(ValueError, match="the network has the inputs a, b: give a mapping from"):
        evsim.nir.with_bias(network, spikes)
    with pytest.raises(TypeError, match="spikes = 5: give SpikeTrains, or a mapping"):
        evsim.nir.with_bias(network, 5)
    with pytest.raises(TypeError, match="spikes of 'a' = 5: give SpikeTrains"):
        evsim.nir.with_bias(network, {"a": 5})


# -- start, refractory periods, loops ---------------------------------------------------------


def test_v_starts_at_v_leak_or_where_the_user_says():
    made = layered(nir.Linear(matrix(2, 3)), v_leak=0.5)
    network = evsim.nir.read(made, **EVENT)
    assert network.population("lif").start is None
    assert network.population("lif").rest == 0.5
    assert evsim.nir.read(made, **EVENT, start=0.0).population("lif").start == 0.0


def test_a_leak_above_the_threshold_needs_a_start():
    made = layered(nir.Linear(matrix(2, 3)), v_leak=1.2)
    message = r"'lif' starts at v_leak = 1.2, and v_threshold of unit 0 is 1: .* such as start=0.0"
    with pytest.raises(ValueError, match=message):
        evsim.nir.read(made, **EVENT)
    network = evsim.nir.read(made, **EVENT, start=0.0)
    for fault, words in (
        ({"v_leak": np.nan}, "lif.rest"),
        ({"v_threshold": np.nan}, "lif.threshold"),
    ):
        with pytest.raises(ValueError, match=rf"{words}.* = nan: it must be finite"):
            evsim.nir.read(layered(nir.Linear(matrix(2, 3)), **fault), **EVENT)
    silent = evsim.SpikeTrains.from_lists([[]], units=3)
    found = evsim.simulate(network, silent, 30.0, "reference").spikes["lif"]
    np.testing.assert_allclose(found.times[0], 10.0 * np.log(1.2 / 0.2), rtol=1e-12)


def test_what_a_step_does_can_be_asked_for():
    made = synaptic_by_hand(True)
    read = {"source": "snntorch", "refractory": 0.1, "recurrent_delay": 0.1}
    network = evsim.nir.read(made, **read)
    assert all(np.all(p.refractory == 0.1) for p in network.populations if p.spiking and
               not isinstance(p, evsim.Input))  # fmt: skip
    delays = {c.name: float(np.max(c.delay)) for c in network.connections}
    assert delays == {"input->1_lif": 0, "bias->1_lif": 0, "1_lif->1_lif": 0.1, "1_lif->3": 0}


# -- warnings -----------------------------------------------------------------------------------


def test_few_steps_per_time_constant_earn_a_warning_with_a_remedy():
    made = layered(nir.Linear(matrix(2, 3)), tau_mem=20.0, tau_syn=4.0)
    message = (
        r"in steps of 0.5 ms, tau_syn of 'lif' is 8: with fewer than 10 steps per time constant .* "
        r"so try refractory=0.5 and recurrent_delay=0.5$"
    )
    with pytest.warns(CoarseStepWarning, match=message) as caught:
        evsim.nir.read(made, **EVENT, dt=0.5)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evsim.nir.read(made, **EVENT, dt=0.4)
        evsim.nir.read(made, **EVENT)


def test_a_target_of_few_steps_per_time_constant_earns_a_warning():
    network = small()
    message = r"in steps of 1 ms, tau_syn of 'lif' is 5: .* dt$"
    with pytest.warns(CoarseStepWarning, match=message) as caught:
        made = evsim.nir.write(network, target="norse")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evsim.nir.read(made)  # it was not trained in these steps
        evsim.nir.write(network, target="norse", dt=0.5)
