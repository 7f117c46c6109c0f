"""Trained parameters on the device: their values, the optimisers' states, and the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import is_sparse
from evsim.engines.rest import rest_of
from evsim.network.network import Network
from evsim.readouts import Mean, Peak
from evsim.training.optimisers import SGD, Adam, Bounds
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter
from evsim_gpu.cuda.backward import CudaGradients
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.cuda.network import CudaNetwork, CudaParameters
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.training.tally import EpochTally
from evsim_gpu.training.unit_parameters import UnitParameters

TRAINED_PARAMETER = np.dtype(
    [
        ("first_entry", np.int64),  # its first entry among the entries of all trained parameters
        ("size", np.int64),  # the number of its entries
        ("first_synapse_or_column", np.int64),  # its first dense synapse, or its first column
        ("first_trained_synapse", np.int64),  # counts the dense synapses of trained parameters only
        ("beta1", np.float64),  # of Adam, or the momentum of SGD
        ("beta2", np.float64),
        ("epsilon", np.float64),
        ("weight_decay", np.float64),
        ("clip", np.float64),  # the largest norm of its gradient
        ("low", np.float64, 2),  # bounds, applied one pair after the other
        ("high", np.float64, 2),
        ("source_units", np.int32),  # 1 for a parameter of units
        ("target_units", np.int32),
        ("rows", np.int32),  # of its shape: the target units, or 1 if they share an entry
        ("columns", np.int32),  # of its shape: the source units, or 1 if they share an entry
        ("kind", np.int32),  # index into KINDS
        ("method", np.int32),  # 0 SGD, 1 SGD with momentum, 2 Adam
        ("bounds", np.int32),  # the number of pairs of bounds
        ("first_block", np.int32),  # its first block of ``fold_gradients``
        ("blocks", np.int32),  # how many blocks sum its gradient
        ("padding", np.int32),
    ],
    align=True,
)
"""A trained parameter; kernels/training/trained_parameters.cuh has the same struct."""

KINDS = ("weight", "delay", "threshold", "tau_mem", "tau_syn")
SYNAPSE_KINDS = 2  # the first two kinds are of synapses
SUM_THREADS = 256  # threads of a block that sums, as in kernels/training/block_sum.cuh
ENTRIES_PER_BLOCK = 4 * SUM_THREADS


def unsupported_steps(task: Task) -> str | None:
    """Why the device cannot train the parameters of a task; None if it can."""
    readout = task.loss.readout
    population = readout.population_of(task.network)
    for name, optimizer in task.optimizers.items():
        owner, kind = name.rsplit(".", 1)
        if kind not in KINDS:
            return f"{name} is trained"
        if kind == "threshold" and _has_voltages(task.network, owner):
            return f"{name} is trained, and reset, rest or start of {owner!r} is not 0"
        if name in (f"{population}.tau_mem", f"{population}.tau_syn") and isinstance(readout, Mean):
            return f"{name} is trained, and the loss reads a mean of {population!r}"
        if type(optimizer) not in (Adam, SGD):
            return f"{name} is trained by {type(optimizer).__name__}"
        projections = task.projections[name]
        if any(type(each) is not Bounds for each in projections) or len(projections) > 2:
            return f"{name} is projected by a function"
    if isinstance(readout, Mean | Peak) and rest_of(task.network, population) is not None:
        return f"the loss reads V of {population!r}, whose rest is not 0"
    for connection in task.network.connections:
        if is_sparse(connection.weight):
            return f"the connection {connection.name!r} is sparse"
    return None


def _has_voltages(network: Network, population: str) -> bool:
    """Whether reset, rest or start of any of a population's units is not 0."""
    names = (f"{population}.{kind}" for kind in ("reset", "rest", "start"))
    return any(np.any(network.parameters[name]) for name in names if name in network.parameters)


