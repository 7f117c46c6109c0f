"""``~`` stands for the home folder in every path that a user may give."""

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_files import BRAILLE_FORMS, idx_bytes, write_spoken
from matplotlib.figure import Figure

import evsim
from evsim import cli, datasets, losses, plotting, storage
from evsim.arguments.paths import user_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(elsewhere)
    yield home
    assert not list(elsewhere.iterdir())  # no folder called "~"


def network():
    return evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 2)],
        [evsim.Connection("input", "output", [[1.0], [2.0]])],
    )


def test_what_is_written_and_read_again(home):
    storage.save_network("~/network", network())
    assert storage.load_network(Path("~/network")).population("output").units == 2
    assert plotting.save(Figure(), "~/pictures/empty.png") == home / "pictures" / "empty.png"
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    result = evsim.fit(
        network(), (spikes, [0]), losses.CrossEntropy(), duration=10.0, epochs=1,
        optimizers={"weight": evsim.SGD(0.1)}, run_folder="~/run", progress=False,
    )  # fmt: skip
    assert result.run_folder == home / "run"
    (home / "letters.pkl").write_bytes(BRAILLE_FORMS["rows"])
    datasets.convert_braille("~/letters.pkl", "~/letters.npz")
    assert len(datasets.read_braille("~/letters.npz")) == 3
    assert {own.name for own in home.iterdir()} >= {"network", "pictures", "run", "letters.npz"}


def test_data_folders(home, monkeypatch):
    folder = home / "data"
    folder.mkdir()
    for part in ("train", "test"):
        write_spoken(folder / f"spoken_digits_{part}.h5", 10)
    (folder / "images").write_bytes(idx_bytes(np.zeros((1, 2, 2), np.uint8)))
    assert datasets.read_idx("~/data/images", 3).shape == (1, 2, 2)
    assert len(datasets.read_recordings("~/data/spoken_digits_test.h5", classes=10).labels)
    assert len(datasets.spoken_digits("~/data", duration=2000.0)) == 2
    monkeypatch.setenv("EVSIM_DATA", "~/data")
    assert datasets.data_folder() == folder
    assert len(datasets.spoken_digits(duration=2000.0)) == 2


def test_the_command(home, capsys):
    arguments = [
        "--epochs",
        "1",
        "--train-size",
        "20",
        "--test-size",
        "20",
        "--no-pictures",
        "--no-progress",
    ]
    sizes = ["--validation-size", "20", "--hidden", "4"]
    assert cli.main(["train", "yin-yang", "--out", "~/run", *arguments, *sizes]) == 0
    assert (home / "run" / "test.json").is_file()
    capsys.readouterr()


def test_a_name_that_no_user_has_is_that_of_a_file(home):
    assert user_path("~no such user/x") == Path("~no such user/x")


# -- the names under which others keep files ------------------------------------------------


@pytest.mark.parametrize("form", ["MNIST/raw/{}", "raw/{}", "dotted", "dotted, packed"])
def test_mnist_as_others_keep_it(tmp_path, form):
    files = {
        "train-images-idx3-ubyte": np.full((2, 28, 28), 200, np.uint8),
        "train-labels-idx1-ubyte": np.array([3, 4], np.uint8),
        "t10k-images-idx3-ubyte": np.full((1, 28, 28), 200, np.uint8),
        "t10k-labels-idx1-ubyte": np.array([5], np.uint8),
    }
    for name, array in files.items():
        own = name.replace("-idx", ".idx") if "dotted" in form else form.format(name)
        path = tmp_path / (f"{own}.gz" if "packed" in form else own)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = idx_bytes(array)
        path.write_bytes(gzip.compress(content) if "packed" in form else content)
    train, test = datasets.mnist(tmp_path)
    assert (train.labels.tolist(), test.labels.tolist()) == ([3, 4], [5])


def test_shd_as_it_is_published(tmp_path):
    plain = tmp_path / "plain"
    write_spoken(plain, 20)
    for part in ("train", "test"):
        with zipfile.ZipFile(tmp_path / f"shd_{part}.h5.zip", "w") as archive:
            archive.write(plain, f"shd_{part}.h5")
    expected = datasets.read_recordings(plain, classes=20)
    assert all(part.spikes == expected.spikes for part in datasets.shd(tmp_path, duration=2000.0))
    assert not list(tmp_path.glob("*.h5"))


def test_archives_of_several_files_are_refused_unless_one_is_named_alike(tmp_path):
    plain, archive = tmp_path / "plain", tmp_path / "spoken.h5.zip"
    write_spoken(plain, 2)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(plain, "README")
        packed.write(plain, "folder/spoken.h5")
    assert len(datasets.read_recordings(archive, classes=2).labels) == 4
    shutil.move(archive, tmp_path / "other.zip")
    with pytest.raises(datasets.DataFileError, match=r"other\.zip is .* of 2 files: unzip it"):
        datasets.read_recordings(tmp_path / "other.zip", classes=2)
