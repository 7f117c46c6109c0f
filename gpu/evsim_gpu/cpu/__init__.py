"""The grid engine's loops for the CPU, compiled by numba: the specification of the CUDA kernels.

records     the memory layout of a network and of spikes
synapses    a spike's arrivals, and their adjoint
forward     the time loop of a component: emissions
states      voltages and currents of known spikes, and readouts
backward    the time loop of the adjoints
samples     loops over the samples of a batch
"""
