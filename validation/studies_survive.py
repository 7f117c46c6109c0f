"""A study ends with the same bits however often its processes are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from claims import Claim, Finding, Table

from evsim.storage import load_arrays
from evsim.study import Study, StudyResults, load_study
from evsim.tasks import yin_yang

SETTINGS = {"epochs": 100, "train_size": 300, "validation_size": 100, "test_size": 100}

PROGRAM = """
import json, sys
from evsim.study import Study
from evsim.tasks import yin_yang

if __name__ == "__main__":
    folder, seeds, grid, settings = map(json.loads, sys.argv[1:])
    study = Study(yin_yang, grid, seeds=seeds, folder=folder, settings=settings)
    study.run(processes=2, progress=False)
"""


@dataclass(frozen=True)
class StudiesSurvive(Claim):
    """A study ends with the same bits however often its processes are killed.

    The comparison is with the same study without an accident. Studies of Yin-Yang, with two sizes,
    with and without delays, and two seeds, run on two processes. At random moments one of the
    processes that train is killed by SIGKILL; the study goes on by itself. Others are killed as a
    whole, and started again, as often. Compared are the measures of all runs, and all numbers of
    their checkpoints: parameters, states of the optimisers, and the records of all epochs but for
    the times they took.

    Refuted by one number that differs, and by a run that is not finished.
    """

    against = "the same study without an accident"
    counts = ("kills", "sizes", "seeds")

    kills: int = 20
    sizes: int = 2
    seeds: int = 2
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Run studies until enough processes have been killed in both ways."""
        expected = self._study(folder / "undisturbed")
        expected.run(processes=2, progress=False)
        generator = np.random.default_rng(self.seed)
        rows, refutations = [], []
        for what, disturb in (("a process", self._kill_some), ("the study", self._kill_all)):
            killed = studies = 0
            while killed < self.kills:
                place = folder / f"{what.split()[1]} {studies}"
                killed += disturb(place, self.kills - killed, generator)
                studies += 1
                refutations += [
                    f"{what} was killed, {name}"
                    for name in differences(expected, load_study(place))
                ]
            rows.append([what, str(killed), str(studies), str(studies * len(expected.cells))])
        kills = sum(int(row[1]) for row in rows)
        runs = sum(int(row[3]) for row in rows)
        return Finding.of(
            f"{kills} kills in {runs} runs; {len(refutations)} of these runs differ.",
            refutations,
            [Table("Kills", ["what was killed", "kills", "studies", "runs compared"], rows)],
        )

    @property
    def grid(self) -> dict[str, list[Any]]:
        """The settings that vary."""
        return {"hidden": [5 * (size + 1) for size in range(self.sizes)], "delays": [True, False]}

    def _study(self, folder: Path) -> Study:
        return Study(yin_yang, self.grid, seeds=self.seeds, folder=folder, settings=SETTINGS)

    def _kill_some(self, folder: Path, most: int, generator: np.random.Generator) -> int:
        """Run a study, and kill at most ``most`` of its processes; return their number."""
        study = self._study(folder)
        ended = threading.Event()
        killed: list[int] = []

        def kill() -> None:
            while not ended.is_set() and len(killed) < most:
                ended.wait(generator.uniform(0.0, 4.0))
                numbers = list(working(study))
                if numbers:
                    os.kill(generator.choice(numbers), signal.SIGKILL)
                    killed.append(1)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            study.run(processes=2, progress=False)
        finally:
            ended.set()
            thread.join()
        return len(killed)

    def _kill_all(self, folder: Path, most: int, generator: np.random.Generator) -> int:
        """Start a study repeatedly until it ends, and kill it at most ``most`` times."""
        words = map(json.dumps, (str(folder), self.seeds, self.grid, SETTINGS))
        command = [sys.executable, "-c", PROGRAM, *words]
        killed = 0
        while True:
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            try:
                limit = generator.uniform(2.0, 6.0) if killed < most else None
                process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
            else:
                break
        return killed


def working(study: StudyResults) -> Iterator[int]:
    """The numbers of the processes that run a cell."""
    for cell in study.cells:
        folder = study.cell_folder(cell)
        if folder.state() == "running":
            try:
                yield int((folder.path / "cell.lock.holder").read_text().split()[0])
            except (OSError, IndexError):  # it has just ended
                continue


def differences(expected: StudyResults, found: StudyResults) -> Iterator[str]:
    """The differences between two studies, run by run."""
    for one, other in zip(expected.table().rows, found.table().rows, strict=True):
        changed = [k for k in one if k != "seconds" and one[k] != other.get(k)]
        if changed:
            yield f"{other}: {', '.join(changed)} differ"
    for cell in expected.cells:
        one, other = (contents(study.cell_folder(cell).path) for study in (expected, found))
        if one != other:
            yield f"{cell.name}: the checkpoints differ"


def contents(folder: Path) -> Any:
    """The content of a checkpoint, except for the times that epochs took."""
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return None
    arrays, description = load_arrays(path, "checkpoint")
    for record in description["history"]:
        del record["seconds"]
    return {name: array.tobytes() for name, array in arrays.items()}, description
