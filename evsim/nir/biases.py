"""The input of the biases: what a constant input needs at the start of the trial.

A bias b is a constant part of the input: ``tau_syn dI/dt = -I + b``, so I rises from 0 to b.  With
``I = b + J`` that is ``tau_syn dJ/dt = -J``, with J = -b at first: b is added to the rest of V, and
one spike at time 0 through a weight of -b lets it begin at 0.  That spike is an input, like any
other; ``with_bias`` adds it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evsim.arguments.checks import check_is
from evsim.arguments.keywords import helpful
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains

BIAS_INPUT = "bias"


@helpful
def with_bias(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    *,
    bias_input: str = BIAS_INPUT,
) -> dict[str, SpikeTrains]:
    """The spikes of all inputs of a network from ``read``, with the one that its biases need.

    Parameters
    ----------
    network : Network
    spikes : SpikeTrains, or a mapping from input population to SpikeTrains
        All inputs but that of the biases, with the same number of samples.
    bias_input : str
        The input of the biases, as it was called in ``read``.

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
