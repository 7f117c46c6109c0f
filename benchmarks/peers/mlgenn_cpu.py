"""evsim's grid engine against mlGeNN's EventPropCompiler on the CPU, on artificial spoken words.

    OMP_NUM_THREADS=1 python benchmarks/peers/mlgenn_cpu.py --version COMMITS [--store]

Both simulate 700 channels, hidden units and 20 leaky integrators in 1000 steps of 1 ms in float32.
mlGeNN updates after each sample, because this back end of GeNN has no larger batches; evsim is
timed with such updates, and in batches of 8 samples.  In an epoch of n samples mlGeNN computes n
forward and n - 1 backward passes, because each backward pass runs together with the next forward
pass.  GeNN's code is compiled with -O3 -ffast-math, as it requires, and with -march=native.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import compare
import numpy as np
from spoken import CHANNELS, CLASSES, DURATION, spoken

import evsim
from evsim_gpu import Grid

STEP = 1.0  # ms
ENGINE = Grid(STEP, precision="float32", threads=1)
LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential"))
TAU_MEM, TAU_SYN = 20.0, 5.0
SPIKES = 5700  # per sample
DELAYS = 100  # steps
BATCH = 8  # samples


@dataclass(frozen=True)
class Network:
    """A network: its layers, and which of its connections have delays, which are learned."""

    title: str
    hidden: tuple[int, ...]
    recurrent: bool
    delayed: tuple[str, ...] = ()

    def build(self) -> evsim.Network:
        """The network in evsim, with delays of whole steps."""
        names = [f"hidden{number}" for number in range(len(self.hidden))]
        units = [evsim.LIF(name, size) for name, size in zip(names, self.hidden, strict=True)]
        pairs = [("input", names[0], evsim.Normal(0.03, 0.01))]
        if self.recurrent:
            pairs.append((names[0], names[0], evsim.Normal(0.0, 0.02)))
        if len(names) > 1:
            pairs.append((names[0], names[1], evsim.Normal(0.02, 0.03)))
        pairs.append((names[-1], "output", evsim.Normal(0.0, 0.03)))
        rng = np.random.default_rng(0)
        sizes = {"input": CHANNELS, "output": CLASSES, **dict(zip(names, self.hidden, strict=True))}
        return evsim.Network(
            [evsim.Input("input", CHANNELS), *units, evsim.LI("output", CLASSES)],
            [
                evsim.Connection(
                    source, target, weight,
                    rng.integers(0, DELAYS, (sizes[target], sizes[source])).astype(float)
                    if f"{source}->{target}" in self.delayed else 0.0,
                )
                for source, target, weight in pairs
            ],
            seed=0,
        )  # fmt: skip


NETWORKS = (
    Network("256 recurrent", (256,), True),
    Network("256 recurrent, learned recurrent delays", (256,), True, ("hidden0->hidden0",)),
    Network(
        "2 x 256 feedforward, learned delays", (256, 256), False,
        ("input->hidden0", "hidden0->hidden1"),
    ),
)  # fmt: skip


def words(samples: int) -> evsim.Dataset:
    """Words with at most one spike per channel and step."""
    drawn = spoken(samples, SPIKES)
    trains = drawn.spikes
    sample = np.repeat(np.arange(samples), np.diff(trains.offsets))
    step = np.rint(trains.times).astype(int)
    kept = np.unique(np.stack([sample, step, trains.units]), axis=1)
    spikes = evsim.SpikeTrains.from_events(
        kept[1].astype(float), kept[2], kept[0], batch_size=samples, unit_count=CHANNELS
    )
    return evsim.Dataset(spikes, drawn.labels)


# -- the other program -------------------------------------------------------------------------


@dataclass
class Theirs:
    """The compiled network of the other program."""

    compiled: Any
    input: Any
    hidden: list[Any]
    output: Any

    def train(self, spikes: list[Any], labels: np.ndarray, callbacks: list[Any]) -> Any:
        """Train an epoch; a sample's backward pass runs together with the next forward pass."""
        return self.compiled.train(
            {self.input: spikes}, {self.output: labels}, num_epochs=1, shuffle=False,
            callbacks=callbacks,
        )  # fmt: skip


def scale(step: float) -> float:
    """The factor by which evsim's weights are multiplied.

    Within a step the current decays.  mlGeNN uses its mean instead, so its V is larger by a factor.
    """
    of_mem, of_syn = np.exp(-step / TAU_MEM), np.exp(-step / TAU_SYN)
    moved = TAU_SYN / (TAU_MEM - TAU_SYN) * (of_mem - of_syn)
    return float(moved / ((1.0 - of_mem) * TAU_SYN / step * (1.0 - of_syn)))


