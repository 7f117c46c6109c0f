"""Pickle files read without running them.

A pickle is a program: it calls what it names.  Here nothing it names is ever called or even
imported.  Names from a fixed list become records of what would have been built, of which the
caller picks the data it needs; any other name is refused.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Set
from typing import Any, ClassVar

from evsim.datasets.files import DataFileError, read_bytes


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


# The reader written in Python, not the faster one in C, which a damaged file can make reserve
# all memory for a table of its size.
class _InertUnpickler(pickle._Unpickler):
    def __init__(self, content: bytes, allowed: Set[str], path: str | os.PathLike[str]) -> None:
        super().__init__(io.BytesIO(content))
        self._allowed = allowed
        self._path = path

    def find_class(self, module: str, name: str) -> type[Inert]:
        full = f"{module}.{name}"
        if full not in self._allowed:
            raise DataFileError(
                f"{self._path} asks for {full}, which is not among the names that data of this "
                "kind need: nothing of it was run; do not use the file unless you know where it "
                "comes from"
            )
        # A class of its own, so that no file can change what another one meets.
        return type("Inert", (Inert,), {"name": full})

    def persistent_load(self, pid: Any) -> Any:
        raise DataFileError(
            f"{self._path} refers to the object {pid!r} outside the file: it is no data file of "
            "this kind; get it again"
        )


def read_inert(path: str | os.PathLike[str], allowed: Set[str]) -> Any:
    """The content of a pickle file, plain or gzip, with records for everything it would build.

    ``allowed`` holds the full names of the functions and classes which it may name.  Raises
    ``DataFileError`` for other names, and for files that are damaged or no pickle files.
    """
    content = read_bytes(path)
    try:
        return _InertUnpickler(content, allowed, path).load()
    except DataFileError:
        raise
    # A damaged pickle can fail in any of these ways.
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        LookupError,
        MemoryError,
        OverflowError,
        TypeError,
        ValueError,
    ) as error:
        raise DataFileError(
            f"{path} cannot be read as a pickle file ({type(error).__name__}: {error}): it is "
            "another kind of file or was not copied whole; get it again"
        ) from error
