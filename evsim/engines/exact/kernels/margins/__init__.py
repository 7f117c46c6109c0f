"""How far each spike, and each silence between spikes, is from not being one."""
