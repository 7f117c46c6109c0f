"""Tables with one row per spike, such as data frames of pandas or polars."""

from __future__ import annotations

from typing import Any

from evsim.arguments.checks import integer_array, real_array, shown
from evsim.network.spike_formats.events import SpikeEvents, in_milliseconds

_COLUMNS = ("sample", "time", "unit")


def events_of_table(frame: Any, unit_count: int, batch_size: int | None, unit: str) -> SpikeEvents:
    """The spikes of a table with the columns sample, time and unit."""
    columns = getattr(frame, "columns", None)
    if columns is None:
        raise TypeError(
            f"frame = {shown(frame)}: give a data frame with the columns {', '.join(_COLUMNS)}"
        )
    missing = [name for name in _COLUMNS if name not in list(columns)]
    if missing:
        raise ValueError(
            f"frame has the columns {', '.join(map(str, columns))}, but no {missing[0]}: rename "
            f"them to {', '.join(_COLUMNS)}, frame.rename(columns={{...: {missing[0]!r}}})"
        )
    samples = integer_array(frame["sample"], "frame['sample']")
    times = real_array(frame["time"], "frame['time']", "times")
    units = integer_array(frame["unit"], "frame['unit']")
    if batch_size is None:
        batch_size = int(samples.max(initial=-1)) + 1
    return SpikeEvents(in_milliseconds(times, unit), units, samples, batch_size, unit_count)
