"""The EventProp program of Wunderlich and Pehle, with its own published networks, judged by evsim.

    python examples/compare_eventprop.py

Run it in the folder of github.com/eventprop/eventprop, with its submodules and its extension built.
The ten networks in its folder paper/ were trained on Yin-Yang, with 200 hidden units.
"""

import pickle
import sys

import numpy as np

import evsim

sys.path.insert(0, ".")
from eventprop.eventprop_cpp import Spikes, SpikesVector, compute_spikes_batch_cpp

SECOND, DURATION, SAMPLES = 1000.0, 200.0, 256  # ms, ms


class ArraysOnly(pickle.Unpickler):
    """Reads pickles that contain only NumPy arrays and numbers."""

    def find_class(self, module, name):
        if name not in ("scalar", "dtype", "_reconstruct", "ndarray"):
            raise pickle.UnpicklingError(f"{module}.{name} is neither an array nor a number")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def trains(layer, units):
    """The spikes of a layer as SpikeTrains."""
    times = np.concatenate([SECOND * np.asarray(sample.times) for sample in layer])
    emitters = np.concatenate([np.asarray(sample.sources) for sample in layer])
    samples = np.repeat(np.arange(len(layer)), [len(sample.times) for sample in layer])
    return evsim.SpikeTrains.from_events(
        times, emitters, samples, batch_size=len(layer), unit_count=units
    )


points = np.load("eventprop/yin_yang_data_set/publication_data/test_samples.npy")[:SAMPLES]
latencies = np.column_stack([30.0 * points, np.zeros(SAMPLES)])  # the last input is the bias
orders = np.argsort(latencies, axis=1)
batch = SpikesVector([
    Spikes(own[order] / SECOND, order.astype(np.int32))
    for own, order in zip(latencies, orders, strict=True)
])  # fmt: skip
for number in range(10):
    with open(f"paper/yinyang_{number}.pkl", "rb") as file:
        first, second = ArraysOnly(file).load()[-1][-1]  # the weights after the last epoch
    hidden = compute_spikes_batch_cpp(np.ascontiguousarray(first), batch, 1.0, 20e-3, 5e-3)
    network = evsim.Network(
        [evsim.Input("input", 5), evsim.LIF("hidden", 200)],
        [evsim.Connection("input", "hidden", first.T)],
    )
    spikes = evsim.SpikeTrains.from_latencies(latencies)
    report = evsim.compare(network, spikes, trains(hidden, 200), DURATION)
    print(f"network {number}, {200 * SAMPLES:,} trials of a unit: {report.verdict}")
