"""The grid engine: the protocol of evsim's engines on a time grid, on whatever device.

Voltages between grid points are known by the closed form, so that every readout is that of
continuous time; what the grid moves is events, to grid points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from evsim.checks import check_choice, check_number
from evsim.dropout import Dropout
from evsim.engines.exact_layout import OrderedInputs
from evsim.engines.protocol import Adjoint, Adjustments, Engine, EngineError, Report
from evsim.engines.threads import check_threads
from evsim.network import LIF, Input, Network
from evsim.readouts import FirstSpike, Mean, Moments, Peak, Readout, SpikeTimes, VoltageAt
from evsim.spikes import SpikeTrains
from evsim_gpu.device import Activity, Device, Drive, Emissions, GridInputs, Pulled
from evsim_gpu.layout import GridLayout, to_steps
from evsim_gpu.readouts import mean_form, mean_time_constant_slopes, sample_weights
from evsim_gpu.states import States, numbers_of, tables

DeviceName = Literal["cpu", "cuda"]
Precision = Literal["float32", "float64"]
_REALS: dict[str, type[np.floating]] = {"float32": np.float32, "float64": np.float64}


@dataclass(frozen=True)
class Grid(Engine):
    """A network on a time grid: all events happen at multiples of dt.

    Delays and input times are rounded to the grid, a unit emits at the grid point after its
    voltage has crossed the threshold, and at most once a step.  As dt goes to 0, spike times,
    losses and gradients go to those of ``evsim.engines.Exact`` at first order.

    Parameters
    ----------
    dt : float
        In ms, > 0; a whole number of steps makes the trial.
    device : "cpu" or "cuda"
        Compiled loops on the processor, or kernels on an NVIDIA GPU, which need CuPy.
    precision : "float32" or "float64", optional
        float64 on the CPU and float32 on a GPU if not given.
    threads : int, optional
        How many share a batch on the CPU; as many as the process may use if not given.
        Results are bit-identical for any number.
    """

    dt: float = 1.0
    device: DeviceName = "cpu"
    precision: Precision | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        check_number(self.dt, "dt", "a time in ms")
        if not 0 < self.dt < np.inf:
            raise ValueError(f"dt = {self.dt} ms: it must be finite and > 0")
        check_choice(self.device, "device", get_args(DeviceName))
        if self.precision is None:
            precision = "float64" if self.device == "cpu" else "float32"
            object.__setattr__(self, "precision", precision)
        check_choice(self.precision, "precision", get_args(Precision))
        check_threads(self.threads)
        if self.device == "cuda":
            if self.threads is not None:
                raise ValueError(
                    f"threads = {self.threads}: they are the processor's; leave them out for cuda"
                )
            from evsim_gpu.cuda import check_cuda

            check_cuda()

    def _device(self) -> Device:
        if self.device == "cuda":
            from evsim_gpu.cuda import CudaDevice

            return CudaDevice(self.precision)  # type: ignore[arg-type]
        from evsim_gpu.cpu import CpuDevice

        return CpuDevice(self.threads)

    # -- forward -----------------------------------------------------------------------

    def simulate(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None = None,
    ) -> GridState:
        precision = _REALS[str(self.precision)]
        layout = GridLayout.of(network, duration, self.dt, precision, dropout)
        on_grid = grid_inputs(layout, inputs)
        keys = None if dropout is None else dropout.sample_keys(on_grid.batch)
        activity = self._device().simulate(layout, on_grid, keys)
        state = GridState(layout, inputs, on_grid, activity)
        if activity.overflow is not None:
            raise EngineError(
                state.place(*activity.overflow)
                + "its current is no finite number any more: use smaller weights"
            )
        return state

    def spikes(self, state: GridState) -> dict[str, SpikeTrains]:
        trains = {}
        for population in state.layout.network.populations:
            if isinstance(population, Input):
                trains[population.name] = state.inputs[population.name]
            else:
                trains[population.name] = state.spike_trains(population.name)
        return trains

    def spike_counts(self, state: GridState) -> dict[str, np.ndarray]:
        counts = {}
        for population in state.layout.network.populations:
            if isinstance(population, Input):
                own = state.inputs[population.name].counts()
            elif isinstance(population, LIF):
                own = state.activity.counts(population.name)
            else:
                own = np.zeros((state.batch, population.units), np.int64)
            own.setflags(write=False)
            counts[population.name] = own
        return counts

    def report(self, state: GridState) -> Report:
        in_time, after_end, dropped = state.activity.arrivals()
        smallest, place = np.inf, None
        for population in state.layout.network.populations:
            if not isinstance(population, LIF):
                continue
            own = state.emissions(population.name)
            if own.drive.size and own.drive.min() < smallest:
                spike = int(np.argmin(own.drive))
                smallest = float(own.drive[spike])
                time = float(state.points[own.step[spike]])
                sample = int(own.samples[spike])
                place = population.name, sample, int(own.unit[spike]), time
        return Report(in_time, after_end, smallest, place, dropped)

    # -- readouts and their adjoints ------------------------------------------------------

    def read(self, state: GridState, readout: Readout) -> np.ndarray:
        name = readout.population_of(state.layout.network)
        if isinstance(readout, (FirstSpike, SpikeTimes)):
            numbers = readout.count if isinstance(readout, SpikeTimes) else 1
            times = state.spike_times(name, numbers)
            return times if isinstance(readout, SpikeTimes) else times[:, :, 0]
        if isinstance(readout, VoltageAt):
            return self.probe(state, name, readout.moments)[0]
        if isinstance(readout, Mean):
            form = mean_form(state.layout, name, readout.form(state.layout.duration))
            values = state.activity.mean(name, form)
        elif isinstance(readout, Peak):
            values, _ = state.activity.peak(name)
        else:
            raise TypeError(f"the grid engine does not know the readout {readout}")
        state.check_finite(values, type(readout).__name__, name)
        return values.astype(np.float64)

    def kinks(self, state: GridState, population: str) -> Moments:
        samples, points = np.nonzero(state.states(population).kinks)
        offsets = np.zeros(state.batch + 1, np.int64)
        np.cumsum(np.bincount(samples, minlength=state.batch), out=offsets[1:])
        return Moments(state.points[points], offsets)

    def probe(
        self, state: GridState, population: str, moments: Moments
    ) -> tuple[np.ndarray, np.ndarray]:
        states = state.states(population)
        weights = sample_weights(states, moments.samples, moments.times, sees_jumps=False)
        voltage, current = weights.values(states)
        state.check_finite(voltage, "voltage", population, moments.samples)
        return voltage, current

    def traces(
        self, state: GridState, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        states = state.states(population)
        samples, moments = (
            np.repeat(np.arange(state.batch), times.size),
            np.tile(times, state.batch),
        )
        weights = sample_weights(states, samples, moments, sees_jumps=True)
        voltage, current = (
            values.reshape(state.batch, times.size, -1).transpose(0, 2, 1)
            for values in weights.values(states)
        )
        return voltage, current

    def pull_back(
        self,
        state: GridState,
        readout: Readout,
        cotangents: np.ndarray,
        wrt: Sequence[str],
        adjustments: Adjustments = Adjustments(),
    ) -> Adjoint:
        time_constants = any(name.endswith((".tau_mem", ".tau_syn")) for name in wrt)
        drive, direct = self._drive(state, readout, cotangents, adjustments, time_constants)
        pulled = state.activity.pull_back(drive, time_constants=time_constants)
        if pulled.grazing is not None:
            sample, unit, step = pulled.grazing
            raise EngineError(
                state.place(sample, unit, step)
                + "the slope of its voltage at its emission rounds to 0, so its gradient is "
                "unbounded: set a lambda_limit, change the weights a little, or leave the sample "
                "out"
            )
        network = state.layout.network
        totals = {
            "weight": pulled.weight,
            "delay": pulled.delay,
            "threshold": pulled.threshold,
            "tau_mem": pulled.tau_mem + direct[0],
            "tau_syn": pulled.tau_syn + direct[1],
        }
        return Adjoint(
            parameters={name: network.fold(name, totals[name.rsplit(".", 1)[1]]) for name in wrt},
            input_times={name: pulled.events[place] for name, place in state.on_grid.place.items()},
            limited=pulled.limited,
            state=pulled,
        )

    def _drive(
        self,
        state: GridState,
        readout: Readout,
        cotangents: np.ndarray,
        adjustments: Adjustments,
        time_constants: bool,
    ) -> tuple[Drive, np.ndarray]:
        """What enters the adjoints; and by both time constants what does not come from them."""
        layout = state.layout
        name = readout.population_of(layout.network)
        real = layout.precision
        direct = np.zeros((2, layout.units.size))
        parts: dict[str, np.ndarray] = {}
        slopes = np.zeros(state.emissions(name).step.size) if state.is_lif(name) else None
        mean = None
        moments = Moments(np.empty(0), np.zeros(state.batch + 1, np.int64))
        lambda_v = lambda_i = np.empty((0, layout.network.population(name).units))
        if isinstance(readout, VoltageAt):
            moments = readout.moments
            weights = sample_weights(
                state.states(name), moments.samples, moments.times, sees_jumps=False
            )
            lambda_v, lambda_i = weights.adjoint_jumps(state.states(name), cotangents)
            if time_constants:
                direct[:, state.units(name)] = weights.time_constant_slopes(
                    state.states(name), cotangents
                )
            moment_step = weights.step
        else:
            moment_step = np.empty(0, np.int32)
        if isinstance(readout, (FirstSpike, SpikeTimes)):
            by_number = cotangents.reshape(*cotangents.shape[:2], -1)
            slopes = state.slopes_by_number(name, by_number)
            parts["phantom"] = state.phantom(name, by_number)
        elif isinstance(readout, Mean):
            form = readout.form(layout.duration)
            mean = mean_form(layout, name, form)
            parts["cotangents"] = cotangents
            if slopes is not None:
                # l_V- - l_V+ of dF/dV = w(t)/T: V is the threshold before a spike, 0 after it.
                own = state.emissions(name)
                weight = form.at(state.points[own.step]) / layout.duration
                threshold = np.broadcast_to(
                    layout.network.population(name).threshold,  # type: ignore[attr-defined]
                    cotangents.shape[1],
                )
                slopes += cotangents[own.samples, own.unit] * weight * threshold[own.unit]
            if time_constants:
                direct[:, state.units(name)] = mean_time_constant_slopes(
                    state.states(name), form, cotangents
                )
        elif isinstance(readout, Peak):
            parts["cotangents"] = cotangents
        if adjustments.spike_slopes is not None:
            slopes = (
                adjustments.spike_slopes if slopes is None else slopes + adjustments.spike_slopes
            )
        rate_jump = np.zeros(layout.units.size)
        for population, jumps in adjustments.rate_jumps.items():
            rate_jump[state.units(population)] = jumps
        drive = Drive(
            population=name,
            rate_jump=rate_jump.astype(real),
            moment_step=moment_step,
            moment_start=np.ascontiguousarray(moments.offsets),
            moment_lambda_v=lambda_v.astype(real),
            moment_lambda_i=lambda_i.astype(real),
            limit=adjustments.lambda_limit,
            mean=mean,
            peak_step=state.activity.peak(name)[1] if isinstance(readout, Peak) else None,
            slopes=None if slopes is None else slopes.astype(real),
            **{key: np.ascontiguousarray(part, real) for key, part in parts.items()},
        )
        return drive, direct

    def adjoint_traces(
        self, state: GridState, adjoint: Adjoint, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Those of the grid point at or before each time."""
        pulled: Pulled = adjoint.state
        points = np.floor(times / state.layout.dt * (1 + 1e-12) + 1e-9).astype(np.int64)
        lambda_v, lambda_i = (
            part[:, np.minimum(points, state.layout.steps)].transpose(0, 2, 1).astype(np.float64)
            for part in pulled.adjoints(population)
        )
        return lambda_v, lambda_i


