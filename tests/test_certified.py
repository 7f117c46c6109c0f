"""Certified runs: enclosures against many digits, decisions, ties, refusals, certificates."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from scipy.sparse import csr_array

import evsim
from evsim.cli import main
from evsim.engines import Reference
from evsim.readouts import Mean, Peak, SpikeTimes, Voltage

flint = pytest.importorskip("flint")

from evsim.engines.reference.balls import Balls, lower_float, upper_float  # noqa: E402
from evsim.engines.reference.enclosures import bounds_of  # noqa: E402
from evsim.engines.reference.neuron import exp_divided_difference, numbers_with  # noqa: E402
from evsim.engines.reference.undecided import Undecided, UndecidedError  # noqa: E402

DIGITS = 30
CERTIFIED = Reference(DIGITS, certified=True)
MANY = Reference(80)
DURATION = 25.0


def network_of(kind, seed=0):
    rng = np.random.default_rng(seed)
    own = {
        "layered": {},
        "recurrent": {},
        "equal": {"tau_mem": [5.0, 5.0, 20.0]},
        "refractory": {"refractory": [0.0, 1.5, np.inf], "reset": -0.25},
        "above rest": {"rest": [1.25, 0.5, 1.5], "threshold": 1.0, "start": [0.5, 0.25, 0.125]},
    }[kind]
    connections = [
        evsim.Connection(
            "input", "hidden", rng.uniform(1.0, 6.0, (3, 2)), delay=rng.uniform(0, 3, (3, 2))
        ),
        evsim.Connection("hidden", "output", rng.uniform(-1, 2, (2, 3)), delay=0.5),
    ]
    if kind != "layered":
        weight = csr_array(np.array([[0.0, 1.5, 0.0], [-1.0, 0.0, 0.7], [0.9, 0.0, 0.0]]))
        delay = 1.25 if kind == "equal" else csr_array(weight.multiply(weight) * 0.5)
        connections.append(evsim.Connection("hidden", "hidden", weight, delay=delay))
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3, **own), evsim.LI("output", 2)], connections
    )


KINDS = ["layered", "recurrent", "equal", "refractory", "above rest"]
SPIKES = evsim.SpikeTrains.from_lists(
    [[(0.1, 0), (1.3, 1), (2.2, 0), (7.0, 1), (40.0, 0)], [(0.5, 1), (2.5, 0)]], units=2
)


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    network = network_of(request.param)
    run = evsim.simulate(network, SPIKES, DURATION, CERTIFIED)
    return network, run, evsim.simulate(network, SPIKES, DURATION, MANY)


def balls(array):
    return [ball for ball in np.asarray(array, object).ravel() if not isinstance(ball, float)]


def assert_enclosed(found, expected, widest):
    """Balls contain numbers of 80 digits, and are narrow."""
    numbers = [number for number in np.asarray(expected, object).ravel() if number != np.inf]
    found = balls(found)
    assert len(found) == len(numbers)
    for ball, number in zip(found, numbers, strict=True):
        with mpmath.workdps(90):
            mantissa, exponent = map(int, ball.value.mid().man_exp())
            away = abs(mpmath.mpf(mantissa) * mpmath.mpf(2) ** exponent - number)
            assert away <= mpmath.mpf(ball.radius.upper) + (1 + abs(number)) * mpmath.mpf("1e-70")
        assert ball.radius.upper <= widest


# -- enclosures ---------------------------------------------------------------------------


def test_spike_times_are_enclosed(case):
    network, run, expected = case
    assert run.spike_counts["hidden"].sum() >= 4
    np.testing.assert_array_equal(run.spike_counts["hidden"], expected.spike_counts["hidden"])
    for found, many in zip(run.state.samples, expected.state.samples, strict=True):
        assert [(e.kind, e.unit) for e in found.events] == [(e.kind, e.unit) for e in many.events]
        times = ([e.time for e in sample.events] for sample in (found, many))
        assert_enclosed(*times, widest=DURATION * 10.0**-DIGITS)
    bounds = run.enclosure.spike_times("hidden")
    assert bounds.contain(expected.spikes["hidden"].times).all()
    assert (bounds.upper <= np.nextafter(bounds.lower, np.inf)).all()
    assert 0 < run.enclosure.widest_radius == bounds.radius.max() <= DURATION * 10.0**-DIGITS
    exact = evsim.simulate(network, SPIKES, DURATION).spikes["hidden"]
    assert np.abs(exact.times - bounds.lower).max() < 1e-12


READOUTS = [
    Mean("linear"),
    Mean("exponential", population="hidden"),
    Peak(),
    SpikeTimes(2, population="hidden"),
    Voltage(times=[1.0, 6.0, 25.0]),
]


@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_readouts_and_their_gradients_are_enclosed(case, readout):
    _, run, expected = case
    many = MANY.read_exact(expected.state, readout)
    assert_enclosed(CERTIFIED.read_exact(run.state, readout), many, widest=1e-28)
    bounds = run.enclosure.read(readout)
    assert bounds.lower.shape == run.read(readout).shape == bounds.radius.shape
    assert bounds.contain(many.astype(float)).all()

    cotangents = np.random.default_rng(1).normal(size=many.shape)
    pulled = run.pull_back(readout, cotangents)
    exact = MANY.pull_back_exact(expected.state, readout, cotangents)
    for kind in ("weight", "delay", "tau_mem", "tau_syn", "threshold", "reset", "rest", "start"):
        assert_enclosed(getattr(pulled.adjoint.state, kind), getattr(exact, kind), widest=1e-26)
    assert_enclosed(pulled.adjoint.state.input_times["input"], exact.input_times["input"], 1e-26)
    plain = expected.pull_back(readout, cotangents)
    for name, gradient in pulled.enclosure.parameters.items():
        stored = getattr(plain.parameters[name], "data", plain.parameters[name])
        width = 1e-13 * (1 + np.abs(np.asarray(stored)))  # the plain ones are sums of floats
        assert np.shape(stored) == gradient.lower.shape
        assert (gradient.lower - width <= stored).all()
        assert (stored <= gradient.upper + width).all()
    assert pulled.enclosure.input_times["input"].contain(plain.input_times).all()


def cross_entropy_in_many_digits(values, labels):
    losses, slopes = [], np.empty(values.shape, object)
    for row, (logits, label) in enumerate(zip(values, labels, strict=True)):
        weights = [mpmath.exp(logit) for logit in logits]
        losses.append(mpmath.log(sum(weights)) - logits[label])
        for k, weight in enumerate(weights):
            slopes[row, k] = (weight / sum(weights) - (k == label)) / len(labels)
    return losses, slopes


def first_spike_loss_in_many_digits(values, labels):
    """D 71 with delta = 2 ms, of outputs that all spike."""
    losses, slopes = [], np.empty(values.shape, object)
    for row, (times, label) in enumerate(zip(values, labels, strict=True)):
        errors = [time - times[label] - 2 for time in times]
        errors[label] = mpmath.mpf(0)
        losses.append(sum(error**2 for error in errors) / 2)
        slopes[row] = [error / len(labels) for error in errors]
        slopes[row, label] = -sum(errors) / len(labels)
    return losses, slopes


@pytest.mark.parametrize(
    ("loss", "in_many_digits", "drive"),
    [
        (evsim.losses.CrossEntropy(Mean("exponential")), cross_entropy_in_many_digits, 1.0),
        (evsim.losses.TimeInvariantMSE(), first_spike_loss_in_many_digits, 6.0),
    ],
    ids=["cross-entropy", "first spikes"],
)
def test_losses_and_their_gradients_are_enclosed(loss, in_many_digits, drive):
    network, labels = network_of("recurrent"), [1, 0]
    if drive > 1:
        output = evsim.LIF("output", 2)
        network = evsim.Network([*network.populations[:2], output], network.connections)
        weight = drive * network.parameters["hidden->output.weight"]
        network = network.replace({"hidden->output.weight": np.abs(weight)})
    enclosure = evsim.gradient(network, SPIKES, labels, loss, DURATION, engine=CERTIFIED).enclosure
    state = evsim.simulate(network, SPIKES, DURATION, MANY).state
    values = MANY.read_exact(state, loss.readout)
    with mpmath.workdps(80):
        losses, slopes = in_many_digits(values, labels)
    exact = MANY.pull_back_exact(state, loss.readout, slopes)
    assert enclosure.losses.contain(np.array(losses, float)).all()
    assert (enclosure.losses.radius < 1e-28).all()
    expected = {
        "input->hidden.weight": exact.weight[network.topology.slots[0]].reshape(3, 2),
        "hidden->hidden.weight": exact.weight[network.topology.slots[2]],
        "hidden.tau_syn": sum(exact.tau_syn[2:5]),
    }
    for name, gradient in expected.items():
        assert enclosure.parameters[name].contain(np.asarray(gradient, float)).all()
        assert (enclosure.parameters[name].radius < 1e-26).all()


def test_traces_are_enclosed(case):
    _, run, expected = case
    times = [0.0, 3.0, 11.0]
    for name in ("hidden", "output"):
        bounds = run.enclosure.voltage(name, times), run.enclosure.current(name, times)
        for one, values in zip(bounds, (expected.voltage, expected.current), strict=True):
            assert (
                np.abs(values(name, times) - one.lower).max() < 1e-15
            )  # a rest is added in float64
            assert (one.upper <= np.nextafter(one.lower, np.inf)).all()


def test_sums_of_shared_gradients_are_enclosed():
    """A shared delay of a sparse connection, a shared weight, and one time constant for all."""
    network = network_of("equal")
    run = evsim.simulate(network, SPIKES, DURATION, CERTIFIED)
    cotangents = np.ones((2, 2))
    bounds = run.pull_back(Mean(), cotangents).enclosure.parameters
    exact = MANY.pull_back_exact(
        evsim.simulate(network, SPIKES, DURATION, MANY).state, Mean(), cotangents
    )
    start = network.topology.first_unit[2]
    shared = {
        "hidden->output.delay": exact.delay[network.topology.slots[1]],
        "output.tau_mem": exact.tau_mem[start:],
        "hidden->hidden.delay": exact.delay[network.topology.slots[2]],
    }
    for name, parts in shared.items():
        assert bounds[name].lower.shape == ()
        assert bounds[name].contain(float(sum(parts)))
        assert bounds[name].radius < 1e-28


def test_it_also_runs_with_every_invariant_checked():
    engine = Reference(DIGITS, certified=True, debug=True)
    run = evsim.simulate(network_of("refractory"), SPIKES, DURATION, engine)
    assert run.spike_counts["hidden"].sum() > 3


def test_the_precision_of_flint_is_left_alone():
    with flint.ctx.workprec(77):
        run = evsim.simulate(network_of("layered"), SPIKES, DURATION, CERTIFIED)
        assert flint.ctx.prec == 77
    assert run.enclosure.widest_radius < 1e-28


# -- the number type ----------------------------------------------------------------------


def test_divided_differences_are_enclosed():
    numbers = Balls(20)
    for x in (-30.0, -2.0, 0.0, 0.3):
        for gaps in itertools.product([0.0, 1e-14, 0.01, 3.0, 40.0], repeat=2):
            points = [x, x - gaps[0], x - gaps[0] - gaps[1], x]
            for size in (2, 3, 4):
                ball = exp_divided_difference(numbers, *map(numbers.convert, points[:size]))
                many = numbers_with(120)
                exact = exp_divided_difference(many, *map(many.convert, points[:size]))
                assert_enclosed([ball], [exact], widest=1e-20)


def test_balls_are_compared_only_if_they_are_apart():
    numbers = Balls(20)
    third = numbers.convert(1.0) / 3.0
    other = 1 - numbers.convert(2.0) / 3.0  # the same number by another way
    for decide in (
        lambda: third < other,
        lambda: third <= other,
        lambda: third == other,
        lambda: third >= other,
        lambda: bool(third - other),
    ):
        with pytest.raises(Undecided):
            decide()
    same = 1.0 / numbers.convert(3.0)
    assert third == same
    assert hash(third) == hash(same)
    assert not third < same
    assert third <= same
    assert third - same == 0
    assert third < 0.34 < numbers.convert("inf")
    assert (numbers.convert(0.1) + 0.2) + 0.3 == 0.1 + (numbers.convert(0.2) + 0.3)  # exact sums
    with pytest.raises(Undecided):
        numbers.convert(1.0) / (third - other)


def test_floats_are_rounded_outward():
    numbers = Balls(40)
    values = [1 / numbers.convert(3), numbers.convert(0.1), -1 / numbers.convert(7)]
    values += [numbers.convert(10**400) + values[0], numbers.exp(-1e6), numbers.convert("inf")]
    bounds = bounds_of(np.array([*values, np.inf], object))
    for value, lower, upper in zip(values, bounds.lower, bounds.upper, strict=False):
        assert flint.arb(lower) <= value.value <= flint.arb(upper)
        assert lower == lower_float(value.value)
    assert bounds.upper[0] == np.nextafter(bounds.lower[0], 1)
    assert bounds.lower[1] == bounds.upper[1] == 0.1
    assert (bounds.lower[3], bounds.upper[3]) == (np.finfo(float).max, np.inf)
    assert bounds.lower[4] == 0 < bounds.upper[4] == math.ulp(0.0)
    assert upper_float(flint.arb(0) / 0) == np.inf


# -- decisions ----------------------------------------------------------------------------


def pair(weight=8.0, delay=((0.0,), (0.0,)), **parameters):
    """Two units with one input."""
    return evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("pair", 2, **parameters), evsim.LI("output", 1)],
        [
            evsim.Connection("input", "pair", [[weight], [weight]], delay=delay),
            evsim.Connection("pair", "output", [[1.0, 2.0]]),
        ],
    )


def one_spike(time=0.3, units=1):
    return evsim.SpikeTrains.from_lists([[(time, 0)]], units=units)


def test_a_near_tie_is_decided_with_more_digits():
    network = pair(delay=[[1e-40], [0.0]])
    run = evsim.simulate(network, one_spike(), 10.0, Reference(16, certified=True))
    assert run.enclosure.digits.tolist() == [32]
    first, second = run.state.samples[0].emissions[1:3]
    assert (first.unit, second.unit) == (2, 1)
    assert lower_float((second.time - first.time).value * flint.arb(10) ** 40) == pytest.approx(1)
    # Far enough apart for the first attempt.
    engine = Reference(16, certified=True)
    far = evsim.simulate(pair(delay=[[1e-9], [0.0]]), one_spike(), 10.0, engine)
    assert far.enclosure.digits.tolist() == [16]


@pytest.mark.parametrize("engine", [Reference(), Reference(50), "exact"], ids=str)
def test_exact_ties_are_recognised(engine):
    """Twins that inhibit each other, and sums of a time and a delay that are equal."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("pair", 2), evsim.LIF("third", 1)],
        [
            evsim.Connection("input", "pair", [[5.0, 0.1], [5.0, 0.1]], delay=[[0.5, 0.25]]),
            evsim.Connection("pair", "pair", [[0.0, -2.0], [-2.0, 0.0]], delay=0.0),
            evsim.Connection("pair", "third", [[4.0, 4.0]], delay=[[0.7, 0.7]]),
        ],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0), (1.25, 1), (2.0, 0), (6.0, 0)]], units=2)
    run = evsim.simulate(network, spikes, 20.0, CERTIFIED)
    assert run.enclosure.digits.tolist() == [DIGITS]
    counts = [len(e.spikes) for e in run.state.samples[0].events if e.kind.name == "ARRIVAL"]
    assert counts[:2] == [2, 2]  # both inputs arrive together at either unit
    expected = evsim.simulate(network, spikes, 20.0, engine)
    for name in ("pair", "third"):
        assert expected.spike_counts[name].sum() >= 2
        np.testing.assert_array_equal(run.spikes[name].units, expected.spikes[name].units)
        assert np.abs(run.spikes[name].times - expected.spikes[name].times).max() < 1e-13
    assert run.spikes["pair"].times[0] == run.spikes["pair"].times[1]


