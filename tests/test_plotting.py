import sys
import threading
import types
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.sparse import csr_array

import evsim
from evsim import plotting, study
from evsim.plotting.activity import arrivals_at
from evsim.tasks import sequence
from evsim.training import EpochRecord


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def gradient():
    """Two samples of a small network: hidden unit 1 is silent, two synapses are inhibitory."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 2), evsim.LI("output", 2)],
        [
            evsim.Connection(
                "input", "hidden", [[6.0, 4.0], [-2.0, 1.0]], [[0.0, 3.0], [1.0, 0.0]]
            ),
            evsim.Connection("hidden", "output", [[1.0, 1.0], [-1.0, 1.0]], 2.0),
        ],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0), (4.0, 1)], [(38.0, 1)]], units=2)
    loss = evsim.losses.CrossEntropy()
    return evsim.gradient(network, spikes, [0, 1], loss, 40.0)


def line(ax, label):
    """Data of the artists of that label, one array (2, points) each."""
    return [np.array(own.get_data(), float) for own in ax.lines if own.get_label() == label]


def record(epoch, loss, accuracy, validation=True):
    return EpochRecord(
        epoch=epoch, loss=loss, accuracy=accuracy,
        validation_loss=2 * loss if validation else None,
        validation_accuracy=accuracy / 2 if validation else None,
        seconds=1.0, spikes_per_sample={}, silent_units={}, smallest_drive=None,
        arrivals=0, arrivals_after_end=0,
    )  # fmt: skip


# -- activity -----------------------------------------------------------------------------


def test_a_raster_has_one_mark_for_each_spike_in_its_unit_s_row(gradient):
    ax = plotting.raster(gradient.run, sample=0)
    assert ax.get_xlabel() == "time (ms)"
    assert [text.get_text() for text in ax.get_yticklabels()] == ["input (2)", "hidden (2)"]
    marks = {artist.get_label(): artist.get_segments() for artist in ax.collections}
    for name in ("input", "hidden"):
        trains = gradient.run.spikes[name][0]
        assert trains.times.size
        assert [segment[0][0] for segment in marks[name]] == trains.times.tolist()
        rows = np.array([segment[0][1] for segment in marks[name]])
        np.testing.assert_allclose(np.diff(rows), np.diff(trains.units))
    heights = {name: max(p[1] for s in own for p in s) for name, own in marks.items()}
    assert heights["input"] < min(p[1] for s in marks["hidden"] for p in s)


def test_arrivals_are_spikes_after_their_delays_within_the_trial(gradient):
    times, weights = arrivals_at(gradient.run, "hidden", 0, 0)
    assert (times.tolist(), weights.tolist()) == ([1.0, 7.0], [6.0, 4.0])
    # 38 + 3 ms is after the end of the trial.
    assert arrivals_at(gradient.run, "hidden", 0, 1)[0].size == 0
    assert arrivals_at(gradient.run, "hidden", 1, 1)[0].tolist() == [38.0]


def test_traces_show_the_engine_s_values_and_upright_jumps(gradient):
    figure = plotting.traces(gradient, {"hidden": [0], "output": [1]})
    panels = np.array(figure.axes).reshape(4, 2)
    assert [ax.get_ylabel() for ax in panels[:, 0]] == [
        "$V$",
        "$I$",
        r"$\lambda_V$",
        r"$\lambda_I$",
    ]
    assert [ax.get_title() for ax in panels[0]] == ["hidden 0", "output 1"]
    assert {ax.get_xlabel() for ax in panels[-1]} == {"time (ms)"}

    emissions = gradient.run.spikes["hidden"][0].times
    for ax in panels[:, 0]:
        marks = [own for own in ax.collections if own.get_label() == "emission"]
        assert [segment[0][0] for segment in marks[0].get_segments()] == emissions.tolist()
    assert not panels[0, 1].collections
    times, voltage = panels[0, 0].lines[0].get_data()
    expected = gradient.run.voltage("hidden", times)[0, 0]
    np.testing.assert_array_equal(voltage, expected)
    # On both sides of an emission: threshold before, reset after.
    before, after = np.searchsorted(times, emissions[0]) + np.array([-1, 0])
    assert times[after] - times[before] < 1e-6
    assert voltage[before] == pytest.approx(1.0, abs=1e-6)
    assert voltage[after] == pytest.approx(0.0, abs=1e-6)

    adjoint_times, adjoint = panels[2, 1].lines[0].get_data()
    np.testing.assert_array_equal(adjoint, gradient.lambda_V("output", adjoint_times)[0, 1])
    assert np.abs(adjoint).max() > 0

    excitation, inhibition = (f"arrival, weight {sign} 0" for sign in "><")
    assert line(panels[1, 0], excitation)[0][0].tolist() == [1.0, 7.0]
    np.testing.assert_allclose(line(panels[1, 1], inhibition)[0][0], emissions + 2.0)
    assert line(panels[0, 0], "threshold")
    assert not line(panels[0, 1], "threshold")


def test_traces_of_a_run_have_no_adjoints(gradient):
    figure = plotting.traces(gradient.run, {"output": [0]}, sample=1)
    assert [ax.get_ylabel() for ax in figure.axes] == ["$V$", "$I$"]


@pytest.mark.parametrize(
    ("units", "sample", "message"),
    [
        ({"hidden": [2]}, 0, r"units\['hidden'\] holds 2: it has units 0 to 1"),
        ({}, 0, "units chooses nothing"),
        ({"hidden": [0]}, 2, "sample = 2: the batch has samples 0 to 1"),
        ({"hiden": [0]}, 0, "there is no population 'hiden'"),
    ],
)
def test_traces_of_what_is_not_there_are_refused(gradient, units, sample, message):
    with pytest.raises(ValueError, match=message):
        plotting.traces(gradient, units, sample=sample)


# -- delays -------------------------------------------------------------------------------


def test_the_histogram_counts_every_synapse_before_and_after(gradient):
    before = gradient.run.network
    delays = np.array([[0.0, 6.0], [6.0, 5.9]])
    after = before.replace({"input->hidden.delay": delays})
    ax = plotting.delay_histogram(before, after, "input->hidden", bins=6)
    assert ax.get_xlabel() == "delay input → hidden (ms)"
    assert [bar.get_height() for bar in ax.patches[:6]] == [1, 0, 0, 0, 0, 3]
    with pytest.raises(ValueError, match="there is no connection 'input->output'"):
        plotting.delay_histogram(before, after, "input->output")
    empty = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", 1)],
        [evsim.Connection("input", "hidden", csr_array((1, 1)), delay=csr_array((1, 1)))],
    )
    with pytest.raises(ValueError, match="input->hidden has no synapses"):
        plotting.delay_histogram(empty, empty, "input->hidden")


def test_a_tower_is_cut_and_its_height_written():
    before = evsim.Network(
        [evsim.Input("input", 10), evsim.LIF("hidden", 10)],
        [evsim.Connection("input", "hidden", 1.0, delay=np.zeros((10, 10)))],
    )
    after = before.replace({"input->hidden.delay": np.linspace(0, 9.99, 100).reshape(10, 10)})
    ax = plotting.delay_histogram(before, after, "input->hidden", bins=10)
    assert ax.get_ylim() == (0, 14)
    assert [text.get_text() for text in ax.texts] == ["↑ 100 before"]


def test_matrices_share_one_scale_and_show_a_shared_delay_everywhere(gradient):
    network = gradient.run.network
    ax = plotting.delay_matrix(network, "hidden->output")
    np.testing.assert_array_equal(ax.images[0].get_array(), np.full((2, 2), 2.0))
    assert {text.get_text() for text in ax.texts} == {"2.0"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("hidden unit", "output unit")
    other = network.replace({"input->hidden.delay": [[9.0, 0.0], [0.0, 0.0]]})
    figure = plotting.delay_matrices({"one": network, "two": other}, "input->hidden")
    one, two = figure.axes[:2]
    assert one.images[0].get_clim() == two.images[0].get_clim() == (0.0, 9.0)
    assert figure.axes[2].get_ylabel() == "delay (ms)"


# -- learning and decisions ---------------------------------------------------------------


def test_learning_curves_show_every_epoch_and_the_best():
    history = [record(1, 3.0, 0.25), record(2, 1.0, 0.75), record(3, 2.0, 0.5)]
    above, below = plotting.learning_curve(history, best_epoch=2).axes
    np.testing.assert_array_equal(line(above, "training")[0], [[1, 2, 3], [3.0, 1.0, 2.0]])
    np.testing.assert_array_equal(line(above, "validation")[0][1], [6.0, 2.0, 4.0])
    np.testing.assert_array_equal(line(below, "validation")[0][1], [12.5, 37.5, 25.0])
    assert (below.get_xlabel(), below.get_ylabel()) == ("epoch", "accuracy (%)")
    assert all(ax.lines[-1].get_xdata()[0] == 2 for ax in (above, below))
    assert above.texts[0].get_text() == "best epoch: 2"

    without = plotting.learning_curve([record(1, 3.0, 0.25, validation=False)])
    assert not line(without.axes[0], "validation")
    with pytest.raises(ValueError, match="history is empty"):
        plotting.learning_curve([])


def test_learning_curves_without_classes_show_the_loss_alone_and_rates_if_asked_for():
    (only,) = plotting.learning_curve(
        [record(1, 3.0, None, False), record(2, 2.0, None, False)]
    ).axes
    np.testing.assert_array_equal(line(only, "training")[0], [[1, 2], [3.0, 2.0]])
    assert only.get_xlabel() == "epoch"

    def rates(weight, delay):
        return {"a->b.weight": weight, "b->c.weight": weight, "a->b.delay": delay}

    history = [
        replace(record(epoch, 1.0, 0.5), learning_rates=rates(weight, 0.1))
        for epoch, weight in enumerate((1e-3, 1e-2, 2e-2), 1)
    ]
    below = plotting.learning_curve(history, learning_rates=True).axes[-1]
    assert line(below, "weight")[0][1].tolist() == [1e-3, 1e-2, 2e-2]
    assert line(below, "delay")[0][1].tolist() == [0.1, 0.1, 0.1]
    other = {**history[0].learning_rates, "b->c.weight": 0.5}
    history[0] = replace(history[0], learning_rates=other)
    below = plotting.learning_curve(history, learning_rates=True).axes[-1]
    assert line(below, "b → c.weight")[0][1].tolist() == [0.5, 1e-2, 2e-2]
    with pytest.raises(ValueError, match="history has no learning rates"):
        plotting.learning_curve([record(1, 3.0, 0.5)], learning_rates=True)


def test_a_confusion_matrix_shows_shares_of_each_true_class_and_the_counts():
    counts = np.array([[3, 1], [0, 0]])
    ax = plotting.confusion_matrix(counts, ["yes", "no"], unclassified=np.array([0, 5]))
    np.testing.assert_array_equal(ax.images[0].get_array(), [[75.0, 25.0, 0.0], [0.0, 0.0, 100.0]])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["yes", "no", "none"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["yes", "no"]
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(0, 0): "3", (1, 0): "1", (2, 1): "5"}
    plain = plotting.confusion_matrix(np.eye(20, dtype=int), unclassified=np.zeros(20, int))
    assert len(plain.get_xticklabels()) == 20
    assert not plain.texts
    with pytest.raises(ValueError, match="names has 3 for 2 classes"):
        plotting.confusion_matrix(counts, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"counts has shape \(2, 3\)"):
        plotting.confusion_matrix(np.ones((2, 3), int))


def test_a_decision_map_shows_predictions_and_marks_wrong_ones():
    sizes = []

    def predict(points):
        sizes.append(len(points))
        return np.where(points[:, 1] > 0.5, 1, np.where(points[:, 0] > 0.5, 0, -1))

    points = np.array([[0.8, 0.2], [0.3, 0.8], [0.9, 0.1], [0.2, 0.1]])
    ax = plotting.decision_map(
        predict,
        points,
        np.array([0, 1, 1, 0]),
        ["a", "b"],
        inside=lambda grid: grid[:, 0] < 0.9,
        resolution=10,
        batch_size=32,
    )
    decided = np.asarray(ax.images[0].get_array())
    assert decided[9, 0] == 1
    assert decided[0, 8] == 0
    assert decided[0, 0] == -1
    np.testing.assert_array_equal(decided[:, 9], -2)
    assert sum(sizes) == 90 + 4
    assert max(sizes) == 32
    assert line(ax, "a")[0].T.tolist() == [[0.8, 0.2]]
    assert line(ax, "b")[0].T.tolist() == [[0.3, 0.8]]
    assert line(ax, "wrong (2 of 4)")[0].T.tolist() == [[0.9, 0.1], [0.2, 0.1]]
    with pytest.raises(ValueError, match="predict returned class 7, and names has 2"):
        plotting.decision_map(lambda at: np.full(len(at), 7), points, [0, 1, 1, 0], ["a", "b"])


# -- showing ------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch):
    """The figures that a backend with windows has been told to show."""
    shown = []

    class Manager(FigureManagerBase):
        @classmethod
        def pyplot_show(cls, *, block=None):
            shown.extend(pyplot.figure(number) for number in pyplot.get_fignums())

    class Canvas(FigureCanvasAgg):
        manager_class = Manager

    backend = types.ModuleType("backend_with_windows")
    backend.FigureCanvas = Canvas
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    before = matplotlib.get_backend()
    pyplot.switch_backend(f"module://{backend.__name__}")
    yield shown
    pyplot.close("all")
    pyplot.switch_backend(before)


def test_pyplot_shows_every_picture_once_also_one_that_was_saved(gradient, windows, tmp_path):
    figure = plotting.traces(gradient, {"output": [0]})
    ax = plotting.raster(gradient.run)
    assert pyplot.gcf() is ax.figure
    plotting.save(figure, tmp_path / "traces.png")
    drawn_into = plotting.raster(gradient.run, ax=ax)
    pyplot.show()
    assert windows == [figure, ax.figure]
    assert drawn_into is ax


@pytest.mark.parametrize("registered", [True, False])
def test_a_notebook_shows_a_picture_once(gradient, windows, monkeypatch, registered):
    """As the value of a cell, and not again at its end, where pyplot's figures are shown."""
    displayed = []
    notebook = types.ModuleType("IPython.display")
    notebook.display = lambda data, raw: displayed.append(data)
    ipython = types.ModuleType("IPython")
    ipython.version_info, ipython.get_ipython = (9, 0), lambda: None  # which matplotlib asks
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    figure = plotting.traces(gradient, {"output": [0]})
    assert figure._repr_png_().startswith(b"\x89PNG")
    if not registered:
        pyplot.close(figure)
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "inline")
    figure._ipython_display_()
    assert [data["image/png"][1:4] for data in displayed] == [b"PNG"]
    pyplot.show()
    assert windows == []


