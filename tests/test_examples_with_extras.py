"""Examples and notebooks that need other libraries; each runs where these are installed."""

import importlib.util
import re
from pathlib import Path

import pytest
from test_readme import WITH_EXTRAS, run_example

from evsim import plotting

# Other libraries may warn of each other.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))


# -- examples of pages --------------------------------------------------------------------


def tensorboard_has_every_epoch(names, folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "runs" / "tensorboard")).Reload()
    history = names["result"].history
    for tag, values in {
        "loss": [record.loss for record in history],
        "accuracy": [record.accuracy for record in history],
        "gradient_norms/input->output.delay": [
            record.gradient_norms["input->output.delay"] for record in history
        ],
    }.items():
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [record.epoch for record in history]
        assert [scalar.value for scalar in scalars] == pytest.approx(values, rel=1e-6)


def wandb_has_every_epoch(names, folder):
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = path.read_bytes()  # numbers in it are text
    for record in names["result"].history:
        for value in (record.loss, *record.gradient_norms.values()):
            assert repr(value).encode() in content


def optuna_has_ended_slow_trials(names, folder):
    states = [trial.state.name for trial in names["study"].trials]
    assert len(states) == 10
    assert set(states) == {"COMPLETE", "PRUNED"}
    pruned = [trial for trial in names["study"].trials if trial.state.name == "PRUNED"]
    assert all(
        trial.params["delay_rate"] < names["study"].best_params["delay_rate"] for trial in pruned
    )
    assert all(len(trial.intermediate_values) < 6 for trial in pruned)


CHECKS = {
    "torch.utils.tensorboard": tensorboard_has_every_epoch,
    "wandb": wandb_has_every_epoch,
    "optuna": optuna_has_ended_slow_trials,
}


def test_every_recipe_is_there():
    assert set(CHECKS) <= {module for modules in WITH_EXTRAS.values() for module in modules}


@pytest.mark.parametrize("name", WITH_EXTRAS)
def test_example(name, capsys, monkeypatch, tmp_path):
    for module in WITH_EXTRAS[name]:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names = run_example(name, capsys)
    for module in WITH_EXTRAS[name]:
        if module in CHECKS:
            CHECKS[module](names, tmp_path)


# -- notebooks ----------------------------------------------------------------------------


def executed(notebook, folder):
    """The notebook after a run in a new kernel; an error in a cell raises."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def pictures(cell):
    """The pictures that a cell shows."""
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def shows(notebook, text):
    """Whether a cell prints or shows a text."""
    return any(
        text in output.get("text", "") or text in output.get("data", {}).get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def site():
    """The module docs/site.py."""
    spec = importlib.util.spec_from_file_location("site_of_evsim", ROOT / "docs" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for module, use in {"torch": r"^import torch$", "pandas": r"\.to_frame\("}.items():
        if re.search(use, source, re.M):
            pytest.importorskip(module)
    done = executed(notebook, tmp_path)
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    for cell in code:
        draws = "evsim.plotting." in cell.source or "plt.show()" in cell.source
        assert len(pictures(cell)) == draws, cell.source
        told = [output.text for output in cell.outputs if output.get("name") == "stderr"]
        assert not [text for text in told if "evsim: compiling" not in text], cell.source
    assert shows(done, "spikes per unit and s")
    page = site().page_of_notebook(path.name, done)
    assert page.count("data:image/png;base64,") == sum(len(pictures(cell)) for cell in code)
    assert page.count("spikes per unit and s") == 1
    assert "Run it to see" not in page


DRAWN = {
    "raster": "plotting.raster(run)",
    "rasters": "plotting.rasters(run, [0, 1], ['first', 'second'])",
    "traces": "plotting.traces(run, {'output': [0]})",
    "confusion_matrix": "plotting.confusion_matrix(np.eye(2, dtype=int))",
    "decision_map": "plotting.decision_map(lambda points: (points[:, 0] > 0.5).astype(int), "
    "np.array([[0.2, 0.2], [0.8, 0.8]]), np.array([0, 1]), ['a', 'b'], resolution=10)",
    "delay_histogram": "plotting.delay_histogram(network, network, 'input->output')",
    "delay_matrix": "plotting.delay_matrix(network, 'input->output')",
    "delay_matrices": "plotting.delay_matrices({'a': network, 'b': network}, 'input->output')",
    "learning_curve": "plotting.learning_curve(result.history)",
    "spike_errors": "plotting.spike_errors(comparison)",
    "study_means": "plotting.study_means(table)",
}
"""A call of each function that draws, in the notebook of the next test."""

BEGIN = """
import matplotlib.pyplot as plt
import numpy as np
import evsim
from evsim import plotting
from evsim.tasks import sequence

draw = lambda state: plotting.learning_curve(state.history)
result = sequence.train(sequence.Settings(), callbacks=[draw], progress=False)
network = result.network
spikes = evsim.SpikeTrains.from_lists([[(0.0, 0), (9.0, 1)], [(2.0, 1)]], units=2)
run = evsim.simulate(network, spikes, 40.0)
spiking = evsim.Network(
    [evsim.Input("input", 2), evsim.LIF("output", 1)], [evsim.Connection("input", "output", 8.0)]
)
found = evsim.simulate(spiking, spikes, 40.0).spikes["output"]
later = evsim.SpikeTrains(found.times + 0.1, found.units, found.offsets, found.unit_count)
comparison = evsim.compare(spiking, spikes, later, 40.0)
columns = {"hidden": [5, 10], "state": ["finished"] * 2, "accuracy": [0.5, 0.75]}
table = evsim.study.Table(columns, settings=("hidden",))
"""


def test_every_plot_is_shown_once_in_a_notebook_as_a_value_and_by_show(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    assert set(DRAWN) == set(plotting.__all__) - {"save"}
    cells = [BEGIN, *DRAWN.values(), *(f"kept = {call}\nplt.show()" for call in DRAWN.values())]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells]
    )
    shown = [len(pictures(cell)) for cell in executed(notebook, tmp_path).cells]
    assert shown == [0] + [1] * 2 * len(DRAWN)
