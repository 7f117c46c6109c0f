"""Data sets: files in the published layouts, refused files, and where files are found."""

import functools
import gzip
import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from unittest import mock

import h5py
import numpy as np
import pooch
import pytest
from data_files import (
    BRAILLE_FORMS,
    GOOD_LETTERS,
    SPIKES,
    TOUCHES,
    idx_bytes,
    pickled,
    rows,
    touched,
    write_cochlea,
    write_spoken,
)
from evsim.datasets import DataFileError, PublishedFile, SpikesLeftOutWarning, locate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import evsim
from evsim import datasets, study
from evsim.data.readers import spoken_words as cochlea


def test_importing_brings_in_neither_hdf5_nor_the_network():
    program = "import sys, evsim.datasets; print(*{'h5py', 'pooch', 'requests'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


# -- idx ----------------------------------------------------------------------------------


@given(
    arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)), st.booleans()
)
def test_idx_arrays_come_back(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "array"
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(datasets.read_idx(path, array.ndim), array)


IMAGES = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it was not downloaded or copied; get it again"),
        (b"PK\3\4", "begins with the bytes 0x504b0304, .*another kind of file, or damaged"),
        (idx_bytes(np.zeros(3, np.uint8)), "0x00000801, .*it holds labels; give the other file"),
        (b"\0\0\x0d\3" + IMAGES[4:], "begins with the bytes 0x00000d03"),
        (IMAGES[:11], "ends inside its header, after 11 bytes.*get it again"),
        (IMAGES[:-1], r"announces the shape \(2, 3, 4\), 24 bytes, but 23 .*not copied whole"),
        (IMAGES + b"?", "24 bytes, but more than 24 bytes follow: it has something appended"),
        (
            gzip.compress(IMAGES, mtime=0)[:-9],
            "is a damaged gzip file .*delete it and get it again",
        ),
        (gzip.compress(IMAGES, mtime=0) + b"?", "is a damaged gzip file"),
    ],
)
def test_wrong_idx_files_are_refused(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=f"images .*{message}|images {message}"):
        datasets.read_idx(path, 3)


@given(
    arrays(np.uint8, st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3))),
    st.floats(4.5, 100.0),
    st.integers(0, 254),
)
def test_latencies_follow_the_formula(images, duration, background):
    expected = []
    for image in images:
        events = []
        for unit, x in enumerate(image.ravel().tolist()):
            if x > background:
                events.append(((255 - x) / 255 * (duration - 4) + 2, unit))
        expected.append(sorted(events))
    spikes = datasets.latency_spikes(images, duration, background=background)
    assert spikes.to_lists() == expected
    assert spikes.unit_count == images[0].size if len(images) else True


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (TypeError, {"images": np.zeros((1, 2, 2))}, "type float64 and shape .*give uint8"),
        (TypeError, {"images": np.zeros(4, np.uint8)}, r"shape \(4,\): give uint8"),
        (ValueError, {"duration": np.inf}, "duration = inf ms"),
        (ValueError, {"margin": 10.0}, "margin = 10.0 ms: it must be >= 0 and leave time"),
        (TypeError, {"background": 0.5}, "background = 0.5: it must be an integer"),
        (ValueError, {"background": 255}, "background = 255: it must be between 0 and 254"),
    ],
)
def test_impossible_latency_codes_are_refused(error, arguments, message):
    with pytest.raises(error, match=message):
        datasets.latency_spikes(**{"images": np.zeros((1, 2, 2), np.uint8)} | arguments)


# -- cochlea ------------------------------------------------------------------------------


@st.composite
def recordings(draw):
    """Times in s, in any order and with ties, and units, of a few recordings."""
    precision = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    width = np.dtype(precision).itemsize * 8
    time = st.one_of(st.floats(0.0, 0.125, width=width), st.sampled_from([0.0, 0.03125, 0.0625]))
    event = st.tuples(time, st.integers(0, 2))
    return precision, draw(st.lists(st.lists(event, max_size=8), min_size=1, max_size=5))


