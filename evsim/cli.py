"""The command ``evsim``: train the tasks of the papers, and say what evsim runs on.

Every setting of a task is a flag.  What the user got wrong ends the command with one sentence
and status 2, what went wrong in a simulation with one sentence and status 1, Ctrl-C with 130,
SIGTERM with 143.
A reader that has gone, as ``| head`` does, ends it without a word, with 141.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import evsim
from evsim.arguments.paths import user_path
from evsim.display.plain_text import show_plainly
from evsim.tasks import braille, mnist, sequence, shd, spoken_digits, ssc, yin_yang
from evsim.training.termination import STATUS as TERMINATED
from evsim.training.termination import Terminated, terminable

if TYPE_CHECKING:
    from evsim.engines import Engine
    from evsim.tasks.running import RunOptions
    from evsim.training.fitting import Evaluation, FitResult, TrainingState

TASKS = {
    "sequence": sequence,
    "yin-yang": yin_yang,
    "mnist": mnist,
    "spoken-digits": spoken_digits,
    "shd": shd,
    "ssc": ssc,
    "braille": braille,
}

COMMANDS = ("train", "info")

EngineName = Literal["exact", "reference", "grid", "cuda"]
Precision = Literal["float32", "float64"]

ENGINE_FLAGS: dict[EngineName, tuple[str, ...]] = {
    "exact": ("threads",),
    "reference": (),
    "grid": ("dt", "precision", "threads"),
    "cuda": ("dt", "precision"),
}
"""The flags that are arguments of each engine."""

NO_SUCH_FLAG = {
    ("exact", "dt"): "the exact engine has no grid; leave it out, or choose --engine grid",
    ("exact", "precision"): "the exact engine has float64 only; leave it out",
    ("reference", "dt"): "the reference engine has no grid; leave it out, or choose --engine grid",
    ("reference", "precision"): "the reference engine has float64 only; leave it out",
    ("reference", "threads"): "the reference engine has only one; leave it out",
    ("cuda", "threads"): "they are the processor's, and cuda runs on a GPU; leave it out",
}
"""Why an engine does not have a flag of others, and what to do."""

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130
NOBODY_READS = 141


# -- commands -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """How the run is carried out; only a grid and its precision change what is computed."""

    out: Path | None = None
    """Folder for everything the run writes; if not given a new one in runs/."""

    resume: bool = False
    """Go on with the run in --out; give the same settings again, epochs may be more."""

    replace: bool = False
    """Remove the run in --out first; a folder that holds anything else is refused."""

    engine: EngineName = "exact"
    """exact: fast; reference: slow, to be read; grid: in steps, for large data; cuda: on a GPU."""

    dt: float | None = None
    """Step of grid and cuda in ms; if not given 0.01 for yin-yang, 1 for the others (published)."""

    precision: Precision | None = None
    """Numbers of grid and cuda; if not given float64 for grid, float32 for cuda."""

    threads: int | None = None
    """Threads of exact and grid; if not given as many as there are cores."""

    time_limit: float | None = None
    """Stop after the epoch in which this many seconds have passed."""

    pictures: bool = True
    """Draw pictures at the end."""

    progress: bool = True
    """Show how far training is."""

    def __post_init__(self) -> None:
        if self.out is not None:
            object.__setattr__(self, "out", user_path(self.out))

    def check(self) -> None:
        """Refuse what does not fit together."""
        if self.resume and self.out is None:
            raise ValueError("--resume goes on with the run in a folder: name it, --out FOLDER")
        if self.replace and self.out is None:
            raise ValueError("--replace removes the run in a folder: name it, --out FOLDER")
        if self.replace and self.resume:
            raise ValueError("--replace removes the run that --resume goes on with: leave one out")
        for (engine, name), reason in NO_SUCH_FLAG.items():
            if engine == self.engine and getattr(self, name) is not None:
                raise ValueError(f"--{name} {getattr(self, name)}: {reason}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--threads {self.threads}: it must be at least 1")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"--time-limit {self.time_limit:g}: it must be a time > 0 in seconds")
        if self.out is not None:
            _check_folder(self.out, self.resume, self.replace)

    def engine_value(self, grid_step: float) -> Engine:
        """The engine asked for; with a step in ms for one on a grid, if none is given."""
        from evsim import engines

        flags = {name: getattr(self, name) for name in ENGINE_FLAGS[self.engine]}
        if "dt" in flags and self.dt is None:
            flags["dt"] = grid_step
        given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
        engine: Any = engines.resolve(self.engine)
        return dataclasses.replace(engine, **given) if given else engine


def _train_command(name: str, task: ModuleType) -> type:
    """The command that trains a task: every setting is a flag."""

    def call(self: Any) -> int:
        """Train, and say how it went."""
        return train(name, task, task.Settings(**vars(self.settings)), self.run)

    summary = (task.__doc__ or "").partition("\n")[0].partition(": ")[2]
    return dataclasses.make_dataclass(
        "Train",
        [("settings", _flags(task.Settings)), ("run", Run)],
        namespace={"__doc__": summary[:1].upper() + summary[1:], "__call__": call},
    )


def _flags(settings: type) -> type:
    """The fields of settings as flags, with their docstrings for help.

    They are not checked here, but where a refusal is told in the words of this command.
    """
    from typing import Annotated, get_type_hints

    import tyro

    types = get_type_hints(settings)
    documented = _field_docstrings(settings)
    flags = []
    for field in dataclasses.fields(settings):
        # Where there is no number to show, the help says what happens if none is given.
        hint = "" if field.default is None else None
        shown = tyro.conf.arg(help=documented.get(field.name, ""), help_behavior_hint=hint)
        flag = dataclasses.field(default=field.default)
        flags.append((field.name, Annotated[types[field.name], shown], flag))
    return dataclasses.make_dataclass("Settings", flags, namespace={"__doc__": settings.__doc__})


def _field_docstrings(settings: type) -> dict[str, str]:
    """The string under each field of a dataclass and its bases, in one line.

    It is read from the source: where evsim is installed without, as bytecode, there are none.
    """
    found = {}
    for part in reversed(settings.__mro__):
        if not dataclasses.is_dataclass(part):
            continue
        try:
            source = inspect.getsource(part)
        except OSError:
            continue
        (definition,) = ast.parse(source).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return found


@dataclass(frozen=True)
class Info:
    """Say which versions evsim runs with, and on what."""

    warm: bool = False
    """Compile all that is compiled now, so that nothing is when it is first used."""

    def __call__(self) -> int:
        """Print what there is."""
        for name, value in environment().items():
            print(_in_lines(f"{name:<10} {value}", indent=11))
        if self.warm:
            _warm()
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; ``arguments`` are those after its name.  Returns its exit status."""
    with _streams():
        return _guarded(sys.argv[1:] if arguments is None else arguments)


