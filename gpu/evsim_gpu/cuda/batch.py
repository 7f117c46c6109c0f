"""A batch on a CUDA device, forward: from input spikes to emissions and readouts.

All data stay on the device, and no function waits for the device: arrays come in and go out as
CuPy's, so that training goes from batch to batch without the host.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from evsim.display.short_repr import Brief
from evsim.engines.protocol import EngineError
from evsim_gpu.cuda.launching import FORWARD_CELL, STEP_LIMIT, Kernels
from evsim_gpu.cuda.network import CudaComponent, CudaConnection, CudaNetwork, CudaParameters

NOTHING_FOUND = np.uint64(2**64 - 1)
"""The initial value of a minimum, as in the kernels; it remains if nothing was found."""


@dataclass(frozen=True, eq=False, repr=False)
class CudaInputs(Brief):
    """``GridInputs`` on the device, and the dropout key of each sample, uint64, (batch,)."""

    step: Any
    start: Any
    batch: int
    keys: Any


@dataclass(eq=False, repr=False)
class CudaBatch(Brief):
    """A simulated batch.

    Attributes
    ----------
    current : dict of reals, (batch, steps + 1, columns), by component
        For a spiking component: the threshold excess at each emission, I at each end of a
        refractory period, and the summed weights of arrivals elsewhere.  For a component that does
        not spike: these sums everywhere, once the component has been read.
    emitted, delivered : dicts of uint32, (batch, words, columns), by spiking component
        Emissions as bits, and those that dropout does not drop.
    overflow : uint64, (1,)
        The first ``sample * columns of all components + column`` whose current is not finite at
        the end of the trial, or ``NOTHING_FOUND``.
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
        if self.steps > STEP_LIMIT:
            raise EngineError(f"{self.steps} steps are too many for the GPU: use a longer dt")
        self.cupy = self.kernels.cupy
        self.real = self.kernels.precision
        self._drops = self.parameters.drop_rate is not None
        self._drop_rate = self.parameters.drop_rate if self._drops else self.unread(np.float64)
        self._kept_step = self.inputs.step
        spiking = [c for c in self.network.components if c.spiking]
        with self.kernels.memory_for(sum(map(self.forward_bytes, spiking)), "simulating the batch"):
            self.overflow = self.cupy.full(1, NOTHING_FOUND, np.uint64)
            if self._drops:
                self._drop_inputs()
            for component in spiking:
                self._integrate(component)

    # -- memory ------------------------------------------------------------------------------

    def grid_size(self, component: CudaComponent) -> int:
        """The number of entries of a component's arrays: samples times grid points times units."""
        return self.inputs.batch * (self.steps + 1) * component.columns

    def word_shape(self, component: CudaComponent) -> tuple[int, int, int]:
        """The shape of a component's words of bits."""
        return self.inputs.batch, self.steps // 32 + 1, component.columns

    def forward_bytes(self, component: CudaComponent) -> int:
        """The bytes of a component's arrays that remain after the forward pass."""
        return self.grid_size(component) * self.real.itemsize + self.grid_size(component) // 4

    def empty_grid(self, component: CudaComponent, *numbers: int) -> Any:
        """An array of one real, or of ``numbers`` reals, per entry of a component."""
        shape = self.inputs.batch, self.steps + 1, component.columns, *numbers
        return self.cupy.empty(shape, self.real)

    def unread(self, dtype: DTypeLike) -> Any:
        """An empty array for a parameter that a kernel does not read."""
        return self.cupy.empty(0, dtype)

    # -- arguments of kernels ----------------------------------------------------------------

    @property
    def batch_arguments(self) -> tuple[np.int32, np.int32]:
        """Samples and steps."""
        return np.int32(self.inputs.batch), np.int32(self.steps)

    def size_arguments(self, component: CudaComponent) -> tuple[np.int32, ...]:
        """Samples, steps and columns."""
        return *self.batch_arguments, np.int32(component.columns)

    def coefficient_arguments(self, index: int) -> tuple[Any, Any]:
        """The coefficients and refractory periods of a component's units."""
        return self.parameters.coefficients[index], self.parameters.refractory[index]

    def internal_arguments(self, component: CudaComponent) -> tuple[Any, ...]:
        """The connections inside a component."""
        return (
            np.int32(len(component.internal)), component.connection_table,
            self.parameters.weight, self.parameters.delay,
        )  # fmt: skip

    def source_arguments(self, connection: CudaConnection) -> tuple[Any, ...]:
        """The spikes of a connection's source: ``InputSpikes`` or ``DeliveredSpikes``."""
        source = connection.source_component
        if connection.is_from_input:
            first = np.int32(connection.source_first)
            return self._kept_step, self.inputs.start, np.int32(self.network.units), first
        columns = self.network.components[source].columns
        return self.delivered[source], np.int32(columns), np.int32(connection.source_column)

    # -- forward -----------------------------------------------------------------------------

    def _drop_inputs(self) -> None:
        self._kept_step = self.cupy.empty(self.inputs.step.shape, np.int32)
        arguments = (
            np.int32(self.inputs.batch), np.int32(self.network.units), self.inputs.step,
            self.inputs.start, self.inputs.keys, self._drop_rate, self._kept_step,
        )  # fmt: skip
        self.kernels.launch_each("drop_inputs", self.inputs.batch * self.network.units, arguments)

    @property
    def kept_inputs(self) -> Any:
        """The steps of input spikes, int32; ``~step`` for those that dropout drops."""
        return self._kept_step

    def _integrate(self, component: CudaComponent) -> None:
        """Run the forward time loop of a spiking component."""
        current = self.arrivals(component, component.external)
        make = self.cupy.zeros if component.recurrent else self.cupy.empty
        emitted, delivered = (make(self.word_shape(component), np.uint32) for _ in range(2))
        index = component.index
        unit_arguments = (
            np.int32(component.columns), np.int32(component.first_column),
            np.int32(self.network.columns), *self.coefficient_arguments(index),
            component.unit_of_column, self.inputs.keys, self._drop_rate, np.int32(self._drops),
        )  # fmt: skip
        results = current, emitted, delivered, self.overflow
        if component.recurrent:
            threads, shared = self.kernels.recurrent_block(component.columns, FORWARD_CELL)
            arguments = (
                np.int32(self.steps), *unit_arguments, *self.internal_arguments(component),
                *results,
            )  # fmt: skip
            self.kernels.launch(
                "integrate_recurrent", self.inputs.batch, threads, arguments, shared
            )
        else:
            count = self.inputs.batch * component.columns
            self.kernels.launch_each(
                "integrate_layer", count, (*self.batch_arguments, *unit_arguments, *results)
            )
        self.current[index], self.emitted[index] = current, emitted
        self.delivered[index] = delivered

    def arrivals(self, component: CudaComponent, connections: tuple[CudaConnection, ...]) -> Any:
        """The summed weights of the arrivals through some connections, per entry."""
        current = self.empty_grid(component)
        # The first connection writes its sums instead of adding them, if it leads to all columns.
        overwrites = bool(connections) and connections[0].target_units == component.columns
        if not overwrites:
            current[...] = 0
        for number, connection in enumerate(connections):
            self._add_arrivals(component, connection, overwrites and number == 0, current)
        return current

    def _add_arrivals(
        self, component: CudaComponent, connection: CudaConnection, is_first: bool, current: Any
    ) -> None:
        window = self.kernels.arrival_window(self.steps)
        tiles, windows = -(-connection.target_units // 32), self.steps // window + 1
        arguments = (
            np.int32(self.steps), np.int32(component.columns), np.int32(connection.source_units),
            np.int32(connection.target_column), np.int32(connection.target_units),
            np.int64(connection.first_synapse), self.parameters.weight, self.parameters.delay,
            np.int32(window), np.int32(is_first), current, *self.source_arguments(connection),
        )  # fmt: skip
        source = "inputs" if connection.is_from_input else "emissions"
        blocks, shared = tiles * windows * self.inputs.batch, window * 32 * self.real.itemsize
        self.kernels.launch(f"add_arrivals_of_{source}", blocks, 32, arguments, shared)

    # -- readouts ----------------------------------------------------------------------------

    def states(self, index: int, first: int, width: int) -> Any:
        """V and I of some columns at every grid point, (batch, steps + 1, width, 2)."""
        shape = self.inputs.batch, self.steps + 1, width, 2
        with self._memory_for_reading(index, int(np.prod(shape)) * self.real.itemsize):
            states = self.cupy.empty(shape, self.real)
            self._read("write_states", index, first, width, states)
        return states

    def mean(self, index: int, first: int, width: int, f: Any, g: Any, form: Any) -> Any:
        """A weighted mean of V, (batch, width); see ``MeanForm``."""
        with self._memory_for_reading(index):
            values = self.cupy.empty((self.inputs.batch, width), self.real)
            self._read("read_means", index, first, width, f, g, form, values)
        return values

    def peak(self, index: int, first: int, width: int) -> tuple[Any, Any, Any]:
        """The largest V over all grid points, the first step with it, and the share of arrivals.

        Each has shape (batch, width).  The share is that of ``GridSources.peak_share``.
        """
        shape = self.inputs.batch, width
        with self._memory_for_reading(index):
            values, share = (self.cupy.empty(shape, self.real) for _ in range(2))
            step = self.cupy.empty(shape, np.int32)
            self._read("read_peaks", index, first, width, values, step, share)
        return values, step, share

    def threshold_excess(self, index: int, entries: Any) -> Any:
        """The threshold excess of emissions at these entries of a spiking component, int64."""
        values = self.cupy.empty(entries.size, self.real)
        arguments = np.int64(entries.size), entries, self.current[index], values
        self.kernels.launch_each("read_threshold_excess", entries.size, arguments)
        return values

    def _memory_for_reading(self, index: int, extra: int = 0) -> AbstractContextManager[None]:
        needed = self.grid_size(self.network.components[index]) * self.real.itemsize + extra
        return self.kernels.memory_for(needed, "reading voltages")

    def _read(self, kernel: str, index: int, first: int, width: int, *arrays: Any) -> None:
        component = self.network.components[index]
        current = self._arrivals_alone(component)
        arguments = (
            *self.size_arguments(component), np.int32(first), np.int32(width),
            *self.coefficient_arguments(index), current,
            self.emitted.get(index, self.unread(np.uint32)), np.int32(component.spiking), *arrays,
        )  # fmt: skip
        self.kernels.launch_each(kernel, self.inputs.batch * width, arguments)

    def _arrivals_alone(self, component: CudaComponent) -> Any:
        """The arrivals of a component; those of a component that does not spike are kept.

        After the forward pass, ``current`` of a spiking component contains more than arrivals.
        """
        if not component.spiking and component.index in self.current:
            return self.current[component.index]
        current = self.arrivals(component, component.connections)
        if not component.spiking:
            self.current[component.index] = current
        return current
