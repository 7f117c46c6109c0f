"""Tables in Markdown, which are also readable as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with columns of even width; the last line has no line break."""
    lines = [list(header), ["-"] * len(header), *([cell.replace("|", "\\|") for cell in row]
             for row in rows)]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines[1] = ["-" * width for width in widths]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )
