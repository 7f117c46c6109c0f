"""The gradients of another program against the exact ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.network.parameters import Parameter, norm, numbers


@dataclass(frozen=True)
class GradientError:
    """How the gradient of one parameter differs from the exact one.

    Parameters
    ----------
    parameter : str
    cosine : float
        Of the angle between both; NaN if one of them is 0.
    angle : float
        In degrees, 0 to 180; accurate to all digits even if it is small.  NaN if one of them is 0.
    relative_error : float
        The norm of the difference over the norm of the exact gradient; NaN if both are 0.
    ratio : float
        The norm of the other gradient over that of the exact one; NaN if both are 0.
    """

    parameter: str
    cosine: float
    angle: float
    relative_error: float
    ratio: float


def gradient_errors(
    exact: Mapping[str, Parameter], theirs: Mapping[str, Parameter]
) -> tuple[GradientError, ...]:
    """The errors of all gradients in ``theirs``, in the order of ``exact``."""
    return tuple(
        _error(name, np.ravel(numbers(exact[name])), np.ravel(numbers(theirs[name])))
        for name in exact
        if name in theirs
    )


def _error(name: str, exact: NDArray[np.float64], theirs: NDArray[np.float64]) -> GradientError:
    own, other = norm(exact), norm(theirs)
    angle = np.nan
    if own > 0.0 and other > 0.0:
        # From |u - v| and |u + v| of unit vectors u and v: exact for small angles too.
        u, v = exact / own, theirs / other
        angle = 2.0 * float(np.arctan2(norm(u - v), norm(u + v)))
    return GradientError(
        parameter=name,
        cosine=float(np.cos(angle)),
        angle=float(np.degrees(angle)),
        relative_error=_over(norm(theirs - exact), own),
        ratio=_over(other, own),
    )


def _over(one: float, other: float) -> float:
    if other > 0.0:
        return one / other
    return np.inf if one > 0.0 else np.nan
