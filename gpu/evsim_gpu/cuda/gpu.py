"""The NVIDIA GPUs of this machine, and which of them CuPy uses."""

from __future__ import annotations

from typing import Any

from evsim.engines.protocol import EngineError

INSTALLATION = (
    'install CuPy with pip install "evsim[gpu]" for CUDA 12, or with pip install "evsim[gpu13]" '
    "for CUDA 13"
)


def check_cuda() -> Any:
    """The module of CuPy; ImportError without CuPy, EngineError if it finds no GPU."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(f"the CUDA device needs CuPy ({error}): {INSTALLATION}") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise EngineError(
            f"CuPy finds no GPU ({error}): it needs an NVIDIA GPU and its driver; {INSTALLATION}"
        ) from error
    if count == 0:
        raise EngineError(f"CuPy finds no GPU: it needs one of NVIDIA; {INSTALLATION}")
    return cupy


def cuda_devices() -> list[str]:
    """The names of the GPUs that can be used; an empty list without CuPy."""
    try:
        runtime = check_cuda().cuda.runtime
    except (ImportError, EngineError):
        return []
    found = range(runtime.getDeviceCount())
    return [runtime.getDeviceProperties(number)["name"].decode() for number in found]


class Gpu:
    """One GPU, and the module of CuPy.

    Parameters
    ----------
    number : int
        Which GPU, as CUDA counts them.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    EngineError
        If there is no such GPU.
    """

    def __init__(self, number: int = 0) -> None:
        self.cupy = check_cuda()
        names = cuda_devices()
        if not 0 <= number < len(names):
            raise EngineError(f"there is no GPU {number}: CuPy finds {len(names)}, {names}")
        self.number = number
        self.name = names[number]

    def __repr__(self) -> str:
        return f"Gpu({self.number}: {self.name})"

    def current(self) -> Any:
        """A context in which CuPy uses this GPU."""
        return self.cupy.cuda.Device(self.number)
