"""Precompiling: compile all loops of an engine before their first use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numba.core import config

from evsim import engines
from evsim._compile import cache as compiled_cache
from evsim._compile import decorators as compiled
from evsim._compile.cache_files import remove_outdated
from evsim.arguments.keywords import helpful
from evsim.engines import Engine, Exact
from evsim.losses import Loss
from evsim.network.connections import Connection
from evsim.network.dropout import Dropout
from evsim.network.initialisers import Normal
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import FirstSpike, Mean, Peak, Readout, SampleTimes, SpikeTimes, VoltageAt
from evsim.training.optimisers import Adam
from evsim_gpu import Grid

DURATION = 4.0

COMPILED: dict[str, Engine] = {
    "exact": Exact(),
    "grid, float64": Grid(precision="float64"),
    "grid, float32": Grid(precision="float32"),
}
"""All engines that numba compiles, by name; the grid engine once for each precision."""


@dataclass(frozen=True)
class Precompiled:
    """The numbers of functions compiled and found on disk, and the time in seconds."""

    compiled: int
    found: int
    seconds: float


@dataclass(frozen=True)
class Cache:
    """The folders that contain machine code, empty if there is none, and its size in bytes."""

    folders: tuple[Path, ...]
    size: int


@helpful
def warm(engine: str | Engine) -> Precompiled:
    """Compile everything that an engine and training on it may need, and store it on disk.

    What was compiled before is not compiled again, and the machine code of earlier versions of
    evsim is removed.  A tiny network of each kind is simulated with every feature of the engine.

    Parameters
    ----------
    engine : str or Engine
        ``"exact"``, ``"grid"``, or a value such as ``Grid(precision="float32")``.  Its other
        settings do not change what is compiled.

    Raises
    ------
    ValueError
        For an engine that numba does not compile, and if numba is disabled.
    """
    engine = engines.resolve(engine)
    if not (isinstance(engine, Exact) or (isinstance(engine, Grid) and engine.device == "cpu")):
        raise ValueError(
            f"{engine} is not compiled ahead: that is for the exact engine, and for the grid on "
            "the processor"
        )
    if isinstance(engine, Exact):
        engine = replace(engine, debug=True)
    if config.DISABLE_JIT:
        raise ValueError("nothing is compiled while NUMBA_DISABLE_JIT is set: unset it")
    compiled_cache.omit_hint()
    misses, hits = _counts()
    start = time.perf_counter()
    for is_recurrent in (False, True):
        _exercise(engine, _network(is_recurrent))
    _step()
    seconds = time.perf_counter() - start
    for function_cache in _caches():
        if function_cache.folder is not None and function_cache.digest is not None:
            remove_outdated(function_cache.folder, function_cache.digest)
    now_misses, now_hits = _counts()
    return Precompiled(now_misses - misses, now_hits - hits, seconds)


def precompile_training(
    engine: str | Engine,
    network: Network,
    loss: Loss,
    parameters: Sequence[str],
    duration: float,
) -> Precompiled:
    """Compile what training these parameters of a network needs, with a loss that classifies.

    The trial must be that of the training, because a loss may read a voltage at its end.
    """
    from evsim.simulation.gradients import GradientOptions, quiet_gradient

    spikes = {p.name: SpikeTrains.from_lists([[(0.0, 0)]], units=p.units) for p in network.inputs}
    misses, hits = _counts()
    start = time.perf_counter()
    options = GradientOptions(wrt=parameters, engine=engine)
    found = quiet_gradient(network, spikes, [0], loss, duration, options)
    engines.resolve(engine).report(found.run.state)
    _step()
    seconds = time.perf_counter() - start
    now_misses, now_hits = _counts()
    return Precompiled(now_misses - misses, now_hits - hits, seconds)


def cache() -> Cache:
    """Where the machine code of the engines is stored, and how much there is."""
    files = [file for function_cache in _caches() for file in function_cache.files()]
    folders = tuple(sorted({file.parent for file in files}))
    return Cache(folders, sum(file.stat().st_size for file in files))


def _caches() -> list[compiled_cache.DigestCache]:
    return [function._cache for function in compiled.entry_points]


def _counts() -> tuple[int, int]:
    """The numbers of functions compiled so far and found on disk so far."""
    misses = sum(sum(f.stats.cache_misses.values()) for f in compiled.entry_points)
    hits = sum(sum(f.stats.cache_hits.values()) for f in compiled.entry_points)
    return misses, hits


def _network(is_recurrent: bool) -> Network:
    recurrent = [Connection("hidden", "hidden", 1.0, 1.0)] if is_recurrent else []
    return Network(
        [Input("input", 1), LIF("hidden", 2), LI("output", 2)],
        [
            Connection("input", "hidden", Normal(10.0, 1.0), 1.0),
            *recurrent,
            Connection("hidden", "output", 1.0, 1.0),
        ],
        seed=0,
    )


def _exercise(engine: Engine, network: Network) -> None:
    """Use every feature of an engine, with a batch of one sample."""
    inputs = {"input": SpikeTrains.from_lists([[(0.0, 0)]], units=1)}
    state = engine.simulate(network, inputs, DURATION, Dropout({"input": 0.0}, seed=0))
    engine.report(state)
    if isinstance(engine, Exact):
        engine.margins(state)
    moments = SampleTimes(np.array([0.0, 2.0]), np.array([0, 2]))
    read: dict[str, tuple[Readout, ...]] = {
        "hidden": (
            FirstSpike(population="hidden"),
            SpikeTimes(population="hidden", count=1),
            Mean(population="hidden"),
        ),
        "output": (Mean(), Peak(), VoltageAt(moments=moments)),
    }
    times = np.array([0.0, 1.0])
    for population, readouts in read.items():
        engine.event_times(state, population)
        engine.traces(state, population, times)
        for readout in readouts:
            cotangents = np.ones(engine.read(state, readout).shape)
            adjoint = engine.pull_back(state, readout, cotangents, list(network.parameters))
            engine.adjoint_traces(state, adjoint, population, times)


def _step() -> None:
    """Take a step of the compiled optimiser."""
    optimizer, values = Adam(1.0), np.zeros(1)
    optimizer.step(values, np.zeros(1), optimizer.start(values), 1.0)
