"""The compiled loops of the exact engine.

``records`` says how networks and spikes lie in memory, ``trial`` what kernels look at, ``entering``
what enters the adjoints.  ``arrivals`` collects what reaches a unit, ``decays`` how it decays in
between; ``layered`` runs units that listen only to finished ones, ``recurrent`` those that reach
each other: ``recurrent_state`` is what they share, ``stretches`` the arrivals of a part of the
trial, ``looking_ahead`` how a unit finds its next emission, ``queue`` which one is first,
``ordering`` synapses by delay.  ``windows`` has the adjoints of a unit between its events,
``gathering`` pulls arrivals back through them, and ``recurrent_adjoint`` does so for units that
reach each other.  ``dropout`` decides which spikes are dropped; ``integrators`` reads voltages of
LI units that hear the same, ``peak`` their peaks; ``segments`` goes through a unit's trial once all
its events are known.  ``stopped`` is what every long loop asks, ``sorting`` sorts so that it can.

``samples`` (forward), ``readouts``, ``pull_back`` and ``traces`` loop over a batch and are what
Python calls.
"""
