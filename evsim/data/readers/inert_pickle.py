"""Pickle files read without running them.

A pickle is a program: it calls what it names.  Here nothing it names is ever called or even
imported.  Names from a fixed list become records of what would have been built, of which the
caller picks the data it needs; any other name is refused.
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


class Inert:
    """What a pickle says to build, written down instead of built.

    ``name`` is the function or class with its module, ``arguments`` what it would have been
    called with, ``state`` what the result would have been given afterwards.
    """

    name: ClassVar[str]
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any, **_named: Any) -> Inert:
        """Write the arguments down."""
        record = super().__new__(cls)
        record.arguments = arguments
        record.state = None
        return record

    def __call__(self, *arguments: Any) -> Inert:
        """Write down a call of what would have been built, such as a functools.partial."""
        return type(self)(*arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


_LOAD: dict[int, Any] = pickle._Unpickler.dispatch


# The reader written in Python, not the faster one in C, which a damaged file can make reserve
# all memory for a table of its size.
class _InertUnpickler(pickle._Unpickler):
    read: Any
    append: Any
    stack: list[Any]

    def __init__(self, content: bytes, allowed: Set[str], path: str | os.PathLike[str]) -> None:
        super().__init__(io.BytesIO(content))
        self._size = len(content)
        self._allowed = allowed
        self._path = path

    def find_class(self, module: str, name: str) -> type[Inert]:
        full = f"{module}.{name}"
        if full not in self._allowed:
            raise DataFileError(
                f"{self._path} asks for {full[:100]}, which is not among the names that data of "
                "this kind need: nothing of it was run; do not use the file unless you know where "
                "it comes from"
            )
        # A class of its own, so that no file can change what another one meets.
        return type("Inert", (Inert,), {"name": full})

    def persistent_load(self, pid: Any) -> Any:
        raise DataFileError(
            f"{self._path} refers to the object {reprlib.repr(pid)} outside the file: it is no "
            "data file of this kind; get it again"
        )

    # -- what the library does without asking how large or how deep it gets -----------------

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


def read_inert(path: str | os.PathLike[str], allowed: Set[str]) -> tuple[Any, int]:
    """The content of a pickle file, plain or gzip, with records for everything it would build.

    With it comes the number of its bytes: a pickle can refer to one list many times, so that
    what it holds, written out, may be without bound.

    ``allowed`` holds the full names of the functions and classes which it may name.  Raises
    ``DataFileError`` for other names, and for files that are damaged or no pickle files.
    """
    content = read_bytes(path)
    try:
        return _InertUnpickler(content, allowed, path).load(), len(content)
    except DataFileError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = f" ({error})" if str(error) else ""
        raise DataFileError(
            f"{path} cannot be read as a pickle file{reason}: it is another kind of file or was "
            "not copied whole; get it again"
        ) from error
