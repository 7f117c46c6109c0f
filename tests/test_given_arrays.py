"""Arrays of all kinds keep their masks, units and meaning, or are refused by name."""

import datetime

import numpy as np
import pytest
from evsim.datasets import latency_spikes, stratified_split
from scipy.sparse import csr_array

import evsim
from evsim import augment, losses, metrics, plotting, readouts
from evsim.tasks import yin_yang

# -- stand-ins for types of other libraries ------------------------------------------------


class Quantity(np.ndarray):
    """An array with a unit, as those of several libraries are: NumPy takes its bare numbers."""

    units = "s"


class Boxed:
    """Numbers that an array of another library wraps."""

    def __init__(self, values, requires_grad=False):
        self.values = np.asarray(values)
        self.requires_grad = requires_grad

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.array(self.values, dtype=dtype)


class BoxedQuantity(Boxed):
    """As those of pint."""

    @property
    def units(self):
        return "second"


# -- every place where an array is given ---------------------------------------------------


def network(**changes):
    hidden = {name: value for name, value in changes.items() if name not in ("weight", "delay")}
    weight, delay = changes.get("weight", 5.0), changes.get("delay", 1.0)
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 2, **hidden), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", weight, delay),
            evsim.Connection("hidden", "output", 1.0),
        ],
    )


SPIKES = evsim.SpikeTrains.from_lists([[(1.0, 0)], [(2.0, 1)]], units=2)
RUN = evsim.simulate(network(), SPIKES, 20.0)


def replaced(name):
    return lambda values: network().replace({name: values})


def projected(values):
    name = "input->hidden.weight"
    optimizers, projections = {name: evsim.SGD(0.1)}, {name: lambda _: values}
    evsim.fit(
        network(weight=TABLE), (SPIKES, [0, 1]), losses.CrossEntropy(), duration=20.0, epochs=1,
        optimizers=optimizers, projections=projections, progress=False,
    )  # fmt: skip


def events(times=(1.0, 2.0), units=(0, 1), samples=(0, 0)):
    return evsim.SpikeTrains.from_events(times, units, samples, batch_size=2, unit_count=2)


TABLE, ROW, WHOLE = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 2.0]), np.array([0, 1])

# What a place is given, what it is called in messages, and how it is given.
PLACES = {
    "weight": (TABLE, "input->hidden.weight", lambda values: network(weight=values)),
    "delay": (TABLE, "input->hidden.delay", lambda values: network(delay=values)),
    "replaced weight": (TABLE, "input->hidden.weight", replaced("input->hidden.weight")),
    "replaced delay": (TABLE, "input->hidden.delay", replaced("input->hidden.delay")),
    "latencies": (TABLE, "latencies", evsim.SpikeTrains.from_latencies),
    "targets": (TABLE, "labels", lambda values: losses.SpikeTimeMSE().check_labels(values, 2, 2)),
    "targets of a dataset": (TABLE, "labels", lambda values: evsim.Dataset(SPIKES, values)),
    "projected": (TABLE, "projection of input->hidden.weight", projected),
    "points": (TABLE / 8, "points", lambda values: yin_yang.classify(values)),
    "tau_mem": (ROW, "hidden.tau_mem", lambda values: network(tau_mem=values)),
    "tau_syn": (ROW, "hidden.tau_syn", lambda values: network(tau_syn=values)),
    "threshold": (ROW, "hidden.threshold", lambda values: network(threshold=values)),
    "refractory": (ROW, "hidden.refractory", lambda values: network(refractory=values)),
    "replaced tau_mem": (ROW, "hidden.tau_mem", replaced("hidden.tau_mem")),
    "times": (ROW, "times", lambda values: evsim.SpikeTrains(values, [0, 1], [0, 2], 2)),
    "event times": (ROW, "times", lambda values: events(times=values)),
    "probe times": (ROW, "times", lambda values: RUN.voltage("hidden", values)),
    "readout times": (ROW, "times", readouts.Voltage),
    "units": (WHOLE, "units", lambda values: evsim.SpikeTrains(ROW, values, [0, 2], 3)),
    "offsets": (WHOLE, "offsets", lambda values: evsim.SpikeTrains([1.0], [0], values, 3)),
    "event units": (WHOLE, "units", lambda values: events(units=values)),
    "samples": (WHOLE, "samples", lambda values: events(samples=values)),
    "labels": (WHOLE, "labels", lambda v: losses.CrossEntropy().check_labels(v, 2, 3)),
    "groups": (WHOLE, "groups", lambda values: evsim.Dataset(SPIKES, [0, 1], values)),
    "selected trains": (WHOLE, "index", lambda values: SPIKES[values]),
    "selected samples": (WHOLE, "index", lambda values: evsim.Dataset(SPIKES, [0, 1])[values]),
    "true classes": (WHOLE, "labels", lambda v: metrics.confusion_matrix(v, [0, 1], 3)),
    "predictions": (WHOLE, "predictions", lambda v: metrics.confusion_matrix([0, 1], v, 3)),
    "split labels": (WHOLE, "labels", lambda values: stratified_split(values, (0.5,), 0)),
    "pairs": (
        WHOLE[None], "pairs",
        lambda v: augment.Blend().blend(SPIKES, v, np.random.default_rng(0), 20.0),
    ),
    "counts": (np.eye(2, dtype=int), "counts", plotting.confusion_matrix),
}  # fmt: skip

