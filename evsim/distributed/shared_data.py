"""Data sets that are read once per machine, into memory that its processes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.data.dataset import Dataset
from evsim.distributed.processes import Processes
from evsim.distributed.ranks import described
from evsim.network.spike_trains import SpikeTrains

ALIGNMENT = 64
"""Every array begins at a multiple of this number of bytes, for vector instructions."""


def ranks_of_machine(communicator: Any) -> Processes:
    """The processes of a communicator that run on this machine."""
    from mpi4py import MPI

    return Processes(communicator.Split_type(MPI.COMM_TYPE_SHARED))


def read_once(
    communicator: Any, read: Callable[[], Sequence[Dataset | None]]
) -> tuple[Dataset | None, ...]:
    """Data sets that one process of each machine reads and all processes of the machine share.

    Their arrays are in shared memory and read-only.  Every process must call this function.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
    read : function without arguments
        Returns the data sets; None for one that is missing.

    Raises
    ------
    What ``read`` raises, on all processes.
    """
    ranks = ranks_of_machine(communicator)
    with Processes(communicator).together():
        found = tuple(read()) if ranks.is_first else ()
    arrays = {
        f"{place}/{name}": array
        for place, data in enumerate(found)
        if data is not None
        for name, array in data.arrays().items()
    }
    told = ranks.from_first([[_without_arrays(data) for data in found], described(arrays)])
    structures, description = told
    shared = _in_shared_memory(ranks, arrays, description)
    return tuple(
        None if structure is None else _dataset(structure, shared, f"{place}/")
        for place, structure in enumerate(structures)
    )


def _without_arrays(data: Dataset | None) -> dict[str, Any] | None:
    """The content of a data set other than arrays, in a form that JSON can represent."""
    if data is None:
        return None
    return {
        "units": {name: trains.unit_count for name, trains in data.inputs.items()},
        "is named": not isinstance(data.spikes, SpikeTrains),
        "group names": data.group_names,
    }


def _dataset(structure: dict[str, Any], arrays: dict[str, NDArray[Any]], prefix: str) -> Dataset:
    """A data set from the arrays whose names have this prefix; spikes are not copied."""
    trains = {}
    for name, units in structure["units"].items():
        times, owners, offsets = (
            arrays[f"{prefix}{name}.{part}"] for part in ("times", "units", "offsets")
        )
        trains[name] = SpikeTrains._trusted(times, owners, offsets, units)
    return Dataset(
        trains if structure["is named"] else next(iter(trains.values())),
        arrays[f"{prefix}labels"],
        arrays.get(f"{prefix}groups"),
        structure["group names"],
    )


def _in_shared_memory(
    ranks: Processes, arrays: dict[str, NDArray[Any]], description: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """The arrays of the first rank, read-only, in memory that all ranks of a machine share."""
    from mpi4py import MPI

    sizes, places, size = {}, {}, 0
    for name, (kind, shape) in description.items():
        sizes[name] = np.dtype(kind).itemsize * int(np.prod(shape))
        places[name] = size
        size += -(-sizes[name] // ALIGNMENT) * ALIGNMENT
    window = MPI.Win.Allocate_shared(
        max(size, 1) if ranks.is_first else 0, 1, comm=ranks.communicator
    )
    _windows.append(window)  # its memory lives as long as the process
    memory = np.frombuffer(window.Shared_query(0)[0], np.uint8)
    shared = {}
    for name, (kind, shape) in description.items():
        part = memory[places[name] : places[name] + sizes[name]].view(np.dtype(kind)).reshape(shape)
        if ranks.is_first:
            part[...] = arrays[name]
        part.setflags(write=False)
        shared[name] = part
    window.Fence()  # now the other ranks see what the first has written
    return shared


_windows: list[Any] = []
