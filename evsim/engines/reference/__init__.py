"""The reference engine: plain Python in any number type; the specification of the others."""

from evsim.engines.reference.engine import Reference

__all__ = ["Reference"]
