"""evsim.compare: deviations, time steps, grazes and ties with known answers; refusals."""

import itertools
import json

import numpy as np
import pytest

import evsim
from evsim.cli import main
from evsim.engines import Exact, Grid
from evsim.referee.alignment import align
from evsim.referee.time_step import fit
from evsim.referee.time_step.euler import followed_by_euler
from evsim.referee.time_step.grid import spacing_of

TRAINS = evsim.SpikeTrains
DURATION = 100.0
PEAK_AT_ONE = 4.0 ** (4.0 / 3.0)  # the weight for which V peaks at 1, for tau_mem = 4 tau_syn
ENGINE = Exact(threads=1)


def random_network(units=12):
    """Thirty inputs and one layer."""
    weight = np.random.default_rng(0).normal(0.25, 0.2, (units, 30))
    return evsim.Network(
        [evsim.Input("input", 30), evsim.LIF("hidden", units)],
        [evsim.Connection("input", "hidden", weight)],
    )


def random_inputs(samples=3):
    generator = np.random.default_rng(1)
    count = 150 * samples
    return TRAINS.from_events(
        generator.uniform(0.0, 90.0, count),
        generator.integers(0, 30, count),
        generator.integers(0, samples, count),
        batch_size=samples,
        unit_count=30,
    )


@pytest.fixture(scope="module")
def case():
    """A network, its inputs, and its exact spikes."""
    return case_of(random_inputs())


def case_of(inputs):
    network = random_network()
    return network, inputs, evsim.simulate(network, inputs, DURATION, ENGINE).spikes["hidden"]


def compared(case, theirs, **settings):
    network, inputs, _ = case
    return evsim.compare(network, inputs, theirs, DURATION, engine=ENGINE, **settings)


def changed(trains, change):
    """Spike trains whose list of (sample, unit, time) a function has changed."""
    samples, units, times = zip(*change(list(rows_of(trains))), strict=True)
    return TRAINS.from_events(
        times, units, samples, batch_size=len(trains), unit_count=trains.unit_count
    )


# -- matching -----------------------------------------------------------------------------


def least_cost(ours, theirs, limit):
    """The least cost of all alignments, one by one."""
    best = np.inf
    for size in range(min(len(ours), len(theirs)) + 1):
        for mine in itertools.combinations(ours, size):
            for other in itertools.combinations(theirs, size):
                shift = np.abs(np.subtract(mine, other))
                alone = len(ours) + len(theirs) - 2 * size
                if (shift <= limit).all():
                    best = min(best, shift.sum() + 0.5 * limit * alone)
    return best


def test_an_alignment_has_the_least_cost_of_all():
    generator = np.random.default_rng(2)
    unequal = 0
    for _ in range(300):
        ours, theirs = (np.sort(generator.uniform(0, 10, generator.integers(0, 7))) for _ in "ab")
        limit = generator.uniform(0.5, 6.0)
        i, j = align(ours, theirs, limit)
        shift = np.abs(ours[i] - theirs[j])
        assert (np.diff(i) > 0).all()
        assert (np.diff(j) > 0).all()
        assert (shift <= limit).all()
        cost = shift.sum() + 0.5 * limit * (ours.size + theirs.size - 2 * i.size)
        assert cost == pytest.approx(least_cost(ours, theirs, limit), abs=1e-9)
        unequal += i.size not in (0, ours.size)
    assert unequal > 30


def test_a_missing_spike_of_a_regular_train_moves_no_other():
    train = np.arange(1.0, 200.0)
    for missing in (0, 57, 198):
        others = np.delete(train, missing)
        i, j = align(train, others, 5.0)
        assert np.array_equal(train[i], others[j])
        assert i.size == others.size


