"""run_cell: what a process on any machine does for a study, namely run one cell.

Its argument and its result are plain values, so that any executor can send them.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from evsim.display.processor import processor_name
from evsim.storage.locks import HeldError
from evsim.study.cells.engines import engine_of
from evsim.study.cells.folder import CellFolder, Failure
from evsim.study.cells.kept_warnings import kept_warnings
from evsim.study.cells.plan import RunPlace, RunPlan
from evsim.study.cells.stopping import StopWhenAsked
from evsim.study.cells.subjects import subject_named
from evsim.training.termination import Terminated, terminable

STUDY_FILE = "study.json"
CELLS = "cells"

Ending = Literal["finished", "failed", "held", "interrupted"]


@dataclass(frozen=True)
class Work:
    """One cell to run.

    Parameters
    ----------
    evsim : str
        The version of evsim that sends the work; others refuse it.
    study : str
        The folder of the study.
    name : str
        The name of the cell.
    task : str
        What is run, "module:name".
    plan : dict
        The arguments of RunPlan.
    engine : dict
        The description of the engine.
    threads : int
    run : str
        The name of this run of the study, by which it can be stopped.
    retry_failed : bool
    """

    evsim: str
    study: str
    name: str
    task: str
    plan: dict[str, Any]
    engine: dict[str, Any]
    threads: int
    run: str
    retry_failed: bool = False

    @property
    def folder(self) -> CellFolder:
        """The folder of the cell."""
        return CellFolder(Path(self.study) / CELLS / self.name)


@dataclass(frozen=True)
class Ended:
    """How the work on a cell ended.

    Parameters
    ----------
    ending : str
        "finished", "failed", "held" by another process, or "interrupted".
    failure : Failure or None
    disk_is_full : bool
        Whether nothing more can be stored, so that the study has to end.
    """

    ending: Ending
    failure: Failure | None = None
    disk_is_full: bool = False


def run_cell(given: Mapping[str, Any]) -> dict[str, Any]:
    """Run one cell, unless it is finished or another process runs it.

    ``given`` are the arguments of ``Work``, the result are those of ``Ended``.

    Raises RuntimeError if this process has another version of evsim, and FileNotFoundError if it
    does not see the folder of the study.
    """
    _check_version(given)
    work = Work(**given)
    _check_folder(work)
    end_with_parent()
    try:
        with terminable():
            ended = _run_locked(work)
    except Terminated:
        if threading.current_thread() is threading.main_thread() and _is_child():
            # An executor would catch the exception and wait for more work.
            os.kill(os.getpid(), signal.SIGTERM)
        raise
    return asdict(ended)


def evsim_version() -> str:
    """The version of this evsim."""
    return str(import_module("evsim").__version__)


def _check_version(given: Mapping[str, Any]) -> None:
    own = evsim_version()
    if given["evsim"] != own:
        raise RuntimeError(
            f"the worker on {platform.node()} has evsim {own}, and the study was started with "
            f"evsim {given['evsim']}: install the same version on both"
        )


def _check_folder(work: Work) -> None:
    if not (Path(work.study) / STUDY_FILE).exists():
        raise FileNotFoundError(
            f"the worker on {platform.node()} does not see the study's folder {work.study}: put "
            "it where all machines see it"
        )


# -- one cell -----------------------------------------------------------------------------


def _run_locked(work: Work) -> Ended:
    folder = work.folder
    try:
        with folder.locked():
            if not folder.must_run(work.retry_failed):
                return Ended("finished" if folder.result.exists() else "failed", folder.failure())
            return _run(work)
    except HeldError as error:
        return Ended("held", Failure(str(error)))
    except KeyboardInterrupt:
        return Ended("interrupted")
    except OSError as error:  # the folder of the cell cannot be written
        return _failed(work, error)


def _run(work: Work) -> Ended:
    """Run the cell and write its results."""
    started = time.monotonic()
    stop = StopWhenAsked(Path(work.study), work.run)
    try:
        plan = RunPlan(**work.plan)
        work.folder.begin(work.plan)
        engine = engine_of(work.engine, work.threads)
        place = RunPlace(engine, work.folder.path, stop)
        # What this imports may set filters of warnings, which then hold for all runs.
        subject = subject_named(work.task)
        with kept_warnings(work.folder.keeper()):
            measures = subject.run(plan, place)
        work.folder.finish(
            {
                "measures": measures,
                "seconds": round(_seconds(work, time.monotonic() - started), 3),
                "evsim": work.evsim,
                "versions": _versions(),
                "processor": processor_name(),
                "machine": platform.node(),
            }
        )
    except Terminated:
        raise
    except (Exception, SystemExit) as error:
        return _failed(work, error)
    return Ended("finished")


def _failed(work: Work, error: Exception | SystemExit) -> Ended:
    failure = Failure.of(error)
    try:
        work.folder.fail(failure)
    except OSError as another:
        if not _is_of_full_disk(error):
            failure = replace(failure, error=f"{failure.error}; {another}", passes=True)
        return Ended("failed", failure, _is_of_full_disk(error) or _is_of_full_disk(another))
    return Ended("failed", failure, _is_of_full_disk(error))


def _is_of_full_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _seconds(work: Work, since_start: float) -> float:
    """How long the run took, including epochs before an interruption."""
    try:
        lines = (work.folder.path / "metrics.jsonl").read_text().splitlines()
        return max(since_start, float(sum(json.loads(line)["seconds"] for line in lines)))
    except (OSError, ValueError, KeyError):
        return since_start


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    found = {name: version(name) for name in ("numpy", "scipy", "numba")}
    return {"python": platform.python_version(), **found}


# -- the process --------------------------------------------------------------------------


def _is_child() -> bool:
    import multiprocessing

    return multiprocessing.parent_process() is not None


_watching = threading.Lock()


def end_with_parent() -> None:
    """End this process, as SIGTERM does, when the process that started it has been killed.

    A process of a pool would otherwise finish its cell and then wait for work forever.
    """
    import multiprocessing

    parent = multiprocessing.parent_process()
    # joblib's processes have no sentinel of their parent; they end by themselves when idle.
    if parent is None or parent.sentinel is None or not _watching.acquire(blocking=False):
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="evsim end with parent").start()
