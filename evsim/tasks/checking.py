"""What settings of tasks may be, and which settings a task's functions take."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from evsim.arguments.checks import (
    check_choice,
    check_flag,
    check_is,
    check_number,
    checked_count,
    checked_integer,
    checked_path,
    listed,
    nearest,
)
from evsim.tasks.running import RunOptions

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Function = TypeVar("Function", bound=Callable[..., Any])


# -- settings -----------------------------------------------------------------------------


def check_types(settings: DataclassInstance) -> None:
    """Refuse values that are not of their field's type; lists become tuples."""
    hints = _hints(type(settings))
    for field in fields(settings):
        value = _of_type(getattr(settings, field.name), field.name, hints[field.name])
        object.__setattr__(settings, field.name, value)


@functools.cache
def _hints(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def _of_type(value: Any, name: str, kind: Any) -> Any:
    """The value; refuses one that is not of a type, as annotations write it."""
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (own for own in get_args(kind) if own is not type(None))
    if get_origin(kind) is Literal:
        _check_one_of(value, name, get_args(kind))
    elif get_origin(kind) is tuple:
        entry = get_args(kind)[0]
        given = listed(value, name, f"give a tuple of {_WORDS[entry]}")
        return tuple(_of_type(each, f"{name}[{i}]", entry) for i, each in enumerate(given))
    elif kind is bool:
        check_flag(value, name)
    elif kind is int and name.endswith("seed"):
        checked_integer(value, name, 0)
    elif kind is int:
        checked_count(value, name, -_MOST, _MOST)
    elif kind is float:
        check_number(value, name)
        if np.isnan(value):
            raise ValueError(f"{name} = nan: it must be a number")
    elif kind is Path:
        checked_path(value, name)
    return value


def _check_one_of(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    if isinstance(choices[0], str):
        check_choice(value, name, choices)
    elif checked_integer(value, name, -(2**63)) not in choices:
        raise ValueError(f"{name} = {value}: choose one of {', '.join(map(str, choices))}")


_MOST = 2**31 - 1
_WORDS = {int: "integers", float: "numbers"}

# Settings of one name mean the same in every task.
_LENGTHS = ("duration", "tau_mem", "tau_syn", "tau0", "tau1", "interval", "at_most_one_per")
_RATES = ("weight_rate", "delay_rate", "tau_rate", "rate_decay")
_COUNTS = ("hidden", "epochs", "batch_size", "delay_line", "train_size", "test_size")
_PLACES = ("hidden", "input", "forward", "recurrent", "output")
_AMOUNTS = ("silent_lift", "target_spikes", "blend", "alpha")
_WAITS = ("early", "initial_delay", "initial_delay_max", "delta")
_IN_MS = (*_LENGTHS, *_WAITS, "delay_rate", "tau_rate", "late", "delay_max", "refractory")


def _all(names: Iterable[str], rule: str, holds: Callable[[float], bool]) -> dict[str, _Range]:
    return dict.fromkeys(names, (rule, holds))


_Range = tuple[str, Callable[[float], bool]]
_RANGES: dict[str, _Range] = {
    **_all((*_LENGTHS, *_RATES), "finite and > 0", lambda value: 0 < value < np.inf),
    **_all(_COUNTS, "at least 1", lambda value: value >= 1),
    **_all(("shift",), ">= 0", lambda value: value >= 0),
    **_all(("layers",), "at least 1, and at most 1000", lambda value: 1 <= value <= 1000),
    **_all(("halving", "patience"), ">= 0; 0 for none", lambda value: value >= 0),
    **_all(("validation_size",), "at least 0", lambda value: value >= 0),
    **_all(
        (*(f"{place}_weight_deviation" for place in _PLACES), *_AMOUNTS, *_WAITS),
        "finite and >= 0",
        lambda value: 0 <= value < np.inf,
    ),
    **_all(
        ("weight", *(f"{place}_weight_mean" for place in _PLACES)),
        "finite",
        lambda value: -np.inf < value < np.inf,
    ),
    **_all(("delay_max", "refractory"), ">= 0", lambda value: value >= 0),
    **_all(("lambda_limit",), "> 0; infinity for no limit", lambda value: value > 0),
    **_all(("input_dropout",), "in [0, 1)", lambda value: 0 <= value < 1),
    **_all(("blend_probability",), "in (0, 1]", lambda value: 0 < value <= 1),
    **_all(("ease_in",), "in (0, 1]; 1 for none", lambda value: 0 < value <= 1),
}
"""What the number of a setting must be, in words and as a function."""


def check_ranges(settings: DataclassInstance) -> None:
    """Refuse numbers that no run can have, by the names they have as settings."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name not in _RANGES or value is None or isinstance(value, (str, Path)):
            continue
        rule, holds = _RANGES[field.name]
        if not holds(value):
            unit = " ms" if field.name in _IN_MS else ""
            raise ValueError(f"{field.name} = {value}{unit}: it must be {rule}")


# -- functions of settings ----------------------------------------------------------------


def for_settings(kind: type) -> Callable[[Function], Function]:
    """Decorate a function of settings: those of another kind, and unknown options, are refused."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        takes_options = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return function(*args, **kwargs)  # which says what does not fit
            check_is(given["settings"], "settings", kind, f"give {_called(kind)}")
            if "result" in given:
                from evsim.training.fitting import FitResult

                check_is(given["result"], "result", FitResult, "give what train returns")
            if takes_options:
                _check_options(function.__name__, given.get("options", {}), kind)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


def _called(kind: type) -> str:
    if kind.__name__ == "Settings":
        return f"{kind.__module__}.Settings(...)"
    return "the Settings of a task"


def _check_options(name: str, options: dict[str, Any], kind: type) -> None:
    known = tuple(RunOptions.__annotations__)
    for option in options:
        if option in known:
            continue
        if option in {field.name for field in fields(kind)}:
            raise TypeError(
                f"{name} has no option {option!r}: it is a setting, Settings({option}=...)"
            )
        hint = nearest(option, known) or f"; there are {', '.join(known)}"
        raise TypeError(f"{name} has no option {option!r}{hint}")
