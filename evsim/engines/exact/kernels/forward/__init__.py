"""The loops that find the spikes of a trial."""
