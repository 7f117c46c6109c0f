"""evsim_gpu: the grid engine, the same networks on a time grid, for large data.

grid        Grid: the protocol of evsim's engines on a grid
layout      a network as steps and coefficients
device      what a device does: simulate, read, pull back
cpu         that by numba, on the processor; loops/ are the specification
cuda        that by CUDA kernels, on an NVIDIA GPU; kernels/
"""

from __future__ import annotations

from evsim_gpu.grid import Grid

__all__ = ["Grid"]