def test_what_may_be_equal_is_reported():
    """Twins of which one gets a spike of weight 0: equal times, by other operations."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("pair", 2)],
        [evsim.Connection("input", "pair", [[8.0, 0.0], [8.0, 0.0]], delay=[[0.0, 0.0], [0.0, 9]])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(0.3, 0)], [(0.3, 0), (1.0, 1)]], units=2)
    engine = Reference(16, certified=True, digits_limit=100)
    with pytest.raises(UndecidedError) as caught:
        evsim.simulate(network, spikes, 20.0, engine)
    error = caught.value
    assert (error.sample, error.digits) == (1, 100)
    assert 0 < error.width < 1e-100
    assert error.values[0] == pytest.approx(error.values[1])
    assert "'pair' unit 0" in str(error)
    assert "'pair' unit 1" in str(error)
    assert isinstance(error, evsim.engines.EngineError)
    certificate = evsim.certify(network, spikes, 20.0, digits_limit=100)
    assert not certificate.certified
    assert [told.sample for told in certificate.undecided] == [1]
    assert certificate.deviations[0] < 1e-13
    assert "'pair' unit 1" in str(certificate)


def test_grazing_is_decided_or_reported():
    """V = w (y - y^2) with y = e^(-t/tau_mem) if tau_mem = 2 tau_syn: its maximum is w/4."""

    def simulated(weight):
        network = pair(weight, tau_mem=10.0, tau_syn=5.0)
        return evsim.simulate(network, one_spike(), 40.0, Reference(16, certified=True))

    assert simulated(np.nextafter(4.0, 0.0)).spike_counts["pair"].sum() == 0
    grazing = simulated(np.nextafter(4.0, 9.0))
    assert grazing.spike_counts["pair"].tolist() == [[1, 1]]
    assert grazing.spikes["pair"].times == pytest.approx(0.3 + 10 * np.log(2), abs=1e-6)
    with pytest.raises(UndecidedError, match="whether and when V reaches the threshold") as caught:
        simulated(4.0)
    assert caught.value.values == (1.0, 1.0)
    assert caught.value.digits == 1000


def test_a_spike_at_the_end_of_the_trial_needs_a_decision():
    times = evsim.simulate(pair(), one_spike(), 20.0, MANY).spikes["pair"].times
    for end, count in ((np.nextafter(times[0], 0), 0), (np.nextafter(times[0], 99), 2)):
        run = evsim.simulate(pair(), one_spike(), end, CERTIFIED)
        assert run.spike_counts["pair"].sum() == count


def test_a_readout_may_need_more_digits_than_the_simulation():
    """Two maxima that differ by 1e-80, at different times, of which the higher is the peak."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1)],
        [evsim.Connection("input", "output", 1.0)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(0.0, 0), (3000.0, 0)]], units=1)
    run = evsim.simulate(network, spikes, 4000.0, Reference(16, certified=True))
    assert run.enclosure.digits.tolist() == [16]
    pulled = run.pull_back(Peak(), np.ones((1, 1)))
    assert run.enclosure.digits[0] > 16
    # The remainder of the first response adds to the second, so that both spikes matter.
    assert pulled.enclosure.input_times["input"].lower[1] != 0
    exact = MANY.pull_back_exact(
        evsim.simulate(network, spikes, 4000.0, MANY).state, Peak(), np.ones((1, 1))
    )
    assert_enclosed(pulled.adjoint.state.input_times["input"], exact.input_times["input"], 1e-20)


