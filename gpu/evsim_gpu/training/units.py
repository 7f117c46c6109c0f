"""Thresholds and time constants in training, as the simulation's coefficients of units."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from evsim.training.task import Task
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.cuda.network import CudaParameters
from evsim_gpu.model.layout import UNIT_FIELDS, GridLayout

TAUS = ("tau_mem", "tau_syn")


class Place(NamedTuple):
    """Where a parameter of a population goes.

    Its entries are numbers ``entries`` of all; its units columns ``first`` to ``last - 1`` of
    their component.
    """

    kind: str
    entries: slice
    component: int
    first: int
    last: int


class UnitParameters:
    """Gives simulations the thresholds and time constants that are trained.

    Parameters
    ----------
    kernels : Kernels
        Those of training.
    layout : GridLayout
    parameters : CudaParameters
        What simulations read.
    task : Task
    records : array of TRAINED
        One for each trained parameter.
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
        self.places = []
        for record, name in zip(records, task.optimizers, strict=True):
            owner, kind = name.rsplit(".", 1)
            if kind in ("threshold", *TAUS):
                entries = slice(int(record["first"]), int(record["first"] + record["size"]))
                self.places.append(Place(kind, entries, *layout.place(owner)))
        network = task.network
        both = np.stack([network.per_unit(name) for name in TAUS])
        self.taus = {
            place.component: kernels.cupy.asarray(
                np.ascontiguousarray(both[:, layout.components[place.component].unit_of_column])
            )
            for place in self.places
            if place.kind in TAUS
        }

    @property
    def time_constants(self) -> bool:
        """Whether any time constant is trained."""
        return bool(self.taus)

    def spread(self, values: Any) -> None:
        """Renew what depends on the trained values, of all parameters."""
        row = UNIT_FIELDS.index("threshold")
        for place in self.places:
            own, columns = values[place.entries], slice(place.first, place.last)
            if place.kind == "threshold":
                name, target = "spread_threshold", self.parameters.units[place.component][row]
            else:
                name = "spread_time_constant"
                target = self.taus[place.component][TAUS.index(place.kind)]
            count = place.last - place.first
            sizes = np.int32(count), np.int32(own.size)
            self.kernels.launch_each(name, count, (*sizes, own, target[columns]))
        for component, taus in self.taus.items():
            size = taus.shape[1]
            arguments = (
                np.int32(size), np.float64(self.layout.dt), taus,
                self.parameters.units[component], self.parameters.slopes[component],
            )  # fmt: skip
            self.kernels.launch_each("renew_flows", size, arguments)
