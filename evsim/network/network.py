"""Network: a directed graph of populations and connections, and its parameters.

The shape of a parameter says which synapses or units share a value.  A delay of shape (post, pre)
is synaptic, (1, pre) axonal and (post, 1) dendritic; with shape () all synapses of the connection
share it.  A time constant of shape () is shared by a population; with shape (units,) each unit has
its own.  A gradient has the shape of its parameter.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.arguments.checks import (
    check_choice,
    check_is,
    check_number,
    checked_integer,
    is_sparse,
    listed,
    shown,
    unknown_name,
)
from evsim.arguments.keywords import helpful
from evsim.arguments.named import Named
from evsim.arguments.words import number_of
from evsim.network.connections import Connection
from evsim.network.initialisers import Initialiser
from evsim.network.parameters import Parameter, fold, parameter_frame, same_entries, spread
from evsim.network.populations import LI, LIF, Input, Population
from evsim.network.topology import Topology

if TYPE_CHECKING:
    from pandas import DataFrame


@helpful
class Network:
    """A frozen network of populations and connections.

    Parameters
    ----------
    populations : sequence of Input, LIF and LI
        The last population is the output: losses and readouts use it by default.
    connections : sequence of Connection
        Any directed graph: several layers, skips, recurrence, self-connections.
    seed : int, optional
        The random seed of parameters that are given as initialisers, such as ``evsim.Normal``.

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
            seed = checked_integer(seed, "seed", 0)
        given = listed(populations, "populations", "give a list of evsim.Input, LIF and LI")
        _check_populations(given)
        self.populations: tuple[Population, ...] = tuple(p.resolved(seed) for p in given)
        self._index = {p.name: i for i, p in enumerate(self.populations)}
        resolved = []
        remedy = "give a list of evsim.Connection"
        for place, connection in enumerate(listed(connections, "connections", remedy)):
            check_is(connection, f"connections[{place}]", Connection, "give evsim.Connection")
            source = self._end_of(connection, "source")
            target = self._end_of(connection, "target")
            resolved.append(connection.resolved(target.units, source.units, seed))
        self.connections: tuple[Connection, ...] = tuple(resolved)
        _check_connection_names(self.connections)

    def _end_of(self, connection: Connection, end: str) -> Population:
        name = getattr(connection, end)
        if name not in self._index:
            raise ValueError(
                f"connection {connection.name!r}: {unknown_name('population', name, self._index)}"
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
        """The state to pickle or copy, without the views that are computed on first use."""
        return {k: v for k, v in self.__dict__.items() if k not in ("parameters", "topology")}

    # -- names -------------------------------------------------------------------------

    def population(self, name: str) -> Population:
        """The population with that name."""
        check_is(name, "population", str, "give the name of one")
        if name not in self._index:
            raise ValueError(unknown_name("population", name, self._index))
        return self.populations[self._index[name]]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The input populations."""
        return tuple(p for p in self.populations if isinstance(p, Input))

    @property
    def output(self) -> Population:
        """The last population, which losses and readouts use by default."""
        return self.populations[-1]

    # -- parameters --------------------------------------------------------------------

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """All parameters by name, read-only: "input->hidden.weight", "hidden.tau_mem", ..."""
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
        return Named(parameters, "parameter")

    def to_frame(self) -> DataFrame:
        """All parameters as a pandas data frame, with a row for each number that they have.

        The columns are ``parameter`` (the full name), ``kind``, ``post``, ``pre``, ``unit`` and
        ``value``.  ``post`` and ``pre`` are the target and the source unit of a weight or delay,
        ``unit`` is the unit of a time constant or threshold.  Each is NA where it does not apply,
        and where all units share the value: a delay of shape (1, pre) has a row for each source
        unit, whose ``post`` is NA.  A sparse parameter has a row for each stored entry.

        Raises ImportError without pandas.
        """
        shapes = {connection.name: self._shape(connection) for connection in self.connections}
        return parameter_frame(self.parameters, shapes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Store the network in a file, from which ``evsim.load(path)`` reads it again.

        The same as ``evsim.storage.save_network(path, network)``.
        """
        # evsim.storage imports this module.
        import_module("evsim.storage").save_network(path, self)

    def replace(self, values: Mapping[str, Any]) -> Network:
        """A new network with some parameters replaced; a new shape changes what is shared.

        Raises ValueError for unknown names and for values that a Network would refuse.
        """
        check_is(values, "values", Mapping, "give a mapping from names of parameters to arrays")
        of_connections: dict[str, dict[str, Any]] = {}
        of_populations: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if not isinstance(name, str) or name not in self._parameters:
                raise ValueError(unknown_name("parameter", name, self.parameters))
            if isinstance(value, Initialiser):
                raise TypeError(
                    f"{name} is replaced by {value}: give an array; initialisers are "
                    "drawn when a Network is built"
                )
            owner, kind = name.rsplit(".", 1)
            owners = of_connections if kind in ("weight", "delay") else of_populations
            owners.setdefault(owner, {})[kind] = value
        network = object.__new__(Network)
        network._index = self._index
        network.populations = tuple(
            replace(p, **of_populations[p.name]) if p.name in of_populations else p
            for p in self.populations
        )
        network.connections = tuple(
            c.with_values(of_connections[c.name], *self._shape(c))
            if c.name in of_connections
            else c
            for c in self.connections
        )
        pairs = zip(self.connections, network.connections, strict=True)
        if "topology" in self.__dict__ and all(_same_synapses(*pair) for pair in pairs):
            network.__dict__["topology"] = self.topology
        return network

    # -- flat views, for engines --------------------------------------------------------

    @cached_property
    def topology(self) -> Topology:
        """The synapses as flat arrays; networks made by ``replace`` share them if possible."""
        return Topology.of(self.populations, self.connections)

    def weight_per_synapse(self) -> np.ndarray:
        """The weight of each synapse in the order of ``topology``, float64, shape (synapses,)."""
        return self._per_synapse("weight")

    def delay_per_synapse(self) -> np.ndarray:
        """The delay of each synapse in ms in the order of ``topology``, float64, (synapses,)."""
        return self._per_synapse("delay")

    def _per_synapse(self, kind: str) -> np.ndarray:
        topology = self.topology
        flat = np.empty(topology.source.size)
        for connection, slots in zip(self.connections, topology.slots, strict=True):
            shape = self._shape(connection)
            flat[slots] = spread(getattr(connection, kind), connection.weight, shape)
        return flat

    def fold(self, name: str, flat: np.ndarray) -> Parameter:
        """Sum a quantity per synapse or per unit into the shape of a parameter.

        ``flat`` has shape (synapses,) for a weight or a delay, and (units of all populations,) for
        a parameter of units.
        """
        if not isinstance(name, str) or name not in self._parameters:
            raise ValueError(unknown_name("parameter", name, self.parameters))
        owner, kind = name.rsplit(".", 1)
        topology = self.topology
        of_synapses = kind in ("weight", "delay")
        expected = topology.source.size if of_synapses else topology.unit_count
        if not isinstance(flat, np.ndarray) or flat.shape != (expected,):
            what = "synapse" if of_synapses else "unit of the network"
            raise TypeError(
                f"flat = {shown(flat)}: give an array of one number per {what}, shape ({expected},)"
            )
        if not of_synapses:
            start = int(self.topology.first_unit[self._index[owner]])
            values = flat[start : start + self.population(owner).units]
            return np.asarray(values.sum()) if self.parameters[name].shape == () else values.copy()
        index = [c.name for c in self.connections].index(owner)
        connection, slots = self.connections[index], topology.slots[index]
        per_synapse = flat[slots].copy() if isinstance(slots, slice) else flat[slots]
        parameter = getattr(connection, kind)
        return fold(per_synapse, parameter, connection.weight, self._shape(connection))

    def _shape(self, connection: Connection) -> tuple[int, int]:
        """The numbers of target and source units of a connection, (post, pre)."""
        post, pre = (
            self.populations[self._index[end]] for end in (connection.target, connection.source)
        )
        return post.units, pre.units

    def per_unit(self, parameter: str, default: float = np.nan) -> np.ndarray:
        """One parameter of all units of all populations, shape (units of all populations,).

        Units without that parameter have the value ``default``; ``start`` is ``rest`` where it is
        not given.
        """
        check_choice(parameter, "parameter", _UNIT_NUMBERS)
        check_number(default, "default")
        flat = np.full(self.topology.unit_count, float(default))
        for population, start in zip(self.populations, self.topology.first_unit, strict=False):
            if hasattr(population, parameter):
                values = getattr(population, parameter)
                flat[start : start + population.units] = (
                    population.rest if values is None else values  # type: ignore[attr-defined]
                )
        return flat

    def __repr__(self) -> str:
        lines = ["Network("]
        for p in self.populations:
            lines.append(f"  {type(p).__name__} {p.name!r}: {number_of(p.units, 'unit')}")
        for c in self.connections:
            post, pre = self._shape(c)
            synapses = c.weight.nnz if c.is_sparse else post * pre
            sharing = "sparse" if is_sparse(c.delay) else f"shape {c.delay.shape}"
            lines.append(f"  Connection {c.name!r}: {synapses} synapses, delay {sharing}")
        return "\n".join([*lines, ")"])


_UNIT_NUMBERS = ("tau_mem", "tau_syn", "threshold", "refractory", "reset", "rest", "start")


def _check_populations(populations: tuple[Population, ...]) -> None:
    if not populations:
        raise ValueError("populations is empty: a network needs at least one population")
    seen = set()
    for place, population in enumerate(populations):
        name = f"populations[{place}]"
        check_is(population, name, (Input, LIF, LI), "give evsim.Input, LIF or LI")
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


def _same_synapses(a: Connection, b: Connection) -> bool:
    if a is b:
        return True
    if a.is_sparse != b.is_sparse:
        return False
    return not a.is_sparse or a.weight is b.weight or same_entries(a.weight, b.weight)
