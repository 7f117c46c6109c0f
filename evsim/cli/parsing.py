"""The command line: its commands, and the words that are refused before it is parsed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import evsim
from evsim.arguments.checks import unknown_name
from evsim.cli.flags import flags_of
from evsim.cli.info import Info
from evsim.cli.options import Run
from evsim.cli.quick import Quick, as_flags, quick_defaults, set_by_quick
from evsim.cli.spike_commands import Certify, Compare
from evsim.cli.study import NO_SETTINGS, ShowTable, Status, study_of_file, study_of_task
from evsim.cli.study_options import StudyOptions
from evsim.cli.train import train
from evsim.tasks import (
    braille,
    japanese_vowels,
    mnist,
    motion_detection,
    sequence,
    shd,
    sound_localisation,
    spoken_digits,
    ssc,
    yin_yang,
)

if TYPE_CHECKING:
    from evsim.tasks.base import Experiment

TASKS: dict[str, Experiment[Any]] = {
    module.experiment.name: module.experiment
    for module in (
        sequence,
        yin_yang,
        mnist,
        japanese_vowels,
        spoken_digits,
        shd,
        ssc,
        braille,
        sound_localisation,
        motion_detection,
    )
}
"""The experiments that the command can train, by name."""

COMMANDS = ("train", "study", "compare", "certify", "info")

OF_STUDIES = ("status", "table", "file")
"""What ``evsim study`` can do besides running the study of a task."""


def parse(arguments: Sequence[str]) -> Callable[[], int]:
    """The command that the arguments ask for; calling it runs it and returns the exit status."""
    arguments = _with_file(arguments)
    _check_words(arguments)
    # Importing tyro takes 0.1 s, and only the command needs it.
    import tyro

    command: Callable[[], int] = tyro.cli(
        _named(_command("train", arguments), "train")
        | _named(_command("study", arguments), "study")
        | _named(_command_on(Compare, ("model", "spikes")), "compare")
        | _named(_command_on(Certify, ("model", "spikes")), "certify")
        | _named(Info, "info"),
        prog="evsim",
        description=f"{evsim.__doc__} evsim --version says which version this is.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    return command


def _named(command: type, name: str) -> Any:
    import tyro

    return Annotated[command, tyro.conf.subcommand(name)]


def _command(name: str, arguments: Sequence[str]) -> type:
    """The command train or study; its choices are built only if the command is used.

    tyro reads all flags of all choices, which takes a while.
    """
    choices: tuple[Any, ...] = ()
    if arguments[:1] == [name]:
        choices = tuple(_named(each, of) for of, each in _CHOICES[name](arguments).items())
    return dataclasses.make_dataclass(
        name.capitalize(),
        [("task", Union[choices])] if choices else [],  # noqa: UP007 (made of a tuple)
        namespace={"__doc__": _ABOUT[name], "__call__": lambda self: self.task()},
    )


_ABOUT = {
    "train": "Train the network of a task, test it, and draw what it learned.",
    "study": "Run a task with all combinations of some settings, with several seeds. evsim study "
    "FILE.toml runs the study that a file describes.",
}


def _trainings(words: Sequence[str]) -> dict[str, type]:
    """The commands after train."""
    return {name: _train_command(task, words) for name, task in TASKS.items()}


def _studies(words: Sequence[str]) -> dict[str, type]:
    """The commands after study."""
    return {
        **{name: _study_command(task) for name, task in TASKS.items()},
        "file": _study_file_command(),
        "status": _command_on(Status, ("folder",)),
        "table": _command_on(ShowTable, ("folder",)),
    }


_CHOICES: dict[str, Callable[[Sequence[str]], dict[str, type]]] = {
    "train": _trainings,
    "study": _studies,
}


def _train_command(task: Experiment[Any], words: Sequence[str]) -> type:
    """The command that trains a task; the words may ask for the defaults of its quick form."""
    kind = task.settings_type
    quick = quick_defaults(kind, words)
    own_defaults, run_defaults = ({}, {}) if quick is None else quick

    def call(self: Any) -> int:
        run = Run(**vars(self.run))
        if quick is None:
            return train(task, kind(**vars(self.settings)), run)
        try:
            settings = kind(**vars(self.settings))
        except ValueError as error:
            error.add_note(f"--quick sets {as_flags(own_defaults)}: give other values of these")
            raise
        return train(task, settings, run, set_by_quick(settings, run))

    return dataclasses.make_dataclass(
        "Train",
        [
            *([] if kind.quick_form is None else [("small", flags_of(Quick))]),
            ("settings", flags_of(kind, defaults=own_defaults)),
            ("run", flags_of(Run, defaults=run_defaults)),
        ],
        namespace={"__doc__": task.description, "__call__": call},
    )


def _study_command(task: Experiment[Any]) -> type:
    """The command that runs a study of a task."""

    def call(self: Any) -> int:
        return study_of_task(task, vars(self.settings), StudyOptions(**vars(self.options)))

    return dataclasses.make_dataclass(
        "StudyOfTask",
        [
            ("options", flags_of(StudyOptions)),
            ("settings", flags_of(task.settings_type, without=NO_SETTINGS)),
        ],
        namespace={"__doc__": task.description, "__call__": call},
    )


def _study_file_command() -> type:
    """The command that runs the study in a file."""

    def call(self: Any) -> int:
        return study_of_file(self.file, StudyOptions(**vars(self.options)), TASKS)

    return dataclasses.make_dataclass(
        "StudyOfFile",
        [("file", _file_argument()), ("options", flags_of(StudyOptions))],
        namespace={"__doc__": "Run the study that a TOML file describes.", "__call__": call},
    )


def _file_argument() -> Any:
    import tyro

    return Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="The TOML file.")]


def _command_on(command: Any, positional: Collection[str]) -> type:
    """A command whose arguments of these names need no flags."""

    def call(self: Any) -> int:
        return int(command(**vars(self.flags))())

    return dataclasses.make_dataclass(
        command.__name__,
        [("flags", flags_of(command, positional=positional))],
        namespace={"__doc__": command.__doc__, "__call__": call},
    )


def _with_file(words: Sequence[str]) -> list[str]:
    """The words, with the command file inserted before a file that follows study."""
    if len(words) > 1 and words[0] == "study" and words[1].endswith(".toml"):
        return ["study", "file", *words[1:]]
    return list(words)


def _check_words(words: Sequence[str]) -> None:
    """Refuse unknown commands, tasks and flags, and suggest the nearest known one.

    tyro would list the flags with that name of every task.
    """
    command, task = [*words, "", ""][:2]
    if "" in words:
        before = words[words.index("") - 1] if words.index("") else "the command"
        raise ValueError(f"{before} is given an empty word: name what it is about")
    if get_close_matches(command, TASKS, n=1) and command not in COMMANDS:
        near = get_close_matches(command, TASKS, n=1)[0]
        raise ValueError(f"there is no command {command!r}; did you mean train {near}?")
    if f"--{command}" in _EVERYWHERE:
        raise ValueError(f"there is no command {command!r}; did you mean --{command}?")
    if command[:1] not in ("", "-") and command not in COMMANDS:
        raise ValueError(unknown_name("command", command, COMMANDS))
    others = OF_STUDIES if command == "study" else ()
    if (
        command in ("train", "study")
        and task[:1] not in ("", "-")
        and task not in (*TASKS, *others)
    ):
        raise ValueError(unknown_name("task", task, [*TASKS, *others]))
    _check_flags(words)


_ALONE: dict[str, type] = {"certify": Certify, "compare": Compare, "info": Info}
"""The commands that do not take a task."""

_EVERYWHERE = ("--help", "--version")
"""The flags of every command."""


def _check_flags(words: Sequence[str]) -> None:
    """Refuse flags that are misspelt, or that precede the command or task they belong to."""
    command, task = [*words, "", ""][:2]
    if command.startswith("-"):
        misplaced = {
            **dict.fromkeys(_flags(Compare), "compare"),
            **dict.fromkeys(_flags_of_all_tasks("study"), "study and the task"),
            **dict.fromkeys(_flags_of_all_tasks("train"), "train and the task"),
            **dict.fromkeys(_flags(Certify), "certify"),
            **dict.fromkeys(_flags(Info), "info"),
        }
        _check_each("evsim", [command], (), misplaced)
    elif command in _ALONE:
        _check_each(command, words[1:], _flags(_ALONE[command]), {})
    elif task.startswith("-"):
        place = f"the task, one of {', '.join(TASKS)}"
        _check_each(command, [task], (), dict.fromkeys(_flags_of_all_tasks(command), place))
    elif task:
        _check_each(task, words[2:], _flags_after(command, task), {})
        if task in TASKS:
            _check_lists(words[2:], TASKS[task].settings_type)


def _flags_of_all_tasks(command: str) -> set[str]:
    return {flag for task in TASKS for flag in _flags_after(command, task)}


def _flags_after(command: str, task: str) -> list[str]:
    """The flags of a task, or of another choice of ``study``, after either command."""
    if command == "study" and task in OF_STUDIES:
        return _flags({"status": Status, "table": ShowTable, "file": StudyOptions}[task])
    if command == "study":
        own = _flags(TASKS[task].settings_type, without=NO_SETTINGS)
        return [*own, *_flags(StudyOptions)]
    kind = TASKS[task].settings_type
    return _flags(kind, Run, *([] if kind.quick_form is None else [Quick]))


def _flags(*kinds: type, without: Collection[str] = ()) -> list[str]:
    """The flags that are made from the fields of dataclasses."""
    fields = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    flags = _flag_names(field for field in fields if field not in without)
    return [*flags, *(f"--no-{flag.removeprefix('--')}" for flag in flags)]


def _flag_names(fields: Iterable[str]) -> list[str]:
    return [f"--{field.replace('_', '-')}" for field in fields]


def _check_lists(words: Sequence[str], kind: type) -> None:
    """Refuse a flag that takes several values but has none."""
    fields = dataclasses.fields(kind)
    lists = _flag_names(f.name for f in fields if str(f.type).startswith("tuple"))
    for word, following in pairwise([*words, "--"]):
        if word.replace("_", "-") in lists and following.startswith("--"):
            raise ValueError(f"{word} is given no value: give one or more, or leave it out")


def _check_each(
    owner: str, words: Sequence[str], flags: Sequence[str], misplaced: Mapping[str, str]
) -> None:
    """Refuse flags among the words that ``owner`` lacks; ``misplaced`` says where some belong."""
    known = (*flags, *_EVERYWHERE)
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        # Values, which only tasks have, begin with at most one dash, such as -0.5.
        dashes = "--" if owner in TASKS else "-"
        if not flag.startswith(dashes) or flag in (*known, "-h") or flag.startswith("--tyro-"):
            continue
        if flag in misplaced:
            raise ValueError(f"{flag} comes after {misplaced[flag]}")
        if flag == "--quick":
            raise ValueError("--quick belongs to evsim train: a study has no quick form")
        close = get_close_matches(flag, known, n=1)
        remedy = f"did you mean {close[0]}?" if close else "--help lists those it has"
        raise ValueError(f"{owner} has no flag {flag}; {remedy}")
