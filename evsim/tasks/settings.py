"""What the settings of an experiment may be: all values are checked when settings are created.

Settings of one name mean the same in every experiment, so their ranges are listed once, here.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from evsim.arguments.checks import (
    check_choice,
    check_flag,
    check_is,
    check_number,
    checked_count,
    checked_integer,
    checked_path,
    listed,
)
from evsim.arguments.errors import ArgumentError
from evsim.losses import Existence, Loss
from evsim.network.initialisers import named_stream
from evsim.tasks.named_losses import ARGUMENTS, further_terms
from evsim.tasks.quick import QuickForm

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class ExperimentSettings:
    """What the settings of all experiments have in common; each adds its fields.

    ``grid_step`` is the time step, in ms, of the grid that the experiment was published with.
    ``quick_form`` says what ``--quick`` sets; experiments without one do not have that flag.
    """

    grid_step: ClassVar[float]
    quick_form: ClassVar[QuickForm | None] = None

    if TYPE_CHECKING:  # fields of every experiment; each has defaults and help of its own

        @property
        def seed(self) -> int: ...
        @property
        def duration(self) -> float | None: ...
        @property
        def more_losses(self) -> tuple[str, ...]: ...

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        further_terms(self.more_losses, spiking_outputs=self.spiking_outputs)
        self.check()

    @classmethod
    def quick(cls, **given: Any) -> Self:
        """The settings of ``evsim train TASK --quick``, except for the values that are given.

        ``Settings.quick_form.create_engine()`` is the engine that goes with them.  Raises TypeError
        for an experiment without a quick form.
        """
        if cls.quick_form is None:
            raise TypeError(f"{cls.__module__} has no quick form: give Settings(...)")
        return cls(**{**cls.quick_form.settings, **given})

    def check(self) -> None:
        """Refuse settings that contradict each other."""

    def hyperparameters(self) -> Any:
        """The numbers of the run, including those that follow from other settings."""
        return self

    def number(self, name: str) -> Any:
        """The value of a setting in the run, where it may follow from other settings."""
        return getattr(self.hyperparameters(), name, getattr(self, name, None))

    @property
    def spiking_outputs(self) -> bool:
        """Whether the outputs are LIF units, whose spikes losses read; otherwise they are LI."""
        return False

    def with_further_terms(self, main: Loss) -> Loss:
        """The loss of the experiment plus the terms that ``more_losses`` names.

        Arguments that a term leaves out are the settings of the same names, if there are any.
        """
        terms = further_terms(
            self.more_losses, spiking_outputs=self.spiking_outputs, **self.loss_numbers()
        )
        return sum((weight * term for weight, term in terms), main)

    def loss_numbers(self) -> dict[str, float | None]:
        """The settings that are arguments of losses; None for those that the experiment lacks."""
        return {name: self.number(name) for names in ARGUMENTS.values() for name in names}

    def summary(self) -> str:
        """One line that says what is trained; empty if the experiment's name says it all."""
        return ""


@dataclass(frozen=True)
class HiddenUnitSettings(ExperimentSettings):
    """Settings of experiments with hidden LIF units."""

    existence: float = 0.0
    """The strength of the term that pulls hidden units that are silent in a batch to their
    threshold, evsim.losses.Existence. By default 0: no such term, as in D and L."""

    @property
    def hidden_populations(self) -> list[str]:
        """The names of the hidden populations."""
        return ["hidden"]

    def with_further_terms(self, main: Loss) -> Loss:
        """As for every experiment, plus the term Existence on hidden units if there is one."""
        loss = super().with_further_terms(main)
        if not self.existence:
            return loss
        pulls = (Existence(name, strength=self.existence) for name in self.hidden_populations)
        return sum(pulls, loss)


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class GeneratedSettings(ExperimentSettings):
    """Settings of experiments whose samples are drawn at random; each has a size for each split."""

    if TYPE_CHECKING:

        @property
        def data_seed(self) -> int: ...
        @property
        def validation_size(self) -> int: ...

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        if self.validation_size < 1:
            raise ArgumentError(
                f"validation_size = {self.validation_size}: it must be at least 1",
                "validation_size",
            )

    def split(self, name: str) -> tuple[int, np.random.Generator]:
        """The number of samples of "train", "validation" or "test", and their random generator.

        Each split has a random stream of its own, so its samples do not depend on the sizes of the
        others.
        """
        check_choice(name, "split", SPLITS)
        generator = np.random.default_rng(named_stream(self.data_seed, name))
        return getattr(self, f"{name}_size"), generator


