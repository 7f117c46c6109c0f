"""The compiled loops of the exact engine.

``forward`` finds the spikes of a batch.  Python calls ``simulate``.  ``feedforward`` runs a unit
whose presynaptic spikes are all known; ``recurrent`` runs the units of a loop.  A loop needs time
slices, lists of arrivals and, in each slice, the next spike of each unit and a queue of units.

``backward`` integrates the adjoints.  Python calls ``pull_back``.  ``adjoint_intervals`` contains
the adjoints of a unit between their jumps, ``arrival_gradients`` evaluates them at arrivals,
``recurrent`` does so for the units of a loop, and ``adjoint_sources`` contains what a readout adds
to the adjoints.

``readouts`` computes voltages and currents once all spikes are known, and the gradients of readouts
of LI units: means in ``integrals``, peaks, traces, and the trajectory of a unit.

The files beside these folders are shared: the memory layout of networks and spikes
(``spike_records``, ``trial``), collecting and sorting arrivals, the order of events at one instant
(``event_order``), why a loop stopped (``failures``), dropout, and the check of a run
(``verification``).

Papers: D is Mészáros, Knight, Nowotny (learning delays with EventProp), L is Nowotny, Turner,
Knight (loss shaping), W is Wunderlich, Pehle (EventProp).
"""
