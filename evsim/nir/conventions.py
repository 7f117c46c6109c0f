"""What the numbers of a NIR file mean: the unit of time, and the size of a spike.

NIR defines the equations ``tau_syn dI/dt = -I + w_in S`` and ``tau_mem dv/dt = v_leak - v + r I``,
but neither the unit of the time constants nor the size of a spike in S.  Programs differ in both,
so a user must specify them, or name the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import check_choice, check_number, shown

TIME_UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3}
"""The length of each unit of time in ms."""

SPIKES = ("event", "pulse")

BIASES = ("constant", "per step")


@dataclass(frozen=True)
class Convention:
    """What the numbers of a file mean.

    ``time_unit`` is the unit of time in ms.  A spike through a weight W raises I by w_in W if
    ``spike`` is "event".  If it is "pulse", S has the height W for one step ``dt`` (ms), so I rises
    by w_in W dt/tau_syn.  A bias is either a constant part of S, or raises I at every step as a
    spike does; ``bias`` says which.
    """

    time_unit: float
    spike: str
    dt: float | None = None
    bias: str = "constant"

    def jump(self, w_in: np.ndarray, tau_syn: np.ndarray) -> np.ndarray:
        """The rise of I due to a spike through a weight of 1; tau_syn is in ms."""
        if self.spike == "event":
            return w_in
        assert self.dt is not None
        return w_in * (self.dt / tau_syn)

    def bias_current(self, w_in: np.ndarray, tau_syn: np.ndarray) -> np.ndarray:
        """The I that a bias of 1 produces; tau_syn is in ms."""
        if self.bias == "constant" or self.spike == "pulse":  # for pulses, both are equal
            return w_in
        assert self.dt is not None
        return w_in * (tau_syn / self.dt)


@dataclass(frozen=True)
class Program:
    """How a program writes or reads NIR.

    ``time_unit_of`` computes the unit of time for a program in which it depends on dt.
    ``in_steps`` says whether the program's r and w_in are tau_mem and tau_syn in steps, or 1; None
    if they may have any value.
    """

    name: str
    time_unit: float | None = None
    spike: str | None = None
    dt: float | None = None
    bias: str = "constant"
    time_unit_of: Callable[[float], float] | None = None
    in_steps: bool | None = None


_SNNTORCH = Program(
    "snnTorch",
    spike="pulse",
    dt=0.1,
    time_unit_of=lambda dt: 1e4 * dt,  # a step is 1e-4 in its files, whatever the user means by it
    in_steps=True,
)

SOURCES = {
    "spec": Program("NIR's documentation", time_unit=1.0),
    "jaxsnn": Program("jaxsnn", time_unit=1.0, spike="event", in_steps=False),
    "snntorch": _SNNTORCH,
    "norse": Program(
        "Norse",
        spike="event",
        dt=1.0,
        bias="per step",
        time_unit_of=lambda dt: 1e6 / dt,  # it writes the product of tau and dt, both in s
        in_steps=False,
    ),
}
"""The meaning of the files that these programs write."""

TARGETS = {
    "spec": SOURCES["spec"],
    "jaxsnn": SOURCES["jaxsnn"],
    "snntorch": _SNNTORCH,
    "norse": Program("Norse", time_unit=1e3, spike="pulse", dt=1.0),
}
"""The meaning that these programs give to files that they read."""


def convention_of(
    programs: Mapping[str, Program],
    role: str,
    program: str | None,
    time_unit: Any,
    spike: Any,
    dt: Any,
    bias: Any,
    stated: Mapping[str, Any],
) -> Convention:
    """The convention, taken first from the user, then from the program, then from the file."""
    known = Program("")
    if program is not None:
        check_choice(program, role, programs)
        known = programs[program]
    elif stated:
        known = Program("evsim", **stated)
    if dt is None:
        dt = known.dt
    else:
        _check_positive(dt, "dt", "a time in ms")
    spike = known.spike if spike is None else spike
    unit = _time_unit(time_unit, known, dt)
    if spike is None or unit is None:
        raise ValueError(_not_given(spike is None, unit is None, role, program))
    check_choice(spike, "spike", SPIKES)
    if spike == "pulse" and dt is None:
        raise ValueError("spike = 'pulse' is as long as a step: give dt=..., the step in ms")
    bias = known.bias if bias is None else bias
    check_choice(bias, "bias", BIASES)
    if bias == "per step" and dt is None:
        raise ValueError("bias = 'per step' needs the step: give dt=..., in ms")
    return Convention(unit, spike, dt, bias)


def _time_unit(given: Any, known: Program, dt: float | None) -> float | None:
    """The unit of time in ms; None if neither the user nor the program specifies it."""
    if given is None:
        if known.time_unit_of is not None and dt is not None:
            return known.time_unit_of(dt)
        return known.time_unit
    if isinstance(given, str):
        check_choice(given, "time_unit", TIME_UNITS)
        return TIME_UNITS[given]
    _check_positive(given, "time_unit", "one of s, ms, us or a number of ms")
    return float(given)


def _not_given(no_spike: bool, no_unit: bool, role: str, program: str | None) -> str:
    """The message about what NIR does not define and nobody has specified, and what to give."""
    unit = "the unit of time", "time_unit='s', 'ms', 'us' or a number of ms"
    spike = (
        "the size of a spike",
        "spike='event' if it raises I by w_in W, spike='pulse' if by w_in W dt/tau_syn",
    )
    missing = [words for words, lacks in ((unit, no_unit), (spike, no_spike)) if lacks]
    lacks, remedies = (" and ".join(words) for words in zip(*missing, strict=True))
    named = "" if program else f"; or name the program, {role}='snntorch', 'norse' or 'jaxsnn'"
    return f"NIR does not define {lacks}: give {remedies}{named}"


def _check_positive(value: Any, name: str, what: str) -> None:
    check_number(value, name, what)
    if not 0 < value < np.inf:
        raise ValueError(f"{name} = {shown(value)}: it must be finite and > 0")
