"""Random sequences of public calls: the invariants hold after every sequence."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scipy.sparse import csr_array

import evsim
from evsim import storage
from evsim.arguments.checks import is_sparse
from evsim.engines import Exact, Reference
from evsim.losses import CrossEntropy
from evsim.readouts import FirstSpike, Mean
from evsim.training import StopTraining

pytestmark = pytest.mark.slow

WALK = settings(
    derandomize=True, deadline=None, database=None, print_blob=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
DURATION = 20.0
EXACT = Exact(threads=1)
MOST_SPIKES = 60  # of a batch, up to which the reference is asked

seeds = st.integers(0, 10**6)


def numbers_of(network):
    """Every number of a network, as bytes."""
    return {name: a.tobytes() for name, a in storage.network_arrays(network).items()}


def same_bits(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


def dense(values):
    return values.data if is_sparse(values) else values


# -- networks, step by step ---------------------------------------------------------------------


class NetworkMachine(RuleBasedStateMachine):
    """A network that grows, changes, is stored, and runs; what is refused changes nothing."""

    @initialize(seed=seeds, kind=st.sampled_from([evsim.LIF, evsim.LI]))
    def begin(self, seed, kind):
        rng = np.random.default_rng(seed)
        self.network = evsim.Network(
            [evsim.Input("input", 2), kind("first", 2)],
            [evsim.Connection("input", "first", rng.normal(5.0, 3.0, (2, 2)))],
        )
        self.inputs = evsim.SpikeTrains.from_events(
            np.round(rng.uniform(0, 15, 10)), rng.integers(0, 2, 10), rng.integers(0, 3, 10),
            batch_size=3, unit_count=2,
        )  # fmt: skip
        self.refused = 0

    # Building.

    @precondition(lambda self: len(self.network.populations) < 4)
    @rule(seed=seeds, kind=st.sampled_from([evsim.LIF, evsim.LIF, evsim.LI]))
    def add_population(self, seed, kind):
        rng = np.random.default_rng(seed)
        name = f"layer{len(self.network.populations)}"
        spiking = [p for p in self.network.populations if p.spiking]
        source = spiking[rng.integers(len(spiking))]
        refractory = {"refractory": rng.choice([0.0, 2.0, np.inf])} if kind is evsim.LIF else {}
        population = kind(name, 2, tau_syn=rng.choice([5.0, 20.0]), **refractory)
        before = numbers_of(self.network)
        self.network = evsim.Network(
            [*self.network.populations, population],
            [
                *self.network.connections,
                evsim.Connection(source.name, name, rng.normal(5.0, 3.0, (2, source.units))),
            ],
        )
        after = numbers_of(self.network)
        assert {name: after[name] for name in before} == before
        assert self.network.output.name == name

    @precondition(lambda self: len(self.network.connections) < 6)
    @rule(seed=seeds, sparse=st.booleans())
    def add_connection(self, seed, sparse):
        rng = np.random.default_rng(seed)
        sources = [p.name for p in self.network.populations if p.spiking]
        source = sources[rng.integers(len(sources))]
        target = self.network.populations[rng.integers(1, len(self.network.populations))].name
        weight = rng.normal(0.0, 1.0, (2, 2))
        weight = csr_array(weight * [[1, 0], [1, 1]]) if sparse else weight
        delay = rng.choice([0.0, 1.0, 2.5])
        name = f"connection {len(self.network.connections)}"
        added = evsim.Connection(source, target, weight, delay, name=name)
        self.network = evsim.Network(self.network.populations, [*self.network.connections, added])
        assert f"{name}.weight" in self.network.parameters

    @rule(seed=seeds)
    def replace_a_parameter(self, seed):
        rng = np.random.default_rng(seed)
        name = list(self.network.parameters)[rng.integers(len(self.network.parameters))]
        old, before = self.network, numbers_of(self.network)
        value = self.network.parameters[name]
        factor = rng.choice([0.5, 1.0, 1.25])
        changed = value * factor
        self.network = old.replace({name: changed})
        assert numbers_of(old) == before
        assert same_bits(dense(self.network.parameters[name]), dense(changed))
        for other in old.parameters.keys() - {name}:
            assert same_bits(dense(self.network.parameters[other]), dense(old.parameters[other]))
        with pytest.raises(ValueError, match="read-only"):
            dense(self.network.parameters[name])[...] = 0.0

    @rule(seed=seeds)
    def what_is_wrong_is_refused(self, seed):
        """With a message that names the parameter, and nothing is changed by it."""
        rng = np.random.default_rng(seed)
        before = numbers_of(self.network)
        name = list(self.network.parameters)[rng.integers(len(self.network.parameters))]
        wrong = {
            "weight": [np.nan, np.inf, np.zeros((5, 7)), "much"],
            "delay": [-1.0, np.nan, np.inf, np.zeros((5, 7))],
            "tau_mem": [0.0, -1.0, np.inf, np.ones(9)],
            "tau_syn": [0.0, -1.0, np.nan, np.ones(9)],
            "threshold": [0.0, -1.0, np.inf, np.ones(9)],
            "reset": [1e9, np.nan, np.ones(9)],
            "rest": [np.nan, np.inf, np.ones(9)],
        }[name.rsplit(".", 1)[1]]
        with pytest.raises((TypeError, ValueError), match=name.replace(".", r"\.")):
            self.network.replace({name: wrong[rng.integers(len(wrong))]})
        with pytest.raises(ValueError, match="there is no parameter"):
            self.network.replace({f"{name}s": 1.0})
        populations, connections = self.network.populations, self.network.connections
        nowhere = [*connections, evsim.Connection("input", "nowhere", 1.0)]
        for parts, message in (
            (([*populations, populations[-1]], connections), "is given twice"),
            ((populations, [*connections, connections[0]]), "two connections are called"),
            ((populations, nowhere), "there is no population 'nowhere'"),
            ((populations, [evsim.Connection("first", "input", 1.0)]), "only emit|LI units never"),
        ):
            with pytest.raises(ValueError, match=message):
                evsim.Network(*parts)
        assert numbers_of(self.network) == before
        self.refused += 1

    @rule()
    def store_and_load(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.safetensors"
            storage.save_network(path, self.network)
            loaded = storage.load_network(path)
        assert numbers_of(loaded) == numbers_of(self.network)
        assert list(loaded.parameters) == list(self.network.parameters)
        self.network = loaded

    # Running.

    @rule(seed=seeds)
    def samples_do_not_touch_each_other(self, seed):
        order = np.random.default_rng(seed).permutation(3)
        whole = evsim.simulate(self.network, self.inputs, DURATION, EXACT)
        other = evsim.simulate(self.network, self.inputs[order], DURATION, Exact(threads=2))
        name = self.network.output.name
        assert other.spikes[name] == whole.spikes[name][order]
        mean = Mean(population=name)
        assert same_bits(other.read(mean), whole.read(mean)[order])

    @rule()
    def threads_do_not_matter(self):
        loss = CrossEntropy(Mean())
        results = [
            evsim.gradient(self.network, self.inputs, [0, 1, 0], loss, DURATION, engine=engine)
            for engine in (EXACT, Exact(threads=2))
        ]
        for name in self.network.parameters:
            assert same_bits(*(dense(r.parameters[name]) for r in results))
        assert results[0].loss == results[1].loss

    @rule()
    def engines_agree(self):
        run = evsim.simulate(self.network, self.inputs, DURATION, EXACT)
        counts = {n: c for n, c in run.spike_counts.items() if n != "input"}
        drive = run.report.smallest_drive
        if sum(int(c.sum()) for c in counts.values()) > MOST_SPIKES or drive < 1e-3:
            return
        loss = CrossEntropy(Mean())
        exact, reference = (
            evsim.gradient(self.network, self.inputs, [0, 1, 0], loss, DURATION, engine=engine)
            for engine in (EXACT, Reference())
        )
        for name in counts:
            ours, theirs = (
                sorted(zip(own.samples, own.units, own.times, strict=True))
                for own in (exact.run.spikes[name], reference.run.spikes[name])
            )
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
        np.testing.assert_allclose(exact.losses, reference.losses, rtol=1e-9)
        for name, gradient in exact.parameters.items():
            expected = dense(reference.parameters[name])
            scale = 1e-6 * (np.abs(expected).max(initial=0.0) + 1e-3)
            np.testing.assert_allclose(dense(gradient), expected, rtol=0, atol=scale)

    @rule()
    def shifting_all_inputs_shifts_the_first_spikes(self):
        """By 1 ms: spikes move by 1 ms, those that stay within the trial."""
        trains = self.inputs
        later = evsim.SpikeTrains(trains.times + 1.0, trains.units, trains.offsets, 2)
        spiking = [p for p in self.network.populations[1:] if isinstance(p, evsim.LIF)]
        long = evsim.simulate(self.network, later, DURATION + 1.0, EXACT)
        short = evsim.simulate(self.network, trains, DURATION, EXACT)
        for population in spiking[:1]:
            first, moved = (r.read(FirstSpike(population=population.name)) for r in (short, long))
            if np.isfinite(first).all():
                np.testing.assert_allclose(moved, first + 1.0, rtol=0, atol=1e-6)

    # What always holds.

    @invariant()
    def a_network_has_what_it_names(self):
        if not hasattr(self, "network"):
            return
        network = self.network
        owners = {p.name for p in network.populations} | {c.name for c in network.connections}
        assert {name.rsplit(".", 1)[0] for name in network.parameters} <= owners
        topology = network.topology
        assert topology.unit_count == sum(p.units for p in network.populations)
        assert network.weight_per_synapse().size == topology.source.size
        assert (network.delay_per_synapse() >= 0).all()


# -- spike trains -------------------------------------------------------------------------------


class SpikeTrainsMachine(RuleBasedStateMachine):
    """Spike trains beside a list of lists, which is what they stand for."""

    UNITS = 3

    def __init__(self):
        super().__init__()
        self.model = []
        self.trains = evsim.SpikeTrains.from_lists([], units=self.UNITS)

    @rule(sample=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=6))
    def append(self, sample):
        events = [(time / 4, unit) for time, unit in sample]
        more = evsim.SpikeTrains.from_lists([events], units=self.UNITS)
        self.trains = evsim.SpikeTrains.concatenate([self.trains, more])
        self.model = [*self.model, sorted(events)]

    @rule(latencies=st.lists(st.none() | st.integers(0, 40), min_size=3, max_size=3))
    def append_latencies(self, latencies):
        row = [np.nan if t is None else t / 4 for t in latencies]
        more = evsim.SpikeTrains.from_latencies(np.array([row]))
        self.trains = evsim.SpikeTrains.concatenate([self.trains, more])
        self.model = [*self.model, sorted((t, u) for u, t in enumerate(row) if t == t)]

    @precondition(lambda self: self.model)
    @rule(seed=seeds)
    def select(self, seed):
        rng = np.random.default_rng(seed)
        index = rng.integers(0, len(self.model), rng.integers(1, len(self.model) + 2))
        self.trains = self.trains[index]
        self.model = [self.model[i] for i in index]

    @precondition(lambda self: self.model)
    @rule(seed=seeds)
    def slice_and_single(self, seed):
        rng = np.random.default_rng(seed)
        begin, end = sorted(rng.integers(-len(self.model), len(self.model) + 1, 2).tolist())
        assert self.trains[begin:end].to_lists() == self.model[begin:end]
        sample = int(rng.integers(-len(self.model), len(self.model)))
        assert self.trains[sample].to_lists() == [self.model[sample]]

    @rule()
    def wrong_samples_are_refused(self):
        for index in (len(self.model), -len(self.model) - 1):
            with pytest.raises(IndexError, match=f"sample {index} of a batch"):
                self.trains[index]
        with pytest.raises(TypeError, match="select samples by an integer, a slice"):
            self.trains[True]
        other = evsim.SpikeTrains.from_lists([[]], units=self.UNITS + 1)
        with pytest.raises(ValueError, match="must have the same unit_count"):
            evsim.SpikeTrains.concatenate([self.trains, other])

    @invariant()
    def they_are_what_they_stand_for(self):
        trains, model = self.trains, self.model
        assert len(trains) == len(model)
        assert [sorted(sample) for sample in trains.to_lists()] == model
        assert all((np.diff(trains[b].times) >= 0).all() for b in range(len(model)))
        counts = [[sum(u == unit for _, u in s) for unit in range(self.UNITS)] for s in model]
        assert trains.counts().tolist() == counts
        first = [
            [min((t for t, u in s if u == unit), default=np.inf) for unit in range(self.UNITS)]
            for s in model
        ]
        assert trains.first().tolist() == first
        assert trains.samples.tolist() == [b for b, s in enumerate(model) for _ in s]
        again = evsim.SpikeTrains.from_events(
            trains.times, trains.units, trains.samples,
            batch_size=len(trains), unit_count=self.UNITS,
        )  # fmt: skip
        assert again.to_lists() == [sorted(sample) for sample in model]
        assert not trains.times.flags.writeable


# -- training that is interrupted ---------------------------------------------------------------


class TrainingMachine(RuleBasedStateMachine):
    """A run that stops, is interrupted, and goes on, beside one that was never stopped."""

    EPOCHS = 6

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.finished = 0

    def teardown(self):
        self.folder.cleanup()

    def train(self, epochs, folder, callbacks=(), **changes):
        rng = np.random.default_rng(0)
        network = evsim.Network(
            [evsim.Input("input", 2), evsim.LIF("hidden", 3), evsim.LI("output", 2)],
            [
                evsim.Connection("input", "hidden", rng.uniform(4, 9, (3, 2)), 1.0),
                evsim.Connection("hidden", "output", rng.normal(0, 1, (2, 3))),
            ],
        )
        latencies = rng.uniform(0, 10, (6, 2))
        labels = (latencies[:, 0] < latencies[:, 1]).astype(int)
        data = evsim.Dataset(evsim.SpikeTrains.from_latencies(latencies), labels)
        arguments = {
            "optimizers": {"weight": evsim.Adam(0.1), "delay": evsim.SGD(1.0, momentum=0.5)},
            "dropout": {"input": 0.1},
        }
        return evsim.fit(
            network, data, CrossEntropy(), duration=DURATION, epochs=epochs, batch_size=3, seed=4,
            engine=EXACT, run_folder=folder, progress=False, callbacks=list(callbacks),
            resume=folder is not None, **{**arguments, **changes},
        )  # fmt: skip

    @precondition(lambda self: self.finished < self.EPOCHS)
    @rule(epochs=st.integers(1, 2), how=st.sampled_from(["ends", "stops", "is interrupted"]))
    def go_on(self, epochs, how):
        last = min(self.finished + epochs, self.EPOCHS)

        def leave(state):
            if how != "ends" and state.epoch == last:
                raise StopTraining("enough") if how == "stops" else KeyboardInterrupt

        target = last if how == "ends" else self.EPOCHS
        result = self.train(target, self.folder.name, [leave])
        assert result.interrupted == (how == "is interrupted")
        assert result.stopped == ("enough" if how == "stops" else None)
        self.finished = last
        self.compare(result)

    @precondition(lambda self: self.finished > 0)
    @rule()
    def nothing_is_done_twice(self):
        self.compare(self.train(self.finished, self.folder.name))

    @precondition(lambda self: self.finished)
    @rule()
    def other_settings_are_refused(self):
        with pytest.raises(storage.StorageError, match="made with other settings: .*dropout"):
            self.train(self.EPOCHS, self.folder.name, dropout={"input": 0.2})
        self.compare(self.train(self.finished, self.folder.name))

    def compare(self, result):
        """With the run that was never stopped, to the bit."""
        straight = self.straight(self.finished)
        assert numbers_of(result.last_network) == numbers_of(straight.last_network)
        assert numbers_of(result.network) == numbers_of(straight.network)
        assert [r.loss for r in result.history] == [r.loss for r in straight.history]
        best = storage.load_network(Path(self.folder.name) / "best.safetensors")
        assert numbers_of(best) == numbers_of(result.network)

    _straight: ClassVar[dict[int, evsim.training.FitResult]] = {}

    def straight(self, epochs):
        if epochs not in self._straight:
            self._straight[epochs] = self.train(epochs, None)
        return self._straight[epochs]


TestNetworks = NetworkMachine.TestCase
TestNetworks.settings = settings(WALK, max_examples=20, stateful_step_count=14)
TestSpikeTrains = SpikeTrainsMachine.TestCase
TestSpikeTrains.settings = settings(WALK, max_examples=30, stateful_step_count=10)
TestTraining = TrainingMachine.TestCase
TestTraining.settings = settings(WALK, max_examples=8, stateful_step_count=4)
