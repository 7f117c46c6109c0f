"""Checks of the results that are given for another program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_finite, is_sparse, real_array, shown, unknown_name
from evsim.arguments.errors import ArgumentError
from evsim.arguments.words import number_of
from evsim.network.checks import check_trace
from evsim.network.network import Network
from evsim.network.parameters import Parameter, same_entries
from evsim.network.populations import LIF, Input
from evsim.network.spike_trains import SpikeTrains

Traces = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


# -- spikes -------------------------------------------------------------------------------


def checked_spikes(
    network: Network, inputs: Mapping[str, SpikeTrains], theirs: Any, duration: float
) -> dict[str, SpikeTrains]:
    """The spikes of the other program by population, in the order of the network."""
    spiking = [p.name for p in network.populations if isinstance(p, LIF)]
    if isinstance(theirs, SpikeTrains):
        if len(spiking) != 1:
            raise ValueError(
                f"theirs is given without a name, and the network has the spiking populations "
                f"{', '.join(spiking) or 'none'}: give a mapping from names to SpikeTrains"
            )
        theirs = {spiking[0]: theirs}
    if not isinstance(theirs, Mapping):
        raise TypeError(
            f"theirs = {shown(theirs)}: give the SpikeTrains of the other program, or a mapping "
            "from populations to SpikeTrains"
        )
    for name, trains in theirs.items():
        _check_population(network, name)
        _check_trains(network, inputs, name, trains, duration)
    return {name: theirs[name] for name in spiking if name in theirs}


def _check_population(network: Network, name: Any) -> None:
    known = [p.name for p in network.populations]
    if name not in known:
        raise ValueError(f"theirs: {unknown_name('population', name, known)}")
    population = network.population(name)
    if isinstance(population, Input):
        raise ValueError(
            f"theirs has spikes of {name!r}, which is an input: the spikes of inputs are given as "
            "inputs, to evsim and to the other program alike"
        )
    if not isinstance(population, LIF):
        raise ValueError(
            f"theirs has spikes of {name!r}, whose LI units never spike: compare their voltages=..."
        )


def _check_trains(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    name: str,
    trains: Any,
    duration: float,
) -> None:
    if not isinstance(trains, SpikeTrains):
        raise TypeError(f"theirs[{name!r}] = {shown(trains)}: give SpikeTrains")
    units = network.population(name).units
    if trains.unit_count != units:
        raise ValueError(
            f"theirs[{name!r}] has {number_of(trains.unit_count, 'unit')}: the population "
            f"has {units}"
        )
    batch = len(next(iter(inputs.values())))
    if len(trains) != batch:
        raise ValueError(
            f"theirs[{name!r}] has {number_of(len(trains), 'sample')}, the inputs have "
            f"{batch}: give the spikes of the same samples"
        )
    for source, given in inputs.items():
        if given is trains or (given.times.size and given == trains):
            raise ValueError(
                f"theirs[{name!r}] are the spikes of the input {source!r}: give what the other "
                "program computed"
            )
    late = trains.times > duration
    if late.any():
        event = int(np.argmax(late))
        raise ValueError(
            f"theirs[{name!r}] has a spike at {trains.times[event]:g} ms, of unit "
            f"{trains.units[event]} in sample {trains.samples[event]}: the trial ends at "
            f"{duration:g} ms; leave out later spikes, or give a longer duration"
        )


def refuse_seconds(
    ours: Mapping[str, SpikeTrains], theirs: Mapping[str, SpikeTrains], duration: float
) -> None:
    """Refuse spikes that are those of evsim if their times are taken as seconds."""
    last = max((float(t.times.max()) for t in theirs.values() if t.times.size), default=0.0)
    own = [ours[name].times for name in theirs if ours[name].times.size]
    if not own or not 0.0 < last <= duration / 1000.0:
        return
    if last < min(float(times.min()) for times in own):
        raise ValueError(
            f"theirs has all spikes within {last:g} ms, a thousandth of the trial, and evsim has "
            "none so early: they seem to be in seconds; give times in ms, or say unit='s' where "
            "the SpikeTrains are made"
        )


# -- voltages, loss and gradients ---------------------------------------------------------


def checked_voltages(network: Network, given: Any, batch: int, duration: float) -> Traces:
    """The times and the voltages of the other program by population."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"voltages = {shown(given)}: give a mapping from populations to (times, voltages)"
        )
    found: Traces = {}
    for name, pair in given.items():
        if name not in [p.name for p in network.populations]:
            known = [p.name for p in network.populations]
            raise ValueError(f"voltages: {unknown_name('population', name, known)}")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f"voltages[{name!r}] = {shown(pair)}: give (times, voltages), with the times in ms "
                "and voltages of shape (batch, units, times)"
            )
        times = check_trace(network, name, pair[0], duration)
        what = f"voltages[{name!r}]"
        values = real_array(pair[1], what, "voltages").astype(np.float64)
        shape = batch, network.population(name).units, times.size
        if values.shape != shape:
            raise ValueError(
                f"{what} has shape {values.shape}: give (batch, units, times) = {shape}"
            )
        if not values.size:
            raise ValueError(f"{what} is empty: give at least one time, or leave it out")
        _refuse_infinite(values, what)
        found[name] = times, values
    return found


