"""The data sets of the papers: their files, and where they come from.

``mnist``, ``shd``, ``ssc``, ``spoken_digits`` and ``braille`` return one ``evsim.Dataset`` for each
published part, ``japanese_vowels`` one ``TimeSeries``.  The readers read one file each.
"""

from __future__ import annotations

from evsim.data.fetching import PublishedFile, data_folder, locate
from evsim.data.published import braille, japanese_vowels, mnist, shd, spoken_digits, ssc
from evsim.data.readers.braille import BRAILLE_LETTERS, convert_braille, read_braille
from evsim.data.readers.files import DataFileError, SpikesLeftOutWarning
from evsim.data.readers.images import latency_spikes, read_idx
from evsim.data.readers.spoken_words import CochleaRecordings, read_recordings
from evsim.data.readers.ts_files import read_ts
from evsim.data.splits import stratified_split
from evsim.data.time_series import TimeSeries

__all__ = [
    "BRAILLE_LETTERS",
    "CochleaRecordings",
    "DataFileError",
    "PublishedFile",
    "SpikesLeftOutWarning",
    "TimeSeries",
    "braille",
    "convert_braille",
    "data_folder",
    "japanese_vowels",
    "latency_spikes",
    "locate",
    "mnist",
    "read_braille",
    "read_idx",
    "read_recordings",
    "read_ts",
    "shd",
    "spoken_digits",
    "ssc",
    "stratified_split",
]
