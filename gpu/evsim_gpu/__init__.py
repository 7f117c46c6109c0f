"""evsim_gpu: the grid engine, which simulates the networks of evsim on a time grid.

grid            Grid, an engine of evsim
device          what a device does: simulate, read voltages, pull cotangents back
model           a network on a grid: grid points, coefficients, layout
cpu             a device: the processor, by numba
cuda            a device: an NVIDIA GPU, by CUDA kernels
training        training on a GPU without leaving it between batches
"""

from __future__ import annotations

from evsim_gpu.grid import Grid

__all__ = ["Grid"]
