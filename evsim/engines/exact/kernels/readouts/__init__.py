"""The loops that read voltages and currents, and their adjoint sources."""
