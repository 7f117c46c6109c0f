"""A batch simulated on a grid, as the host sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from evsim.display.short_repr import Brief
from evsim.engines.exact.layout import OrderedInputs
from evsim.engines.pieces import Share
from evsim.engines.protocol import EngineError
from evsim.network.network import Network
from evsim.network.populations import LIF
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import WeightingForm
from evsim_gpu.device import Activity, Emissions, GridInputs
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.model.time_grid import grid_points, to_steps
from evsim_gpu.readouts import held_weights
from evsim_gpu.sampled_states import States, numbers_of, tables

GRAZING = (
    "the slope of its voltage at its emission rounds to 0, so its gradient is unbounded: set a "
    "lambda_limit, change the weights a little, or leave the sample out"
)


def grid_inputs(layout: GridLayout, inputs: Mapping[str, SpikeTrains]) -> GridInputs:
    """Input spikes on the grid."""
    ordered = OrderedInputs.of(layout.network, inputs)
    step = to_steps(ordered.time, layout.dt, layout.steps)
    step[ordered.time > layout.duration] = layout.steps + 1
    start = np.zeros(ordered.count.size + 1, np.int64)
    np.cumsum(ordered.count.ravel(), out=start[1:])
    return GridInputs(step, start, ordered.place, ordered.count.shape[0])


@dataclass(frozen=True, eq=False, repr=False)
class GridState(Brief):
    """A simulated batch."""

    layout: GridLayout
    inputs: Mapping[str, SpikeTrains]
    on_grid: GridInputs
    activity: Activity
    share: Share
    _states: dict[str, States] = field(default_factory=dict)
    _emissions: dict[str, Emissions] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        """The network that was run."""
        return self.layout.network

    @property
    def duration(self) -> float:
        """The length of the trial in ms."""
        return self.layout.duration

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self.on_grid.batch

    @property
    def points(self) -> np.ndarray:
        """The grid points in ms."""
        return grid_points(self.layout.duration, self.layout.steps)

    def is_lif(self, name: str) -> bool:
        """Whether a population's units emit spikes."""
        return isinstance(self.layout.network.population(name), LIF)

    def units(self, name: str) -> slice:
        """A population's units among those of all populations."""
        component, first, last = self.layout.place(name)
        unit = int(self.layout.components[component].unit_of_column[first])
        return slice(unit, unit + last - first)

    def states(self, name: str) -> States:
        """Voltages and currents at all grid points, cached."""
        if name not in self._states:
            voltage, current = self.activity.states(name)
            emissions = self.emissions(name) if self.is_lif(name) else None
            self._states[name] = States(self.layout, self.units(name), voltage, current, emissions)
        return self._states[name]

    def held_weights(self, name: str, form: WeightingForm) -> np.ndarray:
        """See ``evsim_gpu.readouts.held_weights``; for a LIF population."""
        refractory = self.layout.units["refractory"][self.units(name)]
        if not refractory.any():
            return np.zeros((self.batch, refractory.size))
        return held_weights(self.layout, self.units(name), form, self.emissions(name))

    def emissions(self, name: str) -> Emissions:
        """Emissions of a LIF population, cached."""
        if name not in self._emissions:
            self._emissions[name] = self.activity.emissions(name)
        return self._emissions[name]

    def spike_trains(self, name: str) -> SpikeTrains:
        """Emissions as spike trains, empty for LI units."""
        count = self.layout.network.population(name).units
        if not self.is_lif(name):
            offsets = np.zeros(self.batch + 1, np.int64)
            return SpikeTrains(np.empty(0), np.empty(0, np.int32), offsets, count)
        own = self.emissions(name)
        return SpikeTrains(self.points[own.step], own.unit, own.offsets, count)

    def input_counts(self, name: str) -> np.ndarray:
        """The number of spikes of each unit of an input, int64, (batch, units)."""
        network = self.layout.network
        index = [population.name for population in network.populations].index(name)
        first, last = network.topology.first_unit[index : index + 2]
        by_unit = np.diff(self.on_grid.start).reshape(self.batch, network.topology.unit_count)
        return by_unit[:, first:last].copy()

    # -- spikes by their number --------------------------------------------------------

    def spike_times(self, name: str, numbers: int) -> np.ndarray:
        """Times of the first spikes of each unit, (batch, units, numbers); infinity for none."""
        own = self.emissions(name)
        number = numbers_of(own)
        early = number < numbers
        count = self.layout.network.population(name).units
        times = np.full((self.batch, count, numbers), np.inf)
        times[own.samples[early], own.unit[early], number[early]] = self.points[own.step[early]]
        return times

    def slopes_by_number(self, name: str, cotangents: np.ndarray) -> np.ndarray:
        """Cotangents of first spikes, (batch, units, numbers), as cotangents of each emission."""
        own = self.emissions(name)
        number = numbers_of(own)
        early = number < cotangents.shape[2]
        slopes = np.zeros(own.step.size)
        slopes[early] = cotangents[own.samples[early], own.unit[early], number[early]]
        return slopes

    def phantom(self, name: str, cotangents: np.ndarray) -> np.ndarray:
        """lambda_V at the end of the trial, where spikes are missing, (batch, units).

        It is 0 for a unit that cannot spike there because of its refractory period.
        """
        own = self.emissions(name)
        counts, latest = tables(own, cotangents.shape[:2])
        missing = counts[:, :, None] <= np.arange(cotangents.shape[2])
        phantom: np.ndarray = np.where(missing, cotangents, 0.0).sum(axis=2)
        refractory = self.layout.units["refractory"][self.units(name)].astype(np.int64)
        phantom[(counts > 0) & (latest + refractory >= self.layout.steps)] = 0.0
        return phantom

    # -- messages ------------------------------------------------------------------------

    def place(self, sample: int, unit: int, step: int | None = None) -> str:
        """A sample of the share, a unit of all populations, and perhaps a time, for a message."""
        time = None if step is None else float(self.points[step])
        return place_in_batch(self.layout, self.share.first_sample + sample, unit, time)

    def check_finite(self, values: np.ndarray, quantity: str, name: str) -> None:
        """Raise an error for the first of some readouts, (batch, units), that is not finite."""
        wrong = ~np.isfinite(values)
        if wrong.any():
            sample, unit = (int(i) for i in np.argwhere(wrong)[0])
            states = self.states(name)
            both = states.voltage[sample, :, unit], states.current[sample, :, unit]
            finite = np.isfinite(both).all(axis=0)
            # A sum over the trial may be infinite although all its terms are finite.
            step = None if finite.all() else int(np.argmin(finite))
            raise EngineError(
                self.place(sample, self.units(name).start + unit, step)
                + f"{quantity} is {values[sample, unit]}; {self.overflow}"
            )

    def check_finite_at(self, moments: SampleTimes, name: str, **quantities: np.ndarray) -> None:
        """Raise an error for the first of some quantities, (moments, units), that is not finite."""
        for quantity, values in quantities.items():
            wrong = ~np.isfinite(values)
            if wrong.any():
                moment, unit = (int(i) for i in np.argwhere(wrong)[0])
                place = place_in_batch(
                    self.layout,
                    self.share.first_sample + int(moments.samples[moment]),
                    self.units(name).start + unit,
                    float(moments.times[moment]),
                )
                raise EngineError(f"{place}{quantity} is {values[moment, unit]}; {self.overflow}")

    @property
    def overflow(self) -> str:
        """Why a number is not finite, and what to do."""
        return overflow_message(self.layout)


def overflow_message(layout: GridLayout) -> str:
    """Why a number of a run is not finite, and what to do."""
    other = "" if layout.precision is np.float64 else ', or Grid(precision="float64")'
    return f"its current is no longer finite: use smaller weights{other}"


def place_in_batch(layout: GridLayout, sample: int, unit: int, time: float | None = None) -> str:
    """A sample, a unit of all populations, and perhaps a time in ms, for a message."""
    topology = layout.network.topology
    index = int(np.searchsorted(topology.first_unit, unit, side="right")) - 1
    name = layout.network.populations[index].name
    at = "" if time is None else f", at {time:g} ms"
    return f"sample {sample}, unit {unit - topology.first_unit[index]} of {name!r}{at}: "