def test_a_deleted_an_added_a_shifted_and_a_swapped_spike_are_what_they_are(case):
    _, _, exact = case
    first = int(np.flatnonzero((exact.times > 30) & (exact.times < 60))[0])
    row = (int(exact.samples[first]), int(exact.units[first]), float(exact.times[first]))
    sample, unit, time = row

    found = compared(case, changed(exact, lambda rows: [r for r in rows if r != row]))
    assert counts(found) == (exact.times.size - 1, 0, 1, 0)
    assert place(found) == ("missing", *row)
    assert "1 of" in found.verdict

    added = (sample, unit, time + 7.3)
    found = compared(case, changed(exact, lambda rows: [*rows, added]), largest_shift=2.0)
    assert counts(found) == (exact.times.size, 0, 0, 1)
    assert place(found) == ("additional", *added)

    moved = (sample, unit, time + 0.3)
    found = compared(case, changed(exact, lambda rows: [moved if r == row else r for r in rows]))
    assert counts(found) == (exact.times.size, 1, 0, 0)
    assert found.divergences == ()
    assert found.timing["hidden"].largest == pytest.approx(0.3, abs=1e-12)
    assert found.timing["hidden"].median == 0.0
    chosen = found.matches.is_moved
    assert found.matches.ours[chosen] == [time]
    assert "1 is moved, by up to 0.3 ms" in found.verdict

    other = next(
        (s, u, t) for s, u, t in rows_of(exact) if s == sample and u != unit and t > time + 10
    )
    swap = {row: (sample, other[1], time), other: (sample, unit, other[2])}
    theirs = changed(exact, lambda rows: [swap.get(r, r) for r in rows])
    found = compared(case, theirs, largest_shift=1e-3)
    assert counts(found) == (exact.times.size - 2, 0, 2, 2)
    assert (found.first_divergence.time, found.first_divergence.sample) == (time, sample)


def rows_of(trains):
    return zip(trains.samples.tolist(), trains.units.tolist(), trains.times.tolist(), strict=True)


def counts(found):
    total = found.timing["all"]
    return total.matched, total.moved, total.missing, total.additional


def place(found):
    d = found.first_divergence
    return d.kind, d.sample, d.unit, d.time


def test_samples_and_units_do_not_mix(case):
    _, inputs, exact = case
    network = case[0]
    all_together = compared(case, exact[np.array([0, 1, 0])])
    alone = evsim.compare(network, inputs[2], exact[0], DURATION, engine=ENGINE)
    third = all_together.matches.where(all_together.matches.sample == 2)
    assert np.array_equal(third.state, alone.matches.state)
    assert set(all_together.matches.where(all_together.matches.sample < 2).state) == {"same"}


# -- rounding -----------------------------------------------------------------------------


def test_exact_spikes_agree_to_rounding_and_so_do_those_of_the_reference(case):
    network, inputs, exact = case
    found = compared(case, exact)
    assert found.agrees
    assert found.rounding == "float64"
    assert found.time_step is None
    assert found.verdict.endswith("agree to rounding of float64, within 0 ms.")
    reference = evsim.simulate(network, inputs[0], DURATION, "reference").spikes["hidden"]
    found = evsim.compare(network, inputs[0], reference, DURATION, engine=ENGINE)
    assert found.agrees


def test_times_in_float32_agree_to_its_rounding(case):
    _, _, exact = case
    rounded = TRAINS(
        exact.times.astype(np.float32).astype(float), exact.units, exact.offsets, exact.unit_count
    )
    found = compared(case, rounded)
    assert found.rounding == "float32"
    assert found.agrees
    assert found.time_step is None
    assert "agree to rounding of float32" in found.verdict


# -- time steps ---------------------------------------------------------------------------


def euler(network, inputs, dt):
    """Forward Euler by the textbook, without anything of evsim."""
    weight = np.asarray(network.parameters["input->hidden.weight"])
    spikes = []
    for sample in range(len(inputs)):
        arrivals = np.zeros((round(DURATION / dt) + 1, weight.shape[1]))
        own = inputs[sample]
        np.add.at(arrivals, (np.rint(own.times / dt).astype(int), own.units), 1.0)
        voltage, current = np.zeros((2, len(weight)))
        for step, arriving in enumerate(arrivals):
            voltage += dt / 20.0 * (current - voltage)
            current -= dt / 5.0 * current
            spikes += [(sample, unit, step * dt) for unit in np.flatnonzero(voltage >= 1.0)]
            voltage[voltage >= 1.0] = 0.0
            current += weight @ arriving
    samples, units, times = zip(*spikes, strict=True)
    return TRAINS.from_events(times, units, samples, batch_size=len(inputs), unit_count=len(weight))


