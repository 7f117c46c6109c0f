"""Study: a grid of settings, seeds and folds; every run is stored in a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evsim.arguments.checks import check_flag, checked_count, checked_path, shown
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.storage.files import check_no_file
from evsim.study.cells.cell import Cell, check_names
from evsim.study.cells.engines import described, engine_of
from evsim.study.cells.plan import Folds, RunPlan, Subject
from evsim.study.cells.running import Ended, Work, evsim_version
from evsim.study.cells.stopping import stop
from evsim.study.cells.subjects import subject_of
from evsim.study.description import Description, stored_in
from evsim.study.executors.choice import runner_for
from evsim.study.executors.protocol import Runner
from evsim.study.grid import check_size, checked_grid, checked_seeds, checked_settings, combinations
from evsim.study.progress import StudyProgress, progress_for
from evsim.study.results import StudyResults
from evsim.study.table import Table

MOST_FOLDS = 10**6


@helpful
class Study(StudyResults):
    """Runs of a task with every combination of some settings, with several seeds.

    Every run has a folder of its own in the folder of the study.  A study that was stopped in any
    way continues where it stopped when it is run again, with bit-identical results.

    Parameters
    ----------
    task : module, experiment or function
        A task, such as ``evsim.tasks.yin_yang``; or a function of the settings, a dict, and the
        seed, that returns a number, an Evaluation, a FitResult or a mapping from names to
        numbers.  Other processes must find it by its module and name; the text "module:name" also
        names one.  A function with an argument ``folder`` also receives the folder of the run.
    grid : mapping from setting to list
        The values of the settings that vary; every combination is run.
    seeds : int or sequence of int
        The seeds of every combination; a number n stands for 0 to n - 1.
    folder : path
        Where the study is stored.  All machines that run it must see it at this path.
    settings : mapping, optional
        The settings that are the same in all runs.
    folds : int or "groups", optional
        Run each combination once for each fold of the training samples, without validation
        samples, and test on what is held out: k parts, see ``k_fold``, or "groups" to leave one
        group out.  The division is the same for all seeds.
    validate : bool
        If False, a task's validation samples are training samples too, and influence no choice.
    engine : str or Engine
    allow_large : bool
        Allow more than 10,000 runs.

    Raises
    ------
    TypeError, ValueError
        For settings that the task does not have or does not accept, in any combination.
    """

    def __init__(
        self,
        task: Any,
        grid: Mapping[str, Sequence[Any]],
        *,
        seeds: int | Iterable[int],
        folder: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        folds: int | str | None = None,
        validate: bool = True,
        engine: Any = "exact",
        allow_large: bool = False,
    ) -> None:
        self._subject: Subject = subject_of(task)
        varied = checked_grid(grid)
        fixed = checked_settings({} if settings is None else settings, varied)
        chosen = checked_seeds(seeds)
        place = checked_path(folder, "folder").absolute()
        check_no_file(place, "folder")
        folds = _checked_folds(folds)
        check_flag(validate, "validate")
        check_size(varied, len(chosen) * (folds if isinstance(folds, int) else 1), allow_large)
        for combination in combinations(varied):
            self._subject.check({**fixed, **combination}, chosen[0])
        description = Description(
            task=self._subject.reference,
            grid=varied,
            seeds=chosen,
            folds=folds,
            fold_names=[],
            settings=fixed,
            validate=bool(validate),
            engine=described(engine),
            evsim=evsim_version(),
        )
        super().__init__(_with_fold_names(description, self._subject, place), place)
        check_names(self.cells)

    def __repr__(self) -> str:
        return (
            f"Study({self.description.title!r}, {number_of(len(self.cells), 'run')}, "
            f"{str(self.folder)!r})"
        )

    def run(
        self,
        executor: Any | None = None,
        *,
        processes: int | None = None,
        threads: int = 1,
        retry_failed: bool = False,
        progress: bool = True,
    ) -> Table:
        """Run what is not finished, and return the table.

        Runs that have failed are not repeated, unless the machine failed; their error is in the
        table.  Runs that another process is working on are left to that process.

        Parameters
        ----------
        executor : executor, optional
            Where to run: an object with ``submit``, such as an executor of ``concurrent.futures``
            or mpi4py, a ``distributed.Client`` or cluster, a ``submitit.Executor``; or a
            ``joblib.Parallel``.  By default, processes on this machine.
        processes : int, optional
            Their number; by default as many as fill the cores.
        threads : int
            The threads of each run.
        retry_failed : bool
            Also repeat runs that have failed.
        progress : bool
            Show the progress on standard error: a table on a terminal, otherwise plain lines.

        Raises
        ------
        TypeError, ValueError
            For anything that is not an executor, for a task that its processes cannot find, and for
            the folder of another study.
        OSError
            If the disk is full.
        RuntimeError
            If the executor can run nothing any more, such as a ``ProcessPoolExecutor`` after one of
            its processes has died.
        KeyboardInterrupt
            After Ctrl-C.  Runs first store their last epoch.
        """
        threads = checked_count(threads, "threads", 1, 10_000)
        check_flag(retry_failed, "retry_failed")
        check_flag(progress, "progress")
        runner = runner_for(executor, processes, threads)
        runner.check(self._subject.reference)
        self.description.store(self.folder)
        name = uuid.uuid4().hex
        work = [
            self._work(cell, threads, name, retry_failed)
            for cell in self.cells
            if self.cell_folder(cell).must_run(retry_failed)
        ]
        finished = self.status()["finished"]
        if work and executor is None:
            first = work[0]
            self._subject.compile(first.plan["settings"], engine_of(first.engine, threads))
        with progress_for(progress, work, finished, self._epochs(work)) as display:
            self._run_until_held(runner, work, display, name)
        return self.table()

    def _work(self, cell: Cell, threads: int, name: str, retry_failed: bool) -> Work:
        told = self.description
        settings = {**told.settings, **cell.settings}
        plan = RunPlan(settings, cell.seed, told.folds, cell.fold, told.validate)
        return Work(
            evsim=told.evsim,
            study=str(self.folder),
            name=cell.name,
            task=told.task,
            plan=asdict(plan),
            engine=told.engine,
            threads=threads,
            run=name,
            retry_failed=retry_failed,
        )

    def _epochs(self, work: Sequence[Work]) -> dict[str, int | None]:
        return {each.name: self._subject.epochs(each.plan["settings"]) for each in work}

    def _run_until_held(
        self, runner: Runner, work: Sequence[Work], display: StudyProgress, name: str
    ) -> None:
        """Run all cells; retry those held by other processes until only such cells are left."""
        while work:
            held = self._run_once(runner, work, display, name)
            if len(held) == len(work):
                display.say(f"{len(held)} runs are left to other processes, which work on them")
                return
            work = held

    def _run_once(
        self, runner: Runner, work: Sequence[Work], display: StudyProgress, name: str
    ) -> list[Work]:
        """Run all cells once; returns those that other processes hold."""
        held = []
        ending = runner.run(work, display.tick, lambda: stop(self.folder, name))
        with contextlib.closing(ending):
            for each, ended in ending:
                if ended.ending == "held":
                    held.append(each)
                    continue
                display.ended(each, ended)
                _keep_failure(each, ended)
                if ended.disk_is_full and ended.failure is not None:
                    raise OSError(
                        errno.ENOSPC,
                        f"the study ends, since {ended.failure.error}; run it again to go on",
                    )
        return held


def _keep_failure(work: Work, ended: Ended) -> None:
    """Store the error of a cell if its worker could not do so."""
    if ended.ending != "failed" or ended.failure is None or work.folder.error.exists():
        return
    with contextlib.suppress(OSError):
        work.folder.path.mkdir(parents=True, exist_ok=True)
        work.folder.fail(ended.failure)


def _checked_folds(folds: Any) -> Folds:
    if folds is None:
        return None
    if isinstance(folds, str):
        if folds != "groups":
            raise ValueError(f"folds = {shown(folds)}: give 'groups' or the number of parts")
        return folds
    return checked_count(folds, "folds", 2, MOST_FOLDS)


def _with_fold_names(description: Description, subject: Subject, folder: Path) -> Description:
    """The description with the names of the folds, for which the data are read once."""
    if description.folds is None:
        return description
    stored = stored_in(folder)
    if stored is not None and (stored.folds, stored.settings) == (
        description.folds,
        description.settings,
    ):
        names = stored.fold_names
    else:
        settings = {**description.settings, **combinations(description.grid)[0]}
        names = subject.fold_names(settings, description.folds)
    return replace(description, fold_names=names)
