"""evsim as the ground truth for another simulator: the error that its time step causes.

    python examples/ground_truth.py

Here the other simulator is a loop over time steps dt, a few lines of NumPy; replace it with your
own.  evsim has no time step and is exact up to rounding.  If both simulate the same model, the
error falls with dt, here in proportion to dt.  If it does not fall, the models differ.
"""

import numpy as np

import evsim

TAU_MEM, TAU_SYN, DURATION = 20.0, 5.0, 100.0  # ms


def clock_driven(weights, inputs, dt):
    """The spikes (time, neuron) of neurons with input spikes (time, input), by Euler's method."""
    arrivals = np.zeros((round(DURATION / dt) + 1, weights.shape[1]))
    for time, unit in inputs:
        arrivals[round(time / dt), unit] += 1.0
    voltage, current = np.zeros((2, len(weights)))
    spikes = []
    for step, arriving in enumerate(arrivals):
        voltage += dt / TAU_MEM * (current - voltage)
        current -= dt / TAU_SYN * current
        spikes += [(step * dt, neuron) for neuron in np.flatnonzero(voltage >= 1.0)]
        voltage[voltage >= 1.0] = 0.0
        current += weights @ arriving
    return sorted(spikes, key=lambda spike: spike[1])


# Ten neurons, and thirty inputs that spike five times each on average.
generator = np.random.default_rng(0)
weights = generator.normal(0.25, 0.2, size=(10, 30))
times = generator.uniform(0.0, 90.0, size=150)
inputs = list(zip(np.sort(times), generator.integers(30, size=150), strict=True))

network = evsim.Network(
    [evsim.Input("input", 30), evsim.LIF("neurons", 10, tau_mem=TAU_MEM, tau_syn=TAU_SYN)],
    [evsim.Connection("input", "neurons", weight=weights)],
)
run = evsim.simulate(network, evsim.SpikeTrains.from_lists([inputs], units=30), DURATION)
exact = run.spikes["neurons"]
order = np.lexsort((exact.times, exact.units))  # neuron by neuron, as in clock_driven
exact_times, exact_neurons = exact.times[order], exact.units[order]
print(f"evsim: {exact_times.size} spikes")

errors = {}
for dt in (1.0, 0.3, 0.1, 0.03, 0.01, 0.003):
    spikes = clock_driven(weights, inputs, dt)
    if [neuron for _, neuron in spikes] != list(exact_neurons):
        print(f"dt = {dt:5} ms: {len(spikes)} spikes, which differ from those of evsim")
        continue
    errors[dt] = np.abs(np.array([time for time, _ in spikes]) - exact_times).mean()
    print(f"dt = {dt:5} ms: the same spikes, with a mean error of {errors[dt]:.5f} ms")

slope, _ = np.polyfit(np.log(list(errors)), np.log(list(errors.values())), 1)
print(f"the error is proportional to dt to the power of {slope:.2f}: order {round(slope)}")
