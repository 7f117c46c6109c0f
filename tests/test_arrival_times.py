"""Gradients with respect to delays and input times, for any ratio of the time constants.

If the time constants are far apart, lambda_V and lambda_I are nearly equal, and differences of them
lose digits.  The oracles are closed forms of V in 100 digits and their explicit derivatives, which
do not use adjoints.  The shorter time constant is 5 ms.  Arrivals are at 0 ms where a test needs
all digits of the time that has passed since the arrival.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest
from networks import looped

import evsim
from evsim import losses
from evsim.engines import Engine, Exact, Reference
from evsim.readouts import Mean, Peak, SampleTimes, SpikeTimes, Voltage, VoltageAt

pytestmark = pytest.mark.slow

mp = mpmath.mp.clone()
mp.dps = 100
EPSILON = 2.0**-52
SHORTER = 5.0

every_ratio = pytest.mark.parametrize(  # tau_mem / tau_syn
    "ratio",
    [1e-9, 1e-7, 1e-5, 1e-3, 0.25, 1.0, 1.0 + 2.0**-52, 1.0 + 1e-9, 4.0, 1e3, 1e5, 1e7, 1e9],
)


@dataclass(frozen=True)
class Way:
    """An engine, and whether the unit belongs to a recurrent population."""

    engine: Engine
    is_recurrent: bool = False

    def of(self, network: evsim.Network, *names: str) -> evsim.Network:
        return looped(network, *names) if self.is_recurrent else network


every_way = pytest.mark.parametrize(
    "way",
    [Way(Exact(threads=1)), Way(Exact(threads=1), is_recurrent=True), Way(Reference())],
    ids=["exact", "exact-recurrent", "reference"],
)
# Units that peaks are read from reach no others.
every_engine = pytest.mark.parametrize(
    "engine", [Exact(threads=1), Reference()], ids=["exact", "reference"]
)


def near(expected: Any, relative: float) -> Any:
    return pytest.approx(expected, rel=relative, abs=0.0)  # else anything is near a tiny number


def time_constants(ratio: float) -> tuple[float, float]:
    """tau_mem and tau_syn."""
    return (SHORTER * ratio, SHORTER) if ratio >= 1 else (SHORTER, SHORTER / ratio)


class Unit:
    """V of a unit in 100 digits: the response to I = 1, its derivative, and the decays."""

    def __init__(self, tau_mem: float, tau_syn: float) -> None:
        self.mem, self.syn = mp.mpf(tau_mem), mp.mpf(tau_syn)
        if self.mem == self.syn:
            self.mem *= 1 + mp.mpf(10) ** -40

    def response(self, t: Any) -> Any:
        difference = mp.exp(-t / self.mem) - mp.exp(-t / self.syn)
        return self.syn / (self.mem - self.syn) * difference

    def slope(self, t: Any) -> Any:
        falling = mp.exp(-t / self.mem) / self.mem - mp.exp(-t / self.syn) / self.syn
        return -self.syn / (self.mem - self.syn) * falling

    def peak(self) -> Any:
        rate = 1 / self.syn - 1 / self.mem
        return mp.log(self.mem / self.syn) / rate

    def firing(self, current_at_threshold: float) -> tuple[float, Any]:
        """A weight for which one arrival makes V reach 1 while I is about that; and how long."""
        late = self.peak()
        t = mp.findroot(
            lambda t: self.response(t) * current_at_threshold - mp.exp(-t / self.syn),
            (late * mp.mpf(10) ** -12, late), solver="anderson", tol=mp.mpf(10) ** -100,
        )  # fmt: skip
        weight = float(1 / self.response(t))
        start = t
        t = mp.findroot(lambda t: weight * self.response(t) - 1, start)
        assert t < late
        return weight, t


def network_of(population: evsim.Population, weight: Any, delay: Any = 0.0) -> evsim.Network:
    inputs = np.size(weight)
    connection = evsim.Connection("input", population.name, np.reshape(weight, (1, -1)), delay)
    return evsim.Network([evsim.Input("input", inputs), population], [connection])


def trains(*events: tuple[float, int], units: int = 1) -> evsim.SpikeTrains:
    return evsim.SpikeTrains.from_lists([list(events)], units=units)


# -- spike times ----------------------------------------------------------------------------------


@every_ratio
@every_way
@pytest.mark.parametrize(("at", "delay", "units"), [(0.0, 0.0, 8), (3.0, 1.5, 60)])
def test_a_spike_moves_with_the_one_arrival_that_makes_it(way, ratio, at, delay, units):
    """d(loss)/d(time) is t - target.  Later than 0 ms, times are rounded, which affects 5 ms."""
    tau_mem, tau_syn = time_constants(ratio)
    weight, elapsed = Unit(tau_mem, tau_syn).firing(3.0)
    unit = evsim.LIF("unit", 1, tau_mem=tau_mem, tau_syn=tau_syn, refractory=np.inf)
    network = way.of(network_of(unit, weight, delay), "unit")
    loss = losses.SpikeTimeMSE(SpikeTimes(count=1))
    found = evsim.gradient(
        network, trains((at, 0)), [[[150.0]]], loss, 200.0, wrt=["input->unit.delay"],
        engine=way.engine,
    )  # fmt: skip
    time = found.run.spikes["unit"].times[0]
    assert time == near(float(at + delay + elapsed), 1e-6)
    expected = near(time - 150.0, units * EPSILON)
    assert found.parameters["input->unit.delay"].item() == expected
    assert np.ravel(found.input_times).item() == expected


@every_ratio
@every_way
def test_through_two_units(way, ratio):
    """The second unit has the inverse ratio; its spike moves with the first unit's and the input's.

    Recurrent, both are in one population.
    """
    tau_mem, tau_syn = time_constants(ratio)
    first, _ = Unit(tau_mem, tau_syn).firing(3.0)
    second, _ = Unit(tau_syn, tau_mem).firing(3.0)
    once = {"refractory": np.inf}
    if way.is_recurrent:
        taus = {"tau_mem": [tau_mem, tau_syn], "tau_syn": [tau_syn, tau_mem]}
        populations = [evsim.Input("input", 1), evsim.LIF("both", 2, **taus, **once)]
        connections = [
            evsim.Connection("input", "both", [[first], [0.0]]),
            evsim.Connection("both", "both", [[0.0, 0.0], [second, 0.0]], np.full((2, 2), 0.5)),
        ]
        names, output, target = ["both->both.delay"], "both", [[[np.nan], [400.0]]]
    else:
        populations = [
            evsim.Input("input", 1),
            evsim.LIF("one", 1, tau_mem=tau_mem, tau_syn=tau_syn, **once),
            evsim.LIF("two", 1, tau_mem=tau_syn, tau_syn=tau_mem, **once),
        ]
        connections = [
            evsim.Connection("input", "one", first),
            evsim.Connection("one", "two", second, 0.5),
        ]
        names, output, target = ["input->one.delay", "one->two.delay"], "two", [[[400.0]]]
    found = evsim.gradient(
        evsim.Network(populations, connections), trains((0.0, 0)), target,
        losses.SpikeTimeMSE(SpikeTimes(count=1)), 500.0, wrt=names, engine=way.engine,
    )  # fmt: skip
    time = found.run.spikes[output].times[-1]
    expected = near(time - 400.0, 400 * EPSILON)  # the second's current, see above
    for name in names:
        assert entries(found.parameters[name]) == expected
    assert np.ravel(found.input_times).item() == expected


def entries(values: np.ndarray) -> float:
    """The only entry that is not 0."""
    (entry,) = values[values != 0]
    return float(entry)


@pytest.mark.parametrize("ratio", [1e3, 1e5, 1e7, 1e9])
@pytest.mark.parametrize("is_recurrent", [False, True])
def test_a_later_spike_of_a_unit_that_hardly_leaks(is_recurrent, ratio):
    """The second spike hardly depends on the first arrival; its small derivative is right.

    The first arrival causes the first spike.  The second arrival, 40 tau_syn later, causes the
    second spike.
    """
    tau_mem, tau_syn = time_constants(ratio)
    unit = Unit(tau_mem, tau_syn)
    weights = [1.6 * ratio, 0.9 * ratio]
    network = network_of(evsim.LIF("unit", 1, tau_mem=tau_mem, tau_syn=tau_syn), weights)
    network = looped(network, "unit") if is_recurrent else network
    cotangents = np.array([[[0.0, 1.0]]])
    engine = Exact(threads=1)
    times = 0.0, 200.0
    inputs = {"input": trains((times[0], 0), (times[1], 1), units=2)}
    state = engine.simulate(network, inputs, 300.0)
    found = engine.pull_back(state, SpikeTimes(count=2), cotangents, []).input_times["input"]
    first, second = engine.read(state, SpikeTimes(count=2)).ravel()
    early = mp.findroot(lambda t: weights[0] * unit.response(t) - 1, first)
    late = mp.findroot(
        lambda t: (
            weights[0] * unit.response(t)
            + weights[1] * unit.response(t - times[1])
            - mp.exp(-(t - early) / unit.mem)
            - 1
        ),
        second,
    )
    assert (first, second) == near((float(early), float(late)), 1e-14)
    by_first = weights[0] * unit.slope(late) + mp.exp(-(late - early) / unit.mem) / unit.mem
    by_second = weights[1] * unit.slope(late - times[1])
    slope = (
        weights[0] * unit.slope(late) + by_second + mp.exp(-(late - early) / unit.mem) / unit.mem
    )
    assert abs(by_first / slope) < 2 / ratio
    np.testing.assert_allclose(
        found, [float(by_first / slope), float(by_second / slope)], rtol=1e-12
    )


# -- voltages -------------------------------------------------------------------------------------


def weighted_rise(unit: Unit, form: Any, span: float, duration: float) -> Any:
    """Integral of w(t) times the slope of the response, over the last ``span`` ms of the trial."""
    start, rate, slope = mp.mpf(duration - span), mp.mpf(form.rate), mp.mpf(form.slope)

    def of_decay(tau):
        x = rate + 1 / tau
        end = mp.exp(-x * span)
        return (1 + slope * start) * (1 - end) / x + slope * (1 - end * (1 + x * span)) / x**2

    falling = of_decay(unit.mem) / unit.mem - of_decay(unit.syn) / unit.syn
    return -mp.exp(-rate * start) * unit.syn / (unit.mem - unit.syn) * falling


def weighted_decay(unit: Unit, form: Any, span: Any, duration: float) -> Any:
    """Integral of w(t) e^{-t/tau_mem}, t from the start of the last ``span`` ms of the trial."""
    start, rate, slope = duration - span, mp.mpf(form.rate), mp.mpf(form.slope)
    x = rate + 1 / unit.mem
    end = mp.exp(-x * span)
    total = (1 + slope * start) * (1 - end) / x + slope * (1 - end * (1 + x * span)) / x**2
    return mp.exp(-rate * start) * total


def units_of(ratio: float, is_recurrent: bool) -> list[evsim.Population]:
    """A unit that never spikes, in each kind of population that engines treat separately."""
    tau_mem, tau_syn = time_constants(ratio)
    silent = evsim.LIF("unit", 1, tau_mem=tau_mem, tau_syn=tau_syn, threshold=1e30)
    return [silent] if is_recurrent else [silent, evsim.LI("unit", 1, tau_mem, tau_syn)]


@every_ratio
@every_way
@pytest.mark.parametrize("weighting", ["flat", "exponential", "linear"])
def test_means(way, ratio, weighting):
    """(1/T) integral of w V.  A later arrival shifts the whole response."""
    duration, readout = 200.0, Mean(weighting)
    unit = Unit(*time_constants(ratio))
    for population in units_of(ratio, way.is_recurrent):
        for at, delay in [(0.0, 0.0), (3.0, 1.5), (199.5, 0.25)]:
            network = way.of(network_of(population, 3.0, delay), "unit")
            state = way.engine.simulate(network, {"input": trains((at, 0))}, duration)
            found = way.engine.pull_back(state, readout, np.ones((1, 1)), ["input->unit.delay"])
            span = duration - at - delay
            truth = -3 * weighted_rise(unit, readout.form(duration), span, duration) / duration
            # Exponents are rounded; 1 - t/T is a difference that cancels towards the end.
            units = 16 + 2 * span / SHORTER + (duration / span if weighting == "linear" else 0)
            expected = near(float(truth), units * EPSILON)
            assert found.parameters["input->unit.delay"].item() == expected
            assert found.input_times["input"].item() == expected


@every_ratio
@every_way
@pytest.mark.parametrize("weighting", ["flat", "exponential", "linear"])
def test_means_of_a_unit_that_spikes(way, ratio, weighting):
    """The reset subtracts a decay that begins at the spike, which moves with the arrival."""
    tau_mem, tau_syn = time_constants(ratio)
    readout, unit = Mean(weighting), Unit(tau_mem, tau_syn)
    weight, about = unit.firing(3.0)
    population = evsim.LIF("unit", 1, tau_mem=tau_mem, tau_syn=tau_syn)
    network = way.of(network_of(population, weight), "unit")
    duration = float(about) + 1.0
    state = way.engine.simulate(network, {"input": trains((0.0, 0))}, duration)
    # Its rounding, which is larger where V rises slowly, changes the weighting there.
    (spike,) = way.engine.spikes(state)["unit"].times
    elapsed = mp.mpf(spike)
    found = way.engine.pull_back(state, readout, np.ones((1, 1)), ["input->unit.delay"])
    form, rest = readout.form(duration), mp.mpf(duration) - elapsed
    at_spike = (1 + mp.mpf(form.slope) * elapsed) * mp.exp(-mp.mpf(form.rate) * elapsed)
    rising = weight * weighted_rise(unit, form, mp.mpf(duration), duration)
    falling = at_spike - weighted_decay(unit, form, rest, duration) / unit.mem
    scale = float(rising + at_spike) / duration
    expected = pytest.approx(float((falling - rising) / duration), abs=40 * EPSILON * scale)
    assert found.parameters["input->unit.delay"].item() == expected
    assert found.input_times["input"].item() == expected


@every_ratio
@every_way
def test_voltages_at_times(way, ratio):
    """Half the squared errors of V at three times; a time without a target changes nothing."""
    unit, times, targets = Unit(*time_constants(ratio)), [1.0, 30.0, 200.0], [0.5, np.nan, 4.0]
    loss = losses.VoltageMSE(Voltage(times))
    for population in units_of(ratio, way.is_recurrent):
        weight = 3.0 * max(1.0, ratio)
        network = way.of(network_of(population, weight), "unit")
        found = evsim.gradient(
            network, trains((0.0, 0)), [[targets]], loss, 250.0, wrt=["input->unit.delay"],
            engine=way.engine,
        )  # fmt: skip
        parts = [
            -(weight * unit.response(mp.mpf(t)) - target) * weight * unit.slope(mp.mpf(t))
            for t, target in zip(times, targets, strict=True)
            if not np.isnan(target)
        ]
        # Errors of V, 40 tau later, come from the rounded times over tau.
        scale = float(sum(abs(part) for part in parts))
        expected = pytest.approx(float(sum(parts)), abs=60 * EPSILON * scale)
        assert found.parameters["input->unit.delay"].item() == expected
        assert np.ravel(found.input_times).item() == expected


@every_ratio
@every_way
def test_a_voltage_long_after_the_arrival(way, ratio):
    """After 40 times the shorter time constant, only the larger of two small terms is left."""
    unit, time = Unit(*time_constants(ratio)), 40 * SHORTER
    readout = VoltageAt(SampleTimes(np.array([time]), np.array([0, 1])))
    for population in units_of(ratio, way.is_recurrent):
        network = way.of(network_of(population, 2.0), "unit")
        state = way.engine.simulate(network, {"input": trains((0.0, 0))}, 250.0)
        found = way.engine.pull_back(state, readout, np.ones((1, 1)), ["input->unit.delay"])
        expected = near(float(-2 * unit.slope(mp.mpf(time))), 100 * EPSILON)
        assert found.parameters["input->unit.delay"].item() == expected
        assert found.input_times["input"].item() == expected


# -- peaks ----------------------------------------------------------------------------------------


@every_ratio
@every_engine
def test_the_peak_of_one_arrival_does_not_move_up_or_down(engine, ratio):
    """0 up to a few roundings of the two terms, each the peak over tau_mem, that cancel."""
    tau_mem, tau_syn = time_constants(ratio)
    unit = Unit(tau_mem, tau_syn)
    for at, delay in [(0.0, 0.0), (3.0, 1.5)]:
        network = network_of(evsim.LI("unit", 1, tau_mem, tau_syn), 3.0, delay)
        state = engine.simulate(network, {"input": trains((at, 0))}, 500.0)
        found = engine.pull_back(state, Peak(), np.ones((1, 1)), ["input->unit.delay"])
        top = engine.read(state, Peak()).item()
        assert top == near(float(3 * unit.response(unit.peak())), 20 * EPSILON)
        # V'' times the rounding of the peak's time is of that size too.
        rounding = 8 * EPSILON * top / tau_mem * (1 + float(unit.peak() + at + delay) / tau_syn)
        assert abs(found.parameters["input->unit.delay"].item()) <= rounding
        assert abs(found.input_times["input"].item()) <= rounding


@every_ratio
@every_engine
def test_the_peak_of_two_arrivals(engine, ratio):
    """Each arrival moves V by minus its part of dV/dt; at the peak both together do not move V."""
    tau_mem, tau_syn = time_constants(ratio)
    unit, weights, times = Unit(tau_mem, tau_syn), (3.0, 2.0), (0.0, 1.0)
    network = network_of(evsim.LI("unit", 1, tau_mem, tau_syn), weights)
    inputs = {"input": trains(*zip(times, range(2), strict=True), units=2)}
    state = engine.simulate(network, inputs, 500.0)
    found = engine.pull_back(state, Peak(), np.ones((1, 1)), [])

    def slope(t):
        return sum(w * unit.slope(t - a) for w, a in zip(weights, times, strict=True))

    latest = unit.peak() + 1
    peak = mp.findroot(slope, (mp.mpf(1), latest), solver="anderson", tol=mp.mpf(10) ** -100)
    parts = [-w * unit.slope(peak - a) for w, a in zip(weights, times, strict=True)]
    top = engine.read(state, Peak()).item()
    rounding = 8 * EPSILON * top / tau_mem * (1 + float(latest) / tau_syn)
    np.testing.assert_allclose(found.input_times["input"], np.float64(parts), rtol=0, atol=rounding)
    assert abs(float(parts[0])) > 1e4 * rounding
