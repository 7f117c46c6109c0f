"""read: convert a NIR graph to an evsim.Network."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    check_flag,
    check_is,
    check_number,
    checked_path,
    is_sparse,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.display.warning_place import warn_caller
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.parameters import with_data
from evsim.network.populations import LI, LIF, Input, Population
from evsim.nir.biases import BIAS_INPUT
from evsim.nir.coarse_steps import CoarseStepWarning, few_steps
from evsim.nir.conventions import SOURCES, Convention, Program, convention_of
from evsim.nir.flat_graph import NEURONS, FlatGraph, flatten
from evsim.nir.package import nir_package
from evsim.nir.paths import Paths
from evsim.nir.signals import Signals
from evsim.storage.files import StorageError

METADATA = "evsim"
"""The key of a graph's metadata under which ``write`` states what its numbers mean."""


@helpful
def read(
    file: Any,
    *,
    source: str | None = None,
    time_unit: str | float | None = None,
    spike: str | None = None,
    dt: float | None = None,
    bias: str | None = None,
    start: float | None = None,
    refractory: float = 0.0,
    recurrent_delay: float = 0.0,
    sparse: bool = False,
    bias_input: str = BIAS_INPUT,
) -> Network:
    """A network from a file or graph of the Neuromorphic Intermediate Representation.

    NIR does not define the unit of time and the size of a spike, so ``time_unit`` and ``spike``
    must be given, or ``source``, which implies both.  Files made by ``write`` state them.

    Parameters
    ----------
    file : str, path or nir.NIRGraph
    source : str, optional
        The program that wrote the file: "snntorch", "norse", "jaxsnn", or "spec" for the unit of
        NIR's documentation.  Other arguments override what it implies.
    time_unit : str or float, optional
        The unit of the file's time constants and delays: "s", "ms", "us", or a number of ms.
    spike : str, optional
        "event": a spike raises I by ``w_in W``.  "pulse": by ``w_in W dt/tau_syn``.
    dt : float, optional
        The step of the program in ms, for "pulse" and for the warning.  In files of snnTorch time
        is counted in steps, so dt is the intended length of a step; its default is 0.1 ms.
    bias : str, optional
        "constant", the default: a bias b leads to ``I = w_in b``.  "per step": the program adds it
        at every step as it adds a spike.  For "pulse" both mean the same.
    start : float, optional
        V at the start of the trial; the default is v_leak of each neuron.
    refractory : float
        The refractory period, in ms, of all neurons that spike; NIR has no refractory periods.
    recurrent_delay : float
        A delay in ms that is added to all connections inside a loop.
    sparse : bool
        Whether a weight of 0 means that there is no synapse.
    bias_input : str
        The name of the input that is added if the graph has biases; ``with_bias`` makes its spikes.

    Returns
    -------
    Network
        Populations have the names of their nodes, with "_" for ".".  A parameter that is the same
        for all units of a node is stored as one number.  The populations of Output nodes come last.

    Raises
    ------
    ImportError
        Without the package nir.
    FileNotFoundError, evsim.storage.StorageError
        For a file that does not exist or that nir cannot read.
    ValueError
        For nodes and edges that cannot be converted exactly, and for conventions that are not
        given or that the file contradicts.

    Warns
    -----
    CoarseStepWarning
        If a time constant is shorter than ten steps.
    """
    check_flag(sparse, "sparse")
    check_is(bias_input, "bias_input", str, "give a name for an input")
    if start is not None:
        check_number(start, "start")
    _check_time(refractory, "refractory")
    _check_time(recurrent_delay, "recurrent_delay")
    graph = _graph(file)
    stated = _stated(graph)
    convention = convention_of(SOURCES, "source", source, time_unit, spike, dt, bias, stated[0])
    conversion = _Conversion(flatten(graph), convention, start, refractory, sparse, bias_input)
    if source is not None:
        conversion.check_program(SOURCES[source])
    network = conversion.network(stated[1])
    trained_in_steps = source is not None or dt is not None
    if trained_in_steps and convention.dt is not None:
        few = few_steps(conversion.time_constants(), convention.dt)
        if few:
            warn_caller(few + _remedy(convention.dt), CoarseStepWarning)
    return _delayed_in_loops(network, recurrent_delay) if recurrent_delay else network