@given(recordings(), st.integers(1, 3), st.sampled_from([31.25, 62.5, np.inf]), st.booleans())
def test_recordings_are_those_of_a_loop(tmp_path_factory, recorded, chunk, duration, thinned):
    precision, samples = recorded
    path = tmp_path_factory.mktemp("cochlea") / "spoken.h5"
    times = [[time for time, _ in sample] for sample in samples]
    units = [[unit for _, unit in sample] for sample in samples]
    write_cochlea(path, times, units, [0] * len(samples), precision=precision)

    expected, cut, merged = [], 0, 0
    for sample in samples:
        kept, seen = [], set()
        for time, unit in sorted(sample, key=lambda event: event[0]):
            milliseconds = float(time) * 1000.0
            window = (unit, milliseconds // 10.0)
            if milliseconds >= duration:
                cut += 1
            elif thinned and window in seen:
                merged += 1
            else:
                kept.append((milliseconds, unit))
                seen.add(window)
        expected.append(kept)

    with mock.patch.object(cochlea, "_CHUNK", chunk):
        found = datasets.read_recordings(
            path,
            classes=1,
            unit_count=3,
            duration=duration,
            at_most_one_per=10.0 if thinned else None,
        )
    assert found.spikes.to_lists() == expected
    assert (found.cut, found.merged) == (cut, merged)


def test_labels_speakers_and_keys_come_with_the_recordings(tmp_path):
    path = tmp_path / "spoken.h5"
    write_spoken(path, 3)
    packed = tmp_path / "spoken.h5.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        found = datasets.read_recordings(file, classes=3)
        assert found.labels.tolist() == [0, 1, 2, 0]
        assert found.speakers.tolist() == [0, 1, 1, 0]
        assert found.keys == ("word 0", "word 1", "word 2")
        np.testing.assert_array_equal(found.dataset().groups, found.speakers)
    write_cochlea(path, [[0.5]], [[1]], [0], speaker=np.array([b"tim"]))
    assert datasets.read_recordings(path, classes=1).speakers.tolist() == [0]
    write_cochlea(path, [[0.5]], [[1]], [0])
    found = datasets.read_recordings(path, classes=1)
    assert found.speakers is None
    assert found.keys is None
    assert found.dataset().groups is None


def test_long_trials_are_refused_on_request(tmp_path):
    path = tmp_path / "spoken.h5"
    write_cochlea(path, [[0.5], [0.25, 1.0, 1.5], [2.0]], [[0], [0, 0, 0], [0]], [0, 0, 0])
    message = (
        r"spoken.h5: sample 1 has its last spike at 1500 ms, .*duration = 1000 ms: give a longer "
        'duration, or late="cut"'
    )
    with pytest.raises(DataFileError, match=message):
        datasets.read_recordings(path, classes=1, duration=1000.0, late="refuse")
    cut = datasets.read_recordings(path, classes=1, duration=1000.0)
    assert cut.spikes.to_lists() == [[(500.0, 0)], [(250.0, 0)], []]
    assert cut.cut == 3


def remove(name):
    return lambda file: file.__delitem__(name)


def replace(name, values, dtype=None):
    def change(file):
        del file[name]
        if dtype is None:
            file[name] = values
        else:
            made = file.create_dataset(name, len(values), h5py.vlen_dtype(dtype))
            for sample, row in enumerate(values):
                made[sample] = np.array(row, dtype)

    return change


TIMES = [[0.001], [0.002], [0.003], [0.004]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("spikes"), r"no one-dimensional dataset 'spikes/times' but \['extra', 'labels'\]"),
        (remove("spikes/units"), "no one-dimensional dataset 'spikes/units'.*layout of SHD"),
        (remove("labels"), "no one-dimensional dataset 'labels'"),
        (replace("spikes/times", np.zeros(4)), "spikes/times has type float64: it must hold one"),
        (replace("spikes/times", TIMES, np.int32), "spikes/times has type int32.*floating-point"),
        (replace("spikes/units", TIMES, np.float32), "spikes/units has type float32.*of integers"),
        (replace("spikes/times", TIMES[:3], np.float32), "number of samples, {'times': 3, 'units'"),
        (replace("labels", np.zeros(5, int)), "'labels': 5, 'speakers': 4}.*get it again"),
        (replace("extra/speaker", np.zeros(1, int)), "number of samples, .*'speakers': 1}"),
        (replace("extra/keys", np.array([b"one"])), "has 1 entries in extra/keys, not 2"),
        (
            replace("labels", np.zeros(4)),
            "sample 0 has the label 0.0, and .* float64",
        ),
        (replace("labels", np.array([0, 1, 2, 0])), "sample 2 has the label 2, but 2 classes"),
        (replace("labels", np.array([0, -1, 2, 0])), "sample 1 has the label -1"),
        (
            replace("spikes/times", TIMES, np.float32),
            "sample 0 has 1 entries in spikes/times but 2",
        ),
    ],
)
def test_files_of_another_layout_are_refused(tmp_path, change, message):
    path = tmp_path / "spoken.h5"
    write_spoken(path, 2)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataFileError, match=rf"spoken\.h5.*{message}"):
        datasets.read_recordings(path, classes=2)


