"""CUDA source compiled for the CPU, and its kernels with CuPy's way of calling them.

A launch refuses what a device refuses, and what a device takes and gets wrong in silence:
arguments of other types than the kernel's, Python's numbers (CuPy passes 64 bits whatever the
kernel takes), arrays of the host, arrays that are not contiguous, writes out of bounds.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cuda_on_cpu.arrays import ndarray

HEADERS = tuple(map(Path(__file__).with_name, ("cuda_on_cpu.hpp", "races.hpp")))
CACHE = Path(__file__).parents[2] / ".pytest_cache" / "d" / "cuda_on_cpu"
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-w", "-fPIC", "-fno-threadsafe-statics")
RACES = ("-fsanitize=thread", "-g1", "-DCUDA_ON_CPU_RACES")  # linked without its library

races = False  # whether they are looked for
seed = 0  # of the order in which threads take turns; 0: their own
most_shared = 232448
shared_without_asking = 48 * 1024

# NVRTC's options that change nothing here; fast mathematics is refused, it would change numbers.
_WITHOUT_EFFECT = re.compile(
    r"--?(std=c\+\+(14|17)|fmad=(true|false)|lineinfo|generate-line-info|restrict|w|"
    r"device-as-default-execution-space|default-device|gpu-architecture=.*|arch=.*)$"
)
_KERNEL = re.compile(
    r'extern\s*"C"\s*__global__\s*(?:__launch_bounds__\s*\(([^()]*)\)\s*)?void\s*'
    r"(?:__launch_bounds__\s*\(([^()]*)\)\s*)?(\w+)\s*\("
)


class CompileException(Exception):
    """The compiler refused the source; the text is its message."""


class CUDADriverError(RuntimeError):
    """A launch no device would run, or a kernel that went wrong."""


@functools.cache
def compiler() -> str | None:
    """The C++ compiler that kernels are compiled with; None: there is none, or not on Linux."""
    if not sys.platform.startswith("linux"):
        return None
    return next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)


class Library(NamedTuple):
    """A compiled source."""

    path: Path
    functions: ctypes.CDLL
    bounds: dict[str, int]  # the most threads that a block of each kernel has

    def call(self, name: str, *arguments: Any) -> str | None:
        """The text that a function returns, with places in the code replaced by lines."""
        function = getattr(self.functions, f"cuda_on_cpu_{name}")
        function.restype = ctypes.c_char_p
        text = function(*arguments)
        return None if text is None else re.sub(r"@(\w+)", self._line, text.decode())

    def _line(self, place: re.Match) -> str:
        program = shutil.which("addr2line")
        if program is None:
            return place[0]
        chain = _run([program, "-i", "-e", str(self.path), place[1]], "")
        found = re.search(r"(?:kernels\.cu|<stdin>):(\d+)", chain)
        return f"line {found[1]}" if found else place[0]


class RawModule:
    """CUDA source whose kernels can be called, compiled when the first is asked for."""

    def __init__(
        self,
        *,
        code: str,
        options: Sequence[str] = (),
        backend: str = "nvrtc",
        name_expressions: Sequence[str] | None = None,
    ) -> None:
        if backend != "nvrtc" or name_expressions is not None:
            raise NotImplementedError('only backend="nvrtc" and extern "C" kernels are pretended')
        self._code = code
        self._options = tuple(options)

    def compile(self) -> None:
        self._compiled()

    def _compiled(self) -> Library:
        # Asked for at every launch: kernels may be kept longer than a test, `races` is not.
        return _compile(self._code, _understood(self._options), races)

    def get_function(self, name: str) -> Kernel:
        bounds = self._compiled().bounds
        if name not in bounds:
            raise CUDADriverError(
                f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name!r}; "
                f"the kernels are {', '.join(sorted(bounds)) or 'none'}"
            )
        return Kernel(self._compiled, name)


class Kernel:
    """A kernel: ``kernel(grid, block, arguments, shared_mem=bytes)``."""

    def __init__(self, library: Callable[[], Library], name: str) -> None:
        self.name = name
        self.max_threads_per_block = library().bounds[name]
        self.parameters = library().call(f"parameters_{name}").split()
        self._library = library
        self._most_shared = shared_without_asking

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size > most_shared:
            raise CUDADriverError(
                f"CUDA_ERROR_INVALID_VALUE: {self.name}: {size} bytes of shared memory; "
                f"the device has {most_shared} a block"
            )
        self._most_shared = size

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        stream: Any = None,
    ) -> None:
        grid, block = self._dimensions(grid), self._dimensions(block)
        self._check_launch(grid, block, shared_mem)
        if len(args) != len(self.parameters):
            raise TypeError(
                f"{self.name} takes {len(self.parameters)} arguments; {len(args)} were given"
            )
        values = [
            self._value(number, parameter, value)
            for number, (parameter, value) in enumerate(zip(self.parameters, args, strict=True))
        ]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        failure = self._library().call(
            f"launch_{self.name}",
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            ctypes.c_size_t(shared_mem),
            ctypes.c_uint64(seed),
            pointers,
        )
        if failure is not None:
            raise CUDADriverError(f"CUDA_ERROR_LAUNCH_FAILED: {self.name}: {failure}")
        for number, value in enumerate(args):
            self._check_guards(number, value)

    def _dimensions(self, given: Any) -> tuple[int, int, int]:
        if not isinstance(given, tuple) or not 1 <= len(given) <= 3:
            raise TypeError(f"{self.name}: grid and block are tuples of 1 to 3 numbers: {given!r}")
        return (*map(int, given), 1, 1)[:3]  # type: ignore[return-value]

    def _check_launch(self, grid: tuple, block: tuple, shared: int) -> None:
        found = None
        if min(grid) < 1 or grid[0] > 2**31 - 1 or max(grid[1:]) > 65535:
            found = f"grid {grid}: at least 1 and at most (2147483647, 65535, 65535)"
        elif min(block) < 1 or block[2] > 64 or np.prod(block) > self.max_threads_per_block:
            found = f"block {block}: 1 to {self.max_threads_per_block} threads"
        elif not 0 <= shared <= self._most_shared:
            found = (
                f"{shared} bytes of dynamic shared memory; at most {self._most_shared} "
                f"(max_dynamic_shared_size_bytes)"
            )
        if found is not None:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {self.name}: {found}")

    def _value(self, number: int, parameter: str, value: Any) -> np.ndarray:
        """What the kernel reads its argument from: a number, or an address."""
        place = f"{self.name}: argument {number} ({parameter})"
        if isinstance(value, (bool, int, float, complex)) and not isinstance(value, np.generic):
            raise TypeError(
                f"{place} is Python's {value!r}, which CuPy passes with 64 bits; "
                f"give it a type, such as np.int32 or np.float32"
            )
        if isinstance(value, np.generic):
            if value.dtype.str[1:] != parameter:
                raise TypeError(f"{place} is a number of type {value.dtype}")
            return np.array(value)
        if value is None and parameter.startswith("*"):
            return np.zeros((), np.uint64)
        if not isinstance(value, ndarray):
            raise TypeError(f"{place}: Unsupported type {type(value)}")
        element, _, size = parameter.removeprefix("*").partition(":")
        if not parameter.startswith("*") or element not in ("void", value.dtype.str[1:]):
            raise TypeError(f"{place} is an array of type {value.dtype}")
        if size and value.nbytes % int(size):
            raise TypeError(f"{place} has {value.nbytes} bytes, which no such structs fill")
        if not value.flags.c_contiguous:
            raise ValueError(f"{place} is not contiguous: use ascontiguousarray")
        return np.array(value.numbers.ctypes.data, np.uint64)

    def _check_guards(self, number: int, value: Any) -> None:
        damage = value.allocation.damage() if isinstance(value, ndarray) else None
        if damage is not None:
            element = damage // value.itemsize
            raise CUDADriverError(
                f"CUDA_ERROR_ILLEGAL_ADDRESS: {self.name}: argument {number}, of shape "
                f"{value.shape} and type {value.dtype}, was written out of bounds, at element "
                f"{element} of its memory of {value.allocation.size // value.itemsize}"
            )


def RawKernel(code: str, name: str, options: Sequence[str] = ()) -> Kernel:  # noqa: N802
    """One kernel of a source."""
    return RawModule(code=code, options=options).get_function(name)


def _understood(options: Sequence[str]) -> tuple[str, ...]:
    """The options that g++ is given."""
    passed = []
    for option in options:
        if re.match(r"-[DI].", option):
            passed.append(option)
        elif not _WITHOUT_EFFECT.match(option):
            raise CompileException(f"the option {option!r} is not among those pretended")
    return tuple(passed)


def _definition(option: str) -> str:
    """``-Dname=value`` as a line of source."""
    name, _, value = option[2:].partition("=")
    return f"#define {name} {value or ('' if '=' in option else '1')}"


@functools.cache
def _compile(code: str, options: tuple[str, ...], with_races: bool) -> Library:
    program = compiler()
    if program is None:
        raise CompileException("no C++ compiler is here")
    # CUDA's words are not yet defined here, so that kernels can be told by them.
    preprocessed = _run([program, "-x", "c++", "-E", "-P", *options, "-"], code)
    bounds = {
        name: int(before or after) if re.fullmatch(r"\d+", before or after) else 1024
        for before, after, name in _KERNEL.findall(preprocessed)
    }
    # Defined after the header, whose own names they would otherwise replace.
    definitions = [_definition(option) for option in options if option.startswith("-D")]
    source = "\n".join(
        [f'#include "{HEADERS[0]}"', *definitions, "namespace {", '#line 1 "kernels.cu"', code]
        + ["}", *(f"CUDA_ON_CPU_KERNEL({name})" for name in bounds)]
    )
    flags = (*FLAGS, *(RACES if with_races else ()))
    parts = (program, *flags, *(path.read_text() for path in HEADERS), preprocessed, source)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    path = CACHE / f"{digest[:32]}.so"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            compiled, linked = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
            folders = [option for option in options if option.startswith("-I")]
            _run([program, *flags, *folders, "-x", "c++", "-c", "-o", str(compiled), "-"], source)
            _run([program, "-shared", "-o", str(linked), str(compiled)], "")
            os.replace(linked, path)  # at once, because other processes compile the same
    return Library(path, ctypes.CDLL(str(path)), bounds)


def _run(command: list[str], source: str) -> str:
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    if done.returncode:
        raise CompileException(done.stderr)
    return done.stdout
