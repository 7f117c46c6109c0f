"""Checks of arguments: each refusal is one sentence that says what was found and what is needed.

Arrays from users are converted to plain NumPy arrays here and nowhere else, because ``np.asarray``
silently drops masks and units and accepts booleans as numbers.
"""

from __future__ import annotations

import difflib
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from evsim.arguments.errors import ArgumentError
from evsim.arguments.paths import user_path

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LARGEST_FLOAT = int(np.finfo(np.float64).max)

LARGEST_COUNT = 2**62
"""The largest number of entries of an array, or of rounds of a loop."""


# -- single numbers -----------------------------------------------------------------------


def is_sparse(values: object) -> TypeGuard[csr_array]:
    """Whether the values are a sparse matrix; SciPy is not imported."""
    return hasattr(values, "tocsr")


def check_number(value: Any, name: str, what: str = "a number") -> None:
    """Refuse anything but a real number; NaN and infinity are allowed."""
    _refuse_units(value, name)
    if not is_integer(value) and not isinstance(value, (float, np.floating)):
        raise TypeError(f"{name} = {shown(value)}: it must be {what}")
    if isinstance(value, int) and abs(value) > LARGEST_FLOAT:
        raise ArgumentError(
            f"{name} = {shown(value)}: no float is as large; the largest is 1.8e308", name
        )


def check_finite(value: Any, name: str) -> None:
    """Refuse anything but a finite number."""
    check_number(value, name)
    if not np.isfinite(value):
        raise ArgumentError(f"{name} = {value}: it must be finite", name)


def checked_integer(value: Any, name: str, minimum: int) -> int:
    """The value as an int; other types and smaller numbers than the minimum are refused."""
    _refuse_units(value, name)
    if not is_integer(value):
        raise TypeError(f"{name} = {shown(value)}: it must be an integer")
    if value < minimum:
        raise ArgumentError(f"{name} = {shown(value)}: it must be at least {minimum}", name)
    return int(value)


def checked_count(value: Any, name: str, minimum: int = 1, maximum: int = LARGEST_COUNT) -> int:
    """A count as an int; counts larger than the size of any array are refused."""
    count = checked_integer(value, name, minimum)
    if count > maximum:
        raise ArgumentError(f"{name} = {shown(count)}: it must be at most {maximum}", name)
    return count


def check_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    """Refuse anything but one of the choices."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(
            f"{name} = {shown(value)}: choose one of {', '.join(choices)}{nearest(value, choices)}",
            name,
        )


def check_flag(value: Any, name: str) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} = {shown(value)}: it must be True or False")


def check_is(value: Any, name: str, kinds: type | tuple[type, ...], remedy: str) -> None:
    """Refuse a value of any other type; ``remedy`` says what to give."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} = {shown(value)}: {remedy}")


def check_function(value: Any, name: str, remedy: str) -> None:
    """Refuse a value that cannot be called; ``remedy`` says what to give."""
    if not callable(value):
        raise TypeError(f"{name} = {shown(value)}: {remedy}")


def listed(values: Any, name: str, remedy: str) -> tuple[Any, ...]:
    """The entries of a list or another iterable; ``remedy`` says what to give.

    Strings and mappings are refused, because their letters or keys are not what is wanted.
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} = {shown(values)}: {remedy}")
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise TypeError(f"{name} = {shown(values)}: {remedy}")
    return tuple(values)


def checked_path(value: Any, name: str, what: str = "a folder") -> Path:
    """The value as a path; an empty path is refused.  ``what`` names what the path is for."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} = {shown(value)}: give the path of {what}")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise ArgumentError(f"{name} = {shown(value)}: give the path of {what}", name)
    return user_path(value)


# -- words ---------------------------------------------------------------------------------


_LONGEST = 100


