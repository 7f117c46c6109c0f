"""A network of evsim trained by JAX and optax: which of three groups of inputs spikes first.

    python examples/jax_training.py

It needs optax.  Weights and delays are learned with exact gradients in a step under jax.jit.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import evsim
import evsim.jax
from evsim.readouts import Mean

jax.config.update("jax_enable_x64", True)  # evsim computes in float64
generator = np.random.default_rng(0)
labels = np.arange(360) % 3
first_group = np.arange(12) // 4 == labels[:, None]
times = generator.uniform(6.0, 16.0, size=(360, 12)) - 4.0 * first_group  # ms, (samples, units)

network = evsim.Network(
    [evsim.Input("input", 12), evsim.LIF("hidden", 20), evsim.LI("output", 3)],
    [
        evsim.Connection("input", "hidden", evsim.Normal(1.0, 1.0), delay=evsim.Uniform(0, 3)),
        evsim.Connection("hidden", "output", evsim.Normal(0.0, 5.0)),
    ],
    seed=1,
)
read = evsim.jax.reader(network, Mean("exponential"), duration=40.0)
kinds = {name: name.partition(".")[2] for name in read.names}
optimizer = optax.partition({"weight": optax.adam(0.2), "delay": optax.adam(0.2)}, kinds)


def cross_entropy(parameters, spikes, labels):
    """The mean loss of a batch."""
    one_hot = jax.nn.one_hot(labels, 3)
    return optax.softmax_cross_entropy(read(parameters, spikes), one_hot).mean()


@jax.jit
def step(parameters, state, spikes, labels):
    """One step of the optimiser; delays stay >= 0."""
    loss, gradients = jax.value_and_grad(cross_entropy)(parameters, spikes, labels)
    updates, state = optimizer.update(gradients, state, parameters)
    new = optax.apply_updates(parameters, updates)
    return {n: jnp.maximum(v, 0) if kinds[n] == "delay" else v for n, v in new.items()}, state, loss


parameters, state = read.parameters, optimizer.init(read.parameters)
for epoch in range(1, 21):
    for batch in generator.permutation(300).reshape(10, 30):
        parameters, state, loss = step(parameters, state, times[batch], labels[batch])
    print(f"epoch {epoch:2}: loss of the last batch {loss:.3f}")
trained = read.network(parameters)  # an evsim.Network again
test = evsim.SpikeTrains.from_latencies(times[300:]), labels[300:]
result = evsim.evaluate(trained, test, evsim.losses.CrossEntropy(read.readout), duration=40.0)
print(f"test accuracy {100 * result.accuracy:.0f} %")
