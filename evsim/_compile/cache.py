"""Machine code that is kept from one process to the next, and what is said while it is made.

numba's own cache decides by the file of a function whether its machine code is current, and does
not see changes in the functions it calls from other files.  Here no code outlives a change
anywhere in evsim's source, or in anything else that it depends on.
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

ENGINES = {"evsim": "exact engine", "evsim_gpu": "grid engine"}
"""Whose loops are in which package."""


class DigestCache(NullCache):
    """The cache of a function; says on stderr, once for each part, when it has to compile.

    What was compiled before an installation became read-only is found there.

    Parameters
    ----------
    function : callable
        A function of a module.
    part : str
        What of its engine the function belongs to, as it is told.
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
        """Where code is kept; None if no folder can be written."""
        return next(filter(can_be_written, self._folders()), None)

    @property
    def cache_path(self) -> str | None:
        """The folder, as numba asks for it."""
        return None if self.folder is None else str(self.folder)

    def files(self) -> list[Path]:
        """The files there are now, in any folder."""
        pattern = f"{self._base}.*.nbc"
        return [file for folder in self._folders() for file in folder.glob(pattern)]

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The function compiled for some types, if it is kept; else say that it is compiled."""
        context.refresh()
        name = self._name(signature, context.codegen())
        for folder in self._folders():
            content = read(folder / name)
            if content is not None:
                # The folder is evsim's own or the user's: who can write there can run anything.
                return CompileResult._rebuild(context, *pickle.loads(content))  # noqa: S301
        self._tell(signature)
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a compiled function, or say why that cannot be."""
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
            tell_once(f"the compiled {self._engine} is not kept for the next time: {error}")

    def _folders(self) -> Iterable[Path]:
        return () if self.digest is None else folders_for(self._source)

    def _name(self, signature: Any, codegen: Any) -> str:
        key = repr((_environment(codegen), signature)).encode()
        return f"{self._base}.{hashlib.sha256(key).hexdigest()[:32]}.nbc"

    @property
    def _engine(self) -> str:
        package = self._function.__module__.partition(".")[0]
        return ENGINES.get(package, f"function {self._function.__name__}")

    def _tell(self, signature: Any) -> None:
        what = f"the {self._engine}{self._part_for(signature)}"
        if self.folder is not None:
            tell_once(f"compiling {what}, once for this machine; this takes some seconds", _AHEAD)
            return
        why = "no folder to keep it in can be written; set NUMBA_CACHE_DIR to one"
        if self.digest is None:
            why = "the files of its source, by which it would be kept, cannot be read"
        tell_once(f"compiling {what}, which takes some seconds each time because {why}")

    def _part_for(self, signature: Any) -> str:
        """The part of an engine that is compiled for some types of arguments."""
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
    """The digest of the source as a module was imported from it; None if there are no files."""
    try:
        return source_digest(source)
    except OSError:
        return None


def _environment(codegen: Any) -> tuple[Any, ...]:
    """All but source and types that machine code depends on."""
    versions = numba.__version__, llvmlite.__version__, np.__version__
    options = (
        config.OPT, config.BOUNDSCHECK, config.DEBUGINFO_DEFAULT, config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
    )  # fmt: skip
    return versions, tuple(str(option) for option in options), codegen.magic_tuple()


# -- what is said -----------------------------------------------------------------------------

_AHEAD = "evsim info --warm compiles everything ahead"

_told: set[str] = set()


def know_hint() -> None:
    """Do not say how to compile ahead."""
    _told.add(_AHEAD)


def tell_once(message: str, hint: str = "") -> None:
    """Say something on stderr, unless it has been said; with a hint, unless that has been."""
    if message in _told:
        return
    shown = f"{message} ({hint})" if hint and hint not in _told else message
    _told.update((message, hint))
    print(f"evsim: {shown}", file=sys.stderr)
