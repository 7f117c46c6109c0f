"""Spikes as other programs store them, one file per format.

Each function checks what a user gives and returns ``SpikeEvents``, from which
``evsim.SpikeTrains`` is made.  No function imports the library whose objects it reads.
"""
