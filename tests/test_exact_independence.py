"""Results do not depend on threads, other samples, numbering, splitting, storage or code path.

For threads and other samples of the batch the results must be identical.  The others change the
order of sums, so results agree up to rounding.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from agreement import entries, spike_errors
from networks import KINDS, Case, looped, random_case
from scipy.sparse import csr_array

import evsim
from evsim.engines import Exact, Reference
from evsim.readouts import FirstSpike, Mean, Peak

pytestmark = pytest.mark.slow

EXACT = Exact(threads=1)
DEEP = KINDS[1:]
BATCH = 64  # a power of two, so that the mean over the batch divides without rounding


def weights_and_delays(network):
    return [name for name in network.parameters if name.endswith((".weight", ".delay"))]


@cache
def batch_case(kind, output) -> Case:
    """A batch in which units of every layer spike, but not too often."""
    rng = np.random.default_rng(KINDS.index(kind))
    while True:
        case = random_case(
            rng, kind, output=output, batch=BATCH, refractory=2.0, duration=30.0, sparse=True,
            delays="synaptic",
        )  # fmt: skip
        counts = EXACT.spike_counts(EXACT.simulate(case.network, case.inputs, case.duration))
        spikes = [counts[name].sum() for name in ("first", "second")]
        if min(spikes) > BATCH and max(spikes) < 30 * BATCH:
            return case


def results(case, engine):
    """All results: spikes, every readout, and the gradient of one readout."""
    state = engine.simulate(case.network, case.inputs, case.duration)
    values = {readout: engine.read(state, readout) for readout in case.readouts}
    cotangents = np.random.default_rng(1).normal(0, 1, (BATCH, 2))
    adjoint = engine.pull_back(
        state, case.readouts[0], cotangents, weights_and_delays(case.network)
    )
    return engine.spikes(state), values, adjoint, engine.report(state)


# -- not a bit ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("output", ["LIF", "LI"])
def test_threads(kind, output):
    case = batch_case(kind, output)
    spikes, values, adjoint, report = results(case, Exact(threads=1))
    for threads in (2, 3, 7):
        other_spikes, other_values, other, other_report = results(case, Exact(threads=threads))
        assert other_report == report
        assert all(spikes[name] == other_spikes[name] for name in spikes)
        for readout in values:
            np.testing.assert_array_equal(values[readout], other_values[readout])
        for name, gradient in adjoint.parameters.items():
            np.testing.assert_array_equal(entries(gradient), entries(other.parameters[name]))
        for name, gradient in adjoint.input_times.items():
            np.testing.assert_array_equal(gradient, other.input_times[name])


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("output", ["LIF", "LI"])
def test_neighbours_in_the_batch(kind, output):
    """Each sample by itself, and the batch in another order."""
    case = batch_case(kind, output)
    labels = np.arange(BATCH) % 2
    loss = evsim.losses.FirstSpikeCrossEntropy() if output == "LIF" else evsim.losses.CrossEntropy()

    def gradient(samples):
        inputs = {name: trains[samples] for name, trains in case.inputs.items()}
        return evsim.gradient(case.network, inputs, labels[samples], loss, case.duration)

    together = gradient(np.arange(BATCH))
    order = np.random.default_rng(0).permutation(BATCH)
    shuffled = gradient(order)
    for place, sample in enumerate(order):
        alone = gradient(np.array([sample]))
        assert alone.losses == together.losses[sample] == shuffled.losses[place]
        for name, trains in together.run.spikes.items():
            assert alone.run.spikes[name] == trains[sample] == shuffled.run.spikes[name][place]
        np.testing.assert_array_equal(alone.readout[0], together.readout[sample])
        np.testing.assert_array_equal(alone.readout[0], shuffled.readout[place])
        for name, slopes in alone.input_times.items():
            for batch, own in ((together, sample), (shuffled, place)):
                first, last = batch.run.inputs[name].offsets[own : own + 2]
                np.testing.assert_array_equal(slopes, BATCH * batch.input_times[name][first:last])


@pytest.mark.parametrize(
    "loss",
    [
        evsim.losses.CrossEntropy(evsim.readouts.Mean("sigmoid")),
        evsim.losses.CrossEntropy(evsim.readouts.Mean("input")),
        evsim.losses.TimeAveragedCrossEntropy(evsim.readouts.VoltageTrace(1e-14)),
    ],
)
def test_sampled_voltages_of_neighbours_and_threads(loss):
    case = batch_case("recurrent", "LIF")
    labels = np.arange(BATCH) % 2

    def gradient(samples, threads):
        inputs = {name: trains[samples] for name, trains in case.inputs.items()}
        engine = Exact(threads)
        return evsim.gradient(
            case.network, inputs, labels[samples], loss, case.duration, engine=engine
        )

    together, threaded = (gradient(np.arange(BATCH), threads) for threads in (1, 3))
    for name, values in together.parameters.items():
        np.testing.assert_array_equal(entries(values), entries(threaded.parameters[name]))
    for sample in range(BATCH):
        alone = gradient(np.array([sample]), 1)
        assert alone.losses == together.losses[sample] == threaded.losses[sample]
        np.testing.assert_array_equal(alone.readout[0], together.readout[sample])


# -- no more than rounding ------------------------------------------------------------------


def assert_same(one, other, units=None, parameters=None, tolerance=1e-12):
    """Two runs agree: spikes of all units, readouts, gradients of parameters and input times.

    ``units(name)`` gives spike trains of a population of the first network from the second
    run, ``parameters(name)`` a gradient; both as they are if not given.
    """
    spikes, values, adjoint, _ = one
    other_spikes, other_values, other_adjoint, _ = other
    units = units or other_spikes.__getitem__
    parameters = parameters or other_adjoint.parameters.__getitem__
    for name, trains in spikes.items():
        found = units(name)
        np.testing.assert_array_equal(found.counts(), trains.counts())
        order, other_order = (np.lexsort((t.times, t.units, t.samples)) for t in (trains, found))
        np.testing.assert_allclose(
            found.times[other_order], trains.times[order], rtol=tolerance, atol=0
        )
    for readout in values:
        if readout.population is None:  # of the output; those of other populations are spikes
            np.testing.assert_allclose(
                other_values[readout], values[readout], rtol=tolerance, atol=tolerance
            )
    for name, gradient in adjoint.parameters.items():
        found, expected = entries(parameters(name)), entries(gradient)
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
    for name, gradient in adjoint.input_times.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(
            other_adjoint.input_times[name], gradient, rtol=0, atol=tolerance * scale
        )


def full(values, shape):
    """A weight or delay as a dense array of shape (post, pre)."""
    return values.toarray() if hasattr(values, "tocsr") else np.broadcast_to(values, shape)


@pytest.mark.parametrize("kind", DEEP)
def test_numbering_of_units_and_synapses(kind):
    """Another order of units in a population, of populations, of connections, and of entries."""
    case = dense(batch_case(kind, "LI"))
    order = {"first": [2, 0, 3, 1], "second": [1, 2, 0]}
    network = case.network

    def own_order(name):
        return order.get(name, list(range(network.population(name).units)))

    *hidden, output = network.populations
    populations = []
    for p in [*hidden[::-1], output]:
        values = {n: getattr(p, n) for n in (*p.unit_parameters, "refractory") if hasattr(p, n)}
        values = {n: np.broadcast_to(v, p.units)[own_order(p.name)] for n, v in values.items()}
        populations.append(type(p)(p.name, p.units, **values))
    connections = []
    for c in network.connections[::-1]:
        place = np.ix_(own_order(c.target), own_order(c.source))
        connections.append(
            evsim.Connection(c.source, c.target, c.weight[place], c.delay[place], name=c.name)
        )
    renumbered = Case(evsim.Network(populations, connections), case.inputs, case.duration)
    one, other = results(case, EXACT), results(renumbered, EXACT)

    def units(name):
        trains = other[0][name]
        owner = np.array(own_order(name))[trains.units]
        return evsim.SpikeTrains(trains.times, owner, trains.offsets, trains.unit_count)

    def parameters(name):
        c = next(c for c in network.connections if c.name == name.rsplit(".", 1)[0])
        gradient = np.empty(c.weight.shape)
        gradient[np.ix_(own_order(c.target), own_order(c.source))] = other[2].parameters[name]
        return gradient

    assert_same(one, other, units, parameters)


def dense(case):
    """The same network, with the synapses that sparse weights leave out as synapses of weight 0."""
    network = case.network
    connections = []
    for c in network.connections:
        shape = network.population(c.target).units, network.population(c.source).units
        weight, delay = full(c.weight, shape), full(c.delay, shape)
        connections.append(evsim.Connection(c.source, c.target, weight, delay, name=c.name))
    return Case(evsim.Network(network.populations, connections), case.inputs, case.duration)


@pytest.mark.parametrize("kind", DEEP)
def test_sparse_and_dense_storage(kind):
    case = batch_case(kind, "LI")
    assert any(c.is_sparse for c in case.network.connections)
    one, other = results(case, EXACT), results(dense(case), EXACT)

    def parameters(name):
        """The gradient on the entries that are stored."""
        own, gradient = case.network.parameters[name], other[2].parameters[name]
        if not hasattr(own, "tocsr"):
            return gradient
        rows = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
        return gradient[rows, own.indices]

    assert_same(one, other, parameters=parameters)
    everything_stored = evsim.Network(
        case.network.populations,
        [stored(c, case.network) for c in dense(case).network.connections],
    )
    again = results(Case(everything_stored, case.inputs, case.duration), EXACT)
    assert all(other[0][name] == again[0][name] for name in other[0])
    for name, gradient in other[2].parameters.items():
        np.testing.assert_array_equal(entries(again[2].parameters[name]), gradient.ravel())


def stored(connection, network):
    """A dense connection as a sparse one that stores every entry, zeros included."""
    post, pre = connection.weight.shape
    indices, indptr = np.tile(np.arange(pre), post), np.arange(0, post * pre + 1, pre)
    weight, delay = (
        csr_array((values.ravel(), indices, indptr), (post, pre))
        for values in (connection.weight, connection.delay)
    )
    return evsim.Connection(
        connection.source, connection.target, weight, delay, name=connection.name
    )


@pytest.mark.parametrize("kind", DEEP)
def test_splitting_a_population(kind):
    """Four units of one population, or two populations of one and three units."""
    case = dense(batch_case(kind, "LI"))
    network = case.network
    parts = {"first": {"some": slice(0, 1), "others": slice(1, 4)}}

    def parts_of(name):
        return parts.get(name, {name: slice(None)})

    populations = []
    for p in network.populations:
        for name, own in parts_of(p.name).items():
            values = {n: getattr(p, n) for n in (*p.unit_parameters, "refractory") if hasattr(p, n)}
            values = {n: np.broadcast_to(v, p.units)[own] for n, v in values.items()}
            units = len(range(p.units)[own])
            populations.append(type(p)(name, units, **values))
    pieces = {
        (c.name, target, source): (rows, columns)
        for c in network.connections
        for target, rows in parts_of(c.target).items()
        for source, columns in parts_of(c.source).items()
    }
    by_name = {c.name: c for c in network.connections}
    connections = [
        evsim.Connection(
            source,
            target,
            by_name[name].weight[rows, columns],
            by_name[name].delay[rows, columns],
            name=f"{name} {target} {source}",
        )
        for (name, target, source), (rows, columns) in pieces.items()
    ]
    split = Case(evsim.Network(populations, connections), case.inputs, case.duration)
    one, other = results(case, EXACT), results(split, EXACT)

    def units(name):
        if name not in parts:
            return other[0][name]
        some, others = (other[0][part] for part in parts[name])
        return evsim.SpikeTrains.from_events(
            np.concatenate([some.times, others.times]),
            np.concatenate([some.units, others.units + 1]),
            np.concatenate([some.samples, others.samples]),
            batch_size=len(some),
            unit_count=4,
        )

    def parameters(name):
        connection, kind = name.rsplit(".", 1)
        gradient = np.empty(by_name[connection].weight.shape)
        for (own, target, source), place in pieces.items():
            if own == connection:
                gradient[place] = other[2].parameters[f"{own} {target} {source}.{kind}"]
        return gradient

    assert_same(one, other, units, parameters)


@pytest.mark.parametrize("output", ["LIF", "LI"])
def test_layers_run_as_recurrent_populations(output):
    """With extra synapses of weight 0 the code for recurrent populations runs a feedforward net."""
    case = batch_case("feedforward", output)
    names = [p.name for p in case.network.populations if isinstance(p, evsim.LIF)]
    network = looped(case.network, *names)
    one = results(case, EXACT)
    other = results(Case(network, case.inputs, case.duration), EXACT)
    assert_same(one, other)
    few = {name: trains[:8] for name, trains in case.inputs.items()}
    expected = Reference(digits=30).simulate(case.network, few, case.duration)
    for own in (case.network, network):
        trains = EXACT.spikes(EXACT.simulate(own, few, case.duration))
        errors = spike_errors(case.network, few, case.duration, trains, expected)
        assert not errors.pattern_differs
        assert errors.well_conditioned.size > 20
        assert errors.well_conditioned.max() <= 4.0


def test_the_same_batch_twice():
    """No state of a run changes a later run, whatever has run in between."""
    case, another = batch_case("recurrent", "LI"), batch_case("feedforward", "LIF")
    engine = Exact()
    one = results(case, engine)
    results(another, engine)
    again = results(case, engine)
    assert all(one[0][name] == again[0][name] for name in one[0])
    for readout in (Mean("flat"), Mean("exponential"), Peak(), FirstSpike(population="first")):
        np.testing.assert_array_equal(one[1][readout], again[1][readout])
    for name, gradient in one[2].parameters.items():
        np.testing.assert_array_equal(entries(gradient), entries(again[2].parameters[name]))


def test_networks_that_share_a_topology():
    """Neither the parameters of units of one run nor its dropout change another run."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3)],
        [evsim.Connection("input", "hidden", evsim.Normal(6.0, 1.0), evsim.Uniform(1.0, 3.0))],
        seed=0,
    )
    spikes = evsim.SpikeTrains.from_latencies(np.random.default_rng(0).uniform(0, 20, (8, 2)))

    def hidden(network, dropout=None):
        run = evsim.simulate(network, spikes, 40.0, EXACT, dropout=dropout)
        return run.spikes["hidden"]

    before = hidden(network)
    slower = network.replace({"hidden.tau_mem": 30.0})
    assert slower.topology is network.topology
    assert hidden(slower) == hidden(evsim.Network(slower.populations, slower.connections)) != before
    assert hidden(network, evsim.Dropout({"input": 0.5}, seed=0)) != before
    assert hidden(network) == before
