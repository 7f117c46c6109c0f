"""A small training run with all options, for tests that interrupt, vary or observe it."""

from dataclasses import dataclass, field, replace

import numpy as np
from evsim.augment import Blend, Shift
from evsim.schedules import Decay, EarlyStopping, EaseIn, Halving
from scipy.sparse import csr_array

import evsim
from evsim import storage
from evsim.engines import Engine
from evsim.losses import CrossEntropy
from evsim.readouts import Mean

ENGINE = "exact"
DURATION = 40.0
SAMPLES = 10


def small_network():
    """Sparse and dense parameters, recurrence, and one hidden unit that nothing reaches."""
    generator = np.random.default_rng(5)
    weight = generator.uniform(5.0, 12.0, (4, 3))
    weight[0, 1] = weight[2, 0] = weight[3] = 0.0
    weight = csr_array(weight)
    delay = csr_array(
        (generator.uniform(0, 5, weight.nnz), weight.indices, weight.indptr), shape=(4, 3)
    )
    return evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("hidden", 4), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", weight, delay),
            evsim.Connection("hidden", "hidden", generator.normal(0, 2.0, (4, 4)), [[1.0] * 4]),
            evsim.Connection("hidden", "output", generator.normal(0, 1, (2, 4)), 0.5),
        ],
    )


def small_data(samples=SAMPLES, seed=0):
    """Which of the first two inputs comes first?"""
    latencies = np.random.default_rng(seed).uniform(0, 20, (samples, 3))
    labels = (latencies[:, 0] < latencies[:, 1]).astype(int)
    return evsim.Dataset(evsim.SpikeTrains.from_latencies(latencies), labels)


def train(folder=None, epochs=4, **changes):
    """A run with every part of training in it."""
    arguments = {
        "network": small_network(),
        "data": small_data(),
        "loss": CrossEntropy(Mean("exponential")),
        "duration": DURATION,
        "optimizers": {
            "weight": evsim.Adam(0.3, decay=0.9),
            "delay": evsim.SGD(20.0, momentum=0.9),
            "hidden->output.delay": None,
        },
        "epochs": epochs,
        "batch_size": 4,
        "validation": small_data(7, seed=1),
        "delay_max": 5.0,
        "silent_lift": 0.01,
        "seed": 3,
        "engine": ENGINE,
        "run_folder": folder,
        "progress": False,
    }
    return evsim.fit(**{**arguments, **changes})


def everything():
    """What else a run can be given."""
    return {
        "optimizers": {
            "weight": evsim.Adam(
                0.3,
                schedule=[EaseIn(start=0.1, growth=1.5), Halving(0.0, 0.9, wait=0, watch="loss")],
                weight_decay=0.01, clip=0.01,
            ),
            "delay": evsim.SGD(20.0, momentum=0.9, schedule=Decay(0.9)),
            "tau_mem": evsim.Adam(0.5),
            "tau_syn": evsim.Adam(0.1),
            "threshold": evsim.SGD(0.05),
        },
        "projections": {"tau_mem": (3.0, 60.0), "tau_syn": (1.0, 30.0), "threshold": (0.5, 2.0)},
        "dropout": {"input": 0.2, "hidden": 0.3},
        "regularisers": [evsim.RateRegulariser("hidden", 1e-3, target=2.0)],
        "lambda_limit": 1e-4,
        "augmentation": [Shift(channels=1), Blend(samples=5, probability=0.8)],
        "early_stopping": EarlyStopping(patience=50, watch="loss"),
        "watch": "accuracy",
    }  # fmt: skip


def bits(result):
    """Everything a run decides, the time it took left out."""
    arrays = {
        f"{which}.{name}": (array.dtype.str, array.shape, array.tobytes())
        for which in ("network", "last_network")
        for name, array in storage.network_arrays(getattr(result, which)).items()
    }
    return arrays, result.best_epoch, [replace(record, seconds=0.0) for record in result.history]


class KilledError(Exception):
    pass


def raise_after(epoch, error):
    def callback(state):
        if state.epoch == epoch:
            raise error

    return callback


# -- an engine that watches ---------------------------------------------------------------


@dataclass
class Spy(Engine):
    """Another engine, watched, interrupted or spoilt at a call counted from 1."""

    engine: Engine
    interrupt_at: int = 0
    fail_at: int = 0
    error: Exception = field(default_factory=Exception)
    spoil_at: int = 0
    spoil: float = 0.0
    calls: int = 0
    asked: list = field(default_factory=list)

    def simulate(self, network, inputs, duration, dropout=None):
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        if self.calls == self.fail_at:
            raise self.error
        return self.engine.simulate(network, inputs, duration, dropout)

    def pull_back_sources(self, state, sources, wrt):
        self.asked.append(tuple(wrt))
        adjoint = self.engine.pull_back_sources(state, sources, wrt)
        if len(self.asked) == self.spoil_at:
            adjoint.parameters["hidden->hidden.weight"][1, 2] = self.spoil
        return adjoint

    def event_times(self, state, population):
        return self.engine.event_times(state, population)

    def states_at(self, state, population, times):
        return self.engine.states_at(state, population, times)

    def spikes(self, state):
        return self.engine.spikes(state)

    def report(self, state):
        return self.engine.report(state)

    def read_mean(self, state, population, weighting):
        return self.engine.read_mean(state, population, weighting)

    def read_peak(self, state, population):
        return self.engine.read_peak(state, population)

    def read_spike_times(self, state, population, count):
        return self.engine.read_spike_times(state, population, count)

    def traces(self, state, population, times):
        return self.engine.traces(state, population, times)

    def adjoint_traces(self, state, adjoint, population, times):
        return self.engine.adjoint_traces(state, adjoint, population, times)