def theirs(network: evsim.Network, learned: tuple[str, ...], step: float = STEP) -> Theirs:
    """The same network in the other program; its weights do not change.

    Delays, which are in steps there, are supported only with steps of 1 ms.
    """
    from ml_genn import Connection, Network, Population
    from ml_genn.compilers import EventPropCompiler
    from ml_genn.compilers.event_prop_compiler import default_params
    from ml_genn.connectivity import Dense
    from ml_genn.neurons import LeakyIntegrate, LeakyIntegrateFire, SpikeInput
    from ml_genn.optimisers import Adam
    from ml_genn.synapses import Exponential

    described = Network(default_params)
    with described:
        made: dict[str, Any] = {}
        for population in network.populations:
            if isinstance(population, evsim.Input):
                model = SpikeInput(max_spikes=2 * SPIKES)
            elif isinstance(population, evsim.LI):
                model = LeakyIntegrate(tau_mem=TAU_MEM, readout="avg_var_exp_weight")
            else:
                model = LeakyIntegrateFire(v_thresh=1.0, tau_mem=TAU_MEM, tau_refrac=None)
            made[population.name] = Population(
                model, population.units, record_spikes=isinstance(population, evsim.LIF)
            )
        connections = {}
        for connection in network.connections:
            dense: dict[str, Any] = {"weight": scale(step) * connection.weight.T}
            more = {}
            if connection.name in learned:
                dense["delay"] = connection.delay.T
                more["max_delay_steps"] = DELAYS
            connections[connection.name] = Connection(
                made[connection.source], made[connection.target], Dense(**dense),
                Exponential(TAU_SYN), **more,
            )  # fmt: skip
    compiler = EventPropCompiler(
        example_timesteps=round(DURATION / step), dt=step, losses="sparse_categorical_crossentropy",
        reg_lambda_upper=0.0, reg_lambda_lower=0.0, max_spikes=1500, optimiser=Adam(0.0),
        delay_learn_conns=[connections[name] for name in learned], batch_size=1,
        backend="single_threaded_cpu", optimize_code=True,
    )  # fmt: skip
    hidden = [made[p.name] for p in network.populations if isinstance(p, evsim.LIF)]
    return Theirs(compiler.compile(described), made["input"], hidden, made["output"])


def their_spikes(spikes: evsim.SpikeTrains) -> list[Any]:
    """Input spikes in the other program's form."""
    from ml_genn.utils.data import preprocess_spikes

    return [
        preprocess_spikes(spikes.times[first:end], spikes.units[first:end], spikes.unit_count)
        for first, end in zip(spikes.offsets, spikes.offsets[1:], strict=False)
    ]


# -- checks ---------------------------------------------------------------------------------


def check_gradients(data: evsim.Dataset) -> None:
    """Check that gradients through spikes have nearly the same direction, with both steps."""
    network = Network("64 feedforward", (64,), False).build()
    weight = 1.6 * network.parameters["input->hidden0.weight"]
    network = network.replace({"input->hidden0.weight": weight})
    first = data[np.arange(1)]
    found = []
    for step in (1.0, 0.1):
        engine = Grid(step, precision="float32", threads=1)
        ours = evsim.gradient(
            network, first.spikes, first.labels, LOSS, DURATION, wrt=wrt(network), engine=engine
        )
        other = theirs(network, (), step)
        with other.compiled:
            other.train(2 * their_spikes(first.spikes), np.repeat(first.labels, 2), [])
            gradients = their_gradients(network, other)
        name = "input->hidden0.weight"
        found.append(cosine(np.asarray(ours.parameters[name]).T, gradients[name]))
    print(f"cosines with steps of 1 and 0.1 ms: {found[0]:.3f}, {found[1]:.3f}", file=sys.stderr)
    assert min(found) > 0.99, f"cosines of {found} with steps of 1 and 0.1 ms"


def wrt(network: evsim.Network) -> list[str]:
    """The parameters that are learned."""
    return [
        f"{connection.name}.{part}"
        for connection in network.connections
        for part in ("weight", "delay")
        if part == "weight" or connection.delay.shape == connection.weight.shape
    ]


