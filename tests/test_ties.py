"""Events that coincide, exactly or up to the last bits of their times, in both code paths.

At one instant emissions come before arrivals.  If an emission and an arrival nearly coincide,
rounding may put either of them first, but then spikes, currents and gradients must all follow from
the same order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from networks import KINDS, looped, random_case
from random_networks_agree import exact_results, examine_case
from referee import Results, results_of
from small_networks import POKE, TiedCase, small_case, tied_case
from ties import judge_spikes, judge_ties, looks_right, watch

import evsim
from evsim.engines import EngineError, Exact, Reference
from evsim.engines.exact import engine as exact
from evsim.readouts import FirstSpike, SpikeTimes

pytestmark = pytest.mark.slow

DIGITS = 40
EXACT = Exact(threads=1, debug=True)

either_code = pytest.mark.parametrize("is_recurrent", [False, True])


def one_sample(*events, units):
    return evsim.SpikeTrains.from_lists([sorted(events)], units=units)


def moved(time, ulps):
    for _ in range(abs(ulps)):
        time = float(np.nextafter(time, np.inf * np.sign(ulps)))
    return time


# -- by hand --------------------------------------------------------------------------------


def test_units_that_excite_each_other_and_tie_to_the_last_bits():
    """The same three weights in another order; each unit's spikes reach the other at once."""
    network = evsim.Network(
        [evsim.Input("i", 3), evsim.LIF("h", 2)],
        [
            evsim.Connection("i", "h", [[2.2, 2.2, 2.4], [2.2, 2.4, 2.2]]),
            evsim.Connection("h", "h", [[0, 5.0], [5.0, 0]]),
        ],
    )
    spikes = one_sample((6.0, 0), (6.0, 1), (6.0, 2), units=3)
    run = evsim.simulate(network, spikes, 30.0, engine=EXACT)
    times = [12.0679313204081, 17.58970805728604, 22.547782289207564, 26.97034836346809]
    for unit in range(2):
        own = run.spikes["h"].times[run.spikes["h"].units == unit]
        np.testing.assert_allclose(own, times, rtol=0, atol=1e-13)


# After -10, the unit is silent for longer; 5 comes with the first emission, or beside it.
FIRST, SECOND = 1.029996864868207, 2.1247394445985512


@pytest.mark.parametrize("ulps", range(-6, 7))
def test_an_arrival_in_the_last_bits_before_an_emission_is_taken_up_once(ulps):
    network = evsim.Network(
        [evsim.Input("i", 2), evsim.LIF("o", 1)],
        [evsim.Connection("i", "o", [[30.0, 5.0]]), evsim.Connection("o", "o", -10.0)],
    )
    spikes = one_sample((0.3, 0), (moved(FIRST, ulps), 1), units=2)
    run = evsim.simulate(network, spikes, 4.0, engine=EXACT)
    np.testing.assert_allclose(run.spikes["o"].times, [FIRST, SECOND], rtol=0, atol=4e-15)


