"""Pickle files read without running any code in them.

A pickle file is a program that calls the functions and classes that it names.  This reader neither
calls nor imports any of them.  Allowed names become records of the calls, from which the caller
takes the data it needs; any other name is refused.

No simpler method reads the published Braille files safely.  They are pickled lists or pandas
tables, offered in no other format.  ``pandas.read_pickle`` and ``pickle.load`` run any code that a
file contains.  An unpickler that only restricts names would still have to import pandas and trust
its classes with the content, and would depend on the version of pandas that wrote the file.
"""

from __future__ import annotations

import io
import os
import pickle
import reprlib
import struct
from collections.abc import Set
from typing import Any, ClassVar

from evsim.data.readers.files import DataFileError, read_bytes


class Record:
    """A call that a pickle file requests, recorded instead of carried out.

    ``name`` is the function or class with its module, ``arguments`` are those of the call, and
    ``state`` is the state to which the result would have been set afterwards.
    """

    name: ClassVar[str]
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any, **_named: Any) -> Record:
        """Record the arguments."""
        record = super().__new__(cls)
        record.arguments = arguments
        record.state = None
        return record

    def __call__(self, *arguments: Any) -> Record:
        """Record a call of the result, which may be a functools.partial."""
        return type(self)(*arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


_LOAD: dict[int, Any] = pickle._Unpickler.dispatch


# The Python implementation is used because a damaged file can make the C one allocate all memory.
class _RecordUnpickler(pickle._Unpickler):
    read: Any
    append: Any
    stack: list[Any]

    def __init__(self, content: bytes, allowed: Set[str], path: str | os.PathLike[str]) -> None:
        super().__init__(io.BytesIO(content))
        self._size = len(content)
        self._allowed = allowed
        self._path = path

    def find_class(self, module: str, name: str) -> type[Record]:
        full = f"{module}.{name}"
        if full not in self._allowed:
            raise DataFileError(
                f"{self._path} asks for {full[:100]}, which is not among the names that data of "
                "this kind need: nothing of it was run; do not use the file unless you know where "
                "it comes from"
            )
        # A new class for each name, so that no file can change what the next one uses.
        return type("Record", (Record,), {"name": full})

    def persistent_load(self, pid: Any) -> Any:
        raise DataFileError(
            f"{self._path} refers to the object {reprlib.repr(pid)} outside the file: it is no "
            "data file of this kind; get it again"
        )

    # -- operations that the library does not limit in size or depth ------------------------

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        if size > self._size:
            raise pickle.UnpicklingError(f"{size} bytes are announced in a file of {self._size}")
        self.append(bytearray(self.read(size)))

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        _LOAD[pickle.SETITEM[0]](self)

    def load_setitems(self) -> None:
        _check_keys(self.stack[0::2])
        _LOAD[pickle.SETITEMS[0]](self)

    def load_dict(self) -> None:
        _check_keys(self.stack[0::2])
        _LOAD[pickle.DICT[0]](self)

    def load_set(self) -> None:
        raise pickle.UnpicklingError("it holds a set")

    dispatch: ClassVar[dict[int, Any]] = {
        **_LOAD,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.EMPTY_SET[0]: load_set,
        pickle.ADDITEMS[0]: load_set,
        pickle.FROZENSET[0]: load_set,
    }


def _check_keys(keys: list[Any]) -> None:
    """Refuse keys that are neither text nor numbers: hashing deep tuples can end the process."""
    if not all(isinstance(key, (str, bytes, int, float, type(None))) for key in keys):
        raise pickle.UnpicklingError("a key is neither text nor a number")


def read_records(path: str | os.PathLike[str], allowed: Set[str]) -> tuple[Any, int]:
    """The content of a pickle file, plain or gzip, with records of calls, and its size in bytes.

    The size allows a check of the content: a pickle file can refer to one list many times and so
    represent far more data than it contains.

    ``allowed`` are the full names of the functions and classes that the file may name.  Raises
    ``DataFileError`` for other names, and for files that are damaged or not pickle files.
    """
    content = read_bytes(path)
    try:
        return _RecordUnpickler(content, allowed, path).load(), len(content)
    except DataFileError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = f" ({error})" if str(error) else ""
        raise DataFileError(
            f"{path} cannot be read as a pickle file{reason}: it is another kind of file or was "
            "not copied whole; get it again"
        ) from error