def grid_inputs(layout: GridLayout, inputs: Mapping[str, SpikeTrains]) -> GridInputs:
    """Input spikes on the grid."""
    ordered = OrderedInputs.of(layout.network, inputs)
    step = to_steps(ordered.time, layout.dt, layout.steps)
    step[ordered.time > layout.duration] = layout.steps + 1
    start = np.zeros(ordered.count.size + 1, np.int64)
    np.cumsum(ordered.count.ravel(), out=start[1:])
    return GridInputs(step, start, ordered.place, ordered.count.shape[0])


@dataclass(frozen=True, eq=False)
class GridState:
    """A simulated batch."""

    layout: GridLayout
    inputs: Mapping[str, SpikeTrains]
    on_grid: GridInputs
    activity: Activity
    _states: dict[str, States] = field(default_factory=dict)
    _emissions: dict[str, Emissions] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self.on_grid.batch

    @property
    def points(self) -> np.ndarray:
        """The grid points in ms; the last one is the end of the trial to the last bit."""
        return np.linspace(0.0, self.layout.duration, self.layout.steps + 1)

    def is_lif(self, name: str) -> bool:
        """Whether a population's units emit spikes."""
        return isinstance(self.layout.network.population(name), LIF)

    def units(self, name: str) -> slice:
        """A population's units among those of all populations."""
        component, first, last = self.layout.place(name)
        unit = int(self.layout.components[component].unit_of_column[first])
        return slice(unit, unit + last - first)

    def states(self, name: str) -> States:
        """Voltages and currents at all grid points, kept for the next time."""
        if name not in self._states:
            voltage, current = self.activity.states(name)
            emissions = self.emissions(name) if self.is_lif(name) else None
            self._states[name] = States(self.layout, self.units(name), voltage, current, emissions)
        return self._states[name]

    def emissions(self, name: str) -> Emissions:
        """Emissions of a LIF population, kept for the next time."""
        if name not in self._emissions:
            self._emissions[name] = self.activity.emissions(name)
        return self._emissions[name]

    def spike_trains(self, name: str) -> SpikeTrains:
        """Emissions as spike trains; none of LI units."""
        count = self.layout.network.population(name).units
        if not self.is_lif(name):
            offsets = np.zeros(self.batch + 1, np.int64)
            return SpikeTrains(np.empty(0), np.empty(0, np.int32), offsets, count)
        own = self.emissions(name)
        return SpikeTrains(self.points[own.step], own.unit, own.offsets, count)

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
        """Cotangents (batch, units, numbers) of first spikes as derivatives by each emission."""
        own = self.emissions(name)
        number = numbers_of(own)
        early = number < cotangents.shape[2]
        slopes = np.zeros(own.step.size)
        slopes[early] = cotangents[own.samples[early], own.unit[early], number[early]]
        return slopes

    def phantom(self, name: str, cotangents: np.ndarray) -> np.ndarray:
        """lambda_V at the end of the trial, where spikes are missing, (batch, units).

        None for a unit that could not spike there, in its refractory period.
        """
        own = self.emissions(name)
        counts, latest = tables(own, cotangents.shape[:2])
        missing = counts[:, :, None] <= np.arange(cotangents.shape[2])
        phantom = np.where(missing, cotangents, 0.0).sum(axis=2)
        refractory = self.layout.units["refractory"][self.units(name)].astype(np.int64)
        phantom[(counts > 0) & (latest + refractory >= self.layout.steps)] = 0.0
        return phantom

    # -- messages ------------------------------------------------------------------------

    def place(self, sample: int, unit: int, step: int | None = None) -> str:
        """A sample, a unit of all populations, and perhaps a time, for a message."""
        topology = self.layout.network.topology
        index = int(np.searchsorted(topology.first_unit, unit, side="right")) - 1
        name = self.layout.network.populations[index].name
        at = "" if step is None else f", at {self.points[step]:g} ms"
        return f"sample {sample}, unit {unit - topology.first_unit[index]} of {name!r}{at}: "

    def check_finite(
        self, values: np.ndarray, quantity: str, name: str, samples: np.ndarray | None = None
    ) -> None:
        """Raise for the first of some values, (rows, units), that is no finite number."""
        wrong = ~np.isfinite(values)
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            sample = row if samples is None else int(samples[row])
            raise EngineError(
                self.place(sample, self.units(name).start + column)
                + f"{quantity} is {values[row, column]}; its current is no finite number any "
                "more: use smaller weights"
            )
