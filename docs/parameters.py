"""An extension of griffe, which reads docstrings for the site: a row for each parameter.

Docstrings describe alike parameters together, ``tau_mem, tau_syn : float``.  Griffe gives all of
such a group the default, and where no type is written the annotation, of the first one that
has any.  So each parameter gets an entry of its own before griffe reads them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from griffe import Extension, Object, ObjectNode

SECTION = re.compile(r"^(Parameters|Other Parameters)\n-+\n", re.M)
NEXT_SECTION = re.compile(r"^\S[^\n]*\n-+$", re.M)
GROUP = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)+)( :.*)?$")


class OneByOne(Extension):
    """Takes groups of parameters apart."""

    def on_instance(self, *, node: ast.AST | ObjectNode, obj: Object, **rest: Any) -> None:
        """Rewrite the docstring of what griffe has just found."""
        if obj.docstring is not None:
            obj.docstring.value = one_by_one(obj.docstring.value)


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
