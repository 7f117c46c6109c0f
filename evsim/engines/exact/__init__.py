"""The exact engine: event by event in continuous time, compiled with numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evsim.engines.exact.engine import Exact

__all__ = ["Exact"]


def __getattr__(name: str) -> Any:
    """Import the engine, and with it the compiler, only when it is used."""
    if name == "Exact":
        from evsim.engines.exact.engine import Exact

        return Exact
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
