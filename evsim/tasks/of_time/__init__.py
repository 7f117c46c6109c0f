"""What the tasks are made of in which spike times decide: stimuli in physical units, and pictures.

- ``stimulus_settings``: what the settings of both tasks have in common.
- ``ears``, ``ear_pictures``: the spikes of two ears, and the line of detectors that tells them.
- ``place_code``: the loss of a value that a row of units tells by which spikes first.
- ``moving_bar``, ``bar_pictures``: the spikes of receptors, and the delays that make up for them.
"""
