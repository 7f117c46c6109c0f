"""The input of the biases: the spikes that constant inputs need at the start of the trial.

A bias b is a constant part of the input: ``tau_syn dI/dt = -I + b``, so I rises from 0 to b.  With
``I = b + J`` this becomes ``tau_syn dJ/dt = -J``, with J = -b at first.  So b is added to the rest
of V, and one spike at time 0 through a weight of -b makes I begin at 0.  That spike is an input
like any other; ``with_bias`` adds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from evsim.arguments.checks import check_is, is_sparse
from evsim.arguments.keywords import helpful
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Population
from evsim.network.spike_trains import SpikeTrains

BIAS_INPUT = "bias"


@dataclass(frozen=True)
class Biases:
    """The biases of a network: nothing, or what can be written as Affine nodes.

    ``input`` is the input of the biases.  ``drives`` contains the rise of the rest of V of each
    target, shape (units,), and ``bringers`` one connection into each target that can carry the
    bias.
    """

    input: str = ""
    drives: Mapping[str, np.ndarray] = field(default_factory=dict)
    bringers: frozenset[str] = frozenset()


def biases_of(network: Network, bias_input: str) -> Biases:
    """The biases of a network from ``read``; none if its input, rest or start do not fit."""
    if not any(p.name == bias_input and p.units == 1 for p in network.inputs):
        return Biases()
    drives: dict[str, np.ndarray] = {}
    bringers = set()
    for connection in network.connections:
        if connection.source != bias_input:
            continue
        target = network.population(connection.target)
        drive = _drive(connection, target)
        bringer = _bringer(network, connection.target, bias_input)
        if drive is None or bringer is None or connection.target in drives:
            return Biases()
        drives[connection.target] = drive
        bringers.add(bringer)
    return Biases(bias_input, drives, frozenset(bringers))


def _drive(connection: Connection, target: Population) -> np.ndarray | None:
    """The rise of the rest that a connection implies; None if V does not start that much below."""
    assert isinstance(target, LIF | LI)
    if target.start is None or is_sparse(connection.weight) or np.any(connection.delay):
        return None
    drive: np.ndarray = -np.broadcast_to(connection.weight, (target.units, 1))[:, 0]
    fits = np.allclose(target.start + drive, target.rest, rtol=1e-12, atol=1e-12)
    return drive if fits else None


def _bringer(network: Network, target: str, bias_input: str) -> str | None:
    """A connection into the target without a Delay after its matrix."""
    for connection in network.connections:
        other = connection.target == target and connection.source != bias_input
        delay = connection.delay
        # Delays of the source units are in front of the matrix.
        in_front = not is_sparse(delay) and (delay.ndim == 0 or len(delay) == 1 or not delay.any())
        if other and in_front:
            return connection.name
    return None


@helpful
def with_bias(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    *,
    bias_input: str = BIAS_INPUT,
) -> dict[str, SpikeTrains]:
    """The spikes of all inputs of a network from ``read``, including the input of its biases.

    Parameters
    ----------
    network : Network
    spikes : SpikeTrains, or a mapping from input population to SpikeTrains
        All inputs except that of the biases, with the same number of samples.
    bias_input : str
        The name of the input of the biases, as given to ``read``.

    Returns
    -------
    dict of SpikeTrains
        By the name of each input, for ``simulate``, ``gradient`` and ``Dataset``.  If the network
        has an input of that name, it has one spike at time 0 in every sample; a network without
        biases has no such input, and its spikes are returned as they are.

    Raises
    ------
    TypeError, ValueError
        For spikes that are not SpikeTrains, or of one input where there are several.
    """
    check_is(network, "network", Network, "give an evsim.Network")
    check_is(bias_input, "bias_input", str, "give the name of an input")
    names = [population.name for population in network.inputs if population.name != bias_input]
    if isinstance(spikes, SpikeTrains):
        if len(names) != 1:
            raise ValueError(
                f"the network has the inputs {', '.join(names) or 'of its biases only'}: give a "
                "mapping from each name to its SpikeTrains"
            )
        spikes = {names[0]: spikes}
    check_is(spikes, "spikes", Mapping, "give SpikeTrains, or a mapping from input to SpikeTrains")
    for name, trains in spikes.items():
        check_is(trains, f"spikes of {name!r}", SpikeTrains, "give SpikeTrains")
    given = dict(spikes)
    if bias_input not in (population.name for population in network.inputs):
        return given
    batch = max((len(trains) for trains in given.values()), default=1)
    each = np.arange(batch)
    given[bias_input] = SpikeTrains.from_events(
        np.zeros(batch), np.zeros(batch, int), each, batch_size=batch, unit_count=1
    )
    return given
