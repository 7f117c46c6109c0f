"""Compiles CUDA source without a GPU, with NVIDIA's NVRTC from its wheel on PyPI.

This shows what an emulator on the CPU cannot show: that NVIDIA's compiler accepts the kernels, and
how many registers and how much shared memory they need.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple

import pytest

DISTRIBUTIONS = ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13")


class NvrtcError(Exception):
    """NVRTC refused the source or an option; the text is its log."""


class Resources(NamedTuple):
    """The resources that one kernel needs."""

    registers: int  # per thread
    stack: int  # bytes per thread: arrays that did not fit into registers
    spilled: int  # bytes per thread, stored and loaded
    shared: int  # bytes per block, static


class Compiled(NamedTuple):
    """A cubin, the compiler's warnings ("" if there are none), and each kernel's resources."""

    cubin: bytes
    warnings: str
    resources: dict[str, Resources]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The NVRTC library from its wheel; None if it is not installed."""
    for name in DISTRIBUTIONS:
        try:
            files = metadata.files(name) or ()
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if re.fullmatch(r"libnvrtc\.so\.\d+", file.name):
                return ctypes.CDLL(str(file.locate()))
    return None


needs_nvrtc = pytest.mark.skipif(
    library() is None, reason=f"NVRTC is not installed: pip install {DISTRIBUTIONS[0]}"
)


def compile_kernels(
    source: str, options: Sequence[str] = (), architecture: str = "sm_90"
) -> Compiled:
    """The source compiled for one architecture; raises NvrtcError with the compiler's log.

    There are no headers: what the source includes must be found through its options.
    """
    nvrtc = library()
    assert nvrtc is not None, "see needs_nvrtc"
    program = ctypes.c_void_p()
    _check(
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None
        )
    )
    try:
        every = (*options, f"--gpu-architecture={architecture}", "--ptxas-options=-v")
        texts = (ctypes.c_char_p * len(every))(*(option.encode() for option in every))
        failed = nvrtc.nvrtcCompileProgram(program, len(every), texts)
        log = _bytes(program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise NvrtcError(log or _name(failed))
        cubin = _bytes(program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return Compiled(cubin, _warnings(log), _resources(log))


def _warnings(log: str) -> str:
    """The log without ptxas's lines about resources."""
    lines = [line for line in log.splitlines() if not re.match(r"ptxas (info|  +\.)", line)]
    return "\n".join(lines).strip()


def _resources(log: str) -> dict[str, Resources]:
    return {
        part.partition("'")[0]: Resources(
            registers=_number(r"Used (\d+) registers", part),
            stack=_number(r"(\d+) bytes stack frame", part),
            spilled=_number(r"(\d+) bytes spill stores", part)
            + _number(r"(\d+) bytes spill loads", part),
            shared=_number(r"(\d+) bytes smem", part),
        )
        for part in log.split("Compiling entry function '")[1:]
    }


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0  # what is not used is not named


def _bytes(program: ctypes.c_void_p, what: str) -> bytes:
    nvrtc, size = library(), ctypes.c_size_t()
    _check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _name(result: int) -> str:
    text = library().nvrtcGetErrorString
    text.restype = ctypes.c_char_p
    return text(result).decode()


def _check(result: int) -> None:
    if result:
        raise NvrtcError(_name(result))
