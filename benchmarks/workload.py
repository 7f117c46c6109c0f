"""A benchmark case: a network with a batch of samples, and the checks before the timing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

import evsim
from evsim.engines import Engine, Exact, Reference


@dataclass(frozen=True, eq=False)
class Work:
    """A network, a batch of samples, and the loss.

    ``training`` contains the samples of all batches; ``spikes`` and ``labels`` are the first batch.
    It is left out if there is only one batch.  ``optimizers`` are given if a whole training epoch
    is timed, too.
    """

    network: evsim.Network
    spikes: evsim.SpikeTrains
    labels: np.ndarray
    loss: evsim.losses.Loss
    duration: float
    training: evsim.Dataset | None = None
    optimizers: Mapping[str, evsim.Adam] = field(default_factory=dict)

    @property
    def wrt(self) -> list[str]:
        """The parameters to differentiate: all weights, and the delays that are not shared."""
        names = []
        for connection in self.network.connections:
            names.append(f"{connection.name}.weight")
            if connection.delay.shape == connection.weight.shape != ():
                names.append(f"{connection.name}.delay")
        return names

    def batches(self) -> list[Work]:
        """The work for each batch of the training samples; without them, only this one."""
        if self.training is None:
            return [self]
        size = len(self.spikes)
        parts = (
            self.training[np.arange(first, first + size)]
            for first in range(0, len(self.training), size)
        )
        return [replace(self, spikes=part.spikes, labels=part.labels) for part in parts]

    def forward(self, engine: Engine) -> evsim.Run:
        """Simulate the batch."""
        return evsim.simulate(self.network, self.spikes, self.duration, engine)

    def gradient(self, engine: Engine) -> evsim.Gradient:
        """Simulate the batch and compute its gradients."""
        return evsim.gradient(
            self.network, self.spikes, self.labels, self.loss, self.duration,
            wrt=self.wrt, engine=engine,
        )  # fmt: skip

    def epoch(self, engine: Engine) -> evsim.FitResult:
        """Train for one epoch; each batch is followed by an update with Adam."""
        assert self.training is not None
        return evsim.fit(
            self.network, self.training, self.loss, duration=self.duration,
            optimizers=self.optimizers, epochs=1, batch_size=len(self.spikes), engine=engine,
            progress=False,
        )  # fmt: skip


class Target(NamedTuple):
    """The intended time of forward + backward on one thread; printed, never asserted."""

    value: float
    unit: str  # "ns" per arrival, or "µs" per sample


@dataclass(frozen=True)
class Case:
    """A case to time.

    Parameters
    ----------
    name : str
        The name on the command line.
    title : str
        The name in the table.
    build : function
        Builds the work.
    build_reduced : function
        Builds a smaller version of the work for the reference engine.
    hidden_spikes : float
        The expected number of spikes per sample of all LIF units except the outputs, within 10 %.
    target : Target, optional
    trains : bool
        Whether an epoch with updates is timed, too.
    single : bool
        Whether the batch has a single sample, which threads cannot share.
    slow : bool
        Whether a call takes seconds; then it is timed without a call to warm up.
    """

    name: str
    title: str
    build: Callable[[], Work]
    build_reduced: Callable[[], Work]
    hidden_spikes: float
    target: Target | None = None
    trains: bool = False
    single: bool = False
    slow: bool = False

    def checked(self) -> tuple[Work, evsim.Run]:
        """The work and its run, after the checks of results and counts."""
        check_against_reference(self.build_reduced())
        work = self.build()
        check_delays(work)
        run = work.forward(Exact(threads=1))
        check_arrivals(run)
        check_hidden_spikes(run, self.hidden_spikes)
        assert self.single == (run.batch_size == 1)
        if not self.single:
            check_threads(work)
        return work, run


def check_against_reference(work: Work) -> None:
    """Check spikes and gradients against the reference engine."""
    found, expected = (work.gradient(engine) for engine in (Exact(threads=1), Reference()))
    assert hidden_spikes(expected.run) >= 1, "the part that is compared has no spikes"
    for name, trains in expected.run.spikes.items():
        np.testing.assert_array_equal(found.run.spike_counts[name], trains.counts())
        np.testing.assert_allclose(found.run.spikes[name].times, trains.times, rtol=1e-9)
    assert found.report.arrivals == expected.report.arrivals
    for name, values in expected.parameters.items():
        given, wanted = numbers(found.parameters[name]), numbers(values)
        scale = np.abs(wanted).max()
        assert scale > 0, f"the gradient by {name} is 0 everywhere"
        np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-8 * scale, err_msg=name)


def check_delays(work: Work) -> None:
    """Check that learned delays differ from each other, as they do after training.

    With equal delays the units of a layer have their arrivals in one common order, and share the
    work of sorting them.
    """
    for name in work.wrt:
        if name.endswith(".delay"):
            delays = numbers(work.network.parameters[name])
            assert np.unique(delays).size > delays.size // 2, f"values of {name} are equal"


def check_turns(work: Work, run: evsim.Run) -> None:
    """Check that no short batch is repeated: the processor would predict its branches.

    The branches of a batch with a million arrivals are too many to be remembered.
    """
    batches = len(work.batches())
    assert batches >= 8 or run.report.arrivals >= 1e6, f"{batches} batches take turns: too few"


def check_arrivals(run: evsim.Run) -> None:
    """Check the number of arrivals by counting them from spikes and delays."""
    counted = sum(count_arrivals(run, connection) for connection in run.network.connections)
    assert run.report.arrivals == counted, f"{run.report.arrivals} arrivals, not {counted}"


def check_hidden_spikes(run: evsim.Run, wanted: float) -> None:
    """Check that the mean number of hidden spikes per sample is within 10 % of the expected one."""
    found = hidden_spikes(run)
    assert abs(found - wanted) <= 0.1 * wanted, f"{found:g} hidden spikes a sample, not {wanted:g}"


def check_threads(work: Work) -> None:
    """Check that two threads compute the same bits as one."""
    one, two = (work.gradient(Exact(threads=threads)) for threads in (1, 2))
    for name, values in one.parameters.items():
        np.testing.assert_array_equal(numbers(values), numbers(two.parameters[name]), name)


def hidden_spikes(run: evsim.Run) -> float:
    """The spikes per sample of all LIF units except the outputs."""
    names = [
        population.name
        for population in run.network.populations[:-1]
        if isinstance(population, evsim.LIF)
    ]
    return sum(float(run.spike_counts[name].sum()) for name in names) / run.batch_size


def count_arrivals(run: evsim.Run, connection: evsim.Connection) -> int:
    """The number of pairs of a spike and a synapse for which the arrival is within the trial."""
    trains = run.spikes[connection.source]
    post = run.network.population(connection.target).units
    pre = run.network.population(connection.source).units
    if connection.is_sparse:
        rows, source = evsim.network.sparse_entries(connection.weight)
    else:
        rows, source = np.repeat(np.arange(post), pre), np.tile(np.arange(pre), post)
    delay = numbers(connection.delay)
    if delay.shape != source.shape:
        delay = np.broadcast_to(delay, (post, pre))[rows, source]
    order = np.argsort(source, kind="stable")
    delay = delay[order]
    edges = np.searchsorted(source[order], np.arange(pre + 1))
    in_time = trains.times + delay.max() <= run.duration
    total = int(np.diff(edges)[trains.units[in_time]].sum())
    for time, unit in zip(trains.times[~in_time], trains.units[~in_time], strict=True):
        delays = delay[edges[unit] : edges[unit + 1]]
        total += int(np.count_nonzero(time + delays <= run.duration))
    return total


def numbers(values: evsim.network.Parameter) -> np.ndarray:
    """The values of a parameter; the stored values if it is sparse."""
    return values.data if hasattr(values, "tocsr") else values
