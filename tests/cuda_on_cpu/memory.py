"""Memory of the pretended device: filled with garbage, and guarded on both sides."""

from __future__ import annotations

import numpy as np

GUARD = 4096  # bytes before and after every array
ALIGNMENT = 512  # bytes: as CuPy's pool gives them
TOTAL = 150_000_000_000  # bytes of the pretended device


class OutOfMemoryError(MemoryError):
    """More was asked for than the pool's limit leaves."""


class MemoryPool:
    """Counts what live arrays use; nothing is ever kept for later."""

    def __init__(self) -> None:
        self._used = 0
        self._limit = 0

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return 0

    def n_free_blocks(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        """Nothing is kept, so there is nothing to free."""

    def get_limit(self) -> int:
        return self._limit

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit = int(fraction * TOTAL) if fraction is not None else int(size or 0)

    def take(self, size: int) -> None:
        limit = self._limit or TOTAL
        if self._used + size > limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (allocated so far: {self._used:,} "
                f"bytes, limit set to: {limit:,} bytes)."
            )
        self._used += size

    def give(self, size: int) -> None:
        self._used -= size


pool = MemoryPool()


class Allocation:
    """The memory of one array of numbers, full of 0xFF, which is no number and no index."""

    def __init__(self, size: int, dtype: np.dtype) -> None:
        self.size = size
        self._taken = 0  # until the pool has granted it
        granted = -(-size // ALIGNMENT) * ALIGNMENT
        pool.take(granted)
        self._taken = granted
        self._pattern = _guard(dtype)
        # Kept whole, because guards and array are views of it.
        self._memory = np.empty(GUARD + size + GUARD + ALIGNMENT, np.uint8)
        begin = -(self._memory.ctypes.data + GUARD) % ALIGNMENT + GUARD
        self.bytes = self._memory[begin : begin + size]
        self._before = self._memory[begin - GUARD : begin]
        self._after = self._memory[begin + size : begin + size + GUARD]
        self.bytes[:] = 0xFF
        self._before[:] = self._after[:] = np.frombuffer(self._pattern, np.uint8)

    def __del__(self) -> None:
        pool.give(self._taken)

    def damage(self) -> int | None:
        """The byte nearest to the array that was written out of bounds (negative: before it)."""
        pattern = np.frombuffer(self._pattern, np.uint8)
        if self._after.tobytes() != self._pattern:
            return self.size + int(np.flatnonzero(self._after != pattern)[0])
        if self._before.tobytes() != self._pattern:
            return int(np.flatnonzero(self._before != pattern)[-1]) - GUARD
        return None


def _guard(dtype: np.dtype) -> bytes:
    """Bytes that show what was written over them.

    For floating point a signalling NaN: whatever is added to it makes it a quiet one, so that
    even a sum out of bounds changes it, and what is read out of bounds is no number.
    """
    words = {"<f4": 0x7FA5A5A5_7FA5A5A5, "<f8": 0x7FF4A5A5_A5A5A5A5}
    word = words.get(dtype.str, 0xA5A5A5A5_A5A5A5A5)
    return np.full(GUARD // 8, word, np.uint64).tobytes()