def _remedy(dt: float) -> str:
    return (
        "; in the program a unit spikes once a step and loops take a step, so try "
        f"refractory={dt:g} and recurrent_delay={dt:g}"
    )


def _check_time(value: Any, name: str) -> None:
    check_number(value, name, "a time in ms")
    if not value >= 0:
        raise ValueError(f"{name} = {shown(value)} ms: it must be >= 0")


# -- the file -----------------------------------------------------------------------------


def _graph(file: Any) -> Any:
    """The NIR graph of a file, or the given graph."""
    nir = nir_package()
    if isinstance(file, nir.NIRGraph):
        return file
    if isinstance(file, nir.NIRNode):
        raise TypeError(f"file is a {type(file).__name__} node: give a graph, nir.NIRGraph")
    path = checked_path(file, "file", "a NIR file, or a nir.NIRGraph")
    if not path.is_file():
        raise FileNotFoundError(f"file = {os.fspath(path)!r}: there is no such file")
    try:
        # The sizes are checked here, with the names of the nodes that do not fit.
        return nir.read(path, type_check=False)
    except Exception as error:  # nir uses asserts, and passes on all errors of h5py
        raise StorageError(f"{path} cannot be read as a NIR file: {error}") from error


def _stated(graph: Any) -> tuple[dict[str, Any], list[str]]:
    """The convention and the order of populations that ``write`` put into a graph."""
    metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
    text = metadata.get(METADATA)
    if text is None:
        return {}, []
    try:
        found = json.loads(text)
        convention = {key: found[key] for key in ("time_unit", "spike", "dt")}
        return convention, [str(name) for name in found["populations"]]
    except (TypeError, ValueError, KeyError) as error:
        raise StorageError(
            f"the metadata {METADATA!r} of the graph is damaged ({error}): remove it, and give "
            "time_unit and spike"
        ) from error


# -- the conversion -------------------------------------------------------------------------


