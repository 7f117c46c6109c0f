"""Short descriptions of objects that hold arrays: what ``repr`` shows of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from evsim.arguments.checks import is_sparse

LONGEST = 72
"""The largest number of characters of a value that is written out."""

ENTRIES = 4
"""The number of entries of a collection or array that are written out."""


class Brief:
    """Gives a dataclass defined with ``repr=False`` a representation of a few lines.

    Small arrays show their numbers, larger ones their type and shape.
    """

    def __repr__(self) -> str:
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        shown = [field.name for field in fields if field.repr and not field.name.startswith("_")]
        told = ", ".join(f"{name}={brief(getattr(self, name))}" for name in shown)
        return f"{type(self).__name__}({told})"


def brief(value: Any) -> str:
    """A value in a few words."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, float):
        return _number(value)
    if is_sparse(value):
        return f"sparse {value.dtype} {value.shape}, {value.nnz} entries"
    if isinstance(value, Mapping):
        return (
            f"{{{and_more([f'{key!r}: {brief(value[key])}' for key in first(value)], len(value))}}}"
        )
    if type(value) in (tuple, list):
        return f"{kind} of {len(value)}" if len(value) > ENTRIES else _sequence(value)
    text = f"{kind}(...)" if isinstance(value, tuple) else repr(value)
    return text if len(text) <= LONGEST and "\n" not in text else f"{kind}(...)"


def first(entries: Iterable[Any]) -> list[Any]:
    """The entries that are written out."""
    return list(islice(entries, ENTRIES))


def and_more(shown: list[str], count: int) -> str:
    """The first of ``count`` descriptions, and the number of the others."""
    hidden = count - len(shown)
    return ", ".join([*shown, f"and {hidden} more"] if hidden else shown)


def _sequence(values: list[Any] | tuple[Any, ...]) -> str:
    told = ", ".join(map(brief, values))
    return f"[{told}]" if isinstance(values, list) else f"({told}{',' * (len(values) == 1)})"


def _number(value: float) -> str:
    """A number as Python writes it, or with eight digits, as NumPy does."""
    exact = repr(float(value))
    return exact if len(exact) <= 10 else f"{value:.8g}"


def _array(array: np.ndarray) -> str:
    array = np.asarray(array)  # without units and mask
    if array.dtype.kind in "biuf" and array.size <= ENTRIES:
        return brief(array.tolist())
    kind = "record" if array.dtype.names else str(array.dtype)
    return f"{kind} {array.shape}"
