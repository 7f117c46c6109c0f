"""The reference engine with MPFR's numbers, in which it is several times as fast as with mpmath's.

``Reference(digits)`` computes with mpmath, of pure Python: an addition takes microseconds.  The
same engine with the numbers of MPFR, by gmpy2, takes a fifth of the time, and the results are
the same to many digits: two libraries of arithmetic agree.  gmpy2 keeps the precision for a
whole thread, where it would change other people's numbers; so evsim itself does not use it.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, log2

from evsim.engines import Reference
from evsim.engines.reference.neuron import Numbers, numbers_with


class ManyDigits(Reference):
    """The engine Reference, all of whose code it runs, with numbers by gmpy2 if that is there."""

    @property
    def numbers(self) -> Numbers:
        assert self.digits is not None  # floats need no library
        return mpfr_numbers(self.digits) or numbers_with(self.digits)


@lru_cache
def mpfr_numbers(digits: int) -> Numbers | None:
    """Numbers of MPFR with that many decimal digits; None without gmpy2.

    Sets the precision of the thread, for good.
    """
    try:
        import gmpy2
    except ImportError:
        return None
    bits = ceil((digits + 1) * log2(10))
    gmpy2.get_context().precision = bits
    functions = gmpy2.exp, gmpy2.expm1, gmpy2.log, gmpy2.log1p
    return Numbers(gmpy2.mpfr, *functions, gmpy2.mpfr(2) ** (1 - bits))
