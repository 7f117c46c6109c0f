"""The Yin-Yang figure: points of the unit square, their classes, and random points of each class.

The figure is that of Kriener, Göltz, Petrovici, *The Yin-Yang dataset* (NICE 2022).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.arguments.checks import check_is, checked_count, real_array, shown
from evsim.arguments.keywords import helpful

CLASS_NAMES = ("yin", "yang", "dots")

SMALL_RADIUS = 0.1
"""Radius of the two dots."""

BIG_RADIUS = 0.5
"""Radius of the figure, which fills the unit square."""


@helpful
def classify(points: np.ndarray) -> np.ndarray:
    """Class of each point of the unit square: 0, 1, 2 for yin, yang, dots; -1 outside the figure.

    ``points`` has shape (points, 2), the result (points,).  Yang is the upper half without the
    right lobe, with the left lobe; yin is the rest; the dots are the centres of both lobes.
    """
    x, y = checked_points(points).T
    to_left = np.hypot(x - 0.5 * BIG_RADIUS, y - BIG_RADIUS)
    to_right = np.hypot(x - 1.5 * BIG_RADIUS, y - BIG_RADIUS)
    lobe = 0.5 * BIG_RADIUS
    classes: np.ndarray = np.where(y > BIG_RADIUS, to_right > lobe, to_left <= lobe).astype(
        np.int64
    )
    classes[np.minimum(to_left, to_right) < SMALL_RADIUS] = 2
    classes[np.hypot(x - BIG_RADIUS, y - BIG_RADIUS) > BIG_RADIUS] = -1
    return classes


def checked_points(points: Any) -> np.ndarray:
    """Points as float64, shape (points, 2)."""
    array = real_array(points, "points")
    if array.ndim != 2 or array.shape[1] != 2:
        raise TypeError(f"points = {shown(points)}: give an array of numbers, shape (points, 2)")
    return array.astype(np.float64)


@helpful
def draw_points(size: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random points of the figure, shape (size, 2), and their classes, shape (size,).

    Points are uniform in each class.  Sample i is of class i mod 3, so the classes are as balanced
    as they can be; the published generator draws the class of each sample, which balances them on
    average.
    """
    size = checked_count(size, "size", 0, 2**31)
    check_is(generator, "generator", np.random.Generator, "give numpy.random.default_rng(seed)")
    classes = np.arange(size) % len(CLASS_NAMES)
    points = np.empty((size, 2))
    missing = np.ones(size, bool)
    while missing.any():
        candidates = generator.random((4 * size + 64, 2)) * 2.0 * BIG_RADIUS
        found = classify(candidates)
        for label in range(len(CLASS_NAMES)):
            places = np.flatnonzero(missing & (classes == label))
            fitting = candidates[found == label][: places.size]
            points[places[: len(fitting)]] = fitting
            missing[places[: len(fitting)]] = False
    return points, classes
