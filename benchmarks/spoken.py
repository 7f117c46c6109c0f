"""Artificial spikes that resemble spoken digits after a cochlea model."""

from __future__ import annotations

import numpy as np

import evsim

CHANNELS = 700
CLASSES = 20
DURATION = 1000.0  # ms
RIDGES = 3  # frequency bands in which the spikes of a class lie


def spoken(samples: int, spikes: int = 8000, seed: int = 0) -> evsim.Dataset:
    """Samples of 20 classes, each with exactly ``spikes`` spikes in 700 channels in about 700 ms.

    Each class has three bands that move through the channels; each sample has a random onset, tempo
    and pitch.  Spikes are dense in the bands and near the onset.
    """
    classes = np.random.default_rng([seed, 0])
    start = classes.uniform(60, 640, (CLASSES, RIDGES))
    drift = classes.normal(0, 120, (CLASSES, RIDGES))
    bend = classes.normal(0, 60, (CLASSES, RIDGES))
    rng = np.random.default_rng([seed, 1])
    labels = rng.integers(0, CLASSES, samples)
    onset, tempo = rng.uniform(40, 140, samples), rng.uniform(500, 800, samples)
    pitch = rng.normal(0, 20, samples)
    times, units = np.empty((samples, spikes)), np.empty((samples, spikes), np.int32)
    for first in range(0, samples, 256):  # in parts, to save memory
        part = slice(first, first + 256)
        count = labels[part].size
        progress = rng.random((count, spikes))
        progress *= np.sqrt(progress)
        progress.sort(axis=1)
        times[part] = onset[part, None] + tempo[part, None] * progress
        label, ridge = labels[part, None], rng.integers(0, RIDGES, (count, spikes))
        channel = rng.standard_normal((count, spikes)) * 25 + pitch[part, None]
        channel += start[label, ridge] + drift[label, ridge] * progress
        channel += bend[label, ridge] * np.sin(2 * np.pi * progress)
        units[part] = np.rint(channel) % CHANNELS
    offsets = np.arange(samples + 1, dtype=np.int64) * spikes
    trains = evsim.SpikeTrains(times.ravel(), units.ravel(), offsets, CHANNELS)
    return evsim.Dataset(trains, labels)
