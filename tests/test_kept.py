"""What engines keep from one call to the next is renewed when what it depends on changes.

A network is run after others of the same topology, and must give the same bits as its twin: a
network that is built anew from the same values, for which nothing can have been kept.
"""

from __future__ import annotations

import pickle
from copy import deepcopy

import numpy as np
import pytest
from scipy.sparse import csr_array

import evsim
from evsim.engines import Exact
from evsim.network.parameters import numbers
from evsim_gpu import Grid

ENGINES = {
    "exact": Exact(threads=1),
    "float64": Grid(0.5, threads=1),
    "float32": Grid(0.5, precision="float32", threads=1),
}
DURATION, BATCH = 40.0, 3
LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential"))


def network(delays="own", units=6):
    """Dense and sparse connections, delays of each synapse and shared ones, a loop."""
    rng = np.random.default_rng(2)
    sparse = csr_array(rng.random((units, 4)) < 0.7).astype(float)
    weight, delay = sparse.copy(), sparse.copy()
    weight.data[:], delay.data[:] = rng.normal(4, 1, sparse.nnz), rng.uniform(0, 5, sparse.nnz)
    own = rng.uniform(0, 4, (5, units)) if delays == "own" else 2.0
    return evsim.Network(
        [
            evsim.Input("input", 4),
            evsim.LIF("first", units, refractory=1.0),
            evsim.LIF("second", 5),
            evsim.LI("output", 2),
        ],
        [
            evsim.Connection("input", "first", weight, delay),
            evsim.Connection("first", "first", rng.normal(0, 0.5, (units, units)),
                             rng.uniform(1, 3, (1, units))),
            evsim.Connection("first", "second", rng.normal(2, 1, (5, units)), own),
            evsim.Connection("second", "output", rng.normal(0, 1, (2, 5)), 1.5),
        ],
    )  # fmt: skip


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return evsim.SpikeTrains.from_events(
        rng.uniform(0, 25, 60), rng.integers(0, 4, 60), rng.integers(0, BATCH, 60),
        batch_size=BATCH, unit_count=4,
    )  # fmt: skip


def everything(net, engine, **options):
    """Spikes, losses, the report and all gradients, as bytes."""
    labels = np.arange(BATCH) % 2
    found = evsim.gradient(net, inputs(), labels, LOSS, DURATION, engine=engine, **options)
    arrays = [found.losses, found.readout, found.input_times]
    arrays += [numbers(gradient) for gradient in found.parameters.values()]
    for trains in found.run.spikes.values():
        arrays += [trains.times, trains.units, trains.offsets]
    assert sum(found.run.spike_counts[name].sum() for name in ("first", "second")) > 20
    report = found.run.report
    counts = [report.arrivals, report.arrivals_after_end, report.dropped, report.smallest_drive]
    return [array.tobytes() for array in arrays], counts, report.smallest_drive_at


def twin(net):
    """The same network built anew."""
    return deepcopy(net)


def changed(values, kind):
    """Other values of a parameter."""
    rng = np.random.default_rng(5)
    array = numbers(values)
    new = np.abs(array + rng.normal(0, 0.4 if kind in ("weight", "delay") else 0.05, array.shape))
    if not isinstance(values, csr_array):
        return new
    other = values.copy()
    other.data = new
    return other


