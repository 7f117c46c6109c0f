"""Stimuli that experiments make themselves, in physical units, as spikes.

- ``ears``: what the fibres of two ears say of a sound from one side.
- ``moving_bar``: what a row of receptors says of a bar that passes over it.
"""
