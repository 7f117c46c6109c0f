"""The loops that read voltages and currents, and pull back the readouts of LI units."""
