"""A batch's adjoints on a CUDA device, and the gradients that come of them.

Components come last to first, as do the steps inside: see the kernels in ``backward.cu`` and
``gradients.cu``.  Like everything in ``cuda_batch`` it all stays on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim_gpu.cuda.batch import NONE, CudaBatch
from evsim_gpu.cuda.launching import BACKWARD_CELL, GATHERED_TARGETS
from evsim_gpu.cuda.network import CudaComponent, CudaConnection
from evsim_gpu.model.layout import UNIT_FIELDS

TAU_SYN = UNIT_FIELDS.index("tau_syn")


@dataclass(frozen=True, eq=False, repr=False)
class CudaSources(Brief):
    """``GridSources`` on the device: how a loss enters the adjoints of ``width`` columns.

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


@dataclass(frozen=True, eq=False, repr=False)
class CudaGradients(Brief):
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


def pull_back(
    batch: CudaBatch, drive: CudaSources, *, time_constants: bool = False, events: bool = False
) -> CudaGradients:
    """Gradients by everything; by time constants and input events only if asked for."""
    with batch.kernels.memory_for(_bytes(batch, time_constants), "pulling back"):
        gradients = _no_gradients(batch, events)
        sweep = Sweep(batch, drive, gradients, time_constants)
        for component, adjoint in sweep.adjoints():
            for connection in (*component.outer, *component.inner):
                sweep.gather(component, connection, adjoint)
                if events and connection.source_component < 0:
                    sweep.add_slopes(component, connection, adjoint, gradients.events)
    return gradients


def adjoints(batch: CudaBatch, drive: CudaSources, index: int) -> Any:
    """lambda_V and lambda_I of a component, (batch, steps + 1, columns, 2)."""
    with batch.kernels.memory_for(_bytes(batch, time_constants=False), "pulling back"):
        sweep = Sweep(batch, drive, _no_gradients(batch, events=False), time_constants=False)
        for component, adjoint in sweep.adjoints():
            if component.index == index:
                return adjoint
        zeros = batch.new(batch.network.components[index], 2)
        zeros[...] = 0  # nobody reads these units
        return zeros


def _no_gradients(batch: CudaBatch, events: bool) -> CudaGradients:
    zeros = batch.cupy.zeros
    columns, pairs = batch.network.unit_of.size, batch.network.pairs
    return CudaGradients(
        weight=zeros(pairs, batch.real),
        delay=zeros(pairs, batch.real),
        threshold=zeros(columns, np.float64),
        tau_mem=zeros(columns, np.float64),
        tau_syn=zeros(columns, np.float64),
        events=zeros(batch.inputs.step.shape, batch.real) if events else None,
        limited=zeros(1, np.uint64),
        grazing=batch.cupy.full(1, NONE, np.uint64),
    )


def _bytes(batch: CudaBatch, time_constants: bool) -> int:
    """About how much the adjoints of all components take, and their states if they are needed."""
    slots = sum(batch.slots(component) for component in batch.network.components)
    return (5 if time_constants else 2) * slots * batch.real.itemsize