@contextmanager
def _streams() -> Iterator[None]:
    """Streams for all that is said: none is missing, and letters that they lack are replaced."""
    with ExitStack() as opened:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed before Python started
                setattr(sys, name, opened.enter_context(open(os.devnull, "w")))
                opened.callback(setattr, sys, name, None)
        show_plainly([sys.stdout, sys.stderr])
        yield


def _guarded(arguments: Sequence[str]) -> int:
    """Run the command; its exit status, whatever goes wrong."""
    try:
        try:
            with terminable():
                return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _read_by_nobody()
        return NOBODY_READS
    except Terminated:
        print("evsim: terminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("evsim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        _complain(error)
        return WRONG_USE
    except (RuntimeError, ArithmeticError, ImportError) as error:
        _complain(error)
        return FAILED
    except MemoryError as error:
        error.add_note("memory does not suffice: use smaller batches, or on a grid a longer --dt")
        _complain(error)
        return FAILED


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:
        print(f"evsim {evsim.__version__}")
        return 0
    return _parse(arguments)()


def _read_by_nobody() -> None:
    """Let the interpreter end without trying, and failing, to write what is left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _complain(error: Exception) -> None:
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    print(f"evsim: {_with_flags(f'{error}{notes}')}", file=sys.stderr)


def _with_flags(message: str) -> str:
    """A message in which settings are called as their flags are."""
    commands = [Run, *(task.Settings for task in TASKS.values())]
    settings = {field.name for command in commands for field in dataclasses.fields(command)}
    # A name of one word may be meant as a word, unless it is given a value.
    names = "|".join(name if "_" in name else f"{name}(?= = )" for name in sorted(settings))
    return re.sub(
        rf"(?<![\w./-])({names})(?![\w./(])", lambda m: "--" + m[1].replace("_", "-"), message
    )


def _check_words(words: Sequence[str]) -> None:
    """Refuse commands, tasks and flags that are not there, naming the nearest that is.

    tyro would describe the flags of that name of every task.
    """
    from difflib import get_close_matches

    from evsim.arguments.checks import unknown_name

    command, task = [*words, "", ""][:2]
    if "" in words:
        before = words[words.index("") - 1] if words.index("") else "the command"
        raise ValueError(f"{before} is given an empty word: name what it is about")
    if get_close_matches(command, TASKS, n=1) and command not in COMMANDS:
        near = get_close_matches(command, TASKS, n=1)[0]
        raise ValueError(f"there is no command {command!r}; did you mean train {near}?")
    if command[:1] not in ("", "-") and command not in COMMANDS:
        raise ValueError(unknown_name("command", command, dict.fromkeys(COMMANDS)))
    if command != "train" or task in ("", "-h", "--help"):
        return
    if task not in TASKS and not task.startswith("-"):
        raise ValueError(unknown_name("task", task, TASKS))
    if task not in TASKS:
        raise ValueError(f"{task} comes after the task, one of {', '.join(TASKS)}")
    fields = [*dataclasses.fields(TASKS[task].Settings), *dataclasses.fields(Run)]
    names = [field.name.replace("_", "-") for field in fields]
    flags = [*(f"--{name}" for name in names), *(f"--no-{name}" for name in names), "--help"]
    for word in words[2:]:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in flags:
            close = get_close_matches(flag, flags, n=1)
            remedy = f"did you mean {close[0]}?" if close else "--help lists those it has"
            raise ValueError(f"{task} has no flag {flag}; {remedy}")


def _parse(arguments: Sequence[str]) -> Callable[[], int]:
    _check_words(arguments)
    # tyro takes 0.1 s to import, and only the command needs it.
    from typing import Annotated, Union

    import tyro

    def named(command: type, name: str) -> Any:
        return Annotated[command, tyro.conf.subcommand(name)]

    tasks = tuple(named(_train_command(name, task), name) for name, task in TASKS.items())
    train_command = dataclasses.make_dataclass(
        "Train",
        [("task", Union[tasks])],  # noqa: UP007 (made of a tuple)
        namespace={
            "__doc__": "Train the network of a task, from its data to pictures of what it learned.",
            "__call__": lambda self: self.task(),
        },
    )
    return tyro.cli(
        named(train_command, "train") | named(Info, "info"),
        prog="evsim",
        description=f"{evsim.__doc__} evsim --version says which version this is.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )


# -- training -----------------------------------------------------------------------------


def train(name: str, task: ModuleType, settings: Any, run: Run) -> int:
    """Train a task's network, test it, and draw pictures; returns the exit status."""
    run.check()
    folder = run.out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    engine = run.engine_value(settings.grid_step)
    record = _SettingsFile(folder, name, settings, run, engine)
    if run.resume:
        record.compare()
    _check_before_reading(task, settings, run, engine)
    left_out = _find_data(task, settings)
    if hasattr(settings, "summary"):
        print(f"{name}: {settings.summary()}", file=sys.stderr)
    if _on_grid(run):
        print(f"{name}: {_grid_summary(engine)}", file=sys.stderr)
    if run.engine != "reference":
        _compile(name, task, settings, run, engine)
    if run.replace:
        from evsim.storage.replacing import remove_run

        remove_run(folder)
    options: RunOptions = {
        "engine": engine,
        "callbacks": [record, _TimeLimit(run.time_limit)],
        "run_folder": folder,
        "resume": run.resume,
        "progress": run.progress,
    }
    if getattr(settings, "folds", None):
        return _cross_validate(task, settings, folder, options, left_out)
    result = task.train(settings, **options)
    if not result.history:
        print(f"stopped before the first epoch was finished; the run is in {folder}")
        return INTERRUPTED
    outcome = task.evaluate(result, settings, engine=engine)
    tested = _test(outcome, result, task.class_names(settings))
    _write_json(folder / "test.json", {**tested, "left_out": left_out})
    if result.stopped and not run.progress:  # which has said it
        print(f"stopped after {len(result.history)} of {record.epochs} epochs: {result.stopped}")
    print(f"test accuracy {100 * outcome.accuracy:.1f} % (best epoch: {result.best_epoch})")
    if run.pictures:
        pictures = folder / "pictures"
        task.pictures(result, settings, pictures, engine=engine)
        print(f"pictures in {pictures}")
    print(f"everything in {folder}")
    return INTERRUPTED if result.interrupted else 0


def _on_grid(run: Run) -> bool:
    return "dt" in ENGINE_FLAGS[run.engine]


def _grid_summary(grid: Any) -> str:
    where = "a GPU" if grid.device == "cuda" else "the processor"
    return f"on a grid of {grid.dt:g} ms, in {grid.precision} on {where}"


def _check_before_reading(task: ModuleType, settings: Any, run: Run, engine: Any) -> None:
    """Refuse what can be refused without data, which may take long to read."""
    from evsim.arguments.checks import check_duration, checked_integer

    if getattr(settings, "folds", None) and run.time_limit is not None:
        raise ValueError("--time-limit is for single runs: leave it or --folds out")
    numbers = settings
    if hasattr(settings, "hyperparameters"):
        numbers = settings.hyperparameters()

    def number(name: str) -> Any:
        return getattr(numbers, name, getattr(settings, name, None))

    for name in ("epochs", "batch_size"):
        if number(name) is not None:
            checked_integer(number(name), name, 1)
    duration = check_duration(number("duration"))
    if _on_grid(run):
        from evsim_gpu.model.layout import steps_in

        steps_in(duration, engine.dt)
    task.network(settings)
    task.loss(settings)
    task.optimizers(settings)


def _compile(name: str, task: ModuleType, settings: Any, run: Run, engine: Any) -> None:
    """Compile what training needs before it begins, so that no limit counts it."""
    from evsim.precompile import warm_training
    from evsim.training.trained_parameters import assign_optimizers

    network = task.network(settings)
    trained = list(assign_optimizers(task.optimizers(settings), network.parameters))
    done = warm_training(engine, network, task.loss(settings), trained)
    if done.compiled and run.time_limit is not None:
        print(
            f"{name}: compiled in {done.seconds:.0f} s; the time limit counts from here",
            file=sys.stderr,
        )


def _find_data(task: ModuleType, settings: Any) -> list[str]:
    """Read the data before training; what was left out of them, which is told too.

    Where files are missing, say what flags help.
    """
    import warnings

    from evsim.data import SpikesLeftOutWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpikesLeftOutWarning)
        try:
            task.data(settings)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                str(error)
                .replace("pass download=True to fetch them there", "fetch them with --download")
                .replace("the argument folder", "--data")
            ) from error
    told = []
    for warning in caught:
        if issubclass(warning.category, SpikesLeftOutWarning):
            told.append(str(warning.message))
            print(f"evsim: {told[-1]}", file=sys.stderr)
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return told


