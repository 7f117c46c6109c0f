"""The signal that arrives at a node of a NIR graph: paths from neurons, and a constant bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.nir.flat_graph import MAPS, NEURONS, FlatGraph
from evsim.nir.paths import Paths


@dataclass(frozen=True)
class Signal:
    """``paths`` from neurons and inputs, and a constant ``bias``, shape (rows,)."""

    paths: tuple[Paths, ...]
    bias: np.ndarray


class Signals:
    """The signals of a graph; ``time_unit`` is that of its delays, in ms."""

    def __init__(self, graph: FlatGraph, time_unit: float) -> None:
        self._graph = graph
        self._time_unit = time_unit
        self._found: dict[str, Signal] = {}
        self._open: list[str] = []
        self._units: dict[str, int] = {}

    def into(self, name: str) -> Signal:
        """The sum of the signals that all edges bring to a node."""
        parts = [(source, self._out_of(source)) for source in self._graph.before[name]]
        sizes = {source: part.bias.size for source, part in parts}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"what reaches node {name!r} differs in size: {sizes}")
        paths = tuple(path for _, part in parts for path in part.paths)
        return Signal(paths, np.sum([part.bias for _, part in parts], axis=0))

    def units(self, name: str) -> int:
        """The number of units of a neuron or an Input."""
        if name not in self._units:
            self._units[name] = self._count(name, ())
        return self._units[name]

    def _out_of(self, name: str) -> Signal:
        if self._graph.kind(name) not in MAPS:
            units = self.units(name)
            return Signal((Paths.of_units(name, units),), np.zeros(units))
        if name not in self._found:
            if name in self._open:
                loop = ", ".join(map(repr, self._open[self._open.index(name) :]))
                raise ValueError(
                    f"the edges of {loop} form a loop without a neuron in it: a signal would add "
                    "to itself without end"
                )
            self._open.append(name)
            self._found[name] = self._mapped(name, self.into(name))
            self._open.pop()
        return self._found[name]

    def _mapped(self, name: str, signal: Signal) -> Signal:
        kind = self._graph.kind(name)
        if kind in ("Linear", "Affine"):
            return self._after_matrix(name, kind, signal)
        if kind in ("Flatten", "Junction"):  # units are numbered row by row everywhere
            return signal
        field = "scale" if kind == "Scale" else "delay"
        values = self._graph.numbers(name, field).ravel()
        if values.size == 1:
            values = np.full(signal.bias.size, values[0])
        self._check_size(name, kind, values.size, signal)
        if kind == "Scale":
            return Signal(tuple(p.scaled(values) for p in signal.paths), signal.bias * values)
        if np.any(values < 0):
            raise ValueError(f"node {name!r} has a delay of {values.min():g}: it must be >= 0")
        if np.any((signal.bias != 0) & (values != 0)):
            raise ValueError(
                f"a bias passes through the Delay node {name!r}: it would begin later than the "
                "trial, and in evsim a constant input lasts for the whole trial"
            )
        delays = self._time_unit * values
        return Signal(tuple(p.delayed(delays) for p in signal.paths), signal.bias)

    def _after_matrix(self, name: str, kind: str, signal: Signal) -> Signal:
        matrix = self._graph.numbers(name, "weight")
        if matrix.ndim != 2:
            raise ValueError(
                f"weight of {name!r} has shape {matrix.shape}: evsim reads matrices (post, pre)"
            )
        self._check_size(name, kind, matrix.shape[1], signal)
        bias = matrix @ signal.bias if signal.bias.any() else np.zeros(matrix.shape[0])
        if kind == "Affine":
            own = self._graph.numbers(name, "bias")
            if own.shape not in ((), bias.shape):
                raise ValueError(
                    f"bias of {name!r} has shape {own.shape} and its weight {matrix.shape}: give "
                    "one bias per row"
                )
            bias = bias + own
        return Signal(tuple(path.through(matrix) for path in signal.paths), bias)

    def _check_size(self, name: str, kind: str, wanted: int, signal: Signal) -> None:
        if wanted != signal.bias.size:
            sources = ", ".join(map(repr, self._graph.before[name]))
            raise ValueError(
                f"the {kind} node {name!r} takes {wanted} values, but {signal.bias.size} come from "
                f"{sources}"
            )

    # -- sizes ---------------------------------------------------------------------------

    def _count(self, name: str, seen: tuple[str, ...]) -> int:
        """The number of values that leave a node."""
        graph, kind = self._graph, self._graph.kind(name)
        if kind == "Input":
            return _product(graph.nodes[name].input_type, name)
        if kind in ("Linear", "Affine"):
            return int(graph.numbers(name, "weight").shape[0])
        fields = {"Scale": "scale", "Delay": "delay", **dict.fromkeys(NEURONS, "tau_mem")}
        if kind in fields:
            values = graph.numbers(name, fields[kind])
            if values.ndim:
                return int(values.size)
        for source in graph.before[name]:  # a single number applies to all units
            if source not in seen:
                return self._count(source, (*seen, name))
        raise ValueError(
            f"the parameters of node {name!r} are single numbers, and nothing in front of it says "
            "how many units it has"
        )


def _product(types: Any, name: str) -> int:
    shape = None if not types else next(iter(types.values()))
    if shape is None:
        raise ValueError(f"the Input node {name!r} has no shape: give it one, such as [100]")
    return int(np.prod(np.asarray(shape)))
