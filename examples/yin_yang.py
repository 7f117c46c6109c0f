"""Weights and delays learn the Yin-Yang task: points of a figure, given as four spike times.

    python examples/yin_yang.py --out pictures

A point (x, y) is given as x, y, 1 - x and 1 - y, scaled to times from 1.5 to 20 ms.  The predicted
class (yin, yang or dots) is that of the output neuron that spikes first.
"""

import argparse

import numpy as np

import evsim
from evsim.plotting import decision_map, save
from evsim.tasks.yin_yang import CLASS_NAMES, classify, draw_points

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="pictures", help="folder of the picture")
out = parser.parse_args().out


def encode(points):
    """Spike trains of points, shape (points, 2)."""
    return evsim.SpikeTrains.from_latencies(1.5 + 18.5 * np.hstack([points, 1.0 - points]))


points, classes = draw_points(3000, np.random.default_rng(0))

# With an infinite refractory period, a neuron spikes at most once per trial.  evsim.Constant(5.0)
# makes one delay for every synapse, as needed to learn them; delay=5.0 is one delay for all.
# Delays start in the middle of their range, 0 to 10 ms, so that they can become shorter and longer.
times = {"tau_mem": 20.0, "tau_syn": 10.0, "refractory": np.inf}
network = evsim.Network(
    [evsim.Input("input", 4), evsim.LIF("hidden", 30, **times), evsim.LIF("output", 3, **times)],
    [
        evsim.Connection("input", "hidden", evsim.Normal(2.0, 0.78), delay=evsim.Constant(5.0)),
        evsim.Connection("hidden", "output", evsim.Normal(0.93, 0.1), delay=evsim.Constant(5.0)),
    ],
    seed=0,
)
loss = evsim.losses.FirstSpikeCrossEntropy(tau0=0.2, alpha=0.0)  # the true class first
wakes = evsim.losses.Existence("hidden")  # gives silent neurons, which have no gradient, one
weight, delay = evsim.Adam(0.03, decay=0.9), evsim.Adam(0.3, decay=0.9)
trained = evsim.fit(
    network, (encode(points), classes), loss + wakes, duration=40.0, epochs=30, batch_size=100,
    optimizers={"weight": weight, "delay": delay}, delay_max=10.0, progress=False,
).last_network  # fmt: skip


def predict(points):
    """The class that the network predicts for each point."""
    return loss.predict(evsim.simulate(trained, encode(points), 40.0).first_spike("output"))


test_points, test_classes = draw_points(1000, np.random.default_rng(1))
print(f"test accuracy {100 * np.mean(predict(test_points) == test_classes):.1f} %")
inside = {"inside": lambda some: classify(some) >= 0}  # no map outside the figure
ax = decision_map(predict, test_points, test_classes, CLASS_NAMES, **inside)
print(save(ax.figure, f"{out}/yin_yang.png"))