def _test(outcome: Evaluation, result: FitResult, names: Sequence[str]) -> dict[str, Any]:
    """What test.json says: rows of the confusion matrix are true classes, columns predictions."""
    by_class = zip(names, outcome.accuracy_by_class.tolist(), strict=True)
    return {
        "accuracy": outcome.accuracy,
        "loss": outcome.loss,
        "best_epoch": result.best_epoch,
        "accuracy_by_class": {name: None if a != a else a for name, a in by_class},
        "confusion": outcome.confusion.tolist(),
        "unclassified": outcome.unclassified.tolist(),
    }


def _cross_validate(
    task: ModuleType, settings: Any, folder: Path, options: RunOptions, left_out: list[str]
) -> int:
    """Train and test once for each fold; returns the exit status."""
    scores = task.cross_validate(settings, **options)
    for name, accuracy in zip(scores.names, scores.values, strict=True):
        print(f"{name}: {100 * accuracy:.1f} %")
    spread = 100 * scores.standard_deviation
    print(f"mean {100 * scores.mean:.1f} %, standard deviation {spread:.1f} %")
    _write_json(
        folder / "folds.json",
        {
            "accuracy": dict(zip(scores.names, scores.values.tolist(), strict=True)),
            "mean": scores.mean,
            "standard_deviation": scores.standard_deviation if len(scores.names) > 1 else None,
            "left_out": left_out,
        },
    )
    print(f"everything in {folder}")
    return INTERRUPTED if scores.interrupted else 0


