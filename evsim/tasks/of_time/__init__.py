"""Stimuli in physical units, and pictures, for the tasks in which spike times decide.

- ``stimulus_settings``: what the settings of both tasks have in common.
- ``ears``, ``ear_pictures``: the spikes of two ears, and the line of detectors that decodes them.
- ``place_code``: the loss of a value that a row of units encodes by which unit spikes first.
- ``moving_bar``, ``bar_pictures``: the spikes of receptors, and the delays that make them coincide.
"""
