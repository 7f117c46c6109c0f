"""joblib.Parallel as an executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from evsim.study.cells.running import Work, run_cell
from evsim.study.executors.protocol import Ends, check_importable, ended, lost, sent


class Joblib:
    """A ``joblib.Parallel``; with ``return_as="generator"`` it reports each cell as it ends."""

    def __init__(self, parallel: Any) -> None:
        self.parallel = parallel
        self.workers = None

    def check(self, task: str) -> None:
        check_importable(task)

    def run(self, work: Sequence[Work], tick: Callable[[], None], stop: Callable[[], None]) -> Ends:
        calls: list[Any] = [(_run_named, (each.name, sent(each)), {}) for each in work]
        by_name = {each.name: each for each in work}
        try:
            for name, result in self.parallel(calls):
                yield by_name[name], ended(result)
                tick()
        except BaseException:
            stop()
            raise


def _run_named(name: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Run a cell and name it: results may come in any order, and an error would end them all."""
    try:
        return name, run_cell(given)
    except Exception as error:
        return name, asdict(lost(error, Work(**given)))
