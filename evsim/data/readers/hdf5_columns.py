"""The columns of an HDF5 file of recordings, with one entry per recording.

HDF5 files can point to other files, announce more data than they contain, and let many recordings
share the same bytes.  Data sets of recordings do none of this, so all of it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evsim.data.readers.files import DataFileError, largest_unpacked
from evsim.data.readers.hdf5_variable_length import DAMAGED, VariableLengthColumn

_LARGEST_CHAIN = 8  # of links that lead from one to the next


@contextmanager
def open_columns(plain: Path, path: str | os.PathLike[str]) -> Iterator[RecordingColumns]:
    """Open the HDF5 file ``plain``, which messages call ``path``."""
    import h5py

    with _damage_refused(path):
        file = h5py.File(plain, "r")
    try:
        yield RecordingColumns(file, plain, path)
    finally:
        with _damage_refused(path):
            file.close()


@contextmanager
def _damage_refused(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except DataFileError:
        raise
    except Exception as error:  # h5py raises various errors for damaged files
        raise DataFileError(
            f"{path} cannot be read as HDF5 ({error}): it is another kind of file or was not "
            "copied whole; delete it and get it again"
        ) from error


class RecordingColumns:
    """Columns of an HDF5 file, one entry per recording.

    ``plain`` is the path of the unpacked file, ``path`` the name in messages, ``size`` the number
    of bytes.
    """

    def __init__(self, file: Any, plain: Path, path: str | os.PathLike[str]) -> None:
        self.plain = plain
        self.path = path
        self.size = plain.stat().st_size
        self._file = file

    def column(self, name: str, entries: int | None = None) -> np.ndarray | None:
        """A whole column of numbers or text, shape (entries,); None if there is no such column.

        ``entries`` is the number of entries that the column must have.
        """
        import h5py

        with _damage_refused(self.path):
            member = self._member(name)
            if member is None:
                return None
            if entries is not None and member.shape[0] != entries:
                raise DataFileError(
                    f"{self.path} has {member.shape[0]} entries in {name}, not {entries}: this is "
                    "another data set, or give the right number of classes"
                )
            if member.dtype.kind != "O":
                return np.asarray(member[()]).reshape(-1)
            if member.ndim > 1:
                raise self._wrong_shape(name, member)
            if h5py.check_string_dtype(member.dtype) is None:
                raise DataFileError(
                    f"{self.path}: {name} has type {member.dtype}: it must hold numbers or text; "
                    f"{DAMAGED}"
                )
            return VariableLengthColumn(member, name, self.plain, self.path)[0 : member.shape[0]]

    def events(self, name: str, kinds: str, what: str) -> VariableLengthColumn:
        """A column with one array of numbers of these kinds per recording, not yet read."""
        import h5py

        with _damage_refused(self.path):
            member = self._member(name)
            if member is None:
                raise self.lacks(name)
            base = h5py.check_vlen_dtype(member.dtype)
            if base is None or np.dtype(base).kind not in kinds or member.ndim > 1:
                raise DataFileError(
                    f"{self.path}: {name} has type {base or member.dtype}: it must hold one array "
                    f"of {what} per sample; give a file in the layout of SHD"
                )
            if member.shape[0] == 0:
                raise DataFileError(f"{self.path}: {name} is empty: {DAMAGED}")
            return VariableLengthColumn(member, name, self.plain, self.path)

    def text(self, values: np.ndarray, name: str) -> list[str]:
        """Entries of a column as text."""
        listed = values.tolist()
        try:
            return [text.decode() if isinstance(text, bytes) else str(text) for text in listed]
        except UnicodeDecodeError as error:
            raise DataFileError(
                f"{self.path}: {name} holds no text ({error}): {DAMAGED}"
            ) from error

    def lacks(self, name: str) -> DataFileError:
        """The error to raise if a required column is missing."""
        with _damage_refused(self.path):
            found = sorted(map(str, self._file))
        return DataFileError(
            f"{self.path} has no one-dimensional dataset {name!r} but {found}: it must have the "
            "layout of SHD, with spikes/times, spikes/units and labels; give such a file"
        )

    def _member(self, name: str) -> Any:
        """The HDF5 dataset of that name, checked but not read; None if there is none."""
        import h5py

        member = self._followed(name)
        if not isinstance(member, h5py.Dataset):
            return None
        if member.is_virtual or member.id.get_create_plist().get_external_count():
            raise DataFileError(
                f"{self.path}: {name} is kept in another file: get a file that holds its own data"
            )
        if member.ndim != 1 and (member.ndim != 2 or member.shape[1] != 1):
            raise self._wrong_shape(name, member)
        self._check_size(member, name)
        return member

    def _wrong_shape(self, name: str, member: Any) -> DataFileError:
        return DataFileError(
            f"{self.path}: {name} has shape {member.shape}: it must have one entry per sample, "
            f"shape (samples,); {DAMAGED}"
        )

    def _check_size(self, member: Any, name: str) -> None:
        """Refuse a column that announces more data than the file contains."""
        stored = member.id.get_storage_size()
        announced = [member.size * member.dtype.itemsize]
        if member.chunks:
            announced.append(int(np.prod(member.chunks, dtype=object)) * member.dtype.itemsize)
        if (member.size and not stored) or max(announced) > largest_unpacked(
            min(stored, self.size)
        ):
            raise DataFileError(
                f"{self.path}: {name} announces {member.size} entries, more than the {stored} "
                f"bytes stored of it hold: {DAMAGED}"
            )

    def _followed(self, name: str, links: int = 0) -> Any:
        """The object of that name, through links inside the file; None if there is none."""
        import h5py

        if links > _LARGEST_CHAIN:
            raise DataFileError(f"{self.path}: {name} is a link that goes in circles: {DAMAGED}")
        found, place = self._file, ""
        for part in filter(None, name.split("/")):
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink):
                raise DataFileError(
                    f"{self.path}: {place}{part} is kept in another file, {link.filename}: get a "
                    "file that holds its own data"
                )
            if isinstance(link, h5py.SoftLink):
                target = link.path if link.path.startswith("/") else f"{place}{link.path}"
                found = self._followed(target, links + 1)
            else:
                found = found[part]
            place = f"{place}{part}/"
        return found
