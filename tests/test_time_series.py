"""Time series: .ts files, Japanese Vowels, and where its files are found."""

import gzip
import sys

import numpy as np
import pytest
from data_files import ts_text
from evsim.datasets import DataFileError, TimeSeries, japanese_vowels, read_ts
from preset_files import write_vowels


def written(folder, text):
    path = folder / "small.ts"
    path.write_text(text)
    return path


def test_a_ts_file_gives_samples_of_time_and_channels(tmp_path):
    path = written(tmp_path, ts_text(header=["@dimensions 2", "", "@equalLength false"]))
    series = read_ts(path)
    assert [sample.tolist() for sample in series] == [
        [[1.0, -1.0], [2.0, 0.5], [3.0, 0.25]],
        [[4.0, 5.0]],
    ]
    assert (series.labels.tolist(), series.class_names) == ([1, 0], ("a", "b"))
    assert series.lengths.tolist() == [3, 1]
    mean, deviation = series.mean_and_deviation()
    np.testing.assert_allclose(mean, [2.5, 1.1875])
    np.testing.assert_allclose(deviation, np.std([[1, -1], [2, 0.5], [3, 0.25], [4, 5]], axis=0))
    last = series[-1]
    assert (last.samples[0].tolist(), last.labels.tolist()) == ([[4.0, 5.0]], [0])
    packed = tmp_path / "small.ts.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert np.array_equal(read_ts(packed).samples[0], series.samples[0])


def one(*channels, label="a", **more):
    return ts_text([channels], [label], **more)


def test_comments_and_the_case_of_words_do_not_matter(tmp_path):
    text = ts_text().replace("timeStamps false", "timeStamps False").replace("true a", "TRUE a")
    head, _, samples = text.partition("@data\n")
    path = written(tmp_path, head + "@data\n# a comment\n" + samples + "  # 1.0:a\n")
    assert [len(sample) for sample in read_ts(path).samples] == [3, 1]


DAMAGED = {
    "has no line @data: it is another kind of file or was not copied whole": "@problemName a\n",
    "line 1: '1,2:a' comes before @data: it is another kind of file": "1,2:a\n",
    "has no samples after @data": ts_text([], []),
    "has time stamps: evsim reads": one([1.0]).replace("timeStamps false", "timeStamps true"),
    "names no classes in @classLabel": one([1.0], classes="false"),
    "names a class in @classLabel twice": one([1.0], classes="true a a"),
    "has @dimensions 'two': it was not copied": one([1.0], header=["@dimensions two"]),
    "line 7 has 1 channels, but @dimensions says 2": one([1.0], header=["@dimensions 2"]),
    "line 6 ends with 'c', which is none of the 2 classes in @classLabel": one([1.0], label="c"),
    "line 6 has a label but no values": one(),
    "line 6: channel 1 has 1 values, channel 0 has 2": one([1.0, 2.0], [1.0]),
    "line 6, channel 0 has the missing value .: evsim reads": one([1.0, "?"]),
    "line 6, channel 1: could not convert string to float: '2.x'": one([1.0], ["2.x"]),
    "line 6, channel 0 has the value inf: values must be finite": one(["1e999"]),
    "sample 1 has 2 channels, sample 0 has 1": ts_text([[[1.0]], [[1.0], [2.0]]]),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_damaged_ts_files_are_refused_with_their_line(message, tmp_path):
    path = written(tmp_path, DAMAGED[message])
    with pytest.raises(DataFileError, match=f"{path}.*{message}"):
        read_ts(path)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "small.ts"
    path.write_bytes(b"@data\n\xff\xfe")
    with pytest.raises(DataFileError, match=r"small.ts is no text .*: it was not copied whole"):
        read_ts(path)


@pytest.mark.parametrize(
    ("samples", "labels", "message"),
    [
        ([np.zeros((2, 1)), np.zeros((2, 2))], [0, 0], r"samples\[1\] has 2 channels, samples\[0"),
        ([np.zeros((0, 1))], [0], r"samples\[0\] has shape \(0, 1\): give \(time, channels\)"),
        ([np.zeros((2, 1))], [0, 0], r"labels has shape \(2,\): give one per sample"),
        ([np.zeros((2, 1))], [2], r"labels\[0\] = 2: 2 class_names name the classes 0 to 1"),
    ],
)
def test_series_without_a_meaning_are_refused(samples, labels, message):
    with pytest.raises(ValueError, match=message):
        TimeSeries(samples, labels, ["a", "b"])


# -- Japanese Vowels ----------------------------------------------------------------------


def test_japanese_vowels_are_found_in_a_folder_or_in_an_installed_package(tmp_path, monkeypatch):
    plain, nested = tmp_path / "plain", tmp_path / "nested" / "JapaneseVowels"
    provided = tmp_path / "site" / "aeon" / "datasets" / "data" / "JapaneseVowels"
    for folder in (plain, nested, provided):
        folder.mkdir(parents=True)
        write_vowels(folder)
    (tmp_path / "site" / "aeon" / "__init__.py").write_text("raise ImportError('imported')\n")
    expected = japanese_vowels(plain)
    assert [len(part) for part in expected] == [27, 27]
    assert expected[0].class_names == tuple("123456789")

    monkeypatch.delitem(sys.modules, "aeon", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("EVSIM_DATA", str(tmp_path / "empty"))
    for found in (japanese_vowels(nested.parent), japanese_vowels()):
        assert np.array_equal(found[1].samples[3], expected[1].samples[3])
    # A folder that is named is the only place.
    with pytest.raises(FileNotFoundError, match=r"no JapaneseVowels_TRAIN.ts, .*pip install aeon"):
        japanese_vowels(tmp_path / "empty")


def test_another_data_set_is_not_japanese_vowels(tmp_path):
    write_vowels(tmp_path)
    (tmp_path / "JapaneseVowels_TEST.ts").write_text(ts_text())
    with pytest.raises(DataFileError, match=r"TEST.ts has 2 classes and 2 channels, Japanese Vow"):
        japanese_vowels(tmp_path)
