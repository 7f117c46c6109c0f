"""Images encoded as latencies: a network of 784-128-10 units without delays, as for MNIST."""

from __future__ import annotations

from functools import partial

import numpy as np
from workload import Case, Work

import evsim

PIXELS = 784
BRIGHT = 146  # pixels that spike, each once
DURATION = 20.0  # ms
BATCHES = 8


def work(samples: int = 32, pixels: int = PIXELS, bright: int = BRIGHT, gain: float = 1.0) -> Work:
    """Batches of images with random bright pixels; ``gain`` scales the weights from the pixels."""
    rng = np.random.default_rng(0)
    total = BATCHES * samples
    units = np.concatenate([rng.permutation(pixels)[:bright] for _ in range(total)])
    spikes = evsim.SpikeTrains.from_events(
        rng.uniform(0, 0.8 * DURATION, units.size),
        units,
        np.repeat(np.arange(total), bright),
        batch_size=total,
        unit_count=pixels,
    )
    images = evsim.Dataset(spikes, np.arange(total) % 10)
    first = images[np.arange(samples)]
    network = evsim.Network(
        [evsim.Input("input", pixels), evsim.LIF("hidden", 128), evsim.LI("output", 10)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.078 * gain, 0.045 * gain)),
            evsim.Connection("hidden", "output", evsim.Normal(0.2, 0.37)),
        ],
        seed=0,
    )
    loss = evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential"))
    return Work(network, first.spikes, first.labels, loss, DURATION, images)


CASES = (
    Case(
        "images-128",
        "images, 784-128-10, no delays",
        work,
        partial(work, samples=2, pixels=PIXELS // 10, bright=BRIGHT // 10, gain=10.0),
        180,
    ),
)
