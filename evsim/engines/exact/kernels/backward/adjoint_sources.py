"""What readouts add to the adjoints of a batch: the right-hand sides of the adjoint equations."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating


class SourceArrays(NamedTuple):
    """The sources of the adjoints of the units that are read together, as arrays.

    These are the units of one population, or of the populations of a recurrent component.  Arrays
    of sources that do not exist are zero or empty.

    Parameters
    ----------
    rate, slope : arrays, shape (units of all populations,)
        The weighting ``w(t) = (1 + slope t) e^{-rate t}`` of a mean of each unit.
    voltage_cotangent : array, shape (batch, units of all populations)
        ``dF/dV = voltage_cotangent w(t)`` of each unit, per ms.
    peak_cotangent : array, shape (batch, units of all populations)
        The cotangent of the largest V of LI units, and of LIF units that do not spike.
    phantom : array, shape (batch, units of all populations)
        lambda_V at the end of the trial for units with a phantom spike there.
    moments, moment_start : arrays, shapes (moments,) and (batch + 1,)
        Times in ms, ascending within each sample, at which voltages are read.
    moment_cotangent : array, shape (moments, units that are read)
    first_read, last_read : int
        The units that are read are ``first_read`` to ``last_read - 1``.  Units of other populations
        may lie between those of a recurrent component; their cotangents are 0.
    limit : float
        The largest |lambda_V-| at an emission.
    """

    rate: np.ndarray
    slope: np.ndarray
    voltage_cotangent: np.ndarray
    peak_cotangent: np.ndarray
    phantom: np.ndarray
    moments: np.ndarray
    moment_start: np.ndarray
    moment_cotangent: np.ndarray
    first_read: int
    last_read: int
    limit: float


class Sources(NamedTuple):
    """The sources of the adjoints of all units: a ``SourceArrays`` for each group read together.

    Parameters
    ----------
    of_unit : array of int, shape (units of all populations,)
        The group whose sources apply to a unit; arbitrary for units that are not read.
    first_read, last_read : arrays, shape (groups,)
    rate, slope : arrays, shape (units of all populations,)
    voltage_cotangent, peak_cotangent, phantom : arrays, shape (batch, units of all populations)
    moments : array, shape (moments of all groups,)
    first_moment : array, shape (groups + 1,)
        The place where the moments of each group begin.
    moment_start : array, shape (groups, batch + 1)
        Counted from the first moment of the group.
    moment_cotangent : array
        The cotangents of all groups, flattened.
    first_cotangent : array, shape (groups + 1,)
        The place where the cotangents of each group begin.
    limit : float
    """

    of_unit: np.ndarray
    rate: np.ndarray
    slope: np.ndarray
    voltage_cotangent: np.ndarray
    peak_cotangent: np.ndarray
    phantom: np.ndarray
    moments: np.ndarray
    first_moment: np.ndarray
    moment_start: np.ndarray
    moment_cotangent: np.ndarray
    first_cotangent: np.ndarray
    first_read: np.ndarray
    last_read: np.ndarray
    limit: float


@allocating
def sources_of_unit(unit: int, sources: Sources) -> SourceArrays:
    """The sources of the units that are read together with a unit."""
    group = sources.of_unit[unit]
    moments = sources.moments[sources.first_moment[group] : sources.first_moment[group + 1]]
    begin, end = sources.first_cotangent[group], sources.first_cotangent[group + 1]
    first, last = sources.first_read[group], sources.last_read[group]
    cotangent = sources.moment_cotangent[begin:end].reshape((moments.size, last - first))
    return SourceArrays(
        sources.rate, sources.slope, sources.voltage_cotangent, sources.peak_cotangent,
        sources.phantom, moments, sources.moment_start[group],
        cotangent, first, last, sources.limit,
    )  # fmt: skip


def joined(groups: list[SourceArrays], of_unit: np.ndarray) -> Sources:
    """The sources of all units from those of each group; groups share the arrays of all units."""
    first = groups[0]
    if len(groups) == 1:
        flat_cotangent = first.moment_cotangent.ravel()
        moment_start, moments = first.moment_start[None], first.moments
    else:
        flat_cotangent = np.concatenate([group.moment_cotangent.ravel() for group in groups])
        moment_start = np.stack([group.moment_start for group in groups])
        moments = np.concatenate([group.moments for group in groups])
    return Sources(
        of_unit=of_unit,
        rate=first.rate,
        slope=first.slope,
        voltage_cotangent=first.voltage_cotangent,
        peak_cotangent=first.peak_cotangent,
        phantom=first.phantom,
        moments=moments,
        first_moment=_ends([group.moments.size for group in groups]),
        moment_start=moment_start,
        moment_cotangent=flat_cotangent,
        first_cotangent=_ends([group.moment_cotangent.size for group in groups]),
        first_read=np.array([group.first_read for group in groups]),
        last_read=np.array([group.last_read for group in groups]),
        limit=first.limit,
    )


def _ends(sizes: list[int]) -> np.ndarray:
    """Where consecutive arrays of these sizes begin and end, int64."""
    return np.array([0, *accumulate(sizes)], np.int64)
