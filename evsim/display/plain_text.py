"""Text for terminals, pipes and files whose encoding lacks some letters."""

from __future__ import annotations

import codecs
import io
import unicodedata
from collections.abc import Iterable
from typing import TextIO

PLAIN = "evsim.plain"
"""The name under which the replacement is registered with Python."""

_SIGNS = {
    "→": "->", "←": "<-", "±": "+/-", "×": "x", "−": "-", "–": "-", "—": "-", "•": "*", "·": ".",
    "“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "≤": "<=", "≥": ">=", "µ": "u", "μ": "u",
    "ß": "ss", "│": "|", "─": "-", "━": "-", "┃": "|",
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼╸╺", "+"),
}  # fmt: skip


def show_plainly(streams: Iterable[TextIO | None]) -> None:
    """Make text streams replace letters that they cannot encode, such as é by e."""
    codecs.register_error(PLAIN, _replaced)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Similar signs for letters that cannot be encoded, or question marks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_plain(letter) for letter in letters), error.end


def _plain(letter: str) -> str:
    if letter in _SIGNS:
        return _SIGNS[letter]
    base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return base or "?"
