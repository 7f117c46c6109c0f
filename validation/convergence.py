"""How the grid engine converges to the exact engine as dt goes to 0: errors and their slopes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import evsim
from evsim import losses, readouts
from evsim.engines import Exact
from evsim.losses import Loss
from evsim.simulation import Gradient, Run
from evsim_gpu import Grid

EXACT = Exact(threads=1, debug=True)
STEPS = 2.0 ** -np.arange(11)
DURATION = 32.0
CLASSES = 3
FEWEST_STEPS = 4  # the smallest number of steps over which a slope is measured
GRADIENTS = ("weight", "delay", "tau_mem", "tau_syn", "threshold", "input times")
QUANTITIES = ("spike times", "loss", *GRADIENTS)
KINDS = ("layered", "recurrent")
LOSSES: dict[str, Loss] = {
    "first spikes, cross-entropy": losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=10.0, alpha=0.1),
    "first spikes, time-invariant": losses.TimeInvariantMSE(2.0),
    "means": losses.CrossEntropy(readouts.Mean("exponential")),
    "peaks": losses.CrossEntropy(readouts.Peak()),
}


# -- networks -----------------------------------------------------------------------------


def random_network(rng: np.random.Generator, kind: str, spiking: bool) -> evsim.Network:
    """8-12-8-3, or 8-16-3 with a recurrent hidden layer; a delay at every synapse.

    Units differ in their time constants and thresholds; a third of the networks have a
    refractory period of 2 ms.
    """
    refractory = 2.0 if rng.random() < 1 / 3 else 0.0

    def lif(name: str, units: int) -> evsim.LIF:
        return evsim.LIF(
            name,
            units,
            tau_mem=20.0 * rng.uniform(0.7, 1.4, units),
            tau_syn=5.0 * rng.uniform(0.7, 1.4, units),
            threshold=rng.uniform(0.8, 1.2, units),
            refractory=refractory,
        )

    def connection(source: evsim.Population, target: evsim.Population, mean: float, spread: float):
        shape = target.units, source.units
        weight, delay = rng.normal(mean, spread, shape), rng.uniform(0, 6, shape)
        return evsim.Connection(source.name, target.name, weight, delay)

    inputs, hidden = evsim.Input("input", 8), lif("first", 12 if kind == "layered" else 16)
    output: evsim.Population = lif("output", CLASSES)
    if not spiking:
        output = evsim.LI(
            "output",
            CLASSES,
            tau_mem=20.0 * rng.uniform(0.7, 1.4, CLASSES),
            tau_syn=5.0 * rng.uniform(0.7, 1.4, CLASSES),
        )
    populations = [inputs, hidden]
    connections = [connection(inputs, hidden, 0.8, 0.8)]
    if kind == "layered":
        populations.append(lif("second", 8))
        connections.append(connection(hidden, populations[-1], 0.8, 0.8))
    else:
        connections.append(connection(hidden, hidden, 0.0, 0.5))
    connections.append(connection(populations[-1], output, 1.0, 0.8))
    return evsim.Network([*populations, output], connections)


def random_spikes(rng: np.random.Generator) -> evsim.SpikeTrains:
    """Two spikes of each input, in the first half of the trial."""
    count = 16
    return evsim.SpikeTrains.from_events(
        rng.uniform(0, 0.5 * DURATION, count),
        np.arange(count) % 8,
        np.zeros(count, int),
        batch_size=1,
        unit_count=8,
    )


# -- errors -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """The errors for one network and loss, at each step of ``STEPS``.

    Parameters
    ----------
    agrees : (steps,)
        Whether every unit spikes as often as in continuous time.
    spikes : int
        The number of spikes in continuous time, without those of inputs.
    values : mapping from quantity to (steps,)
        The mean error of spike times in ms; the errors of other quantities relative to their
        norms.  NaN where the spike patterns differ.
    early : (steps,)
        Where the patterns differ, the mean error of spikes before the first difference; NaN if
        there are no such spikes.
    compared : (steps,)
        The number of spikes from which ``early`` is computed.
    """

    agrees: np.ndarray
    spikes: int
    values: dict[str, np.ndarray]
    early: np.ndarray
    compared: np.ndarray

    @property
    def fitted(self) -> np.ndarray:
        """The steps for which this and all shorter steps have the same pattern, (steps,)."""
        return np.logical_and.accumulate(self.agrees[::-1])[::-1]


def errors_of(rng: np.random.Generator, kind: str, loss: Loss) -> Errors:
    """Compare the engines on a random network whose outputs the loss can read."""
    spiking = isinstance(loss.readout, readouts.FirstSpike)
    network, spikes = random_network(rng, kind, spiking), random_spikes(rng)
    label = rng.integers(0, CLASSES, 1)

    def gradient(engine: evsim.engines.Engine) -> Gradient:
        return evsim.gradient(network, spikes, label, loss, DURATION, engine=engine)

    exact = gradient(EXACT)
    values = {name: np.full(STEPS.size, np.nan) for name in QUANTITIES}
    agrees = np.zeros(STEPS.size, bool)
    early, compared = np.full(STEPS.size, np.nan), np.zeros(STEPS.size, int)
    for index, dt in enumerate(STEPS):
        grid = gradient(Grid(float(dt), threads=1))
        pairs = list(paired_spikes(exact.run, grid.run))
        agrees[index] = all(times.size == other.size for times, other in pairs)
        if agrees[index]:
            values["spike times"][index] = mean_error(pairs)
            for name, error in relative_errors(exact, grid).items():
                values[name][index] = error
        else:
            before = spikes_before(pairs, first_difference(pairs))
            early[index] = mean_error(before)
            compared[index] = sum(times.size for times, _ in before)
    count = sum(times.size for times, _ in paired_spikes(exact.run, exact.run))
    return Errors(agrees, count, values, early, compared)


Pair = tuple[np.ndarray, np.ndarray]


def paired_spikes(exact: Run, grid: Run) -> Iterator[Pair]:
    """The spike times of each unit except inputs, in continuous time and on the grid."""
    for name, trains in exact.spikes.items():
        others = grid.spikes[name]
        if name not in exact.inputs:
            for unit in range(trains.unit_count):
                yield trains.times[trains.units == unit], others.times[others.units == unit]


def first_difference(pairs: list[Pair]) -> float:
    """The earliest time in ms at which a spike appears or vanishes on the grid.

    In a unit with a different number of spikes, this is its first spike that has no counterpart
    with the same number, or that is nearer to another spike of the unit than to its counterpart.
    """
    moment = np.inf
    for exact, others in pairs:
        if exact.size == others.size:
            continue
        for number in range(max(exact.size, others.size)):
            times = [train[number] for train in (exact, others) if number < train.size]
            nearest = np.argmin(np.abs(exact - times[-1])) if exact.size else -1
            if len(times) < 2 or nearest != number:
                moment = min(moment, *times)
                break
    return float(moment)


def spikes_before(pairs: list[Pair], moment: float) -> list[Pair]:
    """The pairs of spikes with the same unit and number that are both before a time."""
    found = []
    for exact, others in pairs:
        count = min(int((exact < moment).sum()), int((others < moment).sum()))
        found.append((exact[:count], others[:count]))
    return found


def mean_error(pairs: list[Pair]) -> float:
    """The mean distance of spikes in ms; NaN without spikes."""
    distances = np.concatenate([np.abs(exact - others) for exact, others in pairs])
    return float(distances.mean()) if distances.size else np.nan


def relative_errors(exact: Gradient, grid: Gradient) -> dict[str, float]:
    """The errors of the loss and of each kind of gradient, relative to their norms; NaN for 0."""
    found = {"loss": (exact.losses, grid.losses)}
    for kind in GRADIENTS[:-1]:
        names = [name for name in exact.parameters if name.endswith(f".{kind}")]
        found[kind] = tuple(
            np.concatenate([np.ravel(one.parameters[name]) for name in names])
            for one in (exact, grid)
        )
    found["input times"] = exact.input_times, grid.input_times
    norms = {name: np.linalg.norm(truth) for name, (truth, _) in found.items()}
    return {
        name: float(np.linalg.norm(other - truth) / norms[name]) if norms[name] else np.nan
        for name, (truth, other) in found.items()
    }


# -- slopes -------------------------------------------------------------------------------


@dataclass
class Slopes:
    """The order at which a quantity converges, over many networks.

    Parameters
    ----------
    single : (networks,)
        The slope of each network's log error over log dt, by least squares, over the steps
        at which its pattern agrees; there are at least ``FEWEST_STEPS``.
    common : float
        One slope for all networks, each with its own prefactor, over the same steps.
    interval : pair of float
        The 95 % interval of ``common``, from resampling networks.
    """

    single: np.ndarray
    common: float
    interval: tuple[float, float]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The first quartile, median and third quartile of the slopes of single networks."""
        return tuple(np.quantile(self.single, [0.25, 0.5, 0.75]).tolist())

    @property
    def highest_median(self) -> float:
        """The upper end of the median's 95 % interval, from resampling networks."""
        medians = np.median(self.single[resampled(self.single.size)], axis=1)
        return float(np.quantile(medians, 0.975))

    @classmethod
    def of(cls, found: list[Errors], quantity: str) -> Slopes:
        """The slopes measured on some networks; errors of 0 are left out."""
        products, squares = [], []
        for errors in found:
            values = errors.values[quantity]
            used = errors.fitted & (values > 0)
            if used.sum() >= FEWEST_STEPS:
                x, y = np.log2(STEPS[used]), np.log2(values[used])
                products.append(((x - x.mean()) * (y - y.mean())).sum())
                squares.append(((x - x.mean()) ** 2).sum())
        product, square = np.array(products), np.array(squares)
        if not product.size:
            return cls(np.array([np.nan]), np.nan, (np.nan, np.nan))
        drawn = resampled(product.size)
        common = product[drawn].sum(axis=1) / square[drawn].sum(axis=1)
        low, high = np.quantile(common, [0.025, 0.975]).tolist()
        return cls(product / square, float(product.sum() / square.sum()), (low, high))


def resampled(count: int) -> np.ndarray:
    """The numbers of networks, drawn with replacement, (draws, count)."""
    return np.random.default_rng(0).integers(0, count, (2000, count))
