"""Errors that one rank reports to the others, so that all raise the same error."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import json
import platform
from dataclasses import asdict, dataclass

from evsim.engines.protocol import EngineError
from evsim.storage.files import StorageError


class RankError(RuntimeError):
    """An error of another rank, of a kind that this process does not know."""


_KINDS = {kind.__name__: kind for kind in (EngineError, StorageError)}
_OF_NO_RANK = (EngineError, KeyboardInterrupt, SystemExit)
"""Errors about samples or the whole run, for which it does not matter which rank found them."""


@dataclass(frozen=True)
class Failure:
    """An error in the form in which one rank reports it to the others.

    ``kinds`` contains the names of its class and of the base classes of this class.
    """

    kinds: list[str]
    message: str
    notes: list[str]
    machine: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What other ranks need in order to raise the same error."""
        message = error.code if isinstance(error, SystemExit) else error
        kinds = [kind.__name__ for kind in type(error).__mro__]
        notes = list(getattr(error, "__notes__", ()))
        return cls(kinds, str(message), notes, platform.node())

    def text(self) -> str:
        """The failure as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Failure:
        """The failure in a text."""
        return cls(**json.loads(text))

    @property
    def digest(self) -> int:
        """A number > 0 that is the same for the same kind and message."""
        found = hashlib.sha256(f"{self.kinds[0]}: {self.message}".encode()).digest()
        return 1 + int.from_bytes(found[:7], "little")

    def error(self, rank: int, ranks: int) -> BaseException:
        """The error to raise if a rank has failed; it names the rank, unless that is irrelevant.

        It has the same class, or the nearest base class that is known.
        """
        error = self._without_notes(rank, ranks)
        for note in self.notes:
            error.add_note(note)
        return error

    def _without_notes(self, rank: int, ranks: int) -> BaseException:
        kind = next(kind for name in self.kinds if (kind := _known(name)) is not None)
        if issubclass(kind, SystemExit):
            return kind(int(self.message) if self.message.isdigit() else self.message)
        message = self.message
        if not issubclass(kind, _OF_NO_RANK):
            message = f"rank {rank} of {ranks} on {self.machine}: {message}"
        if kind not in (Exception, BaseException):
            # Some, such as UnicodeDecodeError, require more than a message.
            with contextlib.suppress(TypeError):
                return kind(message)
        return RankError(f"{message} ({self.kinds[0]})")


def _known(name: str) -> type[BaseException] | None:
    """The class of errors of this name; None unless it is Python's or one that ranks send."""
    kind = _KINDS.get(name, getattr(builtins, name, None))
    return kind if isinstance(kind, type) and issubclass(kind, BaseException) else None
