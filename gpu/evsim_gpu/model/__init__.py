"""A network on a time grid.

time_grid       the grid points, and those nearest to given times
coefficients    the propagator of each unit over one step
layout          GridLayout: components, columns and connections, with delays in steps
precision       checks that float32 or float64 can hold all of these
"""
