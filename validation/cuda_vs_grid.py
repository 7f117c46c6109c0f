"""The grid engine's CUDA kernels on a GPU against the same engine on the processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claims import Claim, Finding
from grid_correctness import LARGEST_ERROR, PRECISIONS, compare_many

from evsim_gpu.cuda.gpu import cuda_devices


@dataclass(frozen=True)
class CudaVsGrid(Claim):
    """On a GPU the grid engine has the spikes of the CPU, and its gradients up to rounding.

    The comparison is with ``Grid(dt, device="cpu")`` with one thread, on random networks of every
    kind in batches of 3, each with two of all losses, a third of them with dropout and a third with
    a regulariser, in float64 and in float32. Spikes are compared with those of the CPU in the same
    precision, losses and gradients with those of the CPU in float64. Errors of gradients are norms
    over all parameters of a kind, relative to the norm of the terms that are summed.

    The tests need no GPU: they run the same kernels in an emulator of CUDA on the CPU. This claim
    covers what the emulator cannot show: the compiler's arithmetic, races that the emulator does
    not provoke, and memory.

    Refuted if one spike differs by a bit from that of the CPU in the same precision; or if losses
    or gradients are off by more than 1e-10 in float64, or in float32 by more than 1e-5 and by more
    than ten times the error of the CPU in float32.
    """

    against = "the grid engine on the CPU"
    counts = ("networks",)

    networks: int = 1000
    seed: int = 0

    def examine(self, folder: Path) -> Finding:
        """Compare on the first GPU; without a GPU, report that nothing was compared."""
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
                max(outcome.errors.values(), default=0.0) for outcome in found.outcomes[precision]
            )
            for precision in PRECISIONS
        }
        everything = [outcome for outcomes in found.outcomes.values() for outcome in outcomes]
        spikes = sum(outcome.spikes for outcome in everything)
        others = sum(not outcome.identical for outcome in everything)
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
