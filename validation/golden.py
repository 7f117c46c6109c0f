"""Writes the results of one version of evsim to a file, with which later versions are compared.

    PYTHONPATH=<its checkout> python validation/golden.py validation/golden/0.3.0.safetensors

The file contains networks, inputs and targets, and the results of that version: spikes, readouts,
losses, gradients and traces.  It is small, and reading it executes no code.  This script uses only
what evsim has had since 0.1.0.  Later features are listed with their versions in ``QUESTIONS`` and
left out of the files of earlier versions.

To add a release: check out its tag, run the line above, and commit the file.  If the release has
new features, first add questions with its version.  Files of older versions are never written
again: they contain what those versions computed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save
from scipy.sparse import csr_array

import evsim

Version = tuple[int, ...]


# -- networks -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network, its inputs and the duration of the trial in ms, stored as plain numbers.

    ``populations`` contains kind, name and units; ``connections`` contains source, target and
    whether the connection is sparse.  ``arrays`` contains all arrays by name, those of inputs as
    "<name>/times" etc.
    """

    name: str
    populations: list[list[Any]]
    connections: list[list[Any]]
    duration: float
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def network(self) -> evsim.Network:
        """The network, built with the installed version of evsim."""
        units = {name: count for _, name, count in self.populations}
        populations = []
        for kind, name, count in self.populations:
            fields = ("tau_mem", "tau_syn", "threshold", "refractory")
            values = {f: self.arrays[f"{name}.{f}"] for f in fields if f"{name}.{f}" in self.arrays}
            populations.append(getattr(evsim, kind)(name, count, **values))
        connections = []
        for source, target, is_sparse in self.connections:
            name = f"{source}->{target}"
            weight, delay = self.arrays[f"{name}.weight"], self.arrays[f"{name}.delay"]
            if is_sparse:
                shape = units[target], units[source]
                entries = self.arrays[f"{name}.indices"], self.arrays[f"{name}.indptr"]
                weight = csr_array((weight, *entries), shape=shape)
                delay = csr_array((delay, *entries), shape=shape) if delay.ndim == 1 else delay
            connections.append(evsim.Connection(source, target, weight, delay))
        return evsim.Network(populations, connections)

    def inputs(self) -> dict[str, evsim.SpikeTrains]:
        """The spikes of each input."""
        parts = "times", "units", "offsets"
        return {
            name: evsim.SpikeTrains(*(self.arrays[f"{name}/{part}"] for part in parts), units)
            for kind, name, units in self.populations
            if kind == "Input"
        }

    @property
    def output(self) -> tuple[str, str, int]:
        """The kind, name and number of units of the last population."""
        kind, name, units = self.populations[-1]
        return kind, name, units


SAMPLES = 2


def cases() -> list[Case]:
    """Networks of many kinds: ratios of time constants, sharing, refractory periods, loops."""
    found = []
    settings = [
        # name, output, ratio, refractory, sharing of delays, sparse, recurrent, heterogeneous
        ("plain", "LI", 4.0, 0.0, "none", False, "", False),
        ("spiking output", "LIF", 2.0, 0.0, "synaptic", False, "", False),
        ("one spike a trial", "LIF", 4.0, np.inf, "axonal", False, "", True),
        ("equal time constants", "LI", 1.0, 3.0, "dendritic", False, "", False),
        ("nearly equal", "LIF", 1.0 + 1e-9, 3.0, "one", True, "", False),
        ("slow synapses", "LI", 1 / 3, 0.0, "synaptic", True, "", True),
        ("recurrent", "LI", 4.0, 2.0, "synaptic", False, "hidden", False),
        ("recurrent, sparse", "LIF", 2.0, 0.0, "one", True, "hidden", True),
        ("mutual", "LIF", 4.0, 1.5, "synaptic", False, "mutual", False),
    ]
    for number, (name, *rest) in enumerate(settings):
        found.append(_case(np.random.default_rng([1, number]), name, *rest))
    return found


