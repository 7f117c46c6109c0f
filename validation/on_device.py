"""Tests and measures the grid engine on a GPU within a few minutes, the most important first.

    python validation/on_device.py --out FOLDER [--data FOLDER] [--minutes 7]
    python validation/on_device.py --out FOLDER [--data FOLDER] --rehearse

device         the GPU, its driver, CuPy
tests          the tests of the CUDA kernels, tests/test_cuda*.py, on the GPU
correctness    the claim CudaVsGrid: spikes of random networks are those of the CPU to the bit
epochs         epochs of the size of SHD: seconds, memory and the time of each kernel
spoken-digits  training 256 recurrent units with delays on the spoken digits in --data

Each part runs in a process of its own, and has its share of the time: a part that crashes or hangs
is cut off and stops no other.  After each part on_device.md, with all results, is written again,
with on_device.json, the same for programs, log.txt, and CudaVsGrid.json, which
``run.py --render-only --publish`` adds to the findings.  --rehearse runs every part at a small size
on an emulation of the GPU, which needs a C++ compiler.  The exit status is 0 if all parts held, 1
if one did not, and 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import grid as benchmark
import numpy as np
import parallel
import run
from parts import Part, as_text, environment, environment_table, page, published, run_part
from records import stored_record
from registry import ROOT

from evsim.storage import write_atomically
from evsim_gpu.cuda.gpu import cuda_devices

CLAIM = "CudaVsGrid"
TESTS = sorted((ROOT / "tests").glob("test_cuda*.py"))


@dataclass(frozen=True)
class Sizes:
    """The sizes of all parts; ``tests`` is an expression of pytest that selects tests."""

    tests: str = "not emulated"
    networks: int = 300
    hidden: int = 256
    samples: int = benchmark.SHD_SAMPLES
    spikes: int = benchmark.SPIKES
    digits_hidden: int = 256
    digits_epochs: int = 30


REHEARSAL = Sizes(
    tests="compiler_takes_the_kernels and sm_90 and float32",
    networks=2,
    hidden=4,
    samples=4,
    spikes=200,
    digits_hidden=4,
    digits_epochs=1,
)


@dataclass(frozen=True)
class Settings:
    """What a part needs; ``seconds`` is its share of the time, and ``file`` is where it stores."""

    sizes: Sizes
    folder: Path
    data: Path | None
    seconds: float
    file: Path

    def store(self, part: Part, **figures: Any) -> None:
        """Store what the part has found so far."""
        content = {"part": asdict(part), "figures": figures or stored(self.file)["figures"]}
        write_atomically(self.file, (json.dumps(content, indent=1) + "\n").encode())


def stored(file: Path) -> dict[str, Any]:
    """What a part has stored: the fields of ``Part`` and its figures."""
    if not file.exists():
        return {"part": {}, "figures": {}}
    return json.loads(file.read_text(encoding="utf-8"))


# -- the parts --------------------------------------------------------------------------------


def device(settings: Settings, part: Part) -> None:
    """The GPU and the versions of everything."""
    rows = environment()
    part.text = environment_table(rows)
    settings.store(part, environment=rows, devices=cuda_devices())


def tests(settings: Settings, part: Part) -> None:
    """Run the tests of the kernels on the GPU."""
    results = settings.folder / "tests.xml"
    processes = ["-n", str(min(8, parallel.processors()))] if find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "-q", *processes, "-p", "no:cacheprovider"]
    command += ["-k", settings.sizes.tests, f"--junitxml={results}", *map(str, TESTS)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = [
        case for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = [case for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(failed) - len(skipped)
    part.text = f"{passed} tests passed, {len(failed)} failed and {len(skipped)} were skipped."
    part.refutations += [f"{case.get('classname')}::{case.get('name')}" for case in failed]
    if done.returncode and not failed:
        part.refutations.append(f"pytest ended with the exit status {done.returncode}")
    if not passed:
        part.refutations.append("no test ran")
    settings.store(part, passed=passed, failed=len(failed), skipped=len(skipped))


def correctness(settings: Settings, part: Part) -> None:
    """Test the claim that the GPU has the results of the CPU."""
    networks = f"networks={settings.sizes.networks}"
    run.main(["--out", str(settings.folder), "-k", CLAIM, "--set", networks])
    record = stored_record(settings.folder, CLAIM)
    if record is None:
        raise RuntimeError(f"{CLAIM} left no record")
    if record.error is not None:
        raise RuntimeError(record.error)
    finding = record.finding
    part.refutations += finding.refutations
    tables = [f"{table.title}:\n\n{as_text(table)}" for table in finding.tables]
    part.text = "\n\n".join([finding.summary, *tables])
    settings.store(part, holds=finding.holds, summary=finding.summary)


def epochs(settings: Settings, part: Part) -> None:
    """Measure epochs of the size of SHD."""
    sizes = settings.sizes
    measured: list[benchmark.Epoch] = []
    for epoch in benchmark.measure_gpu(
        sizes.hidden, sizes.samples, sizes.spikes, seconds=0.9 * settings.seconds
    ):
        measured.append(epoch)
        if epoch.failed:
            part.refutations.append(f"{epoch.network}: {epoch.note}")
        kernels = [
            f"Kernels of {one.network}:\n\n{benchmark.kernels_table(one)}"
            for one in measured
            if one.kernels
        ]
        part.text = "\n\n".join(
            [
                f"Training weights and delays with Adam in float32, {sizes.samples} samples in "
                f"batches of {benchmark.BATCH}, {benchmark.CHANNELS} channels, {sizes.spikes} "
                "spikes a sample, 1000 steps of 1 ms. Before that, spikes and gradients were "
                "compared with those of the CPU.",
                benchmark.gpu_table(measured),
                published(),
                *kernels,
            ]
        )
        settings.store(part, epochs=[asdict(one) for one in measured])


def spoken_digits(settings: Settings, part: Part) -> None:
    """Train on the spoken digits."""
    if settings.data is None:
        part.text = "Left out: --data names no folder."
        settings.store(part)
        return
    from evsim.cli import main as evsim_command

    out = settings.folder / "spoken_digits"
    sizes = settings.sizes
    words = ["train", "spoken-digits", "--experiment", "small", "--recurrent", "--delays"]
    words += ["--heterogeneous", "--engine", "cuda", "--seed", "0", "--no-pictures"]
    words += ["--hidden", str(sizes.digits_hidden), "--epochs", str(sizes.digits_epochs)]
    words += ["--time-limit", f"{0.8 * settings.seconds:.0f}", "--data", str(settings.data)]
    status = evsim_command([*words, "--out", str(out)])
    if status:
        raise RuntimeError(f"evsim train ended with the exit status {status}")
    tested = json.loads((out / "test.json").read_text(encoding="utf-8"))
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    part.text = (
        f"`evsim {shlex.join(words[:-4])}`: {len(seconds)} of {sizes.digits_epochs} epochs in "
        f"{sum(seconds):.0f} s, {np.median(seconds):.2f} s each in the median; test accuracy "
        f"{100 * tested['accuracy']:.1f} %."
    )
    settings.store(part, seconds=seconds, test=tested)


PARTS: dict[str, tuple[str, float, Callable[[Settings, Part], None]]] = {
    "device": ("The device", 0.2, device),
    "tests": ("Tests of the kernels", 0.3, tests),
    "correctness": ("The results are those of the CPU", 0.4, correctness),
    "epochs": ("Epochs of the size of SHD", 0.6, epochs),
    "spoken-digits": ("Training on spoken digits", 1.0, spoken_digits),
}
"""Each part's title, its share of the time that is left when it begins, and its function."""


