"""NIR graphs and networks for the tests of NIR files; import it where nir is installed."""

import nir
import numpy as np

import evsim

EVENT = {"time_unit": "ms", "spike": "event"}


# -- graphs and networks ------------------------------------------------------------------------


def neuron(units=2, kind="CubaLIF", **parameters):
    """A node with distinct units; times in ms."""
    values = {
        "tau_mem": np.linspace(10.0, 20.0, units),
        "tau_syn": np.linspace(5.0, 3.0, units),
        "r": np.ones(units),
        "v_leak": np.zeros(units),
        "w_in": np.ones(units),
        "v_threshold": np.ones(units),
        "v_reset": np.zeros(units),
    } | {name: np.full(units, value) for name, value in parameters.items()}
    if kind == "CubaLI":
        del values["v_threshold"], values["v_reset"]
    return getattr(nir, kind)(**values)


def graph(nodes, edges, **options):
    """A graph of nodes by name, and edges as "a b c" for a to b to c."""
    pairs = [pair for path in edges for pair in zip(path.split(), path.split()[1:], strict=False)]
    return nir.NIRGraph(nodes, pairs, type_check=False, **options)


def layered(*middle, units=2, inputs=3, **parameters):
    """Input, the given nodes one after the other, a CubaLIF and an Output."""
    nodes = {"input": nir.Input(np.array([inputs]))}
    nodes |= {f"middle{number}": node for number, node in enumerate(middle)}
    nodes |= {"lif": neuron(units, **parameters), "output": nir.Output(np.array([units]))}
    return graph(nodes, [" ".join(nodes)])


def random_network(seed):
    """Two inputs, two hidden populations with loops, an output; all kinds of parameters."""
    from scipy.sparse import random_array

    g = np.random.default_rng(seed)
    sizes = {"a": 3, "b": 2, "first": 5, "second": 4, "output": 2}

    def voltages(units):
        return {"rest": g.uniform(-0.3, 0.3, units), "reset": g.uniform(-0.5, 0.5, units)}

    populations = [
        evsim.Input("a", 3),
        evsim.Input("b", 2),
        evsim.LIF("first", 5, g.uniform(5, 20, 5), g.uniform(2, 9, 5), **voltages(5)),
        evsim.LIF("second", 4, 15.0, g.uniform(2, 9, 4), g.uniform(0.9, 1.3, 4), reset=0.2),
        evsim.LI("output", 2, g.uniform(10, 20, 2), rest=0.1)
        if seed % 2
        else evsim.LIF("output", 2, 20.0, 5.0, 1.1),
    ]
    delays = {
        "one": lambda post, pre: 1.5,
        "axonal": lambda post, pre: g.uniform(0, 5, (1, pre)),
        "dendritic": lambda post, pre: g.uniform(0, 5, (post, 1)),
        "synaptic": lambda post, pre: g.uniform(0, 5, (post, pre)),
        "none": lambda post, pre: 0.0,
    }
    ends = ["a first", "b first", "first second", "second second", "second first", "second output"]
    connections = []
    for pair, kind in zip(ends, g.permutation([*delays, "synaptic"]), strict=True):
        source, target = pair.split()
        post, pre = sizes[target], sizes[source]
        scale = 3.0 if source in "ab" else 0.5
        weight = g.normal(0.4, 1.0, (post, pre)) * scale
        connections.append(evsim.Connection(source, target, weight, delays[kind](post, pre)))
    sparse = random_array((2, 5), density=0.6, rng=g).tocsr()
    delay = sparse.copy()
    delay.data = g.uniform(0, 5, sparse.nnz)
    connections.append(evsim.Connection("first", "output", sparse, delay))
    return evsim.Network(populations, connections)


def random_spikes(network, seed, batch=3, duration=60.0):
    """Some ten spikes of each unit of each input."""
    g = np.random.default_rng(seed)
    return {
        p.name: evsim.SpikeTrains.from_events(
            g.uniform(0, duration, 10 * batch * p.units),
            g.integers(0, p.units, 10 * batch * p.units),
            g.integers(0, batch, 10 * batch * p.units),
            batch_size=batch,
            unit_count=p.units,
        )
        for p in network.inputs
    }