class _Conversion:
    """One graph, and what its numbers mean."""

    def __init__(
        self,
        graph: FlatGraph,
        convention: Convention,
        start: float | None,
        refractory: float,
        sparse: bool,
        bias_input: str,
    ) -> None:
        self._graph = graph
        self._convention = convention
        self._start = start
        self._refractory = refractory
        self._sparse = sparse
        self._bias_input = bias_input
        self._signals = Signals(graph, convention.time_unit)
        self._neurons = graph.of_kind(*NEURONS)
        self._names = _population_names([*graph.of_kind("Input"), *self._neurons])
        self._between: Counter[tuple[str, str]] = Counter()  # connections of two populations

    def check_program(self, program: Program) -> None:
        """Refuse a file whose r and w_in are not those that its program writes."""
        if program.in_steps is None:
            return
        for name in self._neurons:
            for field, which in (("r", "mem"), ("w_in", "syn")):
                found = self._values(name, field)
                expected = self._steps(name, which) if program.in_steps else np.ones_like(found)
                wrong = ~np.isclose(found, expected, rtol=1e-3)
                if wrong.any():
                    unit = int(np.argmax(wrong))
                    told = f"tau_{which}/dt = {expected[unit]:.6g}" if program.in_steps else "1"
                    raise ValueError(
                        f"node {name!r} has {field} = {found[unit]:.6g} for unit {unit}, and "
                        f"{program.name} writes {told}: give another source, or time_unit and spike"
                    )

    def _steps(self, name: str, which: str) -> np.ndarray:
        """A time constant in steps of the program, shape (units,)."""
        assert self._convention.dt is not None
        return self._tau(name, which) / self._convention.dt

    def network(self, order: list[str]) -> Network:
        """The network; ``order`` are the names of populations in the order stated in the file."""
        if not self._names:
            raise ValueError("the graph has no Input and no neuron: there is nothing to simulate")
        populations: dict[str, Population] = {}
        connections: list[Connection] = []
        for name in self._graph.of_kind("Input"):
            populations[name] = Input(self._names[name], self._signals.units(name))
        drives: dict[str, np.ndarray] = {}
        for name in self._neurons:
            paths, drives[name] = self._input_of(name)
            populations[name] = self._population(name, drives[name])
            gain = self._gain(name)
            for path in paths:
                connections += self._connections(path.scaled(gain), name)
        arranged = self._arranged(populations, connections, order)
        biased = {name: drive for name, drive in drives.items() if drive.any()}
        if biased:
            self._check_bias_input()
            place = sum(isinstance(population, Input) for population in arranged)
            arranged.insert(place, Input(self._bias_input, 1))
            connections += [
                Connection(self._bias_input, self._names[name], -drive[:, None])
                for name, drive in biased.items()
            ]
        place_of = {population.name: place for place, population in enumerate(arranged)}
        connections.sort(key=lambda c: (place_of[c.source], place_of[c.target]))
        return Network(arranged, connections)

    def _check_bias_input(self) -> None:
        if self._bias_input in self._names.values():
            raise ValueError(
                f"the graph has biases and a node that is called {self._bias_input!r}: give their "
                "input another name, bias_input=..."
            )

    def _input_of(self, name: str) -> tuple[tuple[Paths, ...], np.ndarray]:
        """The paths into a neuron, and the rise of the rest of V due to biases."""
        units = self._signals.units(name)
        if not self._graph.before[name]:
            return (), np.zeros(units)
        signal = self._signals.into(name)
        if signal.bias.size != units:
            sources = ", ".join(map(repr, self._graph.before[name]))
            raise ValueError(
                f"node {name!r} has {number_of(units, 'unit')}, but {signal.bias.size} "
                f"values come from {sources}"
            )
        if not signal.bias.any():
            return signal.paths, np.zeros(units)
        current = self._convention.bias_current(self._values(name, "w_in"), self._tau(name, "syn"))
        drive: np.ndarray = self._values(name, "r") * current * signal.bias
        return signal.paths, drive

    def _gain(self, name: str) -> np.ndarray:
        """What a weight of 1 adds to I, in units of V."""
        jump = self._convention.jump(self._values(name, "w_in"), self._tau(name, "syn"))
        gain: np.ndarray = self._values(name, "r") * jump
        return gain

    def _values(self, name: str, field: str) -> np.ndarray:
        """A parameter of a neuron, shape (units,)."""
        units = self._signals.units(name)
        values = self._graph.numbers(name, field).ravel()
        if values.size not in (1, units):
            raise ValueError(
                f"{field} of {name!r} has {values.size} values for "
                f"{number_of(units, 'unit')}: give one each"
            )
        return np.broadcast_to(values, (units,))

    def _tau(self, name: str, which: str) -> np.ndarray:
        tau = self._convention.time_unit * self._values(name, f"tau_{which}")
        if not np.all((tau > 0) & np.isfinite(tau)):
            wrong = tau[np.argmin((tau > 0) & np.isfinite(tau))]
            raise ValueError(f"tau_{which} of {name!r} is {wrong:g} ms: it must be finite and > 0")
        return tau

    def _population(self, name: str, drive: np.ndarray) -> Population:
        leak = self._values(name, "v_leak")
        start = None if self._start is None else np.asarray(self._start, float)
        if start is None and drive.any():
            start = leak
        parameters = {
            "tau_mem": _shared(self._tau(name, "mem")),
            "tau_syn": _shared(self._tau(name, "syn")),
            "rest": _shared(leak + drive),
            "start": None if start is None else _shared(start),
        }
        units = self._signals.units(name)
        if self._graph.kind(name) == "CubaLI":
            return LI(self._names[name], units, **parameters)
        threshold = self._values(name, "v_threshold")
        self._check_start(name, leak if start is None else start, threshold)
        return LIF(
            self._names[name],
            units,
            threshold=_shared(threshold),
            reset=_shared(self._values(name, "v_reset")),
            refractory=self._refractory,
            **parameters,
        )

    def _check_start(self, name: str, start: np.ndarray, threshold: np.ndarray) -> None:
        wrong = start >= threshold  # NaN is refused by the population
        if wrong.any():
            unit = int(np.argmax(wrong))
            found = np.broadcast_to(start, threshold.shape)[unit]
            told = "v_leak" if self._start is None else "start"
            raise ValueError(
                f"node {name!r} starts at {told} = {found:g}, and v_threshold of unit {unit} is "
                f"{threshold[unit]:g}: V must start below it; give start=..., such as start=0.0"
            )

    def _connections(self, paths: Paths, target: str) -> list[Connection]:
        """Connections for paths with weights in units of V; parallel connections are numbered."""
        ends = self._names[paths.source], self._names[target]
        made = []
        for weight, delay in paths.synapses(self._sparse):
            self._between[ends] += 1
            number = self._between[ends]
            name = "->".join(ends) + (f" {number}" if number > 1 else "")
            made.append(Connection(*ends, weight, delay, name=name))
        return made

    # -- the order of populations ---------------------------------------------------------------

    def _arranged(
        self, populations: dict[str, Population], connections: list[Connection], order: list[str]
    ) -> list[Population]:
        """Inputs first, then by the number of connections from them; those of Outputs last."""
        by_name = {population.name: population for population in populations.values()}
        if sorted(order) == sorted(by_name):
            return [by_name[name] for name in order]
        read_out = {self._names[name] for name in self._read_out()}
        steps = dict.fromkeys((p.name for p in by_name.values() if isinstance(p, Input)), 0)
        reached = list(steps)
        for name in reached:  # the list grows in the loop
            for connection in connections:
                if connection.source == name and connection.target not in steps:
                    steps[connection.target] = steps[name] + 1
                    reached.append(connection.target)
        last = len(by_name)
        return sorted(by_name.values(), key=lambda p: (p.name in read_out, steps.get(p.name, last)))

    def _read_out(self) -> set[str]:
        """The neurons that lead to an Output."""
        found = set()
        for output in self._graph.of_kind("Output"):
            waiting = list(self._graph.before[output])
            for name in waiting:  # the list grows in the loop
                kind = self._graph.kind(name)
                if kind in ("Junction", "Flatten"):
                    waiting += [n for n in self._graph.before[name] if n not in waiting]
                elif kind in NEURONS:
                    found.add(name)
                else:
                    raise ValueError(
                        f"the {kind} node {name!r} leads to the Output {output!r}: evsim reads the "
                        "spikes and the voltage of neurons; put a CubaLI in between"
                    )
        return found

    def time_constants(self) -> dict[str, np.ndarray]:
        """All time constants in ms; the keys are names for messages."""
        return {
            f"tau_{which} of {name!r}": self._tau(name, which)
            for name in self._neurons
            for which in ("mem", "syn")
        }


def _population_names(nodes: list[str]) -> dict[str, str]:
    """A unique name without "." and "->" for each node."""
    names: dict[str, str] = {}
    for node in nodes:
        plain = node.replace("->", "_to_").replace(".", "_") or "_"
        name, number = plain, 1
        while name in names.values():
            number += 1
            name = f"{plain}_{number}"
        names[node] = name
    return names


def _shared(values: np.ndarray) -> np.ndarray:
    """The values, reduced to one number if all units have the same value."""
    return values.ravel()[0] if np.all(values == values.ravel()[0]) else values


def _delayed_in_loops(network: Network, delay: float) -> Network:
    """The network with a delay added to the connections between populations of one loop."""
    loop: dict[str, int] = {}
    for number, component in enumerate(network.topology.components):
        if component.recurrent:
            loop |= {network.populations[index].name: number for index in component.populations}
    longer: dict[str, Any] = {}
    for c in network.connections:
        if c.source in loop and loop[c.source] == loop.get(c.target):
            stored = is_sparse(c.delay)
            later = with_data(c.delay, c.delay.data + delay) if stored else c.delay + delay
            longer[f"{c.name}.delay"] = later
    return network.replace(longer)
