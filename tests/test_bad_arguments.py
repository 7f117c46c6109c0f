"""Bad arguments: each argument of a valid call is replaced by values that are mostly invalid.

Either evsim refuses the call with a ``raise`` of its own, whose message names the argument or its
value, or the value is valid.  There must be no message of the interpreter or of NumPy, no other
kind of error, and no call that never ends.
"""

import ast
import functools
import importlib
import inspect
import linecache
import re
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from public_calls import calls

import evsim
import evsim_gpu
from evsim import datasets, losses, readouts
from evsim.arguments.checks import shown
from evsim.engines import EngineError

pytestmark = pytest.mark.slow

PACKAGES = tuple(str(Path(package.__file__).parent) for package in (evsim, evsim_gpu))

BAD = {
    "None": None,
    "5": 5,
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "text": "x",
    "empty text": "",
    "bytes": b"x",
    "nan": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
    "10**400": 10**400,
    "2**63": 2**63,
    "1e300": 1e300,
    "True": True,
    "complex": 1j,
    "[]": [],
    "[5]": [5],
    "['x']": ["x"],
    "[None]": [None],
    "[[5]]": [[5]],
    "(1,)": (1,),
    "{}": {},
    "{'x': 5}": {"x": 5},
    "{5}": {5},
    "object": object(),
    "function": lambda *given: 5,
    "7 integers": np.arange(7),
    "2 floats": np.array([0.5, 1.5]),
    "3 x 3": np.ones((3, 3)),
    "array of text": np.array(["x"]),
    "one in no list": np.array(5.0),
}

NUMBERS = {"5", "-1", "0", "1.5", "inf", "-inf", "2**63", "1e300"}
INTEGERS = {"5", "-1", "0", "10**400", "2**63"}
EMPTY = {"[]"}

# What annotations allow; ranges, such as >= 0, are refused within it and looked at elsewhere.
ALLOWED = {
    "None": {"None"},
    "bool": {"True"},
    "np.bool_": {"True"},
    "int": INTEGERS,
    "float": NUMBERS,
    "str": {"text", "empty text"},
    "Path": {"text"},
    "os.PathLike[str]": {"text"},
    "Folder": {"None", "text"},
    "Any": {*NUMBERS, "[[5]]", "2 floats", "one in no list", "{}", "[]"},
    "np.ndarray": {"[5]", "[]", "(1,)", "[[5]]", "7 integers", "2 floats", "3 x 3"},
}


NO_VALID_CALL = ("warm", "read_idx", "read_braille", "read_recordings", "read_ts")
"""Calls that take long, or that need files of data sets."""


ALLOWED_TOO = {
    **{
        (name, argument): {"one in no list"}
        for name in ("latency", "population", "level_crossing")
        for argument in ("frame_length", "low", "high", "threshold")
    },
    ("TimeSeries", "class_names"): {"['x']", "array of text"},
    ("Connection", "name"): {"text", "empty text"},
    ("Network.per_unit", "default"): {"nan"},
    ("Run.mean", "population"): {"None"},
    ("Enclosure.mean", "population"): {"None"},
    ("Enclosure.peak", "population"): {"None"},
    ("Reference, certified", "certified"): {"True"},
    ("Run.peak", "population"): {"None"},
    ("Run.first_spike", "population"): {"None"},
    ("fit, callbacks", "value"): {"function"},
    ("Scores", "names"): {"['x']", "array of text"},
    ("rasters", "titles"): {"2 floats"},
    ("traces of", "units"): {"(1,)"},
    ("plotting.confusion_matrix", "names"): {"2 floats"},
    ("plotting.confusion_matrix, names", "names"): {"2 floats"},
    ("decision_map", "names"): {"2 floats", "3 x 3"},
    ("braille.Settings", "regulariser_strength"): {"2 floats"},
    ("shd.Settings", "regulariser_strength"): {"2 floats"},
    ("braille.Settings", "threshold"): {"5"},
}
"""What an argument may be besides: titles and names of anything are written as it is printed."""


# -- the judge ----------------------------------------------------------------------------


@functools.cache
def refusing_lines(file):
    """The lines of a source file that are part of a ``raise``."""
    tree = ast.parse("".join(linecache.getlines(file)))
    raises = (node for node in ast.walk(tree) if isinstance(node, ast.Raise))
    return {line for each in raises for line in range(each.lineno, each.end_lineno + 1)}


