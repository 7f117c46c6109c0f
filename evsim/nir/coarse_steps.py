"""The warning of steps that are long beside the time constants of a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FEW_STEPS = 10.0
"""A time constant of fewer steps is not resolved by them."""

_SHOWN = 4


class CoarseStepWarning(UserWarning):
    """The step of a program is long beside the time constants of a network.

    The program and the differential equations that evsim solves may then give different spikes.
    """


def few_steps(time_constants: Mapping[str, np.ndarray], dt: float) -> str:
    """What to warn of, without a remedy; empty if all time constants are long enough.

    ``time_constants`` are in ms, by a name for the message, such as "tau_mem of 'lif'".
    """
    steps = {name: float(np.min(values)) / dt for name, values in time_constants.items()}
    # Files of single precision hold a little less than ten.
    few = [f"{name} is {n:.3g}" for name, n in steps.items() if n < FEW_STEPS * (1 - 1e-4)]
    if not few:
        return ""
    more = [f"and {len(few) - _SHOWN} more"] if len(few) > _SHOWN else []
    return (
        f"in steps of {dt:g} ms, {'; '.join(few[:_SHOWN] + more)}: with fewer than {FEW_STEPS:g} "
        "steps per time constant the program and the differential equations, which evsim solves, "
        "may give different spikes"
    )
