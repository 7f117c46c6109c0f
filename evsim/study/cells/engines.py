"""Descriptions of engines, from which a process on another machine makes the same engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from evsim.arguments.checks import shown
from evsim.engines import resolve
from evsim.engines.protocol import Engine

THREADS = "threads"
"""The argument of an engine that changes no result."""


def described(engine: Any) -> dict[str, Any]:
    """The description of an engine or of its name, without its number of threads.

    Raises TypeError for an engine with arguments that are not plain values, and ValueError for an
    unknown name.
    """
    if not isinstance(engine, (str, Engine)):
        raise TypeError(f"engine = {shown(engine)}: give a name or an evsim.engines.Engine")
    found: Any = resolve(engine)
    arguments = {}
    if dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            value = getattr(found, field.name)
            if field.name == THREADS or not field.init or value == field.default:
                continue
            if not isinstance(value, (bool, int, float, str)):
                raise TypeError(
                    f"engine has {field.name} = {shown(value)}, which cannot be sent to other "
                    "processes: leave it out"
                )
            arguments[field.name] = value
    kind = type(found)
    return {"engine": f"{kind.__module__}:{kind.__qualname__}", **arguments}


def engine_of(description: Mapping[str, Any], threads: int) -> Engine:
    """The engine that was described, with this number of threads if it has threads."""
    arguments = {name: value for name, value in description.items() if name != "engine"}
    module, _, name = description["engine"].partition(":")
    kind = getattr(import_module(module), name)
    if dataclasses.is_dataclass(kind) and THREADS in {f.name for f in dataclasses.fields(kind)}:
        arguments[THREADS] = threads
    engine: Engine = kind(**arguments)
    return engine
