"""Random networks with everything that a description allows, for tests and for validation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

import evsim
from evsim.network import Parameter
from evsim.readouts import FirstSpike, Mean, Peak, Readout, SampleTimes, SpikeTimes, VoltageAt

RATIOS = (4.0, 2.0, 1.0, 1.0 + 1e-9, 1 / 3)  # tau_mem / tau_syn
DELAYS = ("none", "one", "axonal", "dendritic", "synaptic")
KINDS = (
    "single neurons",
    "feedforward",
    "recurrent",
    "two populations, mutual",
)


@dataclass(frozen=True)
class Case:
    """A network, spikes for its inputs, and the length of the trial in ms."""

    network: evsim.Network
    inputs: dict[str, evsim.SpikeTrains]
    duration: float

    @cached_property
    def readouts(self) -> tuple[Readout, ...]:
        """Every elementary readout of the output, and the first spikes of hidden populations."""
        hidden = [
            FirstSpike(population=p.name)
            for p in self.network.populations[:-1]
            if isinstance(p, evsim.LIF)
        ]
        common = Mean("flat"), Mean("exponential"), Mean("linear"), VoltageAt(self.moments)
        if isinstance(self.network.output, evsim.LI):
            return *common, Peak(), *hidden
        return FirstSpike(), SpikeTimes(2), *common, *hidden

    @cached_property
    def moments(self) -> SampleTimes:
        """Up to three times of each sample, at least one of the first."""
        rng = np.random.default_rng(sum(trains.times.size for trains in self.inputs.values()))
        counts = rng.integers(0, 4, self.batch_size)
        counts[:1] = np.maximum(counts[:1], 1)
        times = [np.sort(rng.uniform(0, self.duration, count)) for count in counts]
        return SampleTimes(np.concatenate([[], *times]), np.cumsum([0, *counts]))

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))


def random_case(rng: np.random.Generator, kind: str, *, batch: int = 1, **fixed: Any) -> Case:
    """A random network of a kind, with random inputs.

    ``fixed`` may set what is otherwise drawn: ``ratio``, ``output`` ("LIF" or "LI"),
    ``refractory``, ``heterogeneous``, ``delays`` (of ``DELAYS``), ``sparse``, ``duration``.
    ``voltages=True`` also draws reset, rest and start, which are otherwise 0.
    """
    choices: dict[str, Any] = {
        "ratio": rng.choice(RATIOS),
        "output": rng.choice(["LIF", "LI"]),
        "refractory": rng.choice([0.0, 0.0, 3.0, np.inf]),
        "heterogeneous": bool(rng.random() < 0.3),
        "delays": rng.choice(DELAYS),
        "sparse": bool(rng.random() < 0.3),
        "duration": rng.choice([20.0, 50.0, 100.0]),
        "voltages": False,
    } | fixed
    duration = float(choices.pop("duration"))
    maker = Maker(rng, **choices)
    if kind == "single neurons":
        network = evsim.Network(
            [maker.input("left", 4), maker.layer("LIF", "output", 3)],
            [maker.connection("left", "output", 4, 3, 1.0)],
        )
    else:
        network = deep_network(maker, kind, choices["output"])
    inputs = {
        p.name: random_trains(rng, p.units, batch, duration, int(rng.integers(2, 20)))
        for p in network.inputs
    }
    return Case(network, inputs, duration)


def tied_case(rng: np.random.Generator, dt: float) -> Case:
    """Units that receive the same sums in different orders; delays are multiples of dt."""
    units, inputs = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    base = rng.choice([0.5, 1.0, 1.5, 2.2, 2.4, 5.0], inputs)
    loop = rng.choice([-2.0, 0.0, 0.5, 1.0], (units, units))
    hidden = evsim.LIF("hidden", units, tau_syn=10.0, refractory=rng.choice([0.0, 0.1, dt, 3 * dt]))
    network = evsim.Network(
        [evsim.Input("input", inputs), hidden, evsim.LIF("output", 2, tau_syn=10.0)],
        [
            evsim.Connection(
                "input", "hidden", 2 * np.stack([rng.permutation(base) for _ in range(units)])
            ),
            evsim.Connection("hidden", "hidden", loop, dt * rng.integers(0, 3, (units, units))),
            evsim.Connection("hidden", "output", 2.0, dt * rng.integers(0, 3, (2, units))),
        ],
    )
    times = dt * rng.integers(0, 20, 4)  # of all inputs together, so that their sums tie
    lists = [[(float(time), unit) for time in np.sort(times) for unit in range(inputs)]]
    return Case(network, {"input": evsim.SpikeTrains.from_lists(lists, units=inputs)}, 20.0)


def deep_network(maker: Maker, kind: str, output: str) -> evsim.Network:
    """Two inputs, two layers, skips, parallel connections, and loops if the kind has them."""
    populations = [
        maker.input("left", 3),
        maker.input("right", 2),
        maker.layer("LIF", "first", 4),
        maker.layer("LIF", "second", 3),
        maker.layer(output, "output", 2),
    ]
    connections = [
        maker.connection("left", "first", 3, 4, 1.0),
        maker.connection("right", "first", 2, 4, 0.8),
        maker.connection("first", "second", 4, 3, 0.9),
        maker.connection("second", "output", 3, 2, 0.8),
        maker.connection("first", "output", 4, 2, 0.4, name="skip"),
        maker.connection("first", "output", 4, 2, 0.2, name="skip again"),
        maker.connection("right", "output", 2, 2, 0.3),
    ]
    if kind == "recurrent":
        connections.append(maker.loop("first", "first", 4, 4))
    elif kind == "two populations, mutual":
        connections.append(maker.loop("second", "first", 3, 4))
        connections.append(maker.loop("second", "second", 3, 3))
    elif kind != "feedforward":
        raise ValueError(f"there is no kind of network {kind!r}")
    return evsim.Network(populations, connections)


@dataclass(frozen=True)
class Maker:
    """Makes the populations and connections of one network, with what they have in common."""

    rng: np.random.Generator
    ratio: float
    output: str
    refractory: float
    heterogeneous: bool
    delays: str
    sparse: bool
    voltages: bool

    def input(self, name: str, units: int) -> evsim.Input:
        return evsim.Input(name, units)

    def layer(self, kind: str, name: str, units: int) -> evsim.Population:
        def spread(value: float) -> Any:
            return value * self.rng.uniform(0.7, 1.4, units) if self.heterogeneous else value

        taus = {"tau_mem": spread(20.0), "tau_syn": spread(20.0 / self.ratio)}
        if kind == "LI":
            return evsim.LI(name, units, **taus, **self.li_voltages(units))
        voltages = self.lif_voltages(units) if self.voltages else {"threshold": spread(1.0)}
        return evsim.LIF(name, units, refractory=spread(self.refractory), **voltages, **taus)

    def li_voltages(self, units: int) -> dict[str, Any]:
        """Rest and start; nothing if they are to be 0."""
        if not self.voltages:
            return {}
        voltages = {"rest": self.rng.normal(0.0, 0.5, units)}
        return voltages | ({"start": self.rng.normal(0.0, 0.5)} if self.rng.random() < 0.5 else {})

    def lif_voltages(self, units: int) -> dict[str, Any]:
        """Threshold, reset, rest and start.

        If the start is given, the first unit rests above its threshold and spikes without input.
        """
        rest = self.rng.normal(0.0, 0.5, units)
        voltages = {"rest": rest, "threshold": rest + self.rng.uniform(0.7, 1.4, units)}
        voltages["reset"] = voltages["threshold"] - self.rng.uniform(0.4, 1.6, units)
        if self.rng.random() < 0.5:
            voltages["start"] = voltages["threshold"] - self.rng.uniform(0.2, 1.2, units)
            voltages["rest"][0] = voltages["threshold"][0] + self.rng.uniform(0.02, 0.3)
        return voltages

    @property
    def strength(self) -> float:
        """The weight with which a single spike raises V to 1."""
        r = self.ratio
        return float(np.e) if abs(r - 1) < 1e-6 else float(r ** (r / (r - 1)))

    def connection(
        self, source: str, target: str, pre: int, post: int, size: float, name: str = ""
    ) -> evsim.Connection:
        mean = 0.7 * size * self.strength
        weight: Parameter = self.rng.normal(mean, 0.8 * mean, (post, pre))
        if self.sparse and pre * post > 6:
            kept = self.rng.random((post, pre)) < 0.7
            kept[0, 0] = True
            weight = csr_array(np.where(kept, weight, 0.0))
        return evsim.Connection(source, target, weight, self.delay(weight), name=name)

    def loop(self, source: str, target: str, pre: int, post: int) -> evsim.Connection:
        """A connection weak enough to keep the number of spikes small."""
        size = 0.25 * min(self.strength, 3.0)
        weight = self.rng.normal(0.0, size, (post, pre))
        return evsim.Connection(source, target, weight, self.delay(weight))

    def delay(self, weight: Parameter) -> Parameter:
        post, pre = weight.shape
        if self.delays == "none":
            return 0.0
        if self.delays == "synaptic" and isinstance(weight, csr_array):
            return csr_array(
                (self.rng.uniform(0, 8, weight.nnz), weight.indices, weight.indptr), weight.shape
            )
        shapes = {
            "one": (),
            "axonal": (1, pre),
            "dendritic": (post, 1),
            "synaptic": (post, pre),
        }
        return self.rng.uniform(0, 8, shapes[self.delays])


def looped(network: evsim.Network, *names: str) -> evsim.Network:
    """The same network, with synapses of weight 0 between all units of each named population.

    They have no effect, but make the populations recurrent.
    """
    loops = [evsim.Connection(name, name, 0.0, 0.0, name=f"loop of {name}") for name in names]
    return evsim.Network(network.populations, [*network.connections, *loops])


def random_trains(
    rng: np.random.Generator, units: int, batch: int, duration: float, spikes: int
) -> evsim.SpikeTrains:
    """About that many spikes per sample, at random in the first nine tenths of the trial."""
    count = spikes * batch
    return evsim.SpikeTrains.from_events(
        rng.uniform(0, 0.9 * duration, count),
        rng.integers(0, units, count),
        rng.integers(0, batch, count) if batch > 1 else np.zeros(count, int),
        batch_size=batch,
        unit_count=units,
    )
