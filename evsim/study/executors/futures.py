"""Executors with ``submit``: those of ``concurrent.futures``, Dask, mpi4py and submitit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from evsim.study.cells.running import Work, run_cell
from evsim.study.executors.protocol import POLL, Ends, check_importable, outcome_of, sent


class Futures:
    """Anything with ``submit``, whose futures have ``done`` and ``result``."""

    workers = None

    def __init__(self, executor: Any) -> None:
        # A Dask cluster has a client, and a client has an executor that runs equal calls anew.
        if hasattr(executor, "get_client"):
            executor = executor.get_client()
        if hasattr(executor, "get_executor"):
            executor = executor.get_executor(pure=False)
        self.executor = executor

    def check(self, task: str) -> None:
        check_importable(task)

    def run(self, work: Sequence[Work], tick: Callable[[], None], stop: Callable[[], None]) -> Ends:
        running: dict[int, tuple[Any, Work]] = {}
        try:
            with self._together():
                for number, each in enumerate(work):
                    running[number] = self.executor.submit(run_cell, sent(each)), each
            while running:
                for number in [n for n, (future, _) in running.items() if future.done()]:
                    future, each = running.pop(number)
                    yield each, outcome_of(future, each)
                tick()
                time.sleep(POLL)
        except BrokenExecutor as error:
            raise RuntimeError(
                f"the executor is broken ({error}): run the study again with a new one, what is "
                "finished stays"
            ) from error
        except BaseException:
            stop()
            for future, _ in running.values():
                future.cancel()
            raise

    def _together(self) -> contextlib.AbstractContextManager[Any]:
        """A block whose submissions become one array of jobs, where the executor has arrays."""
        batch = getattr(self.executor, "batch", None)
        together: contextlib.AbstractContextManager[Any] = (
            batch() if callable(batch) else contextlib.nullcontext()
        )
        return together