def checked_loss(value: Any) -> float:
    """The loss of the other program."""
    check_finite(value, "loss_value")
    return float(value)


def checked_gradients(network: Network, given: Any) -> dict[str, Parameter]:
    """The gradients of the other program by parameter, in the shapes of the parameters."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"gradients = {shown(given)}: give a mapping from names of parameters to arrays"
        )
    parameters = network.parameters
    for name in given:
        if name not in parameters:
            raise ValueError(f"gradients: {unknown_name('parameter', name, parameters)}")
    return {
        name: _checked_gradient(f"gradients[{name!r}]", parameters[name], given[name])
        for name in given
    }


def _checked_gradient(what: str, parameter: Parameter, given: Any) -> Parameter:
    if is_sparse(parameter):
        if not same_entries(parameter, given):
            raise ValueError(
                f"{what} does not store the entries of the parameter, which is sparse: give a "
                "csr_array with the same indices and indptr"
            )
        _refuse_infinite(real_array(given.data, what), what)
        checked: Parameter = given
        return checked
    if is_sparse(given):
        raise TypeError(f"{what} is sparse, and the parameter is not: give an array")
    values = real_array(given, what).astype(np.float64)
    if values.shape != parameter.shape:
        swapped = values.ndim == 2 and values.shape == parameter.shape[::-1]
        remedy = "; evsim's weights are (post, pre), give the transpose" if swapped else ""
        raise ValueError(
            f"{what} has shape {values.shape}: the parameter has {parameter.shape}{remedy}"
        )
    _refuse_infinite(values, what)
    return values


def _refuse_infinite(values: NDArray[np.float64], what: str) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        index = np.unravel_index(int(np.argmax(wrong)), values.shape)
        place = ", ".join(str(int(i)) for i in index)
        raise ValueError(f"{what}[{place}] = {values[index]}: it must be finite")


def checked_shift(value: Any, network: Network, names: Any) -> float:
    """The largest shift in ms; by default the shortest time constant of the populations."""
    if value is None:
        shortest = [
            float(np.min(getattr(network.population(name), kind)))
            for name in names
            for kind in ("tau_mem", "tau_syn")
        ]
        return min(shortest, default=1.0)
    return _positive(value, "largest_shift")


def checked_tolerance(value: Any) -> float:
    """The tolerance in ms, >= 0."""
    check_finite(value, "tolerance")
    if value < 0:
        raise ArgumentError(f"tolerance = {value} ms: it must be >= 0", "tolerance")
    return float(value)


def checked_step(value: Any) -> float:
    """The time step of the other program in ms."""
    return _positive(value, "time_step")


def _positive(value: Any, name: str) -> float:
    check_finite(value, name)
    if not value > 0:
        raise ArgumentError(f"{name} = {value} ms: it must be > 0", name)
    return float(value)
