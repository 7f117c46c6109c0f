"""Yin-Yang: with delays, as evsim trains it, and with the network of Wunderlich and Pehle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from workload import Case, Target, Work

import evsim
from evsim.tasks import yin_yang

EPOCH = 20  # batches
DELAYS = evsim.Uniform(0.0, 10.0)
"""Delays in ms as in a trained network.

After 300 epochs of ``evsim.tasks.yin_yang`` delays are spread over all of the allowed 0 to 10 ms,
with standard deviations of 3.2 ms (inputs to hidden units) and 2.8 ms (hidden units to outputs).
Before training all are 0, so that all units share the order of their arrivals; that is faster.
"""


def with_delays(samples: int = 150, refractory: float = np.inf, hidden: int = 30) -> Work:
    """A hidden layer, and a delay at every synapse of both layers.

    With an infinite refractory period all units spike at most once, as in ``evsim.tasks.yin_yang``.
    """
    settings = yin_yang.Settings(
        hidden=hidden,
        train_size=EPOCH * samples,
        refractory=refractory,
        loss="time_invariant",
        existence=0.0,
    )
    described = yin_yang.network(settings)
    network = evsim.Network(
        [
            described.population("input"),
            described.population("hidden"),
            replace(described.population("output"), refractory=refractory),
        ],
        [
            evsim.Connection(c.source, c.target, weight=c.weight, delay=DELAYS)
            for c in described.connections
        ],
        seed=0,
    )
    training = yin_yang.data(settings)[0]
    return _work(network, training, yin_yang.loss(settings), settings.duration, samples)


def without_delays(
    hidden: int,
    scale: float,
    to_output: evsim.Normal,
    samples: int = 200,
    refractory: float = 0.0,
) -> Work:
    """The network of the program of Wunderlich and Pehle, with its input weights times ``scale``.

    Input spikes are 10 to 40 ms after the start, and a fifth one is at 20 ms in every sample.
    Hidden units may spike any number of times, and so may outputs unless ``refractory``, in ms, is
    infinite.  The time constants are 20 and 5 ms, and the loss has the constants of that program
    (https://github.com/eventprop/eventprop).
    """
    points, classes = yin_yang.draw_points(EPOCH * samples, np.random.default_rng(0))
    values = np.hstack([points, 1 - points])
    latencies = np.hstack([10 + 30 * values, np.full((len(points), 1), 20.0)])
    network = evsim.Network(
        [
            evsim.Input("input", 5),
            evsim.LIF("hidden", hidden, tau_mem=20.0, tau_syn=5.0),
            evsim.LIF("output", 3, tau_mem=20.0, tau_syn=5.0, refractory=refractory),
        ],
        [
            evsim.Connection("input", "hidden", evsim.Normal(2.5 * scale, 1.5 * scale)),
            evsim.Connection("hidden", "output", to_output),
        ],
        seed=0,
    )
    training = evsim.Dataset(evsim.SpikeTrains.from_latencies(latencies), classes)
    loss = evsim.losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=10.0, alpha=0.01)
    return _work(network, training, loss, 60.0, samples)


def _work(
    network: evsim.Network,
    training: evsim.Dataset,
    loss: evsim.losses.Loss,
    duration: float,
    samples: int,
) -> Work:
    """A batch of the training samples, and Adam.

    The learning rate is so small that the last batch of an epoch has as many spikes as the first.
    """
    batch = training[np.arange(samples)]
    work = Work(network, batch.spikes, batch.labels, loss, duration, training)
    adam = evsim.Adam(1e-6)
    return Work(
        network, batch.spikes, batch.labels, loss, duration, training,
        dict.fromkeys(work.wrt, adam),
    )  # fmt: skip


def _as_first_program(
    hidden: int, spikes: int, scale: float, to_output: evsim.Normal, refractory: float = 0.0
) -> Case:
    once = ", outputs spike once" if refractory == np.inf else ""
    what = {"scale": scale, "to_output": to_output, "refractory": refractory}
    return Case(
        f"yin-yang-{hidden}-{spikes}{'-once' if once else ''}",
        f"Yin-Yang, {hidden} hidden, no delays, {spikes} hidden spikes{once}",
        partial(without_delays, hidden, **what),
        partial(without_delays, hidden, samples=5, **what),
        spikes,
        Target(40.0, "µs") if hidden == 200 else None,
        trains=True,
    )


CASES = (
    Case(
        "yin-yang-30-delays",
        "Yin-Yang, 30 hidden, delays on both layers, all units spike once",
        with_delays,
        partial(with_delays, samples=6),
        30,
        Target(20.0, "µs"),
        trains=True,
    ),
    Case(
        "yin-yang-30-delays-all",
        "Yin-Yang, 30 hidden, delays on both layers",
        partial(with_delays, refractory=0.0),
        partial(with_delays, samples=6, refractory=0.0),
        67,
        trains=True,
    ),
    _as_first_program(30, 13, 0.562, evsim.Normal(2.0, 1.0)),
    _as_first_program(30, 30, 0.765, evsim.Normal(1.2, 1.0)),
    _as_first_program(200, 30, 0.465, evsim.Normal(1.0, 1.0)),
    _as_first_program(200, 66, 0.532, evsim.Normal(0.4, 0.4)),
    _as_first_program(200, 66, 0.532, evsim.Normal(0.4, 0.4), refractory=np.inf),
    _as_first_program(200, 175, 0.72, evsim.Normal(0.4, 0.4)),
)
