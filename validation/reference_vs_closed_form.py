"""The reference engine in many digits against closed forms of single units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import closed_forms
import numpy as np
from claims import Claim, Finding, Table
from closed_forms import Formula, Number, Unit
from mpmath import mp

import evsim
from evsim.engines import Reference
from evsim.readouts import Mean, Peak, Readout, SpikeTimes

FLAT, EXPONENTIAL = Mean("flat"), Mean("exponential")
GUARD = 10  # digits that may be lost to rounding


@dataclass(frozen=True)
class ReferenceVsClosedForm(Claim):
    """The reference engine agrees with closed forms of the equations to almost all digits.

    The comparison is with formulas of single units (``validation/closed_forms.py``), derived from
    the equations without any of evsim's code: threshold crossings from a quadratic for tau_mem = 2
    tau_syn and for tau_syn = 2 tau_mem, from a cubic for tau_mem = 3 tau_syn, from Lambert's W for
    equal time constants, and from a bracketed root for any ratio; spike trains with refractory
    periods; intervals at a constant current; means and peaks of units that do not spike. Gradients
    with respect to weights, delays, input times, thresholds and time constants are compared with
    derivatives of these formulas. Where a formula is for one ratio of the time constants, both are
    varied together.

    The other claims build on this one: the exact engine is compared with the reference engine, and
    everything else with the exact engine.

    Refuted if the relative error of a value or a derivative exceeds 1e-40 in 50 digits (with
    another number of digits, ten digits fewer than that), or if the number of spikes differs.
    """

    against = "closed forms of single units, in 50 digits"
    counts = ("draws",)

    draws: int = 500
    digits: int = 50
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Compare values and derivatives of every formula for random parameters."""
        limit = 10.0 ** (GUARD - self.digits)
        rows, refutations, worst, values = [], [], 0.0, 0
        for number, example in enumerate(EXAMPLES):
            rng = np.random.default_rng([self.seed, number])
            errors = [errors_of(example, example.draw(rng), self.digits) for _ in range(self.draws)]
            of_values = max(one["value"] for one in errors)
            of_slopes = {n: max(one[n] for one in errors) for n in errors[0] if n != "value"}
            largest = max(of_slopes, key=of_slopes.__getitem__)
            rows.append(
                [
                    example.name,
                    example.what,
                    str(self.draws),
                    f"{of_values:.1e}",
                    f"{of_slopes[largest]:.1e}",
                    ", ".join(of_slopes),
                ]
            )
            worst = max(worst, of_values, *of_slopes.values())
            values += self.draws * (1 + len(of_slopes))
            refutations += [
                f"{example.name}: the {what} is off by {error:.1e}"
                for what, error in {"value": of_values, **of_slopes}.items()
                if not error <= limit
            ]
        columns = ["unit", "read", "drawn", "largest error", "of a derivative", "by"]
        return Finding.of(
            f"{len(EXAMPLES)} formulas at {self.draws} random parameters each, in {self.digits} "
            f"digits: {values} values and derivatives are off by at most {worst:.1e}.",
            refutations,
            [Table("Relative errors", columns, rows)],
        )


