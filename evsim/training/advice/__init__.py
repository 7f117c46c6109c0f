"""Warnings of a training run that does not learn: what was observed, and what to change.

warning     the category of these warnings
ease_in     learning rates that start so slowly that the run is too short for them
symptoms    what the records of the epochs show
"""
