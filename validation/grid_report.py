"""Tests and measures the grid engine: correctness, order of convergence, speed.  Writes a page.

    python validation/grid_report.py --out docs [--parts correctness convergence speed]

correctness   random networks of every kind with every loss, on the GPU and on the CPU: spikes must
              be identical, gradients equal up to rounding (see grid_correctness.py)
convergence   errors against the exact engine as dt goes to 0 (see grid_vs_exact.py)
speed         on the CPU, and epochs of the size of SHD on the GPU (see benchmarks/grid.py)

Without a GPU its figures are missing, and the page says so; correctness then compares threads and
precisions.  If a part fails, the page shows its message, and the other parts still run.  The page
is grid_report.md in the folder, its plot is in images, and it is written again after each part.
The exit status is 1 if a part fails or a claim is refuted.  The program takes a few minutes; on a
machine with a GPU, less than 8.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grid as benchmark
import grid_correctness
import grid_vs_exact
import parallel
from parts import (
    NO_DEVICE,
    Part,
    as_text,
    environment,
    environment_table,
    page,
    published,
    run_part,
)

from evsim.display.processor import processor
from evsim_gpu.cuda.gpu import cuda_devices

PICTURE = "grid_against_exact.png"


@dataclass(frozen=True)
class Settings:
    """The sizes of the parts, and the names of the GPUs."""

    devices: list[str]
    networks: int
    convergence_networks: int
    seed: int
    hidden: int
    gpu_hidden: int
    samples: int
    epoch_samples: int
    spikes: int
    repeats: int
    epochs: int
    out: Path
    end: float  # when the available time ends, in the clock of time.perf_counter


# -- the parts --------------------------------------------------------------------------------


def correctness(settings: Settings, part: Part) -> None:
    """Compare random networks on the GPU, or on the CPU with two threads, with the CPU."""
    device = "cuda" if settings.devices else "cpu"
    share = 0.5 * (settings.end - time.perf_counter())
    found = grid_correctness.compare_many(settings.networks, settings.seed, device, share)
    part.refutations += found.refutations()
    examined = settings.devices[0] if settings.devices else "the processor with two threads"
    part.text = "\n\n".join(
        [
            *([] if settings.devices else [f"**{NO_DEVICE}.**"]),
            f"{found.networks} random networks in batches of {grid_correctness.BATCH}, each with "
            f"two losses, on {examined}, against the processor with one thread.  The claim: spikes "
            "are those of the same precision on the processor, to the bit; and losses and "
            "gradients are off from those of the processor in float64 by at most "
            f"{grid_correctness.LARGEST_ERROR['float64']:g} in float64 and "
            f"{grid_correctness.LARGEST_ERROR['float32']:g} in float32, or on a GPU, where it is "
            "more, by ten times what the processor itself is off by in float32.  Errors are norms "
            "over all parameters of a kind, relative to the norm of what is summed up in them: "
            "gradients of parameters that synapses share may cancel.",
            found.exceptions(),
            as_text(found.kinds_table()),
            as_text(found.quantities_table()),
            '"Others than float64" are networks whose spikes in float32 are not those in '
            "float64; they have no errors.  By loss:",
            as_text(found.losses_table()),
        ]
    )


def convergence(settings: Settings, part: Part) -> None:
    """Measure the order of convergence to the exact engine."""
    found = grid_vs_exact.findings(settings.convergence_networks, settings.seed)
    part.refutations += found.refutations()
    (settings.out / "images").mkdir(parents=True, exist_ok=True)
    tables = grid_vs_exact.tables(found)
    grid_vs_exact.draw(found, settings.out / "images" / PICTURE)
    part.text = "\n\n".join(
        [
            "Random networks with a delay at every synapse, layered (8-12-8-3) and recurrent "
            "(8-16-3), in float64 on the processor, against the exact engine.  The claim: errors "
            "of spike times, losses and gradients are of first order in dt or better, wherever "
            "the grid has the spikes of continuous time.  Where it has not, only spikes before "
            "the first difference are compared.",
            f"![Errors against dt](images/{PICTURE})",
            "Medians and quartiles over the networks with the same spikes; hollow where those are "
            "fewer than half.",
            *(f"{table.title}:\n\n{as_text(table)}" for table in tables),
        ]
    )


def speed(settings: Settings, part: Part) -> None:
    """Measure the CPU first, so that its figures are kept if the GPU fails."""
    threads = sorted({1, min(2, parallel.processors())})
    times = benchmark.measure_processor(
        settings.hidden, settings.samples, settings.spikes, settings.repeats, threads
    )
    part.text = "\n\n".join(
        [
            f"Input that looks like spoken digits: {benchmark.CHANNELS} channels, "
            f"{settings.spikes} spikes a sample, 1000 steps of {benchmark.DT:g} ms; gradients by "
            "weights and delays.  Spikes and arrivals were checked before anything was timed.",
            "### On the processor",
            f"{processor()}.  Medians of {settings.repeats}, in batches of "
            f"{settings.samples} samples for the grid and of one for the exact engine.",
            benchmark.processor_table(times),
            "### On the GPU",
            f"{NO_DEVICE[0].upper()}{NO_DEVICE[1:]}.",
            published(),
        ]
    )
    if not settings.devices:
        return
    before, after = part.text.split("### On the GPU")[0], published()
    part.text = f"{before}### On the GPU\n\nFailed, see below.\n\n{after}"
    measured = benchmark.measure_gpu(
        settings.gpu_hidden,
        settings.epoch_samples,
        settings.spikes,
        settings.epochs,
        settings.end - time.perf_counter(),
    )
    epochs = list(measured)
    part.refutations += [f"{epoch.network}: {epoch.note}" for epoch in epochs if epoch.failed]
    part.text = "\n\n".join(
        [
            f"{before}### On the GPU",
            f"{settings.devices[0]}, float32: training weights and delays with Adam, "
            f"{settings.epoch_samples} samples in batches of {benchmark.BATCH}.  Medians of at "
            f"most {settings.epochs} epochs after the first; memory is what CuPy took in all.  "
            "With long delays many spikes arrive after the end of the trial and cost nothing: "
            "compare the nanoseconds.",
            benchmark.gpu_table(epochs),
            after,
        ]
    )


PARTS: dict[str, tuple[str, Callable[[Settings, Part], None]]] = {
    "correctness": ("Correct", correctness),
    "convergence": ("Of first order", convergence),
    "speed": ("How fast", speed),
}


# -- the command --------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run the parts and write the page after each; 1 if a part fails or a claim is refuted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/validation"), help="a folder")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=7.0, help="for all parts, about")
    parser.add_argument("--networks", type=int, default=300, help="of correctness")
    parser.add_argument(
        "--convergence-networks", type=int, default=100, help="of each kind and loss"
    )
    parser.add_argument("--hidden", type=int, default=64, help="units per layer, on the CPU")
    parser.add_argument("--gpu-hidden", type=int, default=256, help="the same on the GPU")
    parser.add_argument("--samples", type=int, default=8, help="a batch on the processor")
    parser.add_argument("--epoch-samples", type=int, default=benchmark.SHD_SAMPLES)
    parser.add_argument("--spikes", type=int, default=benchmark.SPIKES, help="of inputs, a sample")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="epochs to time on the GPU")
    parser.add_argument("--note", default="", help="a sentence for the page")
    chosen = vars(parser.parse_args(arguments))
    names, minutes, note = (chosen.pop(name) for name in ("parts", "minutes", "note"))
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "validation/grid_report.py", *given])

    settings = Settings(cuda_devices(), **chosen, end=time.perf_counter() + 60 * minutes)
    settings.out.mkdir(parents=True, exist_ok=True)
    used = environment_table(environment())
    print(used, flush=True)
    parts = {name: Part(title) for name, (title, _) in PARTS.items()}
    for name in [known for known in PARTS if known in names]:
        parts[name] = run_part(*PARTS[name], settings)
        text = page("The grid engine, measured", command, note, used, list(parts.values()))
        (settings.out / "grid_report.md").write_text(text)
        print(f"\n## {parts[name].title}\n\n{parts[name].text}\n")
        print("\n".join(parts[name].refutations or ["held"]), flush=True)
    return 1 if any(part.refutations for part in parts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
