"""NIR files: what is read and written means what NIR's own equations say.

The opponents are Euler steps of NIR's equations on the graph itself, which share no code with
evsim, and the programs snnTorch and Norse where they are installed.
"""

import json
import re
import warnings

import numpy as np
import pytest
from test_bad_arguments import faults_of_call, in_a_folder  # noqa: F401

import evsim

nir = pytest.importorskip("nir", reason='NIR files need pip install "evsim[nir]"')
CoarseStepWarning = evsim.nir.CoarseStepWarning

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


# -- round trips ------------------------------------------------------------------------------

CONVENTIONS = {
    "the same units": (EVENT, {}, 0.0),
    "seconds": ({"time_unit": "s", "spike": "event"}, {}, 4e-16),
    "pulses": ({"time_unit": "us", "spike": "pulse", "dt": 0.17}, {}, 9e-16),
    "snnTorch": ({"target": "snntorch"}, {"source": "snntorch"}, 9e-16),
    "jaxsnn": ({"target": "jaxsnn"}, {"source": "jaxsnn"}, 0.0),
}


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


# -- what a graph means ---------------------------------------------------------------------------


class Euler:
    """Euler steps of NIR's equations, on the graph itself.

    ``jump`` gives what a spike adds to I of a node through a weight of 1.  Times are in the unit of
    the graph.
    """

    def __init__(self, made, step, jump):
        self.nodes, self.step, self.jump = made.nodes, step, jump
        self.before = {name: [] for name in made.nodes}
        for source, target in made.edges:
            self.before[target].append(source)
        self.neurons = {n: node for n, node in made.nodes.items() if hasattr(node, "tau_mem")}
        self.lines = {}  # what is on its way through each Delay

    def arriving(self, name, spikes, count):
        """The spikes that reach a node in this step."""
        return sum(self.leaving(source, spikes, count) for source in self.before[name])

    def leaving(self, name, spikes, count):
        if name in spikes:
            return spikes[name]
        node, arrived = self.nodes[name], self.arriving(name, spikes, count)
        if not isinstance(node, nir.Delay):
            return node.weight @ arrived
        steps = np.rint(node.delay / self.step).astype(int)
        line = self.lines.setdefault(name, np.zeros((steps.max() + 1, steps.size)))
        line[count % len(line)] = arrived
        return line[(count - steps) % len(line), np.arange(steps.size)]

    def constant(self, name):
        """The constant that reaches a node: biases of the Affine nodes in front of it."""
        return sum(getattr(self.nodes[source], "bias", 0.0) for source in self.before[name])

    def run(self, times, units, duration):
        """The spike times of each neuron by its name and unit."""
        v = {name: node.v_leak.astype(float) for name, node in self.neurons.items()}
        i = {name: np.zeros(len(node.v_leak)) for name, node in self.neurons.items()}
        found = {(name, unit): [] for name in v for unit in range(len(v[name]))}
        given = np.zeros((int(duration / self.step), self.nodes["input"].input_type["input"][0]))
        np.add.at(given, (np.rint(times / self.step).astype(int), units), 1.0)
        jumps = {name: self.jump(node) for name, node in self.neurons.items()}
        constants = {name: node.w_in * self.constant(name) for name, node in self.neurons.items()}
        for count, now in enumerate(given):
            spikes = {"input": now}
            for name, node in self.neurons.items():
                spikes[name] = v[name] > node.v_threshold
                if spikes[name].any():
                    v[name][spikes[name]] = node.v_reset[spikes[name]]
                    for unit in np.flatnonzero(spikes[name]):
                        found[name, int(unit)].append(count * self.step)
            arriving = {name: self.arriving(name, spikes, count) for name in self.neurons}
            for name, node in self.neurons.items():
                current = i[name] + jumps[name] * arriving[name]
                i[name] = current + self.step / node.tau_syn * (constants[name] - current)
                change = node.v_leak - v[name] + node.r * current
                v[name] += self.step / node.tau_mem * change
        return found


def event(node):
    return node.w_in


