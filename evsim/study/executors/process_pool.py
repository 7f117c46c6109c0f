"""The built-in executor: processes on this machine, which are replaced when they die."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from evsim.study.cells.folder import Failure
from evsim.study.cells.running import Ended, Work, end_with_parent, run_cell
from evsim.study.executors.protocol import POLL, Ends, outcome_of, sent

DEATHS = 5
"""How often a worker may die with a cell, without an epoch in between, before the cell fails."""

IN_VAIN = 2
"""How often processes may die before any of them has begun a cell."""

IN_FLIGHT = 2
"""Cells for each worker that are submitted at once: few, so that the pool stops quickly."""


class _Context(SpawnContext):
    """A context that remembers the processes it starts, so that they can be ended."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[BaseProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> BaseProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnContext.Process(*args, **kwargs)
        self.started.append(process)
        return process


@dataclass
class _Deaths:
    """How often workers died with a cell after that number of epochs."""

    epochs: int = -1
    count: int = 0


class ProcessPool:
    """Processes on this machine.

    If one dies, the others are ended, and all begin anew with what is not finished; cells continue
    from their last epoch.  A cell with which ``DEATHS`` processes die, without an epoch in between,
    has failed.
    """

    def __init__(self, processes: int) -> None:
        self.workers = processes
        self._deaths: dict[str, _Deaths] = {}
        self._broken_in_vain = 0

    def check(self, task: str) -> None:
        module, _, name = task.partition(":")
        program = sys.modules["__main__"]
        path = getattr(program, "__file__", None)
        if module == "__main__" and path is None:
            raise ValueError(
                f"{name} is defined in an interactive session, which other processes cannot "
                "import: define it in a file"
            )
        if path is not None and program.__spec__ is None and not Path(path).is_file():
            raise ValueError(
                f"the processes of a study import the program that runs it, and {path} is no "
                "file: store the program in one"
            )

    def run(self, work: Sequence[Work], tick: Callable[[], None], stop: Callable[[], None]) -> Ends:
        waiting = deque(work)
        while waiting:
            yield from self._until_it_breaks(waiting, tick)

    def _until_it_breaks(self, waiting: deque[Work], tick: Callable[[], None]) -> Ends:
        """Run cells until none is waiting or a process has died; cells to run again then wait."""
        context = _Context()
        pool = ProcessPoolExecutor(self.workers, context, initializer=_begin_worker)
        running: dict[Future[Any], Work] = {}
        broken = False
        try:
            while (waiting or running) and not broken:
                broken = self._submit(pool, waiting, running)
                for future in [future for future in running if future.done()]:
                    if isinstance(future.exception(), BrokenProcessPool):
                        broken = True
                        continue
                    self._broken_in_vain = 0
                    work = running.pop(future)
                    yield work, outcome_of(future, work)
                tick()
                time.sleep(POLL)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _end(context.started)
            raise
        pool.shutdown()
        yield from self._sorted_out(running, waiting)

    def _submit(
        self, pool: ProcessPoolExecutor, waiting: deque[Work], running: dict[Future[Any], Work]
    ) -> bool:
        """Submit a few cells; returns whether the pool is broken."""
        while waiting and len(running) < IN_FLIGHT * self.workers:
            try:
                running[pool.submit(run_cell, sent(waiting[0]))] = waiting[0]
            except BrokenProcessPool:
                return True
            waiting.popleft()
        return False

    def _sorted_out(self, running: dict[Future[Any], Work], waiting: deque[Work]) -> Ends:
        """Queue the cells again that a broken pool has left; yield those that have failed.

        Cells whose process died come last, so that a cell that kills its process delays no others.
        """
        self._check_begins(running)
        for work in reversed(running.values()):
            if not work.folder.is_abandoned:
                waiting.appendleft(work)
            elif self._has_killed_too_many(work):
                yield work, _killed(work)
            else:
                waiting.append(work)

    def _check_begins(self, left: dict[Future[Any], Work]) -> None:
        """Give up if processes die before they begin to work."""
        if not left or any(work.folder.is_abandoned for work in left.values()):
            return
        self._broken_in_vain += 1
        if self._broken_in_vain >= IN_VAIN:
            raise RuntimeError(
                "the processes of the study end before they begin a cell: a program that runs a "
                "study must do so under if __name__ == '__main__':, since each process imports it"
            )

    def _has_killed_too_many(self, work: Work) -> bool:
        work.folder.forget_killed()
        deaths = self._deaths.setdefault(work.name, _Deaths())
        if work.folder.epochs > deaths.epochs:
            deaths.epochs, deaths.count = work.folder.epochs, 0
        deaths.count += 1
        return deaths.count >= DEATHS


def _begin_worker() -> None:
    # Ctrl-C reaches all processes of a terminal; the one that runs the study ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _killed(work: Work) -> Ended:
    said = f"its process was killed {DEATHS} times, perhaps for lack of memory"
    failure = Failure(said, passes=True)
    work.folder.fail(failure)
    return Ended("failed", failure)


def _end(processes: Sequence[BaseProcess]) -> None:
    """End processes; those that train first store their last epoch."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def default_processes(threads: int) -> int:
    """As many processes as fill the cores of this machine."""
    from evsim._compile.threads import available_threads

    return max(1, available_threads() // threads)
