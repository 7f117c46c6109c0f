"""Spikes of other programs become the same spike trains, in ms, or are refused by name."""

from types import SimpleNamespace

import numpy as np
import pytest

import evsim
from evsim import SpikeTrains

TRAINS = SpikeTrains.from_lists([[(0.5, 2), (1.5, 0)], [], [(1.0, 1)]], units=3)  # ms
FACTOR = {"ms": 1.0, "s": 1e-3, "us": 1e3}


def raster():
    counts = np.zeros((3, 4, 3), int)
    counts[0, 1, 2] = counts[0, 3, 0] = counts[2, 2, 1] = 1
    return counts


class Tensor:
    """An array of another library, such as torch, that NumPy can read."""

    requires_grad = False

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


class Quantity:
    """Times with a unit, as the library quantities has them."""

    def __init__(self, values, unit="s", **more):
        self.values, self.unit = np.asarray(values, float), unit
        self.__dict__.update(more)

    def rescale(self, unit):
        assert unit == "ms"
        if self.unit not in FACTOR:
            raise ValueError(f"Unable to convert between units of {self.unit!r} and 'ms'")
        return SimpleNamespace(magnitude=self.values / FACTOR[self.unit])


def recording(*events, fields="txyp"):
    made = np.zeros(len(events), [(field, np.int64) for field in fields])
    for place, event in enumerate(events):
        made[place] = event
    return made


def table(**columns):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {"sample": [2, 0, 0], "time": [1.0, 1.5, 0.5], "unit": [1, 0, 2]} | columns
    )


def event_data(**changes):
    none = np.inf
    whole = {
        "idx": [[2, 0], [-1, -1], [1, -1]],
        "time": [[0.5, 1.5], [none, none], [1.0, none]],
        "n_neurons": 3,
    }
    return SimpleNamespace(**{k: np.array(v) if k != "n_neurons" else v
                              for k, v in (whole | changes).items()})  # fmt: skip


# -- the same trains ---------------------------------------------------------------------


@pytest.mark.parametrize("unit", FACTOR)
def test_every_form_gives_the_same_trains_in_every_unit_of_time(unit):
    factor = FACTOR[unit]
    first = TRAINS.first() * factor
    lists = [[(time * factor, u) for time, u in sample] for sample in TRAINS.to_lists()]
    data = event_data()
    data.time = data.time * factor
    gridded = SimpleNamespace(data=raster().astype(bool), dt=0.5 * factor)
    events = (TRAINS.times * factor, TRAINS.units, TRAINS.samples)
    dvs = [recording((500, 2, 0, 0), (1500, 0, 0, 0)), recording(), recording((1000, 1, 0, 0))]
    built = {
        "events": SpikeTrains.from_events(*events, batch_size=3, unit_count=3, unit=unit),
        "lists": SpikeTrains.from_lists(lists, units=3, unit=unit),
        "latencies": SpikeTrains.from_latencies(first, unit=unit),
        "raster": SpikeTrains.from_raster(raster(), dt=0.5 * factor, unit=unit),
        "tensor": SpikeTrains.from_raster(Tensor(raster() > 0), dt=0.5 * factor, unit=unit),
        "nir": SpikeTrains.from_nir(data, unit=unit),
        "nir, on a grid": SpikeTrains.from_nir(gridded, unit=unit),
        "tonic": SpikeTrains.from_tonic(dvs, sensor_size=(3, 1, 1)),
        "frame": SpikeTrains.from_frame(
            table(time=np.array([1.0, 1.5, 0.5]) * factor), unit_count=3, unit=unit
        ),
        "neo": SpikeTrains.from_neo(
            [[Quantity(first[b, u : u + 1][np.isfinite(first[b, u : u + 1])], unit)
              for u in range(3)] for b in range(3)]
        ),
    }  # fmt: skip
    for form, trains in built.items():
        np.testing.assert_allclose(trains.times, TRAINS.times, rtol=1e-15, err_msg=form)
        assert trains.units.tolist() == TRAINS.units.tolist(), form
        assert trains.offsets.tolist() == TRAINS.offsets.tolist(), form
        assert trains.unit_count == 3, form


def test_a_raster_keeps_every_count_and_comes_back():
    counts = np.random.default_rng(0).integers(0, 3, (4, 400, 5))
    for dt in (0.1, 1.0, 1 / 3, 7e-3):
        trains = SpikeTrains.from_raster(counts, dt=dt)
        np.testing.assert_array_equal(trains.to_raster(dt=dt, duration=400 * dt), counts)
    between = SpikeTrains.from_lists([[(0.99, 0), (1.0, 0), (2.4, 1)]], units=2)
    assert between.to_raster(dt=1.0, duration=2.5).tolist() == [[[1, 0], [1, 0], [0, 1]]]


