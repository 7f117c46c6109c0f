"""Named arrays in safetensors files, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from evsim.arguments.paths import user_path
from evsim.storage.files import StorageError, write_atomically

_VERSIONS = {"checkpoint": 2}
"""Versions of the descriptions in files, by kind of file; other kinds have version 1."""


def save_arrays(
    path: str | os.PathLike[str], kind: str, arrays: Mapping[str, np.ndarray], description: Any
) -> None:
    """Store named arrays and a description that JSON can represent in a safetensors file.

    ``kind`` is the kind of file, such as "network"; ``load_arrays`` must be given the same.
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
            # Copies: the arrays of safetensors may be views of the file.
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    # The last three are raised for number types that NumPy does not have, and for invalid text.
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
    """SHA-256 of names, types, shapes and values, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _as_array(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)
