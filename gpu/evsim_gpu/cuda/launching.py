"""The CUDA kernels: their source as one text, which CuPy compiles, and their launches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np

from evsim.engines.protocol import EngineError
from evsim_gpu.cuda.kernel_times import recording

FOLDER = resources.files("evsim_gpu.cuda") / "kernels"
FILES = (
    "dropout.cu",
    "arrivals.cu",
    "forward.cu",
    "readouts.cu",
    "spike_time_gradients.cu",
    "backward.cu",
    "parameter_gradients.cu",
)
TRAINING_FILES = (
    "training/input_batches.cu",
    "training/losses.cu",
    "training/tally.cu",
    "training/folded_gradients.cu",
    "training/batch_check.cu",
    "training/optimisers.cu",
    "training/parameter_values.cu",
    "training/propagators.cu",
)

# Bytes of shared memory per unit of a recurrent component, forward and backward, by the size of a
# real.  The static_asserts in the kernels check them.
FORWARD_CELL = {4: 24, 8: 40}
BACKWARD_CELL = {4: 20, 8: 40}

# Bytes of shared memory for the window of steps that a block keeps: enough for a good part of a
# trial, and few enough for several blocks at once.  No result of the forward pass depends on them.
ARRIVAL_WINDOW_BYTES = 28 * 1024
GRADIENT_WINDOW_BYTES = 64 * 1024
DEFAULT_SHARED_BYTES = 48 * 1024  # for a kernel without an attribute that requests more
TARGETS_PER_BLOCK = 4  # TILE in parameter_gradients.cu
STEP_LIMIT = 2**29  # sums of steps and delays are 32-bit integers


def kernel_source(files: tuple[str, ...] = FILES) -> str:
    """The kernels of some files as one text, with each header where it is first included.

    CuPy's cache of compiled kernels compares the text, and not the files that it includes.
    """
    included: set[str] = set()
    return "\n".join(_with_headers(FOLDER / name, included) for name in files)


def _with_headers(file: Traversable, included: set[str]) -> str:
    def insert(match: re.Match[str]) -> str:
        name = match[1]
        if name in included:
            return ""
        included.add(name)
        return _with_headers(FOLDER / name, included)

    return re.sub(r'^#include "(.+)"$', insert, file.read_text(encoding="utf-8"), flags=re.M)


def compile_options(precision: type[np.floating]) -> tuple[str, ...]:
    """The options of NVRTC; without fused multiply-add, results equal the CPU's bit for bit."""
    real = {4: "float", 8: "double"}[np.dtype(precision).itemsize]
    return "--std=c++17", "--fmad=false", f"-DREAL={real}"


class Kernels:
    """The kernels of some files in one precision, on the device that is current at first launch.

    Parameters
    ----------
    cupy : module
    precision : type
        ``numpy.float32`` or ``numpy.float64``.
    files : tuple of str
        Files of the folder kernels/; by default those that simulate and pull back.
    """

    def __init__(
        self, cupy: Any, precision: type[np.floating], files: tuple[str, ...] = FILES
    ) -> None:
        self.cupy = cupy
        self.precision = np.dtype(precision)
        self.shared_limit = int(cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])
        self._module = cupy.RawModule(code=kernel_source(files), options=compile_options(precision))
        self._functions: dict[str, Any] = {}

    def launch(
        self, name: str, blocks: int, threads: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> None:
        """Launch a kernel; numbers among the arguments are NumPy's, of the kernel's types.

        ``shared`` is in bytes.
        """
        if blocks == 0:
            return
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        function = self._functions[name]
        if shared > DEFAULT_SHARED_BYTES and shared > function.max_dynamic_shared_size_bytes:
            function.max_dynamic_shared_size_bytes = shared
        times = recording()
        launch = function if times is None else times.timed(name, function)
        launch((blocks,), (threads,), arguments, shared_mem=shared)

    def launch_each(self, name: str, count: int, arguments: tuple[Any, ...]) -> None:
        """Launch a kernel with at least ``count`` threads, in blocks of 128."""
        self.launch(name, -(-count // 128), 128, arguments)

    def arrival_window(self, steps: int) -> int:
        """The number of steps that a block that adds arrivals keeps for its 32 target units."""
        return max(1, min(steps + 1, ARRIVAL_WINDOW_BYTES // (32 * self.precision.itemsize)))

    def gradient_window(self, steps: int) -> int:
        """The number of steps that a block that sums adjoints at arrivals keeps for its targets."""
        limit = min(GRADIENT_WINDOW_BYTES, self.shared_limit)
        return max(1, min(steps + 1, limit // (TARGETS_PER_BLOCK * 2 * self.precision.itemsize)))

    def recurrent_block(self, columns: int, cell: dict[int, int]) -> tuple[int, int]:
        """Threads and bytes of shared memory of a block for a recurrent component.

        Parameters
        ----------
        columns : int
            Units of the component.
        cell : dict
            ``FORWARD_CELL`` or ``BACKWARD_CELL``.

        Raises
        ------
        EngineError
            If shared memory has no room for so many units.
        """
        size = cell[self.precision.itemsize]
        shared = columns * size + 2 * 4 * -(-columns // 32)
        if shared > self.shared_limit:
            raise EngineError(
                f"{columns} units are recurrently connected, and the GPU's shared memory has room "
                f"for about {int(self.shared_limit / (size + 0.25))}: use precision float32 or "
                f"smaller recurrent populations"
            )
        return min(1024, -(-columns // 32) * 32), shared

    @contextmanager
    def memory_for(self, needed: int, purpose: str) -> Iterator[None]:
        """If CuPy finds no memory, raise an EngineError that says how much is needed and free."""
        try:
            yield
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            free = self.cupy.cuda.runtime.memGetInfo()[0]
            free += self.cupy.get_default_memory_pool().free_bytes()
            raise EngineError(
                f"{purpose} needs about {needed / 2**30:.3g} GiB of the GPU's memory, of which "
                f"{free / 2**30:.3g} GiB are free: use a smaller batch, a longer dt or float32 "
                f"({error})"
            ) from error
