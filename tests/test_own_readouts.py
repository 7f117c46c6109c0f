"""Readouts that are not evsim's: one class each, on every engine."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from networks import Case

import evsim
from evsim import losses
from evsim.engines import Exact, Grid, Reference
from evsim.readouts import (
    AdjointSources,
    FirstSpike,
    Mean,
    MeanCotangents,
    Peak,
    Readout,
    SpikeTimes,
    TrialWeighting,
    Voltage,
)
from evsim.testing import check_readout, differentiate

DURATION = 20.0
FINE = 2.0**-11  # ms


@dataclass(frozen=True)
class Rise(Readout):
    """How much V rises from one time to another, (batch, units)."""

    begin: float = 8.0
    end: float = 15.0

    @property
    def _voltage(self):
        return Voltage([self.begin, self.end], population=self.population)

    def read(self, run):
        before, after = np.moveaxis(self._voltage.read(run), 2, 0)
        return after - before

    def adjoint_sources(self, run, cotangents):
        return self._voltage.adjoint_sources(run, np.stack([-cotangents, cotangents], axis=2))


@dataclass(frozen=True)
class Sum(Readout):
    """The sum of other readouts of values (batch, units)."""

    parts: tuple = ()

    def read(self, run):
        return sum(part.read(run) for part in self.parts)

    def adjoint_sources(self, run, cotangents):
        first, *others = (part.adjoint_sources(run, cotangents) for part in self.parts)
        return sum(others, first)


@dataclass(frozen=True)
class MeanTimesPeak(Readout):
    """A product: the cotangents of one factor hold the value of the other."""

    def read(self, run):
        return Mean().read(run) * Peak().read(run)

    def adjoint_sources(self, run, cotangents):
        of_mean = Mean().adjoint_sources(run, cotangents * Peak().read(run))
        return of_mean + Peak().adjoint_sources(run, cotangents * Mean().read(run))


@dataclass(frozen=True)
class EarlyMean(Readout):
    """The mean with a weighting that no readout of evsim has, (1 + 2 t/T) e^(-3 t/T)."""

    weighting = TrialWeighting(rate=3.0, slope=2.0)

    def read(self, run):
        return run.weighted_mean(self.population_of(run.network), self.weighting)

    def adjoint_sources(self, run, cotangents):
        name = self.population_of(run.network)
        return AdjointSources(name, means=(MeanCotangents(self.weighting, cotangents),))


@dataclass(frozen=True)
class Relative(Readout):
    """V at 12 ms over tau_mem, on which it depends directly as well."""

    def read(self, run):
        population = run.network.population(self.population_of(run.network))
        return Voltage([12.0]).read(run)[:, :, 0] / population.tau_mem

    def adjoint_sources(self, run, cotangents):
        name = self.population_of(run.network)
        tau = run.network.population(name).tau_mem
        direct = -np.sum(cotangents * self.read(run) / tau, axis=0)
        sources = Voltage([12.0]).adjoint_sources(run, (cotangents / tau)[:, :, None])
        shape = np.shape(run.network.parameters[f"{name}.tau_mem"])
        direct = direct.reshape(shape) if shape else direct.sum()
        return replace(sources, parameters={f"{name}.tau_mem": direct})


BOTH = (Rise(), EarlyMean(), Sum(parts=(Mean("flat"), Mean("linear"), Rise())), Relative())
READOUTS = {
    "LI": (
        *BOTH,
        MeanTimesPeak(),
        Sum(parts=(Peak(), Rise())),
        Sum(parts=(Mean("sigmoid"), Peak(), Mean("exponential"), Rise())),
    ),
    "LIF": (
        *BOTH,
        Sum(parts=(FirstSpike(), Mean("exponential"))),
        Sum(parts=(FirstSpike(), Rise(), Mean("sigmoid"), Mean("linear"))),
    ),
}
CASES = [(kind, readout) for kind, readouts in READOUTS.items() for readout in readouts]


@dataclass(frozen=True)
class Weighted(losses.Loss):
    """A weighted sum of the values, with weights that are the labels."""

    readout: Readout

    classifies = False

    def __call__(self, values, labels, duration):
        return np.sum(values * labels, axis=1), labels.copy()

    def check_labels(self, labels, batch_size, classes):
        return losses.check_targets(labels, (batch_size, classes), "(batch, units)")


@cache
def case_of(kind):
    """A network that is far from emitting one spike more or less."""
    unit = evsim.LI if kind == "LI" else evsim.LIF
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        network = evsim.Network(
            [
                evsim.Input("input", 3),
                evsim.LIF("hidden", 3, tau_mem=[9.0, 10.0, 11.0], tau_syn=2.5),
                unit("output", 2, tau_mem=[10.0, 8.0], tau_syn=3.0),
            ],
            [
                evsim.Connection("input", "hidden", rng.uniform(2.0, 6.0, (3, 3)), delay=0.5),
                evsim.Connection("hidden", "output", rng.uniform(1.0, 5.0, (2, 3)), delay=1.0),
            ],
        )
        times, units = rng.uniform(0.0, 14.0, 12), rng.integers(0, 3, 12)
        inputs = evsim.SpikeTrains.from_events(
            times, units, np.repeat([0, 1], 6), batch_size=2, unit_count=3
        )
        run = evsim.simulate(network, inputs, DURATION)
        spikes = run.spike_counts["output"].min()
        if run.report.smallest_drive > 0.5 and (kind == "LI" or spikes > 0):
            return Case(network, {"input": inputs}, DURATION)
    raise AssertionError("no seed gives such a network")


LABELS = np.array([[1.0, -0.5], [0.3, 2.0]])


def gradient(case, readout, engine, **more):
    return evsim.gradient(
        case.network, case.inputs, LABELS, Weighted(readout), DURATION, engine=engine, **more
    )


@pytest.mark.parametrize(("kind", "readout"), CASES, ids=str)
def test_gradients_are_those_of_differences(kind, readout):
    case = case_of(kind)
    found = gradient(case, readout, "exact")
    if kind == "LIF":
        assert (found.run.spike_counts["output"] > 0).all()
    counts = {name: c.sum() for name, c in found.run.spike_counts.items()}
    rng = np.random.default_rng(0)
    for name, values in case.network.parameters.items():
        direction = rng.normal(0.0, 1.0, np.shape(values))

        def moved(by, name=name, values=values, direction=direction):
            network = case.network.replace({name: values + by * direction})
            run = evsim.simulate(network, case.inputs, DURATION)
            assert counts == {n: c.sum() for n, c in run.spike_counts.items()}
            return np.sum(LABELS * run.read(readout)) / 2

        size = np.abs(values).mean() or 1.0
        expected, error = differentiate(moved, 1e-5 * size, levels=3)
        product = np.sum(found.parameters[name] * direction)
        scale = np.abs(found.parameters[name] * direction).sum()
        assert error < 1e-5 * scale + 1e-8, name
        np.testing.assert_allclose(product, expected, atol=1e-5 * scale + 1e-8, err_msg=name)


@pytest.mark.parametrize(("kind", "readout"), CASES, ids=str)
def test_the_engines_agree(kind, readout):
    case = case_of(kind)
    exact, reference, grid = (
        gradient(case, readout, engine) for engine in (Exact(), Reference(), Grid(FINE))
    )
    for found, rtol in ((reference, 1e-9), (grid, 0.06)):
        np.testing.assert_allclose(found.losses, exact.losses, rtol=rtol, atol=rtol * 0.1)
        for name, expected in exact.parameters.items():
            scale = np.abs(expected).max()
            np.testing.assert_allclose(
                found.parameters[name], expected, rtol=0, atol=rtol * scale + 1e-9, err_msg=name
            )
    times = np.linspace(0.3, 19.7, 12)
    for found, rtol in ((reference, 1e-9), (grid, 0.1)):
        for trace in ("lambda_V", "lambda_I"):
            expected = getattr(exact, trace)("output", times)
            np.testing.assert_allclose(
                getattr(found, trace)("output", times), expected,
                atol=rtol * np.abs(expected).max() + 1e-9,
            )  # fmt: skip


@pytest.mark.parametrize("readout", READOUTS["LI"], ids=str)
def test_a_grid_differentiates_what_it_reads(readout):
    """Without spikes of its own a network on a grid is smooth in weights and time constants."""
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LI("output", 2, tau_mem=[10.0, 15.0], tau_syn=4.0)],
        [evsim.Connection("input", "output", [[2.0, 1.0, -0.5], [1.0, -1.0, 2.0]], delay=2.0)],
    )
    spikes = evsim.SpikeTrains.from_lists(
        [[(1.0, 0), (6.0, 1), (7.0, 2)], [(0.0, 2), (4.0, 1), (9.0, 0)]], units=3
    )
    engine = Grid(1.0)
    found = evsim.gradient(network, spikes, LABELS, Weighted(readout), DURATION, engine=engine)
    for name in ("input->output.weight", "output.tau_mem", "output.tau_syn"):
        values = network.parameters[name]
        for index in np.ndindex(np.shape(values)):

            def moved(by, name=name, index=index):
                changed = np.array(network.parameters[name], float)
                changed[index] += by
                run = evsim.simulate(network.replace({name: changed}), spikes, DURATION, engine)
                return np.sum(LABELS * run.read(readout)) / 2

            expected, error = differentiate(moved, 1e-2, levels=5)
            assert error < 1e-7
            given = np.asarray(found.parameters[name])[index]
            np.testing.assert_allclose(given, expected, atol=1e-7, err_msg=name)


def test_adjustments_act_once_with_every_readout():
    """A limit on lambda_V is not linear: all parts of a readout go through one adjoint."""
    case = case_of("LI")
    readout = Sum(parts=(Peak(), Mean(), Mean("linear")))
    found = gradient(case, readout, "exact", lambda_limit=1e-3)
    expected = gradient(case, readout, "reference", lambda_limit=1e-3)
    assert found.limited == expected.limited > 0
    for name, values in expected.parameters.items():
        np.testing.assert_allclose(found.parameters[name], values, rtol=1e-9, atol=1e-12)


# -- sums of sources ----------------------------------------------------------------------


def test_spike_times_of_two_readouts_add_up():
    case = case_of("LIF")
    run = evsim.simulate(case.network, case.inputs, DURATION)
    one, three = np.ones((2, 2)), np.full((2, 2, 3), 10.0)
    total = FirstSpike().adjoint_sources(run, one) + SpikeTimes(3).adjoint_sources(run, three)
    np.testing.assert_array_equal(total.spike_times[0, 0], [11.0, 10.0, 10.0])
    np.testing.assert_array_equal(three, 10.0)


def test_sources_of_two_populations_are_no_readout():
    with pytest.raises(ValueError, match="one of two sources is of 'a' and one of 'b'"):
        AdjointSources("a") + AdjointSources("b")


def test_cotangents_of_another_shape_are_refused():
    @dataclass(frozen=True)
    class Wrong(Rise):
        def adjoint_sources(self, run, cotangents):
            return AdjointSources(self.population_of(run.network), peak=cotangents[0])

    with pytest.raises(ValueError, match=r"cotangents of peak have shape \(2,\): .* \(2, 2\)"):
        gradient(case_of("LI"), Wrong(), "exact")


def test_a_readout_without_its_methods_cannot_be_made():
    class Nothing(Readout):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing()


# -- check_readout ------------------------------------------------------------------------


def test_a_readout_that_is_right_passes_its_check():
    check_readout(Relative())


def test_a_wrong_derivative_and_a_wrong_shape_are_named():
    @dataclass(frozen=True)
    class Halved(Rise):
        def adjoint_sources(self, run, cotangents):
            return super().adjoint_sources(run, cotangents / 2)

    @dataclass(frozen=True)
    class Longer(Rise):
        def read(self, run):
            return self._voltage.read(run)

    with pytest.raises(AssertionError, match=r"derivative of the loss by .*finite differences"):
        check_readout(Halved())
    with pytest.raises(AssertionError, match=r"the values are a ndarray of shape \(2, 3, 2\)"):
        check_readout(Longer())
    with pytest.raises(TypeError, match="readout is of type str: derive it from"):
        check_readout("mean")