@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        ([[0.5], [0.5, np.nan]], [[0], [0, 0]], "sample 1 has a spike at nan s: .*finite and >= 0"),
        ([[0.5], [np.inf]], [[0], [0]], "sample 1 has a spike at inf s"),
        ([[-0.5], [0.5]], [[0], [0]], "sample 0 has a spike at -0.5 s"),
        ([[0.5], [0.5]], [[0], [700]], "sample 1 has a spike of unit 700, .* from 0 to 699"),
        ([], [], "spikes/times is empty"),
    ],
)
def test_impossible_spikes_are_refused(tmp_path, times, units, message):
    path = tmp_path / "spoken.h5"
    write_cochlea(path, times, units, [0] * len(times))
    with (
        mock.patch.object(cochlea, "_CHUNK", 1),
        pytest.raises(DataFileError, match=rf"spoken\.h5: {message}"),
    ):
        datasets.read_recordings(path, classes=1)


def test_damaged_hdf5_files_are_refused(tmp_path):
    path = tmp_path / "spoken.h5"
    write_spoken(path, 2)
    content = path.read_bytes()
    message = "spoken.h5 cannot be read as HDF5 .*not copied whole; delete it and get it again"
    for damaged in (b"", b"no HDF5", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataFileError, match=message):
            datasets.read_recordings(path, classes=2)
    path.write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(DataFileError, match=r"spoken\.h5 is a damaged gzip file"):
        datasets.read_recordings(path, classes=2)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.read_recordings(tmp_path / "nowhere.h5", classes=2)


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ValueError, {"late": "keep"}, 'late = \'keep\': it must be "cut" or "refuse"'),
        (ValueError, {"duration": 0.0}, "duration = 0.0 ms: it must be > 0"),
        (ValueError, {"duration": np.nan}, "duration = nan ms: it must be > 0"),
        (TypeError, {"duration": "1 s"}, "duration = '1 s': it must be a time in ms"),
        (ValueError, {"at_most_one_per": 0}, "at_most_one_per = 0 ms: it must be > 0"),
        (ValueError, {"at_most_one_per": np.inf}, "at_most_one_per = inf ms: it must be finite"),
        (ValueError, {"classes": 0}, "classes = 0: it must be at least 1"),
        (TypeError, {"unit_count": 1.5}, "unit_count = 1.5: it must be an integer"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, error, arguments, message):
    with pytest.raises(error, match=message):
        datasets.read_recordings(tmp_path / "spoken.h5", **{"classes": 2} | arguments)


