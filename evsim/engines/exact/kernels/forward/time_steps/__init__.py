"""Recurrent components whose units receive many spikes run from time step to time step."""