def shown(value: Any) -> str:
    """A value for a message: on one line, and shortened if it is long."""
    if isinstance(value, int) and abs(value) > 10**20:
        return f"{'-' * (value < 0)}2**{abs(value).bit_length() - 1} or more"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a foreign class may raise anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def nearest(name: Any, known: Iterable[str]) -> str:
    """A question that suggests the most similar known name; empty if there is none."""
    if not isinstance(name, str):
        return ""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_name(kind: str, name: Any, known: Iterable[str]) -> str:
    """The message for an unknown name."""
    known = list(known)
    hint = nearest(name, known) or f"; there are {', '.join(known)}"
    return f"there is no {kind} {shown(name)}{hint if known else ''}"


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer; booleans and time differences are not."""
    # For NumPy, timedelta64 is an integer type.
    other = (bool, np.bool_, np.timedelta64)
    return isinstance(value, (int, np.integer)) and not isinstance(value, other)


# -- arrays -------------------------------------------------------------------------------


def real_array(
    values: Any, name: str, what: str = "real numbers", *, masked: float | None = None
) -> np.ndarray:
    """The values as a plain array of integers or floats, which may share their memory.

    ``masked`` is the value for masked entries; without it they are refused.

    Raises TypeError for values that are not such numbers or have units, ValueError for masked
    entries and for lists of different lengths.
    """
    return _array(values, name, "iuf", what, masked)


def integer_array(values: Any, name: str, what: str = "integers") -> np.ndarray:
    """The values as a plain array of int64, which may share their memory.

    Raises the errors of ``real_array``, and ValueError for integers of more than 64 bits.
    """
    array = _array(values, name, "iu", what)
    if array.dtype.kind == "u":
        limit = np.iinfo(np.int64).max
        beyond = array > limit
        if beyond.any():
            place = np.unravel_index(int(np.argmax(beyond)), array.shape)
            raise ValueError(f"{name}{_index(place)} = {array[place]}: it must be at most {limit}")
    return array.astype(np.int64, copy=False)


def index_array(values: Any, name: str) -> np.ndarray:
    """Indices or booleans as a plain array; raises the errors of ``real_array``."""
    return _array(values, name, "iub", "integers or truth values")


def count_array(values: Any, name: str) -> np.ndarray:
    """Numbers or booleans as a plain array; raises the errors of ``real_array``."""
    return _array(values, name, "iubf", "numbers or truth values")


def _array(
    values: Any, name: str, kinds: str, what: str, masked: float | None = None
) -> np.ndarray:
    """The values as a plain array of one of these kinds; a plain array is returned as it is."""
    if type(values) is np.ndarray and values.dtype.kind in kinds:
        return values  # it has neither masked entries nor units
    return _Given(name, kinds, what, masked).array(values, ())


def refuse_masked(values: Any, name: str) -> None:
    """Refuse an array with masked entries."""
    if not isinstance(values, np.ma.MaskedArray):
        return
    masked = np.ma.getmaskarray(values)
    if masked.any():
        place = np.unravel_index(int(np.argmax(masked)), masked.shape)
        raise ValueError(
            f"{name}{_index(place)} is masked: leave masked entries out, or fill them in, "
            "array.filled(...)"
        )


@dataclass(frozen=True)
class _Given:
    """An argument that a user gives as an array, or as lists of numbers and arrays."""

    name: str
    kinds: str  # the kinds of numpy.dtype that are accepted
    what: str  # the same in words
    masked: float | None

    def array(self, values: Any, place: tuple[int, ...]) -> np.ndarray:
        """The part at that index as a plain array; () is the whole."""
        name = f"{self.name}{_index(place)}"
        _refuse_units(values, name)
        if getattr(values, "requires_grad", False) is True:
            raise TypeError(
                f"{name} is a tensor that requires a gradient: give its values alone, "
                "tensor.detach()"
            )
        if isinstance(values, np.ma.MaskedArray):
            return self._unmasked(values, name)
        if isinstance(values, (list, tuple, deque)):
            values = self._parts(values, place)
        try:
            array = np.asarray(values)
        except Exception as error:  # the library of the array may raise anything
            self._refuse_ragged(values, place)
            raise TypeError(f"{name} cannot be read as an array ({error})") from error
        self._check_kind(array, name)
        return array if array.dtype.kind in self.kinds else np.empty(array.shape)

    def _parts(self, values: Sequence[Any], place: tuple[int, ...]) -> list[Any]:
        """The entries of a list; those that are not plain numbers become arrays or lists."""
        if len(place) == _DEEPEST:
            raise TypeError(f"{self.name} is a list of lists more than {_DEEPEST} deep")
        types = set(map(type, values))
        # NumPy would convert booleans among numbers to 0 and 1.
        flags = types & {bool, np.bool_}
        if flags and ("b" not in self.kinds or types - flags):
            raise TypeError(f"{self.name} has type bool: it must hold {self.what}")
        if types <= _PLAIN:
            return list(values)
        parts: list[Any] = []
        for number, part in enumerate(values):
            part_place = (*place, number)
            if isinstance(part, (list, tuple, deque)):
                parts.append(self._parts(part, part_place))
            else:
                parts.append(part if type(part) in _PLAIN else self.array(part, part_place))
        return parts

    def _unmasked(self, values: np.ma.MaskedArray, name: str) -> np.ndarray:
        self._check_kind(values.data, name)
        if self.masked is None:
            refuse_masked(values, name)
            return np.asarray(values.data)
        if not np.ma.getmaskarray(values).any():
            return np.asarray(values.data)
        return np.ma.filled(values.astype(np.float64), self.masked)

    def _check_kind(self, array: np.ndarray, name: str) -> None:
        kind = array.dtype.kind
        if not array.size or kind in self.kinds:
            return
        message = f"{name} has type {array.dtype}: it must hold {self.what}"
        if kind == "O":
            entries = array.ravel()[::-1].tolist()
            others = [t for t in reversed({type(e): e for e in entries}) if t not in (int, float)]
            found = f"a {others[0].__name__}" if others else "an integer beyond 64 bits"
            verb = "holds" if array.ndim else "is"
            # If the numbers would fit, the type of their array is refused, and the message says so.
            if others or any(type(e) is int and not -(2**63) <= e < 2**64 for e in entries):
                message = f"{name} {verb} {found}: it must hold {self.what}"
        if kind in "mM":
            message += "; times are plain numbers in ms"
        raise TypeError(message)

    def _refuse_ragged(self, values: Any, place: tuple[int, ...]) -> None:
        """Name the first list whose length differs from those before it."""
        if not isinstance(values, list) or not values:
            return
        name = f"{self.name}{_index(place)}"
        lengths = [
            f"{len(part)} entries" if isinstance(part, list) or np.ndim(part) else "a single number"
            for part in values
        ]
        for number, length in enumerate(lengths):
            if length != lengths[0]:
                raise ValueError(
                    f"{name} is ragged, it has {lengths[0]} at [0] but {length} at [{number}]: "
                    "give lists of the same length"
                )
        for number, part in enumerate(values):
            self._refuse_ragged(part, (*place, number))


_DEEPEST = 64  # dimensions of a NumPy array

_PLAIN = frozenset(
    {int, float, bool, np.bool_, str, bytes}
    | {kind for kind in np.sctypeDict.values() if issubclass(kind, np.number)}
) - {np.timedelta64}


def _refuse_units(values: Any, name: str) -> None:
    """Refuse a quantity with a unit, which would be lost."""
    if type(values) in _PLAIN:
        return
    for owner in (values, getattr(values, "dtype", None)):
        for attribute in ("units", "unit", "dimensions"):
            if not isinstance(owner, type) and hasattr(type(owner), attribute):
                unit = getattr(owner, attribute)
                raise TypeError(
                    f"{name} is a {type(values).__name__} in {unit}: give plain numbers, and "
                    "times in ms"
                )


def _index(place: Iterable[Any]) -> str:
    inside = ", ".join(str(int(number)) for number in place)
    return f"[{inside}]" if inside else ""


def check_duration(duration: float) -> float:
    """The duration as a float; anything but a finite time > 0 is refused."""
    check_number(duration, "duration", "a time in ms")
    if not 0 < duration < np.inf:
        raise ArgumentError(f"duration = {duration} ms: it must be finite and > 0", "duration")
    return float(duration)
