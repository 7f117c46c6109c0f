"""Data of the library nir: its EventData and its TimeGriddedData.

EventData (https://neuroir.org) has the arrays ``idx`` and ``time``, both of shape (samples,
events), padded with -1 and infinity.  TimeGriddedData is a raster with its time step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.arguments.checks import checked_count, integer_array, real_array, shown
from evsim.network.spike_formats.events import SpikeEvents, in_milliseconds
from evsim.network.spike_formats.rasters import events_of_raster


def events_of_nir(data: Any, unit: str) -> SpikeEvents:
    """The spikes of EventData or TimeGriddedData."""
    if hasattr(data, "data") and hasattr(data, "dt"):
        return events_of_raster(data.data, data.dt, unit)
    if not all(hasattr(data, name) for name in ("idx", "time", "n_neurons")):
        raise TypeError(
            f"data = {shown(data)}: give nir.EventData, with idx, time and n_neurons, or "
            "nir.TimeGriddedData, with data and dt"
        )
    units = integer_array(data.idx, "data.idx")
    times = real_array(data.time, "data.time", "times")
    if units.ndim != 2 or units.shape != times.shape:
        raise ValueError(
            f"data.idx and data.time have the shapes {units.shape} and {times.shape}: both must "
            "be (samples, events)"
        )
    _refuse_values(data, units)
    filled = units == -1
    wrong = filled != (times == np.inf)
    if wrong.any():
        sample, event = (int(number) for number in np.argwhere(wrong)[0])
        raise ValueError(
            f"data.idx[{sample}, {event}] = {units[sample, event]} but data.time[{sample}, "
            f"{event}] = {times[sample, event]:g}: no event is -1 in the one and infinity in the "
            "other"
        )
    samples, places = np.nonzero(~filled)
    return SpikeEvents(
        in_milliseconds(times[samples, places], unit),
        units[samples, places],
        samples,
        units.shape[0],
        checked_count(data.n_neurons, "data.n_neurons"),
    )


def _refuse_values(data: Any, units: np.ndarray) -> None:
    """Refuse events with a value other than 1, which spikes cannot have."""
    if not hasattr(data, "value"):
        return
    values = real_array(data.value, "data.value")
    wrong = (units != -1) & (values != 1)
    if wrong.any():
        sample, event = (int(number) for number in np.argwhere(wrong)[0])
        raise ValueError(
            f"data.value[{sample}, {event}] = {values[sample, event]:g}: spikes carry no values; "
            "give nir.EventData, or values of 1"
        )
