"""Checks of what must be equal on all ranks, so that they compute what one process would."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from evsim.distributed.machines import Machine
from evsim.distributed.ranks import Ranks
from evsim.storage.description import differences

_PACKAGES = ("evsim", "numpy", "scipy", "numba", "llvmlite")
"""The packages of which different versions may compute different bits."""


def check_alike(ranks: Ranks, description: dict[str, Any]) -> None:
    """Refuse ranks that were given different arguments from rank 0, or run different versions.

    ``description`` is what must be the same, in a form that JSON can represent.

    Raises ValueError on all ranks.
    """
    if ranks.count == 1:
        return
    with ranks.together():
        own = {"versions": _versions(), **description}
        found = differences(ranks.from_first(own), own)
        if found:
            told = "; ".join(found).replace(" is stored, ", " on rank 0, ")
            told = told.replace(" is asked for", " here")
            raise ValueError(
                f"the ranks do not run the same training: {told}; start the same program with the "
                "same data and the same installation on all machines"
            )


def _versions() -> dict[str, str]:
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # not installed, but on the path
            found[name] = "?"
    return found


def check_same_values(ranks: Ranks, digest: str, machines: list[Machine], place: str) -> None:
    """Refuse ranks whose parameters now differ; ``digest`` is that of this rank's parameters.

    Every rank computes them in the same way, so different bits come from different processors or
    libraries.
    """
    found = ranks.gathered(np.frombuffer(bytes.fromhex(digest), np.uint8))
    differs = (found != found[0]).any(axis=1)
    if differs.any():
        rank = int(np.argmax(differs))
        raise ValueError(
            f"{place}: rank {rank} on {_named(machines[rank])} has other parameters than rank 0 on "
            f"{_named(machines[0])}: their arithmetic differs; use machines with the same "
            "processors and libraries"
        )


def machines_told(machines: list[Machine], digests: list[str], before: list[str]) -> list[str]:
    """Lines about the machines of a run: which take part, and whether their arithmetic differs.

    ``digests`` contains a digest of what each rank computes for the same sample; ``before`` are the
    processors on which earlier epochs were trained, if there are any.
    """
    lines = []
    if len(machines) > 1:
        names = dict.fromkeys(_named(machine) for machine in machines)
        lines.append(f"{len(machines)} ranks on {', '.join(names)}")
    for rank, machine in enumerate(machines):
        if digests[rank] != digests[0]:
            lines.append(
                f"rank {rank} on {_named(machine)} computes the first sample to other bits than "
                f"rank 0 on {_named(machines[0])}: those of this run depend on who takes which "
                "samples"
            )
        elif machine["processor"] not in [one["processor"] for one in machines[:rank]] and rank:
            lines.append(
                f"rank {rank} on {_named(machine)} has another processor than rank 0, and computes "
                "the first sample to the same bits"
            )
    own = list(dict.fromkeys(machine["processor"] for machine in machines))
    if before and set(before) != set(own):
        lines.append(
            f"earlier epochs were trained on {', '.join(before)}, these are trained on "
            f"{', '.join(own)}: their bits may differ from those of a run that stayed"
        )
    return lines


def _named(machine: Machine) -> str:
    return f"{machine['machine']} ({machine['processor']})"
