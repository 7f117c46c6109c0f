"""The reference engine: plain Python in any number type; the specification of other engines."""

from evsim.engines.reference.engine import Reference

__all__ = ["Reference"]
