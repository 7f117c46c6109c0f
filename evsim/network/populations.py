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

    unit_parameters: ClassVar[tuple[str, ...]] = ()
    spiking: ClassVar[bool] = True

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

    def _set_unit_parameter(
        self, parameter: str, unit: str, *, zero: bool = False, infinite: bool = False
    ) -> None:
        full_name = f"{self.name}.{parameter}"
        if parameter in self.unit_parameters and isinstance(getattr(self, parameter), Initialiser):
            return  # its values are checked when a Network draws them
        values = real_numbers(getattr(self, parameter), full_name)
        if values.shape not in ((), (self.units,)):
            raise ValueError(
                f"{full_name} has shape {values.shape}: give one value, shape (), or one per "
                f"unit, shape ({self.units},)"
            )
        good = (values >= 0) if zero else (values > 0)
        good &= ~np.isnan(values) if infinite else np.isfinite(values)
        bound = ">= 0" if zero else "> 0"
        finite = "" if infinite else "finite and "
        refuse(values, ~good, full_name, unit, f"it must be {finite}{bound}")
        object.__setattr__(self, parameter, values)


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Input(Population):
    """Units that emit the spikes that the user gives."""


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class LIF(Population):
    """Leaky integrate-and-fire units with exponential current synapses (D Table 1).

    ``tau_mem dV/dt = -V + I`` and ``tau_syn dI/dt = -I``.  When V reaches ``threshold`` from
    below, the unit emits a spike and V is set to 0; I does not change.

    Parameters
    ----------
    name : str
    units : int
    tau_mem, tau_syn : float, array of shape (units,) or Initialiser
        Membrane and synaptic time constant in ms, > 0.  Any ratio is allowed, also 1.
    threshold : float, array of shape (units,) or Initialiser
        The voltage at which a unit spikes, > 0.
    refractory : float or array of shape (units,)
        The refractory period in ms, >= 0: V stays at 0 for that long after a spike.  With
        infinity a unit spikes at most once per trial.
    """

    tau_mem: Any = 20.0
    tau_syn: Any = 5.0
    threshold: Any = 1.0
    refractory: Any = 0.0

    unit_parameters: ClassVar[tuple[str, ...]] = ("tau_mem", "tau_syn", "threshold")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_unit_parameter("tau_mem", "ms")
        self._set_unit_parameter("tau_syn", "ms")
        self._set_unit_parameter("threshold", "")
        self._set_unit_parameter("refractory", "ms", zero=True, infinite=True)


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
    """

    tau_mem: Any = 20.0
    tau_syn: Any = 5.0

    unit_parameters: ClassVar[tuple[str, ...]] = ("tau_mem", "tau_syn")
    spiking: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_unit_parameter("tau_mem", "ms")
        self._set_unit_parameter("tau_syn", "ms")