def per_synapse(network, connection):
    """Weights and delays, each (post, pre); NaN where there is no synapse."""
    (found,) = [c for c in network.connections if c.name == connection]
    shape = network.population(found.target).units, network.population(found.source).units
    weight, delay = np.full(shape, np.nan), np.full(shape, np.nan)
    if found.is_sparse:
        entries = found.weight.tocoo()
        weight[entries.row, entries.col] = entries.data
        stored = found.delay.data if hasattr(found.delay, "tocsr") else None
        delay[entries.row, entries.col] = (
            np.broadcast_to(found.delay, shape)[entries.row, entries.col]
            if stored is None
            else stored
        )
    else:
        weight[:], delay[:] = found.weight, found.delay
    return weight, delay


def assert_same(found, expected, rtol=0.0):
    """The same populations and synapses, each number within a relative error."""
    described = [[(type(p), p.name, p.units) for p in n.populations] for n in (found, expected)]
    assert described[0] == described[1]
    assert {c.name for c in found.connections} == {c.name for c in expected.connections}
    for connection in expected.connections:
        for one, other in zip(
            per_synapse(found, connection.name),
            per_synapse(expected, connection.name),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=rtol, err_msg=connection.name)
    for name in ("tau_mem", "tau_syn", "threshold", "rest", "reset"):
        np.testing.assert_allclose(found.per_unit(name), expected.per_unit(name), rtol=rtol)


def spikes_of(network, spikes, duration=60.0):
    """The spikes of all populations by name."""
    run = evsim.simulate(network, spikes, duration, "reference")
    return {p.name: run.spikes[p.name] for p in network.populations if p.spiking}


CONVENTIONS = {
    "the same units": (EVENT, {}, 0.0),
    "seconds": ({"time_unit": "s", "spike": "event"}, {}, 4e-16),
    "pulses": ({"time_unit": "us", "spike": "pulse", "dt": 0.17}, {}, 9e-16),
    "snnTorch": ({"target": "snntorch"}, {"source": "snntorch"}, 9e-16),
    "jaxsnn": ({"target": "jaxsnn"}, {"source": "jaxsnn"}, 0.0),
}


def small(weight=1.0, delay=0.0, lif=None, names=("in", "lif")):
    return evsim.Network(
        [evsim.Input(names[0], 3), lif or evsim.LIF(names[1], 2)],
        [evsim.Connection(*names, np.full((2, 3), weight), delay)],
    )


def matrix(post, pre, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, (post, pre))


PLAIN = nir.Linear(np.ones((2, 3)))


def synaptic_by_hand(recurrent, finer=1):
    """What snnTorch writes for Linear, Synaptic, Linear, Synaptic; float32 and r = tau_mem/dt.

    With ``finer`` times as many steps per time constant, weights are smaller by that factor.
    """
    alpha, beta, dt = np.float32(1 - 0.02 / finer), np.float32(1 - 0.01 / finer), 1e-4
    g = np.random.default_rng(1)

    def synaptic(units):
        tau_mem, tau_syn = (np.full(units, dt / (1 - f), np.float32) for f in (beta, alpha))
        return nir.CubaLIF(
            tau_mem=tau_mem,
            tau_syn=tau_syn,
            r=tau_mem / dt,
            w_in=tau_syn / dt,
            v_leak=np.zeros(units, np.float32),
            v_threshold=np.ones(units, np.float32),
            v_reset=np.zeros(units, np.float32),
        )

    def weights(low, high, shape):
        return (g.uniform(low, high, shape) / finer).astype(np.float32)

    middle = "1.lif" if recurrent else "1"
    nodes = {
        "0": nir.Linear(weights(0.0, 0.012, (4, 3))),
        middle: synaptic(4),
        "1.w_rec": nir.Affine(
            weights(-0.004, 0.004, (4, 4)), weights(-2e-5, 2e-5, 4) / np.float32(finer)
        ),
        "2": nir.Linear(weights(0.0, 0.012, (2, 4))),
        "3": synaptic(2),
        "input": nir.Input(np.array([3])),
        "output": nir.Output(np.array([2])),
    }
    edges = [f"input 0 {middle} 2 3 output"]
    if recurrent:
        edges.append("1.lif 1.w_rec 1.lif")
    else:
        del nodes["1.w_rec"]
    return graph(nodes, edges)
