"""Checks of what a caller gives, and the messages that refuse it."""
