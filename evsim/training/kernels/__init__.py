"""Compiled loops over the numbers of a parameter in training."""
