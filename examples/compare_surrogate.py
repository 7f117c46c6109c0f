"""A PyTorch network with a time step and surrogate gradients, judged by evsim.

    python examples/compare_surrogate.py

The network uses Euler's method, and in the backward pass a spike has the derivative of a fast
sigmoid.  evsim solves the same equations without a step: which spikes differ, and by how much?
"""

import numpy as np
import torch

import evsim

TAU_MEM, TAU_SYN, DURATION = 20.0, 5.0, 60.0  # ms


def surrogate(raster, first, second, dt):
    """The mean voltages of the outputs, and the spikes of the hidden units at each step."""
    v = i = torch.zeros(len(raster), len(first), dtype=torch.float64)
    u = j = mean = torch.zeros(len(raster), len(second), dtype=torch.float64)
    hidden = []
    for arriving in raster.unbind(dim=1):
        v, i = v + dt / TAU_MEM * (i - v), i - dt / TAU_SYN * i
        u, j = u + dt / TAU_MEM * (j - u), j - dt / TAU_SYN * j
        hidden.append(v.detach() >= 1.0)
        soft = (v - 1.0) / (1.0 + 10.0 * (v - 1.0).abs())
        spikes = soft + (hidden[-1].double() - soft).detach()  # hard forward, soft backward
        v, i, j = v * ~hidden[-1], i + arriving @ first.T, j + spikes @ second.T
        mean = mean + u * dt / DURATION
    return mean, torch.stack(hidden, dim=1).numpy()


generator = np.random.default_rng(0)
weights = generator.normal(0.6, 0.5, (20, 30)), generator.normal(0.0, 1.0, (3, 20))
network = evsim.Network(
    [evsim.Input("input", 30), evsim.LIF("hidden", 20), evsim.LI("output", 3)],
    [
        evsim.Connection("input", "hidden", weights[0]),
        evsim.Connection("hidden", "output", weights[1]),
    ],
)
inputs = evsim.SpikeTrains.from_latencies(generator.integers(1, 40, (16, 30)).astype(float))
labels = generator.integers(0, 3, 16)

for dt in (1.0, 0.1):
    raster = torch.tensor(inputs.to_raster(dt=dt, duration=DURATION)).double()
    tensors = [torch.tensor(weight, requires_grad=True) for weight in weights]
    scores, hidden = surrogate(raster, *tensors, dt)
    value = torch.nn.functional.cross_entropy(scores, torch.tensor(labels))
    value.backward()
    names = "input->hidden.weight", "hidden->output.weight"
    report = evsim.compare(
        network, inputs, evsim.SpikeTrains.from_raster(hidden, dt=dt), DURATION, labels=labels,
        loss=evsim.losses.CrossEntropy(evsim.readouts.Mean()), loss_value=value.item(),
        gradients={n: tensor.grad for n, tensor in zip(names, tensors, strict=True)},
    )  # fmt: skip
    print(f"steps of {dt} ms: {report}\n")
