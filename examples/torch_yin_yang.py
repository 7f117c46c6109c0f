"""Weights and delays learn the Yin-Yang task with torch.optim, as they do with evsim.fit.

    python examples/torch_yin_yang.py

The task and the network are those of examples/yin_yang.py.  Both begin with the same values and use
Adam; only the order of the samples differs.
"""

import numpy as np
import torch

import evsim
import evsim.torch
from evsim.tasks.yin_yang import draw_points

torch.manual_seed(0)
torch.set_num_threads(1)  # for small layers, threads cost PyTorch more time than they save


def draw(count, seed):
    """Points as spike trains, and their classes."""
    points, classes = draw_points(count, np.random.default_rng(seed))
    latencies = 1.5 + 18.5 * np.hstack([points, 1.0 - points])
    return evsim.Dataset(evsim.SpikeTrains.from_latencies(latencies), classes)


times = {"tau_mem": 20.0, "tau_syn": 10.0, "refractory": np.inf}
middle = evsim.Constant(5.0)  # of the range of delays, 0 to 10 ms; one delay for every synapse
to_hidden = evsim.Connection("input", "hidden", evsim.Normal(2.0, 0.78), middle)
to_output = evsim.Connection("hidden", "output", evsim.Normal(0.93, 0.1), middle)
network = evsim.Network(
    [evsim.Input("input", 4), evsim.LIF("hidden", 30, **times), evsim.LIF("output", 3, **times)],
    [to_hidden, to_output], seed=0,
)  # fmt: skip
training, test = draw(3000, seed=0), draw(1000, seed=1)

module = evsim.torch.Module(
    network, evsim.readouts.FirstSpike(), 40.0, ("weight", "delay"), missing="end"
)
weights = {"params": module.parameters_of("weight"), "lr": 0.03}
optimizer = torch.optim.Adam([weights, {"params": module.parameters_of("delay"), "lr": 0.3}])
module.keep_in_bounds(optimizer)
batches = torch.utils.data.DataLoader(training, 100, True, collate_fn=evsim.torch.collate)
for _ in range(15):
    for spikes, labels in batches:
        first, others = module(spikes), torch.nn.functional.one_hot(labels, 3) == 0
        # The output of the true class should spike first; others that are silent have no gradient.
        first = torch.where((first == 40.0) & others, first.detach(), first)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(-first / 0.2, labels).backward()
        optimizer.step()

adam = {"weight": evsim.Adam(0.03), "delay": evsim.Adam(0.3)}
loss = evsim.losses.FirstSpikeCrossEntropy(tau0=0.2, alpha=0.0)
options = {"duration": 40.0, "epochs": 15, "batch_size": 100, "progress": False}
fit = evsim.fit(network, training, loss, optimizers=adam, **options)
for name, trained in {"torch.optim": module.network, "evsim.fit": fit.last_network}.items():
    accuracy = evsim.evaluate(trained, test, loss, 40.0).accuracy
    print(f"test accuracy with {name}: {100 * accuracy:.1f} %")
