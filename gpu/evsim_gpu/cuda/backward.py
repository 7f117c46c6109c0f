"""A batch on a CUDA device, backward: its adjoints and the gradients that follow from them.

Components are processed last to first, the steps of each from the end of the trial to its start;
see the kernels in ``backward.cu``, ``spike_time_gradients.cu`` and ``parameter_gradients.cu``.  As
in ``batch``, all data stay on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim_gpu.cuda.batch import NOTHING_FOUND, CudaBatch
from evsim_gpu.cuda.launching import BACKWARD_CELL, TARGETS_PER_BLOCK
from evsim_gpu.cuda.network import CudaComponent, CudaConnection
from evsim_gpu.model.coefficients import UNIT_FIELDS

TAU_SYN = UNIT_FIELDS.index("tau_syn")


@dataclass(frozen=True, eq=False, repr=False)
class CudaSources(Brief):
    """``GridSources`` on the device: how a loss enters the adjoints of the units that it reads.

    All arrays are on the device, and of reals unless another type is given.  None means that the
    loss does not have this part.

    Parameters
    ----------
    component, first, width : int
        The loss reads the columns ``first`` to ``first + width - 1`` of this component.
    rate_jump : shape (units of all populations,)
        Subtracted from lambda_V before each emission.
    moment_step, moment_start : int32 (moments,), int64 (batch + 1,)
        Grid points, ascending in each sample, at which the adjoints jump.
    moment_lambda_v, moment_lambda_i : shape (moments, width)
        How much smaller lambda_V and lambda_I are before these grid points.
    limit : float
        The largest |lambda_V| before an emission.
    f, g, form : shapes (steps,), (steps,) and (4, width)
        For a mean: its weights per step, and P, Q, R and U of ``MeanForm``.
    peak_step : int32, shape (batch, width)
        The step at which V peaks; 0 for no peak.
    peak_share : shape (batch, width)
        The share of lambda_V's jump at the peak that applies to arrivals at its step.
    cotangents : shape (batch, width)
        The cotangents of the mean or of the peak.
    phantom : shape (batch, width)
        lambda_V at the end of the trial.
    emission_entries, spike_time_gradient : int64 and reals, shape (emissions,)
        What the loss contributes directly to S_k of the emissions at these entries of the
        component's arrays.  An entry below 0 stands for no emission.
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
    peak_share: Any = None
    cotangents: Any = None
    phantom: Any = None
    emission_entries: Any = None
    spike_time_gradient: Any = None


@dataclass(frozen=True, eq=False, repr=False)
class CudaGradients(Brief):
    """Gradients summed over the batch, on the device.

    Parameters
    ----------
    weight, delay : reals, shape (dense synapses,)
    threshold, reset, start, tau_mem, tau_syn : float64, shape (columns of all components,)
        The first three are voltages measured from rest.
    events : reals, shape (input spikes,), or None
        Gradients with respect to the times of the input spikes.
    limited : uint64, shape (1,)
        How many emissions had their lambda_V limited.
    grazing : uint64, shape (1,)
        The first emission with a threshold excess that is not > 0 and no limit, by
        ``emission_rank`` of kernels/adjoint.cuh, or ``NOTHING_FOUND``.
    """

    weight: Any
    delay: Any
    threshold: Any
    reset: Any
    start: Any
    tau_mem: Any
    tau_syn: Any
    events: Any
    limited: Any
    grazing: Any


def pull_back(
    batch: CudaBatch, sources: CudaSources, *, time_constants: bool = False, events: bool = False
) -> CudaGradients:
    """The gradients with respect to all parameters.

    Those with respect to time constants and input times are computed only on request.
    """
    with batch.kernels.memory_for(_bytes(batch, time_constants), "pulling back"):
        gradients = _zero_gradients(batch, events)
        backward = BackwardPass(batch, sources, gradients, time_constants)
        for component, adjoint in backward.adjoints():
            for connection in component.connections:
                backward.set_synapse_gradients(component, connection, adjoint)
                if events and connection.is_from_input:
                    backward.add_spike_time_gradients(
                        component, connection, adjoint, gradients.events
                    )
    return gradients


def adjoints(batch: CudaBatch, sources: CudaSources, index: int) -> Any:
    """lambda_V and lambda_I of a component, (batch, steps + 1, columns, 2)."""
    with batch.kernels.memory_for(_bytes(batch, time_constants=False), "pulling back"):
        gradients = _zero_gradients(batch, events=False)
        for component, adjoint in BackwardPass(batch, sources, gradients, False).adjoints():
            if component.index == index:
                return adjoint
        zeros = batch.empty_grid(batch.network.components[index], 2)
        zeros[...] = 0  # the loss does not depend on these units
        return zeros