class TrainingParameters:
    """The trained parameters of a task on the device, in float64 and in their shapes.

    Parameters
    ----------
    kernels : Kernels
        Of ``TRAINING_FILES``.
    layout : GridLayout
    network : CudaNetwork
    parameters : CudaParameters
        Those that simulations read; every step writes the trained ones.
    task : Task

    Attributes
    ----------
    records : records of TRAINED_PARAMETER, shape (trained parameters,), on the host
    records_on_device : uint8
        The bytes of ``records``.
    values, first_moment, second_moment, folded : float64, shape (entries,)
        Values, states of the optimisers, and gradients of the last batch.
    block_squares : float64, shape (blocks,)
        Sums of squares of the gradients.
    scale : float64, shape (trained parameters,)
        The factors that clip the gradients of the last batch.
    """

    def __init__(
        self,
        kernels: Kernels,
        layout: GridLayout,
        network: CudaNetwork,
        parameters: CudaParameters,
        task: Task,
    ) -> None:
        self.kernels, self.layout, self.parameters = kernels, layout, parameters
        self.records, block_entries = _records(layout, network, task)
        self.units = UnitParameters(kernels, layout, parameters, task, self.records)
        self.entries = int(self.records["size"].sum())
        self.blocks = len(block_entries)
        cupy = kernels.cupy
        with kernels.memory_for(5 * 8 * self.entries, "the parameters in training"):
            self.records_on_device = cupy.asarray(self.records.view(np.uint8))
            self.block_entries = cupy.asarray(block_entries)
            self.values, self.first_moment, self.second_moment, self.folded = (
                cupy.zeros(self.entries, np.float64) for _ in range(4)
            )
            self.block_squares = cupy.zeros(self.blocks, np.float64)
            self.scale = cupy.zeros(self.records.size, np.float64)
        self.rates: Any = None

    @property
    def _moments(self) -> dict[str, Any]:
        """The states of the optimisers, by their names on the host."""
        return {"first_moment": self.first_moment, "second_moment": self.second_moment}

    # -- between host and device -----------------------------------------------------------

    def upload(
        self, parameters: Sequence[TrainedParameter], rates: Sequence[Mapping[str, float]]
    ) -> None:
        """Copy values, states and the learning rates of an epoch's batches to the device."""
        self.values.set(_joined([parameter.values for parameter in parameters]))
        for name, array in self._moments.items():
            array.set(_joined([p.state.get(name, 0.0 * p.values) for p in parameters]))
        # The learning rate of each batch and parameter, and Adam's two bias corrections.
        table = np.ones((len(rates), len(parameters), 3))
        for number, parameter in enumerate(parameters):
            table[:, number, 0] = [rate[parameter.name] for rate in rates]
            optimizer = parameter.optimizer
            if isinstance(optimizer, Adam):
                steps = int(parameter.state["steps"])
                for batch in range(len(rates)):
                    table[batch, number, 1] -= optimizer.beta1 ** (steps + batch + 1)
                    table[batch, number, 2] -= optimizer.beta2 ** (steps + batch + 1)
        self.rates = self.kernels.cupy.asarray(table)
        self.write()

    def download(self, parameters: Sequence[TrainedParameter], steps: int) -> None:
        """Copy values and states to the host, after this number of steps."""
        values = self.split(self.values)
        moments = {name: self.split(array) for name, array in self._moments.items()}
        for number, parameter in enumerate(parameters):
            np.copyto(parameter.values, values[number].reshape(parameter.values.shape))
            for name, state in parameter.state.items():
                if name in moments:
                    np.copyto(state, moments[name][number].reshape(state.shape))
                else:
                    state += steps

    def split(self, array: Any) -> list[np.ndarray]:
        """The entries of each parameter, on the host."""
        return np.split(array.get(), self.records["first_entry"][1:])

    # -- a batch ---------------------------------------------------------------------------

    def fold(self, gradients: CudaGradients, tally: EpochTally) -> None:
        """Sum the gradients of a batch to the shapes of the parameters."""
        arguments = (
            self.records_on_device, self.block_entries, gradients.weight, gradients.delay,
            gradients.threshold, gradients.tau_mem, gradients.tau_syn, tally.status, self.folded,
            self.block_squares,
        )  # fmt: skip
        self.kernels.launch("fold_gradients", self.blocks, SUM_THREADS, arguments)

    def step(self, batch: int, tally: EpochTally) -> None:
        """Take a step of every optimiser, unless training has stopped."""
        arguments = (
            np.int64(self.entries), np.int32(self.records.size), self.records_on_device,
            self.rates[batch], self.scale, tally.status, self.folded, self.values,
            self.first_moment, self.second_moment, tally.failures,
        )  # fmt: skip
        self.kernels.launch_each("step_parameters", self.entries, arguments)
        self.write()

    def write(self) -> None:
        """Write the values to the parameters that simulations read."""
        synapses = int(_synapse_counts(self.records).sum())
        arguments = (
            np.int64(synapses), np.int32(self.records.size), self.records_on_device, self.values,
            np.float64(self.layout.dt), np.int32(self.layout.steps), self.parameters.weight,
            self.parameters.delay,
        )  # fmt: skip
        self.kernels.launch_each("write_synapses", synapses, arguments)
        self.units.write(self.values)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])


