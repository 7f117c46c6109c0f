"""Input, LIF, LI, Connection, Network: a frozen description of a network and its parameters.

A network is any directed graph of populations.  Its parameters are arrays whose *shape is
their sharing*: a delay of shape (post, pre) is synaptic, (1, pre) axonal, (post, 1)
dendritic, () one for all; a time constant of shape () is shared by a population, of shape
(units,) it is heterogeneous.  Gradients come back in the same shapes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from evsim.checks import is_integer
from evsim.initialisers import Initialiser
from evsim.parameters import (
    FrozenArrays,
    Parameter,
    check_delay,
    fold,
    is_sparse,
    per_connection,
    real_numbers,
    refuse,
    same_entries,
    sparse_entries,
    spread,
)
from evsim.topology import Topology

__all__ = [
    "LI",
    "LIF",
    "Connection",
    "Input",
    "Network",
    "Parameter",
    "Population",
    "sparse_entries",
    "unknown_name",
]


# -- populations --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Population(FrozenArrays):
    """A named group of units of one kind."""

    name: str
    units: int

    unit_parameters: ClassVar[tuple[str, ...]] = ()
    spiking: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"population name {self.name!r}: it must be a non-empty string")
        if any(mark in self.name for mark in (".", "->")):
            raise ValueError(
                f"population name {self.name!r}: '.' and '->' are kept for the names of "
                "parameters and connections"
            )
        if not is_integer(self.units):
            raise TypeError(f"{self.name}: units = {self.units!r} must be an integer")
        if self.units < 1:
            raise ValueError(f"{self.name}: units = {self.units} must be at least 1")
        object.__setattr__(self, "units", int(self.units))

    def resolved(self, seed: int | None) -> Population:
        """The same population with its initialisers drawn, and what they drew checked."""
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
            return  # until a network draws it
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


@dataclass(frozen=True, eq=False)
class Input(Population):
    """Units whose spikes the user gives."""


@dataclass(frozen=True, eq=False)
class LIF(Population):
    """Leaky integrate-and-fire units with exponential current synapses (D Table 1).

    ``tau_mem dV/dt = -V + I`` and ``tau_syn dI/dt = -I``; when V reaches ``threshold`` from
    below the unit emits a spike and V is set to 0, while I goes on.

    Parameters
    ----------
    name : str
    units : int
    tau_mem, tau_syn : float, array of shape (units,) or Initialiser
        Membrane and synaptic time constant in ms, > 0; any ratio, equality included.
    threshold : float, array of shape (units,) or Initialiser
        Greater than 0.
    refractory : float or array of shape (units,)
        How long V stays at 0 after a spike, in ms; 0 for not at all, infinity for at most
        one spike a trial.
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


