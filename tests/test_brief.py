"""The short representations of objects that hold arrays."""

import dataclasses
import importlib

import numpy as np
import pytest
from evsim.datasets import CochleaRecordings

import evsim

LONGEST = 600  # signs

PUBLIC = """
    evsim evsim.losses evsim.readouts evsim.engines evsim.engines.protocol evsim.augment
    evsim.study evsim.datasets evsim.optim evsim.losses.regularisers evsim.testing evsim.training
"""


@pytest.fixture(scope="module")
def network():
    """A network with parameters of every shape, recurrent and sparse connections included."""
    from scipy.sparse import csr_array

    generator = np.random.default_rng(0)
    sparse = csr_array(generator.random((60, 60)) * (generator.random((60, 60)) < 0.2))
    return evsim.Network(
        [
            evsim.Input("input", 40),
            evsim.LIF("hidden", 60, tau_mem=np.linspace(10, 20, 60)),
            evsim.LIF("deep", 60),
            evsim.LI("output", 5),
        ],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.3, 0.2)),
            evsim.Connection("hidden", "hidden", -0.01 * sparse, 1.0),
            evsim.Connection("hidden", "deep", evsim.Normal(0.4, 0.2), evsim.Uniform(0.0, 2.0)),
            evsim.Connection("deep", "output", evsim.Normal(1.0, 0.5), evsim.Uniform(0.0, 2.0)),
        ],
        seed=0,
    )


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(1)
    spikes = evsim.SpikeTrains.from_latencies(generator.uniform(0, 45, (30, 40)))
    return evsim.Dataset(spikes, generator.integers(0, 5, 30), np.arange(30) % 3)


def gradient_of(network, data, engine):
    """A gradient of which everything has been looked at."""
    samples = data[:2] if engine == "reference" else data
    loss = evsim.losses.CrossEntropy()
    found = evsim.gradient(network, samples.spikes, samples.labels, loss, 40.0, engine=engine)
    found.run.voltage("hidden", [1.0, 2.0])
    found.lambda_V("hidden", [1.0, 2.0])
    return found


def objects_in(value, found):
    """All dataclass instances in a value, and in what they hold, by identity."""
    if id(value) in found or isinstance(value, (str, np.ndarray, type)):
        return
    if dataclasses.is_dataclass(value) or isinstance(value, evsim.Network):
        found[id(value)] = value
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)[:50]
    elif type(value).__module__.startswith("evsim"):
        parts = list(vars(value).values()) if hasattr(value, "__dict__") else []
    else:
        parts = []
    for part in parts:
        objects_in(part, found)


@pytest.fixture(scope="module")
def objects(network, data):
    """One of everything, by identity."""
    found = {}
    states = []
    result = evsim.fit(
        network,
        data,
        evsim.losses.CrossEntropy(),
        duration=40.0,
        optimizers={"weight": evsim.Adam(0.01), "delay": evsim.Adam(0.1)},
        epochs=6,
        validation=data,
        callbacks=[states.append],
        progress=False,
    )
    table = evsim.study.Table({"hidden": list(range(300)), "accuracy": [0.5] * 300}, ("hidden",))
    kept = [
        *(gradient_of(network, data, engine) for engine in ("exact", "grid", "reference")),
        network,
        network.topology,
        data,
        result,
        states,
        evsim.evaluate(network, data, evsim.losses.CrossEntropy(), 40.0),
        evsim.predict(network, data, evsim.losses.CrossEntropy(), 40.0),
        evsim.datasets.TimeSeries(tuple(np.zeros((9, 300, 4))), np.zeros(9, int), ("one",)),
        evsim.study.k_fold(data, 3),
        evsim.study.Scores(tuple(map(str, range(50))), np.arange(50.0)),
        evsim.study.Choice({"hidden": 3}, table, table),
        evsim.readouts.Voltage(times=np.linspace(0, 40, 500)),
        evsim.readouts.VoltageAt(evsim.readouts.SampleTimes(np.arange(400.0), np.array([0, 400]))),
        evsim.Dropout({"hidden": 0.1}, keys=np.arange(1000, dtype=np.uint64)),
        evsim.readouts.AdjointSources("hidden", peak=np.zeros((100, 60))),
        evsim.engines.protocol.Adjustments(np.zeros(1000), {"hidden": np.zeros(60)}),
        evsim.augment.Transformed(data.spikes, 0),
        evsim.augment.Shift(2)(data, np.random.default_rng(0), 40.0),
        CochleaRecordings(data.spikes, data.labels, data.groups, None, tuple("abcde"), 0, 0),
    ]
    objects_in(kept, found)
    return kept, found


def test_every_object_describes_itself_in_a_few_lines(objects):
    _, found = objects
    for value in found.values():
        said = repr(value)
        assert len(said) < LONGEST, type(value)
        assert said.count("\n") < 12, type(value)
        assert said.startswith(type(value).__name__), type(value)
    assert len({type(value) for value in found.values()}) > 40


def test_no_public_kind_that_holds_arrays_is_left_out(objects):
    _, found = objects
    seen = {type(value) for value in found.values()}
    holding = set()
    for name in PUBLIC.split():
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value):
                types = [str(field.type) for field in dataclasses.fields(value)]
                if any("ndarray" in t.lower() or "SpikeTrains" in t or "Any" in t for t in types):
                    holding.add(value)
    assert {evsim.LIF, evsim.Connection, evsim.SpikeTrains, evsim.Dataset} <= holding
    assert {kind for kind in holding if not kind.__subclasses__()} - seen == set()


def test_a_run_and_a_gradient_say_what_they_are_of(network, data):
    found = gradient_of(network, data, "exact")
    counts = {name: int(count.sum()) for name, count in found.run.spike_counts.items()}
    told = f"input {counts['input']}, hidden {counts['hidden']}, deep {counts['deep']}"
    assert repr(found.run) == f"Run(30 samples of 40 ms on Exact, spikes: {told})"
    assert repr(found) == (
        f"Gradient(loss {found.loss:.6g} of {found.run!r}, with respect to input->hidden.weight, "
        "input->hidden.delay, hidden->hidden.weight, hidden->hidden.delay, and 17 more)"
    )
    assert repr(network.population("hidden")) == (
        "LIF(name='hidden', units=60, tau_mem=float64 (60,), tau_syn=5.0, threshold=1.0, "
        "refractory=0.0, reset=0.0, rest=0.0, start=None)"
    )


def test_a_run_holds_no_memory_that_nothing_was_written_to(network, data):
    run = gradient_of(network, data, "exact").run
    held = sum(piece.spikes.size for piece in run.state.pieces)
    assert held == sum(int(counts.sum()) for counts in run.spike_counts.values())
