"""Runs a function for many tasks on all CPUs, and stores results, so that a run can continue."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import track

import evsim

FEW = 16  # tasks, for which starting other processes takes longer than the work


def for_each(
    function: Callable[..., Any],
    tasks: Sequence[tuple],
    *,
    title: str,
    kept: Path | None = None,
    settings: dict[str, Any] | None = None,
) -> list[Any]:
    """Call a function with the arguments of each task; return the results in order of the tasks.

    Parameters
    ----------
    function : callable
        A function at the top level of a module, so that other processes find it.  Its results must
        not depend on the process or on earlier calls.
    tasks : sequence of tuple
    title : str
        The title of the progress bar.
    kept : Path, optional
        A file for the results, which must be valid JSON.  Results in the file are not computed
        again if the settings and the version of evsim are the same.
    settings : dict, optional
        The settings of the claim, see ``Claim.settings``.
    """
    header = {"evsim": evsim.__version__, "tasks": len(tasks), "settings": settings}
    results = {} if kept is None else stored(kept, header)
    missing = [number for number in range(len(tasks)) if number not in results]
    if kept is not None and not results:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(header) + "\n", encoding="utf-8")
    computed = over_processes(function, [tasks[number] for number in missing])
    pairs = zip(missing, computed, strict=True)
    for number, result in track(pairs, title, len(missing), transient=True):
        results[number] = result
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps([number, result]) + "\n")
    return [results[number] for number in range(len(tasks))]


def stored(kept: Path, header: dict[str, Any]) -> dict[int, Any]:
    """The stored results by the number of their task; none if the file has another header."""
    if not kept.exists():
        return {}
    first, *lines = kept.read_text(encoding="utf-8").split("\n")
    # Converted to JSON and back, as the header in the file was.
    if first != json.dumps(header):
        return {}
    # The last line is empty or incomplete.
    return dict(json.loads(line) for line in lines[:-1])


def over_processes(function: Callable[..., Any], tasks: Sequence[tuple]) -> Iterator[Any]:
    """Yield the results in the order of the tasks."""
    processes = processors()
    if processes == 1 or len(tasks) <= FEW:
        yield from (function(*task) for task in tasks)
        return
    yield function(*tasks[0])  # compiles everything, so that the processes need not
    # Processes are spawned, because a process that uses a GPU or threads must not be forked.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        columns = zip(*tasks[1:], strict=True)
        yield from pool.map(function, *columns, chunksize=4)


def processors() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
