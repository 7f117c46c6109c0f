"""The CUDA kernels: their source as one text, compiled by CuPy, and how they are launched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np

from evsim.engines.protocol import EngineError

FOLDER = resources.files("evsim_gpu.cuda") / "kernels"
FILES = ("arrivals.cu", "forward.cu", "states.cu", "backward.cu", "gradients.cu")
TRAINING_FILES = ("batches.cu", "losses.cu", "tallies.cu", "optimisers.cu", "flows.cu")

# Bytes of shared memory of a unit of a recurrent component, forward and backward; the kernels'
# static_asserts say the same.
FORWARD_CELL = {4: 24, 8: 40}
BACKWARD_CELL = {4: 20, 8: 40}

# Bytes of shared memory that a block of a kernel with windows takes: enough for a good part of
# a trial, and little enough for several blocks at once.  No result of the forward pass depends
# on them.
COLLECTING_BYTES = 28 * 1024
GATHERING_BYTES = 64 * 1024
WITHOUT_ASKING = 48 * 1024  # what any kernel gets
GATHERED_TARGETS = 4  # TILE of gradients.cu
MOST_STEPS = 2**29  # sums of steps and delays are 32-bit integers


def kernel_source(files: tuple[str, ...] = FILES) -> str:
    """Kernels as one text, each header where it is included first.

    CuPy's cache of compiled kernels looks at the text, not at the files that it includes.
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
    """For NVRTC; without fused multiply-add results are those of the CPU, bit for bit."""
    real = {4: "float", 8: "double"}[np.dtype(precision).itemsize]
    return "--std=c++17", "--fmad=false", f"-DREAL={real}"


class Kernels:
    """Kernels of one precision, on the device that is current when they are first launched.

    Parameters
    ----------
    cupy : module
    precision : type
        ``numpy.float32`` or ``numpy.float64``.
    files : tuple of str
        Which kernels: those of batches if not given.
    """

    def __init__(
        self, cupy: Any, precision: type[np.floating], files: tuple[str, ...] = FILES
    ) -> None:
        self.cupy = cupy
        self.precision = np.dtype(precision)
        self.most_shared = int(cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])
        self._module = cupy.RawModule(code=kernel_source(files), options=compile_options(precision))
        self._functions: dict[str, Any] = {}

    def launch(
        self, name: str, blocks: int, threads: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> None:
        """Launch a kernel; its numbers are NumPy's, of the kernel's types."""
        if blocks == 0:
            return
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        function = self._functions[name]
        if shared > WITHOUT_ASKING and shared > function.max_dynamic_shared_size_bytes:
            function.max_dynamic_shared_size_bytes = shared
        function((blocks,), (threads,), arguments, shared_mem=shared)

    def launch_each(self, name: str, count: int, arguments: tuple[Any, ...]) -> None:
        """Launch a kernel with a thread for each of so many."""
        self.launch(name, -(-count // 128), 128, arguments)

    def collecting_window(self, steps: int) -> int:
        """How many steps a block of ``collect`` keeps for its 32 targets."""
        return max(1, min(steps + 1, COLLECTING_BYTES // (32 * self.precision.itemsize)))

    def gathering_window(self, steps: int) -> int:
        """How many steps a block of ``gather`` keeps for its few targets."""
        most = min(GATHERING_BYTES, self.most_shared)
        return max(1, min(steps + 1, most // (GATHERED_TARGETS * 2 * self.precision.itemsize)))

    def recurrent_block(self, columns: int, cell: dict[int, int]) -> tuple[int, int]:
        """Threads and bytes of shared memory for a recurrent component of so many units.

        EngineError if it has too many.
        """
        size = cell[self.precision.itemsize]
        shared = columns * size + 2 * 4 * -(-columns // 32)
        if shared > self.most_shared:
            raise EngineError(
                f"{columns} units reach each other, and the GPU's shared memory has room for "
                f"about {int(self.most_shared / (size + 0.25))}: use precision float32 or "
                f"smaller recurrent populations"
            )
        return min(1024, -(-columns // 32) * 32), shared

    @contextmanager
    def memory_for(self, needed: int, purpose: str) -> Iterator[None]:
        """Tell how much is needed and free where CuPy finds no memory: EngineError."""
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
