"""A batch on a CUDA device: the kernels' order, from input spikes to gradients.

Everything here is on the device, and nothing waits for it: arrays come in and go out as CuPy's,
so that training can go from batch to batch without the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evsim.engines.protocol import EngineError
from evsim_gpu.cuda_kernels import (
    BACKWARD_CELL,
    FORWARD_CELL,
    GATHERED_TARGETS,
    MOST_STEPS,
    Kernels,
)
from evsim_gpu.cuda_network import CudaComponent, CudaConnection, CudaNetwork, CudaParameters
from evsim_gpu.layout import UNIT_FIELDS

TAU_SYN = UNIT_FIELDS.index("tau_syn")
NONE = np.uint64(2**64 - 1)  # what stays where a kernel seeks the first of something


@dataclass(frozen=True, eq=False)
class CudaInputs:
    """``GridInputs`` on the device, and the keys of dropout, uint64, (batch,)."""

    step: Any
    start: Any
    batch: int
    keys: Any


@dataclass(frozen=True, eq=False)
class CudaDrive:
    """``Drive`` on the device: how a loss enters the adjoints of ``width`` columns.

    ``form`` (4, width) holds P, Q, R and U; ``slopes`` are direct slopes of emissions at
    ``slope_places`` (int64) of the component's arrays.  None for what there is not;
    ``rate_jump`` is of all units.
    """

    component: int
    first: int
    width: int
    rate_jump: Any
    moment_step: Any
    moment_start: Any
    moment_lambda_v: Any
    moment_lambda_i: Any
    limit: float = np.inf
    f: Any = None
    g: Any = None
    form: Any = None
    peak_step: Any = None
    cotangents: Any = None
    phantom: Any = None
    slope_places: Any = None
    slopes: Any = None


@dataclass(frozen=True, eq=False)
class CudaGradients:
    """Sums over the batch, on the device.

    ``weight`` and ``delay`` are reals, one per pair of ``CudaNetwork``; ``threshold``,
    ``tau_mem`` and ``tau_syn`` float64, one per column of all components; ``events`` reals,
    one per input event, or None.  ``limited`` counts emissions, ``grazing`` ranks the first
    (see ``rank_of`` in the kernels), uint64, (1,).
    """

    weight: Any
    delay: Any
    threshold: Any
    tau_mem: Any
    tau_syn: Any
    events: Any
    limited: Any
    grazing: Any


@dataclass(eq=False)
class CudaBatch:
    """A simulated batch.

    ``current``, ``emitted`` and ``delivered`` hold the arrays of each spiking component;
    ``overflow`` the first (sample, column of all) whose current is no finite number.
    """

    kernels: Kernels
    network: CudaNetwork
    parameters: CudaParameters
    inputs: CudaInputs
    steps: int
    current: dict[int, Any] = field(default_factory=dict)
    emitted: dict[int, Any] = field(default_factory=dict)
    delivered: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps > MOST_STEPS:
            raise EngineError(f"{self.steps} steps are too many for the GPU: use a longer dt")
        self._cupy = self.kernels.cupy
        self._real = self.kernels.precision
        self._drops = self.parameters.drop_rate is not None
        self._drop_rate = self.parameters.drop_rate if self._drops else self._nothing(np.float64)
        self._step = self.inputs.step
        spiking = [c for c in self.network.components if c.spiking]
        with self.kernels.memory_for(sum(map(self.forward_bytes, spiking)), "simulating the batch"):
            self.overflow = self._cupy.full(1, NONE, np.uint64)
            if self._drops:
                self._drop_inputs()
            for component in spiking:
                self._integrate(component)

    # -- memory ------------------------------------------------------------------------------

    def _slots(self, component: CudaComponent) -> int:
        return self.inputs.batch * (self.steps + 1) * component.columns

    def _word_shape(self, component: CudaComponent) -> tuple[int, int, int]:
        return self.inputs.batch, self.steps // 32 + 1, component.columns

    def forward_bytes(self, component: CudaComponent) -> int:
        """Bytes of a component's arrays that stay after the forward pass."""
        return self._slots(component) * self._real.itemsize + self._slots(component) // 4

    def _new(self, component: CudaComponent, *numbers: int) -> Any:
        shape = self.inputs.batch, self.steps + 1, component.columns, *numbers
        return self._cupy.empty(shape, self._real)

    def _nothing(self, dtype: Any) -> Any:
        """An array that a kernel takes but does not read."""
        return self._cupy.empty(0, dtype)

    # -- forward -----------------------------------------------------------------------------

    def _drop_inputs(self) -> None:
        self._step = self._cupy.empty(self.inputs.step.shape, np.int32)
        self.kernels.launch_each(
            "drop_inputs",
            self.inputs.batch * self.network.units,
            (
                np.int32(self.inputs.batch), np.int32(self.network.units), self.inputs.step,
                self.inputs.start, self.inputs.keys, self._drop_rate, self._step,
            ),
        )  # fmt: skip

    @property
    def kept_inputs(self) -> Any:
        """Steps of input spikes on the device, those of dropped ones as ``~step``."""
        return self._step

    def _integrate(self, component: CudaComponent) -> None:
        """Fill a spiking component's arrays."""
        current = self.arrivals(component, component.outer)
        make = self._cupy.zeros if component.recurrent else self._cupy.empty
        emitted, delivered = (make(self._word_shape(component), np.uint32) for _ in range(2))
        index = component.index
        of_units = (
            np.int32(component.columns), np.int32(component.first),
            np.int32(self.network.unit_of.size), *self._units(index), component.unit_of,
            self.inputs.keys, self._drop_rate, np.int32(self._drops),
        )  # fmt: skip
        results = current, emitted, delivered, self.overflow
        if component.recurrent:
            threads, shared = self.kernels.recurrent_block(component.columns, FORWARD_CELL)
            arguments = (np.int32(self.steps), *of_units, *self._inner(component), *results)
            self.kernels.launch(
                "integrate_recurrent", self.inputs.batch, threads, arguments, shared
            )
        else:
            sizes = np.int32(self.inputs.batch), np.int32(self.steps)
            count = self.inputs.batch * component.columns
            self.kernels.launch_each("integrate_layer", count, (*sizes, *of_units, *results))
        self.current[index], self.emitted[index] = current, emitted
        self.delivered[index] = delivered

    def _units(self, index: int) -> tuple[Any, Any]:
        return self.parameters.units[index], self.parameters.refractory[index]

    def _inner(self, component: CudaComponent) -> tuple[Any, ...]:
        return (
            np.int32(len(component.inner)), component.places, self.parameters.weight,
            self.parameters.delay,
        )  # fmt: skip

    def arrivals(self, component: CudaComponent, connections: tuple[CudaConnection, ...]) -> Any:
        """The summed weights of the arrivals through some connections at each step."""
        current = self._new(component)
        if not connections:
            current[...] = 0
        elif any(c.target_units < component.columns for c in connections):
            current[...] = 0  # a connection reaches the columns of its own target only
        for number, connection in enumerate(connections):
            is_first = number == 0 and connection.target_units == component.columns
            self._collect(component, connection, is_first, current)
        return current

    def _collect(
        self, component: CudaComponent, connection: CudaConnection, is_first: bool, current: Any
    ) -> None:
        window = self.kernels.collecting_window(self.steps)
        tiles, windows = -(-connection.target_units // 32), self.steps // window + 1
        arguments = (
            np.int32(self.steps), np.int32(component.columns), np.int32(connection.source_units),
            np.int32(connection.target_column), np.int32(connection.target_units),
            np.int64(connection.first), self.parameters.weight, self.parameters.delay,
            np.int32(window), np.int32(is_first), current, *self._source(connection),
        )  # fmt: skip
        name = "collect_inputs" if connection.source_component < 0 else "collect_delivered"
        shared = window * 32 * self._real.itemsize
        self.kernels.launch(name, tiles * windows * self.inputs.batch, 32, arguments, shared)

    def _source(self, connection: CudaConnection) -> tuple[Any, ...]:
        """A connection's spikes, as the kernels are given them."""
        source = connection.source_component
        if source < 0:
            first = np.int32(connection.source_first)
            return self._step, self.inputs.start, np.int32(self.network.units), first
        columns = self.network.components[source].columns
        return self.delivered[source], np.int32(columns), np.int32(connection.source_column)

    # -- states and readouts ---------------------------------------------------------------------

    def states(self, index: int, first: int, width: int) -> Any:
        """V and I of some columns after every grid point, (batch, steps + 1, width, 2)."""
        shape = self.inputs.batch, self.steps + 1, width, 2
        with self._reading(index, int(np.prod(shape)) * self._real.itemsize):
            states = self._cupy.empty(shape, self._real)
            self._replay("write_states", index, first, width, states)
        return states

    def mean(self, index: int, first: int, width: int, f: Any, g: Any, form: Any) -> Any:
        """A weighted mean, (batch, width)."""
        with self._reading(index, 0):
            values = self._cupy.empty((self.inputs.batch, width), self._real)
            self._replay("read_means", index, first, width, f, g, form, values)
        return values

    def peak(self, index: int, first: int, width: int) -> tuple[Any, Any]:
        """The largest V over all grid points, and the first with it, each (batch, width)."""
        with self._reading(index, 0):
            values = self._cupy.empty((self.inputs.batch, width), self._real)
            at = self._cupy.empty((self.inputs.batch, width), np.int32)
            self._replay("read_peaks", index, first, width, values, at)
        return values, at

    def _reading(self, index: int, more: int) -> Any:
        needed = self._slots(self.network.components[index]) * self._real.itemsize + more
        return self.kernels.memory_for(needed, "reading voltages")

    def _replay(self, name: str, index: int, first: int, width: int, *arrays: Any) -> None:
        component = self.network.components[index]
        # After the forward pass a spiking component's own array holds more than arrivals.
        current = self.arrivals(component, (*component.outer, *component.inner))
        arguments = (
            np.int32(self.inputs.batch), np.int32(self.steps), np.int32(component.columns),
            np.int32(first), np.int32(width), *self._units(index), current,
            self.emitted.get(index, self._nothing(np.uint32)), np.int32(component.spiking),
            *arrays,
        )  # fmt: skip
        self.kernels.launch_each(name, self.inputs.batch * width, arguments)

    def take(self, index: int, places: Any) -> Any:
        """Numbers at places (int64) of a spiking component's ``current``."""
        values = self._cupy.empty(places.size, self._real)
        arguments = np.int64(places.size), places, self.current[index], values
        self.kernels.launch_each("take", places.size, arguments)
        return values

    # -- backward ------------------------------------------------------------------------------

    def pull_back(
        self, drive: CudaDrive, *, time_constants: bool = False, events: bool = False
    ) -> CudaGradients:
        """Gradients by everything; by time constants and input events only if asked for."""
        zeros = self._cupy.zeros
        columns = self.network.unit_of.size
        with self.kernels.memory_for(self._backward_bytes(time_constants), "pulling back"):
            gradients = CudaGradients(
                weight=zeros(self.network.pairs, self._real),
                delay=zeros(self.network.pairs, self._real),
                threshold=zeros(columns, np.float64),
                tau_mem=zeros(columns, np.float64),
                tau_syn=zeros(columns, np.float64),
                events=zeros(self.inputs.step.shape, self._real) if events else None,
                limited=zeros(1, np.uint64),
                grazing=self._cupy.full(1, NONE, np.uint64),
            )
            for component, adjoint in self._adjoints(drive, gradients, time_constants):
                for connection in (*component.outer, *component.inner):
                    self._gather(component, connection, adjoint, gradients)
                    if events and connection.source_component < 0:
                        self._add_slopes(component, connection, adjoint, gradients.events)
        return gradients

    def adjoints(self, drive: CudaDrive, index: int) -> Any:
        """lambda_V and lambda_I of a component, (batch, steps + 1, columns, 2)."""
        columns = self.network.unit_of.size
        with self.kernels.memory_for(self._backward_bytes(False), "pulling back"):
            unused = self._cupy.zeros(columns, np.float64)
            counts = self._cupy.zeros(1, np.uint64)
            sums = CudaGradients(None, None, unused, unused, unused, None, counts, counts)
            for component, adjoint in self._adjoints(drive, sums, time_constants=False):
                if component.index == index:
                    return adjoint
            zeros = self._new(self.network.components[index], 2)
            zeros[...] = 0  # nobody reads these units
            return zeros

    def _backward_bytes(self, time_constants: bool) -> int:
        arrays = 4 if time_constants else 2
        slots = sum(self._slots(component) for component in self.network.components)
        return arrays * slots * self._real.itemsize

    def _adjoints(
        self, drive: CudaDrive, gradients: CudaGradients, time_constants: bool
    ) -> Iterator[tuple[CudaComponent, Any]]:
        """The adjoints of components, last to first; adds what comes per unit to gradients."""
        begun: dict[int, Any] = {}
        for component in reversed(self.network.components):
            index = component.index
            if not component.spiking and index != drive.component:
                continue
            adjoint = begun.pop(index) if index in begun else self._begin(component, drive)
            self._integrate_back(component, drive, adjoint, gradients, time_constants)
            yield component, adjoint
            for connection in component.outer:
                source = connection.source_component
                if source < 0:
                    continue
                if source not in begun:
                    begun[source] = self._begin(self.network.components[source], drive)
                self._add_slopes(component, connection, adjoint, begun[source])

    def _begin(self, component: CudaComponent, drive: CudaDrive) -> Any:
        """An array of adjoints that holds the direct slopes of emissions."""
        adjoint = self._new(component, 2)
        if component.spiking:
            arguments = (
                np.int32(self.inputs.batch), np.int32(self.steps), np.int32(component.columns),
                self.emitted[component.index], adjoint,
            )  # fmt: skip
            count = int(np.prod(self._word_shape(component)))
            self.kernels.launch_each("begin_slopes", count, arguments)
        if drive.slopes is not None and component.index == drive.component:
            count = drive.slopes.size
            direct = np.int64(count), drive.slope_places, drive.slopes, adjoint
            self.kernels.launch_each("add_direct_slopes", count, direct)
        return adjoint

    def _integrate_back(
        self,
        component: CudaComponent,
        drive: CudaDrive,
        adjoint: Any,
        gradients: CudaGradients,
        time_constants: bool,
    ) -> None:
        """Run a component's backward time loop, and sum over samples what comes per unit."""
        index = component.index
        shape = self.inputs.batch, component.columns
        kinds = 3 if time_constants else 1
        by_unit = [self._cupy.empty(shape, np.float64) for _ in range(kinds)]
        states = self.states(index, 0, component.columns) if time_constants else None
        arrays = (
            adjoint, by_unit[0], by_unit[-1] if kinds == 1 else by_unit[1], by_unit[-1],
            gradients.limited, gradients.grazing, np.int32(time_constants),
            self.parameters.slopes[index], adjoint if states is None else states,
            *self._entering(component, drive),
        )  # fmt: skip
        of_units = (
            np.int32(component.columns), np.int32(self.network.units),
            *self._units(index), component.unit_of, drive.rate_jump,
            self._real.type(drive.limit),
        )  # fmt: skip
        emitted = self.emitted.get(index, self._nothing(np.uint32))
        current = self.current.get(index, self._nothing(self._real))
        if component.recurrent:
            threads, shared = self.kernels.recurrent_block(component.columns, BACKWARD_CELL)
            arguments = (
                np.int32(self.steps), *of_units, emitted, self.delivered[index], current,
                *self._inner(component), *arrays,
            )  # fmt: skip
            self.kernels.launch("adjoint_recurrent", self.inputs.batch, threads, arguments, shared)
        else:
            arguments = (
                np.int32(self.inputs.batch), np.int32(self.steps), *of_units,
                np.int32(component.spiking), emitted, current, *arrays,
            )  # fmt: skip
            count = self.inputs.batch * component.columns
            self.kernels.launch_each("adjoint_layer", count, arguments)
        totals = gradients.threshold, gradients.tau_mem, gradients.tau_syn
        for values, total in zip(by_unit, totals, strict=False):
            own = total[component.first : component.first + component.columns]
            sizes = np.int32(self.inputs.batch), np.int32(component.columns)
            self.kernels.launch_each("sum_samples", component.columns, (*sizes, values, own))

    def _entering(self, component: CudaComponent, drive: CudaDrive) -> tuple[Any, ...]:
        """How the loss enters a component's adjoints, as the kernels are given it."""
        real, nothing = self._nothing(self._real), self._nothing(np.int32)
        if component.index != drive.component:
            start = self._cupy.zeros(self.inputs.batch + 1, np.int64)
            return (
                np.int32(0), np.int32(0), np.int32(0), real, real, real, real, np.int32(0), nothing,
                np.int32(0), real, nothing, start, real, real,
            )  # fmt: skip
        f, g, form = (drive.f, drive.g, drive.form) if drive.f is not None else (real, real, real)
        return (
            np.int32(drive.first), np.int32(drive.width), np.int32(f.size), f, g, form,
            real if drive.cotangents is None else drive.cotangents,
            np.int32(drive.peak_step is not None),
            nothing if drive.peak_step is None else drive.peak_step,
            np.int32(drive.phantom is not None),
            real if drive.phantom is None else drive.phantom,
            drive.moment_step, drive.moment_start, drive.moment_lambda_v, drive.moment_lambda_i,
        )  # fmt: skip

    def _add_slopes(
        self, component: CudaComponent, connection: CudaConnection, adjoint: Any, slopes: Any
    ) -> None:
        """Add what a connection's arrivals say of the times of its source's spikes."""
        arguments = (
            np.int32(self.inputs.batch), np.int32(self.steps), np.int32(component.columns),
            np.int32(connection.source_units), np.int32(connection.target_column),
            np.int32(connection.target_units), np.int64(connection.first),
            self.parameters.weight, self.parameters.delay, adjoint, *self._source(connection),
            slopes,
        )  # fmt: skip
        of_inputs = connection.source_component < 0
        name = "slopes_of_inputs" if of_inputs else "slopes_of_emissions"
        self.kernels.launch_each(name, 32 * self.inputs.batch * connection.source_units, arguments)

    def _gather(
        self,
        component: CudaComponent,
        connection: CudaConnection,
        adjoint: Any,
        gradients: CudaGradients,
    ) -> None:
        """Sum a connection's gradients, first chunk by chunk of samples, then over chunks."""
        chunk = max(16, -(-self.inputs.batch // 64))  # of samples: a function of the batch alone
        chunks = -(-self.inputs.batch // chunk)
        window = self.kernels.gathering_window(self.steps)
        threads = min(512, -(-connection.source_units // 32) * 32)
        partial = self._cupy.empty((chunks, connection.size, 2), self._real)
        sizes = (
            np.int32(connection.source_units), np.int32(connection.target_column),
            np.int32(connection.target_units), np.int64(connection.first),
        )  # fmt: skip
        arguments = (
            np.int32(self.inputs.batch), np.int32(self.steps), np.int32(component.columns), *sizes,
            self.parameters.delay, adjoint, np.int32(chunk), np.int32(window), partial,
            *self._source(connection),
        )  # fmt: skip
        of_inputs = connection.source_component < 0
        name = "gather_of_inputs" if of_inputs else "gather_of_emissions"
        tiles = -(-connection.target_units // GATHERED_TARGETS)
        blocks = tiles * -(-connection.source_units // threads) * chunks
        shared = window * GATHERED_TARGETS * 2 * self._real.itemsize
        self.kernels.launch(name, blocks, threads, arguments, shared)
        finish = (
            *sizes, self.parameters.weight, self.parameters.units[component.index][TAU_SYN],
            np.int32(chunks), partial, gradients.weight, gradients.delay,
        )  # fmt: skip
        self.kernels.launch_each("finish_synapses", connection.size, finish)