@pytest.mark.filterwarnings("ignore::evsim.TimeUnitWarning")  # all happens in 1.5 ms
@either_code
@pytest.mark.parametrize("refractory", [0.0, 1e-17, 1e-14, 2.0, np.inf])
@pytest.mark.parametrize("weight", [5.0, 500.0, -0.5, -500.0])
def test_times_tell_what_an_emission_has_taken_up(is_recurrent, refractory, weight):
    """I at an emission contains the arrivals before it, but not those at its time or later.

    Whichever comes first in floats: a large weight beside the emission shows which it was.
    """
    network = evsim.Network(
        [evsim.Input("i", 2), evsim.LIF("o", 1, refractory=refractory)],
        [evsim.Connection("i", "o", [[30.0, weight]])],
    )
    network = looped(network, "o") if is_recurrent else network
    (alone,) = evsim.simulate(network, one_sample((0.3, 0), units=2), 1.5).spikes["o"].times
    orders = set()
    for ulps in range(-8, 9):
        time = moved(alone, ulps)
        inputs = {"i": one_sample((0.3, 0), (time, 1), units=2)}
        state = EXACT.simulate(network, inputs, 1.5)
        spikes = EXACT.read(state, FirstSpike())[0, 0]
        gradient = EXACT.pull_back(state, FirstSpike(), np.ones((1, 1)), ["i->o.weight"])
        slope = gradient.parameters["i->o.weight"][0, 0]
        if spikes == np.inf or abs(spikes - alone) > 1e-12:
            assert weight == -500.0  # prevented, and only by what came before
            assert ulps < 3
            continue
        is_before = time < spikes
        orders.add(is_before)
        current = 30.0 * np.exp(-(alone - 0.3) / 5.0) + (weight if is_before else 0.0)
        phi = np.exp(-(alone - 0.3) / 20.0) - np.exp(-(alone - 0.3) / 5.0)
        assert slope == pytest.approx(-20.0 * phi / 3.0 / (current - 1.0), rel=1e-9)
    assert orders == ({False} if weight == -500.0 else {False, True})


# -- by chance ------------------------------------------------------------------------------

FORMERLY_WRONG = 18, 38, 43, 89, 104, 134, 149, 217, 267, 274


def reference_results(case: TiedCase, digits: int | None = None) -> Results:
    """What the reference engine says, without a gradient."""
    engine = Reference(digits)
    state = engine.simulate(case.network, case.inputs, case.duration, case.dropout)
    quiet = case.without_gradients()
    adjoint = engine.pull_back_exact(state, quiet.readout, quiet.cotangents)
    return results_of(quiet, state, adjoint, engine.read_exact(state, quiet.readout))


def compared(numbers):
    """The tied networks of these numbers that do not run away, with what the engine says."""
    for number in numbers:
        case = tied_case(0, number)
        try:
            yield number, case, exact_results(case)
        except EngineError as error:
            if "run away" not in str(error) and "runs away" not in str(error):
                raise


def test_networks_that_tie_are_right_about_some_order_of_their_events():
    """In many digits, at the events of the engine itself and in a separate simulation."""
    kinds, exempt = [], []
    for number, case, found in compared([*FORMERLY_WRONG, *range(300, 306)]):
        verdict = judge_ties(case, found, DIGITS)
        assert verdict.wrong is None, (number, case.kind, verdict.wrong)
        kinds.append(case.kind)
        exempt += [number] * (verdict.exempt is not None)
    assert len(kinds) > 10
    assert len(set(kinds)) > 8
    assert len(exempt) <= 0.1 * len(kinds)


def test_many_networks_that_tie():
    """In floats at the events of the engine; in many digits if these do not agree."""
    kinds, exempt = [], []
    for number, case, found in compared(range(1000, 1120)):
        kinds.append(case.kind)
        if looks_right(case, found):
            continue
        verdict = judge_ties(case, found, DIGITS)
        assert verdict.wrong is None, (number, case.kind, verdict.wrong)
        exempt += [number] * (verdict.exempt is not None)
    assert len(kinds) > 96
    assert len(set(kinds)) > 20
    assert len(exempt) <= 0.03 * len(kinds)


def test_both_engines_in_float64_decide_alike_where_nothing_nearly_ties():
    decided = 0
    for number, case, found in compared(range(400, 430)):
        truth, ties = watch(case.without_gradients(), DIGITS)
        if any(tie.matters for tie in ties):
            continue
        decided += 1
        for own in (found, reference_results(case)):
            assert judge_spikes(case, own, truth, []).wrong is None, number
    assert decided > 8


