"""Errors that one rank tells the others, so that all raise the same."""

from __future__ import annotations

import builtins
import hashlib
import json
import platform
from dataclasses import asdict, dataclass

from evsim.engines.protocol import EngineError
from evsim.storage.files import StorageError


class RankError(RuntimeError):
    """An error of another rank, of a kind that this process does not know."""


_KINDS: tuple[type[BaseException], ...] = (EngineError, StorageError)
_OF_NO_RANK = ("EngineError", "KeyboardInterrupt", "SystemExit")
"""Errors that are about samples or the whole run, so that it does not matter who found them."""


@dataclass(frozen=True)
class Failure:
    """An error, as one rank tells it to the others."""

    kind: str
    message: str
    machine: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What others need in order to raise the same."""
        message = error.code if isinstance(error, SystemExit) else error
        return cls(type(error).__name__, str(message), platform.node())

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
        found = hashlib.sha256(f"{self.kind}: {self.message}".encode()).digest()
        return 1 + int.from_bytes(found[:7], "little")

    def error(self, rank: int, ranks: int, *, is_everywhere: bool) -> BaseException:
        """The error to raise; its message names the rank unless that does not matter."""
        message = self.message
        if not is_everywhere and self.kind not in _OF_NO_RANK:
            message = f"rank {rank} of {ranks} on {self.machine}: {message}"
        kind = next((one for one in _KINDS if one.__name__ == self.kind), None)
        if kind is None:
            kind = getattr(builtins, self.kind, None)
        if kind is SystemExit:
            return SystemExit(int(message) if message.isdigit() else message)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            return RankError(f"{message} ({self.kind})")
        try:
            return kind(message)
        except TypeError:  # such as UnicodeDecodeError, which wants more than a message
            return RankError(f"{message} ({self.kind})")