def _records(layout: GridLayout, network: CudaNetwork, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The record of each trained parameter, and the entries of each block of ``fold_gradients``."""
    records = np.zeros(len(task.optimizers), TRAINED_PARAMETER)
    for record, (name, optimizer) in zip(records, task.optimizers.items(), strict=True):
        _set_place(record, name, layout, network)
        record["size"] = task.network.parameters[name].size
        record["clip"], record["weight_decay"] = optimizer.clip, optimizer.weight_decay
        if isinstance(optimizer, Adam):
            record["method"], record["epsilon"] = 2, optimizer.epsilon
            record["beta1"], record["beta2"] = optimizer.beta1, optimizer.beta2
        elif isinstance(optimizer, SGD):
            record["method"], record["beta1"] = bool(optimizer.momentum), optimizer.momentum
        for number, bounds in enumerate(task.projections[name]):
            assert isinstance(bounds, Bounds)
            record["low"][number], record["high"][number] = bounds.low, bounds.high
            record["bounds"] = number + 1
    records["first_entry"] = np.cumsum(records["size"]) - records["size"]
    synapses = _synapse_counts(records)
    records["first_trained_synapse"] = np.cumsum(synapses) - synapses
    blocks = [_block_entries(number, record) for number, record in enumerate(records)]
    records["blocks"] = [len(rows) for rows in blocks]
    records["first_block"] = np.cumsum(records["blocks"]) - records["blocks"]
    return records, np.concatenate(blocks)


def _synapse_counts(records: np.ndarray) -> np.ndarray:
    """The number of dense synapses of each parameter; 0 for a parameter of units."""
    synapses = records["source_units"] * records["target_units"]
    return np.where(records["kind"] < SYNAPSE_KINDS, synapses, 0)


def _set_place(record: np.void, name: str, layout: GridLayout, network: CudaNetwork) -> None:
    """Set the dense synapses or columns of a parameter, and how they share its entries."""
    owner, kind = name.rsplit(".", 1)
    record["kind"] = KINDS.index(kind)
    shape = layout.network.parameters[name].shape
    if record["kind"] >= SYNAPSE_KINDS:
        component, first, last = layout.place(owner)
        record["first_synapse_or_column"] = network.components[component].first_column + first
        record["source_units"], record["target_units"] = 1, last - first
        record["rows"], record["columns"] = shape[0] if shape else 1, 1
        return
    index = [connection.name for connection in layout.network.connections].index(owner)
    cuda_connections = [c for component in network.components for c in component.connections]
    for grid, cuda in zip(layout.connections, cuda_connections, strict=True):
        if grid.index == index:
            record["first_synapse_or_column"] = cuda.first_synapse
            record["source_units"], record["target_units"] = cuda.source_units, cuda.target_units
    record["rows"], record["columns"] = shape or (1, 1)


def _block_entries(number: int, record: np.void) -> NDArray[np.int64]:
    """For each block: the parameter's number, its first entry and the entry after its last."""
    rows_shared = record["rows"] < record["target_units"]
    columns_shared = record["columns"] < record["source_units"]
    size = int(record["size"])
    entries = 1 if rows_shared or columns_shared else ENTRIES_PER_BLOCK
    firsts = np.arange(0, size, entries)
    lasts = np.minimum(firsts + entries, size)
    return np.stack([np.full(firsts.size, number), firsts, lasts], axis=1).astype(np.int64)