def _case(
    rng: np.random.Generator,
    name: str,
    output: str,
    ratio: float,
    refractory: float,
    sharing: str,
    is_sparse: bool,
    loops: str,
    heterogeneous: bool,
) -> Case:
    sizes = {"left": 4, "right": 2, "hidden": 5, "output": 3}
    populations = [["Input", "left", 4], ["Input", "right", 2], ["LIF", "hidden", 5]]
    populations.append([output, "output", 3])
    ends = [("left", "hidden", 1.0), ("right", "hidden", 0.7), ("hidden", "output", 0.9)]
    ends.append(("right", "output", 0.4))
    if loops:
        ends.append(("hidden", "hidden", 0.12))
    if loops == "mutual":
        ends.append(("output", "hidden", 0.12))
    arrays: dict[str, np.ndarray] = {}
    for kind, population, units in populations[2:]:
        spread = rng.uniform(0.8, 1.3, units) if heterogeneous else np.asarray(1.0)
        arrays[f"{population}.tau_mem"] = 20.0 * spread
        arrays[f"{population}.tau_syn"] = 20.0 / ratio * spread
        if kind == "LIF":
            arrays[f"{population}.threshold"] = 1.0 * spread
            arrays[f"{population}.refractory"] = np.asarray(refractory)
    near_one = abs(ratio - 1.0) < 1e-6
    strength = float(np.e) if near_one else ratio ** (ratio / (ratio - 1.0))
    connections = []
    for source, target, size in ends:
        shape = sizes[target], sizes[source]
        connection = f"{source}->{target}"
        weight = rng.normal(0.8, 0.7, shape) * size * strength
        delay = rng.uniform(0.0, 8.0, _delay_shape(sharing, shape))
        own_sparse = is_sparse and source != "right"
        if own_sparse:
            kept = rng.random(shape) < 0.6
            matrix = csr_array(np.where(kept, weight, 0.0))
            weight = matrix.data
            arrays[f"{connection}.indices"] = matrix.indices.astype(np.int32)
            arrays[f"{connection}.indptr"] = matrix.indptr.astype(np.int32)
            delay = rng.uniform(0.0, 8.0, matrix.nnz) if sharing == "synaptic" else delay
        arrays[f"{connection}.weight"] = weight
        arrays[f"{connection}.delay"] = np.asarray(0.0 if sharing == "none" else delay)
        connections.append([source, target, own_sparse])
    for population, count in (("left", 8), ("right", 3)):
        trains = evsim.SpikeTrains.from_events(
            rng.uniform(0.0, 35.0, count * SAMPLES),
            rng.integers(0, sizes[population], count * SAMPLES),
            np.repeat(np.arange(SAMPLES), count),
            batch_size=SAMPLES,
            unit_count=sizes[population],
        )
        for part in ("times", "units", "offsets"):
            arrays[f"{population}/{part}"] = getattr(trains, part)
    return Case(name, populations, connections, 40.0, arrays)


def _delay_shape(sharing: str, shape: tuple[int, int]) -> tuple[int, ...]:
    post, pre = shape
    shapes = {"none": (), "one": (), "axonal": (1, pre), "dendritic": (post, 1)}
    return shapes.get(sharing, shape)


