"""Enclosures: float64 bounds of what a certified simulation has computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_is, is_sparse
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.engines.protocol import SimulatedBatch
from evsim.engines.reference.state import CertifiedState, events_of
from evsim.network.checks import check_trace
from evsim.network.network import Network
from evsim.network.parameters import spread
from evsim.readouts import FirstSpike, Mean, Peak, Readout, SpikeTimes, Voltage, VoltageAt
from evsim.readouts.base import ReadoutCotangents

if TYPE_CHECKING:
    from evsim.engines.reference.balls import Ball


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Bounds(Brief):
    """Bounds of an array of numbers; every number lies between its two bounds.

    Parameters
    ----------
    lower, upper : array of float64
        Rounded outward, so that they are still bounds.  Often they are neighbouring float64
        numbers.  Both are infinity for a missing spike.
    radius : array of float64
        Half the width of the proven interval, rounded up; it may be much smaller than the float64
        bounds show.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    radius: NDArray[np.float64]

    def contain(self, values: Any) -> NDArray[np.bool_]:
        """Which of the values, an array that broadcasts, are between their bounds."""
        values = np.asarray(values)
        inside: NDArray[np.bool_] = (self.lower <= values) & (values <= self.upper)
        return inside


def bounds_of(numbers: NDArray[Any]) -> Bounds:
    """The bounds of balls, and of floats among them, in an array of objects."""
    each = np.frompyfunc(_bounds, 1, 3)
    lower, upper, radius = each(np.asarray(numbers, object))
    return Bounds(*(np.asarray(part, np.float64) for part in (lower, upper, radius)))


def _bounds(number: Ball | float) -> tuple[float, float, float]:
    from evsim.engines.reference.balls import Ball, lower_float, upper_float

    if not isinstance(number, Ball):
        return float(number), float(number), 0.0
    value = number.value
    radius = upper_float(value.rad()) if value.is_finite() else 0.0
    return lower_float(value), upper_float(value), radius


# -- gradients ----------------------------------------------------------------------------


def parameter_numbers(network: Network, name: str, flat: NDArray[Any]) -> NDArray[Any]:
    """A gradient in the shape of a parameter, or of its stored entries if it is sparse.

    ``flat`` has the gradient per synapse or per unit, as for ``Network.fold``, in numbers of any
    type.
    """
    owner, kind = name.rsplit(".", 1)
    if kind not in ("weight", "delay"):
        return np.asarray(network.fold(name, flat), object)
    index = [connection.name for connection in network.connections].index(owner)
    connection, parameter = network.connections[index], network.parameters[name]
    per_synapse: NDArray[Any] = flat[network.topology.slots[index]]
    if is_sparse(parameter):
        return per_synapse
    post, pre = (network.population(end).units for end in (connection.target, connection.source))
    places = np.arange(parameter.size, dtype=np.float64).reshape(parameter.shape)
    sums = np.zeros(parameter.size, object)
    of_synapses = spread(places, connection.weight, (post, pre)).astype(np.int64)
    np.add.at(sums, of_synapses, per_synapse)
    return sums.reshape(parameter.shape)


def in_numbers(part: ReadoutCotangents, convert: Callable[[Any], Any]) -> ReadoutCotangents:
    """The same cotangents, floats or numbers, as numbers of an engine."""
    converted = np.frompyfunc(convert, 1, 1)
    slopes = None if part.spike_slopes is None else converted(part.spike_slopes)
    return ReadoutCotangents(part.readout, converted(part.cotangents), slopes)


@contextmanager
def refused_with_floats() -> Iterator[None]:
    """Raise ValueError if a loss or readout is not computed in the numbers that it receives."""
    try:
        yield
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"the gradient has no enclosure: its loss or readout computes in float64 ({error}); "
            "pull back cotangents of your own with run.pull_back, or choose another"
        ) from error


