"""A sparse recurrent network of 100,000 LIF units: 10⁷ synapses, each with a delay."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.sparse import csr_array
from workload import Case, Work

import evsim

DURATION = 60.0  # ms
INPUTS = 500  # units, each with one spike and synapses to one in 50 of the others
OUTPUTS = 10


def random_connection(
    source: str, target: str, pre: int, post: int, fan_out: int, rng: np.random.Generator,
    weight: tuple[float, float], delay: tuple[float, float],
) -> evsim.Connection:  # fmt: skip
    """Each source unit has ``fan_out`` synapses; weights are normal, delays uniform."""
    columns = np.repeat(np.arange(pre), fan_out)
    # Random strides from 1 to post/fan_out, so that no target occurs twice.
    stride = post // fan_out
    rows = (np.arange(fan_out) * stride + rng.integers(0, stride, (pre, fan_out))).ravel()
    size = columns.size
    weights = csr_array((rng.normal(*weight, size), (rows, columns)), shape=(post, pre))
    weights.sort_indices()
    delays = csr_array(
        (rng.uniform(*delay, size), weights.indices, weights.indptr), shape=(post, pre)
    )
    return evsim.Connection(source, target, weights, delays)


def work(units: int = 100_000, inputs: int = INPUTS, fan_out: int = 100) -> Work:
    """One sample: every input spikes once in the first half of the trial."""
    rng = np.random.default_rng(0)
    network = evsim.Network(
        [evsim.Input("input", inputs), evsim.LIF("hidden", units), evsim.LI("output", OUTPUTS)],
        [
            random_connection(
                "input", "hidden", inputs, units, units // 50, rng, (0.9, 0.3), (0.0, 5.0)
            ),
            random_connection(
                "hidden", "hidden", units, units, fan_out, rng, (0.0, 0.1), (1.0, 10.0)
            ),
            random_connection("hidden", "output", units, OUTPUTS, 1, rng, (0.0, 0.01), (0.0, 1.0)),
        ],
    )
    latencies = rng.uniform(0, 0.5 * DURATION, (1, inputs))
    spikes = evsim.SpikeTrains.from_latencies(latencies)
    loss = evsim.losses.CrossEntropy(evsim.readouts.Mean())
    return Work(network, spikes, np.array([0]), loss, DURATION)


CASES = (
    Case(
        "sparse",
        "100,000 recurrent, fan-out 100, delays",
        work,
        partial(work, units=200, inputs=INPUTS, fan_out=10),
        76_500,
        single=True,
        slow=True,
    ),
)
