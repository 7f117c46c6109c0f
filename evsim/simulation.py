"""simulate and gradient: the two calls that run a network, and what they return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evsim import sampling
from evsim.brief import and_more, first
from evsim.checks import check_number, listed, real_array, shown, unknown_name
from evsim.dropout import Dropout
from evsim.engines import resolve
from evsim.engines.protocol import Adjoint, Adjustments, Engine, Report
from evsim.keywords import helpful
from evsim.losses import Loss, Outcome
from evsim.named import Named
from evsim.network import Input, Network, Parameter, Population
from evsim.parameters import refuse
from evsim.readouts import FirstSpike, Mean, Moments, Peak, Readout, VoltageTrace, check_moments
from evsim.regularisers import RateRegulariser
from evsim.silence import warn_of_silent_layers, warn_of_unreached
from evsim.spikes import SpikeTrains


@np.errstate(under="ignore")
@helpful
def simulate(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    duration: float,
    engine: str | Engine = "exact",
    *,
    dropout: Dropout | None = None,
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
        "exact", "reference", "grid", "cuda", or an engine with settings.
    dropout : Dropout, optional
        Which spikes reach none of their synapses.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    EngineError
        For a simulation that cannot go on.

    Warns
    -----
    SilentNetworkWarning
        Of a population that no input reaches, and of input spikes that all come too late.
    """
    check_network(network)
    engine = resolve(engine)
    duration = check_duration(duration)
    inputs = check_inputs(network, spikes)
    warn_of_unreached(network, inputs, duration)
    return run_checked(network, inputs, duration, engine, dropout)


def run_checked(
    network: Network,
    inputs: dict[str, SpikeTrains],
    duration: float,
    engine: Engine,
    dropout: Dropout | None = None,
) -> Run:
    """As ``simulate``, of arguments that have been checked; only dropout has not."""
    if dropout is not None:
        if not isinstance(dropout, Dropout):
            found = shown(dropout)
            raise TypeError(f"dropout = {found}: give evsim.Dropout({{'hidden': 0.1}}, seed=0)")
        dropout.check(network, len(next(iter(inputs.values()))))
    state = engine.simulate(network, inputs, duration, dropout)
    return Run(network, Named(inputs, "input"), duration, engine, state)


@np.errstate(under="ignore")
@helpful
def gradient(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    labels: Sequence[Any] | np.ndarray,
    loss: Loss,
    duration: float,
    *,
    wrt: Iterable[str] | None = None,
    engine: str | Engine = "exact",
    dropout: Dropout | None = None,
    regularisers: Iterable[RateRegulariser] = (),
    lambda_limit: float = np.inf,
) -> Gradient:
    """The exact gradient of the batch loss (the mean over samples) by EventProp.

    Parameters
    ----------
    network, spikes, duration, engine
        As for ``simulate``.
    labels : array of int, shape (batch,)
        The class of each sample, 0 <= label < units of the readout's population.  For a loss
        that does not classify its targets, in the shape the loss states.
    loss : Loss
    wrt : iterable of str, optional
        Names of parameters; every one if not given.  Leaving out all time constants saves the
        engine a pass; weights, delays and thresholds come out of the same one.
    dropout : Dropout, optional
        Which spikes reach none of their synapses, forward and backward.
    regularisers : iterable of RateRegulariser
        At most one for each population.  They change gradients, not the loss.
    lambda_limit : float
        The largest |lambda_V-| at a spike, which grows without bound where V only grazes the
        threshold; larger ones are set to it and counted in ``Gradient.limited``.  Infinity
        for no limit, which is the exact gradient.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    EngineError
        For a simulation that cannot go on.
    FloatingPointError
        For a loss whose derivative is no finite number where the loss is one.

    Warns
    -----
    SilentNetworkWarning
        As ``simulate``, and of a hidden population without a spike in the whole batch.
    """
    found = quiet_gradient(
        network, spikes, labels, loss, duration, wrt=wrt, engine=engine, dropout=dropout,
        regularisers=regularisers, lambda_limit=lambda_limit,
    )  # fmt: skip
    warn_of_unreached(found.run.network, found.run.inputs, found.run.duration)
    warn_of_silent_layers(found.run)
    return found


