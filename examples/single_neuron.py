"""One neuron, one input spike: the spike time and its gradient, by hand and by evsim.

    python examples/single_neuron.py

The voltage V of the neuron integrates an exponentially decaying current I,

    tau_mem dV/dt = -V + I,    tau_syn dI/dt = -I,

and the neuron spikes when V reaches 1.  An input spike raises I by w after a delay d.  With
tau_mem = 20 ms and tau_syn = 10 ms, and with s the time since the arrival,

    V = w (e^(-s/20) - e^(-s/10)) = w (x - x^2),    x = e^(-s/20),

so the spike time is the solution of a quadratic equation, and its gradient is the derivative
of that solution.
"""

import numpy as np

import evsim

w, d, input_time = 6.0, 3.0, 2.0  # the weight, and two times in ms

# By hand.  V rises through 1 at the larger of the two roots x, which is the earlier time.
x = (1 + np.sqrt(1 - 4 / w)) / 2
spike_time = input_time + d - 20 * np.log(x)

# V = 1 at the spike for every w, so 0 = dV/dw + dV/ds ds/dw, which gives ds/dw.
rise_by_weight = x - x**2
rise_by_time = w * (-x / 20 + 2 * x**2 / 20)
by_weight = -rise_by_weight / rise_by_time
by_delay = 1.0  # if the arrival is later, the spike is later by the same time

# The loss is half the squared distance between the spike time and a target, so its gradient is
# the distance times the derivatives above.
target = 10.0  # ms
distance = spike_time - target

# By evsim: the same neuron, the same input, the same loss.
network = evsim.Network(
    [evsim.Input("input", 1), evsim.LIF("neuron", 1, tau_mem=20.0, tau_syn=10.0, threshold=1.0)],
    [evsim.Connection("input", "neuron", weight=w, delay=d)],
)
spikes = evsim.SpikeTrains.from_lists([[(input_time, 0)]], units=1)  # (time, unit)
loss = evsim.losses.SpikeTimeMSE(evsim.readouts.SpikeTimes(count=1))
result = evsim.gradient(network, spikes, [[[target]]], loss, duration=40.0)
gradient = result.parameters

print(f"{'':28}{'by hand':>22}{'evsim':>22}")
for name, by_hand, by_evsim in (
    ("spike time (ms)", spike_time, result.readout[0, 0, 0]),
    ("gradient, weight", distance * by_weight, gradient["input->neuron.weight"].item()),
    ("gradient, delay", distance * by_delay, gradient["input->neuron.delay"].item()),
    ("gradient, input time", distance, result.input_times[0]),
):
    print(f"{name:28}{by_hand:22.15f}{by_evsim:22.15f}")
    assert abs(by_hand - by_evsim) <= 1e-12 * abs(by_hand)