def test_pixels_and_polarities_of_tonic_are_units_of_their_own():
    width, height = 3, 2
    every = [(10 * k, x, y, p) for k, (p, y, x) in enumerate(np.ndindex(2, height, width))]
    trains = SpikeTrains.from_tonic([recording(*every)], sensor_size=(width, height, 2))
    assert trains.units.tolist() == list(range(12))
    np.testing.assert_allclose(trains.times, 0.01 * np.arange(12))
    # Recordings of cochleas have no y, and one polarity, which is 1.
    cochlea = [recording((7, 69, 1), fields="txp"), recording(fields="txp")]
    data = evsim.Dataset.from_tonic(
        [(cochlea[0], 4), (cochlea[1], 0)], sensor_size=(70, 1, 1), unit="ms"
    )
    assert data.spikes.to_lists() == [[(7.0, 69)], []]
    assert data.labels.tolist() == [4, 0]


def test_trains_of_neo_begin_at_their_t_start_and_segments_are_samples():
    start = Quantity(0.25, "s")
    trains = [Quantity([0.5, 0.75], t_start=start), Quantity([], t_start=start)]
    batch = SpikeTrains.from_neo(
        [SimpleNamespace(spiketrains=trains), [Quantity([1.0]), Quantity([2.0], "us")]]
    )
    assert batch.to_lists() == [[(250.0, 0), (500.0, 0)], [(0.002, 1), (1000.0, 0)]]


def test_the_libraries_objects_are_read_as_their_stand_ins():
    made = 0
    try:
        import neo
        import quantities
    except ImportError:
        pass
    else:
        second = quantities.s
        train = neo.SpikeTrain([1.0, 2.0] * second, t_start=0.5 * second, t_stop=3.0 * second)
        trains = SpikeTrains.from_neo([[train]])
        assert trains.to_lists() == [[(500.0, 0), (1500.0, 0)]]
        made += 1
    try:
        import nir
    except ImportError:
        pass
    else:
        grid = nir.TimeGriddedData(raster().astype(bool), 0.5)
        assert SpikeTrains.from_nir(grid, unit="ms") == TRAINS
        assert SpikeTrains.from_nir(grid.to_event(4), unit="ms") == TRAINS
        made += 1
    try:
        import torch
    except ImportError:
        pass
    else:
        assert SpikeTrains.from_raster(torch.tensor(raster()).float(), dt=0.5) == TRAINS
        with pytest.raises(TypeError, match=r"raster is a tensor that requires a gradient"):
            SpikeTrains.from_raster(torch.zeros(1, 2, 3, requires_grad=True), dt=1.0)
        made += 1
    if not made:
        pytest.skip("none of neo, nir and torch is installed")


def test_silence_in_latencies_is_infinity_nan_or_masked():
    expected = SpikeTrains.from_lists([[(1.0, 0)], [(2.0, 1)]], units=2)
    for silent in (np.inf, np.nan, np.ma.masked):
        assert SpikeTrains.from_latencies([[1.0, silent], [silent, 2.0]]) == expected
    assert SpikeTrains.from_latencies(expected.first()) == expected


def test_the_number_of_samples_of_a_frame_may_be_given():
    assert len(SpikeTrains.from_frame(table(), unit_count=3)) == 3
    assert len(SpikeTrains.from_frame(table(), unit_count=3, batch_size=5)) == 5


# -- refusals ----------------------------------------------------------------------------