def check_enclosed(readouts: Sequence[Readout], network: Network) -> None:
    """Raise ValueError for readouts, pulled back together, that are partly computed in float64."""
    driving = defaultdict(set)
    for readout in readouts:
        if not (readout.is_elementary or isinstance(readout, Voltage)):
            raise ValueError(
                f"{readout} has no enclosure: it is integrated or weighted in float64; read a Mean "
                "with a closed form, a Peak, spike times or voltages"
            )
        if not isinstance(readout, (FirstSpike, SpikeTimes, Voltage, VoltageAt)):
            driving[readout.population_of(network)].add(repr(replace(readout, population=None)))
    for population, several in driving.items():
        if len(several) > 1:
            raise ValueError(
                f"gradients of {' and '.join(sorted(several))} of {population!r} together have no "
                "enclosure: one of them is integrated numerically; pull them back one by one"
            )


# -- what is enclosed -----------------------------------------------------------------------


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Enclosure(Brief):
    """Proven bounds of what a certified run has computed, see ``Run.enclosure``."""

    batch: SimulatedBatch
    state: CertifiedState

    def __repr__(self) -> str:
        return f"Enclosure(spike times within {self.widest_radius:.3g} ms)"

    @property
    def digits(self) -> NDArray[np.int64]:
        """The digits that each sample needed, shape (batch,)."""
        return np.array(self.state.digits, np.int64)

    @property
    def widest_radius(self) -> float:
        """The largest radius of any spike time in ms; 0 if only inputs spike."""
        names = [p.name for p in self.batch.network.populations if p.spiking]
        return max((float(self.spike_times(n).radius.max(initial=0.0)) for n in names), default=0.0)

    def spike_times(self, population: str) -> Bounds:
        """Bounds of every spike time in ms, shape (events,), in the order of ``run.spikes``."""
        self.batch.network.population(population)
        events = events_of(self.state, population)
        times = [event.time for sample in events for event in sample]
        return bounds_of(np.array(times, object))

    def read(self, readout: Readout) -> Bounds:
        """Bounds of a readout, in the shape that it states.

        Raises ValueError for a readout that is computed in float64, such as an integral.
        """
        check_is(readout, "readout", Readout, "give one such as evsim.readouts.Peak()")
        check_enclosed([readout], self.batch.network)
        readout.population_of(self.batch.network)
        readout.check(self.batch.duration, self.batch.batch_size)
        return bounds_of(self.batch.read(readout))

    def mean(self, population: str, weighting: Any = "flat") -> Bounds:
        """Bounds of the weighted mean of V, shape (batch, units)."""
        return self.read(Mean(weighting, population=population))

    def peak(self, population: str) -> Bounds:
        """Bounds of the largest V of LI units, shape (batch, units)."""
        return self.read(Peak(population=population))

    def first_spike(self, population: str) -> Bounds:
        """Bounds of first spike times in ms, infinity where silent, shape (batch, units)."""
        return self.read(FirstSpike(population=population))

    def voltage(self, population: str, times: Sequence[float] | NDArray[np.float64]) -> Bounds:
        """Bounds of V at the given times in ms, shape (batch, units, times)."""
        return bounds_of(self._traces(population, times)[0])

    def current(self, population: str, times: Sequence[float] | NDArray[np.float64]) -> Bounds:
        """Bounds of I at the given times in ms, shape (batch, units, times)."""
        return bounds_of(self._traces(population, times)[1])

    def _traces(self, population: str, times: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        checked = check_trace(self.batch.network, population, times, self.batch.duration)
        return self.batch.traces(population, checked)


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class GradientEnclosure(Brief):
    """Proven bounds of gradients, see ``Gradient.enclosure``.

    Parameters
    ----------
    parameters : mapping from parameter name to Bounds
        In the shape of the parameter, or of its stored entries if it is sparse.
    input_times : mapping from input population to Bounds
        With respect to each input spike time, shape (events,).
    losses : Bounds or None
        The loss of each sample, shape (batch,); None without a loss.
    """

    parameters: Mapping[str, Bounds]
    input_times: Mapping[str, Bounds]
    losses: Bounds | None = None
