"""What ``--scheduler`` names: processes on this machine, a Dask scheduler, or a SLURM cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONNECT = 10.0  # s after which a scheduler is assumed to be absent

_FORMS = (
    "give local:8, the address of a Dask scheduler such as tcp://host:8786, or "
    "slurm:partition=cpu,cores=16,memory=32GB,walltime=04:00:00,jobs=4"
)

_OF_SLURM = {
    "partition": ("queue", str),
    "account": ("account", str),
    "cores": ("cores", int),
    "memory": ("memory", str),
    "walltime": ("walltime", str),
}
"""The options of a SLURM cluster, and their names in dask-jobqueue."""


@contextmanager
def scheduler_named(text: str | None) -> Iterator[dict[str, Any]]:
    """The arguments of ``Study.run`` for a scheduler, which is released at the end.

    Raises ValueError for a name without a meaning, ConnectionError for a scheduler that does not
    answer, and ImportError without Dask.
    """
    kind, _, rest = (text or "").partition(":")
    if text is None:
        yield {}
    elif kind == "local":
        yield {"processes": _count(rest, text)}
    elif kind == "slurm":
        with _slurm(rest, text) as client:
            yield {"executor": client}
    elif re.fullmatch(r"[a-z]+://.+", text):
        with _client(text) as client:
            yield {"executor": client}
    else:
        raise ValueError(f"--scheduler {text}: {_FORMS}")


def is_local(text: str | None) -> bool:
    """Whether runs are carried out on this machine."""
    return text is None or text.startswith("local:")


def _count(text: str, whole: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--scheduler {whole}: give a number of processes, such as local:8")
    return int(text)


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """A client of a Dask scheduler."""
    distributed = _imported("distributed")
    try:
        client = distributed.Client(address, timeout=CONNECT)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"--scheduler {address}: no Dask scheduler answers there within {CONNECT:g} s; start "
            "one, dask scheduler, and workers, dask worker ADDRESS"
        ) from error
    with client:
        yield client


@contextmanager
def _slurm(text: str, whole: str) -> Iterator[Any]:
    """A client of jobs on a SLURM cluster, which end with it."""
    options, jobs = slurm_options(text, whole)
    dask_jobqueue = _imported("dask_jobqueue")
    distributed = _imported("distributed")
    with dask_jobqueue.SLURMCluster(**options) as cluster:
        cluster.scale(jobs=jobs)
        with distributed.Client(cluster) as client:
            yield client


def slurm_options(text: str, whole: str) -> tuple[dict[str, Any], int]:
    """The arguments of dask-jobqueue's SLURMCluster, and the number of jobs."""
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (equals and value) or name not in {*_OF_SLURM, "jobs"}:
            raise ValueError(
                f"--scheduler {whole}: {part!r} is not one of "
                f"{', '.join(f'{known}=...' for known in (*_OF_SLURM, 'jobs'))}"
            )
        given[name] = value
    for name in ("cores", "memory"):
        if name not in given:
            raise ValueError(f"--scheduler {whole}: say how much each job has, {name}=...")
    numbers = {name: given[name] for name in ("cores", "jobs") if name in given}
    for name, value in numbers.items():
        if not value.isdigit() or int(value) < 1:
            raise ValueError(f"--scheduler {whole}: {name}={value} must be a number >= 1")
    jobs = int(given.pop("jobs", "1"))
    options: dict[str, Any] = {}
    for name, value in given.items():
        called, kind = _OF_SLURM[name]
        options[called] = kind(value)
    # A worker process for each core, since each run has one thread.
    return {**options, "processes": options["cores"]}, jobs


def _imported(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f'a scheduler other than local needs Dask ({error}): pip install "evsim[study]"'
        ) from error
