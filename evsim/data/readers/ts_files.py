"""Time series in the .ts text layout of the UEA archive (Bagnall et al. 2018).

Lines that begin with # are comments.  Lines that begin with @ describe the data; @data is the last
of them.  Then each line is a sample: the values of a channel are separated by commas; channels and
the label, which comes last, are separated by colons.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evsim.arguments.checks import checked_path, shown
from evsim.arguments.keywords import helpful
from evsim.data.readers.files import DataFileError, read_bytes
from evsim.data.time_series import TimeSeries

_GET_AGAIN = "it was not copied whole or is damaged; get the file again"
_OTHER_LAYOUT = "evsim reads .ts files of labelled series without gaps and without time stamps"


@helpful
def read_ts(path: str | os.PathLike[str]) -> TimeSeries:
    """Read a file in the .ts layout, plain or packed with gzip.

    Samples have shape (time, channels), and may have different lengths.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataFileError
        For files that are damaged or have another layout, for missing values and for values that
        are not finite; the message names the line.
    """
    path = checked_path(path, "path", "a file")
    try:
        lines = read_bytes(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path} is no text ({error}): {_GET_AGAIN}") from error
    header, first = _header(lines, path)
    samples, labels = [], []
    for number, line in enumerate(lines[first:], first + 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        sample, label = _sample(line, header, f"{path}, line {number}")
        samples.append(sample)
        labels.append(header.classes.index(label))
    if not samples:
        raise DataFileError(f"{path} has no samples after @data: {_GET_AGAIN}")
    channels = samples[0].shape[1]
    for number, sample in enumerate(samples):
        if sample.shape[1] != channels:
            raise DataFileError(
                f"{path}: sample {number} has {sample.shape[1]} channels, sample 0 has {channels}: "
                f"{_GET_AGAIN}"
            )
    return TimeSeries(tuple(samples), np.array(labels), header.classes)


@dataclass(frozen=True)
class _Header:
    """The names of the classes, and the number of channels if it is stated."""

    classes: tuple[str, ...]
    channels: int | None


def _header(lines: Sequence[str], path: os.PathLike[str]) -> tuple[_Header, int]:
    """The content of the lines before the samples, and the index of the line after them."""
    said: dict[str, list[str]] = {}
    for place, line in enumerate(lines):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not words[0].startswith("@"):
            raise DataFileError(
                f"{path}, line {place + 1}: {shown(line)} comes before @data: it is another kind "
                f"of file; {_OTHER_LAYOUT}"
            )
        key = words[0].lower()
        if key == "@data":
            return _Header(_classes(said, path), _channels(said, path)), place + 1
        said[key] = words[1:]
    raise DataFileError(
        f"{path} has no line @data: it is another kind of file or was not copied whole; "
        f"{_OTHER_LAYOUT}"
    )


def _classes(said: dict[str, list[str]], path: os.PathLike[str]) -> tuple[str, ...]:
    if _begins(said, "@timestamps", "true"):
        raise DataFileError(f"{path} has time stamps: {_OTHER_LAYOUT}")
    labels = said.get("@classlabel", [])
    if len(labels) < 2 or not _begins(said, "@classlabel", "true"):
        raise DataFileError(f"{path} names no classes in @classLabel: {_OTHER_LAYOUT}")
    if len(set(labels[1:])) < len(labels) - 1:
        raise DataFileError(f"{path} names a class in @classLabel twice: {_GET_AGAIN}")
    return tuple(labels[1:])


def _begins(said: dict[str, list[str]], key: str, word: str) -> bool:
    """Whether the first word of a line of the header is this one, in letters of any case."""
    return [each.lower() for each in said.get(key, [])[:1]] == [word]


def _channels(said: dict[str, list[str]], path: os.PathLike[str]) -> int | None:
    if _begins(said, "@univariate", "true"):
        return 1
    stated = said.get("@dimensions") or said.get("@dimension")
    if stated is None:
        return None
    if not stated or not stated[0].isdecimal():
        raise DataFileError(f"{path} has @dimensions {shown(' '.join(stated))}: {_GET_AGAIN}")
    return int(stated[0])


def _sample(line: str, header: _Header, place: str) -> tuple[np.ndarray, str]:
    """The values of one line, shape (time, channels), and its label."""
    *texts, label = line.split(":")
    label = label.strip()
    if label not in header.classes:
        raise DataFileError(
            f"{place} ends with {shown(label)}, which is none of the {len(header.classes)} classes "
            f"in @classLabel: {_GET_AGAIN}"
        )
    if header.channels is not None and len(texts) != header.channels:
        raise DataFileError(
            f"{place} has {len(texts)} channels, but @dimensions says {header.channels}: "
            f"{_GET_AGAIN}"
        )
    channels = [_values(text, f"{place}, channel {number}") for number, text in enumerate(texts)]
    lengths = [channel.size for channel in channels]
    for number, length in enumerate(lengths):
        if length != lengths[0]:
            raise DataFileError(
                f"{place}: channel {number} has {length} values, channel 0 has {lengths[0]}: "
                f"{_GET_AGAIN}"
            )
    if not channels:
        raise DataFileError(f"{place} has a label but no values: {_GET_AGAIN}")
    return np.stack(channels, axis=1), label


def _values(text: str, place: str) -> np.ndarray:
    """The values of one channel."""
    words = [word.strip() for word in text.split(",")]
    if "?" in words:
        raise DataFileError(f"{place} has the missing value ?: {_OTHER_LAYOUT}")
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise DataFileError(f"{place}: {error}: {_GET_AGAIN}") from error
    if not np.isfinite(values).all():
        value = values[~np.isfinite(values)][0]
        raise DataFileError(f"{place} has the value {value}: values must be finite; {_GET_AGAIN}")
    return values
