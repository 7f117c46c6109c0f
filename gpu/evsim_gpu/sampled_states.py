"""Voltages and currents of a population at the grid points, and what is known between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evsim.display.short_repr import Brief
from evsim_gpu.device import Emissions
from evsim_gpu.model.layout import GridLayout


def numbers_of(emissions: Emissions) -> np.ndarray:
    """The number of each emission among those of its unit in its sample, counted from 0."""
    samples = emissions.samples
    order = np.lexsort((emissions.step, emissions.unit, samples))
    units, owners = emissions.unit[order], samples[order]
    fresh = np.ones(order.size, bool)
    fresh[1:] = (units[1:] != units[:-1]) | (owners[1:] != owners[:-1])
    first = np.maximum.accumulate(np.where(fresh, np.arange(order.size), 0))
    numbers = np.empty(order.size, np.int64)
    numbers[order] = np.arange(order.size) - first
    return numbers


def tables(emissions: Emissions, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Number of emissions of each unit, and the step of the last, -1 for none; (batch, units)."""
    counts, latest = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    places = emissions.samples, emissions.unit
    np.add.at(counts, places, 1)
    np.maximum.at(latest, places, emissions.step)
    return counts, latest


@dataclass(frozen=True, eq=False, repr=False)
class States(Brief):
    """V and I of a population after every grid point, each (batch, steps + 1, units).

    ``units`` are its units among those of all populations; ``emissions`` is None for LI units.
    """

    layout: GridLayout
    units: slice
    voltage: np.ndarray
    current: np.ndarray
    emissions: Emissions | None

    @cached_property
    def tau_mem(self) -> np.ndarray:
        """Of each unit in ms, float64."""
        return self.layout.network.per_unit("tau_mem")[self.units]

    @cached_property
    def tau_syn(self) -> np.ndarray:
        """Of each unit in ms, float64."""
        return self.layout.network.per_unit("tau_syn")[self.units]

    @property
    def reset(self) -> np.ndarray:
        """Of each unit, measured from rest."""
        reset: np.ndarray = self.layout.units["reset"][self.units]
        return reset

    @cached_property
    def emitted(self) -> np.ndarray:
        """Whether a unit emits at a grid point, bool, (batch, steps + 1, units)."""
        emitted = np.zeros(self.voltage.shape, bool)
        if self.emissions is not None:
            emitted[self.emissions.samples, self.emissions.step, self.emissions.unit] = True
        return emitted

    @cached_property
    def held(self) -> np.ndarray:
        """Whether V is held over the next step, bool, (batch, steps + 1, units)."""
        refractory = self.layout.units["refractory"][self.units].astype(np.int64)
        if self.emissions is None or not refractory.any():
            return np.zeros(self.voltage.shape, bool)
        own, steps = self.emissions, self.layout.steps
        changes = np.zeros((self.voltage.shape[0], steps + 2, self.voltage.shape[2]), np.int8)
        until = np.minimum(own.step + refractory[own.unit], steps + 1)
        np.add.at(changes, (own.samples, own.step, own.unit), 1)
        np.add.at(changes, (own.samples, until, own.unit), -1)
        return np.cumsum(changes, axis=1)[:, :-1] > 0

    @cached_property
    def kinks(self) -> np.ndarray:
        """At which grid points inside the trial V of any unit is not smooth, (batch, steps + 1).

        Without an arrival, I equals I at the previous point times its decay, to the last bit.
        """
        decay = self.layout.units["decay_syn"][self.units]
        kinks = np.zeros(self.voltage.shape[:2], bool)
        kinks[:, 1:] = (self.current[:, 1:] != decay * self.current[:, :-1]).any(axis=2)
        kinks |= self.emitted.any(axis=2)
        kinks[:, 1:] |= (self.held[:, 1:] != self.held[:, :-1]).any(axis=2)
        kinks[:, [0, -1]] = False
        return kinks
