"""Networks and training runs on disk.

Every file is written whole, under another name, and then renamed: a reader, or a run that
comes back after being killed, finds the old file or the new one, never a part of one.
Arrays are stored as safetensors with a checksum; loading executes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import inspect
import json
import os
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evsim.checks import check_is, checked_path
from evsim.keywords import helpful
from evsim.network import LI, LIF, Connection, Input, Network, Population
from evsim.parameters import Parameter, is_sparse
from evsim.paths import user_path

_VERSIONS = {"checkpoint": 2}
"""Of the description in a file; 1 for the kinds that are not here."""

_KINDS: dict[str, type[Population]] = {kind.__name__: kind for kind in (Input, LIF, LI)}
_SPARSE_PARTS = ("data", "indices", "indptr")


class StorageError(ValueError):
    """A file that cannot be used; the message names it and what to do."""


# -- files --------------------------------------------------------------------------------


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that, whatever happens, it holds its old content or the new."""
    # A link stays, and what it leads to is replaced.
    path = Path(os.path.realpath(user_path(path)))
    # One fixed name per file: what a killed run leaves behind, the next one overwrites.
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if error.errno not in _DISK_FULL:
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}: {path} could not be written and holds what it held before; free "
            f"some of the disk, {len(content)} bytes at least, and go on from there",
        ) from error
    if os.name == "posix":  # the renaming itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save_arrays(
    path: str | os.PathLike[str], kind: str, arrays: Mapping[str, np.ndarray], description: Any
) -> None:
    """Store named arrays with a description that json can hold, as one safetensors file.

    ``kind`` says what the file is, such as "network"; ``load_arrays`` asks for the same.
    """
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(description)
    metadata = {
        "format": _format(kind),
        "description": text,
        "sha256": checksum({**contiguous, "description": _as_array(text)}),
    }
    write_atomically(path, save(contiguous, metadata))


def load_arrays(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays and the description that ``save_arrays`` stored.

    Raises FileNotFoundError, and StorageError for files that are damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            # Copies, as what safetensors returns may be a view of the file.
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    # The last three: a type of numbers that NumPy does not have, and text that is none.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise StorageError(
            f"{path} cannot be read, it is damaged or no evsim {kind} ({error}): restore it from a "
            "copy, or delete it"
        ) from error
    found = metadata.get("format", "a file without evsim's description")
    if found != _format(kind):
        other = found.startswith(f"evsim {kind} ")
        remedy = ": it was written by another version of evsim, go on with that" if other else ""
        raise StorageError(f"{path} is {found!r}, not {_format(kind)!r}{remedy}")
    text = metadata.get("description", "")
    if metadata.get("sha256") != checksum({**arrays, "description": _as_array(text)}):
        raise StorageError(
            f"{path} is damaged, its checksum does not fit: restore it from a copy, or delete it"
        )
    try:
        return arrays, json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} holds no description ({error}): delete it") from error


