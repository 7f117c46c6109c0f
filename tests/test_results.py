"""Results out: tables, files, predictions, norms of gradients, and what notebooks show."""

import html
import re
import subprocess
import sys
from dataclasses import dataclass, fields

import numpy as np
import pytest
from scipy.sparse import csr_array
from training_runs import DURATION, small_data, small_network, train

import evsim
from evsim import losses, readouts, storage, study
from evsim.storage import StorageError, load_arrays, save_arrays
from evsim.training import EpochRecord, History


def shared_network():
    """One connection of each way to share, and units with one value or several."""
    return evsim.Network(
        [
            evsim.Input("input", 3),
            evsim.LIF("hidden", 2, tau_mem=[10.0, 20.0], threshold=1.5),
            evsim.LI("output", 2),
        ],
        [
            evsim.Connection(
                "input", "hidden", csr_array([[5.0, 0.0, 6.0], [0.0, 7.0, 0.0]]), delay=2.0
            ),
            evsim.Connection("hidden", "output", [[1.0], [2.0]], delay=[[3.0, 4.0]]),
        ],
    )


# -- tables -------------------------------------------------------------------------------


def test_spikes_become_a_table():
    pytest.importorskip("pandas")
    spikes = evsim.SpikeTrains.from_lists([[(3.0, 1), (0.5, 0)], [], [(1.0, 1)]], units=2)
    frame = spikes.to_frame()
    assert list(frame.columns) == ["sample", "time", "unit"]
    assert frame.to_numpy().tolist() == [[0, 0.5, 0], [0, 3.0, 1], [2, 1.0, 1]]


def test_parameters_become_a_table_with_a_row_for_each_number():
    pandas = pytest.importorskip("pandas")
    frame = shared_network().to_frame()
    assert list(frame.columns) == ["parameter", "kind", "post", "pre", "unit", "value"]
    assert {str(frame[axis].dtype) for axis in ("post", "pre", "unit")} == {"Int64"}
    rows = {}
    for row in frame.itertuples():
        units = [None if pandas.isna(n) else int(n) for n in (row.post, row.pre, row.unit)]
        rows.setdefault(row.parameter, []).append([*units, row.value])
        assert row.parameter.endswith(f".{row.kind}")
    assert list(rows) == list(shared_network().parameters)
    assert rows["input->hidden.weight"] == [
        [0, 0, None, 5.0], [0, 2, None, 6.0], [1, 1, None, 7.0]
    ]  # fmt: skip
    assert rows["input->hidden.delay"] == [[None, None, None, 2.0]]
    assert rows["hidden->output.weight"] == [[0, None, None, 1.0], [1, None, None, 2.0]]
    assert rows["hidden->output.delay"] == [[None, 0, None, 3.0], [None, 1, None, 4.0]]
    assert rows["hidden.tau_mem"] == [[None, None, 0, 10.0], [None, None, 1, 20.0]]
    assert rows["hidden.threshold"] == [[None, None, None, 1.5]]


def test_a_history_becomes_a_table_with_a_row_for_each_epoch():
    pytest.importorskip("pandas")
    history = train(epochs=3).history
    assert isinstance(history, History)
    assert repr(history) == "History(3 epochs)"
    frame = history.to_frame()
    assert frame["epoch"].tolist() == [1, 2, 3]
    for name in ("loss", "validation_accuracy", "seconds"):
        assert frame[name].tolist() == [getattr(record, name) for record in history]
    for name, key in (
        ("spikes_per_sample", "hidden"),
        ("learning_rates", "input->hidden.delay"),
        ("gradient_norms", "hidden->hidden.weight"),
    ):
        found = frame[f"{name}.{key}"].tolist()
        assert found == [getattr(record, name)[key] for record in history]
    simple = {f.name for f in fields(EpochRecord) if isinstance(getattr(history[0], f.name), float)}
    assert simple <= set(frame.columns)


@pytest.mark.parametrize(
    "thing", [small_network(), small_data().spikes, History()], ids=lambda it: type(it).__name__
)
def test_without_pandas_a_table_says_what_to_install(thing, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = r"to_frame\(\) makes a pandas DataFrame .*: install pandas, pip install pandas"
    with pytest.raises(ImportError, match=message):
        thing.to_frame()


# -- files --------------------------------------------------------------------------------


def test_a_saved_network_and_the_best_one_of_a_run_are_loaded(tmp_path):
    network = small_network()
    network.save(tmp_path / "network.evsim")
    expected = storage.network_arrays(network)
    found = storage.network_arrays(evsim.load(tmp_path / "network.evsim"))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)

    result = train(tmp_path / "run", epochs=6)
    assert result.best_epoch < 6
    best = evsim.load(str(tmp_path / "run")).parameters
    for name in ("hidden->hidden.weight", "input->hidden.delay"):
        assert abs(best[name] - result.network.parameters[name]).max() == 0
    assert abs(best["hidden->hidden.weight"] - result.last_network.parameters[
        "hidden->hidden.weight"
    ]).max() > 0  # fmt: skip


