"""Arrays of the pretended device: NumPy's, held apart from the host's as CuPy holds its own.

NumPy arrays and device arrays do not mix: what CuPy refuses on a GPU is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from cuda_on_cpu.memory import Allocation


class ndarray(NDArrayOperatorsMixin):  # noqa: N801 - CuPy's name
    """An array of the device; the host sees its numbers through ``get``."""

    def __init__(self, numbers: np.ndarray, allocation: Allocation) -> None:
        self.numbers = numbers
        self.allocation = allocation

    shape = property(lambda self: self.numbers.shape)
    dtype = property(lambda self: self.numbers.dtype)
    ndim = property(lambda self: self.numbers.ndim)
    size = property(lambda self: self.numbers.size)
    nbytes = property(lambda self: self.numbers.nbytes)
    itemsize = property(lambda self: self.numbers.itemsize)
    strides = property(lambda self: self.numbers.strides)
    flags = property(lambda self: self.numbers.flags)
    T = property(lambda self: self.transpose())

    def get(self) -> np.ndarray:
        return self.numbers.copy()

    def set(self, host: np.ndarray) -> None:
        if not isinstance(host, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if host.dtype != self.dtype:
            raise TypeError(f"{host.dtype} array cannot be set to {self.dtype} array")
        if host.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {host.shape}")
        self.numbers[...] = host

    def fill(self, value: Any) -> None:
        self[...] = value

    def item(self) -> Any:
        return self.numbers.item()

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def __getattr__(self, name: str) -> Any:
        # NumPy's methods alone: its protocols would hand the device's memory to the host.
        method = None if name.startswith("_") else getattr(self.numbers, name, None)
        if not callable(method):
            raise AttributeError(f"the pretended CuPy's arrays have no method {name!r}")
        return _on_device(method, self)

    def __getitem__(self, index: Any) -> ndarray:
        parts = tuple(index) if isinstance(index, tuple) else (index,)
        if not any(part is Ellipsis for part in parts):
            parts += (Ellipsis,)  # one element is an array too, as in CuPy
        return _wrapped(self.numbers[tuple(map(_numbers, parts))], (self,))

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        self.numbers[tuple(map(_numbers, parts))] = _operand(value)

    def __len__(self) -> int:
        return len(self.numbers)

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def __int__(self) -> int:
        return int(self.numbers)

    def __float__(self) -> float:
        return float(self.numbers)

    def __index__(self) -> int:
        return self.numbers.__index__()

    def __repr__(self) -> str:
        return repr(self.numbers)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out")
        result = _on_device(getattr(ufunc, method))(*inputs, **kwargs)
        return out[0] if out else result


def _numbers(value: Any) -> Any:
    """The numbers of a device array; anything else as it is."""
    return value.numbers if isinstance(value, ndarray) else value


def _operand(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}: a device array is needed, use asarray")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_operand, value))
    return _numbers(value)


def _wrapped(result: Any, sources: Iterable[Any]) -> Any:
    """NumPy's result as device arrays: views stay views, all else gets memory of its own."""
    if isinstance(result, tuple):
        return tuple(_wrapped(part, sources) for part in result)
    if isinstance(result, list):
        return [_wrapped(part, sources) for part in result]
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    if isinstance(result, np.ndarray) and result.size:
        for source in sources:
            if isinstance(source, ndarray) and np.may_share_memory(result, source.allocation.bytes):
                return ndarray(result, source.allocation)
    return _copied(result)


def _on_device(function: Any, *owners: ndarray) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        # Results are written by NumPy, so that `out` cannot leave the device's memory.
        operands = [_operand(value) for value in args]
        named = {name: _operand(value) for name, value in kwargs.items()}
        return _wrapped(function(*operands, **named), (*owners, *args, *kwargs.values()))

    return run


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """An array full of garbage: NaN, or -1."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    allocation = Allocation(size, dtype)
    return ndarray(allocation.bytes.view(dtype).reshape(shape, order=order), allocation)


def _copied(host: Any, dtype: Any = None) -> ndarray:
    host = np.asarray(host, dtype)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    device = empty(host.shape, host.dtype)
    device.numbers[...] = host
    return device


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    device = empty(shape, dtype)
    device.numbers[...] = 0
    return device


def full(shape: Any, fill_value: Any, dtype: Any = None) -> ndarray:
    device = empty(shape, np.asarray(_numbers(fill_value)).dtype if dtype is None else dtype)
    device[...] = fill_value
    return device


def empty_like(a: ndarray, dtype: Any = None) -> ndarray:
    return empty(a.shape, dtype or a.dtype)


def zeros_like(a: ndarray, dtype: Any = None) -> ndarray:
    return zeros(a.shape, dtype or a.dtype)


def full_like(a: ndarray, fill_value: Any, dtype: Any = None) -> ndarray:
    return full(a.shape, fill_value, dtype or a.dtype)


def array(a: Any, dtype: Any = None) -> ndarray:
    """A copy on the device."""
    return _copied(_numbers(a), dtype)


def asarray(a: Any, dtype: Any = None) -> ndarray:
    if isinstance(a, ndarray) and (dtype is None or a.dtype == np.dtype(dtype)):
        return a
    return array(a, dtype)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    device = asarray(a, dtype)
    return device if device.flags.c_contiguous else device.copy()


def asnumpy(a: Any) -> np.ndarray:
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def numpy_attribute(name: str) -> Any:
    """What NumPy calls so: its functions work on device arrays, its types and numbers stay."""
    found = getattr(np, name)
    return _on_device(found) if callable(found) and not isinstance(found, type) else found
