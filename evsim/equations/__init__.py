"""The closed forms of LIF and LI neurons: each equation once, its adjoint beside it."""
