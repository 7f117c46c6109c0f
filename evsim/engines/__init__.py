"""What can run a network: one protocol, several engines.

``Reference`` is the readable one, plain Python with any number type; ``Exact`` is the fast
one.  Both compute the same events and the same gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evsim.engines.protocol import Adjoint, Engine, EngineError

if TYPE_CHECKING:
    from evsim.engines.exact import Exact
    from evsim.engines.reference import Reference

__all__ = ["Adjoint", "Engine", "EngineError", "Exact", "Reference", "resolve"]

_NAMES = {"exact": "Exact", "reference": "Reference"}


def resolve(engine: str | Engine) -> Engine:
    """The engine itself, or the default one of that name."""
    if isinstance(engine, Engine):
        return engine
    if isinstance(engine, str) and engine in _NAMES:
        return __getattr__(_NAMES[engine])()
    raise ValueError(f"there is no engine {engine!r}; there are {', '.join(_NAMES)}")


def __getattr__(name: str) -> Any:
    """Import an engine, and the compiler or the libraries it needs, only when asked for."""
    if name == "Exact":
        from evsim.engines.exact import Exact

        return Exact
    if name == "Reference":
        from evsim.engines.reference import Reference

        return Reference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
