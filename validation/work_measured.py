"""Measures the time and the error of a network by engine and step: the points of a plot."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nest_networks
import numpy as np
from convergence import first_difference, mean_error, spikes_before
from nest_networks import LOSSLESS, ON_GRID, PRECISE, Nest, NestStoppedError

import evsim
from evsim.engines import Engine, Exact, Reference
from evsim.storage import load_arrays, save_arrays
from evsim_gpu import Grid

HIDDEN = "hidden"
WEIGHTS = ("input->hidden.weight", "hidden->hidden.weight")
CLASSES = 10
RATE = 0.02  # spikes per input and ms
LONGEST_DELAY = 10.0
LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean())
SHORT = 2.0**-6  # ms; with steps this short or shorter a run takes long enough to be timed once
SHORTEST_FOR_NEST = 2.0**-8  # ms; shorter steps take longer without smaller errors
KIND_OF_FILE = "validation truth"

EXACT = "evsim, exact"
GRID64 = "evsim, grid, float64"
GRID32 = "evsim, grid, float32"
NEST_GRID = "NEST, iaf_psc_exp"
NEST_PRECISE = "NEST, iaf_psc_exp_ps"
NEST_LOSSLESS = "NEST, iaf_psc_exp_ps_lossless"
GRIDS = (GRID64, GRID32, NEST_GRID)

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """A series, its step in ms (None if exact), seconds, an error, and whether spikes agree.

    Seconds and error are NaN if the simulator stopped before the end of the trial.
    """

    series: str
    step: float | None
    seconds: float
    error: float
    same_spikes: bool

    @property
    def is_measured(self) -> bool:
        """Whether the simulator reached the end of the trial."""
        return bool(np.isfinite(self.error))


# -- the network --------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A network, one sample and its label, and the duration of the trial in ms."""

    network: evsim.Network
    spikes: evsim.SpikeTrains
    duration: float

    @property
    def for_nest(self) -> evsim.Network:
        """The network without its outputs, which do not spike."""
        inputs, hidden, _ = self.network.populations
        kept = [c for c in self.network.connections if c.target == HIDDEN]
        return evsim.Network([inputs, hidden], kept)

    def simulate(self, engine: Engine) -> evsim.SpikeTrains:
        """The hidden spikes."""
        run = evsim.simulate(self.network, self.spikes, duration=self.duration, engine=engine)
        return run.spikes[HIDDEN]

    def gradient(self, engine: Engine, wrt: tuple[str, ...] | None = None):
        """The gradient with respect to all parameters, or to the named ones."""
        label = np.array([1])
        return evsim.gradient(
            self.network, self.spikes, label, LOSS, self.duration, engine=engine, wrt=wrt
        )


def work(inputs: int, hidden: int, duration: float, seed: int) -> Work:
    """A network with inputs at 20 Hz, recurrent hidden units, outputs, and delays everywhere."""
    rng = np.random.default_rng(seed)
    input_weight, loop_weight = 10.0 / inputs, 4.0 / hidden
    network = evsim.Network(
        [
            evsim.Input("input", inputs),
            evsim.LIF(HIDDEN, hidden, refractory=2.0),
            evsim.LI("output", CLASSES),
        ],
        [
            evsim.Connection(
                "input",
                HIDDEN,
                rng.normal(input_weight, input_weight, (hidden, inputs)),
                rng.uniform(0.0, LONGEST_DELAY, (hidden, inputs)),
            ),
            evsim.Connection(
                HIDDEN,
                HIDDEN,
                rng.normal(0.0, loop_weight, (hidden, hidden)),
                rng.uniform(1.0, LONGEST_DELAY, (hidden, hidden)),
            ),
            evsim.Connection(HIDDEN, "output", rng.normal(0.0, 0.1, (CLASSES, hidden))),
        ],
    )
    count = round(RATE * duration * inputs)
    spikes = evsim.SpikeTrains.from_events(
        rng.uniform(0.0, duration, count),
        rng.integers(0, inputs, count),
        np.zeros(count, int),
        batch_size=1,
        unit_count=inputs,
    )
    return Work(network, spikes, duration)


