"""The loops that read voltages and currents, and pull back what is read of LI units."""