@pytest.mark.slow
def test_saving_where_nothing_can_be_shown_leaves_no_figure_open(gradient, tmp_path):
    assert matplotlib.get_backend().lower() == "agg"
    mine = pyplot.figure()
    for _ in range(30):
        plotting.save(plotting.raster(gradient.run).figure, tmp_path / "raster.png")
    plotting.save(mine, tmp_path / "mine.png")
    assert pyplot.get_fignums() == [mine.number]


@pytest.mark.slow
def test_training_and_tasks_leave_pyplot_alone(gradient, windows, tmp_path, monkeypatch):
    mine = pyplot.figure()
    monkeypatch.setattr(pyplot, "figure", None)
    drawn = []

    def draw(state):
        figure = plotting.learning_curve(state.history)
        drawn.append(plotting.save(figure, tmp_path / f"{state.epoch}.png"))

    settings = sequence.Settings(epochs=25)
    result = sequence.train(settings, callbacks=[draw], progress=False)
    assert len({path.read_bytes() for path in drawn}) == 25
    assert len(sequence.pictures(result, settings, tmp_path / "run")) == 4
    other = threading.Thread(target=plotting.raster, args=(gradient.run,))
    other.start()
    other.join()
    assert pyplot.get_fignums() == [mine.number]
    assert pyplot.gcf() is mine