def renumbered(case: TiedCase, order: np.ndarray) -> TiedCase:
    """The same network with the units of its first layer in another order."""

    def moved_axis(values, axis):
        values = np.asarray(values)
        wide = values.ndim == 2 and values.shape[axis] == order.size
        return np.take(values, order, axis) if wide else values

    connections = []
    for own in case.network.connections:
        weight, delay = own.weight, own.delay
        if own.target == "hidden":
            weight, delay = moved_axis(weight, 0), moved_axis(delay, 0)
        if own.source == "hidden":
            weight, delay = moved_axis(weight, 1), moved_axis(delay, 1)
        connections.append(replace(own, weight=weight, delay=delay))
    return replace(case, network=evsim.Network(case.network.populations, connections))


def test_ties_do_not_depend_on_how_units_and_samples_are_numbered():
    rng = np.random.default_rng(0)
    several = 0
    for number, case, found in compared(range(440, 470)):
        units = case.network.population("hidden").units
        if units == 1 or case.dropout or not any(own.size for own in found.spikes.values()):
            continue
        several += 1
        order = rng.permutation(units)
        other = exact_results(renumbered(case, order))
        truth, ties = watch(renumbered(case, order).without_gradients(), DIGITS)
        assert judge_spikes(case, other, truth, ties).wrong is None, number
        batch = {
            name: evsim.SpikeTrains.from_lists(
                [[(1.0, 0)], *as_lists(trains), []], units=trains.unit_count
            )
            for name, trains in case.inputs.items()
        }
        state = EXACT.simulate(case.network, batch, case.duration)
        alone = EXACT.simulate(case.network, case.inputs, case.duration)
        for name, trains in EXACT.spikes(state).items():
            np.testing.assert_array_equal(trains[1].times, EXACT.spikes(alone)[name].times)
            np.testing.assert_array_equal(trains[1].units, EXACT.spikes(alone)[name].units)
    assert several > 10


def as_lists(trains):
    return [list(zip(trains.times.tolist(), trains.units.tolist(), strict=True))]


def test_networks_that_tie_do_what_they_are_drawn_for():
    """Spikes of the input that meets others are within a few floats of what they meet."""
    meeting = 0
    for number in range(35):
        case = tied_case(0, number)
        if not case.kind.endswith("emissions"):
            continue
        truth, _ = watch(case.without_gradients(), DIGITS)
        emitted = np.concatenate([times.astype(float) for times in truth.spikes.values()])
        delay = np.unique(case.network.connections[-1].delay)
        arrivals = (case.inputs[POKE].times[:, None] + delay).ravel()
        nearest = np.abs(emitted[:, None] - arrivals).min(initial=np.inf)
        meeting += bool(nearest <= 20.0 * np.spacing(case.duration))
    assert meeting >= 5


# -- the engine's check of itself -----------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (45771, None),  # the slope of V at an emission is 1e-4 of what it was
        (157123, "refused: I - threshold rounds to 0"),  # V exceeds the threshold by 4e-17
        (232364, "near-ties: another one-sided derivative"),  # spikes 1e-31 ms apart
        (562231, None),  # lambda is 1e-308, and has three digits
        (568290, None),  # the same
        (845910, "ran away in the reference in float64"),
        (812308, "passed over: too many spikes"),  # after a spike at which V grazes the threshold
    ],
)
def test_networks_that_rounding_nearly_decides_are_judged_rightly(number, told):
    tally = Counter()
    assert examine_case(small_case(0, number), 50, tally) is None
    assert told is None or tally[told] == 1


def test_a_spike_where_the_voltage_grazes_is_no_further_off_than_rounding():
    case = small_case(0, 157123)
    found = EXACT.simulate(case.network, case.inputs, case.duration)  # it checks its results
    # V is flat: within 4e-8 ms of its peak it is the same float.
    assert EXACT.spikes(found)["layer0"].times[0] == pytest.approx(1.663483321889651, abs=4e-8)


