"""What is read of NIR files means what NIR's own equations say, and what programs do.

The opponents are Euler steps of NIR's equations on the graph itself, which share no code with
evsim, and the programs snnTorch and Norse where they are installed.
"""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import evsim
from evsim.engines import EngineError

nir = pytest.importorskip("nir", reason='NIR files need pip install "evsim[nir]"')

from nir_graphs import (  # noqa: E402
    EVENT,
    assert_same,
    graph,
    neuron,
    spikes_of,
    synaptic_by_hand,
)

CoarseStepWarning = evsim.nir.CoarseStepWarning


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


# -- real files -----------------------------------------------------------------------------------

FOLDER = "EVSIM_NIR_FILES"
"""The environment variable with the folder of files that programs have written."""


def real_file(name):
    folder = os.environ.get(FOLDER)
    if folder is None:
        pytest.skip(f"set {FOLDER} to a folder with NIR files of other programs")
    return Path(folder) / f"{name}.nir"


def test_real_files_are_read_or_refused():
    read, pairs = evsim.nir.read, {"source": "snntorch"}
    sizes = {"input": 3, "1": 4, "3": 2}
    network = read(real_file("sample_snntorch_synaptic"), **pairs)
    assert {p.name: p.units for p in network.populations} == sizes
    network = read(real_file("sample_snntorch_rsynaptic"), **pairs)
    assert [p.name for p in network.populations] == ["input", "bias", "1_lif", "3"]
    with pytest.warns(CoarseStepWarning, match="in steps of 1 ms, tau_syn of '1' is 5; tau_syn of"):
        network = read(real_file("sample_norse"), source="norse")
    assert {p.name: p.units for p in network.populations} == sizes
    np.testing.assert_allclose(network.population("1").tau_mem, 10.0, rtol=1e-6)
    network = read(real_file("sample_delays"), time_unit="s", spike="event")
    assert [c.name for c in network.connections] == ["input->lif"]
    assert network.connections[0].delay.shape == (2, 3)
    for name in ("lif_norse", "two_lif_neurons"):
        with pytest.raises(ValueError, match="is of the kind LIF: it has no synaptic current, so"):
            read(real_file(name), **EVENT)


def test_the_braille_network_runs_away_unless_units_rest_for_a_step():
    file = real_file("braille_noDelay_noBias_subtract")
    g = np.random.default_rng(1)
    samples, steps, units = np.nonzero(g.random((20, 256, 12)) < 0.02)
    spikes = evsim.SpikeTrains.from_events(
        0.1 * steps, units, samples, batch_size=20, unit_count=12
    )

    def runaways(**options):
        with pytest.warns(
            CoarseStepWarning, match="in steps of 0.1 ms, tau_mem of 'lif1.lif' is 6"
        ):
            network = evsim.nir.read(file, source="snntorch", **options)
        count = 0
        for sample in range(20):
            try:
                evsim.simulate(network, spikes[sample], 25.6)
            except EngineError as error:
                count += "the network runs away" in str(error)
        return count

    assert runaways(recurrent_delay=0.1) > 3
    assert runaways(refractory=0.1, recurrent_delay=0.1) == 0