# -- one process for each part ----------------------------------------------------------------


def perform(name: str, settings: Settings) -> None:
    """Run a part in this process and store it."""
    title, _, measure = PARTS[name]
    settings.store(Part(title, text=""))
    settings.store(run_part(title, measure, settings))


def in_a_process(name: str, arguments: list[str], seconds: float, file: Path, log: Path) -> Part:
    """Run a part in a process of its own; what it has stored if it crashes or takes too long."""
    start = time.perf_counter()
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    command += ["--part", name, "--seconds", f"{seconds:.1f}", "--file", str(file)]
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status, cut = child.wait(timeout=seconds), False
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            status, cut = 0, True
    part = Part(PARTS[name][0], text="")
    part = replace(part, **stored(file)["part"])
    part.seconds = time.perf_counter() - start
    if cut:
        part.refutations.append(f"cut off after {seconds:.0f} s; what is above was found before")
    elif status:
        part.refutations.append(f"its process ended with the status {status}, see log.txt")
    return part


def install_emulation() -> None:
    """Put the emulation of CUDA that the tests use in CuPy's place, until the process ends."""
    sys.path.insert(0, str(ROOT / "tests"))
    import cuda_on_cpu
    import pytest

    cuda_on_cpu.install(pytest.MonkeyPatch())