class _TimeLimit:
    """A callback that ends training once the time is up."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.started = time.monotonic()

    def __call__(self, state: TrainingState) -> None:
        if self.seconds is None or state.epoch == state.epochs:
            return
        if time.monotonic() - self.started >= self.seconds:
            from evsim.training.fitting import StopTraining

            raise StopTraining(f"the time limit of {self.seconds:g} s")


GRID = ("dt", "precision")
"""What a grid is, in the settings of a run on one."""

FREE_TO_CHANGE = {"epochs": None, "data": None, "download": None}
"""Settings that may differ when a run is resumed: what is read from data is compared as such."""


class _SettingsFile:
    """A callback that writes what was asked for, once training has accepted it."""

    def __init__(self, folder: Path, task: str, settings: Any, run: Run, engine: Any) -> None:
        from evsim.storage.description import describe

        self.path = folder / "settings.json"
        self.content = {
            "task": task,
            "settings": describe(_as_text(dataclasses.asdict(settings))),
            "engine": run.engine,
        }
        if _on_grid(run):
            self.content |= {name: getattr(engine, name) for name in GRID}
        self.content["versions"] = environment()
        if hasattr(settings, "hyperparameters"):
            numbers = dataclasses.asdict(settings.hyperparameters())
            self.content["hyperparameters"] = describe(numbers)
        self.written = False
        self.epochs: int | None = None

    def compare(self) -> None:
        """Refuse to go on with a run that had other settings, naming them."""
        from evsim.storage.description import differences

        if not self.path.exists():
            return
        try:
            stored = json.loads(self.path.read_text())
            stored, asked = (
                {
                    **{name: content[name] for name in ("task", "engine")},
                    **{name: content[name] for name in GRID if name in content},
                    **content["settings"],
                    **FREE_TO_CHANGE,
                }
                for content in (stored, self.content)
            )
            found = differences(stored, asked)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.path} is damaged: delete it to go on without it") from error
        if found:
            raise ValueError(
                f"--resume with other settings than those of {self.path}: {'; '.join(found)}"
            )

    def __call__(self, state: TrainingState) -> None:
        self.epochs = state.epochs
        if not self.written:
            _write_json(self.path, self.content)
            self.written = True


def _as_text(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with paths as text, which json can hold."""
    return {k: str(value) if isinstance(value, Path) else value for k, value in settings.items()}


