"""The loops that integrate the adjoints backwards in time."""
