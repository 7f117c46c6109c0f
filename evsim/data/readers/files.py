"""Opening data files: gzip and zip are unpacked, damaged files are refused.

Sizes are limited: a packed file of a few kilobytes can announce, or unpack to, more data than fit
into memory.
"""

from __future__ import annotations

import errno
import gzip
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from evsim.arguments.paths import user_path

_ALWAYS_ALLOWED = 2**24
_LARGEST_RATIO = 200  # the published files are packed to a fifth of their size


class DataFileError(ValueError):
    """A data file cannot be used; the message says which one, what was found and what to do."""


class SpikesLeftOutWarning(UserWarning):
    """Spikes of a data file were left out as requested; the message says how many and why."""


def largest_unpacked(packed: int) -> int:
    """The largest number of bytes that a file of ``packed`` bytes may unpack to."""
    return max(_ALWAYS_ALLOWED, _LARGEST_RATIO * packed)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole content of a file, unpacked if it is gzip, whatever its name."""
    with opened(path) as (file, limit):
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(user_path(path), limit)
    return content


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int]]:
    """The content of a file, unpacked if it is gzip, and the largest number of its bytes."""
    path = user_path(path)
    size = path.stat().st_size
    if _begins_with(path, b"\x1f\x8b"):
        with _damage_refused(path, "gzip file"), gzip.open(path) as packed:
            yield packed, largest_unpacked(size)  # type: ignore[misc]
    else:
        with open(path, "rb") as plain:
            yield plain, size


@contextmanager
def unpacked(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The file itself, or a temporary unpacked copy of a gzip or zip file.

    A zip archive must contain one file, or one that has its name without ".zip".
    """
    path = user_path(path)
    if not _begins_with(path, b"\x1f\x8b", b"PK\x03\x04"):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="evsim-") as folder:
        plain = Path(folder) / "unpacked"
        if _begins_with(path, b"PK\x03\x04"):
            with _damage_refused(path, "zip archive"), zipfile.ZipFile(path) as archive:
                member = _member(archive, path)
                with archive.open(member) as packed:
                    _copy(packed, plain, path, largest_unpacked(member.compress_size))
        else:
            with opened(path) as (packed, limit):
                _copy(packed, plain, path, limit)
        yield plain


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The file in an archive that has the archive's name, or the only one."""
    files = [entry for entry in archive.infolist() if not entry.is_dir()]
    named = [
        entry for entry in files if Path(entry.filename).name == path.name.removesuffix(".zip")
    ]
    chosen = named if len(named) == 1 else files
    if len(chosen) != 1:
        raise DataFileError(
            f"{path} is a zip archive of {len(files)} files: unzip it and name one of them"
        )
    if chosen[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataFileError(f"{path} is packed in an unusual way: unzip it")
    return chosen[0]


def _copy(packed: IO[bytes], plain: Path, path: Path, limit: int) -> None:
    with open(plain, "wb") as file:
        while piece := packed.read(1 << 20):
            if file.tell() + len(piece) > limit:
                raise _too_large(path, limit)
            file.write(piece)


def _too_large(path: Path, limit: int) -> DataFileError:
    return DataFileError(
        f"{path} unpacks to more than {limit} bytes, {_LARGEST_RATIO} times its size or more, "
        "which no data set of this kind does: it is damaged or made to fill the memory; get it "
        "again"
    )


def _begins_with(path: Path, *marks: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(4).startswith(marks)


@contextmanager
def _damage_refused(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except DataFileError:
        raise
    # The errors that gzip and zipfile raise for damaged or encrypted archives, and that the system
    # raises for negative positions in a file.
    except (
        OSError,
        EOFError,
        zlib.error,
        struct.error,
        zipfile.BadZipFile,
        LookupError,
        RuntimeError,
        ValueError,
    ) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DataFileError(
            f"{path} is a damaged {kind} ({error}): it was not downloaded or copied whole; "
            "delete it and get it again"
        ) from error
