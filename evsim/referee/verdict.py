"""What a comparison found, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evsim.arguments.words import number_of
from evsim.referee.divergence import Divergence
from evsim.referee.gradients import GradientError
from evsim.referee.time_step import TimeStep
from evsim.referee.timing import TimingErrors
from evsim.referee.voltages import VoltageErrors

SAME_VALUE = 1e-9
"""Relative errors of gradients and losses, and errors of voltages, that count as rounding."""


def verdict_on_spikes(
    timing: TimingErrors,
    rounding: str | None,
    step: TimeStep | None,
    divergences: Sequence[Divergence],
) -> str:
    """One sentence on the spikes."""
    if not timing.ours and not timing.theirs:
        return "neither program has a spike"
    if not timing.matched:
        return (
            f"no spike agrees: evsim has {timing.ours} and the other program {timing.theirs}, so "
            "the models, the inputs or the units of time differ"
        )
    if not timing.missing and not timing.additional:
        return _same_spikes(timing, rounding, step)
    return _other_spikes(timing, rounding, step, divergences)


def _same_spikes(timing: TimingErrors, rounding: str | None, step: TimeStep | None) -> str:
    """All spikes have a partner."""
    what = f"all {number_of(timing.matched, 'spike')}"
    if rounding is not None:
        return f"{what} agree to rounding of {rounding}, within {timing.largest:.2g} ms"
    if timing.moved < 0.1 * timing.matched:
        return (
            f"{what} have a partner, and {timing.matched - timing.moved} of them the same time; "
            f"{timing.moved} {_are(timing.moved)} moved, by up to {timing.largest:.2g} ms"
        )
    start = f"{what} have a partner, up to {timing.largest:.2g} ms away"
    return f"{start}; {explanation(timing, step)}"


def explanation(timing: TimingErrors, step: TimeStep | None) -> str:
    """What explains the errors of the pairs."""
    if step is not None and step.explains:
        kind = f" ({step.model})" if step.fits_well else ""
        return f"a time step of {step.step:.3g} ms explains the errors{kind}"
    spread = timing.p95 - timing.median
    if abs(timing.mean) > 3.0 * spread and abs(timing.mean) > 0.8 * timing.median:
        late = "late" if timing.mean > 0.0 else "early"
        return (
            f"the other program is {late} by {abs(timing.mean):.3g} ms everywhere, as with another "
            "delay"
        )
    on_grid = ""
    if step is not None and step.grid is not None:
        on_grid = f", although its times are multiples of {step.grid:.3g} ms"
    return f"no time step explains the errors{on_grid}: the models seem to differ"


def _other_spikes(
    timing: TimingErrors,
    rounding: str | None,
    step: TimeStep | None,
    divergences: Sequence[Divergence],
) -> str:
    """Some spikes have no partner."""
    parts = []
    if timing.missing:
        parts.append(f"{timing.missing} of {number_of(timing.ours, 'spike')} {_are(timing.missing)}"
                     " missing")  # fmt: skip
    if timing.additional:
        parts.append(f"{timing.additional} {_are(timing.additional)} additional")
    start = " and ".join(parts)
    if rounding is not None:
        start += f", the others agree to rounding of {rounding}"
    elif timing.moved < 0.1 * timing.matched:
        start += f", {timing.moved} moved and the others the same"
    else:
        start += f", and for the others, {explanation(timing, step)}"
    return f"{start}; {_of_first(divergences)}"


def _of_first(divergences: Sequence[Divergence]) -> str:
    """What caused the first differences of the samples."""
    causes = [d.cause for d in divergences]
    unexplained = [d for d in divergences if d.cause == "unexplained"]
    first = (unexplained or list(divergences))[0]
    if len(divergences) == 1:
        return f"the first is {first.place}, {cause_in_words(first)}"
    if not unexplained:
        told = ", ".join(
            f"{causes.count(cause)} by {_ARTICLE.get(cause, '')}{cause}"
            for cause in dict.fromkeys(causes)
        )
        return f"in {len(divergences)} samples its errors turned the first difference: {told}"
    return (
        f"in {len(unexplained)} of {len(divergences)} samples the first difference is "
        f"neither a near-tie nor a graze, such as {first.place}"
    )


_ARTICLE = {"near-tie": "a ", "graze": "a ", "brief crossing": "a "}


def cause_in_words(divergence: Divergence) -> str:
    """Why a spike is missing or additional."""
    d = divergence
    by = "rounding" if d.is_rounding else f"an error of {d.time_error:.2g} ms"
    if d.cause == "near-tie":
        other = "" if d.tie_with is None else f" of unit {d.tie_with[1]} of {d.tie_with[0]!r}"
        return f"a near-tie with a spike{other}, {d.tie_margin:.2g} ms apart, which {by} can turn"
    if d.cause == "graze":
        where = "above" if d.kind == "missing" else "below"
        return (
            f"a graze, as V peaks {d.voltage_margin:.2g} {where} the threshold, which {by} can turn"
        )
    if d.cause == "brief crossing":
        return (
            f"a brief crossing, as V is above the threshold for {d.time_above:.2g} ms, which a "
            "time step can miss"
        )
    if d.cause == "earlier errors":
        return "a consequence of the other program's own earlier errors"
    return "neither a near-tie nor a graze, so the model or its program differs there"


def verdict_on_values(
    voltages: Sequence[VoltageErrors],
    loss_error: float | None,
    gradients: Sequence[GradientError],
) -> list[str]:
    """Clauses on voltages, loss and gradients."""
    parts = []
    if voltages:
        worst = max(each.largest for each in voltages)
        parts.append(
            "voltages agree to rounding" if worst <= SAME_VALUE
            else f"voltages are off by up to {worst:.2g}"
        )  # fmt: skip
    if loss_error is not None:
        parts.append(
            "the loss agrees to rounding" if abs(loss_error) <= SAME_VALUE
            else f"the loss is off by {percent(loss_error)}"
        )  # fmt: skip
    if gradients:
        parts.append(_of_gradients(gradients))
    return parts


def _of_gradients(gradients: Sequence[GradientError]) -> str:
    compared = [each for each in gradients if not np.isnan(each.relative_error)]
    if not compared:
        return "all gradients are 0"
    worst = max(compared, key=lambda each: each.relative_error)
    if worst.relative_error <= SAME_VALUE:
        return "all gradients agree to rounding"
    named = f"the gradient of {worst.parameter}"
    if np.isinf(worst.ratio):
        return f"{named} is not 0, but the exact one is"
    if worst.ratio == 0.0:
        return f"{named} is 0, but the exact one is not"
    size = f"{worst.ratio:.3g} times as long as the exact one"
    return f"{named} is turned by {worst.angle:.3g}° and {size}"


def sentence(parts: Sequence[str]) -> str:
    """Clauses as one sentence."""
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def percent(share: float) -> str:
    """A relative error in percent, without its sign."""
    return f"{100 * abs(share):.2g} %"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
