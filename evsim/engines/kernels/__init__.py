"""The compiled loops of the exact engine.

``records`` says how networks and spikes lie in memory, ``entering`` what enters the adjoints;
``arrivals`` collects what reaches a unit; ``layered`` runs units that listen only to finished
ones, both forward and backward; ``recurrent`` runs those that reach each other,
``recurrent_adjoint`` the same in reverse, ``recurrent_state`` is what both share,
``stretches`` the arrivals of a part of the trial, ``looking_ahead`` how a unit finds its next
emission, ``queue`` which one is first, ``ordering`` synapses by delay; ``dropout`` decides which
spikes are dropped; ``integrators`` reads voltages of LI units that hear the
same, ``peak`` their peaks; ``segments`` goes through a unit's trial once all its events are
known.
``samples`` (forward), ``readouts``, ``pull_back`` and ``traces`` loop over a batch and are what
Python calls.
"""
