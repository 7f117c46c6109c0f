"""One neuron, one input spike: its spike time and its gradient, by hand and by evsim.

    python examples/single_neuron.py

The neuron is a leaky integrator V that an exponentially decaying current I charges,

    tau_mem dV/dt = -V + I,    tau_syn dI/dt = -I,

and that spikes where V reaches 1.  A spike of the input raises I by w, a delay d later.  With
tau_mem = 20 ms and tau_syn = 10 ms, and with s the time since the arrival,

    V = w (e^(-s/20) - e^(-s/10)) = w (x - x^2),    x = e^(-s/20),

so the time of the spike is the solution of a quadratic equation, and its derivatives are those
of that solution.
"""

import numpy as np

import evsim

w, d, input_time = 6.0, 3.0, 2.0  # the weight, and two times in ms

# By hand.  V rises through 1 at the larger of the two roots x, which comes first in time.
x = (1 + np.sqrt(1 - 4 / w)) / 2
spike_time = input_time + d - 20 * np.log(x)

# V = 1 holds for every w, so 0 = dV/dw + dV/ds ds/dw, which says how the spike moves with w.
rise_by_weight = x - x**2
rise_by_time = w * (-x / 20 + 2 * x**2 / 20)
by_weight = -rise_by_weight / rise_by_time
by_delay = 1.0  # a later arrival makes a spike that is later by as much

# The loss is half the squared distance of the spike time from a target, so its gradient is the
# distance times the derivatives above.
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
    ("gradient by the weight", distance * by_weight, gradient["input->neuron.weight"].item()),
    ("gradient by the delay", distance * by_delay, gradient["input->neuron.delay"].item()),
    ("gradient by the input time", distance, result.input_times[0]),
):
    print(f"{name:28}{by_hand:22.15f}{by_evsim:22.15f}")
    assert abs(by_hand - by_evsim) <= 1e-12 * abs(by_hand)