def test_the_check_passes_random_networks():
    spikes = 0
    for number in range(80):
        case = small_case(3, number)
        try:
            Exact(threads=1, spike_limit=80).simulate(
                case.network, case.inputs, case.duration, case.dropout
            )
        except EngineError:
            continue
        state = EXACT.simulate(case.network, case.inputs, case.duration, case.dropout)
        spikes += sum(int(own.sum()) for own in EXACT.spike_counts(state).values())
    rng = np.random.default_rng(5)
    for kind in KINDS:
        case = random_case(rng, kind, batch=3)
        dropout = evsim.Dropout({case.network.inputs[0].name: 0.4}, seed=1)
        state = Exact(threads=2, debug=True).simulate(
            case.network, case.inputs, case.duration, dropout
        )
        spikes += sum(int(own.sum()) for own in EXACT.spike_counts(state).values())
    assert spikes > 250


def wrong_time(spikes, places):
    spikes["time"][places[2]] -= 1e-9


def wrong_drive(spikes, places):
    spikes["threshold_excess"][places[1]] *= 1.0 + 1e-9


def wrong_release(spikes, places):
    spikes["release_current"][places[1]] *= 1.0 + 1e-9


def too_early(spikes, places):
    spikes["time"][places[2]] = spikes["time"][places[1]] + 0.5


@either_code
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (wrong_time, "spikes at V = "),
        (wrong_drive, "I - threshold at its emission is kept as"),
        (wrong_release, "I as V begins to move"),
        (too_early, "spikes before it can"),
        ("missing", r"V = .* is above its threshold of 1, and it has not spiked"),
        ("lost", "arrivals were counted"),
    ],
)
def test_the_check_finds_what_is_wrong(is_recurrent, change, said, monkeypatch):
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("unit", 1, refractory=1.0), evsim.LI("output", 1)],
        [evsim.Connection("input", "unit", 40.0), evsim.Connection("unit", "output", 1.0, 2.0)],
    )
    network = looped(network, "unit") if is_recurrent else network
    spikes = one_sample((1.0, 0), units=1)
    real = exact.simulate_samples

    def tampered(*arguments):
        written, used = real(*arguments)
        counts = next(a for a in arguments if getattr(a, "shape", None) == (1, 3) and a[0, 1] > 2)
        if change == "missing":
            counts[0, 1] -= 1
        elif change != "lost":
            change(written, np.arange(used)[written["threshold_excess"][:used] < np.inf])
        return written, used

    assert len(evsim.simulate(network, spikes, 20.0, engine=EXACT).spikes["unit"].times) > 3
    monkeypatch.setattr(exact, "simulate_samples", tampered)
    if change == "lost":
        monkeypatch.setattr(exact, "count_arrivals", lambda *arguments: None)
    evsim.simulate(network, spikes, 20.0, engine=Exact(threads=1))  # without the check: silence
    with pytest.raises(EngineError, match=said):
        evsim.simulate(network, spikes, 20.0, engine=EXACT)


def test_debug_is_a_flag():
    with pytest.raises(TypeError, match="debug = 1: it must be True or False"):
        Exact(debug=1)


def test_later_spikes_of_a_tie_follow_their_targets():
    """The second spike of two tied units, and its gradient, against the reference engine."""
    network = evsim.Network(
        [evsim.Input("i", 3), evsim.LIF("h", 2)],
        [
            evsim.Connection("i", "h", [[2.2, 2.2, 2.4], [2.2, 2.2, 2.4]]),
            evsim.Connection("h", "h", [[0, 5.0], [5.0, 0]]),
        ],
    )
    inputs = {"i": one_sample((6.0, 0), (6.0, 1), (6.0, 2), units=3)}
    found, truth = (
        engine.pull_back(
            engine.simulate(network, inputs, 30.0),
            SpikeTimes(4, population="h"),
            np.ones((1, 2, 4)),
            list(network.parameters),
        )
        for engine in (EXACT, Reference(digits=DIGITS))
    )
    for name, values in truth.parameters.items():
        np.testing.assert_allclose(found.parameters[name], values, rtol=1e-12, atol=1e-12)
