"""CUDA kernels without a GPU: CuPy's place is taken, and kernels run on the CPU.

``install(monkeypatch)`` makes ``import cupy`` find ``fake_cupy``, whose kernels are compiled by
g++ with ``cuda_on_cpu.hpp`` and run one thread after another. It is for tests, and stricter than
a device: see ``kernels`` for what a launch refuses.
"""

from __future__ import annotations

import importlib
import sys

import pytest

from cuda_on_cpu.kernels import compiler

__all__ = ["compiler", "install", "needs_compiler"]

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="kernels run on the CPU only on Linux with g++, c++ or clang++"
)


def install(monkeypatch: pytest.MonkeyPatch, seed: int = 0, races: bool = False):
    """Put the pretended CuPy where ``import cupy`` finds it, until the test ends; returns it.

    With ``seed`` 0 threads take turns in their order; any other shuffles blocks, warps and lanes.
    ``races`` looks at every access to memory for races, in any order; that is some ten times
    slower.
    """
    cupy = importlib.import_module("cuda_on_cpu.fake_cupy")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
    monkeypatch.setattr(cupy.kernels, "seed", seed)
    monkeypatch.setattr(cupy.kernels, "races", races)
    return cupy