# -- the true values ----------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Hidden spikes and gradients with respect to hidden weights, by the reference engine."""

    spikes: evsim.SpikeTrains
    weights: np.ndarray

    def spike_error(self, found: evsim.SpikeTrains) -> tuple[float, bool]:
        """The mean distance in ms of spikes before the first difference, and if there is none.

        A difference is a spike that only one of the two has; spikes are paired unit by unit.
        """
        pairs = [
            tuple(trains.times[trains.units == unit] for trains in (self.spikes, found))
            for unit in range(self.spikes.unit_count)
        ]
        same = all(ours.size == others.size for ours, others in pairs)
        return mean_error(pairs if same else spikes_before(pairs, first_difference(pairs))), same

    def gradient_error(self, found) -> tuple[float, bool]:
        """The norm of the error of the hidden weights' gradient, relative to its norm."""
        off = np.linalg.norm(flat_weights(found) - self.weights) / np.linalg.norm(self.weights)
        return float(off), self.spike_error(found.run.spikes[HIDDEN])[1]


def flat_weights(gradient) -> np.ndarray:
    """The gradients with respect to the hidden units' weights, as one array."""
    return np.concatenate([np.ravel(gradient.parameters[name]) for name in WEIGHTS])


def truth(problem: Work, digits: int, file: Path) -> Truth:
    """The true values, from the file if it exists; computing them takes a minute or two."""
    if file.exists():
        arrays, _ = load_arrays(file, KIND_OF_FILE)
        trains = (arrays[name] for name in ("times", "units", "offsets"))
        return Truth(evsim.SpikeTrains(*trains, int(arrays["unit_count"])), arrays["weights"])
    gradient = problem.gradient(Reference(digits), WEIGHTS)
    found = Truth(gradient.run.spikes[HIDDEN], flat_weights(gradient))
    arrays = {name: getattr(found.spikes, name) for name in ("times", "units", "offsets")}
    arrays |= {"unit_count": np.array(found.spikes.unit_count), "weights": found.weights}
    save_arrays(file, KIND_OF_FILE, arrays, {"evsim": evsim.__version__})
    return found


# -- measurements -------------------------------------------------------------------------


def timed(what: Callable[[], T], repeats: int) -> tuple[float, T]:
    """The median CPU time in s without compilation, and the result.

    CPU time depends less on other programs than the elapsed time does.
    """
    result = what()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = what()
        seconds.append(time.process_time() - start)
        if sum(seconds) > 2.0:
            break
    return statistics.median(seconds), result


def engines(steps: tuple[float, ...]) -> Iterator[tuple[str, float | None, Engine]]:
    """The engines of evsim: the exact engine and the grids."""
    yield EXACT, None, Exact(threads=1)
    for step in steps:
        yield GRID64, step, Grid(step, threads=1, precision="float64")
        yield GRID32, step, Grid(step, threads=1, precision="float32")


def spike_points(
    problem: Work, true: Truth, steps: tuple[float, ...], repeats: int
) -> Iterator[Point]:
    """The points of the forward runs."""
    for series, step, engine in engines(steps):
        seconds, found = timed(lambda engine=engine: problem.simulate(engine), repeats)
        yield Point(series, step, seconds, *true.spike_error(found))
    if nest_networks.is_installed():
        yield from nest_points(problem, true, steps, repeats)


def nest_points(
    problem: Work, true: Truth, steps: tuple[float, ...], repeats: int
) -> Iterator[Point]:
    """The points of NEST, whose time is that of its loop without building the network."""
    network, inputs = problem.for_nest, {"input": problem.spikes}
    models = {NEST_GRID: ON_GRID, NEST_PRECISE: PRECISE, NEST_LOSSLESS: LOSSLESS}
    for series, model in models.items():
        chosen = [step for step in steps if step >= SHORTEST_FOR_NEST]
        for step in chosen if model == ON_GRID else chosen[::2]:
            runs = range(min(repeats, 3) if step > SHORT else 1)
            nest = Nest(model, step)
            try:
                found = [nest.simulate(network, inputs, problem.duration) for _ in runs]
            except NestStoppedError:
                yield Point(series, step, np.nan, np.nan, False)
                continue
            seconds = statistics.median(run.seconds for run in found)
            yield Point(series, step, seconds, *true.spike_error(found[0].spikes[HIDDEN]))


def gradient_points(
    problem: Work, true: Truth, steps: tuple[float, ...], repeats: int
) -> Iterator[Point]:
    """The points of the gradients with respect to every parameter."""
    for series, step, engine in engines(steps):
        seconds, found = timed(lambda engine=engine: problem.gradient(engine), repeats)
        yield Point(series, step, seconds, *true.gradient_error(found))
