"""Checks of the arguments of a caller, and the messages that refuse them."""
