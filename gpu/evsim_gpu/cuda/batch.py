"""A batch on a CUDA device: from input spikes to emissions and readouts.

Everything here is on the device, and nothing waits for it: arrays come in and go out as CuPy's,
so that training can go from batch to batch without the host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim.engines.protocol import EngineError
from evsim_gpu.cuda.launching import FORWARD_CELL, MOST_STEPS, Kernels
from evsim_gpu.cuda.network import CudaComponent, CudaConnection, CudaNetwork, CudaParameters

NONE = np.uint64(2**64 - 1)  # what stays where a kernel seeks the first of something


@dataclass(frozen=True, eq=False, repr=False)
class CudaInputs(Brief):
    """``GridInputs`` on the device, and the keys of dropout, uint64, (batch,)."""

    step: Any
    start: Any
    batch: int
    keys: Any


@dataclass(eq=False, repr=False)
class CudaBatch(Brief):
    """A simulated batch.

    ``current``, ``emitted`` and ``delivered`` hold the arrays of each spiking component,
    ``current`` also those of integrators that were read;
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
        self.cupy = self.kernels.cupy
        self.real = self.kernels.precision
        self.sizes = np.int32(self.inputs.batch), np.int32(self.steps)
        self._drops = self.parameters.drop_rate is not None
        self._drop_rate = self.parameters.drop_rate if self._drops else self.nothing(np.float64)
        self._step = self.inputs.step
        spiking = [c for c in self.network.components if c.spiking]
        with self.kernels.memory_for(sum(map(self.forward_bytes, spiking)), "simulating the batch"):
            self.overflow = self.cupy.full(1, NONE, np.uint64)
            if self._drops:
                self._drop_inputs()
            for component in spiking:
                self._integrate(component)

    # -- memory ------------------------------------------------------------------------------

    def slots(self, component: CudaComponent) -> int:
        """How many grid points of units a component has."""
        return self.inputs.batch * (self.steps + 1) * component.columns

    def sizes_of(self, component: CudaComponent) -> tuple[np.int32, ...]:
        """Samples, steps and columns, as the kernels are given them."""
        return *self.sizes, np.int32(component.columns)

    def word_shape(self, component: CudaComponent) -> tuple[int, int, int]:
        """The shape of a component's words of bits."""
        return self.inputs.batch, self.steps // 32 + 1, component.columns

    def forward_bytes(self, component: CudaComponent) -> int:
        """Bytes of a component's arrays that stay after the forward pass."""
        return self.slots(component) * self.real.itemsize + self.slots(component) // 4

    def new(self, component: CudaComponent, *numbers: int) -> Any:
        """An array with so many numbers for each grid point of each unit, or one."""
        shape = self.inputs.batch, self.steps + 1, component.columns, *numbers
        return self.cupy.empty(shape, self.real)

    def nothing(self, dtype: Any) -> Any:
        """An array that a kernel takes but does not read."""
        return self.cupy.empty(0, dtype)

    # -- forward -----------------------------------------------------------------------------

    def _drop_inputs(self) -> None:
        self._step = self.cupy.empty(self.inputs.step.shape, np.int32)
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
        make = self.cupy.zeros if component.recurrent else self.cupy.empty
        emitted, delivered = (make(self.word_shape(component), np.uint32) for _ in range(2))
        index = component.index
        of_units = (
            np.int32(component.columns), np.int32(component.first),
            np.int32(self.network.unit_of.size), *self.units_of(index), component.unit_of,
            self.inputs.keys, self._drop_rate, np.int32(self._drops),
        )  # fmt: skip
        results = current, emitted, delivered, self.overflow
        if component.recurrent:
            threads, shared = self.kernels.recurrent_block(component.columns, FORWARD_CELL)
            arguments = (np.int32(self.steps), *of_units, *self.inner_of(component), *results)
            self.kernels.launch(
                "integrate_recurrent", self.inputs.batch, threads, arguments, shared
            )
        else:
            count = self.inputs.batch * component.columns
            self.kernels.launch_each("integrate_layer", count, (*self.sizes, *of_units, *results))
        self.current[index], self.emitted[index] = current, emitted
        self.delivered[index] = delivered

    def units_of(self, index: int) -> tuple[Any, Any]:
        """A component's coefficients, as the kernels are given them."""
        return self.parameters.units[index], self.parameters.refractory[index]

    def inner_of(self, component: CudaComponent) -> tuple[Any, ...]:
        """The connections inside a component, as the kernels are given them."""
        return (
            np.int32(len(component.inner)), component.places, self.parameters.weight,
            self.parameters.delay,
        )  # fmt: skip

    def arrivals(self, component: CudaComponent, connections: tuple[CudaConnection, ...]) -> Any:
        """The summed weights of the arrivals through some connections at each step."""
        current = self.new(component)
        # The first connection sets what the others add to, if it reaches all columns.
        sets = bool(connections) and connections[0].target_units == component.columns
        if not sets:
            current[...] = 0
        for number, connection in enumerate(connections):
            self._collect(component, connection, sets and number == 0, current)
        return current

    def _collect(
        self, component: CudaComponent, connection: CudaConnection, sets: bool, current: Any
    ) -> None:
        window = self.kernels.collecting_window(self.steps)
        tiles, windows = -(-connection.target_units // 32), self.steps // window + 1
        arguments = (
            np.int32(self.steps), np.int32(component.columns), np.int32(connection.source_units),
            np.int32(connection.target_column), np.int32(connection.target_units),
            np.int64(connection.first), self.parameters.weight, self.parameters.delay,
            np.int32(window), np.int32(sets), current, *self.source_of(connection),
        )  # fmt: skip
        name = "collect_inputs" if connection.source_component < 0 else "collect_delivered"
        shared = window * 32 * self.real.itemsize
        self.kernels.launch(name, tiles * windows * self.inputs.batch, 32, arguments, shared)

    def source_of(self, connection: CudaConnection) -> tuple[Any, ...]:
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
        with self._reading(index, int(np.prod(shape)) * self.real.itemsize):
            states = self.cupy.empty(shape, self.real)
            self._replay("write_states", index, first, width, states)
        return states

    def mean(self, index: int, first: int, width: int, f: Any, g: Any, form: Any) -> Any:
        """A weighted mean, (batch, width)."""
        with self._reading(index, 0):
            values = self.cupy.empty((self.inputs.batch, width), self.real)
            self._replay("read_means", index, first, width, f, g, form, values)
        return values

    def peak(self, index: int, first: int, width: int) -> tuple[Any, Any]:
        """The largest V over all grid points, and the first with it, each (batch, width)."""
        with self._reading(index, 0):
            values = self.cupy.empty((self.inputs.batch, width), self.real)
            at = self.cupy.empty((self.inputs.batch, width), np.int32)
            self._replay("read_peaks", index, first, width, values, at)
        return values, at

    def _reading(self, index: int, more: int) -> Any:
        needed = self.slots(self.network.components[index]) * self.real.itemsize + more
        return self.kernels.memory_for(needed, "reading voltages")

    def _replay(self, name: str, index: int, first: int, width: int, *arrays: Any) -> None:
        component = self.network.components[index]
        current = self._arrivals_alone(component)
        arguments = (
            *self.sizes_of(component), np.int32(first), np.int32(width), *self.units_of(index),
            current, self.emitted.get(index, self.nothing(np.uint32)),
            np.int32(component.spiking), *arrays,
        )  # fmt: skip
        self.kernels.launch_each(name, self.inputs.batch * width, arguments)

    def _arrivals_alone(self, component: CudaComponent) -> Any:
        """A component's currents; those of integrators are kept for the next time.

        After the forward pass a spiking component's own array holds more than arrivals.
        """
        if not component.spiking and component.index in self.current:
            return self.current[component.index]
        current = self.arrivals(component, (*component.outer, *component.inner))
        if not component.spiking:
            self.current[component.index] = current
        return current

    def take(self, index: int, places: Any) -> Any:
        """Numbers at places (int64) of a spiking component's ``current``."""
        values = self.cupy.empty(places.size, self.real)
        arguments = np.int64(places.size), places, self.current[index], values
        self.kernels.launch_each("take", places.size, arguments)
        return values
