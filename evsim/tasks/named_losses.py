"""The losses that settings name, and the further terms of a loss.

L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*; it
compares all of them but one, ``time_invariant``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import numpy as np

from evsim import losses
from evsim.arguments.errors import ArgumentError
from evsim.losses import Loss
from evsim.network.populations import LI, LIF, Population
from evsim.readouts import Mean, Peak

LossName = Literal["sum", "sum_exp", "linear", "sigmoid", "input", "max", "xent", "time"]
"""What the loss reads from the outputs.

Softmax cross-entropy of the mean voltage with its five weightings (``sum``, ``sum_exp``,
``linear``, ``sigmoid``, ``input``), of the largest voltage (``max``) and of the voltage at each
time (``xent``); and that of first spikes (``time``).
"""

_LOSSES: dict[str, Callable[..., Loss]] = {
    "sum": partial(losses.CrossEntropy, Mean("flat")),
    "sum_exp": partial(losses.CrossEntropy, Mean("exponential")),
    "linear": partial(losses.CrossEntropy, Mean("linear")),
    "sigmoid": partial(losses.CrossEntropy, Mean("sigmoid")),
    "input": partial(losses.CrossEntropy, Mean("input")),
    "max": partial(losses.CrossEntropy, Peak()),
    "xent": losses.TimeAveragedCrossEntropy,
    "time": losses.FirstSpikeCrossEntropy,
    "time_invariant": losses.TimeInvariantMSE,
}
"""Every loss of classes, by its name.  Losses of targets have other labels than the tasks."""

ARGUMENTS = {"time": ("tau0", "tau1", "alpha"), "time_invariant": ("delta",)}
"""The arguments of these losses; the others have none."""


def named_loss(name: str, **numbers: float | None) -> Loss:
    """The loss with this name, given those numbers that it takes and that are not None."""
    given = {each: numbers.get(each) for each in ARGUMENTS.get(name, ())}
    return _LOSSES[name](**{each: value for each, value in given.items() if value is not None})


def names_for(*, spiking_outputs: bool) -> tuple[str, ...]:
    """The names of the losses that can be read from LIF outputs, or else from LI outputs."""
    outputs = LIF("output", 1) if spiking_outputs else LI("output", 1)
    return tuple(name for name in _LOSSES if _is_read_from(outputs, named_loss(name)))


def _is_read_from(population: Population, loss: Loss) -> bool:
    try:
        loss.readout.check_population(population)
    except ValueError:
        return False
    return True


def further_terms(
    texts: Iterable[str], *, spiking_outputs: bool, **numbers: float | None
) -> list[tuple[float, Loss]]:
    """The terms of a loss, each written as ``0.5*sum``: a weight and a name.

    Arguments of a loss may follow its name, as in ``0.1*time(tau0=2)``.  An argument that is left
    out is taken from ``numbers``; if it is None there, the default of ``evsim.losses`` is used.
    Raises ArgumentError for terms that cannot be read from the outputs.
    """
    names = names_for(spiking_outputs=spiking_outputs)
    terms = []
    for text in texts:
        weight, name, given = _parsed(text, names)
        try:
            terms.append((weight, named_loss(name, **{**numbers, **given})))
        except ValueError as error:
            raise _refusal(text, str(error)) from error
    return terms


_TERM = re.compile(r"(?P<weight>[^*]+)\*(?P<name>\w+)(\((?P<arguments>.*)\))?")


def _parsed(text: str, names: tuple[str, ...]) -> tuple[float, str, dict[str, float]]:
    """The weight of a term, the name of its loss, and the arguments that follow the name."""
    term = _TERM.fullmatch(text.replace(" ", ""))
    weight = np.nan if term is None else _number(term["weight"])
    if term is None or not np.isfinite(weight) or term["name"] not in _LOSSES:
        raise _refusal(
            text,
            "give terms of the form 0.5*sum, a finite weight and the name of a loss; names are "
            f"{', '.join(names)}",
        )
    name, arguments = term["name"], term["arguments"]
    if name not in names:
        units = "that spike" if "time" in names else "that never spike"
        raise _refusal(
            text,
            f"{name} cannot be read from outputs {units}; names are {', '.join(names)}",
        )
    if arguments is None:
        return weight, name, {}
    pairs = [argument.partition("=") for argument in arguments.split(",")]
    given = {argument: _number(value) for argument, _, value in pairs}
    takes = ARGUMENTS.get(name, ())
    if not takes:
        raise _refusal(text, f"{name} takes no arguments: write {text.partition('(')[0]}")
    if len(given) < len(pairs) or set(given) - set(takes) or np.isnan([*given.values()]).any():
        raise _refusal(
            text,
            f"{name} takes {', '.join(takes)}, each at most once and with a number, as in "
            f"0.5*{name}({takes[0]}=2)",
        )
    return weight, name, given


def _number(text: str) -> float:
    """The number that the text states; NaN if it states none."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def _refusal(text: str, reason: str) -> ArgumentError:
    return ArgumentError(f"more_losses = {text!r}: {reason}", "more_losses")


def check_loss_numbers(name: str, more_losses: Iterable[str], **numbers: float | None) -> None:
    """Refuse numbers, such as tau0, that neither the loss nor one of the further terms takes."""
    terms = [_TERM.fullmatch(text.replace(" ", "")) for text in more_losses]
    used = {name, *(term["name"] for term in terms if term is not None)}
    for given, value in numbers.items():
        (owner,) = [loss for loss, takes in ARGUMENTS.items() if given in takes]
        if value is not None and owner not in used:
            raise ArgumentError(
                f"{given} = {value:g} is given but the loss is {name}: it belongs to the loss "
                f"{owner}, leave it out",
                given,
            )
