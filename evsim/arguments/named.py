"""Named: mappings from names that are looked up, which say what a wrong name may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from evsim.arguments.checks import unknown_name

Value = TypeVar("Value")


class UnknownNameError(KeyError, ValueError):
    """A name that a mapping does not have; the message names the nearest, or all there are."""

    def __str__(self) -> str:
        # KeyError shows its argument as a literal.
        return str(self.args[0])


class Named(dict[str, Value]):
    """A mapping that stays as it is made; ``kind`` says what its names are of."""

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
