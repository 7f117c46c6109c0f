"""Small random networks with many difficulties, on which engines might disagree.

The networks have one to about five units and up to eight input spikes, so plain Python can simulate
a million of them.  Times are arbitrary or lie on a grid of 1/2 ms, so that events coincide.  Time
constants are equal, nearly equal, or differ by a factor of up to a million.  Weights raise V to the
threshold exactly, cancel each other, are tiny or huge.  A network is determined by a seed and a
number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

import evsim
from evsim import storage
from evsim.engines.protocol import Adjustments
from evsim.engines.reference.network import Event, Kind, Model, SampleDropout, Simulation
from evsim.network.topology import Topology
from evsim.readouts import FirstSpike, Mean, Peak, Readout, SampleTimes, SpikeTimes, VoltageAt
from evsim.storage.networks import network_of

KIND_OF_FILE = "disagreement"


@dataclass(frozen=True, eq=False)
class SmallCase:
    """A network, its inputs, a readout, and the cotangents to propagate back.

    ``cotangents`` has the shape of the readout's values; ``wrt`` names the parameters.
    """

    network: evsim.Network
    inputs: dict[str, evsim.SpikeTrains]
    duration: float
    readout: Readout
    cotangents: np.ndarray
    wrt: tuple[str, ...]
    dropout: evsim.Dropout | None = None
    adjustments: Adjustments = field(default_factory=Adjustments)

    @property
    def batch_size(self) -> int:
        """The number of samples."""
        return len(next(iter(self.inputs.values())))

    def without_gradients(self) -> SmallCase:
        """The same case without cotangents, which needs no finite gradient."""
        nothing = np.zeros_like(self.cotangents)
        return replace(self, cotangents=nothing, wrt=(), adjustments=Adjustments(None, {}, 1.0))


def small_case(seed: int, number: int) -> SmallCase:
    """The random network of that number."""
    return Draw(np.random.default_rng([seed, number])).case()


# -- drawing ------------------------------------------------------------------------------


@dataclass
class Draw:
    """Draws one random network, and holds the choices that its parts share."""

    rng: np.random.Generator
    duration: float = 20.0
    on_grid: bool = False
    ratio: float = 4.0
    tau_mem: float = 20.0
    is_sparse: bool = False

    def case(self) -> SmallCase:
        """Draw everything."""
        self.duration = self.one_of(10.0, 20.0, 20.0, 50.0, self.uniform(5.0, 60.0))
        self.on_grid = self.chance(0.4)
        self.ratio = self.one_of(4.0, 4.0, 2.0, 1.0, 1.0 + 1e-9, 1.0 + 4e-16, 1 / 3, self.scale(2))
        self.tau_mem = self.one_of(20.0, 20.0, 5.0, self.scale(1) * 10.0, self.scale(4) * 10.0)
        self.is_sparse = self.chance(0.12)
        network = self.network()
        batch_size = 1 if self.chance(0.85) else 2
        inputs = {p.name: self.trains(p.units, batch_size) for p in network.inputs}
        readout = self.readout(network, batch_size)
        units = network.population(readout.population_of(network)).units
        cotangents = self.rng.normal(0.0, 1.0, readout.shape(batch_size, units))
        names = tuple(network.parameters)
        if self.chance(0.7):
            names = tuple(n for n in names if not n.endswith((".tau_mem", ".tau_syn")))
        return SmallCase(
            network, inputs, self.duration, readout, cotangents, names,
            self.dropout(network), self.adjustments(network),
        )  # fmt: skip

    # Random choices.

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def one_of(self, *choices: Any) -> Any:
        return choices[int(len(choices) * self.rng.random())]

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def scale(self, decades: float) -> float:
        """A number from 10^-decades to 10^decades, uniform on a logarithmic scale."""
        return 10.0 ** self.uniform(-decades, decades)

    # Populations and connections.

    def network(self) -> evsim.Network:
        """One or two inputs, up to two layers of LIF units, and LI outputs or none."""
        rng = self.rng
        populations: list[evsim.Population] = [evsim.Input("input", int(rng.integers(1, 4)))]
        if self.chance(0.15):
            populations.append(evsim.Input("other", 1))
        layers = int(rng.integers(0, 3))
        populations += [self.layer("LIF", f"layer{n}") for n in range(layers)]
        if layers == 0 or self.chance(0.4):
            populations.append(self.layer("LI", "output"))
        first = next(n for n, p in enumerate(populations) if not isinstance(p, evsim.Input))
        connections = []
        for target in range(first, len(populations)):
            for source in range(len(populations)):
                if not populations[source].spiking:
                    continue
                is_next = source == max(target - 1, first - 1) or (target == first > source)
                if is_next or self.chance(0.25):
                    ends = populations[source], populations[target]
                    connections.append(self.connection(*ends, is_next))
        if self.chance(0.08):  # a second connection between the same populations
            last = connections[-1]
            ends = (next(p for p in populations if p.name == n) for n in (last.source, last.target))
            connections.append(self.connection(*ends, False, name="again"))
        return with_known_topology(evsim.Network(populations, connections))

    def layer(self, kind: str, name: str) -> evsim.Population:
        units = int(self.rng.integers(1, 4))
        spread: Callable[[float], Any] = (
            (lambda value: value * self.rng.uniform(0.7, 1.4, units))
            if self.chance(0.2)
            else lambda value: value
        )
        taus = {"tau_mem": spread(self.tau_mem), "tau_syn": spread(self.tau_mem / self.ratio)}
        if kind == "LI":
            return evsim.LI(name, units, **taus)
        return evsim.LIF(
            name,
            units,
            threshold=spread(self.one_of(1.0, 1.0, 1.0, 0.5, self.scale(3))),
            refractory=self.one_of(0.0, 0.0, 3.0, 0.5, np.inf, self.time(8.0)),
            **taus,
        )

    def connection(
        self, source: evsim.Population, target: evsim.Population, is_next: bool, name: str = ""
    ) -> evsim.Connection:
        post, pre = target.units, source.units
        shape = (post, pre)
        threshold = float(np.max(getattr(target, "threshold", 1.0)))
        needed = threshold * weight_for_threshold(self.ratio)
        weight: Any = self.weight(shape, needed * (1.0 if is_next else 0.3))
        if self.is_sparse:
            kept = self.rng.random(shape) < 0.7
            kept[0, 0] = True
            rows, columns = np.nonzero(kept)
            values = np.broadcast_to(weight, shape)[kept]
            weight = csr_array((values, (rows, columns)), shape=shape)
            if self.chance(0.4):
                delays = np.broadcast_to(self.delay((post, pre)), shape)[kept]
                delay = csr_array((delays, weight.indices, weight.indptr), shape=shape)
                return evsim.Connection(source.name, target.name, weight, delay, name=name)
            shape = self.one_of((), (1, pre), (post, 1))
        else:
            shape = self.one_of((), (1, pre), (post, 1), shape, shape)
        return evsim.Connection(source.name, target.name, weight, self.delay(shape), name=name)

    def weight(self, shape: tuple[int, int], needed: float) -> Any:
        """Weights near the one with which a single spike raises V exactly to the threshold.

        One in twenty is that weight itself or a neighbouring float; some weights cancel.
        """
        rng = self.rng
        drawn = rng.random()
        if drawn < 0.05:
            off = self.one_of(0.0, 2e-16, -2e-16, 1e-14, -1e-14, 1e-9, 1e-6, -1e-6)
            return np.full(shape, needed * (1.0 + off))
        if drawn < 0.15:
            return np.asarray(needed * rng.normal(1.2, 0.5))
        if drawn < 0.3:  # multiples of a quarter, including 0 and opposite weights
            return needed * rng.integers(-4, 9, shape) / 4.0
        if drawn < 0.33:
            return rng.normal(0.0, 1.0, shape) * 10.0 ** rng.uniform(-300, 0)
        if drawn < 0.36:
            return needed * rng.normal(0.3, 1.0, shape) * 10.0 ** rng.uniform(1, 6)
        return needed * rng.normal(0.9, 0.9, shape)

    def delay(self, shape: tuple[int, ...]) -> Any:
        drawn = self.rng.random()
        if drawn < 0.3:
            return 0.0
        if drawn < 0.45:
            return np.full(shape, self.one_of(0.5, 1.0, 3.0, self.time(8.0)))
        if drawn < 0.5:
            return np.full(shape, self.one_of(1e-12, 1e-300, 2.0 * self.duration, self.duration))
        return self.times(0.0, 8.0, shape)

    # Times.

    def time(self, longest: float) -> float:
        return float(self.times(0.0, longest, ()))

    def times(self, earliest: float, latest: float, shape: Any) -> Any:
        """Times anywhere, or on a grid of 1/2 ms."""
        times = self.rng.uniform(earliest, latest, shape)
        return np.round(2.0 * times) / 2.0 if self.on_grid else times

    def trains(self, units: int, batch_size: int) -> evsim.SpikeTrains:
        """Up to eight spikes per sample; some coincide, or are at 0, at the end or after it."""
        rng = self.rng
        counts = rng.integers(0, 9, batch_size)
        total = int(counts.sum())
        times = self.times(0.0, 0.8 * self.duration, total)
        if total and self.chance(0.3):
            times[: max(total // 2, 1)] = times[0]
        if total and self.chance(0.3):
            special = 0.0, self.duration, self.duration + 1.0, np.nextafter(self.duration, 0.0)
            times[-1] = self.one_of(*special)
        offsets = np.cumsum([0, *counts])
        for begin, end in pairwise(offsets.tolist()):
            times[begin:end].sort()
        return evsim.SpikeTrains(times, rng.integers(0, units, total), offsets, units)

    # The readout, dropout and adjustments.

    def readout(self, network: evsim.Network, batch_size: int) -> Readout:
        read = [p for p in network.populations if not isinstance(p, evsim.Input)]
        population = self.one_of(*read)
        weighting = self.one_of("flat", "exponential", "linear")
        choices = [partial(Mean, weighting), partial(VoltageAt, self.moments(batch_size))]
        if isinstance(population, evsim.LI):
            choices += [Peak, Peak]
        else:
            choices += [FirstSpike, FirstSpike, partial(SpikeTimes, int(self.rng.integers(1, 4)))]
        return self.one_of(*choices)(population=population.name)

    def moments(self, batch_size: int) -> SampleTimes:
        counts = self.rng.integers(1, 4, batch_size)
        times = [np.sort(self.times(0.0, self.duration, count)) for count in counts]
        return SampleTimes(
            np.minimum(np.concatenate(times), self.duration), np.cumsum([0, *counts])
        )

    def dropout(self, network: evsim.Network) -> evsim.Dropout | None:
        if not self.chance(0.04):
            return None
        spiking = [p.name for p in network.populations if p.spiking]
        return evsim.Dropout({self.one_of(*spiking): 0.3}, seed=int(self.rng.integers(1000)))

    def adjustments(self, network: evsim.Network) -> Adjustments:
        if not self.chance(0.06):
            return Adjustments()
        layers = [p for p in network.populations if isinstance(p, evsim.LIF)]
        jumps = {p.name: self.rng.normal(0.0, 0.1, p.units) for p in layers[:1]}
        return Adjustments(None, jumps, self.one_of(np.inf, 0.1, 10.0))


# -- networks that tie ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TiedCase(SmallCase):
    """A network whose events coincide, exactly or within a few units in the last place.

    ``kind`` is the cause of the ties.  If ``is_symmetric``, all units of the first layer are
    identical, also in floats, so ties among them do not depend on rounding.
    """

    kind: str = ""
    is_symmetric: bool = False


def tied_case(seed: int, number: int) -> TiedCase:
    """The random network with ties of that number."""
    return TiedDraw(np.random.default_rng([seed, number, 1])).tied_case()


TIES = "equal sums", "twins", "few values", "self-connections", "copied layers"
"""The causes of ties, before spikes are added at the times of other events."""

POKE = "poke"
"""The input whose spikes coincide with emissions, arrivals and ends of refractory periods."""

ULPS = 0, 0, 0, 1, -1, 1, -1, 2, -2, 3, -3, 5, -5
"""The distances in floats between events that nearly coincide."""


@dataclass
class TiedDraw(Draw):
    """Draws one random network with ties.

    Weights and delays are multiples of a few tenths, so sums of the same weights in another order
    differ in their last bits.  Then an extra input gets spikes at the times at which a simulation
    in floats has emissions, arrivals and ends of refractory periods, or a few floats before or
    after; the trial may end there, too.  The reference engine runs that simulation, so networks do
    not depend on the tested engine.
    """

    needed: float = 6.3  # the weight with which one spike raises V to the threshold, rounded
    lag: float = 0.5  # delays are multiples of it

    def tied_case(self) -> TiedCase:
        """Draw everything."""
        self.duration = self.one_of(20.0, 20.0, 30.0, 17.3, 9.9)
        self.ratio = self.one_of(4.0, 4.0, 2.0, 2.0, 1.0, 0.5)
        self.tau_mem = self.one_of(20.0, 20.0, 10.0, 5.0)
        self.on_grid = self.chance(0.5)
        self.needed = round(weight_for_threshold(self.ratio), 1)
        self.lag = self.one_of(0.1, 0.3, 0.5, 1.0)
        kind = self.one_of(*TIES)
        network, is_symmetric = self.tied_network(kind)
        inputs = {"input": self.copied_trains(network.inputs[0].units)}
        inputs[POKE] = evsim.SpikeTrains.from_lists([[]], units=2)
        dropout = self.dropout(network)
        for _ in range(self.one_of(0, 1, 1, 2, 3)):
            kind_of_meeting = self.meet(network, inputs, dropout)
            kind = f"{kind.split(', ')[0]}, {kind_of_meeting}" if kind_of_meeting else kind
        readout = self.readout(network, 1)
        units = network.population(readout.population_of(network)).units
        return TiedCase(
            network, inputs, self.duration, readout,
            self.rng.normal(0.0, 1.0, readout.shape(1, units)), tuple(network.parameters),
            dropout, Adjustments(), kind, is_symmetric,
        )  # fmt: skip

    # Populations and connections.

    def tied_network(self, kind: str) -> tuple[evsim.Network, bool]:
        """The network, and whether all units of its first layer are identical in floats."""
        rng = self.rng
        units = 1 if kind == "self-connections" else int(rng.integers(2, 7))
        sources = int(rng.integers(1, 5))
        populations: list[evsim.Population] = [
            evsim.Input("input", sources), evsim.Input(POKE, 2), self.tied_layer("hidden", units)
        ]  # fmt: skip
        row = self.rounded(rng.uniform(0.3, 1.6, sources))
        if kind == "equal sums":
            weight = np.stack([rng.permutation(row) for _ in range(units)])
        elif kind == "few values":
            weight = rng.choice(row, (units, sources))
        else:
            weight = np.tile(row, (units, 1))
        delay = self.multiples((1, sources))
        connections = [evsim.Connection("input", "hidden", weight, delay)]
        is_symmetric = kind == "twins"
        if kind == "self-connections" or self.chance(0.75):
            loop, lag, is_uniform = self.loop(units)
            is_symmetric &= is_uniform
            connections.append(evsim.Connection("hidden", "hidden", loop, lag))
        if kind == "copied layers":
            populations.append(self.copy_of(populations[2], "copy"))
            connections.append(evsim.Connection("input", "copy", weight, delay))
            connections.append(self.sent("hidden", "copy", units, units))
            if self.chance(0.4):
                connections.append(self.sent("copy", "hidden", units, units))
                is_symmetric = False
        if self.chance(0.4):
            populations.append(
                evsim.LI("output", 2, tau_mem=self.tau_mem, tau_syn=self.tau_mem / self.ratio)
            )
            connections.append(self.sent("hidden", "output", units, 2))
        poke = self.sent(POKE, "hidden", 2, units)
        uniform = np.broadcast_to([[1.0, -1.0]], (units, 2)) * self.rounded(
            rng.uniform(0.2, 4.0, (1, 2))
        )
        poke = replace(poke, weight=uniform)
        is_symmetric &= np.ndim(poke.delay) == 0
        return evsim.Network(populations, [*connections, poke]), bool(is_symmetric)

    def tied_layer(self, name: str, units: int) -> evsim.LIF:
        refractory = self.one_of(0.0, 0.0, 0.0, 1e-17, 1e-14, self.lag, 2.0, np.inf)
        return evsim.LIF(name, units, self.tau_mem, self.tau_mem / self.ratio, 1.0, refractory)

    def copy_of(self, layer: evsim.Population, name: str) -> evsim.Population:
        return replace(layer, name=name)

    def rounded(self, shares: Any) -> Any:
        """Weights that are shares of ``needed``, rounded to tenths."""
        return np.round(self.needed * shares, 1)

    def multiples(self, shape: tuple[int, ...]) -> Any:
        """Delays: none, one for all, or multiples of one delay."""
        drawn = self.rng.random()
        if drawn < 0.5:
            return 0.0
        if drawn < 0.7:
            return self.lag
        return self.lag * self.rng.integers(0, 4, shape)

    def sent(self, source: str, target: str, pre: int, post: int) -> evsim.Connection:
        """A connection with few different weights of both signs."""
        shares = self.rng.choice([0.3, 0.5, -0.3, -1.5, 0.0], (post, pre))
        if self.chance(0.4):
            shares = np.full((post, pre), self.one_of(0.5, 0.2, -1.5, -4.0))
        return evsim.Connection(source, target, self.rounded(shares), self.multiples((post, pre)))

    def loop(self, units: int) -> tuple[np.ndarray, Any, bool]:
        """Weights and delays within the layer, and whether they are equal for all units."""
        size = self.one_of(0.8, 0.4, 0.2, 0.1, 0.0, -0.3, -1.0, -3.0)
        if units == 1 or self.chance(0.6):
            diagonal = self.one_of(0.0, 1.0) if units > 1 else 1.0
            shares = size * (1.0 - (1.0 - diagonal) * np.eye(units))
            delay = 0.0 if self.chance(0.7) else self.lag * int(self.rng.integers(1, 4))
            return self.rounded(shares), delay, True
        shares = size * self.rng.choice([1.0, 0.0, 0.5, -1.0], (units, units))
        return self.rounded(shares), self.multiples((units, units)), False

    # Spikes.

    def copied_trains(self, units: int) -> evsim.SpikeTrains:
        """Groups of coinciding spikes, and the same groups again later."""
        rng, events = self.rng, []
        group = rng.integers(0, units, int(rng.integers(1, 5))).tolist()
        if self.chance(0.7):
            group = list(range(units))
        for _ in range(int(rng.integers(1, 4))):
            time = self.boundary() if self.chance(0.2) else self.time(0.7 * self.duration)
            events += [(time, unit) for unit in group]
        return evsim.SpikeTrains.from_lists([sorted(events)], units=units)

    def boundary(self) -> float:
        """The beginning or end of the trial, or a time at which the exact engine may divide it."""
        parts = int(self.rng.integers(1, 17))
        share = int(self.rng.integers(0, parts + 1)) / parts
        slack = self.one_of(1.0, 1.0 + 1e-12)
        return float(min(self.beside(self.duration * share * slack), self.duration))

    def beside(self, time: float) -> float:
        """The same time or a nearby float, not before 0."""
        ulps = self.one_of(*ULPS)
        for _ in range(abs(ulps)):
            time = float(np.nextafter(time, np.inf if ulps > 0 else 0.0))
        return time

    def meet(
        self,
        network: evsim.Network,
        inputs: dict[str, evsim.SpikeTrains],
        dropout: evsim.Dropout | None,
    ) -> str:
        """Add a spike, or end the trial, at the time of an event; the kind of event, or ""."""
        events = events_in_floats(network, inputs, self.duration, dropout)
        emissions = [e for e in events if e.kind == Kind.EMISSION and e.index is None]
        if not emissions or len(events) == MOST_EVENTS:
            return ""
        drawn = self.rng.random()
        event = self.one_of(*emissions)
        if drawn < 0.15:
            event = self.one_of(*events)
            if event.time > 1e-9:
                self.duration = self.beside(event.time)
                return "the end"
        refractory = float(network.per_unit("refractory", default=0.0)[event.unit])
        meets = "emissions"
        time = event.time
        if drawn < 0.35 and 0.0 < refractory < np.inf:
            meets, time = "releases", time + refractory
        elif drawn < 0.45:
            meets, time = "arrivals", self.one_of(*events).time
        connection = network.connections[-1]
        delays = np.broadcast_to(connection.delay, (network.population("hidden").units, 2))
        unit = int(self.rng.integers(0, 2))
        time = self.beside(time) - float(self.one_of(*delays[:, unit].tolist()))
        if not 0.0 <= time <= self.duration:
            return ""
        poke = inputs[POKE]
        pairs = [*zip(poke.times.tolist(), poke.units.tolist(), strict=True), (time, unit)]
        inputs[POKE] = evsim.SpikeTrains.from_lists([sorted(pairs)], units=2)
        return meets


MOST_EVENTS = 400
"""Networks with more events are not changed."""


def events_in_floats(
    network: evsim.Network,
    inputs: dict[str, evsim.SpikeTrains],
    duration: float,
    dropout: evsim.Dropout | None,
) -> list[Event]:
    """The first events of the only sample, from the reference engine in floats."""
    engine = evsim.engines.Reference()
    model = Model.from_network(network, engine.numbers)
    (events,) = engine.input_events(network, inputs)
    drops = None
    if dropout is not None:
        (key,) = dropout.sample_keys(1).tolist()
        drops = SampleDropout(key, dropout.rate_per_unit(network).tolist())
    return list(islice(Simulation(model, events, duration, dropout=drops), MOST_EVENTS))


_topologies: dict[Any, Topology] = {}


def with_known_topology(network: evsim.Network) -> evsim.Network:
    """The network with the topology of an earlier network with the same units and synapses.

    ``Network.replace`` does the same; computing a topology takes longer than a simulation.
    """
    if any(connection.is_sparse for connection in network.connections):
        return network
    populations = tuple((type(p), p.units) for p in network.populations)
    key = populations, tuple((c.source, c.target) for c in network.connections)
    if key in _topologies:
        network.__dict__["topology"] = _topologies[key]
    else:
        _topologies[key] = network.topology
    return network


def weight_for_threshold(ratio: float) -> float:
    """The weight with which a single spike raises V exactly to 1, for a tau_mem / tau_syn."""
    if abs(ratio - 1.0) < 1e-8:
        return float(np.e)
    return float(ratio ** (ratio / (ratio - 1.0)))


# -- files --------------------------------------------------------------------------------

_READOUTS: dict[str, type[Readout]] = {
    kind.__name__: kind for kind in (Mean, Peak, FirstSpike, SpikeTimes, VoltageAt)
}


def save_case(path: Path, case: SmallCase, description: dict[str, Any]) -> None:
    """Write a case, and a description that is valid JSON, to one safetensors file."""
    arrays = {f"network/{n}": a for n, a in storage.network_arrays(case.network).items()}
    for name, trains in case.inputs.items():
        for part in ("times", "units", "offsets"):
            arrays[f"input/{name}/{part}"] = getattr(trains, part)
    arrays["cotangents"] = case.cotangents
    for name, jumps in case.adjustments.rate_jumps.items():
        arrays[f"jumps/{name}"] = jumps
    readout: dict[str, Any] = {
        "kind": type(case.readout).__name__, "population": case.readout.population
    }  # fmt: skip
    if isinstance(case.readout, Mean):
        readout["weighting"] = case.readout.weighting
    elif isinstance(case.readout, SpikeTimes):
        readout["count"] = case.readout.count
    elif isinstance(case.readout, VoltageAt):
        arrays["moments/times"], arrays["moments/offsets"] = case.readout.moments
    dropout = case.dropout and {"rates": dict(case.dropout.rates), "seed": case.dropout.seed}
    arrays["scalars"] = np.array([case.duration, case.adjustments.lambda_limit])
    settings = {
        "structure": storage.network_structure(case.network),
        "readout": readout,
        "wrt": list(case.wrt),
        "dropout": dropout,
        "tied": [case.kind, case.is_symmetric] if isinstance(case, TiedCase) else None,
    }
    storage.save_arrays(path, KIND_OF_FILE, arrays, {"case": settings, **description})


def load_case(path: Path) -> tuple[SmallCase, dict[str, Any]]:
    """The case and the description that ``save_case`` has written."""
    arrays, description = storage.load_arrays(path, KIND_OF_FILE)
    settings = description.pop("case")
    network = network_of(
        settings["structure"],
        {n.removeprefix("network/"): a for n, a in arrays.items() if n.startswith("network/")},
    )
    inputs = {
        p.name: evsim.SpikeTrains(
            *(arrays[f"input/{p.name}/{part}"] for part in ("times", "units", "offsets")), p.units
        )
        for p in network.inputs
    }
    readout = settings["readout"]
    kind = _READOUTS[readout.pop("kind")]
    if kind is VoltageAt:
        readout["moments"] = SampleTimes(arrays["moments/times"], arrays["moments/offsets"])
    duration, limit = arrays["scalars"].tolist()
    jumps = {n.removeprefix("jumps/"): a for n, a in arrays.items() if n.startswith("jumps/")}
    case = SmallCase(
        network, inputs, duration, kind(**readout), arrays["cotangents"], tuple(settings["wrt"]),
        settings["dropout"] and evsim.Dropout(**settings["dropout"]),
        Adjustments(None, jumps, limit),
    )  # fmt: skip
    if settings["tied"]:
        case = TiedCase(**vars(case), kind=settings["tied"][0], is_symmetric=settings["tied"][1])
    return case, description