# -- refusals -----------------------------------------------------------------------------


def test_refusals():
    network = network_of("layered")
    with pytest.raises(ValueError, match="give some, such as digits=30"):
        Reference(certified=True)
    with pytest.raises(ValueError, match="digits_limit"):
        Reference(50, certified=True, digits_limit=40)
    run = evsim.simulate(network, SPIKES, DURATION)
    with pytest.raises(ValueError, match="certified=True"):
        _ = run.enclosure
    with pytest.raises(ValueError, match="certified=True"):
        _ = run.pull_back(Mean(), np.ones((2, 2))).enclosure
    certified = evsim.simulate(network, SPIKES, DURATION, CERTIFIED)
    with pytest.raises(ValueError, match="sigmoid"):
        certified.enclosure.read(Mean("sigmoid"))
    with pytest.raises(ValueError, match="sigmoid"):
        _ = certified.pull_back(Mean("sigmoid"), np.ones((2, 2))).enclosure
    for other in (Mean("linear"), Peak()):
        both = {Mean(): np.ones((2, 2)), other: np.ones((2, 2))}
        with pytest.raises(ValueError, match="pull them back one by one"):
            _ = certified.pull_back(both).enclosure
    for loss in (
        evsim.losses.CrossEntropy(Mean("sigmoid")),
        evsim.losses.TimeAveragedCrossEntropy(),
    ):
        gradient = evsim.gradient(network, SPIKES, [0, 1], loss, DURATION, engine=CERTIFIED)
        with pytest.raises(ValueError, match="computes in float64"):
            _ = gradient.enclosure
    with pytest.raises(ValueError, match="no spikes of 'hidden'"):
        evsim.certify(network, SPIKES, DURATION, {})
    with pytest.raises(ValueError, match="tolerance"):
        evsim.certify(network, SPIKES, DURATION, tolerance=-1.0)