def check(network: evsim.Network, data: evsim.Dataset, other: Theirs) -> tuple[str, str]:
    """Compare spikes, readout and gradients of a sample; return the spikes and the agreement.

    Spikes are the same.  The readouts differ, because evsim integrates V over a step.  Gradients
    with respect to the weights to the outputs have the same direction.  Those through spikes are
    divided by a different slope of V at each spike, and have only nearly the same direction, see
    ``check_gradients``.
    """
    from ml_genn.callbacks import SpikeRecorder

    first = data[np.arange(1)]
    found = evsim.gradient(
        network, first.spikes, first.labels, LOSS, DURATION, wrt=wrt(network), engine=ENGINE
    )
    recorders = [SpikeRecorder(population, key=population.name) for population in other.hidden]
    # The gradient of the first of two samples is complete at the end of the second.
    _, recorded = other.train(2 * their_spikes(first.spikes), np.repeat(first.labels, 2), recorders)
    total = shared = 0
    names = [p.name for p in network.populations if isinstance(p, evsim.LIF)]
    for name, population in zip(names, other.hidden, strict=True):
        times, units = (part[0] for part in recorded[population.name])
        trains = found.run.spikes[name]
        ours, their = (
            set(zip(np.rint(steps).astype(int).tolist(), of.tolist(), strict=True))
            for steps, of in ((trains.times, trains.units), (times, units))
        )
        total += len(ours)
        shared += len(ours & their)
        assert len(ours) > 500, f"{name} has {len(ours)} spikes"
        assert len(ours & their) >= 0.99 * max(len(ours), len(their)), (
            f"of {len(ours)} and {len(their)} spikes {len(ours & their)} are the same"
        )
    readout = other.compiled.get_readout([other.output])[0]
    worst = compare.far(np.ravel(readout), np.ravel(found.readout))
    assert worst < 2e-3, f"readouts differ by {worst}"
    cosines = {
        name: cosine(np.asarray(found.parameters[name]).T, gradient)
        for name, gradient in their_gradients(network, other).items()
    }
    assert cosines.keys() == found.parameters.keys()
    of_outputs = cosines.pop(f"{network.connections[-1].name}.weight")
    assert of_outputs > 1 - 1e-6, f"gradients by weights to outputs have a cosine of {of_outputs}"
    assert min(cosines.values()) > 0.5, cosines
    return f"{total:,}", (
        f"{shared:,} of {total:,} spikes of a sample are the same; readouts within {worst:.0e}; "
        "cosines of the gradients: "
        + ", ".join(f"{name} {value:.2f}" for name, value in cosines.items())
        + f", to outputs 1 - {abs(1 - of_outputs):.0e}"
    )


def their_gradients(network: evsim.Network, other: Theirs) -> dict[str, np.ndarray]:
    """The gradients at the first step of Adam, from its first moments, up to a factor."""
    gradients = {}
    for optimiser, updates in other.compiled.optimisers:
        for update in updates:
            moment = update.vars["M"]
            moment.pull_from_device()
            part = "weight" if "Weight" in update.name else "delay"
            name = f"{network.connections[int(update.name[-1])].name}.{part}"
            gradients[name] = np.array(moment.values) / (1.0 - optimiser.beta1)
    return gradients


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The cosine of the angle between two arrays."""
    return float(one.ravel() @ other.ravel() / np.linalg.norm(one) / np.linalg.norm(other))


def epoch(network: evsim.Network, data: evsim.Dataset, batch: int) -> evsim.FitResult:
    """Train an epoch with evsim; the learning rate is so small that spikes do not change."""
    learned = wrt(network)
    delayed = any(name.endswith(".delay") for name in learned)
    return evsim.fit(
        network, data, LOSS, duration=DURATION,
        optimizers=dict.fromkeys(learned, evsim.Adam(1e-9)), epochs=1, batch_size=batch,
        delay_max=float(DELAYS) if delayed else np.inf, engine=ENGINE, progress=False,
    )  # fmt: skip


def main() -> None:
    """Check, time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", required=True, help="of GeNN and mlGeNN")
    parser.add_argument("--samples", type=int, default=32, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--select", default="")
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    os.environ["CXX"] = "g++ -march=native"
    os.chdir(tempfile.mkdtemp())  # for the code that GeNN writes
    data = words(options.samples)
    check_gradients(words(1))
    rows = []
    for described in NETWORKS:
        if options.select not in described.title:
            continue
        network = described.build()
        other = theirs(network, described.delayed)
        with other.compiled:
            spikes, agreement = check(network, data, other)
            print(f"{described.title}: {spikes} spikes; {agreement}", file=sys.stderr)
            inputs = their_spikes(data.spikes)
            for size, quantity in (
                (1, "epoch with Adam, batches of 1"),
                (BATCH, f"epoch with Adam, evsim: batches of {BATCH}"),
            ):
                times = compare.by_turns(
                    lambda network=network, size=size: epoch(network, data, size),
                    lambda other=other, inputs=inputs: other.train(inputs, data.labels, []),
                    options.rounds,
                )
                rows.append(
                    compare.row(
                        described.title, quantity, times, len(data), f"hidden: {spikes}", agreement
                    )
                )
    peer = compare.Peer("mlGeNN, CPU", "github.com/genn-team/genn, ml_genn", options.version)
    compare.finish("mlgenn", peer, rows, store=options.store)


if __name__ == "__main__":
    main()