def test_what_is_no_network_is_not_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*nowhere"):
        evsim.load(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"has no best\.safetensors: give the folder of a run"
    ):
        evsim.load(tmp_path)
    with pytest.raises(TypeError, match="path = 3: give the path of a network's file or a run"):
        evsim.load(3)
    train(tmp_path, epochs=1)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StorageError, match="is the checkpoint of a run: give its folder, evsim"):
        evsim.load(checkpoint)
    checkpoint.rename(tmp_path / "network.evsim")
    with pytest.raises(StorageError, match="'evsim checkpoint 2', not 'evsim network 1'"):
        evsim.load(tmp_path / "network.evsim")
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        small_network().save(tmp_path)


# -- predictions --------------------------------------------------------------------------


@dataclass(frozen=True)
class Squares(losses.IntegralLoss):
    """The integral of V squared, whatever the label."""

    def integrand(self, voltages, labels):
        return (voltages**2).sum(axis=1), 2.0 * voltages


VOLTAGES = evsim.Network(
    [evsim.Input("input", 3), evsim.LI("output", 2)],
    [evsim.Connection("input", "output", [[3.0, 0.0, 1.0], [0.0, 3.0, 1.0]])],
)
SPIKING = evsim.Network(
    [evsim.Input("input", 3), evsim.LIF("output", 2)],
    [evsim.Connection("input", "output", [[9.0, 0.0, 3.0], [0.0, 8.0, 0.0]])],
)


@pytest.mark.parametrize(
    "loss",
    [losses.CrossEntropy(), losses.TimeAveragedCrossEntropy(), Squares(),
     losses.FirstSpikeCrossEntropy()],
    ids=lambda loss: type(loss).__name__,
)  # fmt: skip
@pytest.mark.parametrize("size", [3, 256])
def test_predictions_are_those_of_evaluate_and_need_no_labels(loss, size):
    network = SPIKING if isinstance(loss, losses.FirstSpikeCrossEntropy) else VOLTAGES
    data = small_data()
    expected = evsim.evaluate(network, data, loss, DURATION)
    for given in (data.spikes, {"input": data.spikes}, data, (data.spikes, None)):
        found = evsim.predict(network, given, loss, DURATION, batch_size=size)
        np.testing.assert_allclose(found.readout, expected.readout, rtol=1e-9)
        assert found.predictions.tolist() == expected.predictions.tolist()
    assert len(set(found.predictions.tolist())) > 1


def test_a_loss_whose_summary_is_its_own_says_what_is_missing():
    class Summed(Squares):
        def summary(self, run, labels, integral):
            return integral.derivative_values

    with pytest.raises(TypeError, match="Summed overrides summary, .*: override readout_values"):
        evsim.predict(VOLTAGES, small_data(), Summed(), DURATION)