# -- certificates -------------------------------------------------------------------------


def test_the_exact_engine_is_certified():
    certificate = evsim.certify(network_of("recurrent"), SPIKES, DURATION)
    assert certificate.certified
    assert 0 < certificate.deviation < 1e-12
    spikes = evsim.simulate(network_of("recurrent"), SPIKES, DURATION).spikes["hidden"]
    text = str(certificate)
    assert text.startswith(f"certified: all {spikes.times.size} spikes of 2 samples exist")
    assert "proven with 30 digits" in text


def wrong_spikes():
    spikes = evsim.simulate(network_of("recurrent"), SPIKES, DURATION).spikes["hidden"]
    events = spikes.to_lists()
    first, second = events[0][0], events[0][1]
    assert first[1] != second[1]
    moved = [[(first[0] + 1e-9, first[1]), *events[0][1:]], events[1]]
    swapped = [[(second[0], first[1]), (first[0], second[1]), *events[0][2:]], events[1]]
    return {
        "deleted": ([events[0][1:], events[1]], "exist; at"),
        "added": ([[(0.01, 0), *events[0]], events[1]], "exist; at"),
        "moved": (moved, "off by up to 1e-09 ms"),
        "swapped": (swapped, "spikes before"),
    }


@pytest.mark.parametrize("mistake", ["deleted", "added", "moved", "swapped"])
def test_wrong_spikes_are_not_certified(mistake):
    events, told = wrong_spikes()[mistake]
    found = {"hidden": evsim.SpikeTrains.from_lists(events, units=3)}
    certificate = evsim.certify(network_of("recurrent"), SPIKES, DURATION, found)
    assert not certificate.certified
    assert any(told in difference for difference in certificate.differences)
    assert str(certificate).startswith("not certified")


