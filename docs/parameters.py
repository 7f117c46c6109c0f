"""Extensions of griffe, which reads the code for the site: what the site says of parameters.

Docstrings describe alike parameters together, ``tau_mem, tau_syn : float``.  Griffe gives all of
such a group the default, and where no type is written the annotation, of the first one that
has any.  So each parameter gets an entry of its own before griffe reads them.

Griffe shows a default as it is written in the code.  For a constant, which a reader of the site
cannot look up, its value is shown instead.  Named tuples get a signature, as dataclasses do.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from typing import Any

from griffe import (
    Attribute,
    Class,
    Expr,
    Extension,
    Function,
    Object,
    ObjectNode,
    Parameter,
    ParameterKind,
    Parameters,
)

SECTION = re.compile(r"^(Parameters|Other Parameters)\n-+\n", re.M)
NEXT_SECTION = re.compile(r"^\S[^\n]*\n-+$", re.M)
GROUP = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)+)( :.*)?$")


class OneByOne(Extension):
    """Takes groups of parameters apart."""

    def on_instance(self, *, node: ast.AST | ObjectNode, obj: Object, **rest: Any) -> None:
        """Rewrite the docstring of what griffe has just found."""
        if obj.docstring is not None:
            obj.docstring.value = one_by_one(obj.docstring.value)


CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")


class RealDefaults(Extension):
    """Shows the values of constants that are defaults, and the signatures of named tuples."""

    def on_function(self, *, func: Function, **rest: Any) -> None:
        """Replace constants among the defaults of a function."""
        for parameter in func.parameters:
            parameter.default = real_default(parameter.default)

    def on_attribute(self, *, attr: Attribute, **rest: Any) -> None:
        """Replace a constant that is the default of a field."""
        if isinstance(attr.parent, Class):
            attr.value = real_default(attr.value)

    def on_class_members(self, *, cls: Class, **rest: Any) -> None:
        """Give a named tuple a signature."""
        if not any(str(base) == "NamedTuple" for base in cls.bases):
            return
        fields = [
            member
            for member in cls.members.values()
            if member.is_attribute and member.annotation and "property" not in member.labels
        ]
        kind = ParameterKind.positional_or_keyword
        parameters = [Parameter("self", kind=kind)] + [
            Parameter(a.name, annotation=a.annotation, kind=kind, default=a.value) for a in fields
        ]
        init = Function("__init__", parameters=Parameters(*parameters), returns="None")
        cls.set_member("__init__", init)


def real_default(default: str | Expr | None) -> str | Expr | None:
    """The default as it is shown: the value of a constant, anything else as it is written."""
    if not CONSTANT.fullmatch(str(default)):
        return default
    module, name = default.canonical_path.rsplit(".", 1)
    value = getattr(importlib.import_module(module), name)
    kind = type(value)
    return f"{kind.__name__}()" if hasattr(value, "__dataclass_fields__") else repr(value)


def one_by_one(docstring: str) -> str:
    """The docstring with an entry for each parameter of a group; it is the same otherwise."""
    section = SECTION.search(docstring)
    if section is None:
        return docstring
    start = section.end()
    following = NEXT_SECTION.search(docstring, start)
    end = len(docstring) if following is None else following.start()
    entries = "\n".join(_apart(docstring[start:end].split("\n")))
    return docstring[:start] + entries + one_by_one(docstring[end:])


def _apart(lines: list[str]) -> Iterator[str]:
    """The lines of entries, each a line at the margin with indented ones below."""
    heads = [number for number, line in enumerate(lines) if line and not line[0].isspace()]
    yield from lines[: heads[0] if heads else None]
    for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        group = GROUP.match(lines[head])
        names = group[1].split(", ") if group else []
        if not group:
            yield from lines[head:end]
        for name in names:
            yield name + (group[2] or "")
            yield from lines[head + 1 : end]
