"""Yin-Yang: with delays, as evsim trains it, and with the network of Wunderlich and Pehle."""

from __future__ import annotations

from functools import partial

import numpy as np
from workload import Case, Target, Work

import evsim
from evsim.tasks import yin_yang

EPOCH = 20  # batches


def with_delays(samples: int = 150) -> Work:
    """30 hidden units that spike at most once, and a delay at every synapse of both layers."""
    settings = yin_yang.Settings(
        hidden=30, delays=True, output_delays=True, train_size=EPOCH * samples
    )
    return _work(
        yin_yang.network(settings),
        yin_yang.data(settings)[0],
        yin_yang.loss(settings),
        settings.duration,
        samples,
    )


def without_delays(hidden: int, scale: float, samples: int = 200) -> Work:
    """The network of the program of Wunderlich and Pehle, with its input weights times ``scale``.

    Input spikes are 10 to 40 ms after the start, and a fifth one is at 20 ms in every sample.
    Hidden units may spike any number of times.  The time constants are 20 and 5 ms
    (https://github.com/eventprop/eventprop, as described there).  With 30 hidden units the
    weights to the outputs are doubled, so that outputs spike.
    """
    points, classes = yin_yang.draw_points(EPOCH * samples, np.random.default_rng(0))
    values = np.hstack([points, 1 - points])
    latencies = np.hstack([10 + 30 * values, np.full((len(points), 1), 20.0)])
    to_output = evsim.Normal(2.0 if hidden < 200 else 1.0, 1.0)
    network = evsim.Network(
        [
            evsim.Input("input", 5),
            evsim.LIF("hidden", hidden, tau_mem=20.0, tau_syn=5.0),
            # The loss depends only on the first spikes of outputs, so later ones have no effect.
            evsim.LIF("output", 3, tau_mem=20.0, tau_syn=5.0, refractory=np.inf),
        ],
        [
            evsim.Connection("input", "hidden", evsim.Normal(2.5 * scale, 1.5 * scale)),
            evsim.Connection("hidden", "output", to_output),
        ],
        seed=0,
    )
    training = evsim.Dataset(evsim.SpikeTrains.from_latencies(latencies), classes)
    return _work(network, training, evsim.losses.FirstSpikeCrossEntropy(), 60.0, samples)


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


def _as_first_program(hidden: int, spikes: int, scale: float) -> Case:
    return Case(
        f"yin-yang-{hidden}-{spikes}",
        f"Yin-Yang, {hidden} hidden, no delays, {spikes} hidden spikes",
        partial(without_delays, hidden, scale),
        partial(without_delays, hidden, scale, samples=5),
        spikes,
        Target(40.0, "µs") if hidden == 200 else None,
        trains=True,
    )


CASES = (
    Case(
        "yin-yang-30-delays",
        "Yin-Yang, 30 hidden, delays on both layers",
        with_delays,
        partial(with_delays, samples=6),
        30,
        Target(20.0, "µs"),
        trains=True,
    ),
    _as_first_program(30, 13, 0.562),
    _as_first_program(30, 30, 0.765),
    _as_first_program(200, 30, 0.465),
    _as_first_program(200, 66, 0.532),
    _as_first_program(200, 175, 0.72),
)