def test_spikes_of_unknown_populations_are_refused():
    network = network_of("recurrent")
    spikes = dict(evsim.simulate(network, SPIKES, DURATION).spikes)
    assert evsim.certify(network, SPIKES, DURATION, spikes).certified
    with pytest.raises(ValueError, match=r"'hiden'; did you mean 'hidden'\?"):
        evsim.certify(network, SPIKES, DURATION, {**spikes, "hiden": spikes["hidden"]})
    del spikes["hidden"]
    with pytest.raises(ValueError, match="no spikes of 'hidden'"):
        evsim.certify(network, SPIKES, DURATION, spikes)


def certified_populations(network):
    return [p.name for p in network.populations if isinstance(p, evsim.LIF)]


def write_inputs(file):
    columns = SPIKES.samples, SPIKES.times, SPIKES.units
    rows = zip(*(column.tolist() for column in columns), strict=True)
    lines = ["sample,time,unit", *(f"{sample},{time!r},{unit}" for sample, time, unit in rows)]
    file.write_text("\n".join(lines) + "\n")


def test_the_command_reads_run_folders_and_nir_files(tmp_path, capsys):
    network, inputs = network_of("layered"), tmp_path / "spikes.csv"
    # A Delay node of NIR has one delay for each unit.
    connections = [replace(connection, delay=0.0) for connection in network.connections]
    network = evsim.Network(network.populations, connections)
    write_inputs(inputs)
    network.save(tmp_path / "best.safetensors")
    (tmp_path / "config.json").write_text('{"duration": 25.0}')
    assert main(["certify", str(tmp_path), str(inputs)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("certified: all ")
    pytest.importorskip("nir")
    evsim.nir.write(network, tmp_path / "network.nir", time_unit="ms", spike="event")
    assert main(["certify", str(tmp_path / "network.nir"), str(inputs), "--duration", "25"]) == 0
    assert capsys.readouterr().out == told
    assert main(["certify", str(tmp_path / "network.nir"), str(inputs)]) == 2
    assert "give the length of the trial" in capsys.readouterr().err


def test_the_command(tmp_path, capsys):
    network, inputs = network_of("layered"), tmp_path / "spikes.csv"
    network.save(tmp_path / "network.safetensors")
    write_inputs(inputs)
    words = ["certify", str(tmp_path / "network.safetensors"), str(inputs), "--duration", "25"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("certified: all ")
    assert main([*words, "--tolerance", "1e-18"]) == 1
    assert capsys.readouterr().out.startswith("not certified")
    theirs = evsim.simulate(network, SPIKES, DURATION).spikes
    events = [
        ",".join([name, str(sample), repr(float(time)), str(unit)])
        for name, trains in {"input": SPIKES, **theirs}.items()
        for sample, time, unit in zip(trains.samples, trains.times, trains.units, strict=True)
        if name == "input" or name in certified_populations(network)
    ]
    header = "population,sample,time,unit"
    inputs.write_text("\n".join([header, *dict.fromkeys(events)]) + "\n")
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("certified: all ")
    inputs.write_text("\n".join([header, *list(dict.fromkeys(events))[:-1]]) + "\n")
    assert main(words) == 1
    assert capsys.readouterr().out.startswith("not certified")
    inputs.write_text("sample,time\n0,1.0\n")
    assert main(words) == 2
    assert "no column 'unit'" in capsys.readouterr().err
    inputs.write_text("sample,time,unit\n0,soon,1\n")
    assert main(words) == 2
    assert "line 2" in capsys.readouterr().err
    assert main([*words, "--durations", "3"]) == 2
    assert "did you mean --duration?" in capsys.readouterr().err