CHANGED = (
    "input->first.weight", "input->first.delay", "first->first.weight", "first->first.delay",
    "first->second.weight", "first->second.delay", "second->output.delay", "first.tau_mem",
    "second.tau_syn", "second.threshold", "first.reset", "output.rest",
)  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_parameter_changes_what_it_must(name, engine):
    before, engine = network(), ENGINES[engine]
    expected = everything(twin(before), engine)
    assert everything(before, engine) == expected
    after = before.replace({name: changed(before.parameters[name], name.rsplit(".", 1)[1])})
    assert after.topology is before.topology
    found = everything(after, engine)
    assert found == everything(twin(after), engine)
    assert found != expected
    assert everything(before, engine) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_another_sharing_of_delays_is_seen(engine):
    before, engine = network(), ENGINES[engine]
    for delay in (1.0, np.full((5, 1), 2.0), np.full((5, 6), 2.0), np.linspace(0, 3, 6)[None]):
        after = before.replace({"first->second.delay": delay})
        assert everything(after, engine) == everything(twin(after), engine)
        assert everything(before, engine) == everything(twin(before), engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_another_network_of_the_same_shapes_has_its_own_values(engine):
    engine, first = ENGINES[engine], network()
    second = twin(first).replace({"first->second.weight": np.full((5, 6), 1.5)})
    expected = [everything(twin(net), engine) for net in (first, second)]
    for _ in range(2):
        assert [everything(net, engine) for net in (first, second)] == expected


def test_another_grid_and_precision_are_seen():
    net, engines = network(), [Grid(0.5), Grid(0.25), Grid(0.5, precision="float32"), Grid(1.0)]
    expected = [everything(twin(net), engine) for engine in engines]
    assert [everything(net, engine) for engine in (*engines, *engines)] == 2 * expected


@pytest.mark.parametrize("engine", ENGINES)
def test_another_duration_and_dropout_are_seen(engine):
    net, engine = network(), ENGINES[engine]
    dropouts = (None, evsim.Dropout({"first": 0.5}, seed=1), evsim.Dropout({"input": 0.2}, seed=1))
    expected = [everything(twin(net), engine, dropout=dropout) for dropout in dropouts]
    assert len({str(one) for one in expected}) == len(dropouts)
    assert [everything(net, engine, dropout=dropout) for dropout in dropouts] == expected
    counts = [
        evsim.simulate(one, inputs(), duration, engine).report.arrivals
        for duration in (20.0, 40.0, 20.0)
        for one in (net, twin(net))
    ]
    assert counts[0] == counts[1] == counts[4] == counts[5] < counts[2] == counts[3]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_keeps_its_own_values(engine):
    """Gradients are pulled back, and spikes counted, after other networks have run."""
    before, engine = network(), ENGINES[engine]
    run, same = (evsim.simulate(net, inputs(), DURATION, engine) for net in (before, twin(before)))
    others = {
        name: changed(before.parameters[name], name.rsplit(".", 1)[1]) for name in CHANGED[:6]
    }
    evsim.simulate(before.replace(others), inputs(), DURATION, engine).pull_back(
        LOSS.readout, np.ones((BATCH, 2))
    )
    pulled, expected = (one.pull_back(LOSS.readout, np.ones((BATCH, 2))) for one in (run, same))
    for name, gradient in expected.parameters.items():
        np.testing.assert_array_equal(numbers(pulled.parameters[name]), numbers(gradient))
    assert run.report == same.report


@pytest.mark.parametrize("engine", ENGINES)
def test_mistakes_are_refused_after_runs_without_any(engine):
    net, engine = network(), ENGINES[engine]
    expected = everything(net, engine)
    weight, delay = (np.array(net.parameters[f"first->second.{k}"]) for k in ("weight", "delay"))
    weight[1, 2], delay[3, 4] = np.nan, -0.5
    with pytest.raises(ValueError, match=r"^first->second.weight\[1, 2\] = nan: it must be finite"):
        net.replace({"first->second.weight": weight})
    with pytest.raises(ValueError, match=r"^first->second.delay\[3, 4\] = -0.5 ms: delays must be"):
        net.replace({"first->second.delay": delay})
    for values in net.parameters.values():
        with pytest.raises(ValueError, match="read-only"):
            numbers(values)[...] = 1.0
    assert everything(net, engine) == expected


def test_a_weight_beyond_float32_is_refused_after_one_within_it():
    net, engine = network(), ENGINES["float32"]
    expected = everything(net, engine)
    for size in (1e-40, 1e39):
        weight = np.array(net.parameters["first->first.weight"])
        weight[2, 3] = size
        wrong = net.replace({"first->first.weight": weight})
        for _ in range(2):
            with pytest.raises(ValueError, match=r"first->first.weight\[2, 3\] = 1e.*float32"):
                evsim.simulate(wrong, inputs(), DURATION, engine)
        assert everything(wrong, ENGINES["float64"]) == everything(twin(wrong), ENGINES["float64"])
        assert everything(net, engine) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_do_not_depend_on_what_else_is_asked_for(engine):
    net, engine = network(), ENGINES[engine]
    run = evsim.simulate(net, inputs(), DURATION, engine)
    cotangents = np.ones((BATCH, 2))
    everything_asked = run.pull_back(LOSS.readout, cotangents).parameters
    for kind in ("weight", "delay", "tau_mem", "threshold"):
        names = [name for name in net.parameters if name.endswith(f".{kind}")]
        found = run.pull_back(LOSS.readout, cotangents, names).parameters
        assert list(found) == names
        for name in names:
            np.testing.assert_array_equal(numbers(found[name]), numbers(everything_asked[name]))


def test_gradients_of_input_times_can_be_stored():
    run = evsim.simulate(network(), inputs(), DURATION)
    pulled = run.pull_back(LOSS.readout, np.ones((BATCH, 2)), [])
    by_name = pulled.adjoint.input_times
    assert list(by_name) == ["input"]
    assert len(by_name) == 1
    stored = pickle.loads(pickle.dumps(by_name))  # noqa: S301
    np.testing.assert_array_equal(stored["input"], pulled.input_times)