@dataclass(eq=False, repr=False)
class Sweep(Brief):
    """One way through a batch backward, that adds to ``gradients``."""

    batch: CudaBatch
    drive: CudaSources
    gradients: CudaGradients
    time_constants: bool

    def __post_init__(self) -> None:
        self.kernels = self.batch.kernels
        self.empty, self.real = self.batch.cupy.empty, self.batch.real

    def adjoints(self) -> Iterator[tuple[CudaComponent, Any]]:
        """The adjoints of components; adds what comes per unit, not what comes per synapse."""
        components = self.batch.network.components
        begun: dict[int, Any] = {}
        for component in reversed(components):
            index = component.index
            if not component.spiking and index != self.drive.component:
                continue
            adjoint = begun.pop(index) if index in begun else self._begin(component)
            self._integrate(component, adjoint)
            yield component, adjoint
            for connection in component.outer:
                source = connection.source_component
                if source >= 0:
                    if source not in begun:
                        begun[source] = self._begin(components[source])
                    self.add_slopes(component, connection, adjoint, begun[source])

    def _begin(self, component: CudaComponent) -> Any:
        """An array of adjoints that holds the direct slopes of emissions."""
        adjoint = self.batch.new(component, 2)
        if component.spiking:
            sizes = self.batch.sizes_of(component)
            arguments = *sizes, self.batch.emitted[component.index], adjoint
            count = int(np.prod(self.batch.word_shape(component)))
            self.kernels.launch_each("begin_slopes", count, arguments)
        if self.drive.slopes is not None and component.index == self.drive.component:
            count = self.drive.slopes.size
            direct = np.int64(count), self.drive.slope_places, self.drive.slopes, adjoint
            self.kernels.launch_each("add_direct_slopes", count, direct)
        return adjoint

    def _integrate(self, component: CudaComponent, adjoint: Any) -> None:
        """Run a component's backward time loop, and sum over samples what comes per unit."""
        index = component.index
        shape = self.batch.inputs.batch, component.columns
        kinds = 3 if self.time_constants else 1
        by_unit = [self.empty(shape, np.float64) for _ in range(kinds)]
        states = self.batch.states(index, 0, component.columns) if self.time_constants else None
        arrays = (
            adjoint, by_unit[0], by_unit[kinds // 2], by_unit[-1],
            self.gradients.limited, self.gradients.grazing, np.int32(self.time_constants),
            self.batch.parameters.slopes[index], adjoint if states is None else states,
            *self._entering(component),
        )  # fmt: skip
        of_units = (
            np.int32(component.columns), np.int32(self.batch.network.units),
            *self.batch.units_of(index), component.unit_of, self.drive.rate_jump,
            self.real.type(self.drive.limit),
        )  # fmt: skip
        emitted = self.batch.emitted.get(index, self.batch.nothing(np.uint32))
        current = self.batch.current.get(index, self.batch.nothing(self.real))
        if component.recurrent:
            threads, shared = self.kernels.recurrent_block(component.columns, BACKWARD_CELL)
            arguments = (
                self.batch.sizes[1], *of_units, emitted, self.batch.delivered[index], current,
                *self.batch.inner_of(component), *arrays,
            )  # fmt: skip
            self.kernels.launch(
                "adjoint_recurrent", self.batch.inputs.batch, threads, arguments, shared
            )
        else:
            arguments = (
                *self.batch.sizes, *of_units, np.int32(component.spiking), emitted, current,
                *arrays,
            )  # fmt: skip
            count = self.batch.inputs.batch * component.columns
            self.kernels.launch_each("adjoint_layer", count, arguments)
        totals = self.gradients.threshold, self.gradients.tau_mem, self.gradients.tau_syn
        for values, total in zip(by_unit, totals, strict=False):
            own = total[component.first : component.first + component.columns]
            sizes = np.int32(self.batch.inputs.batch), np.int32(component.columns)
            self.kernels.launch_each("sum_samples", component.columns, (*sizes, values, own))

    def _entering(self, component: CudaComponent) -> tuple[Any, ...]:
        """How the loss enters a component's adjoints, as the kernels are given it."""
        drive = self.drive
        real, nothing = self.batch.nothing(self.real), self.batch.nothing(np.int32)
        if component.index != drive.component:
            start = self.batch.cupy.zeros(self.batch.inputs.batch + 1, np.int64)
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

    def add_slopes(
        self, component: CudaComponent, connection: CudaConnection, adjoint: Any, slopes: Any
    ) -> None:
        """Add what a connection's arrivals say of the times of its source's spikes."""
        arguments = (
            *self.batch.sizes_of(component),
            np.int32(connection.source_units), np.int32(connection.target_column),
            np.int32(connection.target_units), np.int64(connection.first),
            self.batch.parameters.weight, self.batch.parameters.delay, adjoint,
            *self.batch.source_of(connection), slopes,
        )  # fmt: skip
        of_inputs = connection.source_component < 0
        name = "slopes_of_inputs" if of_inputs else "slopes_of_emissions"
        self.kernels.launch_each(
            name, 32 * self.batch.inputs.batch * connection.source_units, arguments
        )

    def gather(self, component: CudaComponent, connection: CudaConnection, adjoint: Any) -> None:
        """Sum a connection's gradients, first chunk by chunk of samples, then over chunks."""
        # So many samples in a chunk, and so the order of the sum, is a function of the batch alone.
        chunk = max(16, -(-self.batch.inputs.batch // 64))
        chunks = -(-self.batch.inputs.batch // chunk)
        window = self.kernels.gathering_window(self.batch.steps)
        threads = min(512, -(-connection.source_units // 32) * 32)
        partial = self.empty((chunks, connection.size, 2), self.real)
        sizes = (
            np.int32(connection.source_units), np.int32(connection.target_column),
            np.int32(connection.target_units), np.int64(connection.first),
        )  # fmt: skip
        arguments = (
            *self.batch.sizes_of(component), *sizes,
            self.batch.parameters.delay, adjoint, np.int32(chunk), np.int32(window), partial,
            *self.batch.source_of(connection),
        )  # fmt: skip
        of_inputs = connection.source_component < 0
        name = "gather_of_inputs" if of_inputs else "gather_of_emissions"
        tiles = -(-connection.target_units // GATHERED_TARGETS)
        blocks = tiles * -(-connection.source_units // threads) * chunks
        shared = window * GATHERED_TARGETS * 2 * self.real.itemsize
        self.kernels.launch(name, blocks, threads, arguments, shared)
        finish = (
            *sizes, self.batch.parameters.weight, self.batch.units_of(component.index)[0][TAU_SYN],
            np.int32(chunks), partial, self.gradients.weight, self.gradients.delay,
        )  # fmt: skip
        self.kernels.launch_each("finish_synapses", connection.size, finish)
