"""The validation's networks in NEST: clocks, delays and refusals; skipped without NEST."""

from importlib.util import find_spec

import numpy as np
import pytest
from nest_networks import LOSSLESS, ON_GRID, PRECISE, Nest, NestRefusedError, power_of_two

import evsim
from evsim.engines import Exact

pytestmark = pytest.mark.slow

needs_nest = pytest.mark.skipif(find_spec("nest") is None, reason="NEST is not installed")
DURATION = 60.0


def two_layers(delay, loop=None) -> evsim.Network:
    """One input, two units, one unit; and a loop of the two, if it is given a delay."""
    connections = [
        evsim.Connection("input", "first", [[3.5], [4.5]], [[0.0], [0.37]]),
        evsim.Connection("first", "second", 4.5, delay),
    ]
    if loop is not None:
        connections.append(evsim.Connection("first", "first", 0.5, loop))
    layers = [evsim.LIF("first", 2, refractory=1.0), evsim.LIF("second", 1, refractory=np.inf)]
    return evsim.Network([evsim.Input("input", 1), *layers], connections)


def inputs() -> dict[str, evsim.SpikeTrains]:
    """Two samples, with spikes at 0, between steps, at a step and together."""
    samples = [[(0.0, 0), (3.3, 0), (10.0, 0), (10.0, 0)], [(0.1, 0), (7.0, 0), (30.7, 0)]]
    return {"input": evsim.SpikeTrains.from_lists(samples, units=1)}


@needs_nest
@pytest.mark.parametrize("model", [PRECISE, LOSSLESS])
@pytest.mark.parametrize("delay", [0.0, 0.25, 0.3, 5.01])
@pytest.mark.parametrize("loop", [None, 0.25, 0.26])
def test_spikes_are_those_of_the_exact_engine(model, delay, loop):
    network = two_layers(delay, loop)
    run = evsim.simulate(network, inputs(), duration=DURATION, engine=Exact(threads=1))
    found = Nest(model, 0.25).simulate(network, inputs(), DURATION).spikes
    assert run.spikes["second"].times.size == 2  # one a trial
    for name, trains in found.items():
        expected = run.spikes[name]
        np.testing.assert_array_equal(trains.offsets, expected.offsets)
        np.testing.assert_array_equal(trains.units, expected.units)
        np.testing.assert_allclose(trains.times, expected.times, rtol=0, atol=1e-12)


@needs_nest
def test_model_on_the_grid_is_a_step_late_at_most():
    network = two_layers(2.0)
    run = evsim.simulate(network, inputs(), duration=DURATION, engine=Exact(threads=1))
    step = 2.0**-8
    found = Nest(ON_GRID, step).simulate(network, inputs(), DURATION).spikes["first"]
    own = run.spikes["first"].times
    assert np.array_equal(found.times / step, np.round(found.times / step))
    assert own.size == found.times.size
    assert 0 < np.abs(own - found.times).max() < 10 * step


@needs_nest
def test_what_nest_has_no_place_for_is_refused():
    with pytest.raises(NestRefusedError, match="a delay of 0 ms in a loop"):
        Nest(PRECISE, 0.25).simulate(two_layers(1.0, 0.0), inputs(), DURATION)
    network = two_layers(0.3)
    twice = [*network.connections, evsim.Connection("first", "second", 1.0, 0.1, name="again")]
    with pytest.raises(NestRefusedError, match="two synapses join the same units"):
        Nest(PRECISE, 0.25).simulate(evsim.Network(network.populations, twice), inputs(), DURATION)
    output = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1)],
        [evsim.Connection("input", "output", 1.0)],
    )
    with pytest.raises(NestRefusedError, match="output has no threshold"):
        Nest(PRECISE, 0.25).simulate(output, inputs(), DURATION)


def test_power_of_two():
    assert [power_of_two(2.0**-power) for power in (0, 4, 10)] == ["1", "2⁻⁴", "2⁻¹⁰"]
