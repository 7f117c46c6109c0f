"""The grid engine's CUDA kernels on a GPU against the same engine on the processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claims import Claim, Finding
from grid_correctness import LARGEST_ERROR, PRECISIONS, compare_many

from evsim_gpu.cuda.gpu import cuda_devices


@dataclass(frozen=True)
class CudaVsGrid(Claim):
    """On a GPU the grid engine has the spikes of the processor, and its gradients to rounding.

    Against ``Grid(dt, device="cpu")`` with one thread: random networks of every kind in batches
    of 3, each with two of all losses, a third of them with dropout and a third with a regulariser,
    in float64 and in float32.  Spikes are compared with those of the same precision, losses and
    gradients with float64; their errors are norms over all parameters of a kind, relative to the
    norm of what is summed up in them.

    The tests need no GPU: they run the same kernels on an emulation of CUDA on the processor.
    What that leaves open is what this claim is for: the compiler's arithmetic, races that the
    emulation does not provoke, and memory.

    Refuted by one spike that is not that of the processor in the same precision, to the bit; by
    losses or gradients that are off by more than 1e-10 in float64, or more than 1e-5 in float32
    and also ten times what the processor itself is off by in float32.
    """

    against = "the grid engine on the processor"
    counts = ("networks",)

    networks: int = 1000
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """On the first GPU; not at all without one."""
        devices = cuda_devices()
        if not devices:
            return Finding(
                None,
                "No CUDA device was found. The tests compare the same kernels with the processor's "
                "grid by emulation; that they run rightly on a GPU has not been examined here.",
            )
        found = compare_many(self.networks, self.seed, "cuda")
        largest = {
            precision: max(
                max(own.errors.values(), default=0.0) for own in found.outcomes[precision]
            )
            for precision in PRECISIONS
        }
        everything = [own for outcomes in found.outcomes.values() for own in outcomes]
        spikes = sum(own.spikes for own in everything)
        others = sum(not own.identical for own in everything)
        errors = " and ".join(
            f"{error:.1e} in {precision} (claimed: {LARGEST_ERROR[precision]:g})"
            for precision, error in largest.items()
        )
        return Finding.of(
            f"{found.networks} networks with {spikes} spikes on {devices[0]}: spikes differ in "
            f"{others} of {len(everything)} problems, losses and gradients by at most {errors}. "
            f"{found.exceptions()}",
            found.refutations(),
            [found.kinds_table(), found.quantities_table(), found.losses_table()],
        )
