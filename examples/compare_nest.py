"""NEST's neurons with precise spike times, judged by evsim.

    python examples/compare_nest.py

``iaf_psc_exp_ps`` has evsim's equations and spikes between its steps of 1 ms, but it checks only at
steps and arrivals whether V is above the threshold.  Each neuron here gets one spike that takes V
above it for a short time.  NEST's delays are at least one step; all its times are two steps late.
"""

import nest
import numpy as np

import evsim

STEP, DURATION, UNITS = 1.0, 40.0, 300

generator = np.random.default_rng(0)
excess = 10.0 ** generator.uniform(-6.0, 0.0, UNITS)
weights = 4.0 ** (4.0 / 3.0) * (1.0 + excess)  # V peaks at 1 + excess
latencies = generator.uniform(1.0, 10.0, (1, UNITS))

nest.verbosity = nest.VerbosityLevel.ERROR
nest.set(tics_per_ms=2**14, resolution=STEP)
inputs = nest.Create("spike_generator", UNITS)
inputs.set([{"precise_times": True, "spike_times": [t + STEP]} for t in latencies[0]])
parameters = {
    "tau_m": 20.0, "C_m": 20.0, "tau_syn_ex": 5.0, "tau_syn_in": 5.0, "t_ref": STEP,
    "V_th": 1.0, "E_L": 0.0, "V_reset": 0.0, "V_m": 0.0,
}  # fmt: skip
neurons = nest.Create("iaf_psc_exp_ps", UNITS, parameters)
nest.Connect(inputs, neurons, "one_to_one", {"weight": weights, "delay": STEP})
recorder = nest.Create("spike_recorder")
nest.Connect(neurons, recorder)
nest.Simulate(DURATION + 2.0 * STEP)

times = np.asarray(recorder.events["times"]) - 2.0 * STEP
units = np.asarray(recorder.events["senders"]) - min(neurons.tolist())
theirs = evsim.SpikeTrains.from_events(
    times, units, np.zeros(times.size, int), batch_size=1, unit_count=UNITS
)
network = evsim.Network(
    [evsim.Input("input", UNITS), evsim.LIF("neurons", UNITS, refractory=STEP)],
    [evsim.Connection("input", "neurons", np.diag(weights))],
)
spikes = evsim.SpikeTrains.from_latencies(latencies)
report = evsim.compare(network, spikes, theirs, DURATION, time_step=STEP)
print(report)
missed = report.matches.unit[report.matches.is_missing]
print(f"\nV of the neurons that NEST misses exceeds 1 by at most {excess[missed].max():.4f}")