def _format(kind: str) -> str:
    return f"evsim {kind} {_VERSIONS.get(kind, 1)}"


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _as_array(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


# -- networks -----------------------------------------------------------------------------


@helpful
def save_network(path: str | os.PathLike[str], network: Network) -> None:
    """Store a network, its structure and its parameters, as one safetensors file."""
    check_is(network, "network", Network, "give an evsim.Network")
    path = checked_path(path, "path", "a file to write")
    if path.is_dir():
        raise ValueError(f"path = {str(path)!r} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path = {str(path)!r}: there is no folder {path.parent}")
    save_arrays(path, "network", network_arrays(network), network_structure(network))


@helpful
def load_network(path: str | os.PathLike[str]) -> Network:
    """The network that ``save_network`` stored, equal to the bit.

    Raises FileNotFoundError, and StorageError for files that are damaged or no networks.
    """
    path = checked_path(path, "path", "a file")
    arrays, structure = load_arrays(path, "network")
    try:
        return _network_of(structure, arrays)
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise StorageError(f"{path} does not describe a network: {error}") from error


def network_structure(network: Network) -> dict[str, Any]:
    """Populations and connections without their parameters, as json can hold it."""
    return {
        "populations": [
            {"kind": type(p).__name__, "name": p.name, "units": int(p.units)}
            for p in network.populations
        ],
        "connections": [
            {"name": c.name, "source": c.source, "target": c.target} for c in network.connections
        ],
    }


def network_arrays(network: Network) -> dict[str, np.ndarray]:
    """Every number of a network by name; sparse ones as data, indices and indptr."""
    arrays: dict[str, np.ndarray] = {}
    for connection in network.connections:
        for kind in ("weight", "delay"):
            name = f"{connection.name}.{kind}"
            value = getattr(connection, kind)
            if is_sparse(value):
                arrays |= {f"{name}.{part}": getattr(value, part) for part in _SPARSE_PARTS}
            else:
                arrays[name] = value
    for population in network.populations:
        for field in _unit_fields(type(population)):
            arrays[f"{population.name}.{field}"] = getattr(population, field)
    return arrays


def _network_of(structure: Any, arrays: dict[str, np.ndarray]) -> Network:
    populations = []
    for entry in structure["populations"]:
        if entry["kind"] not in _KINDS:
            raise ValueError(f"unknown kind of population {entry['kind']!r}")
        kind = _KINDS[entry["kind"]]
        values = {field: arrays[f"{entry['name']}.{field}"] for field in _unit_fields(kind)}
        populations.append(kind(entry["name"], entry["units"], **values))
    units = {population.name: population.units for population in populations}
    connections = []
    for entry in structure["connections"]:
        shape = units[entry["target"]], units[entry["source"]]
        weight, delay = (
            _parameter_of(f"{entry['name']}.{kind}", arrays, shape) for kind in ("weight", "delay")
        )
        connections.append(
            Connection(entry["source"], entry["target"], weight, delay, name=entry["name"])
        )
    return Network(populations, connections)


def _parameter_of(name: str, arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> Parameter:
    if name in arrays:
        return arrays[name]
    from scipy.sparse import csr_array

    data, indices, indptr = (arrays[f"{name}.{part}"] for part in _SPARSE_PARTS)
    return csr_array((data, indices, indptr), shape=shape)


def _unit_fields(kind: type[Population]) -> list[str]:
    """The fields that hold numbers per unit, parameters or not (``refractory``)."""
    names = [field.name for field in dataclasses.fields(kind)]
    return [name for name in names if name not in ("name", "units")]


# -- settings -----------------------------------------------------------------------------


def describe(value: Any) -> Any:
    """A setting as json can hold it, so that two runs can be compared.

    Records become mappings of their fields, functions their names, arrays their checksums.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.number)):
        return float(value) if np.isfinite(value) else str(float(value))
    if isinstance(value, np.ndarray):
        return checksum({"": value})
    if isinstance(value, Mapping):
        return {str(key): describe(entry) for key, entry in value.items()}
    if isinstance(value, Sequence):
        return [describe(entry) for entry in value]
    if isinstance(value, functools.partial):
        return [describe(part) for part in (value.func, value.args, value.keywords)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **describe(fields)}
    if hasattr(value, "__name__"):
        return f"{value.__module__}.{getattr(value, '__qualname__', value.__name__)}"
    fields = {k: v for k, v in vars(value).items() if not k.startswith("_")}
    return {"type": type(value).__name__, **describe(fields)}


def differences(stored: Any, asked: Any, path: str = "") -> list[str]:
    """One line for each setting in which two descriptions differ."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        lines = []
        for key in [*stored, *(key for key in asked if key not in stored)]:
            own = f"{path}.{key}" if path else key
            lines += differences(stored.get(key, "absent"), asked.get(key, "absent"), own)
        return lines
    if isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked):
        pairs = enumerate(zip(stored, asked, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{path}[{i}]")]
    return [] if stored == asked else [f"{path}: {stored} is stored, {asked} is asked for"]


# -- run folders --------------------------------------------------------------------------


class RunFolder:
    """The files of one training run.

    ``config.json`` holds the settings, ``metrics.jsonl`` one line per finished epoch,
    ``best.safetensors`` the network of the best epoch (``load_network`` reads it) and
    ``checkpoint.safetensors`` all that is needed to go on.  The checkpoint alone decides
    what has been finished; the others are rewritten from it when a run is resumed.  While a
    process trains there it holds a lock of the system on ``lock``, which ends with the process,
    however that ends; the file itself stays, and says nothing.  ``lock.holder`` names the process,
    for messages alone.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = user_path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.best = self.path / "best.safetensors"
        self.checkpoint = self.path / "checkpoint.safetensors"
        self.lock = self.path / "lock"
        self.holder = self.path / "lock.holder"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder.

        Raises StorageError for a folder in use.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = _lock_of(self.lock)
        try:
            _acquire(lock, self.path, self.holder)
            if lock.is_locked:
                with contextlib.suppress(OSError):  # of a full disk the checkpoint will tell
                    self.holder.write_text(f"{os.getpid()} {platform.node()}")
            yield
        finally:
            if lock.is_locked:
                with contextlib.suppress(OSError):
                    self.holder.unlink()
            lock.release()

    def begin(self, settings: dict[str, Any], *, resume: bool) -> tuple[dict, dict] | None:
        """Make the folder ready; the checkpoint's arrays and description if there is one.

        Raises FileExistsError if there is one and ``resume`` is not asked for, StorageError if
        it is damaged or was made with other settings.
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
        write_atomically(self.config, (json.dumps(settings, indent=2) + "\n").encode())
        return loaded

    def write_checkpoint(
        self, arrays: Mapping[str, np.ndarray], description: dict[str, Any]
    ) -> None:
        """Replace the checkpoint; the previous one stays until the new one is complete."""
        save_arrays(self.checkpoint, "checkpoint", arrays, description)

    def write_metrics(self, records: Sequence[dict[str, Any]]) -> None:
        """Write one line of json per epoch."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.metrics, lines.encode())

    def write_best(self, network: Network) -> None:
        """Replace the network of the best epoch."""
        save_network(self.best, network)


# -- locks --------------------------------------------------------------------------------


def _lock_of(path: Path) -> Any:
    """A lock of the system on a file, which ends with the process that holds it."""
    import filelock

    if "fallback_to_soft" in inspect.signature(filelock.FileLock.__init__).parameters:
        # A file that merely stands there would outlive a process that is killed.
        return filelock.FileLock(path, fallback_to_soft=False)
    return filelock.FileLock(path)


def _acquire(lock: Any, folder: Path, holder: Path) -> None:
    """Take a folder's lock; StorageError, which names the holder if it can, where it is taken."""
    import filelock

    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StorageError(
            f"{_named_in(holder)} trains in {folder}: wait for it, or choose another run_folder"
        ) from None
    except (NotImplementedError, OSError) as error:
        code = getattr(error, "errno", None)
        if code is not None and code not in _NO_LOCKS:
            raise
        warnings.warn(
            f"the file system of {folder} has no locks ({error}): nothing keeps another process "
            "from training there too",
            RuntimeWarning,
            stacklevel=2,
        )


_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""What a file system without locks answers."""


def _named_in(holder: Path) -> str:
    """Who holds a lock, as far as the file beside it says so."""
    try:
        number, _, machine = holder.read_text().partition(" ")
    except (OSError, UnicodeDecodeError):
        return "another process"
    if not (number.isdigit() and machine):
        return "another process"
    return f"process {number} on {machine}"
