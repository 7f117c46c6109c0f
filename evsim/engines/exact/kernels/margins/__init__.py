"""How far each spike is from vanishing, and each silence from becoming a spike."""