Numbers = TypeVar("Numbers", bound="DataclassInstance")


def with_settings(numbers: Numbers, settings: Any) -> Numbers:
    """Published numbers, a dataclass, with those replaced for which the settings give a value."""
    given = {field.name: getattr(settings, field.name, None) for field in fields(numbers)}
    return replace(numbers, **{name: value for name, value in given.items() if value is not None})


# -- the data -----------------------------------------------------------------------------


@dataclass(frozen=True)
class DataSettings(ExperimentSettings):
    """Settings of experiments on data files: where they are, and which samples are used."""

    data: Path | None = None
    """The folder with the files of the data set. By default the folder that the environment
    variable EVSIM_DATA names, or evsim's cache."""

    classes: tuple[int, ...] | None = None
    """Use only samples of these classes; the outputs then stand for them in this order. By
    default all."""

    train_size: int | None = None
    """The number of training samples, drawn in proportion to the classes. By default all."""

    test_size: int | None = None
    """The number of test samples, drawn in proportion to the classes. By default all."""

    data_seed: int = 0
    """The seed of the draw of samples. Runs that differ only in --seed use the same samples."""

    def check_classes(self, class_count: int) -> None:
        """Refuse classes that the data set does not have."""
        if self.classes is None:
            return
        for label in self.classes:
            if not 0 <= label < class_count:
                raise ArgumentError(
                    f"classes names {label}: there are 0 to {class_count - 1}", "classes"
                )
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ArgumentError(
                f"classes = {self.classes}: give at least two, each once", "classes"
            )

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the outputs' classes, given the names of all classes."""
        return names if self.classes is None else tuple(names[label] for label in self.classes)


# -- types --------------------------------------------------------------------------------


def check_types(settings: DataclassInstance) -> None:
    """Refuse values that are not of their field's type; lists become tuples."""
    hints = _type_hints(type(settings))
    for field in fields(settings):
        value = _of_type(getattr(settings, field.name), field.name, hints[field.name])
        object.__setattr__(settings, field.name, value)


