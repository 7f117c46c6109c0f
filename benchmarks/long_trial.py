"""One trial of 100 s: a million input spikes for 10 units."""

from __future__ import annotations

from functools import partial

import numpy as np
from workload import Case, Work

import evsim

CHANNELS = 100
RATE = 10.0  # input spikes per ms, of all channels together


def work(duration: float = 100_000.0, channels: int = CHANNELS) -> Work:
    """Random input spikes, 10 LIF units with delays, 2 LI outputs."""
    rng = np.random.default_rng(0)
    total = int(RATE * duration)
    spikes = evsim.SpikeTrains.from_events(
        rng.uniform(0, duration, total),
        rng.integers(0, channels, total),
        np.zeros(total, np.int64),
        batch_size=1,
        unit_count=channels,
    )
    network = evsim.Network(
        [evsim.Input("input", channels), evsim.LIF("hidden", 10), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.02, 0.02), evsim.Uniform(0, 20)),
            evsim.Connection("hidden", "output", evsim.Normal(0, 0.3)),
        ],
        seed=0,
    )
    loss = evsim.losses.CrossEntropy(evsim.readouts.Mean())
    return Work(network, spikes, np.array([0]), loss, duration)


CASES = (
    Case(
        "long-trial",
        "100 s, 10⁶ input spikes, 100-10-2, delays",
        work,
        partial(work, duration=100.0),
        11_600,
        single=True,
    ),
)
