"""The data sets of the papers.

Each function finds the files, reads them and returns one ``evsim.Dataset`` for each published part,
in the order train, validation, test; ``japanese_vowels`` returns continuous ``TimeSeries``.
"""

from __future__ import annotations

import os

import numpy as np

from evsim.arguments.checks import is_integer
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset, with_common_groups
from evsim.data.fetching import PublishedFile, locate
from evsim.data.readers.braille import read_braille
from evsim.data.readers.files import DataFileError, SpikesLeftOutWarning
from evsim.data.readers.images import latency_spikes, read_idx
from evsim.data.readers.spoken_words import CochleaRecordings, read_recordings
from evsim.data.readers.ts_files import read_ts
from evsim.data.splits import stratified_split
from evsim.data.time_series import TimeSeries
from evsim.display.warning_place import warn_caller

Folder = str | os.PathLike[str] | None


# -- MNIST --------------------------------------------------------------------------------

# The checksums are those of torchvision.datasets.MNIST.
_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MNIST_FILES = tuple(
    PublishedFile(
        name,
        _MNIST_URL,
        f"{_MNIST_URL}{name}.gz",
        f"md5:{checksum}",
        # The name in some archives, and the paths that torchvision uses.
        also=(name.replace("-idx", ".idx"), f"MNIST/raw/{name}", f"raw/{name}"),
    )
    for name, checksum in (
        ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c"),
    )
)


@helpful
def mnist(
    folder: Folder = None, duration: float = 20.0, download: bool = False
) -> tuple[Dataset, Dataset]:
    """MNIST: handwritten digits as spikes of 784 units, one spike per bright pixel.

    ``duration`` is the length of a trial in ms; ``latency_spikes`` describes when pixels spike.
    ``locate`` describes how files are found and downloaded.

    Returns
    -------
    train, test
        60,000 and 10,000 samples of 10 classes.
    """
    paths = locate(_MNIST_FILES, folder, download=download)
    return _digits(paths[0], paths[1], duration), _digits(paths[2], paths[3], duration)


def _digits(
    images_path: os.PathLike[str], labels_path: os.PathLike[str], duration: float
) -> Dataset:
    images = read_idx(images_path, 3)
    labels = read_idx(labels_path, 1)
    if images.shape[1:] != (28, 28):
        raise DataFileError(
            f"{images_path} has images of shape {images.shape[1:]}, MNIST of (28, 28): give "
            "MNIST's file"
        )
    if len(images) != len(labels):
        raise DataFileError(
            f"{images_path} has {len(images)} images but {labels_path} {len(labels)} labels: give "
            "two files of the same part"
        )
    wrong = labels > 9
    if wrong.any():
        sample = int(np.argmax(wrong))
        raise DataFileError(
            f"{labels_path}: sample {sample} has the label {labels[sample]}, digits have 0 to 9: "
            "give MNIST's file"
        )
    return Dataset(latency_spikes(images, duration), labels)


# -- spoken words -------------------------------------------------------------------------

# The checksums are those of tonic.datasets.SHD and SSC, which SpikingJelly also uses.
_HEIDELBERG_URL = "https://zenkelab.org/datasets/"
_SHD_FILES = tuple(
    PublishedFile(name, _HEIDELBERG_URL, f"{_HEIDELBERG_URL}{name}.zip", f"md5:{checksum}")
    for name, checksum in (
        ("shd_train.h5", "f3252aeb598ac776c1b526422d90eecb"),
        ("shd_test.h5", "1503a5064faa34311c398fb0a1ed0a6f"),
    )
)
_SSC_FILES = tuple(
    PublishedFile(name, _HEIDELBERG_URL, f"{_HEIDELBERG_URL}{name}.zip", f"md5:{checksum}")
    for name, checksum in (
        ("ssc_train.h5", "d102be95e7144fcc0553d1f45ba94170"),
        ("ssc_valid.h5", "b4eee3516a4a90dd0c71a6ac23a8ae43"),
        ("ssc_test.h5", "a35ff1e9cffdd02a20eb850c17c37748"),
    )
)
_SPOKEN_DIGIT_FILES = tuple(
    PublishedFile(
        name,
        "the Free Spoken Digit Dataset (https://github.com/Jakobovski/free-spoken-digit-dataset) "
        "passed through the cochlea model of SHD (https://github.com/electronicvisions/lauscher)",
    )
    for name in ("spoken_digits_train.h5", "spoken_digits_test.h5")
)


@helpful
def shd(
    folder: Folder = None,
    duration: float = 1000.0,
    late: str = "cut",
    at_most_one_per: float | None = None,
    download: bool = False,
) -> tuple[Dataset, Dataset]:
    """Spiking Heidelberg Digits: German and English digits as spikes of 700 cochlea channels.

    ``duration`` is the length of a trial in ms.  Later spikes are left out as in the papers,
    and a SpikesLeftOutWarning says how many; with ``late="refuse"`` they are an error.
    ``read_recordings`` describes ``at_most_one_per``, ``locate`` how files are found and
    downloaded.

    Returns
    -------
    train, test
        8156 and 2264 samples of 20 classes; the groups are the speakers.
    """
    train, test = _spoken(_SHD_FILES, 20, folder, duration, late, at_most_one_per, download)
    return train, test


@helpful
def ssc(
    folder: Folder = None,
    duration: float = 1000.0,
    late: str = "cut",
    at_most_one_per: float | None = None,
    download: bool = False,
) -> tuple[Dataset, Dataset, Dataset]:
    """Spiking Speech Commands: 35 English words as spikes of 700 cochlea channels.

    The arguments are those of ``shd``.

    Returns
    -------
    train, validation, test
        75,466, 9981 and 20,382 samples of 35 classes; the groups are the speakers.
    """
    train, validation, test = _spoken(
        _SSC_FILES, 35, folder, duration, late, at_most_one_per, download
    )
    return train, validation, test


