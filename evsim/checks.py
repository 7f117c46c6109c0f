"""Checks of single settings: one sentence that says what was found and what it must be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def check_number(value: Any, name: str, what: str = "a number") -> None:
    """Refuse what is no real number; NaN and infinity are left to the caller."""
    real = (int, float, np.integer, np.floating)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, real):
        raise TypeError(f"{name} = {value!r}: it must be {what}")


def check_finite(value: Any, name: str) -> None:
    """Refuse what is no finite number."""
    check_number(value, name)
    if not np.isfinite(value):
        raise ValueError(f"{name} = {value}: it must be finite")


def checked_integer(value: Any, name: str, minimum: int) -> int:
    """The value as an int; refuses other types and what is below the minimum."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} = {value!r}: it must be an integer")
    if value < minimum:
        raise ValueError(f"{name} = {value}: it must be at least {minimum}")
    return int(value)


def check_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    """Refuse what is none of the choices."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{name} = {value!r}: choose one of {', '.join(choices)}")