def pulse(dt):
    return lambda node: node.w_in * dt / node.tau_syn


def assert_limit_of_steps(made, network, jump, scale, spikes, duration, steps, bias=False):
    """The spikes of Euler steps tend to those of the network, and their error falls with the step.

    ``scale`` is ms per unit of time of the graph; ``steps`` are in ms.
    """
    given = evsim.nir.with_bias(network, spikes)
    assert ("bias" in given) is bias
    expected = spikes_of(network, given, duration)
    errors = []
    for step in steps:
        euler = Euler(made, step / scale, jump)
        found = euler.run(spikes.times / scale, spikes.units, duration / scale)
        differences = []
        for (name, unit), times in found.items():
            trains = expected[re.sub(r"\.", "_", name)]
            exact = trains.times[trains.units == unit]
            assert len(times) == exact.size, (name, unit, step)
            differences += list(np.abs(scale * np.array(times) - exact))
        errors.append(np.mean(differences))
        assert len(differences) > 25
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 0.85 < slope < 1.15, (slope, errors)
    assert errors[-1] < 5 * steps[-1]


def some_spikes(units, duration, count, seed=0):
    g = np.random.default_rng(seed)
    return evsim.SpikeTrains.from_events(
        # on all grids, so that only the neurons make errors; and early, so that all spikes come
        np.round(g.uniform(0, 0.6 * duration, count), 1),
        g.integers(0, units, count),
        np.zeros(count, int),
        batch_size=1,
        unit_count=units,
    )


STEPS = (0.04, 0.02, 0.01)


def everything():
    """A graph in s with biases, delays and a loop, and no simple value anywhere."""
    g = np.random.default_rng(3)
    nodes = {
        "input": nir.Input(np.array([3])),
        "in": nir.Affine(g.normal(0.6, 0.3, (4, 3)), g.uniform(0.0, 0.3, 4)),
        "lif": nir.CubaLIF(
            tau_mem=g.uniform(0.01, 0.02, 4),
            tau_syn=g.uniform(0.003, 0.006, 4),
            r=g.uniform(1.0, 2.0, 4),
            v_leak=g.uniform(-0.1, 0.1, 4),
            v_threshold=g.uniform(0.9, 1.1, 4),
            v_reset=g.uniform(-0.2, 0.2, 4),
            w_in=g.uniform(1.0, 2.0, 4),
        ),
        "loop": nir.Linear(g.normal(0.0, 0.3, (4, 4))),
        "wait": nir.Delay(np.array([0.001, 0.002, 0.0, 0.004])),
        "out": nir.Linear(g.normal(0.5, 0.3, (2, 4))),
        "last": neuron(2, tau_mem=0.015, tau_syn=0.004, v_leak=0.2, r=1.5),
        "output": nir.Output(np.array([2])),
    }
    return graph(nodes, ["input in lif loop wait lif", "lif out last output"])


@pytest.mark.parametrize("spike", ["event", "pulse"])
def test_every_field_of_a_graph_means_what_the_equations_of_nir_say(spike):
    made = everything()
    scale = {"event": 0.7, "pulse": 8.0}[spike]  # a pulse of 0.25 ms is small
    for name in ("in", "loop", "out"):
        made.nodes[name].weight = made.nodes[name].weight * scale
    network = evsim.nir.read(made, time_unit="s", spike=spike, dt=0.25)
    jump = event if spike == "event" else pulse(0.25e-3)
    spikes = some_spikes(3, 80.0, 40)
    assert_limit_of_steps(made, network, jump, 1e3, spikes, 80.0, STEPS, bias=True)


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


