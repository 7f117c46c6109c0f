"""Warnings, of one line each, of mistakes that keep a network silent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from evsim.arguments.checks import is_sparse
from evsim.display.warning_place import warn_caller
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.populations import LIF
from evsim.network.spike_trains import SpikeTrains


class SilentNetworkWarning(UserWarning):
    """Something that keeps units silent and that is rarely intended.

    It is a population that no input reaches, input spikes that all come after the end of the trial,
    or a hidden layer that does not spike, so that nothing behind it learns.
    """


def warn_of_unreached(network: Network, inputs: Mapping[str, SpikeTrains], duration: float) -> None:
    """Warn of populations that nothing can reach, whatever the weights are."""
    for name in unreached(network):
        if any(connection.target == name for connection in network.connections):
            told = f"no path of connections leads from an input to {name!r}"
        else:
            told = f"no connection leads to {name!r}"
        _tell(f"{told}, so nothing happens there and nothing behind it learns; connect it")
    if _all_after(inputs, duration) and not _spiking_alone(network):
        _tell(
            f"no input spike comes before the end of the trial at {duration:g} ms, so nothing "
            "happens; times are in ms: give earlier spikes or a longer duration"
        )


def add_existence(name: str, when: str = "") -> str:
    """The advice to add a loss that makes silent units of a population spike."""
    wanted = f", when={when!r}" if when else ""
    return f"add the loss evsim.losses.Existence({name!r}{wanted})"


def warn_of_silent_layers(
    network: Network,
    spike_counts: Mapping[str, np.ndarray],
    pulled: Collection[str] = (),
    remedy: Callable[[str], str] = add_existence,
) -> None:
    """Warn of populations without a spike in the whole batch, which cut off what is behind.

    Those in ``pulled`` are left out: the loss pulls them to their threshold.  ``remedy`` says what
    to do about a population, besides larger weights.
    """
    if not any(spike_counts[population.name].any() for population in network.inputs):
        return
    silent = [
        population.name
        for population in network.populations
        if isinstance(population, LIF)
        and not spike_counts[population.name].any()
        and population.name not in pulled
        and _leads_on(network, population.name)
    ]
    without_input = set(unreached(network)) if silent else set()
    for name in silent:
        if name not in without_input:
            _tell(silent_layer(name, remedy(name)))


def _leads_on(network: Network, name: str) -> bool:
    """Whether a population has a connection to another one."""
    return any(c.source == name != c.target for c in network.connections)


def silent_layer(name: str, remedy: str, *, is_read: bool = False) -> str:
    """The message that a population did not spike in any sample, and what to do.

    ``is_read`` says whether the loss reads its spikes.
    """
    follows = "the loss reads no spike" if is_read else "nothing behind it learns"
    return (
        f"no unit of {name!r} spiked for any sample, so {follows}; raise the weights into it, or "
        f"{remedy}"
    )


def unreached(network: Network) -> Iterator[str]:
    """The populations where nothing happens, because no path of connections leads there.

    Paths begin at inputs and at units that spike without input.  If V does not start at rest,
    something happens in any case.
    """
    reached = {population.name for population in network.inputs} | set(_spiking_alone(network))
    grows = True
    while grows:
        new = {
            c.target for c in network.connections if c.source in reached and _has_synapses(c)
        } - reached
        reached |= new
        grows = bool(new)
    for population in network.populations:
        if population.name not in reached and getattr(population, "start", None) is None:
            yield population.name


def _spiking_alone(network: Network) -> list[str]:
    """The populations with a unit whose rest is above its threshold."""
    lif = (population for population in network.populations if isinstance(population, LIF))
    return [population.name for population in lif if np.any(population.rest > population.threshold)]


def _has_synapses(connection: Connection) -> bool:
    return not is_sparse(connection.weight) or connection.weight.nnz > 0


def _all_after(inputs: Mapping[str, SpikeTrains], duration: float) -> bool:
    """Whether there are input spikes, and none before the end of the trial."""
    times = [trains.times for trains in inputs.values() if trains.times.size]
    return bool(times) and not any(np.any(own < duration) for own in times)


def _tell(text: str) -> None:
    """Warn where evsim was called."""
    warn_caller(text, SilentNetworkWarning)