FORMS = {
    "masked": lambda a: np.ma.array(a, mask=a == a.max()),
    "masked entry of a list": lambda a: with_last(a, np.ma.masked),
    "quantity": lambda a: a.view(Quantity),
    "quantities in a list": lambda a: with_last(a, np.array(1).view(Quantity)),
    "wrapped quantity": BoxedQuantity,
    "tensor in training": lambda a: Boxed(a, requires_grad=True),
    "spans": lambda a: a.astype("timedelta64[s]"),
    "spans in a list": lambda a: with_last(a, np.timedelta64(1, "s")),
    "spans of Python": lambda a: with_last(a, datetime.timedelta(seconds=1)),
    "dates": lambda a: a.astype("datetime64[s]"),
    "strings": lambda a: a.astype(str),
    "bytes": lambda a: a.astype(bytes),
    "complex": lambda a: a.astype(complex),
    "objects": lambda a: a.astype(object) + 10**30,
    "a truth value among numbers": lambda a: with_last(a, True),
    "nothing": lambda a: with_last(a, None),
    "ragged": lambda a: with_last(a, [1, 2, 3]),
}

MASK_MEANS_NONE = {
    (place, form)
    for place in ("latencies", "targets", "targets of a dataset")
    for form in ("masked", "masked entry of a list")
}


def with_last(array, entry):
    """An array as lists, with another last entry."""
    listed = array.tolist()
    (listed if array.ndim == 1 else listed[-1])[-1] = entry
    return listed


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_plain_number_is_refused_by_name(place, form):
    if (place, form) in MASK_MEANS_NONE:
        return
    array, name, give = PLACES[place]
    give(array)
    with pytest.raises((TypeError, ValueError), match=name):
        give(FORMS[form](array))


SAME = {
    "list": lambda a: a.tolist(),
    "tuples": lambda a: tuple(a) if a.ndim == 1 else tuple(map(tuple, a.tolist())),
    "rows in a list": list,
    "smallest type": lambda a: a.astype(np.float16 if a.dtype.kind == "f" else np.uint8),
    "other bytes": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "Fortran": np.asfortranarray,
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "nothing masked": np.ma.array,
    "wrapped": Boxed,
}


@pytest.mark.parametrize("place", PLACES)
def test_numbers_are_taken_in_every_form(place):
    array, _, give = PLACES[place]
    expected = give(array)
    read_only = array.copy()
    read_only.setflags(write=False)
    # A tuple is no selection of samples: NumPy would take it for one index for each axis.
    forms = [of for form, of in SAME.items() if not (form == "tuples" and "selected" in place)]
    results = [give(of(array)) for of in forms] + [give(read_only)]
    if isinstance(expected, evsim.SpikeTrains):
        assert all(result == expected for result in results)
    if isinstance(expected, evsim.Network):
        for name, value in expected.parameters.items():
            assert all(np.array_equal(result.parameters[name], value) for result in results)
    if isinstance(expected, np.ndarray):
        assert all(np.array_equal(result, expected) for result in results)


def test_other_libraries_arrays_are_treated_alike():
    pandas = pytest.importorskip("pandas")
    assert np.array_equal(
        network(tau_mem=pandas.Series([3.0, 4.0], index=["units", "unit"])).parameters[
            "hidden.tau_mem"
        ],
        [3.0, 4.0],
    )
    for spans in (
        pandas.Series(pandas.to_timedelta([1, 2], unit="s")),
        pandas.to_timedelta([1, 2], unit="s"),
        [pandas.Timedelta("1s"), 2.0],
        pandas.Series(["a", "b"]),
        pandas.Series([True, False]),
    ):
        with pytest.raises(TypeError, match="times"):
            events(times=spans)
    with pytest.raises(TypeError, match="duration"):
        evsim.simulate(network(), SPIKES, pandas.Timedelta("20ms"))


@pytest.mark.parametrize("library", ["pint", "quantities"])
def test_units_are_never_converted(library):
    module = pytest.importorskip(library)
    second = module.UnitRegistry().s if library == "pint" else module.s
    for given in (np.array([0.1, 0.2]) * second, [0.1 * second, 0.2 * second]):
        with pytest.raises(TypeError, match="times.* is a Quantity in .*plain numbers"):
            events(times=given)
    with pytest.raises(TypeError, match="duration is a Quantity in .*plain numbers"):
        evsim.simulate(network(), SPIKES, 0.02 * second)