@functools.cache
def _type_hints(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def _of_type(value: Any, name: str, kind: Any) -> Any:
    """The value, refused unless it is of the annotated type."""
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (member for member in get_args(kind) if member is not type(None))
    if get_origin(kind) is Literal:
        _check_literal(value, name, get_args(kind))
    elif get_origin(kind) is tuple:
        entry = get_args(kind)[0]
        given = listed(value, name, f"give a tuple of {_PLURALS[entry]}")
        return tuple(_of_type(each, f"{name}[{i}]", entry) for i, each in enumerate(given))
    elif kind is bool:
        check_flag(value, name)
    elif kind is int and name.endswith("seed"):
        checked_integer(value, name, 0)
    elif kind is int:
        checked_count(value, name, -_LARGEST_INTEGER, _LARGEST_INTEGER)
    elif kind is float:
        check_number(value, name)
        if np.isnan(value):
            raise ArgumentError(f"{name} = nan: it must be a number", name)
    elif kind is Path:
        checked_path(value, name)
    elif kind is str:
        check_is(value, name, str, "give a string")
    return value


def _check_literal(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    if isinstance(choices[0], str):
        check_choice(value, name, choices)
    elif checked_integer(value, name, -(2**63)) not in choices:
        choose = f"choose one of {', '.join(map(str, choices))}"
        raise ArgumentError(f"{name} = {value}: {choose}", name)


_LARGEST_INTEGER = 2**31 - 1
_PLURALS = {int: "integers", float: "numbers", str: "strings"}


# -- ranges -------------------------------------------------------------------------------

_Range = tuple[str, Callable[[float], bool]]

_TAUS = ("tau_mem", "tau_syn", "tau0", "tau1")
_SOUND = ("itd_max", "click_interval", "latency_scale")
_LENGTHS = ("duration", "interval", "at_most_one_per", *_TAUS, *_SOUND)
_RATES = ("weight_rate", "output_rate", "direct_rate", "delay_rate", "tau_rate", "rate_decay")
_COUNTS = ("hidden", "frames", "epochs", "batch_size", "delay_line", "train_size", "test_size")
_POSITIVE = ("frequency", "one_ear", "spacing", "bar_width")
_NUMBERS = ("fibres", "clicks", "cycles", "detectors", "receptors", "crossed")
_LAYERS = ("hidden", "input", "forward", "recurrent", "direct", "output")
_NOISE = ("utterance_noise", "frame_noise")
_REGULARISER = ("regulariser_strength", "target_spikes")
_AMOUNTS = ("silent_lift", "existence", "blend", "alpha", *_REGULARISER, *_NOISE)
_WIDTHS = ("curve_width", "largest_deviation")
_DELAYS = ("initial_delay", "initial_delay_min", "initial_delay_max")
_TIMES = (
    "early",
    "delta",
    "jitter",
    "arrival_min",
    "arrival_max",
    "start_min",
    "start_max",
    *_DELAYS,
)
_IN_MS = (*_LENGTHS, *_TIMES, "delay_rate", "tau_rate", "late", "delay_max", "refractory")


def _all(names: Iterable[str], rule: str, holds: Callable[[float], bool]) -> dict[str, _Range]:
    return dict.fromkeys(names, (rule, holds))


_RANGES: dict[str, _Range] = {
    **_all(
        (*_LENGTHS, *_RATES, *_WIDTHS, *_POSITIVE),
        "finite and > 0",
        lambda value: 0 < value < np.inf,
    ),
    **_all((*_COUNTS, *_NUMBERS), "at least 1", lambda value: value >= 1),
    **_all(("shift", "direct"), ">= 0", lambda value: value >= 0),
    **_all(("layers",), "at least 1, and at most 1000", lambda value: 1 <= value <= 1000),
    **_all(("halving", "patience"), ">= 0; 0 for none", lambda value: value >= 0),
    **_all(("validation_size",), "at least 0", lambda value: value >= 0),
    **_all(
        (*(f"{layer}_weight_deviation" for layer in _LAYERS), *_AMOUNTS, *_TIMES),
        "finite and >= 0",
        lambda value: 0 <= value < np.inf,
    ),
    **_all(
        ("weight", *(f"{layer}_weight_mean" for layer in _LAYERS)),
        "finite",
        lambda value: -np.inf < value < np.inf,
    ),
    **_all(("delay_max", "refractory"), ">= 0", lambda value: value >= 0),
    **_all(("lambda_limit",), "> 0; infinity for no limit", lambda value: value > 0),
    **_all(("curves",), "at least 2", lambda value: value >= 2),
    **_all(("cutoff",), "in (0, 1)", lambda value: 0 < value < 1),
    **_all(("input_dropout", "label_smoothing"), "in [0, 1)", lambda value: 0 <= value < 1),
    **_all(("blend_probability", "spike_probability"), "in (0, 1]", lambda value: 0 < value <= 1),
    **_all(("ease_in",), "in (0, 1]; 1 for none", lambda value: 0 < value <= 1),
}
"""The range of each numeric setting, in words and as a function."""


def check_ranges(settings: DataclassInstance) -> None:
    """Refuse numbers outside the range of their setting, also inside tuples."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name not in _RANGES or value is None or isinstance(value, (str, Path)):
            continue
        rule, holds = _RANGES[field.name]
        if not all(map(holds, value if isinstance(value, tuple) else (value,))):
            unit = " ms" if field.name in _IN_MS else ""
            raise ArgumentError(f"{field.name} = {value}{unit}: it must be {rule}", field.name)
