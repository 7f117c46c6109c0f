"""The flag --quick: other defaults, with which a run soon shows that a network learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evsim.cli.options import Run

if TYPE_CHECKING:
    from evsim.tasks.settings import ExperimentSettings


@dataclass(frozen=True)
class Quick:
    """A small run."""

    quick: bool = False
    """Show within two minutes on two cores that a network learns: flags that are not given get
    other defaults, which the run prints. Results are worse than those of a full run."""


def quick_defaults(
    settings_type: type[ExperimentSettings], words: Sequence[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The defaults of the settings and of ``Run`` if the words of a command include --quick."""
    form = settings_type.quick_form
    asked = [word for word in words if word in ("--quick", "--no-quick")]
    if form is None or asked[-1:] != ["--quick"]:
        return None
    # Another engine may not have the arguments of the engine in the quick form.
    other_engine = any(word.partition("=")[0] == "--engine" for word in words)
    return form.settings, {} if other_engine else form.engine


def set_by_quick(settings: ExperimentSettings, run: Run) -> dict[str, Any]:
    """What the quick form of an experiment has set, without what was given another value."""
    form = type(settings).quick_form
    if form is None:
        return {}
    given = {
        **{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)},
        **vars(run),
    }
    wanted = {**form.settings, **form.engine}
    return {name: value for name, value in wanted.items() if given[name] == value}


def as_flags(values: Mapping[str, Any]) -> str:
    """Values as the flags that set them, such as --hidden 64 --delays."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            words.append(" ".join([f"--{flag}", *(f"{each:g}" for each in value)]))
        else:
            words.append(f"--{flag} {value:g}" if isinstance(value, float) else f"--{flag} {value}")
    return " ".join(words)