def modules_of_snntorch(recurrent, finer=1):
    """The same network of snnTorch."""
    snntorch = pytest.importorskip("snntorch")
    torch = pytest.importorskip("torch")
    copied = synaptic_by_hand(recurrent, finer).nodes

    def linear(node):
        module = torch.nn.Linear(*reversed(node.weight.shape), bias=isinstance(node, nir.Affine))
        module.weight.data = torch.tensor(node.weight)
        if module.bias is not None:
            module.bias.data = torch.tensor(node.bias)
        return module

    def synaptic(units, kind=snntorch.Synaptic, **options):
        decays = {"alpha": 1 - 0.02 / finer, "beta": 1 - 0.01 / finer}
        factors = {name: torch.full((units,), value) for name, value in decays.items()}
        return kind(**factors, threshold=torch.ones(units), init_hidden=True, **options)

    middle = synaptic(4)
    if recurrent:
        middle = synaptic(4, snntorch.RSynaptic, linear_features=4)
        middle.recurrent = linear(copied["1.w_rec"])
    return torch.nn.Sequential(linear(copied["0"]), middle, linear(copied["2"]), synaptic(2))


def synaptic_by_snntorch(recurrent, finer=1):
    """The same, as snnTorch writes it."""
    module = modules_of_snntorch(recurrent, finer)
    import torch
    from snntorch.export_nir import export_to_nir

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export_to_nir(module, torch.zeros(3))


def norse_by_hand():
    """What Norse writes for Linear, LIFCell, Linear, LIFCell; taus of 100 and 50 ms."""
    g = np.random.default_rng(2)

    def cell(units):
        dt = np.float32(0.001)
        return nir.CubaLIF(
            tau_mem=np.full(units, dt / np.float32(10.0)),
            tau_syn=np.full(units, dt / np.float32(20.0)),
            r=np.ones(units, np.float32),
            v_leak=np.zeros(units, np.float32),
            v_threshold=np.ones(units, np.float32),
        )

    nodes = {
        "0": nir.Affine(g.uniform(0.0, 0.7, (4, 3)).astype(np.float32), np.zeros(4, np.float32)),
        "1": cell(4),
        "2": nir.Affine(g.uniform(0.0, 0.8, (2, 4)).astype(np.float32), np.zeros(2, np.float32)),
        "3": cell(2),
        "input": nir.Input(np.array([3])),
        "output": nir.Output(np.array([2])),
    }
    return graph(nodes, ["input 0 1 2 3 output"])