# -- the command ------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run all parts, or one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--data", type=Path, help="the folder with the spoken digits")
    parser.add_argument("--minutes", type=float, default=7.0, help="for all parts")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument(
        "--rehearse", action="store_true", help="every part at a small size, on an emulation"
    )
    for name, kind in (("part", str), ("seconds", float), ("file", Path)):  # of one process
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.part is not None:
        if chosen.rehearse:
            install_emulation()
        sizes = REHEARSAL if chosen.rehearse else Sizes()
        folder = chosen.file.parent
        perform(chosen.part, Settings(sizes, folder, chosen.data, chosen.seconds, chosen.file))
        return 0
    given = sys.argv[1:] if arguments is None else arguments
    return all_parts(chosen, given)


def all_parts(chosen: argparse.Namespace, given: list[str]) -> int:
    """Run each part in its process, and write the page after each."""
    end = time.perf_counter() + 60 * chosen.minutes
    chosen.out.mkdir(parents=True, exist_ok=True)
    log = chosen.out / "log.txt"
    log.write_bytes(b"")
    parts = {name: Part(title) for name, (title, *_) in PARTS.items()}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for name in [known for known in PARTS if known == "device" or known in chosen.parts]:
            seconds = PARTS[name][1] * (end - time.perf_counter())
            file = Path(work, f"{name}.json")
            parts[name] = in_a_process(name, given, max(seconds, 1.0), file, log)
            figures[name] = stored(file)
            if Path(work, f"{CLAIM}.json").exists():
                shutil.copy(Path(work, f"{CLAIM}.json"), chosen.out)
            write(chosen.out, given, parts, figures)
            print(f"\n## {parts[name].title}\n\n{parts[name].text}\n")
            print("\n".join(parts[name].refutations or ["held"]), flush=True)
            if name == "device" and not figures[name]["figures"].get("devices"):
                print(
                    "no GPU was found: nothing was tested; --rehearse needs none", file=sys.stderr
                )
                return 2
    return 1 if any(part.refutations for part in parts.values()) else 0


def write(folder: Path, given: list[str], parts: dict[str, Part], figures: dict[str, Any]) -> None:
    """Write the page, and the same for programs."""
    command = shlex.join(["python", "validation/on_device.py", *given])
    note = ""
    if "--rehearse" in given:
        note = "A rehearsal on an emulation of the GPU, at a small size: its figures mean nothing."
    text = page("The grid engine on a GPU", command, note, "", list(parts.values()))
    (folder / "on_device.md").write_text(text, encoding="utf-8")
    content = json.dumps(figures, indent=1) + "\n"
    (folder / "on_device.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