def test_the_step_of_forward_euler_is_found_and_follows_it_with_slope_1(case):
    network, inputs, _ = case
    steps = [0.4, 0.2, 0.1, 0.05, 0.025]
    fitted = []
    for dt in steps:
        found = compared(case, euler(network, inputs, dt)).time_step
        assert found.grid == pytest.approx(dt, rel=1e-9)
        assert found.explains
        by_model = {each.model: each for each in found.fits}
        fitted.append(by_model[fit.EULER].step)
        assert by_model[fit.EULER].misfit < by_model[fit.UP].misfit
    slope, _ = np.polyfit(np.log(steps), np.log(fitted), 1)
    assert slope == pytest.approx(1.0, abs=0.05)
    assert fitted == pytest.approx(steps, rel=0.25)


@pytest.mark.parametrize("dt", [1.0, 0.1, 0.01])
def test_the_step_of_the_grid_engine_is_found(dt):
    """With inputs at steps, the grid rounds nothing but emissions, up to the end of their step."""
    inputs = random_inputs()
    inputs = TRAINS(np.rint(inputs.times), inputs.units, inputs.offsets, 30)
    case = case_of(inputs)
    theirs = evsim.simulate(case[0], inputs, DURATION, Grid(dt=dt)).spikes["hidden"]
    found = compared(case, theirs)
    step = found.time_step
    assert step.grid == pytest.approx(dt, rel=1e-9)
    assert step.model == fit.UP
    assert step.fits_well
    assert step.fitted == pytest.approx(dt, rel=0.1)
    assert step.fits[0].explained == pytest.approx(0.75, abs=0.05)  # uniform in a step
    assert step.late == pytest.approx(0.5, abs=0.1)
    assert f"a time step of {dt:g} ms explains the errors" in found.verdict
    assert "unexplained" not in {each.cause for each in found.divergences}


def test_spikes_rounded_to_the_nearest_step_are_told_from_those_rounded_up(case):
    _, _, exact = case
    theirs = TRAINS(
        np.rint(exact.times / 0.01) * 0.01, exact.units, exact.offsets, exact.unit_count
    )
    step = compared(case, theirs).time_step
    assert step.grid == pytest.approx(0.01, rel=1e-9)
    assert step.model == fit.NEAREST
    assert step.late == pytest.approx(0.0, abs=0.1)


def test_other_models_are_not_explained_by_a_time_step(case):
    network, inputs, exact = case
    other = network.replace({"hidden.threshold": 1.05})
    theirs = evsim.simulate(other, inputs, DURATION, ENGINE).spikes["hidden"]
    found = compared(case, theirs)
    assert found.time_step.grid is None
    assert not found.agrees
    assert "models seem to differ" in found.verdict
    late = changed(exact, lambda rows: [(s, u, t + 1.0) for s, u, t in rows if t < 99.0])
    kept = changed(exact, lambda rows: [r for r in rows if r[2] < 99.0])
    assert kept.times.size == exact.times.size
    assert "the other program is late by 1 ms everywhere" in compared(case, late).verdict


def test_few_times_and_random_times_lie_on_no_grid():
    generator = np.random.default_rng(3)
    for size in (4, 10, 1000):
        assert spacing_of(generator.uniform(0, 100, size)) is None
    assert spacing_of(np.array([1.0, 2.0])) is None
    multiples = generator.integers(1, 4000, 50)
    assert spacing_of(multiples * 0.025) == pytest.approx(0.025, rel=1e-12)
    assert spacing_of((multiples * np.float32(0.1)).astype(float)) == pytest.approx(0.1, rel=1e-6)


def test_a_network_that_euler_follows_has_its_steps_exactly():
    """The steps of Euler's method, and the exact solution of the other network at the steps."""
    step, taus = 0.5, ([20.0, 10.0, 5.0], [5.0, 10.0, 8.0])
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 3, tau_mem=taus[0], tau_syn=taus[1])],
        [evsim.Connection("input", "output", 1.5)],
    )
    followed = followed_by_euler(network, step)
    spikes = TRAINS.from_lists([[(0.0, 0)]], units=1)
    times = np.arange(0.0, 40.0, step)
    run = evsim.simulate(followed, spikes, 40.0, ENGINE)
    voltage, current = np.zeros(3), np.full(3, 1.5)
    for index in range(times.size):
        assert run.voltage("output", times)[0, :, index] == pytest.approx(voltage, abs=1e-12)
        voltage, current = (
            voltage + step / np.array(taus[0]) * (current - voltage),
            current - step / np.array(taus[1]) * current,
        )
    assert followed_by_euler(network, 5.0) is None


