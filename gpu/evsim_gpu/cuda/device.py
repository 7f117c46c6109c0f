"""The grid on an NVIDIA GPU, by CUDA kernels that CuPy compiles and launches.

``batch`` runs the forward pass on the GPU, ``backward`` the backward pass; ``activity`` copies
their results to the host.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from evsim.engines.pieces import Share
from evsim.network.topology import Topology
from evsim_gpu.cuda.activity import CudaActivity
from evsim_gpu.cuda.batch import CudaBatch, CudaInputs
from evsim_gpu.cuda.gpu import Gpu
from evsim_gpu.cuda.launching import FILES, Kernels
from evsim_gpu.cuda.network import CudaNetwork, CudaParameters
from evsim_gpu.device import Device, GridInputs
from evsim_gpu.model.layout import GridLayout

# The structure of a network is kept as long as its topology; compiled kernels are kept for good.
_networks: WeakKeyDictionary[Topology, dict[tuple[int, int], CudaNetwork]] = WeakKeyDictionary()


@cache
def kernels_for(cupy: Any, number: int, precision: str, files: tuple[str, ...] = FILES) -> Kernels:
    """The kernels of some files for a GPU and a precision, compiled once per process."""
    return Kernels(cupy, np.dtype(precision).type, files)


def network_on(cupy: Any, number: int, layout: GridLayout) -> CudaNetwork:
    """The structure of a layout's network in the memory of a GPU, copied there once."""
    known = _networks.setdefault(layout.network.topology, {})
    key = id(cupy), number
    if key not in known:
        known[key] = CudaNetwork.of(cupy, layout)
    return known[key]


class CudaDevice(Device):
    """A GPU.

    Parameters
    ----------
    precision : str
        "float32" or "float64"; the layouts that it simulates must have the same.
    number : int
        Which GPU, as CUDA counts them.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    EngineError
        If there is no such GPU; while simulating, if its memory is too small.
    """

    def __init__(self, precision: str = "float32", number: int = 0) -> None:
        self.gpu = Gpu(number)
        with self.current():
            self.kernels = kernels_for(self.gpu.cupy, number, precision)

    def __repr__(self) -> str:
        return f"CudaDevice({self.kernels.precision}, {self.gpu.number}: {self.gpu.name})"

    def current(self) -> Any:
        """A context in which CuPy uses this GPU."""
        return self.gpu.current()

    def simulate(
        self, layout: GridLayout, inputs: GridInputs, keys: np.ndarray | None, share: Share
    ) -> CudaActivity:
        if np.dtype(layout.precision) != self.kernels.precision:
            raise ValueError(
                f"the layout has precision {np.dtype(layout.precision)}: give one of "
                f"{self.kernels.precision}"
            )
        if keys is None:
            keys = np.zeros(inputs.batch, np.uint64)
        size = layout.units.nbytes + 3 * 4 * inputs.step.size + inputs.start.nbytes
        with self.current():
            network = network_on(self.gpu.cupy, self.gpu.number, layout)
            size += 2 * self.kernels.precision.itemsize * network.dense_synapses
            with self.kernels.memory_for(size, "the network with its input spikes"):
                parameters = CudaParameters.of(self.gpu.cupy, layout, network)
                step, start = (self.gpu.cupy.asarray(part) for part in (inputs.step, inputs.start))
                on_device = CudaInputs(step, start, inputs.batch, self.gpu.cupy.asarray(keys))
            batch = CudaBatch(self.kernels, network, parameters, on_device, layout.steps)
        return CudaActivity(self.gpu, layout, inputs, batch)
