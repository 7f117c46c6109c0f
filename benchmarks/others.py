"""The times of other programs for a Yin-Yang sample: forward, backward and update, in float64.

The times were measured separately, on one core of a machine like the one that evsim's documentation
names.  This repository contains none of their code; to check a figure, run the program from its own
repository.
"""

from __future__ import annotations

from typing import NamedTuple


class Other(NamedTuple):
    """The time of another program per sample, and the most similar case of these benchmarks."""

    program: str
    network: str
    microseconds: float
    case: str | None


EVENTPROP = "EventProp, C++"
DELGRAD = "DelGrad, PyTorch"

OTHERS = (
    Other(EVENTPROP, "30 hidden, 13 hidden spikes", 33, "yin-yang-30-13"),
    Other(EVENTPROP, "30 hidden, 30 hidden spikes", 43, "yin-yang-30-30"),
    Other(EVENTPROP, "200 hidden, 30 hidden spikes", 74, "yin-yang-200-30"),
    Other(EVENTPROP, "200 hidden, 66 hidden spikes", 150, "yin-yang-200-66"),
    Other(EVENTPROP, "200 hidden, 175 hidden spikes", 270, "yin-yang-200-175"),
    Other(DELGRAD, "30 hidden, synaptic delays", 67, "yin-yang-30-delays"),
    Other(DELGRAD, "200 hidden", 2000, None),
    Other("jaxsnn", "100 hidden", 500, None),
    Other("eventax", "size not known", 23_000, None),
)