# -- margins ------------------------------------------------------------------------------


def one_unit(weight, inhibition=-30.0):
    """A unit with an exciting and an inhibiting input, and another unit that always spikes."""
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("unit", 2)],
        [evsim.Connection("input", "unit", [[weight, inhibition], [40.0, 0.0]])],
    )


def crossings(weight):
    """When V of a unit with one input spike at 0 passes 1: w/3 (x - x^4) = 1, x = e^{-t/20}."""
    roots = np.roots([-1.0, 0.0, 0.0, 1.0, -3.0 / weight])
    real = np.sort(roots[(np.abs(roots.imag) < 1e-7) & (roots.real > 0)].real)
    return -20.0 * np.log(real[::-1])


def judged(network, inputs, spikes_of_unit, shift=0.0):
    """Compare spikes of unit 0 that are given; unit 1 is late by ``shift``."""
    inputs = TRAINS.from_lists([inputs], units=2)
    exact = evsim.simulate(network, inputs, 60.0, ENGINE).spikes["unit"]
    others = [(t + shift, 1) for t in exact.times[exact.units == 1].tolist()]
    theirs = TRAINS.from_lists([[*others, *((t, 0) for t in spikes_of_unit)]], units=2)
    found = evsim.compare(network, inputs, theirs, 60.0, engine=ENGINE)
    assert len(found.divergences) == 1
    return found, found.first_divergence


@pytest.mark.parametrize("excess", [1e-2, 1e-4, 1e-7])
def test_the_margins_of_a_graze_are_those_of_the_closed_form(excess):
    weight = PEAK_AT_ONE * (1.0 + excess)
    up, down = crossings(weight)
    _, missing = judged(one_unit(weight), [(0.0, 0)], [])
    assert missing.kind == "missing"
    assert missing.voltage_margin == pytest.approx(excess, rel=1e-6)
    assert missing.time_above == pytest.approx(down - up, rel=1e-5)
    assert missing.tie_margin == np.inf
    weight = PEAK_AT_ONE * (1.0 - excess)
    _, additional = judged(one_unit(weight), [(0.0, 0)], [9.0])
    assert additional.kind == "additional"
    assert additional.voltage_margin == pytest.approx(excess, rel=1e-6)
    assert np.isnan(additional.time_above)


def test_a_graze_is_turned_by_an_error_that_is_large_enough_and_by_rounding():
    weight = PEAK_AT_ONE * (1.0 + 1e-3)
    for shift, cause in ((0.1, "graze"), (1e-6, "unexplained")):
        found, first = judged(one_unit(weight), [(0.0, 0)], [], shift)
        assert first.time_error == pytest.approx(shift, rel=1e-6)
        assert (first.cause, first.is_rounding) == (cause, False)
        assert ("the model or its program differs" in found.verdict) == (cause == "unexplained")
    found, first = judged(one_unit(PEAK_AT_ONE * (1.0 + 1e-14)), [(0.0, 0)], [])
    assert first.is_rounding
    assert first.cause == "graze"
    assert "rounding can turn" in found.verdict


def test_a_crossing_shorter_than_the_step_is_told():
    weight = PEAK_AT_ONE * 1.03
    up, down = crossings(weight)
    network, inputs = one_unit(weight), TRAINS.from_lists([[(0.0, 0)]], units=2)
    for step, cause in ((1.01 * (down - up), "brief crossing"), (1e-3, "unexplained")):
        run = evsim.simulate(network, inputs, 60.0, ENGINE).spikes["unit"]
        theirs = changed(run, lambda rows: [row for row in rows if row[1] == 1])
        found = evsim.compare(network, inputs, theirs, 60.0, time_step=step, engine=ENGINE)
        (first,) = found.divergences
        assert (first.unit, first.cause) == (0, cause)
        assert first.time_above == pytest.approx(down - up, rel=1e-6)


