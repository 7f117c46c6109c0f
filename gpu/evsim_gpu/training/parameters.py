"""Parameters in training on the device: values, optimisers' states, and their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evsim.arguments.checks import is_sparse
from evsim.readouts import Mean
from evsim.training.optimisers import SGD, Adam, Bounds
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter
from evsim_gpu.cuda.backward import CudaGradients
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.cuda.network import CudaNetwork, CudaParameters
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.training.tally import EpochTally
from evsim_gpu.training.units import UnitParameters

TRAINED = np.dtype(
    [
        ("first", np.int64),  # of its entries among those of all parameters
        ("size", np.int64),  # how many entries it has
        ("place", np.int64),  # of its first pair among all, or of its first unit among columns
        ("spread", np.int64),  # of its first pair among those of all trained weights and delays
        ("beta1", np.float64),  # or the momentum
        ("beta2", np.float64),
        ("epsilon", np.float64),
        ("weight_decay", np.float64),
        ("clip", np.float64),
        ("low", np.float64, 2),  # bounds, one pair after the other
        ("high", np.float64, 2),
        ("pre", np.int32),  # source units
        ("post", np.int32),  # target units
        ("rows", np.int32),  # of its shape: target units, or 1 if they share it
        ("columns", np.int32),  # of its shape: source units, or 1 if they share it
        ("kind", np.int32),  # of KINDS
        ("method", np.int32),  # 0 SGD, 1 with momentum, 2 Adam
        ("bounds", np.int32),  # how many pairs
        ("first_task", np.int32),  # of its tasks among all
        ("tasks", np.int32),  # how many tasks it has
        ("padding", np.int32),
    ],
    align=True,
)
"""A parameter in training, as kernels/optimisers.cu reads it."""

KINDS = ("weight", "delay", "threshold", "tau_mem", "tau_syn")
FOLDERS = 256  # threads of a block that sums, as in the kernels
CHUNK = 4 * FOLDERS  # entries of a task


def obstacle_to_steps(task: Task) -> str | None:
    """What of a task's parameters and optimisers is not known on the device."""
    readout = task.loss.readout
    read = readout.population_of(task.network)
    for name, optimizer in task.optimizers.items():
        if name in (f"{read}.tau_mem", f"{read}.tau_syn") and isinstance(readout, Mean):
            return f"{name} is trained, and the loss reads a mean of {read!r}"
        if type(optimizer) not in (Adam, SGD):
            return f"{name} is trained by {type(optimizer).__name__}"
        chain = task.projections[name]
        if any(type(projection) is not Bounds for projection in chain) or len(chain) > 2:
            return f"{name} is projected by a function"
    for connection in task.network.connections:
        if is_sparse(connection.weight):
            return f"the connection {connection.name!r} is sparse"
    return None


