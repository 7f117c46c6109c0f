"""A step of Adam in one pass: NumPy would make a pass over the memory for each operation."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import entry_point


@entry_point(part="steps")
def adam_step(
    values: np.ndarray,
    gradient: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    of_first: float,
    of_second: float,
) -> None:
    """Move values down the gradient and update both moments, all float64, (numbers,).

    ``of_first`` and ``of_second`` are the total weights of the gradients in the moments so far.
    """
    for i in range(values.size):
        slope = gradient[i]
        mean = first[i] * beta1 + (1.0 - beta1) * slope
        square = second[i] * beta2 + (1.0 - beta2) * (slope * slope)
        first[i], second[i] = mean, square
        values[i] -= rate * (mean / of_first) / (np.sqrt(square / of_second) + epsilon)