def fault_of(error, name, value):
    """What is wrong with a refusal; None if nothing is."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    if isinstance(error, OSError) and str(error.filename or error).find(str(value)) >= 0:
        return None  # there is no such file
    if isinstance(error, (EngineError, datasets.DataFileError, FileNotFoundError)):
        return None  # the value is one, but no run or file goes with it
    if not isinstance(error, (TypeError, ValueError, IndexError)):
        return f"a {type(error).__name__}"
    if not file.startswith(PACKAGES) or line not in refusing_lines(file):
        return f"raised at {file}:{line} by no raise of evsim"
    said = f"{error} {' '.join(getattr(error, '__notes__', ()))}"
    inside = list(value) if np.ndim(value) or isinstance(value, (dict, set)) else []
    found = [shown(value), str(value), *map(shown, inside), *map(str, inside)]
    if not any(word in said for word in (name, name.rstrip("s"), *found)):
        return f"names neither {name} nor {shown(value)}"
    return None


def may_be(called, function, name, label):
    """Whether the annotation of an argument allows a value."""
    parameter = inspect.signature(function).parameters.get(name)
    annotation = str(parameter.annotation if parameter else inspect.Parameter.empty)
    parts = [part.strip() for part in re.split(r"\|(?![^\[]*\])", annotation)]
    allowed = (
        set(ALLOWED["Any"] | ALLOWED["None"])
        if annotation == str(inspect.Parameter.empty)
        else set()
    )
    for part in parts:
        allowed |= ALLOWED.get(part, set())
        if part.startswith(("Sequence[", "Iterable[", "tuple[", "list[")):
            allowed |= EMPTY
            if "int" in part or "float" in part or "Any" in part:
                allowed |= {"[5]", "(1,)", "{5}", "7 integers"}
        if part.startswith("NDArray["):
            allowed |= ALLOWED["np.ndarray"]
        if part.startswith("Mapping["):
            allowed |= {"{}"}
        if part.startswith(("Callable[", "Projection")):
            allowed |= {"function"}
    return label in allowed | ALLOWED_TOO.get((called, name), set())


# -- one argument at a time ---------------------------------------------------------------


class NeverEndsError(BaseException):
    """A call took longer than any should."""


def stop(*_):
    raise NeverEndsError


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    """Calls that write do so there, and none of them takes long."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGVTALRM, stop)
    yield tmp_path
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def faults_of_call(called, function, arguments):
    """What goes wrong when each of the arguments is replaced by each bad value."""
    for name in arguments:
        pyplot.close("all")
        for label, value in BAD.items():
            call = f"{called}({name}: {label})"
            signal.setitimer(signal.ITIMER_VIRTUAL, 20)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", evsim.SilentNetworkWarning)
                    warnings.simplefilter("ignore", evsim.TimeUnitWarning)
                    function(**{**arguments, name: value})
            except NeverEndsError:
                yield f"{call} never ends"
            except Exception as error:
                fault = fault_of(error, name, value)
                if fault is not None:
                    yield f"{call}: {fault}: {error}"
            else:
                if not may_be(called, function, name, label):
                    yield f"{call} is accepted"
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer stops a call here")
def test_every_argument_is_refused_by_name_where_it_cannot_be_meant(in_a_folder):
    table = calls(in_a_folder)
    assert len(table) > 150
    for called, (function, arguments) in table.items():
        if called not in NO_VALID_CALL:
            function(**arguments)  # or what is refused below would say nothing
            pyplot.close("all")
    faults = [
        fault
        for called, (function, arguments) in table.items()
        for fault in faults_of_call(called, function, arguments)
    ]
    assert not faults, "\n".join(faults)


# -- all that is public -------------------------------------------------------------------

MODULES = """
    evsim evsim.losses evsim.readouts evsim.engines evsim.augment evsim.study evsim.datasets
    evsim.plotting evsim.schedules evsim.optim evsim.metrics evsim.testing evsim.training evsim_gpu
"""

MADE_BY_EVSIM = """
    Adjoint Augmented CochleaRecordings EpochRecord Evaluation FitResult History Outcome
    Prediction Transformed TrainingState Gradient Certificate Run WeightingForm ReadableRun
"""
"""Records that are returned, which nobody calls."""

FOR_EVSIM = "check_moments check_sample_times is_elementary as_schedules Augmentation"
"""What has a public name, but is no call for users."""


def public_callables():
    """Functions and classes that are to be called by users, by name."""
    for module in map(importlib.import_module, MODULES.split()):
        defined = [
            n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__
        ]
        for name in getattr(module, "__all__", defined):
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, BaseException):
                continue
            abstract = inspect.isabstract(value) or value in (readouts.Readout, losses.Loss)
            own = str(getattr(value, "__module__", "")).startswith("evsim") and callable(value)
            own = own and not name.startswith("_")
            if own and not abstract and name not in (*MADE_BY_EVSIM.split(), *FOR_EVSIM.split()):
                yield f"{module.__name__}.{name}", value


PUBLIC = dict(public_callables())


@pytest.mark.parametrize("name", PUBLIC)
def test_no_public_call_takes_an_argument_that_it_does_not_have(name):
    called = PUBLIC[name].__name__
    with pytest.raises(TypeError, match=f"^{called} has no argument 'nothing'"):
        PUBLIC[name](nothing=0)