def _check_folder(folder: Path, resume: bool, replace: bool) -> None:
    """Refuse a run folder in which something else would be mixed with the run."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"--out {folder} is a file: name a folder")
    if replace or all(_is_left_behind(file) for file in folder.iterdir()):
        return
    if not resume:
        raise ValueError(
            f"--out {folder} is not empty: go on with the run in it, --resume, put this one in "
            "its place, --replace, or choose another"
        )
    if not any((folder / name).exists() for name in ("config.json", "settings.json")):
        raise ValueError(f"--out {folder} holds files but no run to go on with: choose another")


def _is_left_behind(file: Path) -> bool:
    """Whether a file in a run folder says nothing: a run that was killed at its start left it."""
    return file.name in ("lock", "lock.holder") or file.name.endswith(".partial")


def _write_json(path: Path, content: Any) -> None:
    from evsim.storage.files import write_atomically

    text = json.dumps(content, indent=2)
    # A row of numbers is one line.
    text = re.sub(r"\[[\d\s.,e+-]*\]", lambda row: " ".join(row.group().split()), text)
    write_atomically(path, f"{text}\n".encode())


# -- info ---------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Versions of evsim and what it builds on, processor cores and GPUs, for people to read."""
    from importlib.metadata import version

    from evsim._compile.threads import available_threads

    libraries = ("numpy", "scipy", "numba", "tyro", "matplotlib")
    return {
        "evsim": evsim.__version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        **{name: version(name) for name in libraries},
        "cores": f"{os.cpu_count()}, of which evsim may use {available_threads()}",
        "CuPy": _cupy_version(),
        "GPU": _gpus(),
    }


