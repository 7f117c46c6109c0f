"""Tables in Markdown, which are also readable as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with columns of even width; the last line has no line break."""
    lines = [[_in_one_line(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def _in_one_line(cell: str) -> str:
    """What a cell has to contain so that a line break or a bar does not end it."""
    return cell.replace("|", "\\|").replace("\n", " ")
