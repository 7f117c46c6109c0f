"""What a study needs from an executor."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import asdict
from typing import Any, Protocol

from evsim.study.cells.folder import Failure
from evsim.study.cells.running import Ended, Work

POLL = 0.05
"""Seconds between two checks of what has ended."""


Ends = Generator[tuple[Work, Ended], None, None]
"""Each cell with how it ended."""


class Runner(Protocol):
    """What runs the cells of a study."""

    @property
    def workers(self) -> int | None:
        """How many cells run at once; None if it is not known."""

    def check(self, task: str) -> None:
        """Refuse a task, "module:name", that its processes cannot find."""

    def run(self, work: Sequence[Work], tick: Callable[[], None], stop: Callable[[], None]) -> Ends:
        """Run all cells, and yield each as it ends.

        ``tick`` is called often while they run.  If an exception ends the iteration, ``stop`` is
        called, which tells processes on all machines to stop.
        """


def outcome_of(future: Any, work: Work) -> Ended:
    """How the cell of a finished future ended; BrokenExecutor if no cell can run any more."""
    try:
        return ended(future.result())
    except BrokenExecutor:
        raise
    except Exception as error:
        return lost(error, work)


def ended(result: dict[str, Any]) -> Ended:
    """The result of ``run_cell`` as it was before it was sent."""
    failure = result["failure"]
    return Ended(**{**result, "failure": failure and Failure(**failure)})


def lost(error: BaseException, work: Work) -> Ended:
    """The outcome of a cell whose worker raised or died: it is tried again at the next start."""
    name = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and str(name).partition(".")[0] == "evsim":
        error = RuntimeError(
            f"a worker does not have evsim {work.evsim} ({error}): install it there"
        )
    failure = Failure.of(error)
    return Ended("failed", Failure(failure.error, failure.traceback, passes=True))


def sent(work: Work) -> dict[str, Any]:
    """The work in the form in which it is sent."""
    return asdict(work)


def check_importable(task: str) -> None:
    """Refuse a task of the main program, which processes elsewhere cannot import."""
    module, _, name = task.partition(":")
    if module == "__main__":
        raise ValueError(
            f"{name} is defined in the main program, which the workers of this executor cannot "
            "import: define it in a module of its own"
        )
