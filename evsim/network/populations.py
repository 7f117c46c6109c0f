"""Input, LIF, LI: the populations of a network, each with the parameters of its units.

D is Mészáros, Knight, Nowotny (delay learning with EventProp).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from evsim.arguments.checks import (
    checked_count,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.network.initialisers import Initialiser
from evsim.network.parameters import (
    FrozenArrays,
    real_numbers,
    refuse,
)
from evsim.network.spike_trains import MOST_UNITS


@dataclass(frozen=True, eq=False, repr=False)
class Population(Brief, FrozenArrays):
    """A group of units of one kind, with a name."""

    name: str
    units: int

    spiking: ClassVar[bool] = True

    @property
    def unit_parameters(self) -> tuple[str, ...]:
        """The names of the parameters of its units."""
        return ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"population name {shown(self.name)}: it must be a non-empty string")
        if any(mark in self.name for mark in (".", "->")):
            raise ValueError(
                f"population name {self.name!r}: '.' and '->' are kept for the names of "
                "parameters and connections"
            )
        units = checked_count(self.units, f"{self.name}: units", 1, MOST_UNITS)
        object.__setattr__(self, "units", units)

    def resolved(self, seed: int | None) -> Population:
        """The same population with values drawn from its initialisers, and checked."""
        drawn: dict[str, Any] = {}
        for parameter in self.unit_parameters:
            value = getattr(self, parameter)
            if isinstance(value, Initialiser):
                drawn[parameter] = value.fill_units(f"{self.name}.{parameter}", seed, self.units)
        return replace(self, **drawn) if drawn else self

    def _set_time(self, parameter: str, *, zero: bool = False, infinite: bool = False) -> None:
        """Check a time in ms of each unit, and make it an array."""
        values = self._values(parameter)
        if values is None:
            return
        good = (values >= 0) if zero else (values > 0)
        good &= ~np.isnan(values) if infinite else np.isfinite(values)
        bound = ">= 0" if zero else "> 0"
        finite = "" if infinite else "finite and "
        refuse(values, ~good, self._full(parameter), "ms", f"it must be {finite}{bound}")
        object.__setattr__(self, parameter, values)

    def _set_voltage(self, parameter: str) -> None:
        """Check a voltage of each unit, and make it an array."""
        values = self._values(parameter)
        if values is None:
            return
        refuse(values, ~np.isfinite(values), self._full(parameter), "", "it must be finite")
        object.__setattr__(self, parameter, values)

    def _values(self, parameter: str) -> np.ndarray | None:
        """The numbers that are given; None for those that are drawn when a Network is built."""
        given, full_name = getattr(self, parameter), self._full(parameter)
        if parameter in self.unit_parameters and isinstance(given, Initialiser):
            return None
        values = real_numbers(given, full_name)
        if values.shape not in ((), (self.units,)):
            raise ValueError(
                f"{full_name} has shape {values.shape}: give one value, shape (), or one per "
                f"unit, shape ({self.units},)"
            )
        return values

    def _full(self, parameter: str) -> str:
        return f"{self.name}.{parameter}"


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Input(Population):
    """Units that emit the spikes that the user gives."""


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class LIF(Population):
    """Leaky integrate-and-fire units with exponential current synapses (D Table 1).

    ``tau_mem dV/dt = rest - V + I`` and ``tau_syn dI/dt = -I``, with ``V(0) = start``.  When V
    reaches ``threshold`` from below, the unit emits a spike and V is set to ``reset``; I does not
    change.  If ``rest`` is above the threshold, the unit spikes without any input.

    Parameters
    ----------
    name : str
    units : int
    tau_mem, tau_syn : float, array of shape (units,) or Initialiser
        Membrane and synaptic time constant in ms, > 0.  Any ratio is allowed, also 1.
    threshold : float, array of shape (units,) or Initialiser
        The voltage at which a unit spikes, above ``reset`` and ``start``.
    refractory : float or array of shape (units,)
        The refractory period in ms, >= 0: V stays at ``reset`` for that long after a spike.  With
        infinity a unit spikes at most once per trial.
    reset : float, array of shape (units,) or Initialiser
        The voltage to which a spike sets V.
    rest : float, array of shape (units,) or Initialiser
        The voltage to which V decays without input.  It acts as a constant bias of the current.
    start : float, array of shape (units,) or Initialiser, optional
        The voltage at the start of the trial; if not given, V starts at ``rest``.
    """

    tau_mem: Any = 20.0
    tau_syn: Any = 5.0
    threshold: Any = 1.0
    refractory: Any = 0.0
    reset: Any = 0.0
    rest: Any = 0.0
    start: Any = None

    @property
    def unit_parameters(self) -> tuple[str, ...]:
        names = ("tau_mem", "tau_syn", "threshold", "reset", "rest")
        return names if self.start is None else (*names, "start")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_time("tau_mem")
        self._set_time("tau_syn")
        self._set_voltage("threshold")
        self._set_time("refractory", zero=True, infinite=True)
        self._set_voltage("reset")
        self._set_voltage("rest")
        if self.start is not None:
            self._set_voltage("start")
        self._check_below_threshold("reset", "")
        if self.start is None:
            self._check_below_threshold("rest", ", as V starts there: give start")
        else:
            self._check_below_threshold("start", "")

    def _check_below_threshold(self, parameter: str, remedy: str) -> None:
        """Refuse a voltage that is not below the threshold, as soon as both are numbers."""
        values, threshold = getattr(self, parameter), self.threshold
        if isinstance(values, Initialiser) or isinstance(threshold, Initialiser):
            return
        wrong = ~(values < threshold)
        if not wrong.any():
            return
        unit = int(np.argmax(wrong))
        values, threshold = (v[unit] if v.ndim else v for v in (values, threshold))
        place = f"[{unit}]" if wrong.ndim else ""
        raise ValueError(
            f"{self._full(parameter)}{place} = {values:g}: it must be below "
            f"{self._full('threshold')}{place} = {threshold:g}{remedy}"
        )


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class LI(Population):
    """Leaky integrator units: they obey the equations of LIF units but never spike.

    Parameters
    ----------
    name : str
    units : int
    tau_mem, tau_syn : float, array of shape (units,) or Initialiser
        Membrane and synaptic time constant in ms, > 0.
    rest : float, array of shape (units,) or Initialiser
        The voltage to which V decays without input.
    start : float, array of shape (units,) or Initialiser, optional
        The voltage at the start of the trial; if not given, V starts at ``rest``.
    """

    tau_mem: Any = 20.0
    tau_syn: Any = 5.0
    rest: Any = 0.0
    start: Any = None

    spiking: ClassVar[bool] = False

    @property
    def unit_parameters(self) -> tuple[str, ...]:
        names = ("tau_mem", "tau_syn", "rest")
        return names if self.start is None else (*names, "start")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_time("tau_mem")
        self._set_time("tau_syn")
        self._set_voltage("rest")
        if self.start is not None:
            self._set_voltage("start")
