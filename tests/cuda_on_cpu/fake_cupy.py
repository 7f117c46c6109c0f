"""The part of CuPy that an engine needs, pretended: see the package's docstring."""

from __future__ import annotations

from typing import Any

from cuda_on_cpu import arrays, cuda, kernels
from cuda_on_cpu.arrays import (
    array,
    asarray,
    ascontiguousarray,
    asnumpy,
    empty,
    empty_like,
    full,
    full_like,
    ndarray,
    zeros,
    zeros_like,
)
from cuda_on_cpu.kernels import RawKernel, RawModule
from cuda_on_cpu.memory import MemoryPool, pool

__all__ = [
    "RawKernel",
    "RawModule",
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "cuda",
    "empty",
    "empty_like",
    "full",
    "full_like",
    "get_default_memory_pool",
    "kernels",
    "ndarray",
    "zeros",
    "zeros_like",
]

__version__ = "13.6.0"


def get_default_memory_pool() -> MemoryPool:
    return pool


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return arrays.numpy_attribute(name)
