"""The claims about the papers: runs are stored, and figures refute a claim as it says."""

import json
import math

import pytest
from paper_losses import PaperLosses, refutations, table
from paper_mnist import PaperMnist
from paper_runs import standard_errors_above, stored
from paper_yin_yang import PaperYinYang
from preset_files import write_mnist, write_words
from silent_hidden_layer import SilentHiddenLayer

pytestmark = pytest.mark.slow


def test_run_is_kept_and_one_of_other_settings_replaced(tmp_path):
    file, calls = tmp_path / "run.json", []

    def run():
        calls.append(1)
        return {"accuracy": 0.5 + len(calls) / 10}

    assert stored(file, run, epochs=3) == stored(file, run, epochs=3)
    assert len(calls) == 1
    assert stored(file, run, epochs=4) == {"accuracy": 0.7, "epochs": 4}
    assert json.loads(file.read_text()) == {"accuracy": 0.7, "epochs": 4}


def test_standard_errors():
    assert standard_errors_above([0.9, 0.92], [0.8, 0.8]) == pytest.approx(11.0)
    assert standard_errors_above([0.8, 0.8], [0.9, 0.92]) == pytest.approx(-11.0)
    assert standard_errors_above([0.9, 0.9], [0.8, 0.8]) == math.inf
    assert standard_errors_above([0.9], [0.1, 0.2]) == 0.0  # one seed leaves it open


def test_yin_yang_is_refuted_by_what_it_says(tmp_path):
    def finding(half):
        for seed in range(2):
            for name, accuracy in (
                ("10-delays", half),
                ("10-weights", 0.9),
                ("20-delays", 0.98),
                ("20-weights", 0.95),
            ):
                record = {"test_accuracy": accuracy + 0.001 * seed, "epochs": 300}
                (tmp_path / f"{name}-{seed}.json").write_text(json.dumps(record))
        return PaperYinYang(sizes=(10, 20), seeds=2).examine(tmp_path)

    assert finding(half=0.96).holds
    (line,) = finding(half=0.94).refutations
    assert line.startswith("10 hidden units with delays have 94.05 ± 0.07 %, 20 without 95.05")
    assert finding(half=0.8).refutations[0].startswith("10 hidden units with delays have 80.05")
    assert len(finding(half=0.8).refutations) == 2


def record(test, train=0.9):
    return {
        "test_accuracy": test,
        "train_accuracy": train,
        "hidden_spikes": 10.0,
        "silent_units": 1,
        "chance": 0.1,
    }


def test_losses_are_refuted_by_what_they_say():
    def runs(**accuracies):
        return {
            loss: [record(value, value), record(value + 0.01, value)]
            for loss, value in accuracies.items()
        }

    good = runs(sum_exp=0.8, sum=0.5, xent=0.1)
    assert list(refutations(good)) == []
    assert [row[0] for row in table(good).rows] == ["sum_exp", "sum", "xent"]
    (line,) = refutations(runs(sum_exp=0.8, sum=0.9, xent=0.1))
    assert line.startswith("sum has 90.50 ± 0.71 %, 14.1 standard errors above sum_exp")
    (line,) = refutations(runs(sum_exp=0.8, sum=0.1, xent=0.2))
    assert line.startswith("sum has 10.50")
    (line,) = refutations(runs(sum_exp=0.8, xent=0.3))
    assert line == "xent learns 30.00 ± 0.00 % of the training samples"


@pytest.mark.parametrize(
    ("claim", "small"),
    [
        (PaperLosses, {"losses": ("sum_exp", "xent"), "train_size": 20, "hidden": 8}),
        (PaperMnist, {"losses": ("sum", "time"), "train_size": 40, "test_size": 20}),
    ],
)
def test_runs_on_files_and_goes_on(claim, small, tmp_path, monkeypatch):
    if claim is PaperMnist:
        write_mnist(tmp_path)
    else:
        write_words(tmp_path, "spoken_digits", 10, 6)
    small = {"data": tmp_path, "seeds": 1, "epochs": 1, **small}
    first = claim(**small).examine(tmp_path)
    monkeypatch.setattr(claim, "run", lambda *_: pytest.fail("trained again"))
    assert claim(**small).examine(tmp_path) == first
    assert first.holds is not None
    assert all((tmp_path / picture.file).exists() for picture in first.pictures)


def test_silent_hidden_layer_runs_on_files(tmp_path):
    write_words(tmp_path, "spoken_digits", 10, 6)
    claim = SilentHiddenLayer(data=tmp_path, samples=10, hidden=4, epochs=1)
    finding = claim.examine(tmp_path)
    assert [len(own.rows) for own in finding.tables] == [3, 4]
    assert (tmp_path / finding.pictures[0].file).exists()


@pytest.mark.parametrize("claim", [PaperLosses, PaperMnist, SilentHiddenLayer])
def test_without_data_nothing_is_examined(claim, tmp_path):
    finding = claim().examine(tmp_path)
    assert finding.holds is None
    assert "--data" in finding.summary
