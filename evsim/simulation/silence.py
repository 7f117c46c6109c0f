"""What keeps a network silent by mistake, said in one line as a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

import numpy as np

from evsim.arguments.checks import is_sparse
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.populations import LIF, Input
from evsim.network.spike_trains import SpikeTrains


class SilentNetworkWarning(UserWarning):
    """Something that keeps units silent, and that is seldom meant.

    A population that no input reaches; input spikes that all come after the end of the trial;
    a hidden layer that does not spike, so that nothing behind it learns.
    """


def warn_of_unreached(network: Network, inputs: Mapping[str, SpikeTrains], duration: float) -> None:
    """Warn of populations that nothing can reach, whatever the weights are."""
    for name in _unreached(network):
        if any(connection.target == name for connection in network.connections):
            told = f"no path of connections leads from an input to {name!r}"
        else:
            told = f"no connection leads to {name!r}"
        _warn(f"{told}, so nothing happens there and nothing behind it learns; connect it")
    if _all_after(inputs, duration):
        _warn(
            f"no input spike comes before the end of the trial at {duration:g} ms, so nothing "
            "happens; times are in ms: give earlier spikes or a longer duration"
        )


def warn_of_silent_layers(network: Network, spike_counts: Mapping[str, np.ndarray]) -> None:
    """Warn of populations without a spike in the whole batch, which cut off what is behind."""
    if not any(spike_counts[population.name].any() for population in network.inputs):
        return
    unreached = set(_unreached(network))
    for population in network.populations:
        leads_on = any(
            connection.source == population.name != connection.target
            for connection in network.connections
        )
        if not isinstance(population, LIF) or not leads_on or population.name in unreached:
            continue
        if not spike_counts[population.name].any():
            _warn(silent_layer(population.name))


def silent_layer(name: str) -> str:
    """That a population did not spike in any sample, and what to do."""
    return (
        f"no unit of {name!r} spiked for any sample, so nothing behind it learns; raise the "
        "weights into it"
    )


def _unreached(network: Network) -> Iterator[str]:
    """The populations to which no path of connections leads from an input."""
    reached = {population.name for population in network.inputs}
    grows = True
    while grows:
        new = {
            c.target for c in network.connections if c.source in reached and _has_synapses(c)
        } - reached
        reached |= new
        grows = bool(new)
    for population in network.populations:
        if not isinstance(population, Input) and population.name not in reached:
            yield population.name


def _has_synapses(connection: Connection) -> bool:
    return not is_sparse(connection.weight) or connection.weight.nnz > 0


def _all_after(inputs: Mapping[str, SpikeTrains], duration: float) -> bool:
    """Whether there are input spikes, and none before the end of the trial."""
    times = [trains.times for trains in inputs.values() if trains.times.size]
    return bool(times) and not any(np.any(own < duration) for own in times)


_PACKAGE = str(Path(__file__).parents[1])
_ERRSTATE = np.errstate.__call__.__code__.co_filename
"""Where the frames of functions lie that np.errstate decorates."""


def _is_between(frame: FrameType) -> bool:
    """Whether a frame is of evsim, or of PyTorch, which calls the modules of ``evsim.torch``."""
    is_torch = str(frame.f_globals.get("__name__")).partition(".")[0] == "torch"
    return is_torch or frame.f_code.co_filename.startswith((_PACKAGE, _ERRSTATE))


def _warn(text: str) -> None:
    """Warn where evsim was called, so that Python shows a call in a loop once."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, SilentNetworkWarning, stacklevel=level)
