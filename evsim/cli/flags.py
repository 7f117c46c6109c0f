"""Flags: one for every field of a dataclass.

tyro makes them from the dataclasses of settings; the docstrings of the fields are the help.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

REPEATED = ("vary",)
"""Flags that may be given more than once."""


def flags_of(
    settings_type: type,
    without: Sequence[str] = (),
    positional: Collection[str] = (),
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> type:
    """The fields of a dataclass for tyro, which are not checked when they are set.

    ``defaults`` are those that differ from the defaults of the dataclass; fields in ``positional``
    need no flag.

    They are checked after parsing, because tyro would print an error as if a word were misspelt.
    """
    import tyro

    types, help_texts = get_type_hints(settings_type), field_help(settings_type)
    flags = []
    for field in dataclasses.fields(settings_type):
        if field.name in without:
            continue
        value = defaults.get(field.name, field.default)
        # The help says what a default of None means.
        hint = "" if value is None else None
        shown = tyro.conf.arg(help=help_texts[field.name], help_behavior_hint=hint)
        default = dataclasses.field(default=value)
        kind: Any = Annotated[types[field.name], shown]
        if field.name in REPEATED:
            kind = Annotated[kind, tyro.conf.UseAppendAction]
        if field.name in positional:
            kind = Annotated[kind, tyro.conf.Positional]
        flags.append((field.name, kind, default))
    return dataclasses.make_dataclass("Flags", flags, namespace={"__doc__": settings_type.__doc__})


def field_help(settings_type: type) -> dict[str, str]:
    """The docstring of each field of a dataclass and its bases.

    tyro reads them with the same library, but keeps the line breaks of the source.  There are no
    docstrings if only the bytecode of evsim is installed.
    """
    from docstring_parser import parse_from_object

    found = dict.fromkeys((field.name for field in dataclasses.fields(settings_type)), "")
    for part in reversed(settings_type.__mro__[:-1]):
        for parameter in parse_from_object(part).params:
            found[parameter.arg_name] = " ".join((parameter.description or "").split())
    return found