def quiet_gradient(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    labels: Sequence[Any] | np.ndarray,
    loss: Loss,
    duration: float,
    *,
    wrt: Iterable[str] | None = None,
    engine: str | Engine = "exact",
    dropout: Dropout | None = None,
    regularisers: Iterable[RateRegulariser] = (),
    lambda_limit: float = np.inf,
) -> Gradient:
    """As ``gradient``, without warnings: for those who call it batch after batch."""
    check_network(network)
    check_is_loss(loss)
    names = check_wrt(network, wrt)
    check_time_constants(network, names)
    population = network.population(loss.readout.population_of(network))
    regularisers = check_adjustments(network, regularisers, lambda_limit)
    engine = resolve(engine)
    duration = check_duration(duration)
    inputs = check_inputs(network, spikes)
    batch_size = len(next(iter(inputs.values())))
    sampling.check_times(loss.readout, duration, batch_size)
    if batch_size == 0:
        raise ValueError("the batch is empty: the mean loss over no samples is not defined")
    labels = loss.check_labels(labels, batch_size, population.units)
    loss.check_in_trial(labels, duration)
    run = run_checked(network, inputs, duration, engine, dropout)
    outcome = loss.evaluate(run, labels)
    outcome.check(loss, run)
    outcome.check_derivative(loss, run)
    rate_jumps = {r.population: r.rate_jumps(run.spike_counts[r.population]) for r in regularisers}
    slopes = outcome.spike_slopes
    adjoint = sampling.pull_back(
        run,
        outcome.readout,
        outcome.cotangents / batch_size,
        names,
        Adjustments(
            None if slopes is None else slopes / batch_size, rate_jumps, float(lambda_limit)
        ),
    )
    return Gradient(run, outcome, adjoint)


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A simulated batch: its spikes, readouts, and voltages at any time."""

    network: Network
    inputs: dict[str, SpikeTrains]
    duration: float
    engine: Engine
    state: Any

    def __repr__(self) -> str:
        spiking = [p.name for p in self.network.populations if p.spiking]
        counts = [f"{name} {self.spike_counts[name].sum()}" for name in first(spiking)]
        trials = f"{self.batch_size} samples of {self.duration:g} ms"
        engine, told = type(self.engine).__name__, and_more(counts, len(spiking))
        return f"Run({trials} on {engine}, spikes: {told})"

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    @cached_property
    def spikes(self) -> dict[str, SpikeTrains]:
        """Spikes of every population by name: within the trial, those of inputs as given."""
        return Named(self.engine.spikes(self.state), "population")

    @cached_property
    def spike_counts(self) -> dict[str, np.ndarray]:
        """Number of those spikes of each unit, (batch, units), by population; read-only."""
        return Named(self.engine.spike_counts(self.state), "population")

    @cached_property
    def report(self) -> Report:
        """What happened in the batch that its results do not show."""
        return self.engine.report(self.state)

    def silent_units(self, population: str) -> np.ndarray:
        """Indices of the units that spike in no sample of the batch, int64."""
        self.network.population(population)
        return np.flatnonzero(self.spike_counts[population].sum(axis=0) == 0)

    @np.errstate(under="ignore")
    def read(self, readout: Readout) -> np.ndarray:
        """A readout's values, in the shape the readout states."""
        if not isinstance(readout, Readout):
            raise TypeError(f"readout = {shown(readout)}: give one such as evsim.readouts.Peak()")
        if isinstance(readout, VoltageTrace):
            raise TypeError("VoltageTrace is for losses that integrate: use Run.voltage or Voltage")
        readout.population_of(self.network)
        return sampling.read(self, readout)

    @np.errstate(under="ignore")
    def kinks(self, population: str) -> Moments:
        """The times at which V of any of a population's units is not smooth."""
        check_has_voltage(self.network, population)
        return self.engine.kinks(self.state, population)

    @np.errstate(under="ignore")
    def probe(self, population: str, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """V and I at moments of each sample, each (moments, units); before arrivals there."""
        check_has_voltage(self.network, population)
        check_moments(moments, self.batch_size, self.duration)
        return self.engine.probe(self.state, population, moments)

    def mean(self, population: str, weighting: str = "flat") -> np.ndarray:
        """Weighted mean voltage, see ``evsim.readouts.Mean``, shape (batch, units)."""
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

    @np.errstate(under="ignore")
    def _traces(
        self, population: str, times: Sequence[float] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        checked = check_trace(self.network, population, times, self.duration)
        return self.engine.traces(self.state, population, checked)


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Gradient:
    """The loss of a batch and its gradients.

    ``run`` is the simulation, ``outcome`` what the loss made of it.
    """

    run: Run
    outcome: Outcome
    adjoint: Adjoint

    def __repr__(self) -> str:
        by = and_more(first(self.parameters), len(self.parameters))
        return f"Gradient(loss {self.loss:.6g} of {self.run}, by {by})"

    @property
    def losses(self) -> np.ndarray:
        """Loss of each sample, shape (batch,)."""
        return self.outcome.losses

    @property
    def readout(self) -> np.ndarray:
        """What the loss has read, shape (batch, units) or (batch, units, ...)."""
        return self.outcome.values

    @property
    def predictions(self) -> np.ndarray | None:
        """The class of each sample, int64, shape (batch,); None if the loss does not classify."""
        return self.outcome.predictions

    @property
    def limited(self) -> int:
        """How many spikes had their |lambda_V-| set to the limit."""
        return self.adjoint.limited

    @property
    def loss(self) -> float:
        """Mean loss of the batch."""
        return float(np.mean(self.losses))

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Gradient of the batch loss by each parameter, in the parameter's shape."""
        return Named(self.adjoint.parameters, "gradient of")

    @property
    def input_times(self) -> Any:
        """Gradient by each input spike time, shape (events,), beside ``spikes.times``.

        One array for a network with one input population, else one by name.
        """
        times = self.adjoint.input_times
        return next(iter(times.values())) if len(times) == 1 else Named(times, "input")

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

    @np.errstate(under="ignore")
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


def check_is_loss(loss: object) -> None:
    """Refuse what is no loss."""
    if not isinstance(loss, Loss):
        raise TypeError(
            f"loss = {shown(loss)}: it must be a Loss such as evsim.losses.CrossEntropy()"
        )


def check_duration(duration: float) -> float:
    """The duration as a float; refuses what is not a finite time > 0."""
    check_number(duration, "duration", "a time in ms")
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


def check_wrt(network: Network, wrt: Iterable[str] | None) -> tuple[str, ...]:
    """Names of the parameters to differentiate by."""
    if wrt is None:
        return tuple(network.parameters)
    if isinstance(wrt, str):
        raise TypeError(f"wrt = {wrt!r}: give a list of names, [{wrt!r}]")
    names = listed(wrt, "wrt", "give a list of names of parameters")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"wrt holds {shown(name)}: give names of parameters")
        if name not in network.parameters:
            raise ValueError(unknown_name("parameter", name, network.parameters))
    return names


LONGEST_TAU = 1e150  # ms; the square of a longer one, or of 1 over it, passes what float64 holds


def check_time_constants(network: Network, names: Iterable[str]) -> None:
    """Refuse time constants whose own gradient, which has their square in it, overflows."""
    for name in names:
        if name.endswith((".tau_mem", ".tau_syn")):
            values = network.parameters[name]
            wrong = (values > LONGEST_TAU) | (values < 1 / LONGEST_TAU)
            rule = (
                f"the gradient by a time constant is known from {1 / LONGEST_TAU:g} to "
                f"{LONGEST_TAU:g} ms: leave it out, with wrt=[...], or change it"
            )
            refuse(values, wrong, name, "ms", rule)


def check_adjustments(
    network: Network, regularisers: Iterable[RateRegulariser], lambda_limit: float
) -> tuple[RateRegulariser, ...]:
    """The regularisers; refuses those that do not fit the network, and a limit that is none."""
    if isinstance(regularisers, RateRegulariser):
        raise TypeError("regularisers is one regulariser: give a list of them")
    regularisers = listed(regularisers, "regularisers", "give a list of evsim.RateRegulariser")
    seen = set()
    for regulariser in regularisers:
        if not isinstance(regulariser, RateRegulariser):
            found = shown(regulariser)
            raise TypeError(f"regularisers holds {found}: give evsim.RateRegulariser(...)")
        regulariser.check(network)
        if regulariser.population in seen:
            raise ValueError(f"two rate regularisers name {regulariser.population!r}: give one")
        seen.add(regulariser.population)
    check_number(lambda_limit, "lambda_limit")
    if not lambda_limit > 0:
        raise ValueError(f"lambda_limit = {lambda_limit}: it must be > 0; infinity for no limit")
    return regularisers


def check_has_voltage(network: Network, population: str) -> None:
    """Refuse a population that is not there, and an input."""
    if isinstance(network.population(population), Input):
        raise ValueError(f"{population!r} is an input: its units have no voltage")


def check_trace(
    network: Network, population: str, times: Sequence[float] | np.ndarray, duration: float
) -> np.ndarray:
    """Trace times as float64, shape (times,), for a population that has a voltage."""
    check_has_voltage(network, population)
    array = real_array(times, "times", "times in ms")
    if array.ndim != 1:
        raise TypeError(
            f"times has shape {array.shape}: give a one-dimensional array of times in ms"
        )
    wrong = ~((array >= 0) & (array <= duration))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"times[{index}] = {array[index]} ms: traces exist within the trial, "
            f"0 to {duration:g} ms"
        )
    return array.astype(np.float64)
