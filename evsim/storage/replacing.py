"""Deleting a run that is replaced: its files and nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from evsim.storage.files import name_when_complete
from evsim.storage.run_folder import RunFolder

NAMED = ("settings.json", "config.json")
"""A folder that contains one of these files, as written by runs, is a run folder."""

WRITTEN = {
    *NAMED,
    "metrics.jsonl",
    "machines.json",
    "checkpoint.safetensors",
    "best.safetensors",
    "test.json",
    "folds.json",
    "lock",
    "lock.holder",
}
"""The files of a run; while a file is being written, ``.NAME.RANDOM.partial`` also exists."""

PICTURES = "pictures"


def remove_run(folder: Path) -> None:
    """Delete everything that a run has written into its folder, which may be empty or missing.

    Raises ValueError, before anything is deleted, for a folder without a run or with other files,
    and StorageError for a folder in which a process is training.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not _is_run(folder):
        raise ValueError(
            f"{folder} holds files but no run that could be replaced: choose another folder"
        )
    found = list(_written(folder))
    whole = RunFolder(folder)
    folds = [RunFolder(path) for path in found if _is_folder(path) and path.name != PICTURES]
    with whole.locked():
        with contextlib.ExitStack() as locks:
            for fold in folds:  # all of them, before anything is deleted
                locks.enter_context(fold.locked())
            kept = {run.lock for run in (whole, *folds)}
            for path in found:
                if not _is_folder(path) and path not in kept:
                    path.unlink(missing_ok=True)
        for fold in folds:
            fold.lock.unlink(missing_ok=True)
        for path in filter(_is_folder, found):
            path.rmdir()


def _written(folder: Path) -> Iterator[Path]:
    """The files and folders of a run; a folder comes after its content."""
    for path in sorted(folder.iterdir()):
        if _is_folder(path):
            if path.name == PICTURES:
                yield from _pictures(path)
            elif _is_run(path):  # a fold of a cross-validation
                yield from _written(path)
            else:
                raise _foreign(path)
        elif name_when_complete(path.name) not in WRITTEN:
            raise _foreign(path)
        yield path


def _pictures(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not name_when_complete(path.name).endswith(".png"):
            raise _foreign(path)
        yield path


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_run(folder: Path) -> bool:
    """Whether a run has written its settings into this folder."""
    for name in NAMED:
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and {"task", "network"} & content.keys():
            return True
    return False


def _foreign(path: Path) -> ValueError:
    return ValueError(
        f"{path} was not written by a run, so {path.parent} is not replaced: move it away, or "
        "choose another folder"
    )