def norse_by_norse():
    """The same, by Norse."""
    norse = pytest.importorskip("norse.torch")
    torch = pytest.importorskip("torch")
    copied = norse_by_hand().nodes

    def linear(node):
        module = torch.nn.Linear(*reversed(node.weight.shape))
        module.weight.data, module.bias.data = torch.tensor(node.weight), torch.tensor(node.bias)
        return module

    def cell(units):
        names = {"tau_mem_inv": 10.0, "tau_syn_inv": 20.0, "v_th": 1.0, "v_leak": 0.0}
        given = {name: torch.full((units,), value) for name, value in names.items()}
        return norse.LIFCell(norse.LIFParameters(**given))

    module = norse.SequentialState(linear(copied["0"]), cell(4), linear(copied["2"]), cell(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return norse.to_nir(module, torch.zeros(3))


MADE = {
    "snnTorch, by hand": (lambda: synaptic_by_hand(False), "snntorch"),
    "snnTorch with a loop, by hand": (lambda: synaptic_by_hand(True), "snntorch"),
    "Norse, by hand": (norse_by_hand, "norse"),
    "snnTorch": (lambda: synaptic_by_snntorch(False), "snntorch"),
    "snnTorch with a loop": (lambda: synaptic_by_snntorch(True), "snntorch"),
    "Norse": (norse_by_norse, "norse"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_file_of_a_program_gives_the_spikes_of_fine_steps_of_its_equations(name, tmp_path):
    make, source = MADE[name]
    nir.write(tmp_path / "network.nir", make())
    network = evsim.nir.read(tmp_path / "network.nir", source=source)
    made = nir.read(tmp_path / "network.nir", type_check=False)
    loop = "loop" in name
    if source == "snntorch":
        scale, jump, duration, count = 1e3, pulse(1e-4), 50.0, 40
    else:
        scale, jump, duration, count = 1e6, event, 300.0, 80
    spikes = some_spikes(3, duration, count)
    steps = tuple(step * (1 if source == "snntorch" else 4) for step in STEPS)
    assert_limit_of_steps(made, network, jump, scale, spikes, duration, steps, bias=loop)


def test_programs_write_what_the_tests_make_by_hand():
    for recurrent in (False, True):
        read = {"source": "snntorch"}
        one = evsim.nir.read(synaptic_by_snntorch(recurrent), **read)
        assert_same(one, evsim.nir.read(synaptic_by_hand(recurrent), **read), 1e-5)
    one = evsim.nir.read(norse_by_norse(), source="norse")
    assert_same(one, evsim.nir.read(norse_by_hand(), source="norse"), 1e-5)


@pytest.mark.parametrize("recurrent", [False, True])
def test_steps_of_snntorch_itself_tend_to_what_is_read_of_its_file(recurrent):
    """Half the step, twice as many steps per time constant: half the error."""
    torch = pytest.importorskip("torch")
    spikes = some_spikes(3, 50.0, 40)
    errors = []
    for finer in (1, 2, 4):
        network = evsim.nir.read(synaptic_by_snntorch(recurrent, finer), source="snntorch")
        longer = evsim.SpikeTrains(finer * spikes.times, spikes.units, spikes.offsets, 3)
        given = evsim.nir.with_bias(network, longer)
        exact = spikes_of(network, given, 50.0 * finer)
        raster = torch.zeros(500 * finer, 3)
        for time, unit in longer.to_lists()[0]:
            raster[round(10 * time), unit] += 1
        layers = modules_of_snntorch(recurrent, finer)
        found = {name: [] for name in exact if name not in ("input", "bias")}
        with torch.no_grad():
            for now in raster:
                found["1_lif" if recurrent else "1"].append(layers[:2](now))
                found["3"].append(layers[2:](found["1_lif" if recurrent else "1"][-1]))
        differences = []
        for name, rows in found.items():
            for unit in range(len(rows[0])):
                steps = np.flatnonzero(torch.stack(rows)[:, unit].numpy())
                times = exact[name].times[exact[name].units == unit]
                assert steps.size == times.size
                differences += list(np.abs(0.1 * steps - times) / finer)
        assert len(differences) > 20
        errors.append(np.mean(differences))
    assert -1.15 < np.polyfit(np.log([1, 2, 4]), np.log(errors), 1)[0] < -0.85, errors
    assert errors[-1] < 0.1


def small_feedforward():
    """Two layers, some spikes, and the times at which the exact network spikes, by unit."""
    g = np.random.default_rng(0)
    network = evsim.Network(
        [
            evsim.Input("input", 3),
            evsim.LIF("hidden", 4, 20.0, 8.0),
            evsim.LIF("last", 2, 15.0, 6.0),
        ],
        [
            evsim.Connection("input", "hidden", g.uniform(0, 1.2, (4, 3))),
            evsim.Connection("hidden", "last", g.uniform(0, 1.5, (2, 4))),
        ],
    )
    spikes = some_spikes(3, 100.0, 60, seed=3)
    exact = spikes_of(network, spikes, 100.0)["last"]
    return network, spikes, [exact.times[exact.units == unit] for unit in range(2)]


def spikes_of_module(module, spikes, dt, duration):
    """The spike times of a torch module that takes one step at a time, by unit."""
    torch = pytest.importorskip("torch")
    raster = torch.zeros(round(duration / dt), 1, spikes.unit_count)
    for time, unit in spikes.to_lists()[0]:
        raster[round(time / dt), 0, unit] += 1
    found, state = [], None
    with torch.no_grad():
        for now in raster:
            output, state = module(now, state)
            found.append((output[0] if isinstance(output, tuple) else output)[0].numpy())
    return [dt * np.flatnonzero(unit) for unit in np.transpose(found)]


def differences_of(found, exact):
    assert [len(times) for times in found] == [len(times) for times in exact]
    assert sum(map(len, exact)) > 10
    return np.abs(np.concatenate(found) - np.concatenate(exact))


def test_snntorch_runs_what_is_written_for_it(tmp_path):
    pytest.importorskip("snntorch")
    from snntorch.import_nir import import_from_nir

    network, spikes, exact = small_feedforward()
    evsim.nir.write(network, tmp_path / "network.nir", target="snntorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = import_from_nir(nir.read(tmp_path / "network.nir"))
    found = spikes_of_module(module, spikes, 0.1, 100.0)
    assert differences_of(found, exact).mean() < 0.4


def test_norse_runs_what_is_written_for_it_and_its_error_falls_with_the_step(tmp_path):
    norse = pytest.importorskip("norse.torch")
    network, spikes, exact = small_feedforward()
    steps, errors = (0.25, 0.125, 0.0625), []
    for dt in steps:
        evsim.nir.write(network, tmp_path / "network.nir", target="norse", dt=dt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = norse.from_nir(nir.read(tmp_path / "network.nir"), dt=dt / 1000)
        found = spikes_of_module(module, spikes, dt, 100.0)
        errors.append(differences_of(found, exact).mean())
    assert 0.8 < np.polyfit(np.log(steps), np.log(errors), 1)[0] < 1.2, errors


def test_a_file_of_snntorch_counts_time_in_steps():
    made = synaptic_by_hand(False)
    short, long = (evsim.nir.read(made, source="snntorch", dt=dt) for dt in (0.1, 2.0))
    for name in ("1", "3"):
        for tau in ("tau_mem", "tau_syn"):
            one, other = (getattr(network.population(name), tau) for network in (short, long))
            assert other == pytest.approx(20 * one, rel=1e-12)
    np.testing.assert_allclose(short.weight_per_synapse(), long.weight_per_synapse(), rtol=1e-12)
    again = evsim.nir.write(long, target="snntorch", dt=2.0)
    np.testing.assert_allclose(again.nodes["1"].tau_mem, made.nodes["1"].tau_mem, rtol=1e-6)


# -- graphs that are put together in other ways ---------------------------------------------------


def matrix(post, pre, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, (post, pre))


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
    with pytest.warns(CoarseStepWarning, match=r"in steps of 1 ms, tau_syn of 'lif' is 5: .* dt$"):
        made = evsim.nir.write(network, target="norse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evsim.nir.read(made)  # it was not trained in these steps
        evsim.nir.write(network, target="norse", dt=0.5)


# -- refusals of read ---------------------------------------------------------------------------


def with_node(node, name="odd"):
    """Input, a node, a CubaLIF."""
    made = layered(node)
    made.nodes = {name if n == "middle0" else n: v for n, v in made.nodes.items()}
    made.edges = [tuple(name if end == "middle0" else end for end in e) for e in made.edges]
    return made


ONES = np.ones(3)
IN_2D = {"padding": np.zeros(2), "stride": np.ones(2)}
KINDS = {
    "LIF": nir.LIF(ONES, ONES, 0 * ONES, ONES),
    "LI": nir.LI(ONES, ONES, 0 * ONES),
    "IF": nir.IF(ONES, ONES),
    "I": nir.I(ONES),
    "Threshold": nir.Threshold(ONES),
    "Conv1d": nir.Conv1d(None, np.ones((1, 1, 1)), 1, 0, 1, 1, np.ones(1)),
    "Conv2d": nir.Conv2d(None, np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.ones(1)),
    "SumPool2d": nir.SumPool2d(np.ones(2), **IN_2D),
    "AvgPool2d": nir.AvgPool2d(np.ones(2), **IN_2D),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_cannot_be_converted_is_refused_with_the_reason(kind):
    reason = "evsim connects single units; write the same map as a Linear"
    if kind in ("LIF", "LI"):
        reason = rf"so a spike would make V jump, .*; use Cuba{kind}, with a short tau_syn"
    elif kind in ("IF", "I"):
        reason = "it has no leak and no synaptic current; use CubaLI"
    elif kind == "Threshold":
        reason = "evsim's units have their threshold themselves"
    with pytest.raises(ValueError, match=f"node 'odd' is of the kind {kind}: .*{reason}"):
        evsim.nir.read(with_node(KINDS[kind]), **EVENT)


def changed(made, edges=None, **nodes):
    """A graph with other nodes, and edges in place of its own."""
    made.nodes |= nodes
    if edges is not None:
        made.edges = [tuple(edge.split()) for edge in edges]
    return made


class Strange(nir.Linear):
    pass


PLAIN = nir.Linear(np.ones((2, 3)))
LOOP = nir.Linear(np.ones((2, 2)))
NESTED = graph({"a": nir.Input(np.array([2])), "b": nir.Input(np.array([2]))}, [])

REFUSED = {
    "an unknown kind": (
        lambda: layered(Strange(np.ones((2, 3)))),
        "node 'middle0' is of the kind Strange, which evsim does not know: it reads Input, Output",
    ),
    "a voltage as an input": (
        lambda: changed(
            layered(PLAIN, neuron(kind="CubaLI")),
        ),
        "from the CubaLI node 'middle1' to 'lif': its units do not spike, and in evsim a voltage",
    ),
    "a matrix in front of the output": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 lif", "middle0 output"]),
        "the Linear node 'middle0' leads to the Output 'output': .* put a CubaLI in between",
    ),
    "a missing node": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 nowhere"]),
        "the edge from 'middle0' to 'nowhere' names a node that is not there, 'nowhere'",
    ),
    "an edge twice": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 lif", "middle0 lif"]),
        "the edge from 'middle0' to 'lif' is there twice: remove one",
    ),
    "an edge to an input": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 lif", "lif input"]),
        "an edge leads to the Input node 'input': it emits given spikes",
    ),
    "no edge to a map": (
        lambda: changed(layered(PLAIN), ["middle0 lif"]),
        "no edge leads to the Linear node 'middle0': put an Input in front of it",
    ),
    "a loop without a neuron": (
        lambda: changed(
            layered(PLAIN),
            ["input middle0", "middle0 a", "a b", "b a", "a lif", "lif output"],
            a=LOOP,
            b=LOOP,
        ),
        "the edges of 'a', 'b' form a loop without a neuron in it",
    ),
    "a wrong size": (
        lambda: layered(nir.Linear(np.ones((2, 4)))),
        "the Linear node 'middle0' takes 4 values, but 3 come from 'input'",
    ),
    "a wrong number of units": (
        lambda: layered(nir.Linear(np.ones((5, 3)))),
        "node 'lif' has 2 units, but 5 values come from 'middle0'",
    ),
    "sizes that differ": (
        lambda: changed(
            layered(PLAIN),
            ["input middle0", "middle0 lif", "input lif", "lif output"],
        ),
        "what reaches node 'lif' differs in size: {'middle0': 2, 'input': 3}",
    ),
    "a stack of matrices": (
        lambda: layered(nir.Linear(np.ones((4, 2, 3)))),
        r"weight of 'middle0' has shape \(4, 2, 3\): evsim reads matrices",
    ),
    "a wrong bias": (
        lambda: layered(nir.Affine(np.ones((2, 3)), np.ones(3))),
        r"bias of 'middle0' has shape \(3,\) and its weight \(2, 3\): give one bias per row",
    ),
    "a bias with a delay": (
        lambda: layered(nir.Affine(np.ones((2, 3)), np.ones(2)), nir.Delay(np.ones(2))),
        "a bias passes through the Delay node 'middle1': it would begin later than the trial",
    ),
    "a negative delay": (
        lambda: layered(PLAIN, nir.Delay(np.array([1.0, -2.0]))),
        "node 'middle1' has a delay of -2: it must be >= 0",
    ),
    "a time constant of 0": (
        lambda: layered(PLAIN, tau_syn=0.0),
        "tau_syn of 'lif' is 0 ms: it must be finite and > 0",
    ),
    "two ways into a graph": (
        lambda: changed(layered(PLAIN), ["input inside"], inside=NESTED),
        "the graph 'inside' inside the graph has 2 nodes of the kind Input: an edge",
    ),
    "no units": (
        lambda: changed(
            layered(),
            [],
            lif=nir.CubaLI(*(np.array(1.0) for _ in range(4))),
            output=neuron(),
        ),
        "the parameters of node 'lif' are single numbers, and nothing in front of it says",
    ),
    "an input without a shape": (
        lambda: changed(layered(), input=nir.Input(None)),
        "the Input node 'input' has no shape: give it one",
    ),
    "nothing": (lambda: graph({}, []), "the graph has no Input and no neuron"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_cannot_be_converted_is_refused_with_the_reason(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        evsim.nir.read(make(), **EVENT)


CONVENTION_REFUSED = {
    "neither": (
        {},
        "NIR does not define the unit of time and the size of a spike: give time_unit='s', 'ms', "
        "'us' or a number of ms and spike='event' if .*; or name the program, source='snntorch', '",
    ),
    "no size": ({"time_unit": "ms"}, "give spike='event' if it raises I by w_in W, spike='pulse'"),
    "only the documentation": ({"source": "spec"}, "NIR does not define the size of a spike"),
    "no unit": ({"spike": "event"}, "NIR does not define the unit of time: give time_unit='s', 'm"),
    "a pulse": ({"time_unit": "s", "spike": "pulse"}, "spike = 'pulse' is as long as a step: give"),
    "a bias": ({**EVENT, "bias": "per step"}, "bias = 'per step' needs the step: give dt=..., in"),
    "source": ({"source": "norze"}, "source = 'norze': choose one of .*; did you mean 'norse'?"),
    "spike": ({**EVENT, "spike": "jump"}, "spike = 'jump': choose one of event, pulse"),
    "bias": ({**EVENT, "bias": "often"}, "bias = 'often': choose one of constant, per step"),
    "unit": ({**EVENT, "time_unit": "min"}, "time_unit = 'min': choose one of s, ms, us"),
    "no time": ({**EVENT, "time_unit": 0.0}, "time_unit = 0.0: it must be finite and > 0"),
    "no step": ({**EVENT, "dt": -1.0}, "dt = -1.0: it must be finite and > 0"),
    "refractory": ({**EVENT, "refractory": -1.0}, "refractory = -1.0 ms: it must be >= 0"),
    "delay": ({**EVENT, "recurrent_delay": -1.0}, "recurrent_delay = -1.0 ms: it must be >= 0"),
    "snnTorch": ({"source": "snntorch"}, "has r = 1, and snnTorch writes tau_mem/dt = 1000"),
}


@pytest.mark.parametrize("name", CONVENTION_REFUSED)
def test_a_convention_that_is_not_given_or_is_contradicted_is_refused(name):
    given, message = CONVENTION_REFUSED[name]
    with pytest.raises(ValueError, match=message):
        evsim.nir.read(layered(PLAIN, tau_mem=10.0), **given)


def test_a_file_of_another_program_than_its_source_is_refused():
    with pytest.raises(ValueError, match=r"node '1' has r = 100, and Norse writes 1: give another"):
        evsim.nir.read(synaptic_by_hand(False), source="norse")
    made = synaptic_by_hand(False)
    made.nodes["3"].w_in[1] = 49.0
    with pytest.raises(ValueError, match=r"'3' has w_in = 49, and snnTorch writes tau_syn/dt = 50"):
        evsim.nir.read(made, source="snntorch")


def test_files_that_are_not_nir_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.nir': there is no such file"):
        evsim.nir.read(tmp_path / "missing.nir", **EVENT)
    (tmp_path / "text.nir").write_text("no graph")
    with pytest.raises(evsim.storage.StorageError, match="text.nir cannot be read as a NIR file: "):
        evsim.nir.read(tmp_path / "text.nir", **EVENT)
    with pytest.raises(TypeError, match=r"file = 5: give the path of a NIR file, or a nir\.NIRGr"):
        evsim.nir.read(5, **EVENT)
    with pytest.raises(TypeError, match="file is a Linear node: give a graph, nir.NIRGraph"):
        evsim.nir.read(PLAIN, **EVENT)
    damaged = layered(PLAIN)
    damaged.metadata = {"evsim": json.dumps({"spike": "event"})}
    with pytest.raises(evsim.storage.StorageError, match="metadata 'evsim' of the graph is damag"):
        evsim.nir.read(damaged, **EVENT)


# -- refusals of write ----------------------------------------------------------------------------


def small(weight=1.0, delay=0.0, lif=None, names=("in", "lif")):
    return evsim.Network(
        [evsim.Input(names[0], 3), lif or evsim.LIF(names[1], 2)],
        [evsim.Connection(*names, np.full((2, 3), weight), delay)],
    )


def test_delays_of_synapses_are_written_on_request_only():
    network = small(delay=np.arange(6.0).reshape(2, 3))
    with pytest.raises(ValueError, match=r"in->lif.delay differs from synapse .*synaptic_delays=T"):
        evsim.nir.write(network, **EVENT)
    made = evsim.nir.write(network, **EVENT, synaptic_delays=True)
    kinds = [type(made.nodes[f"in_to_lif{part}"]).__name__ for part in ("_repeat", "_delay", "")]
    assert kinds == ["Linear", "Delay", "Linear"]
    assert_same(evsim.nir.read(made), network)


def test_what_nir_does_not_have_is_left_out_only_if_that_is_said():
    network = small(lif=evsim.LIF("lif", 2, refractory=[0.0, 3.0]))
    with pytest.raises(ValueError, match="lif.refractory is 3 ms, and NIR has no refr.*lossy=True"):
        evsim.nir.write(network, **EVENT)
    assert_same(evsim.nir.read(evsim.nir.write(network, **EVENT, lossy=True)), small())
    network = small(lif=evsim.LIF("lif", 2, start=0.5))
    with pytest.raises(ValueError, match="lif.start differs from its rest, and in NIR V has no st"):
        evsim.nir.write(network, **EVENT)
    assert_same(evsim.nir.read(evsim.nir.write(network, **EVENT, lossy=True)), small())
    evsim.nir.write(small(lif=evsim.LIF("lif", 2, start=0.5, rest=0.5)), **EVENT)


def test_write_refuses_what_cannot_be_a_file(tmp_path):
    with pytest.raises(
        ValueError, match="NIR does not define the unit .* or name the program, target='snnt"
    ):
        evsim.nir.write(small())
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        evsim.nir.write(small(), tmp_path, **EVENT)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        evsim.nir.write(small(), tmp_path / "missing" / "a.nir", **EVENT)
    with pytest.raises(ValueError, match="the name 'a/b' holds '/', which separates groups"):
        evsim.nir.write(small(names=("a/b", "lif")), **EVENT)
    with pytest.raises(TypeError, match="network = 5: give an evsim.Network"):
        evsim.nir.write(5, **EVENT)


@pytest.mark.slow
def test_every_argument_is_refused_by_name_where_it_cannot_be_meant(in_a_folder):  # noqa: F811
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=3)
    reading = {"source": None, "bias": "constant", "start": 0.0, "refractory": 0.0}
    reading |= {"recurrent_delay": 0.0, "sparse": False, "bias_input": "bias", **EVENT, "dt": 0.1}
    writing = {"target": None, "synaptic_delays": False, "lossy": False, "bias_input": "bias"}
    calls = {
        "read": {"file": layered(PLAIN, tau_syn=5.0), **reading},
        "write": {"network": small(), "file": "a.nir", **writing, **EVENT, "dt": 0.1},
        "with_bias": {"network": small(), "spikes": spikes, "bias_input": "bias"},
    }
    faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoarseStepWarning)
        for name, arguments in calls.items():
            getattr(evsim.nir, name)(**arguments)
            faults += faults_of_call(name, getattr(evsim.nir, name), arguments)
    assert not faults, "\n".join(faults)
