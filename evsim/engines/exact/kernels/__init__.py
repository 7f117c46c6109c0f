"""The compiled loops of the exact engine.

``forward`` finds the spikes of a batch.  ``simulate`` is what Python calls; ``feedforward`` runs a
unit whose presynaptic spikes are all known, ``recurrent`` the units of a loop.  These need time
slices, lists of arrivals and, in each slice, the next spike of each unit and a queue of units.

``backward`` integrates the adjoints.  ``pull_back`` is what Python calls; ``adjoint_intervals`` has
the adjoints of a unit between its jumps, ``arrival_gradients`` reads them at arrivals,
``recurrent`` does so for the units of a loop, and ``adjoint_sources`` says what a readout adds to
the adjoints.

``readouts`` computes voltages and currents once all spikes are known, and the gradients of what is
read of LI units: means in ``integrals``, peaks, traces, and the trajectory of a unit.

The files beside these folders are shared: how networks and spikes lie in memory (``spike_records``,
``trial``), collecting and sorting arrivals, the order of events at one instant (``event_order``),
why a loop stopped (``failures``), dropout, and the check of a run (``verification``).

Papers: D is Mészáros, Knight, Nowotny (learning delays with EventProp), L is Nowotny, Turner,
Knight (loss shaping), W is Wunderlich, Pehle (EventProp).
"""