class TrainingParameters:
    """The trained parameters of a task on the device, in float64 and their own shapes.

    Parameters
    ----------
    kernels : Kernels
        Those of training.
    layout : GridLayout
    network : CudaNetwork
    parameters : CudaParameters
        What simulations read; ``spread`` renews what is trained.
    task : Task
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
        self.records, tasks = _records(layout, network, task)
        self.units = UnitParameters(kernels, layout, parameters, task, self.records)
        self.entries = int(self.records["size"].sum())
        self.blocks = len(tasks)
        cupy = kernels.cupy
        with kernels.memory_for(5 * 8 * self.entries, "the parameters in training"):
            self.trained = cupy.asarray(self.records.view(np.uint8))
            self.tasks = cupy.asarray(tasks)
            self.values, self.first, self.second, self.folded = (
                cupy.zeros(self.entries, np.float64) for _ in range(4)
            )
            self.partial = cupy.zeros(self.blocks, np.float64)
            self.scale = cupy.zeros(self.records.size, np.float64)
        self.rates: Any = None

    # -- between host and device -----------------------------------------------------------

    def upload(
        self, parameters: Sequence[TrainedParameter], rates: Sequence[Mapping[str, float]]
    ) -> None:
        """Bring values, states and an epoch's learning rates to the device."""
        self.values.set(_joined([parameter.values for parameter in parameters]))
        for array, name in ((self.first, "first_moment"), (self.second, "second_moment")):
            zeros = [parameter.state.get(name, 0.0 * parameter.values) for parameter in parameters]
            array.set(_joined(zeros))
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
        self.spread()

    def download(self, parameters: Sequence[TrainedParameter], steps: int) -> None:
        """Bring values and states back, after so many steps."""
        parts = {"first_moment": self.first, "second_moment": self.second}
        values = self.split(self.values)
        moments = {name: self.split(array) for name, array in parts.items()}
        for number, parameter in enumerate(parameters):
            np.copyto(parameter.values, values[number].reshape(parameter.values.shape))
            for name, state in parameter.state.items():
                if name in moments:
                    np.copyto(state, moments[name][number].reshape(state.shape))
                else:
                    state += steps

    def split(self, array: Any) -> list[np.ndarray]:
        """The entries of each parameter, on the host."""
        return np.split(array.get(), self.records["first"][1:])

    # -- a batch ---------------------------------------------------------------------------

    def fold(self, gradients: CudaGradients, tally: EpochTally) -> None:
        """Sum gradients into the shapes of the parameters."""
        arguments = (
            self.trained, self.tasks, gradients.weight, gradients.delay, gradients.threshold,
            gradients.tau_mem, gradients.tau_syn, tally.status, self.folded, self.partial,
        )  # fmt: skip
        self.kernels.launch("fold_gradients", self.blocks, FOLDERS, arguments)

    def step(self, batch: int, tally: EpochTally) -> None:
        """A step of every optimiser, unless training has stopped."""
        arguments = (
            np.int64(self.entries), np.int32(self.records.size), self.trained, self.rates[batch],
            self.scale, tally.status, self.folded, self.values, self.first, self.second,
            tally.incidents,
        )  # fmt: skip
        self.kernels.launch_each("step_parameters", self.entries, arguments)
        self.spread()

    def spread(self) -> None:
        """Give simulations the values as they are now."""
        pairs = int((self.records["pre"] * self.records["post"])[self.records["kind"] < 2].sum())
        arguments = (
            np.int64(pairs), np.int32(self.records.size), self.trained, self.values,
            np.float64(self.layout.dt), np.int32(self.layout.steps), self.parameters.weight,
            self.parameters.delay,
        )  # fmt: skip
        self.kernels.launch_each("spread_parameters", pairs, arguments)
        self.units.spread(self.values)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])


def _records(layout: GridLayout, network: CudaNetwork, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """A record of each trained parameter, and the tasks of summing their gradients."""
    records = np.zeros(len(task.optimizers), TRAINED)
    for record, (name, optimizer) in zip(records, task.optimizers.items(), strict=True):
        _place(record, name, layout, network)
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
    records["first"] = np.cumsum(records["size"]) - records["size"]
    pairs = np.where(records["kind"] < 2, records["pre"] * records["post"], 0)
    records["spread"] = np.cumsum(pairs) - pairs
    tasks = [_tasks(number, record) for number, record in enumerate(records)]
    records["tasks"] = [len(own) for own in tasks]
    records["first_task"] = np.cumsum(records["tasks"]) - records["tasks"]
    return records, np.concatenate(tasks)


def _place(record: np.void, name: str, layout: GridLayout, network: CudaNetwork) -> None:
    """Fill in where a parameter's pairs are, and how its entries are shared among them."""
    owner, kind = name.rsplit(".", 1)
    record["kind"] = KINDS.index(kind)
    shape = layout.network.parameters[name].shape
    if kind not in KINDS[:2]:
        component, first, last = layout.place(owner)
        record["place"] = network.components[component].first + first
        record["pre"], record["post"] = 1, last - first
        record["rows"], record["columns"] = shape[0] if shape else 1, 1
        return
    index = [connection.name for connection in layout.network.connections].index(owner)
    for grid, cuda in zip(layout.components, network.components, strict=True):
        for own, placed in zip((*grid.outer, *grid.inner), (*cuda.outer, *cuda.inner), strict=True):
            if own.index == index:
                record["place"] = placed.first
                record["pre"], record["post"] = placed.source_units, placed.target_units
    record["rows"], record["columns"] = shape or (1, 1)


def _tasks(number: int, record: np.void) -> np.ndarray:
    """The tasks of a parameter: (itself, first entry, one after the last), int64."""
    is_shared = record["rows"] < record["post"] or record["columns"] < record["pre"]
    size, chunk = int(record["size"]), 1 if is_shared else CHUNK
    firsts = np.arange(0, size, chunk)
    lasts = np.minimum(firsts + chunk, size)
    return np.stack([np.full(firsts.size, number), firsts, lasts], axis=1).astype(np.int64)
