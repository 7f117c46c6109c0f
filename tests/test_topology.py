"""The flat arrays that engines loop over: synapses, sharing, and the order of populations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

import evsim

SHARED_SHAPES = ("()", "(1, pre)", "(post, 1)", "(post, pre)")


@st.composite
def networks(draw):
    """A network of two inputs, two LIF and an LI population under random connections."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=5, max_size=5))
    populations = [
        evsim.Input("first", sizes[0]),
        evsim.LIF("deep", sizes[1]),
        evsim.Input("second", sizes[2]),
        evsim.LIF("shallow", sizes[3]),
        evsim.LI("output", sizes[4]),
    ]
    units = {p.name: p.units for p in populations}
    ends = st.tuples(
        st.sampled_from(["first", "second", "deep", "shallow"]),
        st.sampled_from(["deep", "shallow", "output"]),
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    connections = []
    for number, (source, target) in enumerate(draw(st.lists(ends, min_size=1, max_size=5))):
        post, pre = units[target], units[source]
        shapes = {
            "()": (),
            "(1, pre)": (1, pre),
            "(post, 1)": (post, 1),
            "(post, pre)": (post, pre),
        }
        kind = draw(st.sampled_from(["dense", "sparse", "sparse with sparse delay"]))
        delay = generator.random(shapes[draw(st.sampled_from(SHARED_SHAPES))])
        weight = generator.normal(size=shapes[draw(st.sampled_from(SHARED_SHAPES))])
        if kind != "dense":
            weight = csr_array(
                generator.normal(size=(post, pre)) * generator.integers(0, 2, (post, pre))
            )
            delay = generator.random(shapes[draw(st.sampled_from(SHARED_SHAPES[:3]))])
        if kind == "sparse with sparse delay":
            delay = csr_array(
                (generator.random(weight.nnz), weight.indices, weight.indptr), shape=weight.shape
            )
        connections.append(evsim.Connection(source, target, weight, delay, name=f"c{number}"))
    return evsim.Network(populations, connections)


def entries(values):
    return values.data if hasattr(values, "tocsr") else values


@given(networks(), st.sampled_from(["weight", "delay"]), st.integers(0, 2**32 - 1))
def test_fold_is_the_transpose_of_spreading(network, kind, seed):
    """<spread(p), g> = <p, fold(g)> over all connections, in the parameters' shapes."""
    spread = network.weight_per_synapse() if kind == "weight" else network.delay_per_synapse()
    per_synapse = np.random.default_rng(seed).normal(size=spread.size)
    folded = 0.0
    for connection in network.connections:
        name = f"{connection.name}.{kind}"
        gradient = network.fold(name, per_synapse)
        parameter = network.parameters[name]
        assert type(gradient) is type(parameter)
        assert gradient.shape == parameter.shape
        folded += np.sum(entries(parameter) * entries(gradient))
    assert folded == pytest.approx(spread @ per_synapse, rel=1e-12, abs=1e-12)


@given(networks())
def test_synapses_are_those_of_the_connections(network):
    """The flat view, synapse by synapse, against the matrices it came from."""
    topology = network.topology
    first_unit = dict(
        zip([p.name for p in network.populations], topology.first_unit[:-1].tolist(), strict=True)
    )
    expected = []
    for c in network.connections:
        shape = network.population(c.target).units, network.population(c.source).units
        dense_weight = np.broadcast_to(c.weight.toarray() if c.is_sparse else c.weight, shape)
        delay = c.delay.toarray() if hasattr(c.delay, "tocsr") else c.delay
        exists = np.ones(shape, bool)
        if c.is_sparse:
            ones = csr_array(
                (np.ones(c.weight.nnz), c.weight.indices, c.weight.indptr), shape=shape
            )
            exists = ones.toarray() > 0
        for post, pre in zip(*np.nonzero(exists), strict=True):
            expected.append(
                (
                    first_unit[c.target] + post,
                    first_unit[c.source] + pre,
                    dense_weight[post, pre],
                    np.broadcast_to(delay, shape)[post, pre],
                )
            )
    found = zip(
        topology.target,
        topology.source,
        network.weight_per_synapse(),
        network.delay_per_synapse(),
        strict=True,
    )
    assert sorted(found) == sorted(expected)


@given(networks())
def test_topology_indexes_synapses_from_both_ends(network):
    topology = network.topology
    assert topology.unit_count == sum(p.units for p in network.populations)
    assert (np.diff(topology.target) >= 0).all()
    for unit in range(topology.unit_count):
        incoming = np.arange(topology.incoming[unit], topology.incoming[unit + 1])
        np.testing.assert_array_equal(incoming, np.flatnonzero(topology.target == unit))
        own = slice(topology.outgoing[unit], topology.outgoing[unit + 1])
        np.testing.assert_array_equal(
            np.sort(topology.outgoing_synapse[own]), np.flatnonzero(topology.source == unit)
        )


@given(networks())
def test_components_come_after_what_they_listen_to(network):
    names = [p.name for p in network.populations]
    place = {}
    for number, component in enumerate(network.topology.components):
        for population in component.populations:
            place[names[population]] = number
    assert sorted(place) == ["deep", "output", "shallow"]
    for c in network.connections:
        if c.source in place:
            assert place[c.source] <= place[c.target]
    ends = {(c.source, c.target) for c in network.connections}
    loop = {("deep", "shallow"), ("shallow", "deep")} <= ends
    assert (place["deep"] == place["shallow"]) == loop
    for component in network.topology.components:
        own = {names[population] for population in component.populations}
        itself = any((name, name) in ends for name in own)
        assert component.recurrent == (itself or (loop and len(own) == 2))


def test_per_unit_puts_populations_one_after_another():
    network = evsim.Network(
        [
            evsim.Input("input", 8),
            evsim.LIF("hidden", 2, tau_mem=[7.0, 8.0]),
            evsim.LI("output", 3, tau_mem=9.0),
        ],
        [],
    )
    expected = [np.nan] * 8 + [7.0, 8.0] + [9.0] * 3
    np.testing.assert_array_equal(network.per_unit("tau_mem"), expected)
    np.testing.assert_array_equal(network.per_unit("threshold", np.inf)[-3:], [np.inf] * 3)
