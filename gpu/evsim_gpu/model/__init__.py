"""A network on a time grid: its grid points, the propagator of each unit, and its layout."""
