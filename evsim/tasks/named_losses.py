"""The losses that L compares, by their names there.

L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast, get_args

import numpy as np

from evsim import losses
from evsim.arguments.errors import ArgumentError
from evsim.losses import Loss
from evsim.readouts import Mean, Peak

LossName = Literal["sum", "sum_exp", "linear", "sigmoid", "input", "max", "xent", "time"]
"""What the loss reads from the outputs.

Softmax cross-entropy of the mean voltage with its five weightings (``sum``, ``sum_exp``,
``linear``, ``sigmoid``, ``input``), of the largest voltage (``max``) and of the voltage at each
time (``xent``); and that of first spikes (``time``).
"""

_WEIGHTINGS = {
    "sum": "flat",
    "sum_exp": "exponential",
    "linear": "linear",
    "sigmoid": "sigmoid",
    "input": "input",
}


def named_loss(
    name: LossName, *, tau0: float | None, tau1: float | None, alpha: float | None
) -> Loss:
    """The loss of that name; ``tau0``, ``tau1`` and ``alpha`` are those of first spikes."""
    if name in _WEIGHTINGS:
        return losses.CrossEntropy(Mean(_WEIGHTINGS[name]))  # type: ignore[arg-type]
    if name == "max":
        return losses.CrossEntropy(Peak())
    if name == "xent":
        return losses.TimeAveragedCrossEntropy()
    if tau0 is None or tau1 is None or alpha is None:
        raise ValueError("the loss time needs tau0, tau1 and alpha")
    return losses.FirstSpikeCrossEntropy(tau0, tau1, alpha)


def with_further_terms(main: Loss, terms: Iterable[str]) -> Loss:
    """The loss plus further terms, each written as ``0.5*max``: a weight and a name."""
    total = main
    for text in terms:
        weight, name = _weight_and_name(text)
        total += weight * named_loss(name, tau0=None, tau1=None, alpha=None)
    return total


def check_further_terms(terms: Iterable[str]) -> None:
    """Refuse terms that are not written as a weight and the name of a loss of voltages."""
    for text in terms:
        _weight_and_name(text)


def _weight_and_name(text: str) -> tuple[float, LossName]:
    number, star, name = text.replace(" ", "").partition("*")
    names = tuple(one for one in get_args(LossName) if one != "time")
    try:
        weight = float(number)
    except ValueError:
        weight = np.nan
    if not star or not np.isfinite(weight) or name not in names:
        raise ArgumentError(
            f"more_losses = {text!r}: give terms of the form 0.5*max, a finite weight and the name "
            f"of a loss; names are {', '.join(names)}",
            "more_losses",
        )
    return weight, cast(LossName, name)


def check_first_spike_numbers(name: LossName, **numbers: float | None) -> None:
    """Refuse numbers of the loss ``time`` where another loss would ignore them."""
    for given, value in numbers.items():
        if value is not None and name != "time":
            raise ArgumentError(
                f"{given} = {value:g} is given but the loss is {name}: it belongs to the loss "
                "time, leave it out",
                given,
            )
