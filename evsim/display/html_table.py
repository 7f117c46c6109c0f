"""Tables in HTML, with which notebooks show objects."""

from __future__ import annotations

import html
from collections.abc import Sequence

LONGEST = 20
"""The largest number of rows of a table; a line says how many more there are."""

Cell = str | int | float | None


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table with a title; numbers are written with four digits, None as a dash."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{_shown(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[:LONGEST]
    )
    hidden = len(rows) - LONGEST
    more = f"<p>and {hidden} more rows</p>" if hidden > 0 else ""
    return (
        f"<div><p>{html.escape(title)}</p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{more}</div>"
    )


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    return html.escape(f"{cell:.4g}" if isinstance(cell, float) else str(cell))
