"""How far does a gradient hold?  The loss along a step, and where the pattern of spikes changes.

    python examples/how_far.py --out pictures

An exact gradient is that of a fixed pattern of spikes.  The step is minus the gradient for 30
points of the Yin-Yang figure.  evsim says how much of the step leaves the pattern unchanged.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import evsim
from evsim.plotting import save
from evsim.tasks.yin_yang import draw_points

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="pictures", help="folder of the picture")
out = parser.parse_args().out
points, classes = draw_points(30, np.random.default_rng(0))
spikes = evsim.SpikeTrains.from_latencies(1.5 + 18.5 * np.hstack([points, 1.0 - points]))
times = {"tau_mem": 20.0, "tau_syn": 10.0}
network = evsim.Network(
    [evsim.Input("input", 4), evsim.LIF("hidden", 10, **times), evsim.LI("output", 3, **times)],
    [
        evsim.Connection("input", "hidden", evsim.Normal(2.0, 0.78), evsim.Constant(5.0)),
        evsim.Connection("hidden", "output", evsim.Normal(0.0, 0.5), evsim.Constant(5.0)),
    ],
    seed=0,
)
loss = evsim.losses.CrossEntropy(evsim.readouts.Mean())
gradient = evsim.gradient(network, spikes, classes, loss, 60.0, wrt=["weight", "delay"])
found = gradient.report.nearest_change
print(found.pattern)


def after(share):
    """The loss, and the number of spikes of each hidden unit."""
    moved = {n: network.parameters[n] - share * g for n, g in gradient.parameters.items()}
    there = evsim.gradient(network.replace(moved), spikes, classes, loss, 60.0, wrt=["weight"])
    return there.loss, there.run.spike_counts["hidden"]


shares = np.linspace(0.0, 4.0 * found.pattern.fraction, 401)
losses, counts = zip(*map(after, shares), strict=True)
changes = [i for i in range(1, 401) if not np.array_equal(counts[i], counts[i - 1])]
low, high = shares[changes[0] - 1 : changes[0] + 1]
print(f"by simulation, the pattern first changes between {low:.4g} and {high:.4g}")
slope = -sum(np.sum(g**2) for g in gradient.parameters.values())
figure, ax = plt.subplots(figsize=(5.0, 3.0), layout="constrained")
ax.plot(shares, losses, label="loss")
ax.plot(shares, gradient.loss + slope * shares, "--", label="by the gradient at 0")
for number, i in enumerate(changes):
    ax.axvline(shares[i], color="0.8", zorder=0, label=None if number else "a spike comes or goes")
ax.axvline(found.pattern.fraction, color="C3", linestyle=":", label="nearest_change")
ax.set(xlabel="share of the step", ylabel="loss", ylim=(min(losses), max(losses)))
ax.legend(frameon=False)
print(save(figure, f"{out}/how_far.png"))
