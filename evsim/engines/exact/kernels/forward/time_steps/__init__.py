"""Recurrent components whose units receive many spikes, from time step to time step."""