@pytest.mark.parametrize("apart", [0.2, 1e-3])
def test_the_margin_of_a_tie_is_the_time_between_emission_and_inhibition(apart):
    weight = 8.0
    up, _ = crossings(weight)
    _, missing = judged(one_unit(weight), [(0.0, 0), (up + apart, 1)], [], shift=2 * apart)
    assert missing.tie_margin == pytest.approx(apart, abs=1e-12)
    assert missing.tie_with == ("input", 1)
    assert missing.cause == "near-tie"
    found, additional = judged(one_unit(weight), [(0.0, 0), (up - apart, 1)], [up], shift=2 * apart)
    assert additional.tie_margin == pytest.approx(apart, abs=1e-12)
    assert additional.cause == "near-tie"
    assert "near-tie with a spike of unit 1 of 'input'" in found.verdict
    _, far = judged(one_unit(weight), [(0.0, 0), (up + apart, 1)], [], shift=0.1 * apart)
    assert far.cause == "unexplained"


def test_what_follows_from_earlier_errors_is_told_from_another_model():
    """A unit that spikes by itself: a first spike that is 0.4 ms late delays all others as much."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("unit", 1, rest=2.0, start=0.0)], []
    )
    inputs = TRAINS.from_lists([[(0.0, 0)]], units=1)
    period = 20.0 * np.log(2.0)
    times = 0.4 + period * np.arange(1, 8)
    theirs = TRAINS.from_latencies(times[:, None]).times[:7]
    lists = [[(time, 0) for time in theirs if time <= DURATION]]
    settings = {"largest_shift": 0.3, "engine": ENGINE}
    spikes = TRAINS.from_lists(lists, units=1)
    first = evsim.compare(network, inputs, spikes, DURATION, **settings).first_divergence
    assert first.time == pytest.approx(period)
    assert first.cause == "unexplained"
    # The first spike as in evsim: now the second is the first to differ.
    lists[0][0] = (period + 0.2, 0)
    spikes = TRAINS.from_lists([[(period + 0.2 + period * n, 0) for n in range(7)]], units=1)
    settings["largest_shift"] = 0.25
    assert not evsim.compare(network, inputs, spikes, DURATION, **settings).divergences
    spikes = TRAINS.from_lists(
        [[(period + 0.2, 0), *((period + 0.2 + period * n + 0.1, 0) for n in range(1, 7))]],
        units=1,
    )
    found = evsim.compare(network, inputs, spikes, DURATION, **settings)
    assert found.first_divergence.time == pytest.approx(2 * period)
    assert found.first_divergence.cause == "earlier errors"


# -- voltages, losses, gradients ----------------------------------------------------------


def test_gradients_that_are_scaled_or_turned_are_told_by_how_much(case):
    network, inputs, exact = case
    labels, loss = [0, 1, 2], evsim.losses.FirstSpikeCrossEntropy(tau0=2.0)
    right = evsim.gradient(network, inputs, labels, loss, DURATION, engine=ENGINE)
    name = "input->hidden.weight"
    one = right.parameters[name]
    other = np.random.default_rng(4).normal(size=one.shape)
    other -= one * (one.ravel() @ other.ravel()) / (one.ravel() @ one.ravel())
    other *= np.linalg.norm(one) / np.linalg.norm(other)
    angles = (0.0, 1e-7, 0.5, 60.0, 180.0)
    for angle in angles:
        turned = 1.1 * (np.cos(np.radians(angle)) * one + np.sin(np.radians(angle)) * other)
        found = evsim.compare(
            network, inputs, exact, DURATION, labels=labels, loss=loss, engine=ENGINE,
            loss_value=1.01 * right.loss, gradients={name: turned},
        )  # fmt: skip
        (error,) = found.gradients
        assert error.angle == pytest.approx(angle, rel=1e-6, abs=1e-10)
        assert error.cosine == pytest.approx(np.cos(np.radians(angle)), abs=1e-9)
        assert error.ratio == pytest.approx(1.1, rel=1e-9)
        size = np.sqrt(1.0 + 1.21 - 2.2 * np.cos(np.radians(angle)))
        assert error.relative_error == pytest.approx(size, rel=1e-6)
        assert found.loss_error == pytest.approx(0.01, rel=1e-6)
    assert "the loss is off by 1 %" in found.verdict
    assert "turned by 180° and 1.1 times as long" in found.verdict
    found = compared(case, {}, labels=labels, loss=loss, gradients=dict(right.parameters))
    assert found.verdict == "All gradients agree to rounding."
    assert repr(found).startswith("Comparison(0 spikes")


def test_the_gradient_with_the_largest_error_is_named(case):
    network, inputs, exact = case
    labels, loss = [0, 1, 2], evsim.losses.FirstSpikeCrossEntropy(tau0=2.0)
    right = evsim.gradient(network, inputs, labels, loss, DURATION, engine=ENGINE)
    weight, delay = "input->hidden.weight", "input->hidden.delay"

    def verdict(gradients):
        options = {"labels": labels, "loss": loss, "engine": ENGINE, "gradients": gradients}
        return evsim.compare(network, inputs, exact, DURATION, **options).verdict

    turned = right.parameters[weight].copy()
    turned.flat[0] *= 1.0 + 1e-6
    doubled = 2.0 * right.parameters[delay]
    assert "input->hidden.delay is turned by 0° and 2 times as long" in verdict(
        {weight: turned, delay: doubled}
    )
    assert "input->hidden.weight is 0, but the exact one is not" in verdict(
        {weight: np.zeros_like(turned)}
    )


def test_voltages_are_compared_at_the_given_times(case):
    network, inputs, exact = case
    run = evsim.simulate(network, inputs, DURATION, ENGINE)
    times = np.linspace(0.0, DURATION, 41)
    values = run.voltage("hidden", times)
    assert compared(case, exact, voltages={"hidden": (times, values)}).voltages[0].largest < 1e-12
    wrong = values.copy()
    wrong[2, 5, 7] += 0.25
    (found,) = compared(case, exact, voltages={"hidden": (times, wrong)}).voltages
    assert found.largest == pytest.approx(0.25)
    assert found.largest_at == (2, 5, times[7])
    assert found.median < 1e-12
    # Before the first spike that is missing, the voltages are right.
    gone = changed(exact, lambda rows: [r for r in rows if not (r[0] == 2 and r[2] < times[7])])
    (found,) = compared(case, gone, voltages={"hidden": (times, wrong)}).voltages
    assert found.until_divergence < 1e-12


# -- the report ---------------------------------------------------------------------------


def test_the_report_is_read_and_kept(case, tmp_path):
    network, inputs, exact = case
    theirs = changed(euler(network, inputs, 0.1), lambda rows: rows[1:])
    found = compared(case, theirs)
    assert len(repr(found)) < 120
    text = str(found)
    assert text.startswith(found.verdict)
    for word in ("| hidden", "matched", "misfit", "first difference", "multiples of 0.1 ms"):
        assert word in text, word
    page = found.save(tmp_path / "report")
    assert page.read_text().startswith("# Comparison with evsim\n\n" + found.verdict)
    assert (tmp_path / "report" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "report" / "spikes.csv").read_text().splitlines()
    assert len(lines) == len(found.matches) + 1
    assert lines[0] == "sample,population,unit,ours,theirs,error,state"
    ours = [line.split(",")[3] for line in lines[1:] if line.split(",")[3]]
    assert sorted(map(float, ours)) == np.sort(exact.times).tolist()
    assert "<table>" in found._repr_html_()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        found.save(tmp_path / "file")


def test_the_picture_has_a_point_for_each_pair_and_marks_the_others(case):
    _, _, exact = case
    theirs = changed(exact, lambda rows: [*rows[3:], (0, 0, 99.0)])
    found = compared(case, theirs)
    left, _ = evsim.plotting.spike_errors(found).axes
    drawn = {line.get_label(): line.get_xdata() for line in left.lines}
    total = found.timing["all"]
    assert drawn["hidden"].size == total.matched
    assert drawn[f"missing: {total.missing}"].size == total.missing == 3
    assert drawn[f"additional: {total.additional}"].tolist() == [99.0]
    with pytest.raises(TypeError, match=r"give what evsim.compare\(...\) returned"):
        evsim.plotting.spike_errors(exact)


def test_the_frame_has_a_row_for_each_spike(case):
    pytest.importorskip("pandas")
    _, _, exact = case
    frame = compared(case, changed(exact, lambda rows: rows[1:])).to_frame()
    assert len(frame) == exact.times.size
    assert (frame["state"] == "missing").sum() == 1


# -- refusals -----------------------------------------------------------------------------


def nan_voltages():
    values = np.zeros((3, 12, 2))
    values[1, 2, 0] = np.nan
    return {"hidden": ([1.0, 2.0], values)}


WEIGHT = "input->hidden.weight"
LOSS = {"labels": [0, 1, 2], "loss": evsim.losses.FirstSpikeCrossEntropy(tau0=2.0)}
REFUSED = {
    "unknown": ({"theirs": {"hiden": "exact"}}, "no population 'hiden'; did you mean 'hidden'"),
    "input": ({"theirs": {"input": "inputs"}}, "'input', which is an input"),
    "inputs as theirs": ({"theirs": "inputs"}, "has 30 units: the population has 12"),
    "samples": ({"theirs": {"hidden": "first"}}, "has 1 sample, the inputs have 3"),
    "late": ({"duration": 50.0}, r"has a spike at [\d.]+ ms, .* the trial ends at 50 ms"),
    "seconds": ({"theirs": "seconds"}, "seem to be in seconds"),
    "nothing": ({"theirs": {}}, "theirs is empty"),
    "list": ({"theirs": [1.0]}, "give the SpikeTrains of the other program"),
    "times": ({"theirs": {"hidden": [1.0]}}, "give SpikeTrains"),
    "loss alone": (LOSS, "nothing to compare them with"),
    "gradients alone": ({"gradients": {WEIGHT: np.zeros((12, 30))}}, "without loss and labels"),
    "transposed": ({**LOSS, "gradients": {WEIGHT: np.zeros((30, 12))}}, "give the transpose"),
    "no parameter": ({**LOSS, "gradients": {"hidden.tau": 1.0}}, "no parameter 'hidden.tau'"),
    "nan gradient": ({**LOSS, "gradients": {WEIGHT: np.full((12, 30), np.nan)}}, "finite"),
    "nan loss": ({**LOSS, "loss_value": np.nan}, "loss_value = nan"),
    "voltages": ({"voltages": {"hidden": ([1.0], np.zeros((3, 12, 2)))}}, "has shape"),
    "voltage of input": ({"voltages": {"input": ([1.0], np.zeros((3, 30, 1)))}}, "no voltage"),
    "voltage where": ({"voltages": {"output": ([1.0], 0.0)}}, "no population 'output'"),
    "nan voltage": ({"voltages": nan_voltages()}, r"voltages\['hidden'\]\[1, 2, 0\] = nan"),
    "late voltage": ({"voltages": {"hidden": ([101.0], np.zeros((3, 12, 1)))}}, "101"),
    "shift": ({"largest_shift": 0.0}, "largest_shift = 0.0 ms"),
    "step": ({"time_step": -1.0}, "time_step = -1.0 ms"),
    "tolerance": ({"tolerance": -1.0}, "tolerance = -1.0 ms"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_refused(case, name):
    network, inputs, exact = case
    stand_for = {
        "exact": exact,
        "inputs": inputs,
        "first": exact[0],
        "seconds": TRAINS(exact.times / 1000.0, exact.units, exact.offsets, 12),
    }
    given, message = REFUSED[name]
    theirs = given.get("theirs", "exact")
    if isinstance(theirs, dict):
        theirs = {k: stand_for[v] if isinstance(v, str) else v for k, v in theirs.items()}
    elif isinstance(theirs, str):
        theirs = stand_for[theirs]
    settings = {k: v for k, v in given.items() if k not in ("theirs", "duration")}
    with pytest.raises((TypeError, ValueError), match=message):
        evsim.compare(network, inputs, theirs, given.get("duration", DURATION), **settings)


def test_inputs_are_no_results_and_li_units_have_no_spikes():
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("a", 2), evsim.LI("out", 2)],
        [evsim.Connection("input", "a", 1.0), evsim.Connection("a", "out", 1.0)],
    )
    inputs = TRAINS.from_lists([[(1.0, 0), (2.0, 1)]], units=2)
    with pytest.raises(ValueError, match="are the spikes of the input 'input'"):
        evsim.compare(network, inputs, inputs, 50.0)
    with pytest.raises(ValueError, match="LI units never spike"):
        evsim.compare(network, inputs, {"out": inputs}, 50.0)
    two = evsim.Network(
        [*network.populations[:2], evsim.LIF("b", 2)], [evsim.Connection("input", "a", 1.0)]
    )
    with pytest.raises(ValueError, match="spiking populations a, b"):
        evsim.compare(two, inputs, inputs, 50.0)


# -- the command --------------------------------------------------------------------------


@pytest.fixture
def files(case, tmp_path):
    """A network's file, and a table and an archive of spikes of Euler's method."""
    network, inputs, _ = case
    theirs = euler(network, inputs, 0.1)
    network.save(tmp_path / "network.safetensors")
    lines = ["population,sample,time,unit"]
    for name, trains in (("input", inputs), ("hidden", theirs)):
        lines += [f"{name},{s},{t!r},{u}" for s, u, t in rows_of(trains)]
    (tmp_path / "spikes.csv").write_text("\n".join(lines) + "\n")
    arrays = {
        f"{name}.{kind}": getattr(trains, kind)
        for name, trains in (("input", inputs), ("hidden", theirs))
        for kind in ("times", "units", "samples")
    }
    np.savez(tmp_path / "spikes.npz", **arrays)
    return tmp_path, compared(case, theirs)


def run(*words):
    return main([str(word) for word in words])


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_the_command_prints_the_report_and_writes_the_page(files, capsys, ending):
    folder, expected = files
    words = ("compare", folder / "network.safetensors", folder / f"spikes.{ending}")
    assert run(*words, "--duration", 100, "--out", folder / "out") == 0
    said = capsys.readouterr().out
    assert said.startswith(str(expected))
    assert (folder / "out" / "comparison.md").is_file()


def test_the_command_takes_the_duration_of_a_run_folder(files, capsys):
    folder, expected = files
    made = folder / "run"
    made.mkdir()
    (folder / "network.safetensors").rename(made / "best.safetensors")
    (made / "config.json").write_text(json.dumps({"duration": 100.0}))
    assert run("compare", made, folder / "spikes.csv") == 0
    assert capsys.readouterr().out.startswith(expected.verdict)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--duration", "100"], "has no column 'population'"),
        ([], "--duration = None: give the length of the trial"),
        (["--dt", "1", "--duration", "100"], "--dt is about NIR files"),
        (["--duratoin", "100"], "compare has no flag --duratoin; did you mean --duration?"),
    ],
)
def test_the_command_says_what_is_wrong(files, capsys, words, message):
    folder, _ = files
    (folder / "spikes.csv").write_text("name,time,unit\n" if "column" in message else
                                       (folder / "spikes.csv").read_text())  # fmt: skip
    assert run("compare", folder / "network.safetensors", folder / "spikes.csv", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hiden,0,1.0,3", "line 2: there is no population 'hiden'; did you mean 'hidden'?"),
        ("hidden,0,x,3", "line 2: time = 'x' is not a number"),
        ("hidden,0.5,1.0,3", "line 2: sample = '0.5' is not an integer"),
        ("hidden,0,1.0,12", "spikes of 'hidden': units[0] = 12 in sample 0"),
        ("hidden,0,nan,1", "spikes of 'hidden': times[0] = nan"),
    ],
)
def test_a_table_of_spikes_is_read_strictly(files, capsys, line, message):
    folder, _ = files
    (folder / "spikes.csv").write_text(f"population,sample,time,unit\n{line}\n")
    words = ("compare", folder / "network.safetensors", folder / "spikes.csv")
    assert run(*words, "--duration", 100) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "spikes.csv is no table of spikes: 'utf-8' codec"),
        (b"population,sample,time,unit\n" + b"1" * 200_000, "spikes.csv is no table of spikes"),
    ],
    ids=["bytes", "a long field"],
)
def test_what_is_no_table_is_named(files, capsys, content, message):
    folder, _ = files
    (folder / "spikes.csv").write_bytes(content)
    words = ("compare", folder / "network.safetensors", folder / "spikes.csv")
    assert run(*words, "--duration", 100) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("samples", [["0"], [np.nan]])
def test_samples_of_an_archive_are_integers(files, capsys, samples):
    folder, _ = files
    columns = {"times": [1.0], "units": [0], "samples": samples}
    np.savez(folder / "spikes.npz", **{f"hidden.{name}": value for name, value in columns.items()})
    words = ("compare", folder / "network.safetensors", folder / "spikes.npz")
    assert run(*words, "--duration", 100) == 2
    assert "spikes.npz: hidden.samples" in capsys.readouterr().err


def test_the_command_reads_nir_files(files, capsys):
    pytest.importorskip("nir")
    folder, expected = files
    evsim.nir.write(random_network(), folder / "network.nir", time_unit="ms", spike="event")
    words = ("compare", folder / "network.nir", folder / "spikes.csv", "--duration", 100)
    assert run(*words) == 0
    assert capsys.readouterr().out.startswith(expected.verdict)
