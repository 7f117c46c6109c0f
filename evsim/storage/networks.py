"""Networks in files."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from evsim.arguments.checks import check_is, checked_path, is_sparse
from evsim.arguments.keywords import helpful
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.parameters import Parameter
from evsim.network.populations import LI, LIF, Input, Population
from evsim.storage.arrays import load_arrays, save_arrays
from evsim.storage.files import StorageError

_KINDS: dict[str, type[Population]] = {kind.__name__: kind for kind in (Input, LIF, LI)}

_SPARSE_PARTS = ("data", "indices", "indptr")

_MAY_LACK = ("reset", "rest", "start")
"""Voltages that a file omits if they have their defaults; files of old versions have none."""


@helpful
def save_network(path: str | os.PathLike[str], network: Network) -> None:
    """Store the structure and the parameters of a network in one safetensors file."""
    check_is(network, "network", Network, "give an evsim.Network")
    path = checked_path(path, "path", "a file to write")
    if path.is_dir():
        raise ValueError(f"path = {str(path)!r} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path = {str(path)!r}: there is no folder {path.parent}")
    save_arrays(path, "network", network_arrays(network), network_structure(network))


@helpful
def load_network(path: str | os.PathLike[str]) -> Network:
    """Load a network that ``save_network`` stored; all bits are preserved.

    Raises FileNotFoundError, and StorageError for files that are damaged or not networks.
    """
    path = checked_path(path, "path", "a file")
    arrays, structure = load_arrays(path, "network")
    try:
        return network_of(structure, arrays)
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise StorageError(f"{path} does not describe a network: {error}") from error


def network_structure(network: Network) -> dict[str, Any]:
    """Populations and connections without their parameters, in a form that JSON can represent."""
    return {
        "populations": [
            {"kind": type(p).__name__, "name": p.name, "units": int(p.units)}
            for p in network.populations
        ],
        "connections": [
            {"name": c.name, "source": c.source, "target": c.target} for c in network.connections
        ],
    }


def network_arrays(network: Network) -> dict[str, np.ndarray]:
    """All arrays of a network by name; a sparse one as its data, indices and indptr."""
    arrays: dict[str, np.ndarray] = {}
    for connection in network.connections:
        for kind in ("weight", "delay"):
            name = f"{connection.name}.{kind}"
            value = getattr(connection, kind)
            if is_sparse(value):
                arrays |= {f"{name}.{part}": getattr(value, part) for part in _SPARSE_PARTS}
            else:
                arrays[name] = value
    for population in network.populations:
        for field in _unit_fields(type(population)):
            value = getattr(population, field)
            if not (field in _MAY_LACK and _is_default(population, field)):
                arrays[f"{population.name}.{field}"] = value
    return arrays


def network_of(structure: Any, arrays: dict[str, np.ndarray]) -> Network:
    """The network with this structure and these arrays."""
    populations = []
    for entry in structure["populations"]:
        if entry["kind"] not in _KINDS:
            raise ValueError(f"unknown kind of population {entry['kind']!r}")
        kind = _KINDS[entry["kind"]]
        values = {
            field: arrays[f"{entry['name']}.{field}"]
            for field in _unit_fields(kind)
            if field not in _MAY_LACK or f"{entry['name']}.{field}" in arrays
        }
        populations.append(kind(entry["name"], entry["units"], **values))
    units = {population.name: population.units for population in populations}
    connections = []
    for entry in structure["connections"]:
        shape = units[entry["target"]], units[entry["source"]]
        weight, delay = (
            _parameter_of(f"{entry['name']}.{kind}", arrays, shape) for kind in ("weight", "delay")
        )
        connections.append(
            Connection(entry["source"], entry["target"], weight, delay, name=entry["name"])
        )
    return Network(populations, connections)


def _parameter_of(name: str, arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> Parameter:
    if name in arrays:
        return arrays[name]
    from scipy.sparse import csr_array

    data, indices, indptr = (arrays[f"{name}.{part}"] for part in _SPARSE_PARTS)
    return csr_array((data, indices, indptr), shape=shape)


def _is_default(population: Population, field: str) -> bool:
    value = getattr(population, field)
    if field == "start":
        return value is None
    return bool(value.shape == () and value == 0.0)


def _unit_fields(kind: type[Population]) -> list[str]:
    """The fields with a number for each unit: parameters, and ``refractory``."""
    names = [field.name for field in dataclasses.fields(kind)]
    return [name for name in names if name not in ("name", "units")]