def _zero_gradients(batch: CudaBatch, events: bool) -> CudaGradients:
    zeros = batch.cupy.zeros
    columns, synapses = batch.network.columns, batch.network.dense_synapses
    return CudaGradients(
        weight=zeros(synapses, batch.real),
        delay=zeros(synapses, batch.real),
        threshold=zeros(columns, np.float64),
        reset=zeros(columns, np.float64),
        start=zeros(columns, np.float64),
        tau_mem=zeros(columns, np.float64),
        tau_syn=zeros(columns, np.float64),
        events=zeros(batch.inputs.step.shape, batch.real) if events else None,
        limited=zeros(1, np.uint64),
        grazing=batch.cupy.full(1, NOTHING_FOUND, np.uint64),
    )


def _bytes(batch: CudaBatch, time_constants: bool) -> int:
    """The approximate memory for the adjoints of all components, and for states if needed."""
    entries = sum(batch.grid_size(component) for component in batch.network.components)
    return (5 if time_constants else 2) * entries * batch.real.itemsize


@dataclass(eq=False, repr=False)
class BackwardPass(Brief):
    """One backward pass through a batch; it adds to ``gradients``."""

    batch: CudaBatch
    sources: CudaSources
    gradients: CudaGradients
    time_constants: bool

    def __post_init__(self) -> None:
        self.kernels = self.batch.kernels
        self.empty, self.real = self.batch.cupy.empty, self.batch.real

    def adjoints(self) -> Iterator[tuple[CudaComponent, Any]]:
        """The adjoints of each component, last to first; sets the gradients of its units."""
        components = self.batch.network.components
        started: dict[int, Any] = {}
        for component in reversed(components):
            index = component.index
            if not component.spiking and index != self.sources.component:
                continue
            adjoint = started.pop(index) if index in started else self._start(component)
            self._integrate(component, adjoint)
            yield component, adjoint
            for connection in component.external:
                source = connection.source_component
                if not connection.is_from_input:
                    if source not in started:
                        started[source] = self._start(components[source])
                    self.add_spike_time_gradients(component, connection, adjoint, started[source])

    def _start(self, component: CudaComponent) -> Any:
        """A new array of adjoints, with the direct part of S_k at each emission."""
        adjoint = self.batch.empty_grid(component, 2)
        if component.spiking:
            sizes = self.batch.size_arguments(component)
            arguments = *sizes, self.batch.emitted[component.index], adjoint
            count = int(np.prod(self.batch.word_shape(component)))
            self.kernels.launch_each("clear_spike_time_gradients", count, arguments)
        sources = self.sources
        if sources.spike_time_gradient is not None and component.index == sources.component:
            count = sources.spike_time_gradient.size
            direct = np.int64(count), sources.emission_entries, sources.spike_time_gradient, adjoint
            self.kernels.launch_each("add_direct_spike_time_gradients", count, direct)
        return adjoint

    def _integrate(self, component: CudaComponent, adjoint: Any) -> None:
        """Run the backward time loop of a component and set the gradients of its units."""
        batch, index = self.batch, component.index
        shape = batch.inputs.batch, component.columns
        kinds = 5 if self.time_constants else 3  # threshold, reset, start, tau_mem, tau_syn
        by_sample = [self.empty(shape, np.float64) for _ in range(kinds)]
        time_constants = by_sample[3:] or [self.batch.unread(np.float64)] * 2
        states = batch.states(index, 0, component.columns) if self.time_constants else adjoint
        results = (
            adjoint, *by_sample[:3], *time_constants,
            self.gradients.limited, self.gradients.grazing, np.int32(self.time_constants),
            batch.parameters.time_constant_slopes[index], states,
            *self._source_arguments(component),
        )  # fmt: skip
        unit_arguments = (
            np.int32(component.columns), np.int32(batch.network.units),
            *batch.coefficient_arguments(index), component.unit_of_column, self.sources.rate_jump,
            self.real.type(self.sources.limit),
        )  # fmt: skip
        emitted = batch.emitted.get(index, batch.unread(np.uint32))
        current = batch.current.get(index, batch.unread(self.real))
        if component.recurrent:
            threads, shared = self.kernels.recurrent_block(component.columns, BACKWARD_CELL)
            arguments = (
                np.int32(batch.steps), *unit_arguments, emitted, batch.delivered[index], current,
                *batch.internal_arguments(component), *results,
            )  # fmt: skip
            self.kernels.launch("adjoint_recurrent", batch.inputs.batch, threads, arguments, shared)
        else:
            arguments = (
                *batch.batch_arguments, *unit_arguments, np.int32(component.spiking), emitted,
                current, *results,
            )  # fmt: skip
            count = batch.inputs.batch * component.columns
            self.kernels.launch_each("adjoint_layer", count, arguments)
        self._sum_samples(component, by_sample)

    def _sum_samples(self, component: CudaComponent, by_sample: list[Any]) -> None:
        """Sum the gradients of units over the samples, each (batch, columns)."""
        gradients = self.gradients
        totals = (
            gradients.threshold, gradients.reset, gradients.start, gradients.tau_mem,
            gradients.tau_syn,
        )  # fmt: skip
        columns = slice(component.first_column, component.first_column + component.columns)
        sizes = np.int32(self.batch.inputs.batch), np.int32(component.columns)
        for values, total in zip(by_sample, totals, strict=False):
            arguments = (*sizes, values, total[columns])
            self.kernels.launch_each("sum_samples", component.columns, arguments)

    def _source_arguments(self, component: CudaComponent) -> tuple[Any, ...]:
        """What the loss adds to a component's adjoints: ``ADJOINT_SOURCE_PARAMETERS``."""
        sources = self.sources
        reals, integers = self.batch.unread(self.real), self.batch.unread(np.int32)
        if component.index != sources.component:
            start = self.batch.cupy.zeros(self.batch.inputs.batch + 1, np.int64)
            return (
                np.int32(0), np.int32(0), np.int32(0), reals, reals, reals, reals, np.int32(0),
                integers, reals, np.int32(0), reals, integers, start, reals, reals,
            )  # fmt: skip
        has_mean = sources.f is not None
        f, g, form = (sources.f, sources.g, sources.form) if has_mean else (reals, reals, reals)
        return (
            np.int32(sources.first), np.int32(sources.width), np.int32(f.size), f, g, form,
            reals if sources.cotangents is None else sources.cotangents,
            np.int32(sources.peak_step is not None),
            integers if sources.peak_step is None else sources.peak_step,
            reals if sources.peak_share is None else sources.peak_share,
            np.int32(sources.phantom is not None),
            reals if sources.phantom is None else sources.phantom,
            sources.moment_step, sources.moment_start, sources.moment_lambda_v,
            sources.moment_lambda_i,
        )  # fmt: skip

    def add_spike_time_gradients(
        self, component: CudaComponent, connection: CudaConnection, adjoint: Any, gradients: Any
    ) -> None:
        """Add what the arrivals through a connection contribute to S_k of its source's spikes.

        ``gradients`` are those of input spikes, or the adjoints of the source component.
        """
        arguments = (
            *self.batch.size_arguments(component),
            np.int32(connection.source_units), np.int32(connection.target_column),
            np.int32(connection.target_units), np.int64(connection.first_synapse),
            self.batch.parameters.weight, self.batch.parameters.delay, adjoint,
            *self.batch.source_arguments(connection), gradients,
        )  # fmt: skip
        source = "inputs" if connection.is_from_input else "emissions"
        threads = 32 * self.batch.inputs.batch * connection.source_units
        self.kernels.launch_each(f"add_spike_time_gradients_of_{source}", threads, arguments)

    def set_synapse_gradients(
        self, component: CudaComponent, connection: CudaConnection, adjoint: Any
    ) -> None:
        """Set the gradients of a connection's synapses: sums over chunks of samples, then of these.

        The number of samples in a chunk, and so the order of the sum, depends only on the batch
        size.
        """
        batch = self.batch
        chunk_samples = max(16, -(-batch.inputs.batch // 64))
        chunks = -(-batch.inputs.batch // chunk_samples)
        window = self.kernels.gradient_window(batch.steps)
        threads = min(512, -(-connection.source_units // 32) * 32)
        chunk_sums = self.empty((chunks, connection.size, 2), self.real)
        sizes = (
            np.int32(connection.source_units), np.int32(connection.target_column),
            np.int32(connection.target_units), np.int64(connection.first_synapse),
        )  # fmt: skip
        arguments = (
            *batch.size_arguments(component), *sizes, batch.parameters.delay, adjoint,
            np.int32(chunk_samples), np.int32(window), chunk_sums,
            *batch.source_arguments(connection),
        )  # fmt: skip
        source = "inputs" if connection.is_from_input else "emissions"
        tiles = -(-connection.target_units // TARGETS_PER_BLOCK)
        blocks = tiles * -(-connection.source_units // threads) * chunks
        shared = window * TARGETS_PER_BLOCK * 2 * self.real.itemsize
        self.kernels.launch(f"sum_arrival_adjoints_of_{source}", blocks, threads, arguments, shared)
        tau_syn = batch.parameters.coefficients[component.index][TAU_SYN]
        arguments = (
            *sizes, batch.parameters.weight, tau_syn, np.int32(chunks), chunk_sums,
            self.gradients.weight, self.gradients.delay,
        )  # fmt: skip
        self.kernels.launch_each("synapse_gradients", connection.size, arguments)
