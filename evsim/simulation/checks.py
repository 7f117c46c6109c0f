"""Checks of the arguments of a gradient: the loss, time constants, regularisers."""

from __future__ import annotations

from collections.abc import Iterable

from evsim.arguments.checks import check_number, listed, shown
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.network import Network
from evsim.network.parameters import refuse


def check_is_loss(loss: object) -> None:
    """Refuse anything that is not a loss."""
    if not isinstance(loss, Loss):
        raise TypeError(
            f"loss = {shown(loss)}: it must be a Loss such as evsim.losses.CrossEntropy()"
        )


LONGEST_TAU = 1e150  # ms; the square of a longer one, or of its inverse, overflows


def check_time_constants(network: Network, names: Iterable[str]) -> None:
    """Refuse time constants whose own gradient, which contains their square, overflows."""
    for name in names:
        if name.endswith((".tau_mem", ".tau_syn")):
            values = network.parameters[name]
            wrong = (values > LONGEST_TAU) | (values < 1 / LONGEST_TAU)
            rule = (
                "the gradient with respect to a time constant is known from "
                f"{1 / LONGEST_TAU:g} to {LONGEST_TAU:g} ms: leave it out, with wrt=[...], or "
                "change it"
            )
            refuse(values, wrong, name, "ms", rule)


def check_adjustments(
    network: Network, regularisers: Iterable[RateRegulariser], lambda_limit: float
) -> tuple[RateRegulariser, ...]:
    """The regularisers; refuses those that do not fit the network, and an invalid limit."""
    if isinstance(regularisers, RateRegulariser):
        raise TypeError("regularisers is one regulariser: give a list of them")
    regularisers = listed(regularisers, "regularisers", "give a list of evsim.RateRegulariser")
    seen = set()
    for regulariser in regularisers:
        if not isinstance(regulariser, RateRegulariser):
            found = shown(regulariser)
            raise TypeError(f"regularisers holds {found}: give evsim.RateRegulariser(...)")
        regulariser.check(network)
        if regulariser.population in seen:
            raise ValueError(f"two rate regularisers name {regulariser.population!r}: give one")
        seen.add(regulariser.population)
    check_number(lambda_limit, "lambda_limit")
    if not lambda_limit > 0:
        raise ValueError(f"lambda_limit = {lambda_limit}: it must be > 0; infinity for no limit")
    return regularisers
