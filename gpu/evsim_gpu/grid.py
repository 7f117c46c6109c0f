"""The grid engine: the protocol of evsim's engines on a time grid, on any device.

The closed form gives voltages between grid points, so every readout is that of continuous time; the
grid only moves events to grid points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np

from evsim._compile.threads import check_threads
from evsim.arguments.checks import check_choice, check_number
from evsim.arguments.keywords import helpful
from evsim.engines.pieces import PiecewiseEngine, Share, piece_bounds
from evsim.engines.protocol import Adjoint, EngineError, Report
from evsim.engines.rest import FromRest
from evsim.engines.runaway import RATE_LIMIT, check_rate_limit
from evsim.network.checks import kind_of
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.parameters import Parameter, fold
from evsim.network.populations import LIF, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting
from evsim_gpu.adjoint_sources import direct_time_constant_slopes, grid_sources
from evsim_gpu.device import Device, Pulled
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.model.time_grid import grid_points, steps_before, steps_in, to_steps
from evsim_gpu.readouts import mean_form, sample_weights
from evsim_gpu.runaway import check_rates
from evsim_gpu.state import GRAZING, GridState, grid_inputs

if TYPE_CHECKING:
    from evsim.training.epoch_trainers import EpochTrainer
    from evsim.training.task import Task

DeviceName = Literal["cpu", "cuda"]
Precision = Literal["float32", "float64"]
_REALS: dict[str, type[np.floating]] = {"float32": np.float32, "float64": np.float64}


@helpful
@dataclass(frozen=True)
class Grid(PiecewiseEngine):
    """A network on a time grid: all events happen at multiples of dt.

    Delays and input times are rounded to the grid.  A unit emits at the grid point after its
    voltage has crossed the threshold, at most once per step.  As dt goes to 0, spike times, losses
    and gradients converge to those of ``evsim.engines.Exact`` with first order.

    Parameters
    ----------
    dt : float
        The step in ms, > 0; the trial must be a whole number of steps.
    device : "cpu" or "cuda"
        Compiled loops on the processor, or kernels on an NVIDIA GPU, which need CuPy.
    precision : "float32" or "float64", optional
        By default, float64 on the CPU and float32 on a GPU.
    threads : int, optional
        The number of threads that share a batch on the CPU; by default, as many as the process may
        use.  Results are bit-identical for any number.
    rate_limit : float
        The highest rate, in spikes per tau_mem (or per 4 tau_syn if that is shorter), up to which
        the rate of a unit that is excited by its own loop of connections may keep rising.  If a
        unit exceeds it, the network runs away, and the run is refused.  A run is also refused if
        the loop drives a unit to emit at 100 consecutive steps.  Infinity means no limit.
    """

    dt: float = 1.0
    device: DeviceName = "cpu"
    precision: Precision | None = None
    threads: int | None = None
    rate_limit: float = RATE_LIMIT

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
        check_rate_limit(self.rate_limit)
        if self.device == "cuda":
            if self.threads is not None:
                raise ValueError(
                    f"threads = {self.threads}: they are the processor's; leave them out for cuda"
                )
            from evsim_gpu.cuda.gpu import check_cuda

            check_cuda()

    def _device(self) -> Device:
        if self.device == "cuda":
            from evsim_gpu.cuda.device import CudaDevice

            return CudaDevice(self.precision)  # type: ignore[arg-type]
        from evsim_gpu.cpu.device import CpuDevice

        return CpuDevice(self.threads)

    def epoch_trainer(self, task: Task) -> EpochTrainer | None:
        """Trains whole epochs on a GPU, see ``evsim.training.epoch_trainers``."""
        if self.device != "cuda":
            return None
        from evsim_gpu.training.trainer import trainer_for

        return trainer_for(task, self.dt, _REALS[str(self.precision)])

    @property
    def cuts_batches(self) -> bool:
        return self.device == "cpu"

    def with_threads(self, threads: int) -> Self:
        return replace(self, threads=threads)

    def piece_bounds(self, network: Network, batch_size: int) -> list[tuple[int, int]]:
        if not self.cuts_batches:
            return [(0, batch_size)]
        return piece_bounds(batch_size, network.topology.source.size)

    # -- forward -----------------------------------------------------------------------

    def simulate_share(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None,
        share: Share,
    ) -> GridState:
        precision = _REALS[str(self.precision)]
        layout = GridLayout.of(network, duration, self.dt, precision, dropout)
        on_grid = grid_inputs(layout, inputs)
        keys = None if dropout is None else dropout.sample_keys(on_grid.batch)
        activity = self._device().simulate(layout, on_grid, keys, share)
        state = GridState(layout, inputs, on_grid, activity, share)
        if activity.overflow is not None:
            raise EngineError(state.place(*activity.overflow) + state.overflow)
        check_rates(state, self.rate_limit)
        return state

    def placed(self, times: np.ndarray, duration: float) -> np.ndarray:
        """The grid point of each time; infinity for times beyond the trial."""
        steps = steps_in(duration, self.dt)
        points = np.append(grid_points(duration, steps), np.inf)
        return points[to_steps(times, self.dt, steps)]

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
                own = state.input_counts(population.name)
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
            if own.threshold_excess.size and own.threshold_excess.min() < smallest:
                spike = int(np.argmin(own.threshold_excess))
                smallest = float(own.threshold_excess[spike])
                time = float(state.points[own.step[spike]])
                sample = state.share.first_sample + int(own.samples[spike])
                place = population.name, sample, int(own.unit[spike]), time
        return Report(in_time, after_end, smallest, place, dropped)

    # -- readouts and their adjoints ------------------------------------------------------

    def read_mean(self, state: GridState, population: str, weighting: TrialWeighting) -> np.ndarray:
        form = mean_form(state.layout, population, weighting.form(state.duration))
        values = state.activity.mean(population, form)
        state.check_finite(values, "Mean", population)
        values = values.astype(np.float64)
        reset = state.layout.units["reset"][state.units(population)]
        if state.is_lif(population) and reset.any():
            values += reset * state.held_weights(population, weighting.form(state.duration))
        return values

    def read_peak(self, state: GridState, population: str) -> np.ndarray:
        values, _, _ = state.activity.peak(population)
        state.check_finite(values, "Peak", population)
        return values.astype(np.float64)

    def read_spike_times(self, state: GridState, population: str, count: int) -> np.ndarray:
        return state.spike_times(population, count)

    def event_times(self, state: GridState, population: str) -> SampleTimes:
        samples, points = np.nonzero(state.states(population).kinks)
        offsets = np.zeros(state.batch + 1, np.int64)
        np.cumsum(np.bincount(samples, minlength=state.batch), out=offsets[1:])
        return SampleTimes(state.points[points], offsets)

    def states_at(
        self, state: GridState, population: str, times: SampleTimes
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._states(state, population, times, sees_jumps=False)

    def _states(
        self, state: GridState, population: str, times: SampleTimes, *, sees_jumps: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """V and I at times of each sample, each (times, units)."""
        states = state.states(population)
        weights = sample_weights(states, times.samples, times.times, sees_jumps=sees_jumps)
        voltage, current = weights.values(states)
        state.check_finite_at(times, population, voltage=voltage, current=current)
        return voltage, current

    def traces(
        self, state: GridState, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        in_batch = SampleTimes.same(times, state.batch)
        voltage, current = self._states(state, population, in_batch, sees_jumps=True)
        return by_unit(voltage, state.batch), by_unit(current, state.batch)

    def pull_back_sources(
        self, state: GridState, sources: AdjointSources, wrt: Sequence[str]
    ) -> Adjoint:
        time_constants = any(kind_of(name) in ("tau_mem", "tau_syn") for name in wrt)
        entering = grid_sources(state, sources)
        pulled = state.activity.pull_back(
            entering,
            delays={name.rsplit(".", 1)[0] for name in wrt if kind_of(name) == "delay"},
            time_constants=time_constants,
        )
        if pulled.grazing is not None:
            raise EngineError(state.place(*pulled.grazing) + GRAZING)
        network = state.layout.network
        of_taus = {"tau_mem": pulled.tau_mem.copy(), "tau_syn": pulled.tau_syn.copy()}
        by_sample = {"reset": entering.reset_gradient, "start": entering.start_gradient}
        if time_constants:
            by_sample |= direct_time_constant_slopes(state, sources)
        direct = state.share.total(
            [
                {kind: rows[first:last].sum(axis=0) for kind, rows in by_sample.items()}
                for first, last in state.share.bounds
            ]
        )
        own = state.units(sources.population)
        of_reset, of_start = pulled.reset.copy(), pulled.start.copy()
        of_reset[own] += direct["reset"]
        of_start[own] += direct["start"]
        if time_constants:
            for kind, totals in of_taus.items():
                totals[own] += direct[kind]
        return Adjoint(
            parameters={
                name: network.fold(name, of_taus[kind_of(name)])
                if kind_of(name) in of_taus
                else _of_synapses(state.layout, name, pulled)
                for name in wrt
            },
            input_times={name: pulled.events[place] for name, place in state.on_grid.place.items()},
            voltages=FromRest(pulled.threshold, of_reset, of_start),
            limited=pulled.limited,
            state=pulled,
        )

    def adjoint_traces(
        self, state: GridState, adjoint: Adjoint, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The adjoints of the grid point at or before each time."""
        pulled: Pulled = adjoint.state
        points, _ = steps_before(times, state.layout.duration, state.layout.steps)
        lambda_v, lambda_i = (
            part[:, points].astype(np.float64) for part in pulled.adjoints(population)
        )
        flat = (-1, lambda_v.shape[2])
        state.check_finite_at(
            SampleTimes.same(times, state.batch), population, lambda_V=lambda_v.reshape(flat),
            lambda_I=lambda_i.reshape(flat),
        )  # fmt: skip
        return lambda_v.transpose(0, 2, 1), lambda_i.transpose(0, 2, 1)


def _of_synapses(layout: GridLayout, name: str, pulled: Pulled) -> Parameter:
    """The gradient with respect to a weight or delay."""
    owner, kind = name.rsplit(".", 1)
    for found in layout.connections:
        connection = layout.network.connections[found.index]
        if connection.name == owner:
            entries, values = getattr(pulled, kind)[found.entries], getattr(connection, kind)
            return fold(entries, values, connection.weight, found.shape)
    raise ValueError(f"there is no connection {owner!r}")


def by_unit(values: np.ndarray, batch: int) -> np.ndarray:
    """Values at the same times of every sample as an array (batch, units, times)."""
    return values.reshape(batch, -1, values.shape[1]).transpose(0, 2, 1)