def test_a_readout_is_read_without_classes():
    readout = readouts.SpikeTimes(count=2, population="hidden")
    found = evsim.predict(small_network(), small_data().spikes, readout, DURATION, batch_size=4)
    run = evsim.simulate(small_network(), small_data().spikes, DURATION)
    assert np.array_equal(found.readout, run.read(readout))
    assert found.predictions is None
    voltages = losses.VoltageMSE(readouts.Voltage([10.0, 20.0]))
    found = evsim.predict(small_network(), small_data(), voltages, DURATION)
    assert (found.readout.shape, found.predictions) == ((10, 2, 2), None)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"readout": "peak"}, TypeError, "readout = 'peak': give a readout such as"),
        ({"data": small_data().spikes[:0]}, ValueError, "the data are empty: give at least one"),
        (
            {"data": [[(1.0, 0)]]},
            TypeError,
            r"data = \[\[\(1\.0, 0\)\]\]: give SpikeTrains, a mapping",
        ),
        ({"readout": readouts.FirstSpike()}, ValueError, "FirstSpike"),
        ({"readout": readouts.Voltage([50.0])}, ValueError, "50"),
        ({"data": {}}, ValueError, "data: no spikes are given for the input 'input'"),
        ({"batch_size": 0}, ValueError, "batch_size = 0: it must be at least 1"),
        ({"network": None}, TypeError, "network is of type NoneType: give an evsim.Network"),
    ],
)
def test_what_cannot_be_predicted_is_refused(changes, error, message):
    arguments = {
        "network": small_network(), "data": small_data(), "readout": readouts.Peak(),
        "duration": DURATION,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        evsim.predict(**{**arguments, **changes})


# -- norms of gradients -------------------------------------------------------------------


def test_the_record_has_the_mean_norm_of_the_batches_before_clipping():
    network, data = small_network(), small_data()
    names = ["input->hidden.weight", "hidden->hidden.weight", "hidden.tau_mem"]
    rate = 1e-300  # no step changes a bit
    optimizers = {
        names[0]: evsim.SGD(rate, clip=1e-6), names[1]: evsim.Adam(rate), names[2]: evsim.SGD(rate)
    }  # fmt: skip

    def norms(samples):
        part = data[samples]
        found = evsim.gradient(
            network, part.spikes, part.labels, losses.CrossEntropy(), DURATION, wrt=names
        ).parameters
        return [
            np.linalg.norm(found[names[0]].data),
            *(np.linalg.norm(found[n]) for n in names[1:]),
        ]

    for size, expected in (
        (1, np.mean([norms(sample) for sample in range(10)], axis=0)),
        (10, norms(np.arange(10))),
    ):
        (record,) = evsim.fit(
            network, data, losses.CrossEntropy(), duration=DURATION, optimizers=optimizers,
            epochs=1, batch_size=size, progress=False,
        ).history  # fmt: skip
        assert record.gradient_norms == pytest.approx(
            dict(zip(names, expected, strict=True)), rel=1e-9
        )
        assert record.clipped_steps == {names[0]: record.steps}


def test_a_run_of_an_earlier_version_is_resumed_without_norms(tmp_path):
    train(tmp_path, epochs=2)
    path = tmp_path / "checkpoint.safetensors"
    arrays, description = load_arrays(path, "checkpoint")
    for record in description["history"]:
        assert record.pop("gradient_norms")
    save_arrays(path, "checkpoint", arrays, description)
    history = train(tmp_path, epochs=3, resume=True).history
    assert [len(record.gradient_norms) for record in history] == [0, 0, 5]
    pytest.importorskip("pandas")
    column = history.to_frame()["gradient_norms.hidden->hidden.weight"]
    assert column.isna().tolist() == [True, True, False]


# -- what notebooks show ------------------------------------------------------------------


def cells(page):
    """The cells of each row of a table."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    found = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    return [[html.unescape(cell) for cell in row] for row in found]


def test_a_notebook_shows_what_is_in_a_run_and_a_gradient():
    network, data = small_network(), small_data()
    result = evsim.gradient(
        network, data.spikes, data.labels, losses.CrossEntropy(), DURATION,
        wrt=["delay", "hidden.tau_mem"],
    )  # fmt: skip
    run, counts = result.run, result.run.spike_counts["hidden"]
    header, of_input, of_hidden, of_output = cells(run._repr_html_())
    assert header[3:] == ["spikes", "spikes per unit and s", "silent units"]
    rate = counts.sum() / (4 * 10 * 0.04)
    assert of_hidden == ["hidden", "LIF", "4", str(counts.sum()), f"{rate:.4g}", "1"]
    assert of_input[:4] == ["input", "Input", "3", "30"]
    assert of_output == ["output", "LI", "2", "–", "–", "–"]

    rows = {row[0]: row[1:] for row in cells(result._repr_html_())}
    assert list(rows) == ["with respect to", *result.parameters]
    delay = result.parameters["hidden->hidden.delay"]
    norms = f"{np.linalg.norm(delay):.4g}", f"{np.abs(delay).max():.4g}"
    assert rows["hidden->hidden.delay"] == ["(1, 4)", *norms]
    assert rows["hidden.tau_mem"][0] == "()"
    assert f"{result.loss:.6g}" in result._repr_html_()
    assert repr(result).endswith(
        ", with respect to input->hidden.delay, hidden->hidden.delay, "
        "hidden->output.delay, hidden.tau_mem)"
    )
    assert max(len(repr(run)), len(repr(result))) < 250


def test_names_are_escaped_and_long_tables_cut():
    wicked = '<script>alert("x")</script>'.replace(".", "")
    populations = [evsim.Input(wicked, 1)] + [evsim.LIF(f"layer {n}", 1) for n in range(30)]
    connections = [evsim.Connection(wicked, "layer 0", 1.0)]
    network = evsim.Network(populations, connections)
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    result = evsim.gradient(network, spikes, np.zeros((1, 1, 1)), losses.SpikeTimeMSE(), DURATION)
    for shown in (result.run, result):
        page = shown._repr_html_()
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert page.count("<tr>") == 21
    assert "<p>and 11 more rows</p>" in result.run._repr_html_()
    assert "<p>and 132 more rows</p>" in result._repr_html_()


# -- names --------------------------------------------------------------------------------


def test_kinds_of_parameters_mean_the_same_to_gradient_and_to_fit():
    network, data = small_network(), small_data()
    for kind in ("weight", "delay", "tau_mem", "tau_syn", "threshold", "hidden.tau_mem"):
        matching = [name for name in network.parameters if name.endswith(kind)]
        assert matching
        result = evsim.gradient(
            network, data.spikes, data.labels, losses.CrossEntropy(), DURATION, wrt=[kind]
        )
        assert list(result.parameters) == matching
        trained = evsim.fit(
            network, data, losses.CrossEntropy(), duration=DURATION, epochs=1, progress=False,
            optimizers={kind: evsim.SGD(1e-9)},
        )  # fmt: skip
        assert list(trained.history[0].learning_rates) == matching
    both = evsim.gradient(
        network, data.spikes, data.labels, losses.CrossEntropy(), DURATION,
        wrt=["output.tau_syn", "tau_syn"],
    )  # fmt: skip
    assert list(both.parameters) == ["output.tau_syn", "hidden.tau_syn"]


@pytest.mark.parametrize("name", ["weights", "bias", "hidden"])
def test_an_unknown_name_is_refused_with_those_that_there_are(name):
    network, data = SPIKING, small_data()
    known = "weight, delay, tau_mem, tau_syn, threshold, reset, rest, input->output.weight"
    hint = r"did you mean 'weight'\?" if name == "weights" else f"there are {known}"
    with pytest.raises(ValueError, match=f"wrt: there is no parameter '{name}'; {hint}"):
        evsim.gradient(
            network, data.spikes, data.labels, losses.FirstSpikeCrossEntropy(), DURATION, wrt=[name]
        )
    message = f"optimizers: there is no parameter '{name}'; {hint}"
    with pytest.raises(ValueError, match=message):
        evsim.fit(
            network, data, losses.FirstSpikeCrossEntropy(), duration=DURATION, epochs=1,
            optimizers={name: evsim.SGD(1.0)},
        )  # fmt: skip


def test_tab_completion_finds_every_name_and_imports_nothing():
    program = (
        "import sys, evsim; before = set(sys.modules); names = dir(evsim); "
        "assert set(sys.modules) == before; print(*names)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    found = done.stdout.decode().split()
    assert {"fit", "Adam", "simulate", "predict", "load", *evsim.__all__} <= set(found)
    assert not {"annotations", "Any", "TYPE_CHECKING"} & set(found)
    assert {"Exact", "Grid"} <= set(dir(evsim.engines))
    assert "yin_yang" in dir(evsim.tasks)
    assert all(hasattr(evsim, name) for name in found)


def test_help_works_without_the_packages_that_some_modules_need():
    program = (
        "import sys, pydoc; sys.modules |= {'torch': None, 'jax': None}; import evsim; "
        "assert not {'torch', 'jax'} & set(dir(evsim)); print(pydoc.render_doc(evsim))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b"simulate" in done.stdout


def test_the_table_of_a_study_becomes_a_frame_and_a_parquet_file(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    columns = {
        "hidden": [3, 3, 5],
        "delays": [True, False, True],
        "state": ["finished", "failed", "waiting"],
        "accuracy": [0.1 + 0.2, None, None],
    }
    table = study.Table(columns, ("hidden", "delays"))
    table.save(tmp_path / "table.parquet")
    for frame in (table.to_frame(), pandas.read_parquet(tmp_path / "table.parquet")):
        assert list(frame.columns) == list(columns)
        assert frame["accuracy"][0] == 0.1 + 0.2
        assert frame["accuracy"].isna().tolist() == [False, True, True]
        assert frame["delays"].tolist() == columns["delays"]


def test_without_pyarrow_a_parquet_file_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="Parquet files need pyarrow .*pip install pyarrow"):
        study.Table({"x": [1]}).to_parquet()
