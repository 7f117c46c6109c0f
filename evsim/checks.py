"""Checks of single settings: one sentence that says what was found and what it must be."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

LARGEST_FLOAT = int(np.finfo(np.float64).max)

LARGEST_COUNT = 2**62
"""No array has more entries, and no loop ends that makes more rounds."""


def check_number(value: Any, name: str, what: str = "a number") -> None:
    """Refuse what is no real number; NaN and infinity are left to the caller."""
    real = (int, float, np.integer, np.floating)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, real):
        raise TypeError(f"{name} = {shown(value)}: it must be {what}")
    if isinstance(value, int) and abs(value) > LARGEST_FLOAT:
        raise ValueError(f"{name} = {shown(value)}: no float is as large; the largest is 1.8e308")


def check_finite(value: Any, name: str) -> None:
    """Refuse what is no finite number."""
    check_number(value, name)
    if not np.isfinite(value):
        raise ValueError(f"{name} = {value}: it must be finite")


def checked_integer(value: Any, name: str, minimum: int) -> int:
    """The value as an int; refuses other types and what is below the minimum."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} = {shown(value)}: it must be an integer")
    if value < minimum:
        raise ValueError(f"{name} = {shown(value)}: it must be at least {minimum}")
    return int(value)


def checked_count(value: Any, name: str, minimum: int = 1, maximum: int = LARGEST_COUNT) -> int:
    """A number of things that are made or done, as an int; refuses what no array can hold."""
    count = checked_integer(value, name, minimum)
    if count > maximum:
        raise ValueError(f"{name} = {shown(count)}: it must be at most {maximum}")
    return count


def check_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    """Refuse what is none of the choices."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} = {shown(value)}: choose one of {', '.join(choices)}{nearest(value, choices)}"
        )


def check_flag(value: Any, name: str) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} = {shown(value)}: it must be True or False")


def check_is(value: Any, name: str, kinds: type | tuple[type, ...], remedy: str) -> None:
    """Refuse what is of none of the types; ``remedy`` says what to give."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} = {shown(value)}: {remedy}")


def check_function(value: Any, name: str, remedy: str) -> None:
    """Refuse what cannot be called; ``remedy`` says what to give."""
    if not callable(value):
        raise TypeError(f"{name} = {shown(value)}: {remedy}")


def listed(values: Any, name: str, remedy: str) -> tuple[Any, ...]:
    """What a list, or anything else to go through once, holds; ``remedy`` says what to give.

    A string and a mapping are refused: their letters and their keys are not meant.
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} = {shown(values)}: {remedy}")
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise TypeError(f"{name} = {shown(values)}: {remedy}")
    return tuple(values)


def checked_path(value: Any, name: str, what: str = "a folder") -> Path:
    """The path, refusing what is none, and the empty one; ``what`` says of what."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} = {shown(value)}: give the path of {what}")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise ValueError(f"{name} = {shown(value)}: give the path of {what}")
    return Path(value)


# -- words ---------------------------------------------------------------------------------


_LONGEST = 100


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and shortened if it is long."""
    if isinstance(value, int) and abs(value) > 10**20:
        return f"{'-' * (value < 0)}2**{abs(value).bit_length() - 1} or more"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whatever a foreign class does
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def nearest(name: Any, known: Iterable[str]) -> str:
    """A question after the known name that is most like this one, or nothing."""
    if not isinstance(name, str):
        return ""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_name(kind: str, name: Any, known: Iterable[str]) -> str:
    """The message for a name that is not among the known ones."""
    known = list(known)
    hint = nearest(name, known) or f"; there are {', '.join(known)}"
    return f"there is no {kind} {shown(name)}{hint if known else ''}"