# -- the examples ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A formula, and the units for which it holds.

    ``ratio`` is tau_mem/tau_syn, or None for any ratio.  If the formula holds for only one ratio,
    ``by_taus`` computes the derivatives with respect to each time constant.  ``readout`` is the
    readout of a unit that does not spike.
    """

    name: str
    formula: Formula
    ratio: float | None = None
    readout: Readout | None = None
    inputs: int = 1
    spikes: int = 1
    by_taus: Callable[[Unit], tuple[Number, Number]] | None = None

    @property
    def spiking(self) -> bool:
        """Whether the readout is spike times, and not a voltage."""
        return self.readout is None

    @property
    def what(self) -> str:
        """The readout in words."""
        if self.readout is None:
            return "spike time" if self.spikes == 1 else f"{self.spikes} spike times"
        return "peak" if isinstance(self.readout, Peak) else f"mean, {self.readout.weighting}"

    def draw(self, rng: np.random.Generator) -> Unit:
        """A random unit whose V crosses the threshold steeply, in float64."""
        ratio = rng.uniform(0.3, 0.9) ** rng.choice([-1, 1]) if self.ratio is None else self.ratio
        tau_syn = 2.0 ** rng.integers(1, 4)  # so that the ratio is exact in binary
        tau_mem = tau_syn * ratio
        if self.formula is closed_forms.held_current:
            tau_mem, tau_syn = rng.uniform(5, 30), 1e70
        threshold = rng.uniform(0.5, 1.5)
        # With this weight a single spike raises V to the threshold.
        needed = threshold * (np.e if ratio == 1 else ratio ** (ratio / (ratio - 1)))
        if self.formula is closed_forms.held_current:
            needed = threshold
        # V peaks within twice the longer time constant after a spike, and within the trial.
        duration = 1000.0 if self.spiking else 100.0 if isinstance(self.readout, Peak) else 40.0
        strength = rng.uniform(1.6, 4.0) * (8.0 if self.formula is closed_forms.train else 1.0)
        arrivals = np.sort(rng.uniform(0, 1, self.inputs))
        return Unit(
            tuple((needed * strength * rng.uniform(0.7, 1.3, self.inputs)).tolist()),
            tuple((10 + 0.01 * arrivals if self.spiking else 10 + 20 * arrivals).tolist()),
            tau_mem,
            tau_syn,
            threshold,
            rng.uniform(0, 0.5) if self.spikes > 1 else 0.0,
            duration,
            self.spikes,
        )


EXAMPLES = (
    Example("tau_mem = 2 tau_syn", closed_forms.quadratic, 2.0),
    Example("tau_mem = 2 tau_syn, four arrivals", closed_forms.quadratic, 2.0, inputs=4),
    Example("tau_syn = 2 tau_mem", closed_forms.inverse_quadratic, 0.5),
    Example("tau_mem = 3 tau_syn", closed_forms.cubic, 3.0),
    Example("tau_mem = tau_syn", closed_forms.lambert, 1.0, by_taus=closed_forms.lambert_by_taus),
    Example("any ratio", closed_forms.any_ratio),
    Example("tau_mem = 2 tau_syn, refractory", closed_forms.train, 2.0, spikes=4),
    Example("a current that is held, refractory", closed_forms.held_current, spikes=6),
    Example("LI, any ratio, five arrivals", closed_forms.mean, None, FLAT, inputs=5),
    Example("the same", closed_forms.exponential_mean, None, EXPONENTIAL, inputs=5),
    Example("LI, tau_mem = tau_syn, five arrivals", closed_forms.equal_mean, 1.0, FLAT, inputs=5),
    Example("LI, any ratio", closed_forms.peak, None, Peak()),
)


# -- comparison -----------------------------------------------------------------------------


def errors_of(example: Example, unit: Unit, digits: int) -> dict[str, float]:
    """The relative errors of the readout and of its derivative with respect to each parameter.

    If there are several spike times, their sum is differentiated.
    """
    delays = tuple(2.0**-k for k in range(example.inputs))
    found, slopes = by_engine(example, unit, delays, digits)
    with mp.workdps(digits + 20):
        precise = exactly(unit)
        expected = example.formula(precise)
        if len(found) != len(expected):
            return dict.fromkeys(["value", *slopes], float("inf"))
        errors = {
            "value": max(relative(f, e) for f, e in zip(found, expected, strict=True)),
        }
        for name, slope in derivatives(example, precise):
            errors[name] = max(map(relative, slopes[name], slope))
        return errors


def by_engine(
    example: Example, unit: Unit, delays: tuple[float, ...], digits: int
) -> tuple[list[Number], dict[str, list[Number]]]:
    """The engine's readout, and its gradient by the names that ``derivatives`` uses.

    Inputs spike one delay before they arrive; delays are powers of 2, so that no digit is lost.
    """
    times = np.array(unit.arrivals) - np.array(delays)
    taus = {"tau_mem": unit.tau_mem, "tau_syn": unit.tau_syn}
    output: evsim.Population = evsim.LI("output", 1, **taus)
    if example.spiking:
        output = evsim.LIF(
            "output", 1, threshold=unit.threshold, refractory=unit.refractory, **taus
        )
    weights, waits = np.array([unit.weights]), np.array([delays])
    network = evsim.Network(
        [evsim.Input("input", example.inputs), output],
        [evsim.Connection("input", "output", weights, waits)],
    )
    latencies = {"input": evsim.SpikeTrains.from_latencies(times[np.newaxis])}
    engine = Reference(digits)
    state = engine.simulate(network, latencies, unit.duration)
    readout = example.readout or SpikeTimes(unit.spikes)
    values = engine.read_exact(state, readout)
    adjoint = engine.pull_back_exact(state, readout, np.ones(values.shape))
    tau_mem, tau_syn = adjoint.tau_mem[-1], adjoint.tau_syn[-1]
    order = np.argsort(latencies["input"].units)
    slopes = {
        "weight": list(adjoint.weight),
        "delay": list(adjoint.delay),
        "input time": list(adjoint.input_times["input"][order]),
        "threshold": [adjoint.threshold[-1]],
        "tau_mem": [tau_mem],
        "tau_syn": [tau_syn],
        "both taus": [tau_mem * unit.tau_mem + tau_syn * unit.tau_syn],
    }
    return list(values.ravel()), slopes


def derivatives(example: Example, unit: Unit) -> Iterator[tuple[str, list[Number]]]:
    """The derivatives of the formula, by the names of the parameters."""

    def by(vary: Callable[[Number], Unit]) -> Number:
        return mp.diff(lambda x: sum(example.formula(vary(x))), 0)

    def moved(values: tuple[Number, ...], k: int, x: Number) -> tuple[Number, ...]:
        return (*values[:k], values[k] + x, *values[k + 1 :])

    numbers = range(example.inputs)
    yield (
        "weight",
        [by(lambda x, k=k: replace(unit, weights=moved(unit.weights, k, x))) for k in numbers],
    )
    arrivals = [
        by(lambda x, k=k: replace(unit, arrivals=moved(unit.arrivals, k, x))) for k in numbers
    ]
    if not isinstance(example.readout, Peak):  # the height of a peak does not depend on its time
        yield "delay", arrivals
        yield "input time", arrivals
    if example.spiking:
        yield "threshold", [by(lambda x: replace(unit, threshold=unit.threshold + x))]
    if example.by_taus is not None:
        for name, slope in zip(("tau_mem", "tau_syn"), example.by_taus(unit), strict=True):
            yield name, [slope]
    if example.ratio is None:
        yield "tau_mem", [by(lambda x: replace(unit, tau_mem=unit.tau_mem + x))]
        if example.formula is not closed_forms.held_current:  # an infinite tau_syn has no effect
            yield "tau_syn", [by(lambda x: replace(unit, tau_syn=unit.tau_syn + x))]
        return
    scaled = lambda x: replace(  # noqa: E731
        unit, tau_mem=unit.tau_mem * (1 + x), tau_syn=unit.tau_syn * (1 + x)
    )
    yield "both taus", [by(scaled)]


def exactly(unit: Unit) -> Unit:
    """The same parameters as numbers of mpmath."""
    return Unit(
        tuple(map(mp.mpf, unit.weights)),
        tuple(map(mp.mpf, unit.arrivals)),
        *(mp.mpf(getattr(unit, name)) for name in ("tau_mem", "tau_syn", "threshold")),
        mp.mpf(unit.refractory),
        mp.mpf(unit.duration),
        unit.spikes,
    )


def relative(found: Any, expected: Number) -> float:
    """The error relative to the expected value, which is not 0."""
    if isinstance(found, float):  # the spike is missing
        return float("inf")
    # The engine's numbers belong to a separate mpmath context.
    return float(abs(mp.mpf(found._mpf_) - expected) / abs(expected))
