"""Your own loss is one class, which evsim can check and train with.

    python examples/own_loss.py

The Brier score is the squared distance between predicted and true probabilities.  It is never
above 2, so no single sample dominates a batch, as can happen with cross-entropy.
"""

from dataclasses import dataclass

import numpy as np

import evsim
from evsim.readouts import Mean, Readout


@dataclass(frozen=True)
class BrierScore(evsim.losses.Loss):
    """``sum over k of (p_k - [k is the true class])^2`` with ``p = softmax(z)``.

    ``z`` is the value of the readout, here the mean voltage of each output with larger weights
    for early times.  evsim computes all gradients from the derivative with respect to z.
    """

    readout: Readout = Mean("exponential")

    def __call__(self, values, labels, duration):
        """Loss per sample, (batch,), and its derivative with respect to values, (batch, units)."""
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        p = powers / powers.sum(axis=1, keepdims=True)
        errors = p - np.eye(values.shape[1])[labels]
        by_z = 2.0 * p * (errors - np.sum(p * errors, axis=1, keepdims=True))
        return np.sum(errors**2, axis=1), by_z


# Compares the derivatives, and the gradients of small networks, with finite differences.
evsim.testing.check_loss(BrierScore(), end_to_end=True)

# Three classes of samples; each class has twenty spike times, with a jitter of 3 ms.
generator = np.random.default_rng(0)
labels = np.arange(300) % 3
times = generator.uniform(5.0, 35.0, size=(3, 20))[labels] + generator.normal(0.0, 3.0, (300, 20))
data = evsim.Dataset(evsim.SpikeTrains.from_latencies(np.maximum(times, 0.0)), labels)

network = evsim.Network(
    [evsim.Input("input", 20), evsim.LIF("hidden", 30), evsim.LI("output", 3)],
    [
        evsim.Connection("input", "hidden", evsim.Normal(0.6, 0.3)),
        evsim.Connection("hidden", "output", evsim.Normal(0.0, 1.0)),
    ],
    seed=0,
)
result = evsim.fit(
    network, data[:200], BrierScore(), optimizers={"weight": evsim.Adam(0.01)},
    duration=60.0, epochs=30, batch_size=20, progress=False,
)  # fmt: skip
for name, tested in (("before", network), ("after", result.network)):
    test = evsim.evaluate(tested, data[200:], BrierScore(), duration=60.0)
    print(f"{name} training: score {test.loss:.3f}, test accuracy {100 * test.accuracy:.0f} %")
