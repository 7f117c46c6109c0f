"""The reference engine with the numbers of MPFR, which are several times faster than mpmath's.

``Reference(digits)`` computes with mpmath, which is pure Python: an addition takes microseconds.
With the numbers of MPFR, from gmpy2, the same engine takes a fifth of the time.  The results of the
two libraries agree to many digits.  gmpy2 sets the precision for a whole thread, which would change
the numbers of other code in it; so evsim itself does not use gmpy2.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, log2

from evsim.engines import Reference
from evsim.engines.reference.neuron import Numbers, numbers_with


class ManyDigits(Reference):
    """The reference engine, with the numbers of gmpy2 if it is installed."""

    @property
    def numbers(self) -> Numbers:
        assert self.digits is not None  # floats do not need gmpy2
        return mpfr_numbers(self.digits) or numbers_with(self.digits)


@lru_cache
def mpfr_numbers(digits: int) -> Numbers | None:
    """Numbers of MPFR with that many decimal digits; None without gmpy2.

    Changes the precision of the thread permanently; ValueError for a second one.
    """
    try:
        import gmpy2
    except ImportError:
        return None
    bits = ceil((digits + 1) * log2(10))
    if gmpy2.get_context().precision not in (gmpy2.context().precision, bits):
        raise ValueError(
            f"digits = {digits}: this thread computes with {gmpy2.get_context().precision} bits, "
            f"and MPFR would give {bits} to those numbers, too"
        )
    gmpy2.get_context().precision = bits
    functions = gmpy2.exp, gmpy2.expm1, gmpy2.log, gmpy2.log1p
    return Numbers(gmpy2.mpfr, *functions, gmpy2.mpfr(2) ** (1 - bits))
