"""Which runner fits the executor that a user gives."""

from __future__ import annotations

from typing import Any

from evsim.arguments.checks import checked_count, shown
from evsim.study.executors.futures import Futures
from evsim.study.executors.joblib import Joblib
from evsim.study.executors.process_pool import ProcessPool, default_processes
from evsim.study.executors.protocol import Runner


def runner_for(executor: Any, processes: Any, threads: int) -> Runner:
    """The runner of cells on an executor, or without one on processes of this machine.

    Raises TypeError for anything that is not an executor.
    """
    if executor is None:
        if processes is None:
            return ProcessPool(default_processes(threads))
        return ProcessPool(checked_count(processes, "processes", 1, 10_000))
    if processes is not None:
        raise ValueError("processes are those of the built-in pool: leave them or executor out")
    if isinstance(executor, type):
        raise TypeError(f"executor = {shown(executor)}: {_WHAT}")
    if callable(getattr(executor, "submit", None)) or hasattr(executor, "get_client"):
        return Futures(executor)
    if callable(executor) and hasattr(executor, "n_jobs"):
        return Joblib(executor)
    raise TypeError(f"executor = {shown(executor)}: {_WHAT}")


_WHAT = (
    "give an object with submit, such as a concurrent.futures.ProcessPoolExecutor or a "
    "distributed.Client, or a joblib.Parallel"
)
