"""Descriptions of settings that JSON can represent, and the differences between two of them."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from evsim.arguments.checks import shown
from evsim.storage.arrays import checksum

ADDED_LATER = MappingProxyType({"added later": True})
"""The metadata of a dataclass field that earlier versions of evsim did not have.

Its default is left out of descriptions, so that runs of those versions can be resumed.
"""


def describe(value: Any) -> Any:
    """A description of a setting that JSON can represent, so that two runs can be compared.

    Dataclasses become mappings of their fields, functions their names, arrays their checksums.
    Raises TypeError for anything without attributes that is none of these.
    """
    if isinstance(value, np.bool_):
        return bool(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(map(describe, value), key=repr)
    if isinstance(value, (float, np.number)):
        return float(value) if np.isfinite(value) else str(float(value))
    if isinstance(value, np.ndarray):
        return checksum({"": value})
    if isinstance(value, Mapping):
        return {str(key): describe(entry) for key, entry in value.items()}
    if isinstance(value, Sequence):
        return [describe(entry) for entry in value]
    if isinstance(value, functools.partial):
        return [describe(part) for part in (value.func, value.args, value.keywords)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: getattr(value, f.name)
            for f in dataclasses.fields(value)
            if not (f.metadata == ADDED_LATER and getattr(value, f.name) == f.default)
        }
        return {"type": type(value).__name__, **describe(fields)}
    if hasattr(value, "__name__"):
        # NumPy's own functions name their module from version 2.2 on.
        module = getattr(value, "__module__", "numpy")
        return f"{module}.{getattr(value, '__qualname__', value.__name__)}"
    if not hasattr(value, "__dict__"):
        raise TypeError(
            f"{shown(value)} cannot be described, so that a run with it could not be resumed: give "
            "numbers, text, lists, mappings, functions, or objects with attributes"
        )
    fields = {k: v for k, v in vars(value).items() if not k.startswith("_")}
    return {"type": type(value).__name__, **describe(fields)}


def differences(stored: Any, asked: Any, path: str = "") -> list[str]:
    """One line for each setting in which two descriptions differ."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        lines = []
        for key in [*stored, *(key for key in asked if key not in stored)]:
            entry = f"{path}.{key}" if path else key
            lines += differences(stored.get(key, "absent"), asked.get(key, "absent"), entry)
        return lines
    if isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked):
        pairs = enumerate(zip(stored, asked, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{path}[{i}]")]
    return [] if stored == asked else [f"{path}: {stored} is stored, {asked} is asked for"]
