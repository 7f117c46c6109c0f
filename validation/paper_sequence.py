"""Claim: delays alone learn to tell the order of two spikes (D section 2.1).

D is Mészáros, Knight, Nowotny (delay learning with EventProp).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from claims import Claim, Finding, Picture, Table
from scipy.optimize import minimize_scalar

import evsim
from evsim.network import Network
from evsim.tasks import sequence

DELAY = f"{sequence.CONNECTION}.delay"
SETTINGS = sequence.Settings()
PUBLISHED = 10.0
"""The difference in ms of an output's two delays at the end of training in D."""

CLOSE = 0.1
"""The largest accepted distance in ms between the end of longer training and the loss's minimum."""


@dataclass(frozen=True)
class PaperSequence(Claim):
    """Delays alone learn the order of two spikes in six presentations of each order.

    The comparison is with D (Mészáros, Knight and Nowotny, *Efficient event-based delay learning in
    spiking neural networks*), section 2.1: two inputs that spike 10 ms apart, two LI units, fixed
    weights, and delays that all start wrong, 0 ms on one diagonal and 10 on the other. After six
    presentations D classifies both sequences correctly, and the delays are exchanged. Here the
    delays grow further. So training continues, to see whether they reach the minimum of the loss,
    which is also found without training, by a search over the difference of an output's two delays.

    Refuted if a sequence is not classified correctly after six presentations, if a difference of
    delays is then below D's 10 ms, or if longer training does not end within 0.1 ms of the minimum.
    """

    against: ClassVar[str] = "D, section 2.1"

    presentations: int = 6
    longer: int = 400

    def examine(self, folder: Path) -> Finding:
        networks = presented(self.presentations)
        shares = [share_right(network) for network in networks]
        differences = np.array([difference(network) for network in networks])
        longest = difference(trained_on(networks[-1], self.longer))
        best = least_difference()
        draw(differences, longest, best, folder / "delays.png")
        told = next((number for number, share in enumerate(shares) if share == 1.0), None)
        refutations = []
        if shares[-1] < 1.0:
            refutations.append(
                f"{100 * shares[-1]:.0f} % are told after {self.presentations} presentations"
            )
        if differences[-1].min() < PUBLISHED:
            refutations.append(
                f"after {self.presentations} presentations delays differ by "
                f"{shown(differences[-1])} ms, not by {PUBLISHED:g}"
            )
        if np.abs(longest - best).max() > CLOSE:
            refutations.append(
                f"the loss is least at {best:.2f} ms, and longer training ends at "
                f"{shown(longest)}"
            )  # fmt: skip
        summary = (
            f"Both sequences are told after {'no number of' if told is None else told} "
            f"presentations; after {self.presentations} each output's delays differ by "
            f"{shown(differences[-1])} ms (D: {PUBLISHED:g}). The loss is least at {best:.2f} ms, "
            f"where longer training ends: {shown(longest)}."
        )
        picture = Picture("delays.png", "Differences of delays in training, and the loss over them")
        return Finding.of(summary, refutations, [table(networks, shares)], [picture])


# -- training -----------------------------------------------------------------------------


def presented(times: int) -> list[Network]:
    """The network before training, and after each presentation of both sequences."""
    networks = [sequence.network(SETTINGS)]
    settings = sequence.Settings(epochs=times)
    sequence.train(
        settings, callbacks=[lambda state: networks.append(state.network)], progress=False
    )
    return networks


def trained_on(network: Network, epochs: int) -> Network:
    """The network after longer training with a learning rate that falls to a hundredth."""
    result = evsim.fit(
        network,
        sequence.data(SETTINGS)[0],
        sequence.loss(SETTINGS),
        duration=SETTINGS.duration,
        optimizers={"delay": evsim.Adam(0.2, decay=0.01 ** (1 / epochs))},
        epochs=epochs,
        batch_size=2,
        delay_max=SETTINGS.delay_max,
        progress=False,
    )
    return result.last_network


def share_right(network: Network) -> float:
    """The share of the two sequences that is classified correctly."""
    both, _, _ = sequence.data(SETTINGS)
    tested = evsim.evaluate(network, both, sequence.loss(SETTINGS), SETTINGS.duration)
    assert tested.accuracy is not None  # this loss classifies
    return tested.accuracy


def difference(network: Network) -> np.ndarray:
    """How much longer the delay from the first input of its sequence is, for each output, (2,)."""
    (own, other), (another, last) = np.asarray(network.parameters[DELAY])
    return np.array([own - other, last - another])


def loss_at(gap: float) -> float:
    """The loss if each output's delay from the first input of its sequence is ``gap`` ms longer."""
    network = sequence.network(SETTINGS).replace({DELAY: gap * np.eye(2)})
    both, _, _ = sequence.data(SETTINGS)
    return evsim.evaluate(network, both, sequence.loss(SETTINGS), SETTINGS.duration).loss


def least_difference() -> float:
    """The difference of delays that minimises the loss, found by a search without gradients."""
    found = minimize_scalar(loss_at, bounds=(8.0, SETTINGS.delay_max), method="bounded")
    return float(found.x)


# -- findings -------------------------------------------------------------------------------


def shown(values: np.ndarray) -> str:
    """The values of both outputs as text."""
    return " and ".join(f"{value:.2f}" for value in values)


def table(networks: list[Network], shares: list[float]) -> Table:
    """A table with a row for each presentation."""
    rows = []
    for number, (network, share) in enumerate(zip(networks, shares, strict=True)):
        delays = np.asarray(network.parameters[DELAY])
        rows.append(
            [str(number), f"{100 * share:.0f}", shown(np.diagonal(delays)),
             shown(np.diagonal(delays[:, ::-1])), shown(difference(network))]
        )  # fmt: skip
    columns = ["presentations of each", "told (%)", "delays of the input that is first (ms)",
               "of the other (ms)", "difference (ms)"]  # fmt: skip
    return Table("Delays to both outputs", columns, rows)


def draw(differences: np.ndarray, longest: np.ndarray, best: float, file: Path) -> None:
    """Draw the differences during training, and their places on the curve of the loss."""
    from evsim.plotting.style import (
        BLACK,
        COLOURS,
        GREY,
        SMALL_TEXT,
        TWO_COLUMNS,
        label,
        new_figure,
        save,
    )

    figure = new_figure(TWO_COLUMNS, 2.4)
    left, right = figure.subplots(1, 2)
    gaps = np.linspace(0.0, SETTINGS.delay_max, 61)
    right.plot(gaps, [loss_at(gap) for gap in gaps], color=BLACK, linewidth=1)
    for output, column in enumerate(differences.T):
        colour = COLOURS[output]
        left.plot(range(column.size), column, "o-", color=colour, markersize=3, linewidth=1,
                  label=f"output {output}")  # fmt: skip
        right.plot(column[-1], loss_at(column[-1]), "o", color=colour, markersize=4)
        right.plot(longest[output], loss_at(longest[output]), "x", color=colour, markersize=5)
    left.axhline(best, color=GREY, linewidth=0.8, linestyle="--")
    left.axhline(PUBLISHED, color=GREY, linewidth=0.8, linestyle=":")
    label(left, "presentations of each sequence", "difference of delays (ms)",
          "dashed: where the loss is least; dotted: D")  # fmt: skip
    last = differences.shape[0] - 1
    label(right, "difference of delays (ms)", "loss",
          f"dots: after {last} presentations, crosses: long after")  # fmt: skip
    left.legend(fontsize=SMALL_TEXT, frameon=False)
    save(figure, file)
