"""The targets of losses that do not classify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_is, checked_count, listed, real_array
from evsim.arguments.keywords import helpful

_SHAPE = "give a tuple of integers"


@helpful
def check_targets(
    labels: Sequence[Any] | NDArray[Any], shape: tuple[int, ...], axes: str, unit: str = ""
) -> NDArray[np.float64]:
    """Targets as float64 of that shape, NaN where there is none; refuses those that do not fit.

    Masked targets count as missing. ``axes`` states the shape in words, ``unit`` the unit of the
    targets.
    """
    shape = tuple(checked_count(n, "an entry of shape", 0) for n in listed(shape, "shape", _SHAPE))
    for name, text in (("axes", axes), ("unit", unit)):
        check_is(text, name, str, "give words")
    array = real_array(labels, "labels", "targets, numbers", masked=np.nan)
    if array.shape != shape:
        raise ValueError(
            f"labels has shape {array.shape}: give the targets as {axes}, shape {shape}, "
            "with NaN where there is none"
        )
    array = array.astype(np.float64)
    infinite = np.isinf(array)
    if infinite.any():
        index = np.unravel_index(int(np.argmax(infinite)), shape)
        raise ValueError(
            f"labels[{', '.join(map(str, index))}] = {array[index]}{unit}: a target must be "
            "finite, or NaN for none"
        )
    return array
