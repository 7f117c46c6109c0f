"""A classifier in PyTorch with a spiking layer between two linear layers, all trained together.

    python examples/torch_layer.py

The first linear layer turns the coordinates of a point into the times at which sixteen inputs
spike, the network turns these into the first spikes of thirty neurons, and the second linear layer
turns those into the scores of three classes.  All gradients are exact.
"""

import numpy as np
import torch
from torch import nn

import evsim
import evsim.torch
from evsim.tasks.yin_yang import draw_points

torch.manual_seed(0)
torch.set_num_threads(1)  # for small layers, threads cost PyTorch more time than they save


class Latencies(nn.Module):
    """Numbers as spike times from 0 to 10 ms."""

    def forward(self, values):
        return 10.0 * torch.sigmoid(3.0 * values)


network = evsim.Network(
    [evsim.Input("input", 16), evsim.LIF("neurons", 30, tau_mem=20.0, tau_syn=5.0)],
    [evsim.Connection("input", "neurons", evsim.Normal(1.2, 0.6), evsim.Uniform(0.0, 4.0))],
    seed=0,
)
spiking = evsim.torch.Module(
    network, evsim.readouts.FirstSpike(), duration=30.0, dtype=torch.float32, missing="end"
)
model = nn.Sequential(nn.Linear(2, 16), Latencies(), spiking, nn.LayerNorm(30), nn.Linear(30, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
spiking.keep_in_bounds(optimizer)  # no delay below 0


def draw(count, seed):
    """Points of the Yin-Yang data set and their classes."""
    points, classes = draw_points(count, np.random.default_rng(seed))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(classes)


points, classes = draw(2000, seed=0)
for _ in range(20):
    for batch in torch.randperm(len(points)).split(50):
        loss = nn.functional.cross_entropy(model(points[batch]), classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

points, classes = draw(1000, seed=1)
accuracy = (model(points).argmax(dim=1) == classes).double().mean()
print(f"test accuracy {100 * accuracy:.1f} %")
