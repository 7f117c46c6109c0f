"""The voltage at given times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_is, real_array, shown
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.readouts.adjoint_sources import AdjointSources, VoltageCotangents
from evsim.readouts.base import ReadableRun, Readout
from evsim.readouts.sample_times import SampleTimes, check_sample_times


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Voltage(Brief, Readout):
    """The voltage at given times, shape (batch, units, times).

    Parameters
    ----------
    times : sequence of float
        In ms, within the trial; V at a unit's own spike is that after it, its reset.
    population : str, optional
        The output of the network, its last population, if not given.
    """

    times: Sequence[float] | NDArray[np.float64] = field(default=())

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

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        times, inverse = np.unique(self.times, return_inverse=True)
        in_batch = SampleTimes.same(times, run.batch_size)
        voltages, _ = run.states_at(self.population_of(run.network), in_batch)
        by_time = voltages.reshape(-1, times.size, voltages.shape[1])
        return by_time[:, inverse].transpose(0, 2, 1)

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        times, inverse = np.unique(self.times, return_inverse=True)
        in_batch = SampleTimes.same(times, run.batch_size)
        # One row per time; the cotangents of a repeated time add up.
        rows = np.zeros((times.size, *cotangents.shape[:2]), cotangents.dtype)
        np.add.at(rows, inverse, np.moveaxis(cotangents, 2, 0))
        at_times = np.moveaxis(rows, 0, 1).reshape(in_batch.times.size, cotangents.shape[1])
        name = self.population_of(run.network)
        return AdjointSources(name, voltages=VoltageCotangents(in_batch, at_times))

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        return batch_size, units, len(self.times)

    def check(self, duration: float, batch_size: int | None = None) -> None:
        if np.max(self.times) > duration:
            index = int(np.argmax(np.asarray(self.times) > duration))
            raise ValueError(
                f"times[{index}] = {self.times[index]} ms: the voltage is known within the trial, "
                f"0 to {duration:g} ms"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Voltage):
            return NotImplemented
        return self.population == other.population and np.array_equal(self.times, other.times)

    def __hash__(self) -> int:
        return hash((self.population, *np.asarray(self.times).tolist()))


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class VoltageAt(Brief, Readout):
    """The voltage at times of each sample, shape (times, units).

    It is read after an emission at the same time, so that V is the reset there, and before an
    arrival, which has no influence on the loss at that time.

    Parameters
    ----------
    moments : SampleTimes
    population : str, optional
        The output of the network, its last population, if not given.
    """

    moments: SampleTimes

    def __post_init__(self) -> None:
        super().__post_init__()
        check_is(self.moments, "moments", SampleTimes, "give evsim.readouts.SampleTimes")

    @property
    def is_elementary(self) -> bool:
        return True

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        voltages, _ = run.states_at(self.population_of(run.network), self.moments)
        return voltages

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        name = self.population_of(run.network)
        return AdjointSources(name, voltages=VoltageCotangents(self.moments, cotangents))

    def shape(self, batch_size: int, units: int) -> tuple[int, ...]:
        return len(self.moments.times), units

    def samples(self, batch_size: int) -> NDArray[np.int64]:
        return self.moments.samples

    def check(self, duration: float, batch_size: int | None = None) -> None:
        if batch_size is not None:
            check_sample_times(self.moments, batch_size, duration)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VoltageAt):
            return NotImplemented
        return self.population == other.population and all(
            np.array_equal(own, others)
            for own, others in zip(self.moments, other.moments, strict=True)
        )

    def __hash__(self) -> int:
        return hash((self.population, *self.moments.times.tolist()))
