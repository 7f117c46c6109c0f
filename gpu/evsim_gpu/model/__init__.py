"""A network on a time grid.

time_grid       the grid points, and those nearest to given times
coefficients    the propagator of each unit over one step
components      units in components, and synapses sorted by source
synapse_values  weights, and delays in steps, of these synapses
layout          GridLayout: all of this for one network
precision       checks that float32 or float64 can hold all of these
"""