PIXELS = [recording((5, 2, 1, 1), (6, 0, 0, 0))]
REFUSED = {
    r"unit = 'sec': choose one of ms, s, us": (
        lambda: SpikeTrains.from_latencies([[1.0]], unit="sec")
    ),
    r"latencies\[0, 0\] = inf ms: spike times must be finite and >= 0; use infinity or NaN where": (
        lambda: SpikeTrains.from_latencies([[1e308]], unit="s")
    ),
    r"latencies\[0, 1\] = -inf ms: spike times must be": (
        lambda: SpikeTrains.from_latencies([[1.0, -np.inf]])
    ),
    r"raster has shape \(4, 3\): give \(batch, time, units\); for \(time, batch, units\)": (
        lambda: SpikeTrains.from_raster(raster()[0], dt=1.0)
    ),
    r"raster\[0, 1, 2\] = 0.5: it must be the number of spikes in a time step, 0, 1, 2 and so on": (
        lambda: SpikeTrains.from_raster(raster() / 2, dt=1.0)
    ),
    r"raster\[0, 0, 0\] = -1: it must be the number": (
        lambda: SpikeTrains.from_raster(raster() - 1, dt=1.0)
    ),
    r"raster\[0, 0, 0\] = nan: it must be the number": (
        lambda: SpikeTrains.from_raster(raster() * np.nan, dt=1.0)
    ),
    r"dt = 0: it must be finite and > 0": lambda: SpikeTrains.from_raster(raster(), dt=0),
    r"sample 0 has a spike at 1.5 ms, but the raster ends at 1.5 ms: give a longer duration, or": (
        lambda: TRAINS.to_raster(dt=0.5, duration=1.5)
    ),
    r"duration = 1e\+12 ms and dt = 0.1 ms make 10000000000000 steps of 3 units in 3 samples": (
        lambda: TRAINS.to_raster(dt=0.1, duration=1e12)
    ),
    r"recordings is one recording: give a list of structured arrays": (
        lambda: SpikeTrains.from_tonic(PIXELS[0], sensor_size=(3, 2, 2))
    ),
    r"recordings\[0\] = \[1.0\] has no field t: give a list": (
        lambda: SpikeTrains.from_tonic([[1.0]], sensor_size=(3, 2, 2))
    ),
    r"recordings\[0\] has no field y, of which sensor_size has 2: give": (
        lambda: SpikeTrains.from_tonic([recording((1, 0), fields="tx")], sensor_size=(3, 2, 1))
    ),
    r"recordings\[0\]\['x'\]\[0\] = 2: with sensor_size = \(2, 2, 2\) it must be 0 to 1": (
        lambda: SpikeTrains.from_tonic(PIXELS, sensor_size=(2, 2, 2))
    ),
    r"recordings\[0\]\['x'\] has type float64: it must hold integers": (
        lambda: SpikeTrains.from_tonic(
            [np.zeros(1, [("t", int), ("x", float)])], sensor_size=(2, 1, 1)
        )
    ),
    r"recordings\[0\]\['p'\] has the polarities \[0, 1\], but sensor_size = \(3, 2, 1\) has one: "
    r"give \(width, height, 2\), or merge them": (
        lambda: SpikeTrains.from_tonic(PIXELS, sensor_size=(3, 2, 1))
    ),
    r"sensor_size = \(3, 2\): give \(width, height, polarities\)": (
        lambda: SpikeTrains.from_tonic(PIXELS, sensor_size=(3, 2))
    ),
    r"samples\[0\] = 5: give pairs \(recording, class\), such as": (
        lambda: evsim.Dataset.from_tonic([5], sensor_size=(3, 2, 2))
    ),
    r"samples = 5: give pairs \(recording, class\)": (
        lambda: evsim.Dataset.from_tonic(5, sensor_size=(3, 2, 2))
    ),
    r"data = 3: give nir.EventData, with idx, time and n_neurons, or": (
        lambda: SpikeTrains.from_nir(3, unit="s")
    ),
    r"data.idx and data.time have the shapes \(1,\) and \(3, 2\): both must be": (
        lambda: SpikeTrains.from_nir(event_data(idx=[1]), unit="s")
    ),
    r"data.idx\[0, 0\] = -1 but data.time\[0, 0\] = 0.5: no event is -1 in the one and infinity": (
        lambda: SpikeTrains.from_nir(event_data(idx=[[-1, 0], [-1, -1], [1, -1]]), unit="s")
    ),
    r"data.value\[0, 1\] = 2: spikes carry no values; give nir.EventData, or values of 1": (
        lambda: SpikeTrains.from_nir(event_data(value=[[1, 2], [0, 0], [1, 0]]), unit="s")
    ),
    r"samples is empty: give one entry per sample": lambda: SpikeTrains.from_neo([]),
    r"samples\[0\] is one spike train: give one entry per sample": (
        lambda: SpikeTrains.from_neo([Quantity([1.0])])
    ),
    r"samples\[1\] has 1 spike trains: give 2 as samples\[0\], one for each unit; a silent unit": (
        lambda: SpikeTrains.from_neo([[Quantity([1.0]), Quantity([])], [Quantity([1.0])]])
    ),
    r"samples\[0\] has 0 spike trains: give at least one": lambda: SpikeTrains.from_neo([[]]),
    r"samples\[0\]\[0\] = \[1.0\] has no unit of time: give": (
        lambda: SpikeTrains.from_neo([[[1.0]]])
    ),
    r"samples\[0\]\[0\] is no time \(Unable to convert between units of 'mV' and 'ms'\): give": (
        lambda: SpikeTrains.from_neo([[Quantity([1.0], "mV")]])
    ),
    r"the spike trains of samples\[0\] begin at different times, t_start = 0, 1000 ms: give": (
        lambda: SpikeTrains.from_neo([[Quantity([1.0], t_start=Quantity(1.0)), Quantity([1.0])]])
    ),
    r"frame = \[1\]: give a data frame with the columns sample, time, unit": (
        lambda: SpikeTrains.from_frame([1], unit_count=3)
    ),
    r"frame has the columns sample, time, neuron, but no unit: rename them to sample, time, unit": (
        lambda: SpikeTrains.from_frame(table().rename(columns={"unit": "neuron"}), unit_count=3)
    ),
    r"samples\[0\] = 2: a batch of 2 has samples 0 to 1": (
        lambda: SpikeTrains.from_frame(table(), unit_count=3, batch_size=2)
    ),
    r"frame\['time'\] has type timedelta64.*times are plain numbers in ms": (
        lambda: SpikeTrains.from_frame(
            table(time=np.array([1, 2, 3], "timedelta64[ns]")), unit_count=3
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_spikes_is_refused(message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        REFUSED[message]()
