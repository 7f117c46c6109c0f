"""write: convert an evsim.Network to a NIR graph."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import numpy as np

from evsim.arguments.checks import check_flag, check_is, checked_path
from evsim.arguments.keywords import helpful
from evsim.display.warning_place import warn_caller
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.parameters import sparse_entries, spread
from evsim.network.populations import LI, LIF, Input, Population
from evsim.nir.biases import BIAS_INPUT, Biases, biases_of
from evsim.nir.coarse_steps import CoarseStepWarning, few_steps
from evsim.nir.conventions import TARGETS, Convention, convention_of
from evsim.nir.package import nir_package
from evsim.nir.reading import METADATA
from evsim.storage.files import write_atomically


@helpful
def write(
    network: Network,
    file: str | os.PathLike[str] | None = None,
    *,
    target: str | None = None,
    time_unit: str | float | None = None,
    spike: str | None = None,
    dt: float | None = None,
    synaptic_delays: bool = False,
    lossy: bool = False,
    bias_input: str = BIAS_INPUT,
) -> Any:
    """Convert a network to a NIR graph, and write it to a file if one is named.

    NIR does not define the unit of time and the size of a spike, so ``time_unit`` and ``spike``
    must be given, or ``target``, which implies both.  The graph states them in its metadata, so
    that ``read`` needs neither.

    Parameters
    ----------
    network : Network
    file : str or path, optional
        The file to write.
    target : str, optional
        The program that is to read the file: "snntorch", "norse", "jaxsnn", or "spec" for the unit
        of NIR's documentation.  Other arguments override what it implies.
    time_unit : str or float, optional
        The unit of time constants and delays: "s", "ms", "us", or a number of ms.
    spike : str, optional
        "event": a spike raises I by ``w_in W``, and w_in is 1.  "pulse": by ``w_in W dt/tau_syn``,
        and w_in is tau_syn/dt.
    dt : float, optional
        The step of the program in ms, for "pulse".  For snnTorch, this is one step of its module.
    synaptic_delays : bool
        Whether delays that differ from synapse to synapse are written, as a Linear that repeats
        the units, a Delay, and a Linear with the weights.  Otherwise they are refused.
    lossy : bool
        Whether to leave out refractory periods and the start of V, which NIR does not have.
    bias_input : str
        The input of the biases in a network from ``read``, which become Affine nodes again.

    Returns
    -------
    nir.NIRGraph
        One node for each population, with its name, and one or more for each connection.

    Raises
    ------
    ImportError
        Without the package nir.
    ValueError
        For what NIR cannot express, and for conventions that are not given.

    Warns
    -----
    CoarseStepWarning
        If a time constant is shorter than ten steps of dt.
    """
    check_is(network, "network", Network, "give an evsim.Network")
    check_flag(synaptic_delays, "synaptic_delays")
    check_flag(lossy, "lossy")
    check_is(bias_input, "bias_input", str, "give the name of an input")
    nir = nir_package()
    path = None if file is None else checked_path(file, "file", "a file to write")
    if path is not None and path.is_dir():
        raise ValueError(f"file = {os.fspath(path)!r} is a folder: name a file in it")
    if path is not None and not path.parent.is_dir():
        raise FileNotFoundError(f"file = {os.fspath(path)!r}: there is no folder {path.parent}")
    convention = convention_of(TARGETS, "target", target, time_unit, spike, dt, None, {})
    in_steps = target is not None and TARGETS[target].in_steps is True
    biases = biases_of(network, bias_input)
    if not lossy:
        _refuse_losses(network, biases)
    graph = _Conversion(network, convention, in_steps, synaptic_delays, biases, nir).graph()
    if convention.dt is not None:
        few = few_steps(_time_constants(network), convention.dt)
        if few:
            warn_caller(f"{few}; give a smaller dt", CoarseStepWarning)
    if path is not None:
        content = io.BytesIO()
        nir.write(content, graph)
        write_atomically(path, content.getvalue())
    return graph


def _time_constants(network: Network) -> dict[str, np.ndarray]:
    """All time constants in ms; the keys are names for messages."""
    return {
        f"{parameter} of {population.name!r}": getattr(population, parameter)
        for population in network.populations
        for parameter in population.unit_parameters
        if parameter.startswith("tau")
    }


def _refuse_losses(network: Network, biases: Biases) -> None:
    """Refuse what NIR has no field for."""
    for population in network.populations:
        if isinstance(population, LIF) and np.any(population.refractory > 0):
            raise ValueError(
                f"{population.name}.refractory is {np.max(population.refractory):g} ms, and NIR "
                "has no refractory period: set it to 0, or leave it out with lossy=True"
            )
        if not isinstance(population, LIF | LI) or population.name in biases.drives:
            continue
        if population.start is not None and np.any(population.start != population.rest):
            raise ValueError(
                f"{population.name}.start differs from its rest, and in NIR V has no start: do not "
                "give it, or leave it out with lossy=True"
            )


class _Conversion:
    """One network, and the meaning of the numbers in its graph."""

    def __init__(
        self,
        network: Network,
        convention: Convention,
        in_steps: bool,
        synaptic_delays: bool,
        biases: Biases,
        nir: Any,
    ) -> None:
        self._network = network
        self._convention = convention
        self._in_steps = in_steps  # whether r is tau_mem/dt
        self._synaptic_delays = synaptic_delays
        self._biases = biases
        self._nir = nir
        self._populations = [p for p in network.populations if p.name != biases.input]
        self._nodes: dict[str, Any] = {}
        self._edges: list[tuple[str, str]] = []

    def graph(self) -> Any:
        """The graph; its metadata state what its numbers mean."""
        for population in self._populations:
            self._nodes[_checked_name(population.name)] = self._node(population)
        for connection in self._network.connections:
            if connection.source != self._biases.input:
                self._connect(connection)
        output = self._network.output
        node = self._nir.Output(output_type={"output": np.array([output.units])})
        self._chain([(("output",), node)], output.name, None)
        return self._nir.NIRGraph(
            self._nodes, self._edges, metadata={METADATA: self._stated()}, type_check=False
        )

    def _stated(self) -> str:
        return json.dumps(
            {
                "time_unit": self._convention.time_unit,
                "spike": self._convention.spike,
                "dt": self._convention.dt,
                "populations": [population.name for population in self._populations],
            }
        )

    def _node(self, population: Population) -> Any:
        if isinstance(population, Input):
            return self._nir.Input(input_type={"input": np.array([population.units])})
        assert isinstance(population, LIF | LI)
        tau_mem, tau_syn = _each(population, "tau_mem"), _each(population, "tau_syn")
        v_leak = _each(population, "rest")
        if population.name in self._biases.drives:
            v_leak = _each(population, "start")
        fields = {
            "tau_mem": tau_mem / self._convention.time_unit,
            "tau_syn": tau_syn / self._convention.time_unit,
            "r": self._resistance(population),
            "v_leak": v_leak,
            "w_in": self._w_in(population),
        }
        if isinstance(population, LI):
            return self._nir.CubaLI(**fields)
        return self._nir.CubaLIF(
            v_threshold=_each(population, "threshold"),
            v_reset=_each(population, "reset"),
            **fields,
        )

    def _resistance(self, population: Population) -> np.ndarray:
        if self._in_steps:
            return _each(population, "tau_mem") / self._convention.dt
        return np.ones(population.units)

    def _w_in(self, population: Population) -> np.ndarray:
        if self._convention.spike == "pulse":
            return _each(population, "tau_syn") / self._convention.dt
        return np.ones(population.units)

    # -- connections -----------------------------------------------------------------------

    def _connect(self, connection: Connection) -> None:
        """Add the nodes of a connection: a Linear, and a Delay before or after it."""
        network = self._network
        target = network.population(connection.target)
        shape = target.units, network.population(connection.source).units
        rows, columns = _entries(connection, shape)
        weights = spread(connection.weight, connection.weight, shape)
        weights = weights / self._resistance(target)[rows]
        delays = spread(connection.delay, connection.weight, shape) / self._convention.time_unit
        matrix = np.zeros(shape)
        matrix[rows, columns] = weights
        name = _checked_name(connection.name.replace("->", "_to_"))
        linear = ((name,), self._linear(connection, matrix))
        chain = [linear]
        if delays.any():
            per_source, per_target = np.zeros(shape[1]), np.zeros(shape[0])
            per_source[columns], per_target[rows] = delays, delays
            delay_name = (f"{name}_delay",)
            if np.array_equal(per_source[columns], delays):
                chain = [(delay_name, self._nir.Delay(delay=per_source)), linear]
            elif np.array_equal(per_target[rows], delays):
                chain = [linear, (delay_name, self._nir.Delay(delay=per_target))]
            else:
                self._allow_synaptic_delays(connection)
                fan, each, matrix = _repeated(rows, columns, weights, delays, shape)
                chain = [
                    ((f"{name}_repeat",), self._nir.Linear(weight=fan)),
                    (delay_name, self._nir.Delay(delay=each)),
                    ((name,), self._linear(connection, matrix)),
                ]
        self._chain(chain, connection.source, connection.target)

    def _linear(self, connection: Connection, matrix: np.ndarray) -> Any:
        """A Linear, or an Affine if the connection carries the bias of its target."""
        if connection.name not in self._biases.bringers:
            return self._nir.Linear(weight=matrix)
        target = self._network.population(connection.target)
        per_bias = self._resistance(target) * self._w_in(target)
        return self._nir.Affine(
            weight=matrix, bias=self._biases.drives[connection.target] / per_bias
        )

    def _allow_synaptic_delays(self, connection: Connection) -> None:
        if not self._synaptic_delays:
            raise ValueError(
                f"{connection.name}.delay differs from synapse to synapse, and a Delay node of NIR "
                "has one delay per unit: share the delays per source or target unit, or write "
                "each with synaptic_delays=True, which repeats the source units"
            )

    def _chain(self, chain: list[Any], source: str, target: str | None) -> None:
        """Add nodes, and edges from the source through them to the target."""
        before = source
        for (name,), node in chain:
            free, number = name, 1
            while free in self._nodes:
                number += 1
                free = f"{name}_{number}"
            self._nodes[free] = node
            self._edges.append((before, free))
            before = free
        if target is not None:
            self._edges.append((before, target))


def _each(population: Population, parameter: str) -> np.ndarray:
    """A parameter of all units, float64, shape (units,)."""
    return np.array(np.broadcast_to(getattr(population, parameter), (population.units,)))


def _entries(connection: Connection, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of each synapse, row by row."""
    if connection.is_sparse:
        return sparse_entries(connection.weight)
    rows, columns = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    return rows, columns


def _repeated(
    rows: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray,
    delays: np.ndarray,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Synapses with individual delays, as a matrix that repeats units, delays and a weight matrix.

    A unit is repeated once for each delay that its synapses have.
    """
    pairs, which = np.unique(np.stack([columns, delays]), axis=1, return_inverse=True)
    copies = pairs.shape[1]
    fan = np.zeros((copies, shape[1]))
    fan[np.arange(copies), pairs[0].astype(int)] = 1.0
    matrix = np.zeros((shape[0], copies))
    matrix[rows, which.ravel()] = weights
    return fan, pairs[1], matrix


def _checked_name(name: str) -> str:
    """The name, which must not contain "/": in a file, "/" separates the names of groups."""
    if "/" in name:
        raise ValueError(
            f"the name {name!r} holds '/', which separates groups in a NIR file: use another sign"
        )
    return name
