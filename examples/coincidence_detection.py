"""Two neurons learn delays so that each detects one of two spike patterns.

    python examples/coincidence_detection.py --out pictures

Twelve inputs spike once each, in one of two patterns.  Pattern 0 should excite output neuron 0
most, and pattern 1 output neuron 1.  All weights are equal and fixed; the delay of every synapse is
learned.  Spikes that arrive together excite a neuron most.  So the delays of a neuron learn to
align the spikes of its pattern, but not those of the other pattern.
"""

import argparse

import numpy as np

import evsim
from evsim.plotting import save, style

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="pictures", help="folder of the picture")
out = parser.parse_args().out

# Two patterns: a row for each, with the time in ms at which each input spikes.
patterns = np.random.default_rng(3).uniform(0.0, 20.0, size=(2, 12))
spikes = evsim.SpikeTrains.from_latencies(patterns)

# LI neurons integrate and do not spike.  Delays of shape (post, pre): one for each synapse.
before = evsim.Network(
    [evsim.Input("input", 12), evsim.LI("output", 2, tau_mem=10.0, tau_syn=5.0)],
    [evsim.Connection("input", "output", weight=0.5, delay=np.full((2, 12), 10.0))],
)

# The predicted class is that of the output with the largest voltage in the trial.
result = evsim.fit(
    before, (spikes, [0, 1]), evsim.losses.CrossEntropy(evsim.readouts.Peak()), duration=60.0,
    optimizers={"delay": evsim.Adam(0.5)},  # ms per step; weights have no optimizer: not trained
    epochs=100, delay_max=20.0, progress=False,
)  # fmt: skip

# Top: when the spikes of pattern 0 arrive at output 0.  Bottom: the voltages in pattern 0.
figure = style.new_figure(style.TWO_COLUMNS, 3.6)
axes = figure.subplots(2, 2, sharex=True, sharey="row")
times = np.linspace(0.0, 60.0, 601)
for column, (name, network) in enumerate({"before": before, "after": result.network}.items()):
    run = evsim.simulate(network, spikes, duration=60.0)
    print(f"{name} training, the largest voltages in each pattern:", *run.peak("output").round(2))
    arrivals = patterns[0] + network.parameters["input->output.delay"][0]
    axes[0, column].eventplot(arrivals[:, None], colors=style.COLOURS[0], linelengths=0.8)
    style.label(axes[0, column], "", "input", f"{name} training: arrivals at output 0")
    for unit, voltage in enumerate(run.voltage("output", times)[0]):
        line = {"color": style.COLOURS[unit], "linestyle": "-" if unit == 0 else "--"}
        axes[1, column].plot(times, voltage, label=f"output {unit}", **line)
    style.label(axes[1, column], "time (ms)", "voltage")
axes[1, 0].legend(frameon=False, fontsize=style.SMALL_TEXT)
print(save(figure, f"{out}/coincidence_detection.png"))
