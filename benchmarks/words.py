"""Spoken words as spikes of 700 channels within 1 s, for feedforward and recurrent networks."""

from __future__ import annotations

from functools import partial

import numpy as np
from spoken import CHANNELS, DURATION, spoken
from workload import Case, Target, Work

import evsim

LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential"))
SPIKES = 5700  # per sample


def network(
    hidden: int, *, delays: bool, recurrent: bool, channels: int = CHANNELS, gain: float = 1.0
) -> evsim.Network:
    """Channels, hidden LIF units, 10 LI outputs; ``gain`` scales the weights from the channels."""
    delay = evsim.Uniform(0, 150) if delays else 0.0
    loop = evsim.Connection("hidden", "hidden", evsim.Normal(0, 0.02), evsim.Uniform(0, 5))
    return evsim.Network(
        [evsim.Input("input", channels), evsim.LIF("hidden", hidden), evsim.LI("output", 10)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.03 * gain, 0.01 * gain), delay),
            *([loop] if recurrent else []),
            evsim.Connection("hidden", "output", evsim.Normal(0, 0.03)),
        ],
        seed=0,
    )


def work(hidden: int, samples: int, *, delays: bool, recurrent: bool = False) -> Work:
    """A batch of words at full size."""
    words = spoken(samples, SPIKES)
    return Work(
        network(hidden, delays=delays, recurrent=recurrent),
        words.spikes,
        words.labels % 10,
        LOSS,
        DURATION,
    )


def reduced(*, delays: bool, recurrent: bool = False) -> Work:
    """Two words with a tenth of the channels and a twentieth of the spikes, and a few units."""
    words = spoken(2, SPIKES // 20)
    spikes = evsim.SpikeTrains.from_events(
        words.spikes.times,
        words.spikes.units // 10,
        words.spikes.samples,
        batch_size=2,
        unit_count=CHANNELS // 10,
    )
    few = network(16, delays=delays, recurrent=recurrent, channels=CHANNELS // 10, gain=20.0)
    return Work(few, spikes, np.array([0, 1]), LOSS, DURATION)


def _case(
    name: str, title: str, hidden: int, samples: int, spikes: float, target, slow=False, **what
) -> Case:
    return Case(
        name,
        title,
        partial(work, hidden, samples, **what),
        partial(reduced, **what),
        spikes,
        target,
        slow=slow,
    )


CASES = (
    _case(
        "words-256-delays", "words, 700-256-10, delays", 256, 4, 4200, Target(40.0, "ns"),
        delays=True,
    ),
    _case(
        "words-256", "words, 700-256-10, no delays", 256, 4, 4700, Target(40.0, "ns"),
        delays=False,
    ),
    _case(
        "words-recurrent-128", "words, 128 recurrent, delays", 128, 4, 2100, Target(60.0, "ns"),
        delays=True, recurrent=True,
    ),
    _case(
        "words-recurrent-512", "words, 512 recurrent, delays", 512, 2, 8600, None,
        slow=True, delays=True, recurrent=True,
    ),
)  # fmt: skip
