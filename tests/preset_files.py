"""Writes small data files in the published layouts, with classes that are easy to distinguish."""

import gzip

import h5py
import numpy as np
from data_files import ts_text
from evsim.datasets import BRAILLE_LETTERS


def write_mnist(folder, train=40, test=20, seed=0):
    """Digits; each class is bright in two rows that no other class uses."""
    generator = np.random.default_rng(seed)
    for name, size in (("train", train), ("t10k", test)):
        labels = (np.arange(size) % 10).astype(np.uint8)
        images = generator.integers(0, 2, (size, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 8] = generator.integers(100, 256, (8, 28))
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim])
            header += b"".join(length.to_bytes(4, "big") for length in array.shape)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(
                gzip.compress(header + array.tobytes())
            )
    return folder


def write_words(folder, prefix, classes, speakers, parts=("train", "test"), seed=0):
    """Spoken words of 1000 spikes in 100 ms; each class is around a different channel.

    Each speaker says each word once in every part.
    """
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), speakers)
    for part in parts:
        with h5py.File(folder / f"{prefix}_{part}.h5", "w") as file:
            for name, dtype in (("times", np.float16), ("units", np.uint16)):
                file.create_dataset(f"spikes/{name}", labels.size, h5py.vlen_dtype(dtype))
            for sample, label in enumerate(labels):
                middle = 700 * (label + 0.5) / classes
                units = np.clip(generator.normal(middle, 60, 1000), 0, 699)
                file["spikes/times"][sample] = np.sort(generator.uniform(0, 0.1, 1000))
                file["spikes/units"][sample] = units.astype(np.uint16)
            file["labels"] = labels.astype(np.uint16)
            file["extra/speaker"] = np.repeat(np.arange(speakers), classes).astype(np.uint16)
    return folder


def write_braille(folder, of_each=10, seed=0):
    """Letters of 200 spikes; in each class most are from a few units that are its own."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(BRAILLE_LETTERS)), of_each)
    favourites = generator.dirichlet(np.full(24, 0.2), len(BRAILLE_LETTERS))
    units = [generator.choice(24, 200, p=favourites[label]) for label in labels]
    np.savez(
        folder / "data_braille_letters_th_2.npz",
        times=np.sort(generator.uniform(0, 1350, (labels.size, 200))).ravel(),
        units=np.concatenate(units).astype(np.int32),
        offsets=np.arange(labels.size + 1, dtype=np.int64) * 200,
        labels=labels,
    )
    return folder


def write_vowels(folder, of_each=3, seed=0):
    """Utterances of nine speakers; each speaker has coefficients of his own."""
    generator = np.random.default_rng(seed)
    voices = generator.normal(0, 1, (9, 12, 1))
    labels = np.repeat(np.arange(9), of_each)
    for part in ("TRAIN", "TEST"):
        lengths = generator.integers(7, 30, labels.size)
        samples = [
            voices[label] + generator.normal(0, 0.3, (12, length))
            for label, length in zip(labels, lengths, strict=True)
        ]
        names = [str(label + 1) for label in labels]
        text = ts_text(samples, names, ["@dimensions 12"], "true 1 2 3 4 5 6 7 8 9")
        (folder / f"JapaneseVowels_{part}.ts").write_text(text)
    return folder