def _in_lines(text: str, indent: int) -> str:
    """A line broken between words where the terminal ends; whole in files and pipes."""
    import shutil
    import textwrap

    if not sys.stdout.isatty():
        return text
    width, gap = shutil.get_terminal_size().columns, " " * indent
    return textwrap.fill(text, width, subsequent_indent=gap, break_long_words=False)


def _warm() -> None:
    """Compile everything ahead, and say how long it took and where it is kept."""
    from evsim import precompile as warming

    for name, engine in warming.COMPILED.items():
        done = warming.warm(engine)
        if done.compiled:
            said = f"{done.compiled} functions compiled in {done.seconds:.1f} s"
        else:
            said = "everything was compiled before"
        print(f"{name}: {said}", flush=True)
    cache = warming.cache()
    if cache.folders:
        print(f"cache: {cache.size / 2**20:.1f} MiB in {', '.join(map(str, cache.folders))}")
    else:
        print("cache: none, no folder for it can be written; set NUMBA_CACHE_DIR to one")


def _cupy_version() -> str:
    """Which CuPy is there; it is only imported if there is one."""
    from importlib.util import find_spec

    if find_spec("cupy") is None:
        return 'not installed: pip install "evsim[gpu]" (CUDA 12) or "evsim[gpu13]" (CUDA 13)'
    try:
        import cupy
    except Exception as error:  # depends on what of CUDA is missing
        return f"cannot be imported, {_in_a_line(error)}"
    return cupy.__version__


def _gpus() -> str:
    """Name, memory and compute capability of each GPU that CuPy finds, or why there is none."""
    from importlib.util import find_spec

    if find_spec("cupy") is None:
        return "none, without CuPy"
    try:
        from cupy.cuda import runtime

        devices = [runtime.getDeviceProperties(i) for i in range(runtime.getDeviceCount())]
        described = [
            f"{own['name'].decode()}, {own['totalGlobalMem'] / 2**30:.1f} GiB, "
            f"compute capability {own['major']}.{own['minor']}"
            for own in devices
        ]
    except Exception as error:  # depends on what of CUDA is missing
        return f"none, {_in_a_line(error)}"
    return "; ".join(described) or "none that CUDA can use"


def _in_a_line(error: Exception) -> str:
    """An error of a library as part of a line: its type and its first sentence."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
