"""Mappings from names: read-only ones that help with unknown names, and lazy ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

from evsim.arguments.checks import unknown_name

Value = TypeVar("Value")


class UnknownNameError(KeyError, ValueError):
    """A mapping does not have a name; the message suggests the nearest, or lists all."""

    def __str__(self) -> str:
        # KeyError shows its argument as a literal.
        return str(self.args[0])


class Named(dict[str, Value]):
    """A read-only mapping; ``kind`` says what its keys name."""

    kind = "entry"

    def __init__(
        self,
        entries: Mapping[str, Value] | Iterable[tuple[str, Value]] = (),
        kind: str | None = None,
    ) -> None:
        super().__init__(entries)
        if kind is not None:
            self.__dict__["kind"] = kind

    def __missing__(self, name: Any) -> Value:
        raise UnknownNameError(unknown_name(self.kind, name, self))

    def _refuse_change(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"the mapping by {self.kind} is read-only: change a copy, dict(...)")

    __setitem__ = __delitem__ = __ior__ = _refuse_change
    update = pop = popitem = clear = setdefault = _refuse_change

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.kind)

    def copy(self) -> dict[str, Value]:
        """An ordinary dict with the same entries."""
        return dict(self)


class OnDemand(Mapping[str, Value]):
    """A mapping that is computed when it is first accessed."""

    def __init__(self, compute: Callable[[], Mapping[str, Value]]) -> None:
        self._compute = compute

    @cached_property
    def _entries(self) -> Mapping[str, Value]:
        return self._compute()

    def __getitem__(self, name: str) -> Value:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self._entries),)
