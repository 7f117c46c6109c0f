"""simulate and gradient: the two calls that run a network, and what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evsim.engines import resolve
from evsim.engines.protocol import Adjoint, Engine, Report
from evsim.losses import Loss
from evsim.network import Input, Network, Parameter, Population, unknown_name
from evsim.readouts import FirstSpike, Mean, Peak, Readout
from evsim.spikes import SpikeTrains

GRADIENT_KINDS = ("weight", "delay")


def simulate(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    duration: float,
    engine: str | Engine = "exact",
) -> Run:
    """Run a network on a batch of input spikes.

    Parameters
    ----------
    network : Network
    spikes : SpikeTrains, or a mapping from input population to SpikeTrains
        All inputs with the same number of samples.
    duration : float
        The trial is [0, duration] ms; a spike exactly at its end is part of it.
    engine : str or Engine
        "exact", "reference", or an engine with settings.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    EngineError
        For a simulation that cannot go on.
    """
    check_network(network)
    engine = resolve(engine)
    duration = check_duration(duration)
    inputs = check_inputs(network, spikes)
    return Run(network, inputs, duration, engine, engine.simulate(network, inputs, duration))


def gradient(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    labels: Sequence[int] | np.ndarray,
    loss: Loss,
    duration: float,
    *,
    wrt: Sequence[str] | None = None,
    engine: str | Engine = "exact",
) -> Gradient:
    """The exact gradient of the batch loss (the mean over samples) by EventProp.

    Parameters
    ----------
    network, spikes, duration, engine
        As for ``simulate``.
    labels : array of int, shape (batch,)
        The class of each sample, 0 <= label < units of the readout's population.
    loss : Loss
    wrt : sequence of str, optional
        Names of parameters; every weight and delay if not given.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    EngineError
        For a simulation that cannot go on.
    """
    check_network(network)
    if not isinstance(loss, Loss):
        raise TypeError(f"loss = {loss!r}: it must be a Loss such as evsim.losses.CrossEntropy()")
    names = check_wrt(network, wrt)
    population = network.population(loss.readout.population_of(network))
    engine = resolve(engine)
    duration = check_duration(duration)
    inputs = check_inputs(network, spikes)
    batch_size = len(next(iter(inputs.values())))
    if batch_size == 0:
        raise ValueError("the batch is empty: the mean loss over no samples is not defined")
    labels = loss.check_labels(labels, batch_size, population.units)
    state = engine.simulate(network, inputs, duration)
    values = engine.read(state, loss.readout)
    losses, derivative = loss(values, labels, duration)
    adjoint = engine.pull_back(state, loss.readout, derivative / batch_size, names)
    return Gradient(
        run=Run(network, inputs, duration, engine, state),
        losses=losses,
        readout=values,
        predictions=loss.predict(values),
        adjoint=adjoint,
    )


@dataclass(frozen=True, eq=False)
class Run:
    """A simulated batch: its spikes, readouts, and voltages at any time."""

    network: Network
    inputs: dict[str, SpikeTrains]
    duration: float
    engine: Engine
    state: Any

    @cached_property
    def spikes(self) -> dict[str, SpikeTrains]:
        """Spikes of every population by name: within the trial, those of inputs as given."""
        return self.engine.spikes(self.state)

    @cached_property
    def spike_counts(self) -> dict[str, np.ndarray]:
        """Number of those spikes of each unit, (batch, units), by population; read-only."""
        return self.engine.spike_counts(self.state)

    @cached_property
    def report(self) -> Report:
        """What happened in the batch that its results do not show."""
        return self.engine.report(self.state)

    def silent_units(self, population: str) -> np.ndarray:
        """Indices of the units that spike in no sample of the batch, int64."""
        self.network.population(population)
        return np.flatnonzero(self.spike_counts[population].sum(axis=0) == 0)

    def read(self, readout: Readout) -> np.ndarray:
        """A readout's values, shape (batch, units)."""
        if not isinstance(readout, Readout):
            raise TypeError(f"readout = {readout!r}: give one such as evsim.readouts.Peak()")
        readout.population_of(self.network)
        return self.engine.read(self.state, readout)

    def mean(self, population: str, weighting: str = "flat") -> np.ndarray:
        """Weighted mean voltage of LI units, shape (batch, units)."""
        return self.read(Mean(weighting, population=population))  # type: ignore[arg-type]

    def peak(self, population: str) -> np.ndarray:
        """Largest voltage of LI units, shape (batch, units)."""
        return self.read(Peak(population=population))

    def first_spike(self, population: str) -> np.ndarray:
        """First spike times of LIF units in ms, infinity where silent, shape (batch, units)."""
        return self.read(FirstSpike(population=population))

    def voltage(self, population: str, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """V at the given times in ms, shape (batch, units, times); after the jumps at a time."""
        return self._traces(population, times)[0]

    def current(self, population: str, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """I at the given times in ms, shape (batch, units, times); after the jumps at a time."""
        return self._traces(population, times)[1]

    def _traces(
        self, population: str, times: Sequence[float] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        checked = check_trace(self.network, population, times, self.duration)
        return self.engine.traces(self.state, population, checked)


@dataclass(frozen=True, eq=False)
class Gradient:
    """The loss of a batch and its gradients.

    ``losses`` and ``predictions`` have shape (batch,), ``readout`` (batch, units).
    """

    run: Run
    losses: np.ndarray
    readout: np.ndarray
    predictions: np.ndarray
    adjoint: Adjoint

    @property
    def loss(self) -> float:
        """Mean loss of the batch."""
        return float(np.mean(self.losses))

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Gradient of the batch loss by each parameter, in the parameter's shape."""
        return self.adjoint.parameters

    @property
    def input_times(self) -> Any:
        """Gradient by each input spike time, shape (events,), beside ``spikes.times``.

        One array for a network with one input population, else one by name.
        """
        times = self.adjoint.input_times
        return next(iter(times.values())) if len(times) == 1 else times

    @property
    def report(self) -> Report:
        """What happened in the batch that its results do not show."""
        return self.run.report

    def lambda_V(self, population: str, times: Sequence[float] | np.ndarray) -> np.ndarray:  # noqa: N802
        """Adjoint of V at the given times in ms, shape (batch, units, times)."""
        return self._traces(population, times)[0]

    def lambda_I(self, population: str, times: Sequence[float] | np.ndarray) -> np.ndarray:  # noqa: N802
        """Adjoint of I at the given times in ms, shape (batch, units, times)."""
        return self._traces(population, times)[1]

    def _traces(
        self, population: str, times: Sequence[float] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        run = self.run
        checked = check_trace(run.network, population, times, run.duration)
        return run.engine.adjoint_traces(run.state, self.adjoint, population, checked)


# -- checks -------------------------------------------------------------------------------


def check_network(network: object) -> None:
    """Refuse what is no network."""
    if not isinstance(network, Network):
        raise TypeError(f"network is of type {type(network).__name__}: give an evsim.Network")


def check_duration(duration: float) -> float:
    """The duration as a float; refuses what is not a finite time > 0."""
    real = (int, float, np.integer, np.floating)
    if isinstance(duration, bool) or not isinstance(duration, real):
        raise TypeError(f"duration = {duration!r}: it must be a time in ms")
    if not 0 < duration < np.inf:
        raise ValueError(f"duration = {duration} ms: it must be finite and > 0")
    return float(duration)


def check_inputs(
    network: Network, spikes: SpikeTrains | Mapping[str, SpikeTrains]
) -> dict[str, SpikeTrains]:
    """Spike trains for each input population, with matching units and samples."""
    names = [population.name for population in network.inputs]
    if not names:
        raise ValueError("the network has no Input population to give spikes to")
    if isinstance(spikes, SpikeTrains):
        if len(names) > 1:
            raise ValueError(
                f"the network has the inputs {', '.join(names)}: give a mapping from each name "
                "to its SpikeTrains"
            )
        spikes = {names[0]: spikes}
    if not isinstance(spikes, Mapping):
        raise TypeError(
            f"spikes is of type {type(spikes).__name__}: give SpikeTrains, for example "
            "SpikeTrains.from_lists([[(time, unit), ...], ...], units=...)"
        )
    for name in spikes:
        if name not in names:
            raise ValueError(unknown_name("input", name, dict.fromkeys(names)))
    inputs = {}
    for name in names:
        if name not in spikes:
            raise ValueError(f"no spikes are given for the input {name!r}")
        inputs[name] = _check_input(network.population(name), spikes[name])
    sizes = {name: len(trains) for name, trains in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the inputs differ in their number of samples: {sizes}")
    return inputs


def _check_input(population: Population, trains: SpikeTrains) -> SpikeTrains:
    if not isinstance(trains, SpikeTrains):
        raise TypeError(
            f"spikes of {population.name!r} are of type {type(trains).__name__}: give SpikeTrains"
        )
    if trains.unit_count != population.units:
        raise ValueError(
            f"the input {population.name!r} has {population.units} units but its spike trains "
            f"have {trains.unit_count}"
        )
    return trains


def check_wrt(network: Network, wrt: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the parameters to differentiate by."""
    if wrt is None:
        return tuple(name for name in network.parameters if _kind(name) in GRADIENT_KINDS)
    if isinstance(wrt, str):
        raise TypeError(f"wrt = {wrt!r}: give a list of names, [{wrt!r}]")
    for name in wrt:
        if not isinstance(name, str):
            raise TypeError(f"wrt holds {name!r}: give names of parameters")
        if name not in network.parameters:
            raise ValueError(unknown_name("parameter", name, network.parameters))
        if _kind(name) not in GRADIENT_KINDS:
            raise NotImplementedError(
                f"no engine gives the gradient of {name!r} yet: gradients exist for "
                f"{' and '.join(GRADIENT_KINDS)}"
            )
    return tuple(wrt)


def _kind(parameter: str) -> str:
    return parameter.rsplit(".", 1)[1]


def check_trace(
    network: Network, population: str, times: Sequence[float] | np.ndarray, duration: float
) -> np.ndarray:
    """Trace times as float64, shape (times,), for a population that has a voltage."""
    if isinstance(network.population(population), Input):
        raise ValueError(f"{population!r} is an input: its units have no voltage")
    array = np.asarray(times)
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise TypeError(
            f"times has type {array.dtype} and shape {array.shape}: give a one-dimensional "
            "array of times in ms"
        )
    wrong = ~((array >= 0) & (array <= duration))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"times[{index}] = {array[index]} ms: traces exist within the trial, "
            f"0 to {duration:g} ms"
        )
    return array.astype(np.float64)