# -- Braille ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", BRAILLE_FORMS)
def test_every_published_form_of_braille_is_read_and_converted(tmp_path, form):
    path = tmp_path / "letters.pkl"
    path.write_bytes(BRAILLE_FORMS[form])
    converted = tmp_path / "letters.npz"
    datasets.convert_braille(path, converted)
    for data in (datasets.read_braille(path), datasets.read_braille(converted)):
        assert data.spikes.to_lists() == SPIKES
        assert data.spikes.unit_count == 24
        assert [datasets.BRAILLE_LETTERS[label] for label in data.labels] == ["Space", "Z", "A"]
    with np.load(converted, allow_pickle=False) as arrays:  # raises for objects
        assert {array.dtype.kind for array in arrays.values()} == {"f", "i"}


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "mkdir {}", "(posix|nt).system"),
        (os.mkdir, "{}", "(posix|nt).mkdir"),
        (exec, "import os; os.mkdir({!r})", "builtins.exec"),
        (eval, "__import__('os').mkdir({!r})", "builtins.eval"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_malicious_pickles_are_refused_and_not_run(tmp_path, function, argument, name, hidden):
    victim = tmp_path / "victim"
    attack = Malicious(function, argument.format(str(victim)))
    if hidden:
        attack = [*rows(), {"letter": "A", "events": attack}]
    path = tmp_path / "letters.pkl"
    path.write_bytes(pickled(attack))
    message = f"letters.pkl asks for {name}, .*nothing of it was run"
    for read in (datasets.read_braille, lambda path: datasets.convert_braille(path, path)):
        with pytest.raises(DataFileError, match=message):
            read(path)
    assert not victim.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - the attack works where pickles are run
    assert victim.exists()


def test_allowed_names_are_not_run_either(tmp_path):
    path = tmp_path / "letters.pkl"
    # An array of 8 TB, were it made.
    path.write_bytes(pickled([Malicious(np.ndarray, (10**12,), "f8")]))
    with pytest.raises(DataFileError, match="its sample 0 is not a dict with events and letter"):
        datasets.read_braille(path)


class Outside(pickle.Pickler):
    def persistent_id(self, obj):
        return "elsewhere" if obj == "Z" else None


def test_references_out_of_a_pickle_are_refused(tmp_path):
    path = tmp_path / "letters.pkl"
    with open(path, "wb") as file:
        Outside(file, 4).dump(rows())
    with pytest.raises(DataFileError, match="refers to the object 'elsewhere' outside the file"):
        datasets.read_braille(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickled(rows())[:-30], "cannot be read as a pickle file.*not copied whole"),
        (b"no pickle", "cannot be read as a pickle file"),
        (b"", "cannot be read as a pickle file"),
        (pickled(3.5), "since it holds neither a list of samples nor a table: get data_braille"),
        (pickled([]), "since it holds no samples"),
        (pickled([[1, 2]]), "since its sample 0 is not a dict with events and letter"),
        (pickled({"letter": ["A"]}), "since it has no column 'events'"),
        (pickled({"letter": ["A"], "events": []}), "columns differ in length"),
        (pickled({"letter": ["A"], "events": np.zeros(1)}), "a column holds no Python objects"),
        (pickled(rows([("a", touched())])), "sample 0 is the letter 'a', not Space or A to Z"),
        (pickled(rows([*TOUCHES, ("B", touched()[1:])])), "sample 3 does not have 12 taxels"),
        (pickled(rows([("B", [[[]]] * 12)])), "sample 0 has a taxel without one ON and one OFF"),
        (pickled(rows([TOUCHES[0], ("B", touched((-1.0, 0, 0)))])), "sample 1 has an .* -1.0 s"),
        (pickled(rows([*TOUCHES, ("B", touched((np.nan, 0, 0)))])), "sample 3 has an .* nan s"),
        (pickled(rows([*TOUCHES, ("B", touched(("x", 0, 0)))])), "sample 3 has an .* 'x' s"),
    ],
)
def test_pickles_without_braille_letters_are_refused(tmp_path, content, message):
    path = tmp_path / "letters.pkl"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=rf"letters\.pkl .*{message}"):
        datasets.read_braille(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": [0]}, r"it has the arrays \['extra', .*not \['labels', 'offsets'"),
        ({"units": [24]}, r"units\[0\] = 24"),
        ({"times": [-1.0]}, "-1.0 ms"),
        ({"labels": [27]}, "it has the label 27, beyond 26"),
        ({"labels": [-1]}, r"labels\[0\] = -1"),
        ({"labels": np.array([Malicious], object)}, "allow_pickle"),
    ],
)
def test_wrong_converted_files_are_refused(tmp_path, change, message):
    path = tmp_path / "letters.npz"
    np.savez(path, **GOOD_LETTERS)
    assert datasets.read_braille(path).spikes.to_lists() == [[(1.0, 23)]]
    np.savez(path, **GOOD_LETTERS | change)
    with pytest.raises(DataFileError, match=rf"letters\.npz .*{message}.*convert_braille"):
        datasets.read_braille(path)


# -- splits -------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 5))
def test_stratified_parts_keep_the_shares_of_classes(labels, seed):
    labels = np.array(labels, int)
    parts = datasets.stratified_split(labels, (0.7, 0.1), seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(labels.size))
    for label in range(4):
        counts = np.array([np.count_nonzero(labels[part] == label) for part in parts])
        assert np.all(abs(counts - np.array([0.7, 0.1, 0.2]) * counts.sum()) <= 1.0 + 1e-9)
    again = datasets.stratified_split(labels, (0.7, 0.1), seed)
    assert all(np.array_equal(*pair) for pair in zip(parts, again, strict=True))


def test_splits_depend_on_the_seed_and_leave_a_rest():
    labels = np.repeat(np.arange(27), 200)
    parts = datasets.stratified_split(labels, (0.7, 0.1), 0)
    assert [part.size for part in parts] == [27 * 140, 27 * 20, 27 * 40]
    assert not np.array_equal(parts[0], datasets.stratified_split(labels, (0.7, 0.1), 1)[0])
    for fractions in ((0.7, 0.3), (0.0,), (np.nan,)):
        with pytest.raises(ValueError, match="must be > 0 and leave a rest for the last part"):
            datasets.stratified_split(labels, fractions, 0)


# -- finding files ------------------------------------------------------------------------

FILES = [
    PublishedFile("a.h5", "a shelf", "https://example.org/a.h5.gz"),
    PublishedFile("b.h5", "a shelf", "https://example.org/b.h5.gz", instead=("b.npz",)),
]


def test_files_are_found_plain_packed_or_converted(tmp_path, monkeypatch):
    for name in ("a.h5.gz", "b.h5"):
        (tmp_path / name).touch()
    assert locate(FILES, tmp_path) == (tmp_path / "a.h5.gz", tmp_path / "b.h5")
    for name in ("a.h5", "b.npz"):
        (tmp_path / name).touch()
    assert locate(FILES, tmp_path) == (tmp_path / "a.h5", tmp_path / "b.npz")
    monkeypatch.setenv("EVSIM_DATA", str(tmp_path))
    assert locate(FILES) == (tmp_path / "a.h5", tmp_path / "b.npz")
    monkeypatch.setenv("EVSIM_DATA", "")
    assert datasets.data_folder() == pooch.os_cache("evsim")


def test_one_message_names_all_missing_files_and_the_remedies(tmp_path):
    message = (
        rf"no a.h5, b.h5 in {tmp_path}, plain or packed; they come from a shelf; "
        "pass download=True .*the argument folder or the environment variable EVSIM_DATA"
    )
    with pytest.raises(FileNotFoundError, match=message):
        locate(FILES, tmp_path)
    (tmp_path / "a.h5").touch()
    with pytest.raises(FileNotFoundError, match=r"no b\.h5 in"):
        locate(FILES, tmp_path)
    with pytest.raises(FileNotFoundError, match="no c.h5 in .*from a box; put them there"):
        locate([PublishedFile("c.h5", "a box")], tmp_path, download=True)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a server on this machine, and the folder it serves."""
    served = tmp_path / "served"
    served.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=served)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", served
        running.shutdown()
        thread.join()


def md5_of(path):
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_downloads_are_checked_unpacked_and_kept(tmp_path, server):
    address, served = server
    zipped(served / "a.h5.zip", **{"a.h5": b"spikes"})
    (served / "b.gz").write_bytes(gzip.compress(b"images"))
    files = [
        PublishedFile(name, "here", f"{address}/{served_as}", md5_of(served / served_as))
        for name, served_as in (("a.h5", "a.h5.zip"), ("b", "b.gz"))
    ]
    place = tmp_path / "cache"
    assert locate(files, place, download=True) == (place / "a.h5", place / "b.gz")
    assert (place / "a.h5").read_bytes() == b"spikes"
    (served / "a.h5.zip").unlink()
    assert locate(files, place) == (place / "a.h5", place / "b.gz")


def test_downloads_that_go_wrong_leave_nothing_behind(tmp_path, server):
    address, served = server
    (served / "a.gz").write_bytes(b"not what was published")
    zipped(served / "b.zip", other=b"")
    place = tmp_path / "cache"
    wrong = PublishedFile("a", "here", f"{address}/a.gz", "md5:" + "0" * 32)
    with pytest.raises(ValueError, match="does not match the known hash"):
        locate([wrong], place, download=True)
    absent = PublishedFile("c", "a shelf", f"{address}/c.gz", "md5:" + "0" * 32)
    message = f"{address}/c.gz could not be downloaded .*404.*or get c from a shelf"
    with pytest.raises(OSError, match=message):
        locate([absent], place, download=True)
    assert list(place.iterdir()) == []
    other = PublishedFile("b", "here", f"{address}/b.zip", md5_of(served / "b.zip"))
    with pytest.raises(DataFileError, match=r"b\.zip holds no b but \['other'\]"):
        locate([other], place, download=True)


def test_repositories_say_what_their_files_must_be(tmp_path, server, monkeypatch):
    address, served = server
    zipped(served / "letters.zip", letters=b"events")

    class Repository:
        checksum = md5_of(served / "letters.zip")

        def populate_registry(self, registered):
            registered.registry["letters.zip"] = self.checksum

        def download_url(self, name):
            return f"{address}/{name}"

    for module in ("pooch.core", "pooch.downloaders"):
        monkeypatch.setattr(f"{module}.doi_to_repository", lambda *_, **__: Repository())
    letters = PublishedFile("letters", "here", "doi:10.5281/zenodo.1/letters.zip")
    (path,) = locate([letters], tmp_path / "cache", download=True)
    assert path.read_bytes() == b"events"
    monkeypatch.setattr(Repository, "checksum", "md5:" + "0" * 32)
    with pytest.raises(ValueError, match="does not match the known hash"):
        locate([letters], tmp_path / "other", download=True)
    gone = PublishedFile("gone", "here", "doi:10.5281/zenodo.1/gone.zip")
    with pytest.raises(DataFileError, match=r"is not offered any more, but \['letters.zip'\]"):
        locate([gone], tmp_path, download=True)


# -- the data sets ------------------------------------------------------------------------


def write_mnist(folder, labels=(3, 9)):
    images = np.zeros((2, 28, 28), np.uint8)
    images[1, 0, 2] = 255
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        content = gzip.compress(idx_bytes(np.array(labels, np.uint8)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(content)


def test_mnist(tmp_path):
    write_mnist(tmp_path)
    for data in datasets.mnist(tmp_path):
        assert data.labels.tolist() == [3, 9]
        assert data.spikes.to_lists() == [[], [(2.0, 2)]]
        assert data.spikes.unit_count == 784
    with pytest.raises(ValueError, match="margin = 2.0 ms: .* leave time for spikes in 3 ms"):
        datasets.mnist(tmp_path, duration=3.0)


def test_mixed_up_mnist_files_are_refused(tmp_path):
    write_mnist(tmp_path, labels=(3, 9, 1))
    with pytest.raises(DataFileError, match="has 2 images but .* 3 labels: give two files of"):
        datasets.mnist(tmp_path)
    write_mnist(tmp_path, labels=(3, 10))
    with pytest.raises(DataFileError, match="sample 1 has the label 10, digits have 0 to 9"):
        datasets.mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(np.zeros((2, 32, 32), np.uint8)))
    with pytest.raises(DataFileError, match=r"images of shape \(32, 32\), MNIST of \(28, 28\)"):
        datasets.mnist(tmp_path)


@pytest.mark.parametrize(
    ("load", "names", "classes"),
    [
        (datasets.shd, ("shd_train", "shd_test"), 20),
        (datasets.ssc, ("ssc_train", "ssc_valid", "ssc_test"), 35),
        (datasets.spoken_digits, ("spoken_digits_train", "spoken_digits_test"), 10),
    ],
)
def test_spoken_words(tmp_path, load, names, classes):
    with pytest.raises(FileNotFoundError, match=", ".join(rf"{name}\.h5" for name in names)):
        load(tmp_path)
    for part, name in enumerate(names):
        write_spoken(tmp_path / f"{name}.h5", classes, speakers=(part, 1, 1, 0))
    message = r"of 8 spikes 4 come at 1000 ms or later; they"
    with pytest.warns(SpikesLeftOutWarning, match=message) as told:
        parts = load(tmp_path)
    assert {each.filename for each in told} == {__file__}
    assert [part.groups.tolist() for part in parts] == [
        [part, 1, 1, 0] for part in range(len(names))
    ]
    for part in parts:
        assert part.spikes.unit_count == 700
        assert part.spikes.counts().sum() == 4  # those at 1.5 s are cut
        assert part.labels.tolist() == [0, 1, 2, 3]
    assert load(tmp_path, duration=2000.0)[0].spikes.counts().sum() == 8
    with pytest.raises(DataFileError, match="sample 0 has its last spike at 1500 ms"):
        load(tmp_path, late="refuse")


def test_spikes_that_thinning_leaves_out_are_told(tmp_path):
    for part in ("train", "test"):
        path = tmp_path / f"spoken_digits_{part}.h5"
        write_cochlea(path, [[0.001, 0.0015, 0.003]], [[5, 5, 5]], [0])
    message = (
        r"of 3 spikes 1 follow another of their channel in a window of 1 ms; they are left out"
    )
    with pytest.warns(SpikesLeftOutWarning, match=message):
        train, _ = datasets.spoken_digits(tmp_path, at_most_one_per=1.0)
    assert train.spikes.times.size == 2


def test_braille(tmp_path):
    letters = [letter for letter in datasets.BRAILLE_LETTERS for _ in range(10)]
    samples = [(letter, touched((0.001 * n, 0, 0))) for n, letter in enumerate(letters)]
    path = tmp_path / "data_braille_letters_th_5.pkl"
    path.write_bytes(pickled(rows(samples)))
    parts = datasets.braille(tmp_path, threshold=5)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[7] * 27, [1] * 27, [2] * 27]
    times = np.concatenate([part.spikes.times for part in parts])
    np.testing.assert_allclose(np.sort(times), np.arange(270))
    datasets.convert_braille(path, path.with_suffix(".npz"))
    path.unlink()
    again = datasets.braille(tmp_path, threshold=5)
    assert all(a.spikes == b.spikes for a, b in zip(parts, again, strict=True))
    with pytest.raises(FileNotFoundError, match="zenodo.7050094; pass download=True"):
        datasets.braille(tmp_path, threshold=2)
    with pytest.raises(ValueError, match="threshold = 3: the data are published for 1, 2, 5"):
        datasets.braille(tmp_path, threshold=3)


def test_speakers_have_one_number_in_all_parts(tmp_path):
    for part, names in (
        ("train", "theo jackson nicolas theo"),
        ("test", "lucas theo nicolas theo"),
    ):
        path = tmp_path / f"spoken_digits_{part}.h5"
        write_spoken(path, 10, speakers=names.split())
    train, test = datasets.spoken_digits(tmp_path, duration=2000.0)
    assert train.group_names == test.group_names == ("jackson", "nicolas", "theo", "lucas")
    assert train.groups.tolist() == [2, 0, 1, 2]
    assert test.groups.tolist() == [3, 2, 1, 2]
    for fold in study.leave_one_group_out(evsim.Dataset.concatenate([train, test])):
        held_out, kept = (
            set(np.array(data.group_names)[data.groups]) for data in (fold.validation, fold.train)
        )
        assert {fold.name} == {f"group {name}" for name in held_out}
        assert not held_out & kept


def test_one_file_that_names_speakers_and_one_that_numbers_them_are_refused(tmp_path):
    write_spoken(tmp_path / "spoken_digits_train.h5", 10, speakers=list("abca"))
    write_spoken(tmp_path / "spoken_digits_test.h5", 10)
    with pytest.raises(DataFileError, match=r"train\.h5 and .*test\.h5 one names its speakers"):
        datasets.spoken_digits(tmp_path, duration=2000.0)


def test_speakers_and_labels_may_be_a_column(tmp_path):
    path = tmp_path / "spoken.h5"
    write_spoken(path, 3)
    expected = datasets.read_recordings(path, classes=3)
    with h5py.File(path, "r+") as file:
        for name in ("labels", "extra/speaker"):
            column = file[name][:][:, None]
            del file[name]
            file[name] = column
    found = datasets.read_recordings(path, classes=3)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.speakers.tolist() == expected.speakers.tolist()


def test_links_inside_a_file_are_followed(tmp_path):
    path = tmp_path / "spoken.h5"
    write_spoken(path, 3)
    with h5py.File(path, "r+") as file:
        file.move("labels", "extra/classes")
        file["labels"] = h5py.SoftLink("extra/classes")
        file.move("spikes", "events")
        file["spikes"] = h5py.SoftLink("/events")
    assert datasets.read_recordings(path, classes=3).labels.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("window", [1.0, 0.1, 0.3])
def test_spikes_at_the_edges_of_windows_are_in_their_own(tmp_path, kind, window):
    path = tmp_path / "spoken.h5"
    steps = np.arange(0, 2000, 1 if window < 0.3 or window == 1.0 else 3)
    times = (steps * 0.001).astype(kind)
    write_cochlea(path, [times], [np.zeros(len(steps), int)], [0], precision=kind)
    found = datasets.read_recordings(path, classes=1, at_most_one_per=window)
    assert found.merged == 0
    # Half a window later, all but the first of each window go.
    both = np.sort(np.concatenate([times, times + kind(0.0004 * window)]))
    write_cochlea(path, [both], [np.zeros(len(both), int)], [0], precision=kind)
    thinned = datasets.read_recordings(path, classes=1, at_most_one_per=window)
    assert thinned.spikes == found.spikes
    assert thinned.merged == len(steps)
