"""The time that each kernel takes on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class KernelTime(NamedTuple):
    """The number of launches of a kernel, and their seconds on the GPU in all."""

    kernel: str
    launches: int
    seconds: float


class KernelTimes:
    """The times of all kernels launched while it records, see ``recorded_kernel_times``."""

    def __init__(self, cupy: Any) -> None:
        self._event = cupy.cuda.Event
        self._elapsed = cupy.cuda.get_elapsed_time
        self._launches: list[tuple[str, Any, Any]] = []

    def timed(self, kernel: str, launch: Callable[..., None]) -> Callable[..., None]:
        """The launch of a kernel, between two events of the current stream."""

        def between_events(*arguments: Any, **options: Any) -> None:
            start, end = self._event(), self._event()
            start.record()
            launch(*arguments, **options)
            end.record()
            self._launches.append((kernel, start, end))

        return between_events

    def table(self) -> list[KernelTime]:
        """The kernels that were launched, the longest first; waits until they are done."""
        milliseconds: dict[str, list[float]] = {}
        for kernel, start, end in self._launches:
            end.synchronize()
            milliseconds.setdefault(kernel, []).append(self._elapsed(start, end))
        rows = [KernelTime(name, len(each), sum(each) / 1e3) for name, each in milliseconds.items()]
        return sorted(rows, key=lambda row: -row.seconds)


@contextmanager
def recorded_kernel_times(cupy: Any) -> Iterator[KernelTimes]:
    """Record the time of every kernel that any thread launches inside the block.

    CuPy's own kernels and copies are not recorded.  Two events for each launch cost a few
    microseconds, so the whole is slower than without.  A block inside another takes its place.

    Examples
    --------
    >>> with recorded_kernel_times(cupy) as times:  # doctest: +SKIP
    ...     evsim.gradient(network, inputs, labels, loss, duration, engine=Grid(1.0, "cuda"))
    >>> times.table()  # doctest: +SKIP
    """
    global _recording  # of all threads: the engine launches kernels on threads of its own
    outer, times = _recording, KernelTimes(cupy)
    _recording = times
    try:
        yield times
    finally:
        _recording = outer


def recording() -> KernelTimes | None:
    """What records launches now, or None."""
    return _recording


_recording: KernelTimes | None = None
