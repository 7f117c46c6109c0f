"""The files of a cell: its run and the results."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evsim.storage.files import StorageError, write_atomically
from evsim.storage.locks import held, holder_of, is_held

State = Literal["finished", "failed", "running", "interrupted", "waiting"]
"""Interrupted runs continue from their last epoch; waiting ones have not begun."""

STATES: tuple[State, ...] = ("finished", "failed", "running", "interrupted", "waiting")

LOCK = "cell.lock"

WAIT = 1.0
"""Seconds for which a cell waits for its lock; a process that only checks it releases it sooner."""

_LINES_OF_TRACEBACK = 12


class CellFolder:
    """The folder of a cell: a run folder with a few more files.

    ``cell.json`` says what runs in it.  ``result.json`` has the measures of a finished run, and
    ``error.json`` says why a run failed; at most one of them exists.  ``warnings.txt`` has a line
    for each warning of the run.  A process that runs the cell holds the lock ``cell.lock``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cell = path / "cell.json"
        self.result = path / "result.json"
        self.error = path / "error.json"
        self.warned = path / "warnings.txt"
        self.lock = path / LOCK

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running this cell; raises HeldError if one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with held(self.lock, f"runs {self.path.name}", "leave it to that", wait=WAIT):
            yield

    @property
    def is_abandoned(self) -> bool:
        """Whether a process that ran this cell has been killed, and nothing has been done since."""
        return holder_of(self.lock).exists() and not is_held(self.lock)

    def forget_killed(self) -> None:
        """Forget that a process that ran this cell has been killed."""
        holder_of(self.lock).unlink(missing_ok=True)

    @property
    def seems_to_run(self) -> bool:
        """Whether a process runs this cell, or was killed while it did; quick to tell."""
        return holder_of(self.lock).exists()

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        try:
            with open(self.path / "metrics.jsonl", "rb") as file:
                return sum(1 for _ in file)
        except OSError:
            return 0

    def state(self) -> State:
        """The state of the cell."""
        if self.result.exists():
            return "finished"
        if is_held(self.lock):
            return "running"
        if self.error.exists():
            return "failed"
        return "interrupted" if self.epochs else "waiting"

    def must_run(self, retry_failed: bool) -> bool:
        """Whether the cell has no result, and has not failed for good."""
        if self.result.exists():
            return False
        failure = self.failure()
        return failure is None or failure.passes or retry_failed

    def outcome(self) -> dict[str, Any]:
        """The content of result.json; empty if there is none."""
        return read_json(self.result)

    def failure(self) -> Failure | None:
        """Why the run failed."""
        found = read_json(self.error)
        return Failure(**found) if found else None

    def begin(self, description: Mapping[str, Any]) -> None:
        """Write what runs here, and forget an earlier failure.

        Warnings are forgotten, too, unless the run goes on from a finished epoch.
        """
        write_json(self.cell, description)
        self.error.unlink(missing_ok=True)
        if not self.epochs:
            self.warned.unlink(missing_ok=True)

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Write the measures of the finished run."""
        write_json(self.result, outcome)

    def warnings(self) -> list[str]:
        """The warnings of the run, each once, in the order in which they came."""
        try:
            return self.warned.read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return []

    def keeper(self) -> Callable[[str], None]:
        """A function that keeps a warning, a line of text, unless it is kept already."""
        kept = set(self.warnings())

        def keep(text: str) -> None:
            if text not in kept:
                kept.add(text)
                with open(self.warned, "a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(f"{text}\n")

        return keep

    def fail(self, failure: Failure) -> None:
        """Write why the run failed."""
        write_json(self.error, vars(failure))


@dataclass(frozen=True)
class Failure:
    """Why a run failed.

    Parameters
    ----------
    error : str
        The type and the message of the error.
    traceback : str
        Its last lines.
    passes : bool
        Whether the cause may pass, like a full disk: such a run is tried again when the study is
        started again.
    """

    error: str
    traceback: str = ""
    passes: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure for an exception; failures of the machine may pass."""
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        message = " ".join(f"{type(error).__name__}: {error}{notes}".split())
        lines = "".join(traceback.format_exception(error)).splitlines()
        tail = "\n".join(lines[-_LINES_OF_TRACEBACK:])
        return cls(message, tail, isinstance(error, (OSError, MemoryError)))


_RUN_AGAIN = "delete it to run its cell again"


def read_json(path: Path, remedy: str = _RUN_AGAIN) -> dict[str, Any]:
    """The content of a file of a study; empty if there is no such file.

    Raises StorageError for a damaged file; its message ends with the remedy.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is damaged ({error}): {remedy}") from error
    if not isinstance(content, dict):
        raise StorageError(f"{path} is damaged: {remedy}")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of a study, completely or not at all."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
