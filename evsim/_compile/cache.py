"""The cache of machine code on disk, and the messages on stderr while functions are compiled.

numba's own cache looks only at the file in which a function is defined, and misses changes to the
functions that it calls from other files.  This cache stores machine code under a digest of the
files that the code depends on: those of the function's folder and all that they import.  A change
to any of them, or to anything else that the code depends on, makes it compile again.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import numba
import numpy as np
from numba.core import config, types
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from evsim._compile.cache_files import (
    can_be_written,
    folders_for,
    read,
    remove_outdated,
    source_digest,
    write,
)

ENGINES = {"evsim": "exact engine", "evsim.training": "optimiser", "evsim_gpu": "grid engine"}
"""Whose loops each package holds: those of an engine, or of optimisers."""


class DigestCache(NullCache):
    """The cache of one function; prints a message on stderr when the function must be compiled.

    Each message is printed once per process.  Machine code that was stored beside the source
    before the installation became read-only is still found.

    Parameters
    ----------
    function : callable
        A function defined at the top level of a module.
    part : str
        The part of its engine that the function belongs to, as the messages call it.
    """

    def __init__(self, function: Callable[..., Any], part: str) -> None:
        self._function, self._part = function, part
        module = Path(os.path.abspath(function.__globals__.get("__file__", "")))
        self._source = module.parent
        self.digest = _digest_at_import(function.__module__, self._source)
        name = function.__qualname__.replace("<", "").replace(">", "")
        version = f"py{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
        line = function.__code__.co_firstlineno
        self._base = f"{module.stem}.{name}-{line}.{version}-{self.digest}"

    @property
    def folder(self) -> Path | None:
        """The folder for new files; None if no folder can be written."""
        return next(filter(can_be_written, self._folders()), None)

    @property
    def cache_path(self) -> str | None:
        """The same folder as a string; the name and the type are numba's."""
        return None if self.folder is None else str(self.folder)

    def files(self) -> list[Path]:
        """All files of this function that exist, in any of the folders."""
        pattern = f"{self._base}.*.nbc"
        return [file for folder in self._folders() for file in folder.glob(pattern)]

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The stored machine code for some argument types; prints a message if there is none."""
        context.refresh()
        name = self._name(signature, context.codegen())
        for folder in self._folders():
            content = read(folder / name)
            if content is not None:
                # Only the user and whoever installed evsim can write to these folders, and both can
                # run any code anyway: unpickling adds no risk.
                return CompileResult._rebuild(context, *pickle.loads(content))  # noqa: S301
        self._announce(signature)
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Store a compiled function, or print why it cannot be stored."""
        if self.folder is None or self.digest is None:
            return
        try:
            if self.digest != source_digest(self._source):
                raise OSError("the source of evsim has changed since it was imported")
            if result.lifted or result.library.has_dynamic_globals:
                raise OSError("it holds addresses of this process")
            name = self._name(signature, result.codegen)
            write(self.folder / name, dumps(result._reduce()))
            remove_outdated(self.folder, self.digest)
        except OSError as error:
            print_once(f"the compiled {self._engine} is not kept for the next time: {error}")

    def _folders(self) -> Iterable[Path]:
        return () if self.digest is None else folders_for(self._source)

    def _name(self, signature: Any, codegen: Any) -> str:
        key = repr((_environment(codegen), signature)).encode()
        return f"{self._base}.{hashlib.sha256(key).hexdigest()[:32]}.nbc"

    @property
    def _engine(self) -> str:
        package, *below = self._function.__module__.split(".")
        owner = ENGINES.get(".".join([package, *below[:1]]), ENGINES.get(package))
        return owner or f"function {self._function.__name__}"

    def _announce(self, signature: Any) -> None:
        """Print that the function is compiled now, and whether it will be stored."""
        what = f"the {self._engine}{self._part_for(signature)}"
        if self.folder is not None:
            print_once(f"compiling {what}, once for this machine; this takes some seconds", _AHEAD)
            return
        why = "no folder to keep it in can be written; set NUMBA_CACHE_DIR to one"
        if self.digest is None:
            why = "its source files, which tell whether stored code is current, cannot be read"
        print_once(f"compiling {what}, which takes some seconds each time because {why}")

    def _part_for(self, signature: Any) -> str:
        """The words for the part of an engine that is compiled for some argument types."""
        if self._engine not in ENGINES.values():
            return ""
        code = self._function.__code__
        arguments = dict(zip(code.co_varnames[: code.co_argcount], signature, strict=True))
        kind = ""
        if "recurrent" in arguments:
            is_none = isinstance(arguments["recurrent"], types.NoneType)
            kind = f" for {'layered' if is_none else 'recurrent'} networks"
        elif self._engine == ENGINES["evsim_gpu"]:
            kind = f" in {'float32' if 'float32' in repr(signature) else 'float64'}"
        return f"'s {self._part}{kind}"


@cache
def _digest_at_import(module: str, source: Path) -> str | None:
    """The digest of the source from which a module was imported; None if it cannot be read."""
    try:
        return source_digest(source)
    except OSError:
        return None


def _environment(codegen: Any) -> tuple[Any, ...]:
    """What machine code depends on besides the source and the argument types."""
    versions = numba.__version__, llvmlite.__version__, np.__version__
    options = (
        config.OPT, config.BOUNDSCHECK, config.DEBUGINFO_DEFAULT, config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
    )  # fmt: skip
    return versions, tuple(str(option) for option in options), codegen.magic_tuple()


# -- messages ---------------------------------------------------------------------------------

_AHEAD = "evsim info --warm compiles everything ahead"

_printed: set[str] = set()


def omit_hint() -> None:
    """Leave out the hint about compiling ahead, for users who are doing it."""
    _printed.add(_AHEAD)


def print_once(message: str, hint: str = "") -> None:
    """Print a message on stderr at most once, and a hint after it at most once."""
    if message in _printed:
        return
    shown = f"{message} ({hint})" if hint and hint not in _printed else message
    _printed.update((message, hint))
    print(f"evsim: {shown}", file=sys.stderr)