# -- masks that mean something --------------------------------------------------------------


def test_a_masked_latency_is_no_spike():
    latencies = np.array([[1.0, 2.0], [3.0, 4.0]])
    expected = evsim.SpikeTrains.from_lists([[(1.0, 0)], [(3.0, 0), (4.0, 1)]], units=2)
    mask = [[False, True], [False, False]]
    for given in (
        np.ma.array(latencies, mask=mask),
        np.ma.array(latencies.astype(int), mask=mask),
        [[1.0, np.ma.masked], [3.0, 4.0]],
        [np.ma.array([1.0, 2.0], mask=mask[0]), [3.0, 4.0]],
    ):
        assert evsim.SpikeTrains.from_latencies(given) == expected


def test_a_masked_target_is_no_target():
    network_of_two = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("output", 2)],
        [evsim.Connection("input", "output", [[30.0, 0.0], [0.0, 30.0]])],
    )
    targets = np.array([[5.0, 7.0], [9.0, 11.0]])
    loss = losses.SpikeTimeMSE()
    for mask in (np.eye(2, dtype=bool), np.ones((2, 2), bool)):
        wanted = np.where(mask, np.nan, targets)
        expected = evsim.gradient(network_of_two, SPIKES, wanted, loss, 20.0)
        masked = np.ma.array(targets, mask=mask)
        found = evsim.gradient(network_of_two, SPIKES, masked, loss, 20.0)
        assert found.loss == expected.loss
        assert np.array_equal(evsim.Dataset(SPIKES, masked).labels, wanted, equal_nan=True)
    assert expected.loss == 0.0


def test_masked_classes_are_refused():
    with pytest.raises(ValueError, match=r"labels\[1\] is masked"):
        evsim.Dataset(SPIKES, np.ma.array([0, 1], mask=[False, True]))


# -- the rest -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["weight", "delay"])
def test_sparse_parameters_hold_real_numbers(kind):
    for data in ([True, True], [1j, 1.0]):
        matrix = csr_array((np.array(data), [0, 1], [0, 1, 2]), shape=(2, 2))
        values = {"weight": csr_array(np.eye(2)), kind: matrix}
        with pytest.raises(TypeError, match=rf"input->hidden\.{kind} has type"):
            network(**values)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.array([1, 2.5], object), "times has type object: it must hold numbers"),
        (np.array([1, None], object), "times holds a NoneType: it must hold numbers"),
        ([2**70, 1], "times holds an integer beyond 64 bits: it must hold numbers"),
    ],
)
def test_arrays_of_objects_are_refused_for_what_is_wrong_with_them(times, message):
    with pytest.raises(TypeError, match=message):
        evsim.SpikeTrains(times, [0, 0], [0, 2], 1)


def test_labels_beyond_64_bits_are_refused():
    with pytest.raises(ValueError, match=r"labels\[1\] = 9223372036854775808"):
        evsim.Dataset(SPIKES, np.array([0, 2**63], np.uint64))


def test_truth_values_select_and_numbers_are_no_mask():
    assert SPIKES[np.array([False, True])] == SPIKES[1]
    with pytest.raises(
        TypeError, match="inside returned .*: it must return one bool for each point"
    ):
        plotting.decision_map(
            lambda points: np.zeros(len(points), int), np.zeros((1, 2)), [0], ["a"],
            inside=lambda points: np.ones(len(points), int), resolution=2,
        )  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        lambda number: evsim.simulate(network(), SPIKES, number),
        lambda number: evsim.Adam(number),
        lambda number: evsim.Normal(number, 1.0),
        lambda number: evsim.SpikeTrains([], [], [0], number),
        lambda number: evsim.LIF("a", number),
        lambda number: augment.Thin(number),
        lambda number: augment.Shift(number),
        lambda number: augment.delay_line(SPIKES, 2, number),
        lambda number: evsim.Dropout({"hidden": number}),
        lambda number: losses.TimeInvariantMSE(number),
        lambda number: readouts.SpikeTimes(number),
        lambda number: latency_spikes(np.zeros((1, 1, 1), np.uint8), 20.0, margin=number),
    ],
)
@pytest.mark.parametrize(
    "number",
    [np.timedelta64(1, "s"), np.array(1).view(Quantity), np.ma.masked, True, "1", 1j, None],
)
def test_a_single_number_is_a_plain_one(call, number):
    with pytest.raises(TypeError):
        call(number)


def test_a_loss_of_masked_values_is_refused():
    class Masked(losses.CrossEntropy):
        def __call__(self, values, labels, duration):
            loss, slopes = super().__call__(values, labels, duration)
            return np.ma.array(loss, mask=[True, False]), slopes

    with pytest.raises(ValueError, match=r"losses of Masked\[0\] is masked"):
        evsim.gradient(network(), SPIKES, [0, 1], Masked(), 20.0)
