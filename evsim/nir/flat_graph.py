"""A NIR graph without nested graphs, of nodes that evsim can convert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import real_array

NEURONS = ("CubaLIF", "CubaLI")
MAPS = ("Linear", "Affine", "Scale", "Delay", "Flatten", "Junction")

_NO_CURRENT = (
    "it has no synaptic current, so a spike would make V jump, and in evsim V is continuous; use "
    "{instead}, with a short tau_syn if need be"
)
_AS_LINEAR = "evsim connects single units; write the same map as a Linear, a matrix (post, pre)"

REASONS = {
    "LIF": _NO_CURRENT.format(instead="CubaLIF"),
    "LI": _NO_CURRENT.format(instead="CubaLI"),
    "IF": "it has no leak and no synaptic current; use CubaLIF",
    "I": "it has no leak and no synaptic current; use CubaLI",
    "Threshold": "evsim's units have their threshold themselves; use CubaLIF",
    "Conv1d": _AS_LINEAR,
    "Conv2d": _AS_LINEAR,
    "SumPool2d": _AS_LINEAR,
    "AvgPool2d": _AS_LINEAR,
}
"""Why nodes of these kinds cannot be converted, and what can be used instead."""


class Junction:
    """An Input or Output of a nested graph: it passes on what it receives."""


@dataclass(frozen=True)
class FlatGraph:
    """Nodes by name, and the predecessors and successors of each, in the order of the file."""

    nodes: dict[str, Any]
    before: dict[str, list[str]]
    after: dict[str, list[str]]

    def kind(self, name: str) -> str:
        """The name of the class of a node."""
        return type(self.nodes[name]).__name__

    def of_kind(self, *kinds: str) -> list[str]:
        """The names of all nodes of these kinds."""
        return [name for name in self.nodes if self.kind(name) in kinds]

    def numbers(self, name: str, field: str) -> np.ndarray:
        """A parameter of a node as float64."""
        values = getattr(self.nodes[name], field)
        return real_array(values, f"{field} of {name!r}").astype(np.float64, copy=False)


def flatten(graph: Any) -> FlatGraph:
    """The graph without nested graphs, whose nodes become nodes named "outer.inner".

    Raises ValueError for edges that do not exist, and for nodes that evsim cannot convert.
    """
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    _collect(graph, "", nodes, edges)
    before: dict[str, list[str]] = {name: [] for name in nodes}
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        if target in after[source]:
            raise ValueError(f"the edge from {source!r} to {target!r} is there twice: remove one")
        after[source].append(target)
        before[target].append(source)
    flat = FlatGraph(nodes, before, after)
    _check_kinds(flat)
    return flat


def _collect(graph: Any, prefix: str, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """Add the nodes and edges of a graph, whose names begin with the prefix."""
    entrance: dict[str, str] = {}  # of nested graphs: where edges enter them
    exits: dict[str, str] = {}
    for short, node in graph.nodes.items():
        name = f"{prefix}{short}"
        kind = type(node).__name__
        if kind == "NIRGraph":
            _collect(node, f"{name}.", nodes, edges)
            entrance[short] = _sole(node, name, "Input")
            exits[short] = _sole(node, name, "Output")
        else:
            nodes[name] = Junction() if prefix and kind in ("Input", "Output") else node
    for edge in graph.edges:
        source, target = map(str, edge)
        for end in (source, target):
            if end not in graph.nodes:
                raise ValueError(
                    f"the edge from {prefix + source!r} to {prefix + target!r} names a node that "
                    f"is not there, {prefix + end!r}"
                )
        edges.append(
            (exits.get(source, f"{prefix}{source}"), entrance.get(target, f"{prefix}{target}"))
        )


def _sole(graph: Any, name: str, kind: str) -> str:
    found = [inner for inner, node in graph.nodes.items() if type(node).__name__ == kind]
    if len(found) != 1:
        raise ValueError(
            f"the graph {name!r} inside the graph has {len(found)} nodes of the kind {kind}: an "
            "edge to or from it means one of them only if it has exactly one"
        )
    return f"{name}.{found[0]}"


def _check_kinds(flat: FlatGraph) -> None:
    for name in flat.nodes:
        kind = flat.kind(name)
        if kind in REASONS:
            raise ValueError(f"node {name!r} is of the kind {kind}: {REASONS[kind]}")
        if kind not in (*NEURONS, *MAPS, "Input", "Output"):
            raise ValueError(
                f"node {name!r} is of the kind {kind}, which evsim does not know: it reads Input, "
                "Output, CubaLIF, CubaLI, Linear, Affine, Scale, Delay and Flatten"
            )
        if kind in (*MAPS, "Output") and not flat.before[name]:
            raise ValueError(
                f"no edge leads to the {kind} node {name!r}: put an Input in front of it"
            )
        if kind == "Input" and flat.before[name]:
            raise ValueError(f"an edge leads to the Input node {name!r}: it emits given spikes")
    for name in flat.of_kind("CubaLI"):
        for target in flat.after[name]:
            if flat.kind(target) not in ("Output", "Junction"):
                raise ValueError(
                    f"an edge leads from the CubaLI node {name!r} to {target!r}: its units do not "
                    "spike, and in evsim a voltage is not an input of other units"
                )