@helpful
def spoken_digits(
    folder: Folder = None,
    duration: float = 1000.0,
    late: str = "cut",
    at_most_one_per: float | None = None,
) -> tuple[Dataset, Dataset]:
    """Spoken digits: English digits as spikes of 700 cochlea channels.

    The arguments are those of ``shd``; the files cannot be downloaded.

    Returns
    -------
    train, test
        Samples of 10 classes; the groups are the six speakers.
    """
    train, test = _spoken(_SPOKEN_DIGIT_FILES, 10, folder, duration, late, at_most_one_per, False)
    return train, test


def _spoken(
    files: tuple[PublishedFile, ...],
    classes: int,
    folder: Folder,
    duration: float,
    late: str,
    at_most_one_per: float | None,
    download: bool,
) -> tuple[Dataset, ...]:
    parts: list[Dataset] = []
    paths = locate(files, folder, download=download)
    for path in paths:
        recordings = read_recordings(
            path, classes=classes, duration=duration, late=late, at_most_one_per=at_most_one_per
        )
        _tell_what_is_left_out(path, recordings, duration, at_most_one_per)
        parts.append(recordings.dataset())
    for path, part in zip(paths, parts, strict=True):
        if (part.group_names is None) != (parts[0].group_names is None):
            raise DataFileError(
                f"of {paths[0]} and {path} one names its speakers and the other numbers them, so "
                "that nobody can say who is who: give files made alike"
            )
    return with_common_groups(parts)


def _tell_what_is_left_out(
    path: os.PathLike[str],
    recordings: CochleaRecordings,
    duration: float,
    at_most_one_per: float | None,
) -> None:
    reasons = []
    if recordings.cut:
        reasons.append(f"{recordings.cut} come at {duration:g} ms or later")
    if recordings.merged:
        reasons.append(
            f"{recordings.merged} follow another of their channel in a window of "
            f"{at_most_one_per:g} ms"
        )
    if reasons:
        total = recordings.spikes.times.size + recordings.cut + recordings.merged
        warn_caller(
            f"{path}: of {total} spikes {' and '.join(reasons)}; they are left out",
            SpikesLeftOutWarning,
        )


# -- Braille ------------------------------------------------------------------------------

_BRAILLE_THRESHOLDS = (1, 2, 5, 10)


@helpful
def braille(
    folder: Folder = None, threshold: int = 2, seed: int = 0, download: bool = False
) -> tuple[Dataset, Dataset, Dataset]:
    """Braille letters under a robot's finger: 12 taxels of two units each, 27 classes.

    The publisher does not split the samples.  As in Müller-Cleve et al. 2022, 30 % of each class
    are held out, and a third of these are used for validation.

    Parameters
    ----------
    folder, download
        Where the files are, and whether to download them, see ``locate``.  The .npz files that
        ``convert_braille`` writes are preferred.
    threshold : 1, 2, 5 or 10
        The change of pressure that produces an event, in units of the sensor.
    seed : int
        The seed of the split.

    Returns
    -------
    train, validation, test
        70, 10 and 20 % of the samples.
    """
    if not is_integer(threshold) or threshold not in _BRAILLE_THRESHOLDS:
        raise ValueError(f"threshold = {threshold}: the data are published for 1, 2, 5 and 10")
    name = f"data_braille_letters_th_{threshold}"
    published = PublishedFile(
        f"{name}.pkl",
        "https://doi.org/10.5281/zenodo.7050094",
        "doi:10.5281/zenodo.7050094/reading_braille_data.zip",
        instead=(f"{name}.npz",),
    )
    (path,) = locate([published], folder, download=download)
    data = read_braille(path)
    train, validation, test = (
        data[part] for part in stratified_split(data.labels, (0.7, 0.1), seed)
    )
    return train, validation, test


# -- Japanese Vowels ----------------------------------------------------------------------

_JAPANESE_VOWELS_FILES = tuple(
    PublishedFile(
        name,
        "the Python package aeon (pip install aeon) or https://timeseriesclassification.com",
        also=(f"JapaneseVowels/{name}",),
        packages=tuple(
            f"{kind}/datasets/data/JapaneseVowels/{name}" for kind in ("aeon", "sktime")
        ),
    )
    for name in ("JapaneseVowels_TRAIN.ts", "JapaneseVowels_TEST.ts")
)
_SPEAKERS, _COEFFICIENTS = 9, 12


@helpful
def japanese_vowels(folder: Folder = None) -> tuple[TimeSeries, TimeSeries]:
    """Japanese Vowels: nine speakers say the vowels a and e; 12 coefficients of the spectrum.

    The data are those of Kudo, Toyama, Shimbo, *Multidimensional curve classification using
    passing-through regions* (Pattern Recognition Letters 1999), in the layout of the UEA archive.
    ``evsim.encoding`` converts them to spikes.  ``locate`` describes how files are found; without a
    folder, they are also looked for in an installed package aeon or sktime.

    Returns
    -------
    train, test
        270 and 370 utterances of 7 to 29 frames; the classes are the speakers.
    """
    parts = []
    for path in locate(_JAPANESE_VOWELS_FILES, folder):
        part = read_ts(path)
        found = len(part.class_names), part.samples[0].shape[1]
        if found != (_SPEAKERS, _COEFFICIENTS):
            raise DataFileError(
                f"{path} has {found[0]} classes and {found[1]} channels, Japanese Vowels has "
                f"{_SPEAKERS} and {_COEFFICIENTS}: give the file of Japanese Vowels"
            )
        parts.append(part)
    return parts[0], parts[1]
