"""The command ``evsim info``: versions, the processor, GPUs, and compiling ahead."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import textwrap
from dataclasses import dataclass

import evsim


@dataclass(frozen=True)
class Info:
    """Show the versions of evsim and its libraries, the processor and the GPUs."""

    warm: bool = False
    """Also compile all of evsim's machine code now, so that no later run has to wait for it."""

    def __call__(self) -> int:
        """Print the information."""
        for name, value in environment().items():
            print(_wrapped(f"{name:<10} {value}", indent=11))
        if self.warm:
            _precompile()
        return 0


def environment() -> dict[str, str]:
    """Versions of evsim and what it builds on, the processor, and GPUs, for people to read."""
    from importlib.metadata import version

    from evsim._compile.threads import available_threads
    from evsim.display.processor import processor_name

    libraries = ("numpy", "scipy", "numba", "tyro", "matplotlib")
    return {
        "evsim": evsim.__version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        **{name: version(name) for name in libraries},
        "processor": processor_name(),
        "cores": f"{os.cpu_count()}, of which evsim may use {available_threads()}",
        "CuPy": _cupy_version(),
        "GPU": _gpus(),
    }


def _wrapped(text: str, indent: int) -> str:
    """A line broken between words at the width of the terminal; unbroken in files and pipes."""
    if not sys.stdout.isatty():
        return text
    width, gap = shutil.get_terminal_size().columns, " " * indent
    return textwrap.fill(text, width, subsequent_indent=gap, break_long_words=False)


def _precompile() -> None:
    """Compile everything, and print how long it took and where the machine code is kept."""
    from evsim import precompile

    for name, engine in precompile.COMPILED.items():
        done = precompile.warm(engine)
        if done.compiled:
            result = f"{done.compiled} functions compiled in {done.seconds:.1f} s"
        else:
            result = "everything was compiled before"
        print(f"{name}: {result}", flush=True)
    cache = precompile.cache()
    if cache.folders:
        print(f"cache: {cache.size / 2**20:.1f} MiB in {', '.join(map(str, cache.folders))}")
    else:
        print("cache: none, no folder for it can be written; set NUMBA_CACHE_DIR to one")


def _cupy_version() -> str:
    """The version of CuPy; it is imported only if it is installed."""
    from importlib.util import find_spec

    if find_spec("cupy") is None:
        return 'not installed: pip install "evsim[gpu]" (CUDA 12) or "evsim[gpu13]" (CUDA 13)'
    try:
        import cupy
    except Exception as error:  # depends on which part of CUDA is missing
        return f"cannot be imported, {_on_one_line(error)}"
    return str(cupy.__version__)


def _gpus() -> str:
    """Name, memory and compute capability of each GPU that CuPy finds, or why there is none."""
    from importlib.util import find_spec

    if find_spec("cupy") is None:
        return "none, without CuPy"
    try:
        from cupy.cuda import runtime

        devices = [runtime.getDeviceProperties(i) for i in range(runtime.getDeviceCount())]
        described = [
            f"{device['name'].decode()}, {device['totalGlobalMem'] / 2**30:.1f} GiB, "
            f"compute capability {device['major']}.{device['minor']}"
            for device in devices
        ]
    except Exception as error:  # depends on which part of CUDA is missing
        return f"none, {_on_one_line(error)}"
    return "; ".join(described) or "none that CUDA can use"


def _on_one_line(error: Exception) -> str:
    """The type and the message of another library's error."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