@dataclass(frozen=True, eq=False)
class LI(Population):
    """Leaky integrator units: as LIF, without threshold; they never spike.

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


# -- connections --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Connection(FrozenArrays):
    """Synapses from every spike of a source population to units of a target population.

    Parameters
    ----------
    source, target : str
        Names of populations; they may be the same.
    weight : array, scipy.sparse matrix or Initialiser
        By how much a spike raises the target's current.  Shape (post, pre), or any shape
        that broadcasts to it, () , (1, pre) or (post, 1), which shares values.  A sparse
        matrix has synapses where it stores an entry, zeros included.
    delay : array, scipy.sparse matrix or Initialiser
        From emission to arrival in ms, >= 0; same shapes.  With sparse weights either
        shared (), (1, pre), (post, 1), or sparse with the entries of the weight.
    name : str, optional
        "source->target" if not given; needed when two connections join the same populations.
    """

    source: str
    target: str
    weight: Any
    delay: Any = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        for part in ("source", "target", "name"):
            if not isinstance(getattr(self, part), str):
                raise TypeError(f"{part} = {getattr(self, part)!r} of a connection: give a name")
        if not self.name:
            object.__setattr__(self, "name", f"{self.source}->{self.target}")
        if "." in self.name:
            raise ValueError(f"connection name {self.name!r}: '.' is kept for parameters")

    @property
    def is_sparse(self) -> bool:
        """Whether synapses exist only where the weight matrix stores an entry."""
        return is_sparse(self.weight)

    def resolved(self, post: int, pre: int, seed: int | None) -> Connection:
        """The same connection with its initialisers drawn and its arrays checked."""
        weight, delay = (
            self._resolved_parameter(kind, post, pre, seed) for kind in ("weight", "delay")
        )
        check_delay(delay, f"{self.name}.delay")
        if is_sparse(delay) and not is_sparse(weight):
            raise ValueError(
                f"{self.name}.delay is sparse while the weight is dense: make the weight sparse "
                "with the same entries, or give a dense delay"
            )
        if is_sparse(delay) and not same_entries(weight, delay):
            raise ValueError(
                f"{self.name}.delay is sparse and does not store the same entries as "
                f"{self.name}.weight: build it from the weight's indices and indptr"
            )
        unshared = not is_sparse(delay) and delay.shape == (post, pre) and min(post, pre) > 1
        if is_sparse(weight) and unshared:
            raise ValueError(
                f"{self.name}.delay is dense, shape {delay.shape}, while the weight is sparse: "
                "give a sparse delay with the entries of the weight, or a shared one of "
                f"shape (), (1, {pre}) or ({post}, 1)"
            )
        return replace(self, weight=weight, delay=delay)

    def _resolved_parameter(self, kind: str, post: int, pre: int, seed: int | None) -> Parameter:
        value = getattr(self, kind)
        name = f"{self.name}.{kind}"
        if isinstance(value, Initialiser):
            value = value.fill(name, seed, post, pre)
        return per_connection(value, name, (post, pre))


# -- the network --------------------------------------------------------------------------


class Network:
    """A frozen network of populations and connections.

    Parameters
    ----------
    populations : sequence of Input, LIF and LI
        The last one is the output: what losses and readouts look at unless told otherwise.
    connections : sequence of Connection
        Any directed graph: several layers, skips, recurrence, self-connections.
    seed : int, optional
        For parameters given as initialisers (``evsim.Normal`` and others).

    Raises
    ------
    TypeError, ValueError
        For unknown or repeated names, shapes that do not broadcast, values out of range.
    """

    def __init__(
        self,
        populations: Sequence[Population],
        connections: Sequence[Connection],
        *,
        seed: int | None = None,
    ) -> None:
        if seed is not None:
            if not is_integer(seed):
                raise TypeError(f"seed = {seed!r}: it must be an integer")
            if seed < 0:
                raise ValueError(f"seed = {seed}: it must be >= 0")
        given = tuple(populations)
        _check_populations(given)
        self.populations: tuple[Population, ...] = tuple(p.resolved(seed) for p in given)
        self._index = {p.name: i for i, p in enumerate(self.populations)}
        resolved = []
        for connection in connections:
            if not isinstance(connection, Connection):
                raise TypeError(f"{connection!r} is not a connection: use evsim.Connection")
            source = self._end_of(connection, "source")
            target = self._end_of(connection, "target")
            resolved.append(connection.resolved(target.units, source.units, seed))
        self.connections: tuple[Connection, ...] = tuple(resolved)
        _check_connection_names(self.connections)

    def _end_of(self, connection: Connection, end: str) -> Population:
        name = getattr(connection, end)
        if name not in self._index:
            raise ValueError(
                f"connection {connection.name!r}: there is no population {name!r}; "
                f"the network has {', '.join(self._index)}"
            )
        population = self.populations[self._index[name]]
        if end == "target" and isinstance(population, Input):
            raise ValueError(
                f"connection {connection.name!r} targets the input {name!r}: inputs only emit "
                "the spikes they are given"
            )
        if end == "source" and not population.spiking:
            raise ValueError(
                f"connection {connection.name!r} starts at {name!r}, whose LI units never "
                "spike: make it a LIF population"
            )
        return population

    def __getstate__(self) -> dict[str, Any]:
        """For pickling and copying, without the views that are made when they are asked for."""
        return {k: v for k, v in self.__dict__.items() if k not in ("parameters", "topology")}

    # -- names -------------------------------------------------------------------------

    def population(self, name: str) -> Population:
        """The population of that name."""
        if name not in self._index:
            raise ValueError(
                f"there is no population {name!r}; the network has {', '.join(self._index)}"
            )
        return self.populations[self._index[name]]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The input populations."""
        return tuple(p for p in self.populations if isinstance(p, Input))

    @property
    def output(self) -> Population:
        """The last population: what losses look at unless told otherwise."""
        return self.populations[-1]

    # -- parameters --------------------------------------------------------------------

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name, read-only: "input->hidden.weight", "hidden.tau_mem", ..."""
        return MappingProxyType(self._parameters)

    @cached_property
    def _parameters(self) -> dict[str, Parameter]:
        parameters: dict[str, Parameter] = {}
        for connection in self.connections:
            parameters[f"{connection.name}.weight"] = connection.weight
            parameters[f"{connection.name}.delay"] = connection.delay
        for population in self.populations:
            for parameter in population.unit_parameters:
                parameters[f"{population.name}.{parameter}"] = getattr(population, parameter)
        return parameters

    def replace(self, values: Mapping[str, Any]) -> Network:
        """A new network with some parameters replaced; shapes may change, which changes sharing.

        Raises ValueError for unknown names and for values a Network would refuse.
        """
        for name in values:
            if name not in self.parameters:
                raise ValueError(unknown_name("parameter", name, self.parameters))
            if isinstance(values[name], Initialiser):
                raise TypeError(
                    f"{name} is replaced by {values[name]}: give an array; initialisers are "
                    "drawn when a Network is built"
                )
        network = object.__new__(Network)
        network._index = self._index
        network.populations = tuple(
            _replace_parameters(p, p.name, p.unit_parameters, values) for p in self.populations
        )
        connections = []
        for old in self.connections:
            new = _replace_parameters(old, old.name, ("weight", "delay"), values)
            if new is not old:
                new = new.resolved(*self._shape(old), None)
            connections.append(new)
        network.connections = tuple(connections)
        same = all(_same_synapses(a, b) for a, b in zip(self.connections, connections, strict=True))
        if same and "topology" in self.__dict__:
            network.__dict__["topology"] = self.topology
        return network

    # -- flat views, for engines --------------------------------------------------------

    @cached_property
    def topology(self) -> Topology:
        """Who is connected to whom, as flat arrays; shared by networks made by ``replace``."""
        return Topology.of(self)

    def weight_per_synapse(self) -> np.ndarray:
        """Weight of each synapse in the topology's order, float64, shape (synapses,)."""
        return self._per_synapse("weight")

    def delay_per_synapse(self) -> np.ndarray:
        """Delay of each synapse in the topology's order in ms, float64, shape (synapses,)."""
        return self._per_synapse("delay")

    def _per_synapse(self, kind: str) -> np.ndarray:
        topology = self.topology
        flat = np.empty(topology.source.size)
        for connection, slots in zip(self.connections, topology.slots, strict=True):
            shape = self._shape(connection)
            flat[slots] = spread(getattr(connection, kind), connection.weight, shape)
        return flat

    def fold(self, name: str, flat: np.ndarray) -> Parameter:
        """Sum a quantity per synapse, or per unit, into the shape of that parameter.

        ``flat`` has shape (synapses,) for a weight or a delay, and (units of all populations,)
        for a time constant or a threshold.
        """
        owner, kind = name.rsplit(".", 1)
        if kind not in ("weight", "delay"):
            start = int(self.topology.first_unit[self._index[owner]])
            own = flat[start : start + self.population(owner).units]
            return np.asarray(own.sum()) if self.parameters[name].shape == () else own.copy()
        index = [c.name for c in self.connections].index(owner)
        connection = self.connections[index]
        own = flat[self.topology.slots[index]]
        values = getattr(connection, kind)
        return fold(own, values, connection.weight, self._shape(connection))

    def _shape(self, connection: Connection) -> tuple[int, int]:
        """(post, pre) of a connection."""
        return self.population(connection.target).units, self.population(connection.source).units

    def per_unit(self, parameter: str, default: float = np.nan) -> np.ndarray:
        """A unit parameter for all units of all populations, ``default`` where there is none."""
        flat = np.full(self.topology.unit_count, default)
        for population, start in zip(self.populations, self.topology.first_unit, strict=False):
            if hasattr(population, parameter):
                flat[start : start + population.units] = getattr(population, parameter)
        return flat

    def __repr__(self) -> str:
        lines = ["Network("]
        for p in self.populations:
            lines.append(f"  {type(p).__name__} {p.name!r}: {p.units} units")
        for c in self.connections:
            post, pre = self._shape(c)
            synapses = c.weight.nnz if c.is_sparse else post * pre
            sharing = "sparse" if is_sparse(c.delay) else f"shape {c.delay.shape}"
            lines.append(f"  Connection {c.name!r}: {synapses} synapses, delay {sharing}")
        return "\n".join([*lines, ")"])


