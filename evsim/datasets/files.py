"""Data files as they lie on disk: gzip is looked through, damaged files are refused."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataFileError(ValueError):
    """A data file that cannot be used; the message names it, what was found and what to do."""


class SpikesLeftOutWarning(UserWarning):
    """Spikes of a data file were left out, as asked for; the message says how many and why."""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole content of a file, unpacked where the file is gzip, whatever its name."""
    path = Path(path)
    if not _is_gzip(path):
        return path.read_bytes()
    with _damage_refused(path), gzip.open(path) as packed:
        return packed.read()


@contextmanager
def unpacked(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The file itself, or for gzip a temporary unpacked copy that is deleted afterwards."""
    path = Path(path)
    if not _is_gzip(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="evsim-") as folder:
        plain = Path(folder) / path.name.removesuffix(".gz")
        with _damage_refused(path), gzip.open(path) as packed, open(plain, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        yield plain


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _damage_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(
            f"{path} is a damaged gzip file ({error}): it was not downloaded or copied whole; "
            "delete it and get it again"
        ) from error
