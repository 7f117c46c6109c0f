"""What a loss looks at: numbers per output unit and sample.

A readout says which numbers.  Engines compute the elementary ones, and pull their cotangents
back: ``Mean`` where its weighting has a closed form, ``Peak``, ``FirstSpike``, ``SpikeTimes``
and ``VoltageAt``, voltages at moments of each sample.  The others are made of voltages at
moments, see ``evsim.readouts.composite``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from evsim.arguments.checks import (
    check_choice,
    check_is,
    check_number,
    checked_count,
    real_array,
    refuse_masked,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input, Population

Weighting = Literal["flat", "exponential", "linear", "sigmoid", "input"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout:
    """Numbers of a population's units in each sample, shape (batch, units) or (batch, units, ...).

    ``population`` is the name of the population it is read from; None for the network's
    output, which is its last population.
    """

    population: str | None = None

    def __post_init__(self) -> None:
        if self.population is not None:
            check_is(self.population, "population", str, "give the name of a population, or None")

    def population_of(self, network: Network) -> str:
        """The population this readout is taken from; ValueError if it is of the wrong kind."""
        name = network.output.name if self.population is None else self.population
        population = network.population(name)
        self._check_kind(population)
        return population.name

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        """The shape of its values for a population of so many units."""
        return batch_size, units

    def _check_kind(self, population: Population) -> None:
        if isinstance(population, Input):
            raise ValueError(
                f"{type(self).__name__} reads voltages, but {population.name!r} is an input, "
                "whose units have none: read from a LIF or LI population"
            )


# -- voltages -----------------------------------------------------------------------------


class WeightingForm(NamedTuple):
    """The weighting ``w(t) = (1 + slope * t) * exp(-rate * t)``, both in 1/ms."""

    rate: float
    slope: float

    def at(self, times: np.ndarray) -> np.ndarray:
        """The weights at times in ms, in their shape."""
        return (1.0 + self.slope * times) * np.exp(-self.rate * times)


@helpful
@dataclass(frozen=True)
class Mean(Readout):
    """Weighted mean of the voltage over the trial, ``(1/T) * integral of w(t) V(t) dt``.

    Both programs published with L average over T where the paper writes the plain integral.

    Parameters
    ----------
    weighting : str
        "flat", w = 1 (L 2); "exponential", w = exp(-t/T) (L 5); "linear", w = 1 - t/T;
        "sigmoid", w = 1/(1 + exp((t/T - 0.5)/0.2)); "input", the sample's own input spikes,
        ``w(t) = sum over k of delta(t - t_k)``, those of all inputs (L section 2.2).
    population : str, optional
        The output of the network, its last population, if not given.
    """

    weighting: Weighting = "flat"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.weighting, "weighting", get_args(Weighting))

    @property
    def is_elementary(self) -> bool:
        """Whether the integral between events has a closed form, so that engines know it."""
        return self.weighting in ("flat", "exponential", "linear")

    def form(self, duration: float) -> WeightingForm:
        """The closed form of an elementary weighting for a trial of ``duration`` ms."""
        if self.weighting == "flat":
            return WeightingForm(0.0, 0.0)
        if self.weighting == "exponential":
            return WeightingForm(1.0 / duration, 0.0)
        if self.weighting == "linear":
            return WeightingForm(0.0, -1.0 / duration)
        raise ValueError(f"the weighting {self.weighting!r} has no closed form")


@helpful
@dataclass(frozen=True)
class Peak(Readout):
    """Largest voltage of the trial, ``max over t of V(t)`` (L 29); never below its start, 0.

    Of LI units only: a LIF unit that spikes peaks at its threshold, whatever the weights.
    """

    def _check_kind(self, population: Population) -> None:
        if not isinstance(population, LI):
            raise ValueError(
                f"Peak reads voltages of LI units, but {population.name!r} has "
                f"{type(population).__name__} units, which peak at their threshold: make it LI, "
                "or use Mean or FirstSpike"
            )


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Voltage(Brief, Readout):
    """The voltage at given times, shape (batch, units, times).

    Parameters
    ----------
    times : sequence of float
        In ms, within the trial; V at a unit's own spike is that after it, 0.
    population : str, optional
        The output of the network, its last population, if not given.
    """

    times: Sequence[float] | np.ndarray = field(default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        times = real_array(self.times, "times", "times in ms")
        if times.ndim != 1 or times.size == 0:
            raise TypeError(
                f"times = {shown(self.times)}: give a one-dimensional list of times in ms, "
                "Voltage(times=[10.0, 20.0])"
            )
        times = times.astype(np.float64)
        wrong = ~(np.isfinite(times) & (times >= 0))
        if wrong.any():
            index = int(np.argmax(wrong))
            raise ValueError(f"times[{index}] = {times[index]} ms: it must be finite and >= 0")
        times.setflags(write=False)
        object.__setattr__(self, "times", times)

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        return batch_size, units, len(self.times)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Voltage):
            return NotImplemented
        return self.population == other.population and np.array_equal(self.times, other.times)

    def __hash__(self) -> int:
        return hash((self.population, *np.asarray(self.times).tolist()))


@helpful
class Moments(NamedTuple):
    """Times of each sample: those of sample b are ``times[offsets[b]:offsets[b + 1]]``.

    In ms and ascending inside each sample; float64 (moments,) and int64 (batch + 1,).
    """

    times: np.ndarray
    offsets: np.ndarray

    @property
    def samples(self) -> np.ndarray:
        """The sample of each moment, int64, shape (moments,)."""
        return np.repeat(np.arange(self.offsets.size - 1), np.diff(self.offsets))

    def __repr__(self) -> str:
        return f"Moments({self.times.size} times in {self.offsets.size - 1} samples)"


def check_moments(moments: Moments, batch_size: int, duration: float) -> None:
    """Refuse moments that are not those of a batch of trials of ``duration`` ms."""
    if not isinstance(moments, Moments):
        raise TypeError(f"moments is of type {type(moments).__name__}: give evsim.readouts.Moments")
    for name, array, kind in (
        ("times", moments.times, np.float64),
        ("offsets", moments.offsets, np.int64),
    ):
        refuse_masked(array, f"{name} of moments")
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
            raise TypeError(f"{name} of moments must be a one-dimensional array of {kind.__name__}")
    times, offsets = moments
    ends = offsets[[0, -1]].tolist() if offsets.size else []
    if offsets.size != batch_size + 1 or ends != [0, times.size] or (np.diff(offsets) < 0).any():
        raise ValueError(
            f"offsets of moments must rise from 0 to {times.size}, the number of times, in "
            f"{batch_size + 1} entries, one more than there are samples: found {offsets}"
        )
    follows = np.diff(moments.samples) == 0
    wrong = ~((times >= 0) & (times <= duration))
    wrong[1:] |= follows & (np.diff(times) < 0)
    if wrong.any():
        moment = int(np.argmax(wrong))
        raise ValueError(
            f"moment {moment}, of sample {moments.samples[moment]}, is at {times[moment]} ms: "
            f"those of one sample must ascend within the trial, 0 to {duration:g} ms"
        )


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class VoltageAt(Brief, Readout):
    """The voltage at moments of each sample, shape (moments, units).

    A moment comes after an emission at the same time, so that V is 0 there, and before an
    arrival, which does not see what happens to the loss at that moment.
    """

    moments: Moments

    def __post_init__(self) -> None:
        super().__post_init__()
        check_is(self.moments, "moments", Moments, "give evsim.readouts.Moments")

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        return len(self.moments.times), units

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VoltageAt):
            return NotImplemented
        return self.population == other.population and all(
            np.array_equal(own, others)
            for own, others in zip(self.moments, other.moments, strict=True)
        )

    def __hash__(self) -> int:
        return hash((self.population, *self.moments.times.tolist()))


@helpful
@dataclass(frozen=True)
class VoltageTrace(Readout):
    """The voltage as a function of time, for losses that integrate over it.

    ``tolerance`` is that of the integral, relative to its value or to 1 if that is smaller.
    """

    tolerance: float = 1e-12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.tolerance, "tolerance")
        if not 1e-15 <= self.tolerance <= 1e-2:
            raise ValueError(f"tolerance = {self.tolerance}: it must be from 1e-15 to 0.01")


# -- spike times --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _SpikeReadout(Readout):
    def _check_kind(self, population: Population) -> None:
        if not isinstance(population, LIF):
            raise ValueError(
                f"{type(self).__name__} reads spike times of LIF units, but {population.name!r} "
                f"has {type(population).__name__} units: make it LIF, or use Mean or Peak"
            )


@helpful
@dataclass(frozen=True)
class FirstSpike(_SpikeReadout):
    """Time of the first spike in ms, shape (batch, units); infinity for a silent unit.

    The cotangent of a silent unit makes a phantom spike: lambda_V jumps at the end of the
    trial as if the unit had spiked there (L section 4.1).
    """


_MOST_SPIKES = 1_000_000


@helpful
@dataclass(frozen=True)
class SpikeTimes(_SpikeReadout):
    """Times of the first ``count`` spikes of each unit in ms, shape (batch, units, count).

    Infinity where there are fewer.  The cotangents of a unit's missing spikes make a phantom
    spike, as for ``FirstSpike``.
    """

    count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_count(self.count, "count", 1, _MOST_SPIKES)

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        return batch_size, units, self.count


def is_elementary(readout: Any) -> bool:
    """Whether engines compute this readout themselves."""
    if isinstance(readout, Mean):
        return readout.is_elementary
    return isinstance(readout, (Peak, FirstSpike, SpikeTimes, VoltageAt))
