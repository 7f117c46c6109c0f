"""The engines, which run networks: one protocol, several implementations.

``Reference`` is readable: plain Python with any number type.  ``Exact`` is fast.  Both compute the
same events and the same gradients.  ``Grid`` moves all events to the points of a time grid; it is
in a separate package, ``evsim_gpu``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from evsim.arguments.keywords import helpful
from evsim.engines.protocol import Adjoint, Engine, EngineError

if TYPE_CHECKING:
    from evsim.engines.exact import Exact
    from evsim.engines.reference import Reference
    from evsim.engines.reference.undecided import UndecidedError

__all__ = [
    "Adjoint",
    "Engine",
    "EngineError",
    "Exact",
    "Grid",
    "Reference",
    "UndecidedError",
    "resolve",
    "warm",
]

_NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "exact": ("Exact", {}),
    "reference": ("Reference", {}),
    "grid": ("Grid", {}),
    "cuda": ("Grid", {"device": "cuda"}),
}
"""The class of each engine, and the settings that its name stands for."""

_MODULES = {
    "Exact": "evsim.engines.exact",
    "Reference": "evsim.engines.reference",
    "Grid": "evsim_gpu",
    "UndecidedError": "evsim.engines.reference.undecided",
    "warm": "evsim.precompile",
}
"""Where each name is defined.  The module, and with it the compiler, is imported on first use."""


@helpful
def resolve(engine: str | Engine) -> Engine:
    """The engine itself, or the engine of that name with its default settings.

    Raises ValueError for a name that no engine has, and ImportError if the package of the engine
    is not installed.
    """
    if isinstance(engine, Engine):
        return engine
    if isinstance(engine, str) and engine in _NAMES:
        name, settings = _NAMES[engine]
        default: Engine = __getattr__(name)(**settings)
        return default
    raise ValueError(f"there is no engine {engine!r}; there are {', '.join(_NAMES)}")


def __getattr__(name: str) -> Any:
    """Import an engine, and the compiler or the libraries it needs, on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "evsim_gpu":
            raise
        raise ImportError(
            "the grid engine is in the package evsim_gpu, which comes with evsim since version 0.3 "
            "and is not there: install evsim again"
        ) from error


def __dir__() -> list[str]:
    """All names, for tab completion; nothing is imported."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
