"""Checks that spike trains, names of parameters and populations, and times fit a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from evsim.arguments.checks import listed, real_array, shown, unknown_name
from evsim.arguments.words import number_of
from evsim.network.network import Network
from evsim.network.populations import Input, Population
from evsim.network.spike_trains import SpikeTrains


def check_network(network: object) -> None:
    """Refuse anything but an evsim.Network."""
    if not isinstance(network, Network):
        raise TypeError(f"network is of type {type(network).__name__}: give an evsim.Network")


def check_inputs(
    network: Network, spikes: SpikeTrains | Mapping[str, SpikeTrains]
) -> dict[str, SpikeTrains]:
    """The spike trains of each input population by name; their units and samples must match."""
    names = [population.name for population in network.inputs]
    if not names:
        raise ValueError("the network has no Input population to give spikes to")
    if isinstance(spikes, SpikeTrains):
        if len(names) > 1:
            raise ValueError(
                f"the network has the inputs {', '.join(names)}: give a mapping from each name "
                "to its SpikeTrains"
            )
        spikes = {names[0]: spikes}
    if not isinstance(spikes, Mapping):
        raise TypeError(
            f"spikes is of type {type(spikes).__name__}: give SpikeTrains, for example "
            "SpikeTrains.from_lists([[(time, unit), ...], ...], units=...)"
        )
    for name in spikes:
        if name not in names:
            raise ValueError(unknown_name("input", name, dict.fromkeys(names)))
    inputs = {}
    for name in names:
        if name not in spikes:
            raise ValueError(f"no spikes are given for the input {name!r}")
        inputs[name] = _check_input(network.population(name), spikes[name])
    sizes = {name: len(trains) for name, trains in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the inputs differ in their number of samples: {sizes}")
    return inputs


def _check_input(population: Population, trains: SpikeTrains) -> SpikeTrains:
    if not isinstance(trains, SpikeTrains):
        raise TypeError(
            f"spikes of {population.name!r} are of type {type(trains).__name__}: give SpikeTrains"
        )
    if trains.unit_count != population.units:
        raise ValueError(
            f"the input {population.name!r} has {number_of(population.units, 'unit')} but "
            f"its spike trains have {trains.unit_count}"
        )
    return trains


def kind_of(parameter: str) -> str:
    """The kind of a parameter, "weight" or "tau_mem", from its full name."""
    return parameter.rsplit(".", 1)[1]


def parameters_named(
    name: object, parameters: Mapping[str, Any], argument: str, which: str = ""
) -> tuple[str, ...]:
    """The full names of the parameters that a name stands for, in the order of ``parameters``.

    A kind ("weight", "delay", "tau_mem", ...) stands for every parameter of that kind, a full name
    ("input->hidden.delay") for one.  ``argument`` is the argument that contains the name, ``which``
    describes the parameters, such as "trained ".

    Raises ValueError for an unknown name.
    """
    if isinstance(name, str) and name in parameters:
        return (name,)
    found = tuple(parameter for parameter in parameters if kind_of(parameter) == name)
    if not found:
        known = dict.fromkeys([*map(kind_of, parameters), *parameters])
        raise ValueError(f"{argument}: {unknown_name(f'{which}parameter', name, known)}")
    return found


def check_wrt(network: Network, wrt: Iterable[str] | None) -> tuple[str, ...]:
    """The full names of the parameters with respect to which to differentiate; all for None.

    ``wrt`` may have full names and kinds, as in ``parameters_named``.
    """
    if wrt is None:
        return tuple(network.parameters)
    if isinstance(wrt, str):
        raise TypeError(f"wrt = {wrt!r}: give a list of names, [{wrt!r}]")
    names = listed(wrt, "wrt", "give a list of names of parameters")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"wrt holds {shown(name)}: give names of parameters")
    parameters = network.parameters
    found = [
        (name,) if name in parameters else parameters_named(name, parameters, "wrt")
        for name in names
    ]
    return tuple(dict.fromkeys(chain(*found)))


def check_has_voltage(network: Network, population: str) -> None:
    """Refuse an unknown population, and an input, which has no voltage."""
    if isinstance(network.population(population), Input):
        raise ValueError(f"{population!r} is an input: its units have no voltage")


def check_trace(
    network: Network, population: str, times: Sequence[float] | np.ndarray, duration: float
) -> np.ndarray:
    """The times of a voltage trace in ms, float64, shape (times,); refuse a wrong population."""
    check_has_voltage(network, population)
    array = real_array(times, "times", "times in ms")
    if array.ndim != 1:
        raise TypeError(
            f"times has shape {array.shape}: give a one-dimensional array of times in ms"
        )
    wrong = ~((array >= 0) & (array <= duration))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"times[{index}] = {array[index]} ms: traces exist within the trial, "
            f"0 to {duration:g} ms"
        )
    return array.astype(np.float64)
