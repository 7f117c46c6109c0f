"""Numbers of things in messages."""

from __future__ import annotations


def number_of(count: int, thing: str) -> str:
    """A number of things: "1 sample", "1,000 samples", "2 batches"."""
    ending = "" if count == 1 else "es" if thing.endswith("tch") else "s"
    return f"{count:,} {thing}{ending}"
