"""The samples of a batch that an index selects."""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.arguments.checks import (
    index_array,
    is_integer,
    shown,
)


def chosen_samples(index: Any, batch_size: int, name: str = "index") -> np.ndarray:
    """The samples that an integer, a slice or an array of integers or bools selects, int64.

    Raises IndexError for samples that the batch does not have, and TypeError for other indices.
    """
    if is_integer(index):
        index = [int(index)] if -batch_size <= index < batch_size else [_outside(index, batch_size)]
    if isinstance(index, slice):
        parts = (index.start, index.stop, index.step)
        if all(part is None or is_integer(part) for part in parts):
            return np.arange(batch_size)[index]
    elif isinstance(index, list) or hasattr(index, "__array__"):
        array = index_array(index, name)
        if array.shape == (0,):
            return np.empty(0, np.int64)
        if array.ndim == 1 and array.dtype.kind in "iu":
            wrong = (array < -batch_size) | (array >= batch_size)
            if wrong.any():
                _outside(array[np.argmax(wrong)], batch_size)
            return array % batch_size
        if array.shape == (batch_size,) and array.dtype == bool:
            return np.flatnonzero(array)
    raise TypeError(
        f"{name} = {shown(index)}: select samples by an integer, a slice, or a one-dimensional "
        f"array of integers or of {batch_size} bools"
    )


def _outside(index: Any, batch_size: int) -> Any:
    raise IndexError(f"sample {shown(int(index))} of a batch of {batch_size}")
