"""The pretended ``cupy.cuda``: one device, whose work is done when a call returns."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from cuda_on_cpu import kernels
from cuda_on_cpu.memory import TOTAL, MemoryPool, OutOfMemoryError, pool

_PROPERTIES = {
    "name": b"CPU pretending",
    "major": 9,
    "minor": 0,
    "totalGlobalMem": TOTAL,
    "sharedMemPerBlock": kernels.shared_without_asking,
    "sharedMemPerBlockOptin": kernels.most_shared,
    "sharedMemPerMultiprocessor": 233472,
    "regsPerBlock": 65536,
    "warpSize": 32,
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerMultiProcessor": 2048,
    "maxThreadsDim": (1024, 1024, 64),
    "maxGridSize": (2147483647, 65535, 65535),
    "multiProcessorCount": 132,
    "l2CacheSize": 62914560,
}
_ATTRIBUTES = {
    "ComputeCapabilityMajor": 9,
    "ComputeCapabilityMinor": 0,
    "MaxSharedMemoryPerBlock": kernels.shared_without_asking,
    "MaxSharedMemoryPerBlockOptin": kernels.most_shared,
    "MaxSharedMemoryPerMultiprocessor": 233472,
    "MaxThreadsPerBlock": 1024,
    "MaxThreadsPerMultiProcessor": 2048,
    "MultiProcessorCount": 132,
    "WarpSize": 32,
}


class CUDARuntimeError(RuntimeError):
    """A call of the runtime that a device would refuse."""


def _get_device_properties(device: int) -> dict[str, Any]:
    if device != 0:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    return dict(_PROPERTIES)


class Device:
    """The one device."""

    compute_capability = "90"

    def __init__(self, device: int = 0) -> None:
        _get_device_properties(device)
        self.id = device

    @property
    def attributes(self) -> dict[str, int]:
        return dict(_ATTRIBUTES)

    @property
    def mem_info(self) -> tuple[int, int]:
        return TOTAL - pool.used_bytes(), TOTAL

    def use(self) -> Device:
        return self

    def synchronize(self) -> None:
        """Everything is done already."""

    def __int__(self) -> int:
        return self.id

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Stream:
    """An order of work; here all work is done in the order of calls."""

    ptr = 0

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        pass

    def synchronize(self) -> None:
        """Everything is done already."""

    def use(self) -> Stream:
        return self

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


Stream.null = Stream()  # type: ignore[attr-defined]


class Event:
    """A moment, once recorded."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.moment: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.moment = time.perf_counter()

    def synchronize(self) -> None:
        """Everything is done already."""


def get_elapsed_time(start: Event, end: Event) -> float:
    """Milliseconds between two events."""
    if start.moment is None or end.moment is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event was not recorded")
    return (end.moment - start.moment) * 1000


def get_current_stream() -> Stream:
    return Stream.null  # type: ignore[attr-defined]


def is_available() -> bool:
    return True


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDevice=lambda: 0,
    getDeviceCount=lambda: 1,
    getDeviceProperties=_get_device_properties,
    deviceSynchronize=lambda: None,
    driverGetVersion=lambda: 12090,
    memGetInfo=lambda: Device().mem_info,
    runtimeGetVersion=lambda: 12090,
)
driver = SimpleNamespace(CUDADriverError=kernels.CUDADriverError)
compiler = SimpleNamespace(CompileException=kernels.CompileException)
memory = SimpleNamespace(OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool)