def test_pictures_are_drawn_where_the_backend_asked_for_cannot_be_had(gradient, monkeypatch):
    def no_display(**look):
        raise ImportError("Cannot load backend 'TkAgg'")

    monkeypatch.setattr(pyplot, "figure", no_display)
    assert plotting.traces(gradient, {"output": [0]})._repr_png_().startswith(b"\x89PNG")


# -- files --------------------------------------------------------------------------------


def test_saving_makes_a_whole_file_and_changes_nothing_global(gradient, tmp_path):
    before = dict(matplotlib.rcParams)
    figure = plotting.rasters(gradient.run, [0, 1], ["first", "second"])
    path = plotting.save(figure, tmp_path / "new" / "spikes.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == ["spikes.png"]
    assert [ax.get_title() for ax in figure.axes] == ["first", "second"]
    assert dict(matplotlib.rcParams) == before


def test_saving_through_a_link_keeps_the_link(gradient, tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "far" / "picture.png")
    for _ in range(2):  # the file is made, and then replaced
        assert plotting.save(plotting.raster(gradient.run).figure, link) == link
        assert link.is_symlink()
        assert [path.name for path in (tmp_path / "far").iterdir()] == ["picture.png"]
    assert link.read_bytes().startswith(b"\x89PNG")


# -- studies --------------------------------------------------------------------------------


def test_means_of_a_study_are_drawn_with_their_spread_and_every_run():
    columns = {
        "hidden": [5, 5, 5, 10, 10, 5, 5, 10],
        "delays": [True] * 5 + [False] * 3,
        "seed": [0, 1, 2, 0, 1, 0, 1, 0],
        "state": ["finished"] * 7 + ["failed"],
        "accuracy": [0.5, 0.6, 0.7, 0.8, 0.9, 0.4, 0.5, None],
    }
    ax = plotting.study_means(study.Table(columns, ("hidden", "delays")))
    handles, names = ax.get_legend_handles_labels()
    assert names == ["delays", "no delays"]
    means, _, (bars,) = handles[0]
    np.testing.assert_allclose(np.array(means.get_ydata(), float), [60.0, 85.0])
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, [20.0, 2 * np.std([80, 90], ddof=1)])
    np.testing.assert_allclose(np.array(handles[1][0].get_ydata(), float), [45.0])
    runs = np.concatenate([own.get_ydata() for own in ax.lines if own.get_alpha() == 0.5])
    np.testing.assert_allclose(runs, [50, 60, 70, 80, 90, 40, 50])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["5", "10"]
    # Neither line hides the other.
    assert handles[0][0].get_xdata()[0] < 5 < handles[1][0].get_xdata()[0]


def test_infinity_stands_beside_the_other_values():
    columns = {"refractory": [0.0, np.inf, 1.0], "score": [1.0, 2.0, 3.0]}
    ax = plotting.study_means(study.Table(columns, ("refractory",)))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "inf", "1"]


def test_settings_in_words_stand_side_by_side():
    columns = {"loss": ["sum", "max", "sum"], "score": [1.0, 2.0, 3.0]}
    ax = plotting.study_means(study.Table(columns, ("loss",)))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["sum", "max"]
    assert ax.get_legend() is None
    with pytest.raises(ValueError, match="x = 'los': choose one of loss; did you mean 'loss'"):
        plotting.study_means(study.Table(columns, ("loss",)), "los")
