"""How loops are compiled with numba, where machine code is cached, and how work runs on threads."""
