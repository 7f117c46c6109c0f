"""RunFolder: the files of a training run, which is locked during training."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evsim.arguments.checks import checked_path
from evsim.arguments.keywords import helpful
from evsim.arguments.paths import user_path
from evsim.network.network import Network
from evsim.storage.arrays import load_arrays, save_arrays
from evsim.storage.description import differences
from evsim.storage.files import PARTIAL, StorageError, write_atomically
from evsim.storage.locks import held, holder_of
from evsim.storage.networks import load_network, save_network


class RunFolder:
    """The files of one training run.

    ``config.json`` contains the settings, ``metrics.jsonl`` one line per finished epoch,
    ``machines.json`` the machines and processors on which its epochs were trained,
    ``best.safetensors`` the network of the best epoch (``load_network`` reads it) and
    ``checkpoint.safetensors`` everything that is needed to continue.  Only the checkpoint decides
    which epochs are finished; the other files are rewritten from it when a run is resumed.  A
    process that trains in the folder holds a system lock on the file ``lock``, and ``lock.holder``
    names the process, see ``evsim.storage.locks``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = user_path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.machines = self.path / "machines.json"
        self.best = self.path / "best.safetensors"
        self.checkpoint = self.path / "checkpoint.safetensors"
        self.lock = self.path / "lock"
        self.holder = holder_of(self.lock)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder.

        Raises StorageError for a folder in use.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        remedy = "wait for it, or choose another run_folder"
        with held(self.lock, f"trains in {self.path}", remedy):
            yield

    def begin(
        self, settings: dict[str, Any], *, resume: bool
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Prepare the folder; return the arrays and description of a checkpoint if there is one.

        Raises FileExistsError if there is a checkpoint but ``resume`` is False, and StorageError if
        it is damaged or has other settings.
        """
        loaded = None
        if self.checkpoint.exists():
            if not resume:
                raise FileExistsError(
                    f"{self.path} holds a run already: give resume=True to go on with it, or "
                    "choose another run_folder"
                )
            loaded = load_arrays(self.checkpoint, "checkpoint")
            found = differences(loaded[1]["settings"], settings)
            if found:
                raise StorageError(
                    f"{self.checkpoint} was made with other settings: {'; '.join(found)}. Resume "
                    "with those that are stored, or choose another run_folder"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        for left in self.path.glob(f".*{PARTIAL}"):  # by a process that was killed
            left.unlink(missing_ok=True)
        write_atomically(self.config, (json.dumps(settings, indent=2) + "\n").encode())
        return loaded

    def write_checkpoint(
        self, arrays: Mapping[str, np.ndarray], description: dict[str, Any]
    ) -> None:
        """Replace the checkpoint; the old one is kept until the new one is complete."""
        save_arrays(self.checkpoint, "checkpoint", arrays, description)

    def write_metrics(self, records: Sequence[dict[str, Any]]) -> None:
        """Write one line of JSON per epoch."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.metrics, lines.encode())

    def add_machines(self, epoch: int, machines: Sequence[Mapping[str, Any]]) -> list[str]:
        """Record the machines of the ranks that train the epochs after this one.

        Each machine has a "processor".  Returns the processors of the epochs up to this one.
        """
        starts = []
        if epoch and self.machines.exists():
            starts = [each for each in self._machines() if each["after"] < epoch]
        before = dict.fromkeys(rank["processor"] for start in starts for rank in start["ranks"])
        starts.append({"after": epoch, "ranks": list(machines)})
        write_atomically(self.machines, (json.dumps(starts, indent=2) + "\n").encode())
        return list(before)

    def _machines(self) -> list[dict[str, Any]]:
        try:
            found = json.loads(self.machines.read_text(encoding="utf-8"))
            return [{"after": each["after"], "ranks": list(each["ranks"])} for each in found]
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(
                f"{self.machines} is damaged: delete it to go on without the names of the earlier "
                "processors"
            ) from error

    def write_best(self, network: Network) -> None:
        """Replace the network of the best epoch."""
        save_network(self.best, network)


@helpful
def load(path: str | os.PathLike[str]) -> Network:
    """Load a network from a file, or the best network of a training run from its run folder.

    A file is what ``network.save(path)`` has written.  A run folder is that of ``evsim.fit`` or
    ``evsim train``; its best network is that of the best epoch so far, ``FitResult.network``.

    Raises FileNotFoundError, and StorageError for files that are damaged or not networks.
    """
    path = checked_path(path, "path", "a network's file or a run folder")
    if path.is_file() and path == RunFolder(path.parent).checkpoint:
        raise StorageError(
            f"{path} is the checkpoint of a run: give its folder, evsim.load({str(path.parent)!r})"
        )
    if not path.is_dir():
        return load_network(path)
    best = RunFolder(path).best
    if not best.is_file():
        raise FileNotFoundError(
            f"the folder {path} has no {best.name}: give the folder of a run that has finished an "
            "epoch, or the file of a network"
        )
    return load_network(best)
