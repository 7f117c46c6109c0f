"""The compiled loops of the exact engine.

``records`` says how networks and spikes lie in memory; ``arrivals`` collects what reaches a
unit; ``layered`` runs units that listen only to finished ones, ``recurrent`` those that reach
each other, both forward and backward; ``voltage`` reads voltages of LI units; ``traces``
evaluates states at given times; ``samples`` loops over a batch and is what Python calls.
"""
