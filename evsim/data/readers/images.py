"""Images: IDX files, the format in which MNIST is published, and their latency code.

An IDX file is a magic number (two zero bytes, the type of the numbers, the number of dimensions),
the size of each dimension as a big-endian 32-bit integer, and the numbers.
"""

from __future__ import annotations

import math
import os

import numpy as np

from evsim.arguments.checks import (
    check_duration,
    check_number,
    checked_count,
    checked_integer,
    checked_path,
    real_array,
)
from evsim.arguments.keywords import helpful
from evsim.data.readers.files import DataFileError, opened
from evsim.network.spike_trains import SpikeTrains

_UNSIGNED_BYTES = 0x08
_WHAT = {1: "labels", 3: "images"}


@helpful
def read_idx(path: str | os.PathLike[str], dimensions: int) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, plain or packed with gzip.

    ``dimensions`` is the number of dimensions that the array must have: 3 for images of shape
    (samples, rows, columns), 1 for labels of shape (samples,).

    Raises ``DataFileError`` for files that are not IDX files, that have another type or number of
    dimensions, or that are shorter or longer than they announce.
    """
    dimensions = checked_count(dimensions, "dimensions", 1, 255)
    path = checked_path(path, "path", "a file")
    with opened(path) as (file, limit):
        header = file.read(4 + 4 * dimensions)
        shape = _shape(path, header, dimensions)
        announced = math.prod(shape)
        if announced > limit:
            raise DataFileError(
                f"{path} announces the shape {shape}, {announced} bytes, more than a file of its "
                "size holds: it was not copied whole or is damaged; delete it and get it again"
            )
        content = file.read(announced)
        appended = bool(file.read(1))
    if len(content) < announced or appended:
        found = f"more than {announced}" if appended else str(len(content))
        raise DataFileError(
            f"{path} announces the shape {shape}, {announced} bytes, but {found} bytes follow: it "
            f"{'has something appended' if appended else 'was not copied whole'}; "
            "delete it and get it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(path: str | os.PathLike[str], header: bytes, dimensions: int) -> tuple[int, ...]:
    """The shape that the header of an IDX file announces."""
    magic = int.from_bytes(header[:4], "big")
    expected = _UNSIGNED_BYTES << 8 | dimensions
    if not header:
        raise DataFileError(f"{path} is empty: it was not downloaded or copied; get it again")
    if len(header) < 4 or magic != expected:
        raise DataFileError(
            f"{path} begins with the bytes 0x{header[:4].hex()}, an idx file of "
            f"{_WHAT.get(dimensions, f'{dimensions}-dimensional bytes')} with 0x{expected:08x}: "
            f"{_remedy(magic)}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataFileError(
            f"{path} ends inside its header, after {len(header)} bytes: it was not downloaded or "
            "copied whole; delete it and get it again"
        )
    return tuple(int(size) for size in np.frombuffer(header[4:], ">u4"))


def _remedy(magic: int) -> str:
    """What to do about a file that begins with the wrong number."""
    for dimensions, what in _WHAT.items():
        if magic == _UNSIGNED_BYTES << 8 | dimensions:
            return f"it holds {what}; give the other file"
    return "it is another kind of file, or damaged; get it again"


@helpful
def latency_spikes(
    images: np.ndarray, duration: float = 20.0, *, background: int = 1, margin: float = 2.0
) -> SpikeTrains:
    """Convert images to one spike per bright pixel; brighter pixels spike earlier.

    A pixel of value x > ``background`` spikes at
    ``(255 - x) / 255 * (duration - 2 * margin) + margin`` ms; the others are silent.  The
    defaults are those of Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning
    with EventProp*.

    Parameters
    ----------
    images : array of uint8, shape (samples, rows, columns) or (samples, pixels)
    duration, margin : float
        Length of a trial in ms, and the time without spikes at its beginning and at its end.
    background : int
        The largest value that does not spike, 0 to 254.

    Returns
    -------
    SpikeTrains
        One unit per pixel, row after row.
    """
    images = real_array(images, "images", "uint8")
    if images.dtype != np.uint8 or images.ndim < 2:
        raise TypeError(
            f"images has type {images.dtype} and shape {images.shape}: give uint8 of shape "
            "(samples, rows, columns)"
        )
    duration = check_duration(duration)
    check_number(margin, "margin", "a time in ms")
    if not 0 <= margin < duration / 2:
        raise ValueError(
            f"margin = {margin} ms: it must be >= 0 and leave time for spikes in {duration:g} ms"
        )
    background = checked_integer(background, "background", 0)
    if background > 254:
        raise ValueError(f"background = {background}: it must be between 0 and 254")
    pixels = images.reshape(len(images), math.prod(images.shape[1:]))
    samples, units = np.nonzero(pixels > background)
    darkness = 255 - pixels[samples, units]
    # Times in a sample increase with darkness; ties stay in the order of units.
    order = np.argsort(samples * 256 + darkness, kind="stable")
    time_of = np.arange(256) / 255 * (duration - 2 * margin) + margin
    offsets = np.zeros(len(images) + 1, np.int64)
    np.cumsum(np.bincount(samples, minlength=len(images)), out=offsets[1:])
    return SpikeTrains(time_of[darkness[order]], units[order], offsets, pixels.shape[1])
