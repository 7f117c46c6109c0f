"""Data sets of the papers: their files, and where these come from.

``mnist``, ``shd``, ``ssc``, ``spoken_digits`` and ``braille`` return an ``evsim.Dataset`` per
published part.  The readers below them take one file each.
"""

from __future__ import annotations

from evsim.datasets.braille_files import BRAILLE_LETTERS, convert_braille, read_braille
from evsim.datasets.catalogue import braille, mnist, shd, spoken_digits, ssc
from evsim.datasets.cochlea import CochleaRecordings, read_recordings
from evsim.datasets.fetching import PublishedFile, data_folder, locate
from evsim.datasets.files import DataFileError, SpikesLeftOutWarning
from evsim.datasets.idx import latency_spikes, read_idx
from evsim.datasets.splits import stratified_split

__all__ = [
    "BRAILLE_LETTERS",
    "CochleaRecordings",
    "DataFileError",
    "PublishedFile",
    "SpikesLeftOutWarning",
    "braille",
    "convert_braille",
    "data_folder",
    "latency_spikes",
    "locate",
    "mnist",
    "read_braille",
    "read_idx",
    "read_recordings",
    "shd",
    "spoken_digits",
    "ssc",
    "stratified_split",
]
