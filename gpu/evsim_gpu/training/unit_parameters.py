"""Thresholds and time constants that are trained, as the coefficients that a simulation reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from evsim.training.task import Task
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.cuda.network import CudaParameters
from evsim_gpu.model.coefficients import UNIT_FIELDS
from evsim_gpu.model.layout import GridLayout

TIME_CONSTANTS = ("tau_mem", "tau_syn")


class UnitParameter(NamedTuple):
    """A trained parameter of a population.

    ``entries`` are its entries among those of all trained parameters; its units are the columns
    ``first`` to ``last - 1`` of a component.
    """

    kind: str
    entries: slice
    component: int
    first: int
    last: int


class UnitParameters:
    """Writes trained thresholds and time constants to the parameters that a simulation reads.

    Parameters
    ----------
    kernels : Kernels
        Of ``TRAINING_FILES``.
    layout : GridLayout
    parameters : CudaParameters
        Those that simulations read.
    task : Task
    records : records of TRAINED_PARAMETER, shape (trained parameters,)
    """

    def __init__(
        self,
        kernels: Kernels,
        layout: GridLayout,
        parameters: CudaParameters,
        task: Task,
        records: np.ndarray,
    ) -> None:
        self.kernels, self.layout, self.parameters = kernels, layout, parameters
        self.trained = []
        for record, name in zip(records, task.optimizers, strict=True):
            owner, kind = name.rsplit(".", 1)
            if kind in ("threshold", *TIME_CONSTANTS):
                first_entry = int(record["first_entry"])
                entries = slice(first_entry, first_entry + int(record["size"]))
                self.trained.append(UnitParameter(kind, entries, *layout.place(owner)))
        network = task.network
        of_units = np.stack([network.per_unit(name) for name in TIME_CONSTANTS])
        # tau_mem and tau_syn, (2, columns), of each component that has one in training.
        self.time_constants = {}
        for parameter in self.trained:
            if parameter.kind in TIME_CONSTANTS:
                units = layout.components[parameter.component].unit_of_column
                self.time_constants[parameter.component] = kernels.cupy.asarray(
                    np.ascontiguousarray(of_units[:, units])
                )

    @property
    def trains_time_constants(self) -> bool:
        """Whether any time constant is trained."""
        return bool(self.time_constants)

    def write(self, values: Any) -> None:
        """Write the thresholds and the propagators that follow from ``values``, of all entries."""
        row = UNIT_FIELDS.index("threshold")
        for parameter in self.trained:
            component = parameter.component
            if parameter.kind == "threshold":
                kernel, target = "write_threshold", self.parameters.coefficients[component][row]
            else:
                kernel = "write_time_constant"
                target = self.time_constants[component][TIME_CONSTANTS.index(parameter.kind)]
            own_values, units = values[parameter.entries], parameter.last - parameter.first
            sizes = np.int32(units), np.int32(own_values.size)
            of_columns = target[parameter.first : parameter.last]
            self.kernels.launch_each(kernel, units, (*sizes, own_values, of_columns))
        for component, time_constants in self.time_constants.items():
            columns = time_constants.shape[1]
            arguments = (
                np.int32(columns), np.float64(self.layout.dt), time_constants,
                self.parameters.coefficients[component],
                self.parameters.time_constant_slopes[component],
            )  # fmt: skip
            self.kernels.launch_each("update_propagators", columns, arguments)