# -- checks -------------------------------------------------------------------------------


def _check_populations(populations: tuple[Population, ...]) -> None:
    if not populations:
        raise ValueError("a network needs at least one population")
    seen = set()
    for population in populations:
        if not isinstance(population, (Input, LIF, LI)):
            raise TypeError(f"{population!r} is not a population: use Input, LIF or LI")
        if population.name in seen:
            raise ValueError(
                f"population name {population.name!r} is given twice: names must differ"
            )
        seen.add(population.name)


def _check_connection_names(connections: tuple[Connection, ...]) -> None:
    seen = set()
    for connection in connections:
        if connection.name in seen:
            raise ValueError(
                f"two connections are called {connection.name!r}: give one of them "
                "another name, Connection(..., name='...')"
            )
        seen.add(connection.name)


def unknown_name(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """The message for a name that is not among the known ones."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return f"there is no {kind} {name!r}; {hint}"


def _same_synapses(a: Connection, b: Connection) -> bool:
    if a.is_sparse != b.is_sparse:
        return False
    return not a.is_sparse or a.weight is b.weight or same_entries(a.weight, b.weight)


def _replace_parameters(
    owner: Any, owner_name: str, parameters: tuple[str, ...], values: Mapping[str, Any]
) -> Any:
    own = {p: values[f"{owner_name}.{p}"] for p in parameters if f"{owner_name}.{p}" in values}
    return replace(owner, **own) if own else owner