# -- questions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What to compute for a network: a loss and its gradient, with an engine.

    ``loss`` and ``readout`` are the name of a class of evsim and its settings.  ``output`` is the
    kind of output population that the question is for; it is empty for both kinds.  ``options`` are
    further arguments of ``gradient``: "dropout", "regulariser" and "lambda_limit".
    """

    since: Version
    loss: list[Any]
    readout: list[Any] | None = None
    output: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    engine: list[Any] = field(default_factory=lambda: ["Exact", {"threads": 1}])

    def name(self) -> str:
        """The question in words."""
        readout = "" if self.readout is None else f" of {_words(self.readout)}"
        options = "".join(f", {name} {value}" for name, value in self.options.items())
        return f"{_words(self.loss)}{readout}{options}, {_words(self.engine)}"

    def built_loss(self) -> Any:
        """The loss, built with the installed version of evsim."""
        name, settings = self.loss
        if self.readout is not None:
            kind, arguments = self.readout
            settings = {**settings, "readout": getattr(evsim.readouts, kind)(**arguments)}
        return getattr(evsim.losses, name)(**settings)

    def built_engine(self) -> Any:
        """The engine, built with the installed version of evsim."""
        from evsim import engines

        name, settings = self.engine
        return getattr(engines, name)(**settings)

    def built_options(self) -> dict[str, Any]:
        """The further arguments of ``gradient``."""
        options = dict(self.options)
        if "dropout" in options:
            options["dropout"] = evsim.Dropout(options["dropout"], seed=3)
        if "regulariser" in options:
            strength, target = options.pop("regulariser")
            options["regularisers"] = [evsim.RateRegulariser("hidden", strength, target)]
        return options

    def labels(self, case: Case) -> np.ndarray:
        """Classes, or the targets of a loss that does not classify."""
        *_, units = case.output
        rng = np.random.default_rng(7)
        if self.loss[0] == "SpikeTimeMSE":
            targets = rng.uniform(0.0, case.duration, (SAMPLES, units, self.readout[1]["count"]))  # type: ignore[index]
            return np.where(rng.random(targets.shape) < 0.2, np.nan, targets)
        if self.loss[0] == "VoltageMSE":
            return rng.normal(0.0, 1.0, (SAMPLES, units, len(self.readout[1]["times"])))  # type: ignore[index]
        return np.arange(SAMPLES) % units


def _words(named: list[Any]) -> str:
    name, settings = named
    inside = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name}({inside})"


ENTROPY = ["CrossEntropy", {}]
QUESTIONS = [
    Question((0, 1), ENTROPY, ["Mean", {"weighting": "flat"}], "LI"),
    Question((0, 1), ENTROPY, ["Mean", {"weighting": "exponential"}], "LI"),
    Question((0, 1), ENTROPY, ["Peak", {}], "LI"),
    Question((0, 1), ["FirstSpikeCrossEntropy", {"tau0": 2.0, "tau1": 30.0}], None, "LIF"),
    Question((0, 1), ["TimeInvariantMSE", {"delta": 1.5}], None, "LIF"),
    Question((0, 2), ENTROPY, ["Mean", {"weighting": "linear"}]),
    Question((0, 2), ENTROPY, ["Mean", {"weighting": "sigmoid"}]),
    Question((0, 2), ENTROPY, ["Mean", {"weighting": "input"}]),
    Question((0, 2), ["TimeAveragedCrossEntropy", {}]),
    Question((0, 2), ["SpikeTimeMSE", {}], ["SpikeTimes", {"count": 2}], "LIF"),
    Question((0, 2), ["VoltageMSE", {}], ["Voltage", {"times": [5.0, 17.5, 40.0]}]),
    Question(
        (0, 2),
        ENTROPY,
        ["Mean", {"weighting": "exponential"}],
        options={"dropout": {"left": 0.2, "hidden": 0.3}},
    ),
    Question(
        (0, 2),
        ENTROPY,
        ["Mean", {"weighting": "flat"}],
        options={"regulariser": [0.01, 5.0], "lambda_limit": 0.05},
    ),
    Question((0, 3), ENTROPY, ["Mean", {"weighting": "exponential"}], engine=["Grid", {"dt": 0.5}]),
    Question((0, 3), ["TimeInvariantMSE", {}], None, "LIF", engine=["Grid", {"dt": 0.25}]),
]


def questions(case: Case, version: Version) -> Iterator[Question]:
    """The questions that a version can answer for a case."""
    for question in QUESTIONS:
        if question.since <= version and question.output in ("", case.output[0]):
            yield question


def changes_spikes(question: Question) -> bool:
    """Whether the spikes differ from those of the exact engine without dropout."""
    return "dropout" in question.options or question.engine[0] != "Exact"


def answers(case: Case, question: Question, *, spikes: bool, traces: bool) -> dict[str, np.ndarray]:
    """The results of the installed version by name, with spikes and traces on request."""
    network = case.network()
    result = evsim.gradient(
        network,
        case.inputs(),
        question.labels(case),
        question.built_loss(),
        case.duration,
        engine=question.built_engine(),
        **question.built_options(),
    )
    found = {"losses": np.asarray(result.losses), "readout": np.asarray(result.readout)}
    for name, values in result.parameters.items():
        dense = values.data if hasattr(values, "indptr") else values
        found[f"gradient/{name}"] = np.asarray(dense)
    for name, slopes in result.input_times.items():
        found[f"gradient/{name}.times"] = slopes
    times = [3.0, 11.0, 29.5]
    _, output, _ = case.output
    for population in ("hidden", output) if traces else ():
        found[f"trace/{population}.V"] = result.run.voltage(population, times)
        found[f"trace/{population}.lambda_V"] = result.lambda_V(population, times)
        found[f"trace/{population}.lambda_I"] = result.lambda_I(population, times)
    spiking = {name for kind, name, _ in case.populations if kind == "LIF"}
    for population, trains in result.run.spikes.items():
        if population not in spiking or not spikes:
            continue
        for part in ("times", "units", "offsets"):
            found[f"spikes/{population}/{part}"] = getattr(trains, part)
    return found


# -- files --------------------------------------------------------------------------------


def version_of(text: str) -> Version:
    """The version as numbers, such as (0, 3) for "0.3.1"."""
    return tuple(int(part) for part in text.split(".")[:2])


def write(path: Path) -> None:
    """Write the results of the installed version to a file."""
    arrays: dict[str, np.ndarray] = {}
    description: dict[str, Any] = {"evsim": evsim.__version__, "cases": [], "layouts": []}
    for case in cases():
        asked = list(questions(case, version_of(evsim.__version__)))
        entry = {
            "name": case.name, "populations": case.populations, "connections": case.connections,
            "duration": case.duration, "questions": [vars(q) for q in asked],
        }  # fmt: skip
        description["cases"].append(entry)
        arrays |= {f"{case.name}/given/{name}": a for name, a in case.arrays.items()}
        entry["answers"] = []
        for number, question in enumerate(asked):
            results = answers(
                case, question, spikes=not number or changes_spikes(question), traces=not number
            )
            # One array for all: names would take more space than numbers.
            flat = [np.ravel(array).astype(np.float64) for array in results.values()]
            arrays[f"{case.name}/{number}"] = np.concatenate(flat)
            layout = [[name, list(np.shape(array))] for name, array in results.items()]
            if layout not in description["layouts"]:
                description["layouts"].append(layout)
            entry["answers"].append(description["layouts"].index(layout))
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    path.write_bytes(save(contiguous, {"description": json.dumps(description)}))


Answered = list[tuple[Question, dict[str, np.ndarray]]]


def read(path: Path) -> tuple[str, list[tuple[Case, Answered]]]:
    """The version, and each case with its questions and the answers of that version."""
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["description"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    found = []
    for entry in description["cases"]:
        asked, layouts = entry.pop("questions"), entry.pop("answers")
        prefix = f"{entry['name']}/given/"
        given = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        case = Case(**entry, arrays=given)
        answered = []
        for number, (settings, index) in enumerate(zip(asked, layouts, strict=True)):
            question = Question(**{**settings, "since": tuple(settings["since"])})
            flat = arrays[f"{case.name}/{number}"]
            answered.append((question, _unpacked(flat, description["layouts"][index])))
        found.append((case, answered))
    return description["evsim"], found


def _unpacked(flat: np.ndarray, layout: list[Any]) -> dict[str, np.ndarray]:
    found, begin = {}, 0
    for name, shape in layout:
        size = int(np.prod(shape))
        found[name] = flat[begin : begin + size].reshape(shape)
        begin += size
    return found


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    print(f"evsim {evsim.__version__} of {Path(evsim.__file__).parent}: {sys.argv[1]}")
