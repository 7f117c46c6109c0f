"""Columns of an HDF5 file whose entries have different lengths.

HDF5 stores such entries in heaps; the column stores the length and the place of each.  They are
read here without the HDF5 library, which is not safe with damaged files: it allocates memory for an
entry before it checks that the entry exists, it does not terminate in a heap whose sizes are wrong,
and it can crash the process.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from evsim.data.readers.files import DataFileError

DAMAGED = "the file is damaged or no file of this layout; get it again"

_PLACE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
_HEAP, _OBJECT = struct.Struct("<4s4xQ"), struct.Struct("<H6xQ")


class VariableLengthColumn:
    """A column whose entries are arrays of numbers, or text, of different lengths.

    Entries are read when they are indexed.  ``kind`` is the type of the numbers, None for text.
    Raises DataFileError for entries that are not in the file.
    """

    def __init__(self, member: Any, name: str, plain: Path, path: str | os.PathLike[str]) -> None:
        self.shape: tuple[int, ...] = member.shape
        self.kind = _kind(member)
        self._plain = plain
        self._size = 1 if self.kind is None else self.kind.itemsize
        places = None if self.kind == np.dtype(object) else _places(member, plain)
        if places is None:
            raise DataFileError(
                f"{path}: {name} is stored in an unusual way: write it with h5py, without filters "
                "or with gzip"
            )
        self._lengths = places["length"].astype(np.int64)
        # Entries are neither compressed nor shared, so together they fit into the file.
        announced, size = int(self._lengths.sum()) * self._size, plain.stat().st_size
        if announced > size:
            raise DataFileError(
                f"{path}: the entries of {name} announce {announced} bytes, more than the {size} "
                f"of the file: {DAMAGED}"
            )
        self._starts = _starts(places, self._size, plain, member.file.userblock_size)
        if self._starts.size and self._starts.min() < 0:
            entry = int(np.argmin(self._starts))
            raise DataFileError(f"{path}: entry {entry} of {name} is cut off: {DAMAGED}")

    def __getitem__(self, entries: slice) -> np.ndarray:
        """Some entries, arrays or bytes in an array of objects."""
        starts, lengths = self._starts[entries].tolist(), self._lengths[entries].tolist()
        found = np.empty(len(starts), object)
        with open(self._plain, "rb") as file:
            for entry, (start, length) in enumerate(zip(starts, lengths, strict=True)):
                file.seek(start)
                content = file.read(length * self._size)
                found[entry] = content if self.kind is None else np.frombuffer(content, self.kind)
        return found


def _kind(member: Any) -> np.dtype | None:
    """The type of the numbers in a column, None for text, object for anything else."""
    import h5py

    if h5py.check_string_dtype(member.dtype) is not None:
        return None
    kind = np.dtype(h5py.check_vlen_dtype(member.dtype) or object)
    if kind.kind not in "iuf":
        return np.dtype(object)
    # HDF5 may convert the type in the file to the nearest type that NumPy has.
    same = h5py.h5t.py_create(kind).equal(member.id.get_type().get_super())
    return kind if same else np.dtype(object)


# -- where entries are -------------------------------------------------------------------


def _places(member: Any, plain: Path) -> np.ndarray | None:
    """Length and place of each entry; None for files that store them in an unusual way."""
    import h5py

    settings = member.id.get_create_plist()
    layout = settings.get_layout()
    if member.file.id.get_create_plist().get_sizes() != (8, 8):
        return None
    if layout == h5py.h5d.CONTIGUOUS:
        with open(plain, "rb") as file:
            file.seek(member.id.get_offset())
            content = file.read(member.size * _PLACE.itemsize)
        return np.frombuffer(content, _PLACE) if len(content) == member.size * 16 else None
    if layout != h5py.h5d.CHUNKED:
        return None
    places = np.zeros(member.size, _PLACE)
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    (length,) = member.chunks
    for number in range(member.id.get_num_chunks()):
        (first,) = member.id.get_chunk_info(number).chunk_offset
        skipped, content = member.id.read_direct_chunk((first,))
        chunk = _unfiltered(content, skipped, filters, length)
        if chunk is None:
            return None
        part = places[first : first + length]
        part[:] = chunk[: part.size]
    return places


def _unfiltered(content: bytes, skipped: int, filters: list[int], length: int) -> np.ndarray | None:
    """Undo the filters of a chunk of ``length`` places; None for filters that are not supported.

    Bit n of ``skipped`` says that filter n was not applied.
    """
    import h5py

    for number, code in reversed(list(enumerate(filters))):
        if skipped >> number & 1:
            continue
        if code == h5py.h5z.FILTER_DEFLATE:
            content = zlib.decompressobj().decompress(content, length * _PLACE.itemsize)
        elif code == h5py.h5z.FILTER_SHUFFLE and len(content) % _PLACE.itemsize == 0:
            content = np.frombuffer(content, np.uint8).reshape(_PLACE.itemsize, -1).T.tobytes()
        else:
            return None
    return np.frombuffer(content, _PLACE) if len(content) == length * _PLACE.itemsize else None


def _starts(places: np.ndarray, size: int, plain: Path, begins: int) -> np.ndarray:
    """The byte at which each entry begins; 0 for an empty entry, -1 for a missing one.

    ``size`` is the number of bytes of a number, ``begins`` the number of bytes before the HDF5
    content.
    """
    heaps: dict[int, dict[int, tuple[int, int]]] = {}
    starts = np.zeros(places.size, np.int64)
    with (
        open(plain, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        for entry in np.flatnonzero(places["length"]).tolist():
            length, heap, number = places[entry].tolist()
            if heap not in heaps:
                heaps[heap] = _objects(content, heap + begins)
            start, room = heaps[heap].get(number, (-1, 0))
            starts[entry] = start if length * size <= room else -1
    return starts


def _objects(content: mmap.mmap, start: int) -> dict[int, tuple[int, int]]:
    """First byte and size of each object in the heap at that place, by the object's number.

    Empty for a damaged heap.
    """
    if start + _HEAP.size > len(content):
        return {}
    mark, whole = _HEAP.unpack_from(content, start)
    if mark != b"GCOL" or start + whole > len(content):
        return {}
    objects: dict[int, tuple[int, int]] = {}
    place, end = start + _HEAP.size, start + whole
    while place + _OBJECT.size <= end:
        number, size = _OBJECT.unpack_from(content, place)
        # Number 0 is free space, its header included; objects begin at multiples of 8 bytes.
        step = size if number == 0 else _OBJECT.size + (size + 7) // 8 * 8
        if step < _OBJECT.size or place + step > end:
            return {}
        objects[number] = (place + _OBJECT.size, size)
        place += step
    objects.pop(0, None)
    return objects
