"""The warning about steps that are long compared with the time constants of a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FEW_STEPS = 10.0
"""Steps do not resolve a time constant of fewer steps than this."""

_SHOWN = 4


class CoarseStepWarning(UserWarning):
    """The step of a program is long compared with the time constants of a network.

    The program and the differential equations that evsim solves may then give different spikes.
    """


def few_steps(time_constants: Mapping[str, np.ndarray], dt: float) -> str:
    """The text of the warning, without a remedy; empty if all time constants are long enough.

    ``time_constants`` are in ms; their keys are names for the message, such as "tau_mem of 'lif'".
    """
    steps = {name: float(np.min(values)) / dt for name, values in time_constants.items()}
    # In files of single precision, ten may be a little less.
    few = [f"{name} is {n:.3g}" for name, n in steps.items() if n < FEW_STEPS * (1 - 1e-4)]
    if not few:
        return ""
    more = [f"and {len(few) - _SHOWN} more"] if len(few) > _SHOWN else []
    return (
        f"in steps of {dt:g} ms, {'; '.join(few[:_SHOWN] + more)}: with fewer than {FEW_STEPS:g} "
        "steps per time constant the program and the differential equations, which evsim solves, "
        "may give different spikes"
    )
