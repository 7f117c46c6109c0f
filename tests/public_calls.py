"""One valid call of every public function, class and method, by name."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
from study_functions import Now

import evsim
from evsim import (
    augment,
    datasets,
    encoding,
    engines,
    losses,
    metrics,
    optim,
    plotting,
    readouts,
    schedules,
    storage,
    study,
    tasks,
    testing,
)
from evsim.engines import Exact, Grid, Reference


def small_network():
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 2), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", np.full((2, 2), 9.0), np.full((2, 2), 0.5)),
            evsim.Connection("hidden", "output", 9.0),
        ],
    )


class Table(dict):
    """Columns as a data frame has them."""

    columns = ("sample", "time", "unit")

    def __init__(self):
        super().__init__(sample=[0, 1], time=[1.0, 2.0], unit=[1, 0])


class Half(losses.Loss):
    """Half the squared distance of the mean voltage from 0, whatever the label."""

    readout = readouts.Mean()

    def __call__(self, values, labels, duration):
        return 0.5 * (values**2).sum(axis=1), values.copy()


def certified_calls(network, spikes, run):
    """Those that need python-flint."""
    engine = Reference(digits=16, certified=True)
    enclosure = evsim.simulate(network, spikes, 20.0, engine).enclosure
    return {
        "certify": (
            evsim.certify,
            {
                "network": network,
                "spikes": spikes,
                "duration": 20.0,
                "emitted": {"hidden": run.spikes["hidden"]},
                "tolerance": 1e-9,
                "digits": 20,
                "digits_limit": 100,
            },
        ),
        "Reference, certified": (
            lambda certified, digits_limit: Reference(
                30, certified=certified, digits_limit=digits_limit
            ),
            {"certified": True, "digits_limit": 100},
        ),
        "Enclosure.spike_times": (enclosure.spike_times, {"population": "hidden"}),
        "Enclosure.read": (enclosure.read, {"readout": readouts.Peak()}),
        "Enclosure.mean": (enclosure.mean, {"population": "output", "weighting": "flat"}),
        "Enclosure.peak": (enclosure.peak, {"population": "output"}),
        "Enclosure.voltage": (enclosure.voltage, {"population": "output", "times": [1.0]}),
        "Enclosure.current": (enclosure.current, {"population": "output", "times": [1.0]}),
    }


def study_of_one_run(folder):
    """A study that has run."""
    made = study.Study("study_functions:double", {"x": [1]}, seeds=1, folder=folder / "study")
    made.run(Now(), progress=False)
    return made


def calls(folder):
    """All calls by name: each a function, its arguments, and those that are not replaced."""
    network = small_network()
    ran = study_of_one_run(folder)
    measured = ran.table()
    spikes = evsim.SpikeTrains.from_lists(
        [[(1.0, 0), (1.5, 1)], [(2.0, 0)], [(1.0, 1)], [(2.0, 1)]], units=2
    )
    labels = np.array([0, 1, 1, 0])
    data = evsim.Dataset(spikes, labels, groups=np.array([0, 0, 1, 1]))
    loss = losses.CrossEntropy()
    run = evsim.simulate(network, spikes, 20.0)
    gradient = evsim.gradient(network, spikes, labels, loss, 20.0)
    spiking = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("output", 2)],
        [evsim.Connection("input", "output", 9.0)],
    )
    first = evsim.simulate(spiking, spikes, 20.0)
    fitting = {
        "network": network,
        "data": data,
        "loss": loss,
        "duration": 20.0,
        "optimizers": {"weight": evsim.Adam(0.01), "delay": evsim.SGD(0.01)},
        "epochs": 1,
        "batch_size": 2,
        "validation": data,
        "delay_max": 10.0,
        "projections": {"delay": (0.0, 5.0)},
        "silent_lift": 0.0,
        "dropout": {"input": 0.1},
        "regularisers": [evsim.RateRegulariser("hidden", 1e-9)],
        "lambda_limit": 1e6,
        "augmentation": [augment.Thin(0.1)],
        "early_stopping": evsim.EarlyStopping(),
        "watch": "accuracy",
        "seed": 0,
        "engine": "exact",
        "callbacks": [lambda state: None],
        "run_folder": None,
        "resume": False,
        "progress": False,
    }
    result = evsim.fit(**{**fitting, "early_stopping": None})
    stored = folder / "network.safetensors"
    storage.save_network(stored, network)
    generator = np.random.default_rng(0)
    fold = study.k_fold(data, 2)[0]
    moments = readouts.SampleTimes(np.array([1.0]), np.array([0, 1, 1, 1, 1]))
    points = np.array([[0.5, 0.5], [0.2, 0.7]])
    counts = np.array([[3, 1], [0, 4]])

    both = {"generator": generator, "duration": 20.0}
    found = {
        # the network
        "Input": (evsim.Input, {"name": "a", "units": 2}),
        "LIF": (
            evsim.LIF,
            {
                "name": "a",
                "units": 2,
                "tau_mem": 20.0,
                "tau_syn": 5.0,
                "threshold": 1.0,
                "refractory": 0.0,
            },
        ),
        "LI": (evsim.LI, {"name": "a", "units": 2, "tau_mem": 20.0, "tau_syn": 5.0}),
        "Connection": (
            lambda weight, delay, **names: evsim.Network(
                [evsim.Input("a", 2), evsim.LI("b", 2)],
                [evsim.Connection(weight=weight, delay=delay, **names)],
            ),
            {"source": "a", "target": "b", "weight": 1.0, "delay": 0.5, "name": "c"},
        ),
        "Network": (
            evsim.Network,
            {"populations": network.populations, "connections": network.connections, "seed": 0},
        ),
        "Network.population": (network.population, {"name": "hidden"}),
        "Network.replace": (network.replace, {"values": {"hidden.tau_mem": 10.0}}),
        "Network.replace 2": (
            lambda weight: network.replace({"input->hidden.weight": weight}),
            {"weight": np.ones((2, 2))},
        ),
        "Network.fold": (
            network.fold,
            {"name": "input->hidden.weight", "flat": np.ones(network.topology.source.size)},
        ),
        "Network.per_unit": (network.per_unit, {"parameter": "tau_mem", "default": 0.0}),
        # initial values
        "Normal": (evsim.Normal, {"mean": 1.0, "standard_deviation": 1.0, "sharing": "synaptic"}),
        "Uniform": (evsim.Uniform, {"low": 1.0, "high": 2.0, "sharing": "synaptic"}),
        "Gamma": (
            evsim.Gamma,
            {"mean": 1.0, "shape": 3.0, "low": 0.0, "high": 4.0, "sharing": "synaptic"},
        ),
        "Constant": (evsim.Constant, {"value": 1.0, "sharing": "synaptic"}),
        # spikes
        "SpikeTrains": (
            evsim.SpikeTrains,
            {"times": [1.0, 2.0], "units": [0, 1], "offsets": [0, 1, 2], "unit_count": 2},
        ),
        "SpikeTrains.from_events": (
            evsim.SpikeTrains.from_events,
            {
                "times": [1.0, 2.0],
                "units": [0, 1],
                "samples": [0, 1],
                "batch_size": 2,
                "unit_count": 2,
                "unit": "ms",
            },
        ),
        "SpikeTrains.from_lists": (
            evsim.SpikeTrains.from_lists,
            {"samples": [[(1.0, 0)]], "units": 2, "unit": "ms"},
        ),
        "SpikeTrains.from_latencies": (
            evsim.SpikeTrains.from_latencies,
            {"latencies": np.array([[1.0, np.nan]]), "unit": "ms"},
        ),
        "SpikeTrains.from_raster": (
            evsim.SpikeTrains.from_raster,
            {"raster": np.ones((1, 2, 3)), "dt": 1.0, "unit": "ms"},
        ),
        "SpikeTrains.to_raster": (spikes.to_raster, {"dt": 1.0, "duration": 20.0}),
        "SpikeTrains.from_tonic": (
            evsim.SpikeTrains.from_tonic,
            {
                "recordings": [np.zeros(1, [("t", int), ("x", int)])],
                "sensor_size": (2, 1, 1),
                "unit": "us",
            },
        ),
        "SpikeTrains.from_nir": (
            evsim.SpikeTrains.from_nir,
            {"data": SimpleNamespace(data=np.ones((1, 2, 3)), dt=1.0), "unit": "s"},
        ),
        "SpikeTrains.from_frame": (
            evsim.SpikeTrains.from_frame,
            {"frame": Table(), "unit_count": 2, "batch_size": None, "unit": "ms"},
        ),
        "latency": (
            encoding.latency,
            {
                "samples": np.ones((1, 2, 3)),
                "frame_length": 1.0,
                "low": 0.0,
                "high": 2.0,
                "outside": "refuse",
            },
        ),
        "population": (
            encoding.population,
            {
                "samples": np.ones((1, 2, 3)),
                "frame_length": 1.0,
                "low": 0.0,
                "high": 2.0,
                "curves": 4,
                "width": 1.0,
                "cutoff": 0.1,
                "outside": "refuse",
            },
        ),
        "level_crossing": (
            encoding.level_crossing,
            {"samples": np.ones((1, 2, 3)), "frame_length": 1.0, "threshold": 0.5},
        ),
        "resample": (encoding.resample, {"samples": np.ones((1, 2, 3)), "frames": 2}),
        "TimeSeries": (
            datasets.TimeSeries,
            {"samples": [np.ones((2, 3))], "labels": [0], "class_names": ["a"]},
        ),
        "SpikeTrains.concatenate": (evsim.SpikeTrains.concatenate, {"batches": [spikes, spikes]}),
        "SpikeTrains[]": (lambda index: spikes[index], {"index": 0}),
        # running
        "simulate": (
            evsim.simulate,
            {
                "network": network,
                "spikes": spikes,
                "duration": 20.0,
                "engine": "exact",
                "dropout": evsim.Dropout({"input": 0.1}),
            },
        ),
        "compare": (
            evsim.compare,
            {
                "network": network,
                "inputs": spikes,
                "theirs": {"hidden": run.spikes["hidden"]},
                "duration": 20.0,
                "voltages": {"output": ([1.0], np.zeros((4, 2, 1)))},
                "labels": labels,
                "loss": loss,
                "loss_value": 0.5,
                "gradients": {"hidden->output.delay": 0.0},
                "largest_shift": 1.0,
                "tolerance": 0.1,
                "time_step": 0.1,
                "engine": "exact",
            },
        ),
        "gradient": (
            evsim.gradient,
            {
                "network": network,
                "spikes": spikes,
                "labels": labels,
                "loss": loss,
                "duration": 20.0,
                "wrt": ["hidden.tau_mem"],
                "engine": "exact",
                "dropout": evsim.Dropout({"input": 0.1}),
                "regularisers": [evsim.RateRegulariser("hidden", 1e-9)],
                "lambda_limit": 1e6,
            },
        ),
        "gradient of spike times": (
            lambda labels: evsim.gradient(spiking, spikes, labels, losses.SpikeTimeMSE(), 20.0),
            {"labels": np.full((4, 2), 3.0)},
        ),
        "gradient of voltages": (
            lambda labels: evsim.gradient(
                network, spikes, labels, losses.VoltageMSE(readouts.Voltage([3.0])), 20.0
            ),
            {"labels": np.full((4, 2, 1), 3.0)},
        ),
        "Run.silent_units": (run.silent_units, {"population": "hidden"}),
        "Run.read": (run.read, {"readout": readouts.Peak()}),
        "Run.kinks": (run.kinks, {"population": "hidden"}),
        "Run.event_times": (run.event_times, {"population": "hidden"}),
        "Run.states_at": (run.states_at, {"population": "hidden", "times": moments}),
        "Run.probe": (run.probe, {"population": "hidden", "moments": moments}),
        "Run.mean": (run.mean, {"population": "output", "weighting": "flat"}),
        "Run.peak": (run.peak, {"population": "output"}),
        "Run.first_spike": (first.first_spike, {"population": "output"}),
        "Run.voltage": (run.voltage, {"population": "output", "times": [1.0]}),
        "Run.current": (run.current, {"population": "output", "times": [1.0]}),
        "Gradient.lambda_V": (gradient.lambda_V, {"population": "output", "times": [1.0]}),
        "Gradient.lambda_I": (gradient.lambda_I, {"population": "output", "times": [1.0]}),
        "Dropout": (
            evsim.Dropout,
            {"rates": {"input": 0.1}, "seed": 0, "keys": np.array([1], np.uint64)},
        ),
        "Dropout of": (lambda rate: evsim.Dropout({"input": rate}), {"rate": 0.1}),
        "RateRegulariser": (
            evsim.RateRegulariser,
            {"population": "hidden", "strength": 1e-9, "target": 14.0},
        ),
        # what is read
        "Mean": (readouts.Mean, {"weighting": "flat", "population": "output"}),
        "Peak": (readouts.Peak, {"population": "output"}),
        "Voltage": (readouts.Voltage, {"times": [1.0], "population": "output"}),
        "VoltageTrace": (readouts.VoltageTrace, {"tolerance": 1e-9, "population": "output"}),
        "VoltageAt": (readouts.VoltageAt, {"moments": moments, "population": "output"}),
        "SampleTimes": (
            lambda times, offsets: run.states_at("output", readouts.SampleTimes(times, offsets)),
            {"times": moments.times, "offsets": moments.offsets},
        ),
        "FirstSpike": (readouts.FirstSpike, {"population": "output"}),
        "SpikeTimes": (readouts.SpikeTimes, {"count": 1, "population": "output"}),
        "SpikeTimes, read": (
            lambda count: first.read(readouts.SpikeTimes(count)),
            {"count": 1},
        ),
        # losses
        "CrossEntropy": (
            losses.CrossEntropy,
            {"readout": readouts.Peak(), "label_smoothing": 0.1},
        ),
        "FirstSpikeCrossEntropy": (
            losses.FirstSpikeCrossEntropy,
            {"tau0": 0.5, "tau1": 6.4, "alpha": 3e-3, "readout": readouts.FirstSpike()},
        ),
        "TimeInvariantMSE": (
            losses.TimeInvariantMSE,
            {"delta": 2.0, "readout": readouts.FirstSpike()},
        ),
        "SpikeTimeMSE": (losses.SpikeTimeMSE, {"readout": readouts.SpikeTimes()}),
        "VoltageMSE": (losses.VoltageMSE, {"readout": readouts.Voltage([1.0])}),
        "TimeAveragedCrossEntropy": (
            losses.TimeAveragedCrossEntropy,
            {"readout": readouts.VoltageTrace()},
        ),
        "check_targets": (
            losses.check_targets,
            {"labels": [[1.0]], "shape": (1, 1), "axes": "(batch, units)", "unit": " ms"},
        ),
        "Loss.check_labels": (
            loss.check_labels,
            {"labels": [0, 1], "batch_size": 2, "classes": 2},
        ),
        "check_loss": (
            testing.check_loss,
            {
                "loss": Half(),
                "units": 2,
                "duration": 20.0,
                "labels": [0, 1],
                "seed": 0,
                "tolerance": 1e-7,
                "end_to_end": False,
            },
        ),
        # training
        "Dataset": (
            evsim.Dataset,
            {"spikes": spikes, "labels": labels, "groups": np.array([0, 0, 1, 1])},
        ),
        "Dataset.of": (evsim.Dataset.of, {"data": data}),
        "Dataset.concatenate": (evsim.Dataset.concatenate, {"parts": [data, data]}),
        "Dataset[]": (lambda index: data[index], {"index": 0}),
        "evaluate": (
            evsim.evaluate,
            {
                "network": network,
                "data": data,
                "loss": loss,
                "duration": 20.0,
                "engine": "exact",
                "batch_size": 256,
            },
        ),
        "predict": (
            evsim.predict,
            {
                "network": network,
                "data": spikes,
                "readout": loss,
                "duration": 20.0,
                "engine": "exact",
                "batch_size": 256,
            },
        ),
        "fit": (evsim.fit, fitting),
        "fit, optimizers": (
            lambda value: evsim.fit(
                **{**fitting, "optimizers": {"weight": value, "delay": evsim.SGD(0.1)}}
            ),
            {"value": evsim.Adam(0.1)},
        ),
        "fit, projections": (
            lambda value: evsim.fit(**{**fitting, "projections": {"delay": value}}),
            {"value": (0.0, 5.0)},
        ),
        "fit, augmentation": (
            lambda value: evsim.fit(**{**fitting, "augmentation": [value]}),
            {"value": augment.Thin(0.1)},
        ),
        "fit, callbacks": (
            lambda value: evsim.fit(**{**fitting, "callbacks": [value]}),
            {"value": lambda state: None},
        ),
        "fit, silent_lift": (
            lambda value: evsim.fit(**{**fitting, "silent_lift": {"hidden": value}}),
            {"value": 0.1},
        ),
        "Adam": (
            evsim.Adam,
            {
                "learning_rate": 0.1,
                "beta1": 0.9,
                "beta2": 0.999,
                "epsilon": 1e-8,
                "decay": 1.0,
                "schedule": schedules.EaseIn(),
                "weight_decay": 0.0,
                "clip": 1.0,
            },
        ),
        "SGD": (
            evsim.SGD,
            {
                "learning_rate": 0.1,
                "momentum": 0.9,
                "decay": 1.0,
                "schedule": (),
                "weight_decay": 0.0,
                "clip": 1.0,
            },
        ),
        "Bounds": (optim.Bounds, {"low": 0.0, "high": 1.0}),
        "EaseIn": (schedules.EaseIn, {"start": 1e-3, "growth": 1.05, "share": 0.1}),
        "Halving": (
            schedules.Halving,
            {"fast": 0.8, "slow": 0.85, "wait": 50, "watch": "accuracy"},
        ),
        "Decay": (schedules.Decay, {"factor": 0.5}),
        "StepDecay": (schedules.StepDecay, {"factor": 0.5, "every": 2}),
        "EarlyStopping": (
            schedules.EarlyStopping,
            {"patience": 15, "watch": "accuracy", "min_epochs": 0},
        ),
        # studies
        "k_fold": (study.k_fold, {"data": data, "folds": 2, "seed": 0, "stratified": True}),
        "leave_one_group_out": (study.leave_one_group_out, {"data": data}),
        "Fold": (study.Fold, {"name": "a", "data": data, "held_out": np.array([0])}),
        "Scores": (
            study.Scores,
            {"names": ("a",), "values": np.array([0.5]), "interrupted": False},
        ),
        "cross_validate": (
            study.cross_validate,
            {"train": lambda fold, seed: 0.5, "folds": [fold], "seed": 0, "progress": False},
        ),
        "cross_validate, score": (
            lambda score: study.cross_validate(lambda fold, seed: score, [fold], progress=False),
            {"score": 0.5},
        ),
        "repeat": (
            study.repeat,
            {"run": lambda seed: 0.5, "seeds": [0, 1], "progress": False},
        ),
        "Study": (
            study.Study,
            {
                "task": tasks.yin_yang,
                "grid": {"hidden": [3, 5]},
                "seeds": 2,
                "folder": folder,
                "settings": {"epochs": 1},
                "folds": 2,
                "validate": True,
                "engine": "exact",
                "allow_large": False,
            },
        ),
        "Study.run": (
            ran.run,
            {
                "executor": None,
                "processes": None,
                "threads": 1,
                "retry_failed": False,
                "progress": False,
            },
        ),
        "Table": (study.Table, {"columns": {"x": [1]}, "settings": ("x",)}),
        "Table.means": (measured.means, {"measure": "score"}),
        "Table.save": (measured.save, {"path": "table.csv"}),
        "Table.content": (measured.content, {"form": "csv"}),
        "spike_errors": (
            plotting.spike_errors,
            {"comparison": evsim.compare(network, spikes, run.spikes["hidden"], 20.0)},
        ),
        "study_means": (plotting.study_means, {"table": measured, "x": "x", "measure": "score"}),
        "paired_difference": (
            study.paired_difference,
            {"a": [0.5, 0.7, 0.8], "b": [0.4, 0.5, 0.7], "confidence": 0.95, "seed": 0},
        ),
        "credible_interval": (
            study.credible_interval,
            {"accuracy": 0.5, "samples": 10, "confidence": 0.95},
        ),
        # augmentation
        **{
            f"{name}, called": (each, {"data": data, **both})
            for name, each in (
                ("Shift", augment.Shift(1)),
                ("Blend", augment.Blend()),
                ("DelayLine", augment.DelayLine(2)),
            )
        },
        "Thin.transform": (augment.Thin(0.1).transform, {"spikes": spikes, **both}),
        "Dilate.transform": (augment.Dilate(0.9, 1.1).transform, {"spikes": spikes, **both}),
        "Blend.blend": (
            augment.Blend().blend,
            {"spikes": spikes, "pairs": np.array([[0, 3]]), **both},
        ),
        "Shift.draw": (augment.Shift(1).draw, {"samples": 2, "generator": generator}),
        "Shift": (augment.Shift, {"channels": 40, "rounding": "truncate"}),
        "Jitter": (augment.Jitter, {"deviation": 1.0}),
        "Dilate": (augment.Dilate, {"low": 0.9, "high": 1.1, "distribution": "uniform"}),
        "Thin": (augment.Thin, {"probability": 0.1}),
        "Blend": (
            augment.Blend,
            {
                "samples": 2,
                "probability": 0.5,
                "same_group": False,
                "time_step": 1.0,
                "keep_originals": True,
            },
        ),
        "DelayLine": (augment.DelayLine, {"copies": 2, "spacing": 30.0}),
        "delay_line": (
            augment.delay_line,
            {"spikes": spikes, "copies": 2, "spacing": 30.0, "duration": 20.0},
        ),
        # engines
        "Exact": (Exact, {"threads": 1, "spike_limit": 10_000}),
        "Reference": (Reference, {"digits": 20, "debug": False}),
        "Reference.events": (
            Reference().events,
            {"network": network, "inputs": {"input": spikes}, "duration": 20.0, "sample": 0},
        ),
        "Grid": (Grid, {"dt": 1.0, "device": "cpu", "precision": "float64", "threads": 1}),
        "resolve": (engines.resolve, {"engine": "exact"}),
        "warm": (engines.warm, {"engine": "x"}),
        # numbers of classifications
        **{
            name: (
                getattr(metrics, name),
                {"labels": [0, 1], "predictions": [0, -1], "classes": 2},
            )
            for name in ("confusion_matrix", "unclassified", "accuracy_by_class")
        },
        # pictures
        "raster": (
            plotting.raster,
            {"run": run, "sample": 0, "populations": ["hidden"], "ax": None},
        ),
        "rasters": (plotting.rasters, {"run": run, "samples": [0, 1], "titles": ["a", "b"]}),
        "traces": (
            plotting.traces,
            {"result": run, "units": {"output": [0]}, "sample": 0, "points": 20},
        ),
        "traces of": (
            lambda units: plotting.traces(run, {"output": units}, points=20),
            {"units": [0]},
        ),
        "plotting.confusion_matrix": (
            plotting.confusion_matrix,
            {"counts": counts, "names": None, "unclassified": None, "ax": None},
        ),
        "plotting.confusion_matrix, unclassified": (
            lambda unclassified: plotting.confusion_matrix(counts, unclassified=unclassified),
            {"unclassified": np.array([0, 1])},
        ),
        "plotting.confusion_matrix, names": (
            lambda names: plotting.confusion_matrix(counts, names),
            {"names": ["a", "b"]},
        ),
        "decision_map": (
            plotting.decision_map,
            {
                "predict": lambda points: np.zeros(len(points), int),
                "points": points,
                "classes": np.array([0, 1]),
                "names": ["a", "b"],
                "inside": lambda points: np.ones(len(points), bool),
                "resolution": 10,
                "batch_size": 100,
                "ax": None,
            },
        ),
        "delay_histogram": (
            plotting.delay_histogram,
            {
                "before": network,
                "after": network,
                "connection": "input->hidden",
                "bins": 5,
                "ax": None,
            },
        ),
        "delay_matrix": (
            plotting.delay_matrix,
            {
                "network": network,
                "connection": "input->hidden",
                "largest": 1.0,
                "bar": True,
                "ax": None,
            },
        ),
        "delay_matrices": (
            plotting.delay_matrices,
            {"networks": {"a": network}, "connection": "input->hidden"},
        ),
        "learning_curve": (
            plotting.learning_curve,
            {"history": result.history, "best_epoch": 1, "learning_rates": False},
        ),
        "save": (
            plotting.save,
            {"figure": plotting.learning_curve(result.history), "path": folder / "a.png"},
        ),
        # files
        "save_network": (storage.save_network, {"path": folder / "b", "network": network}),
        "Network.save": (network.save, {"path": folder / "c"}),
        "load": (evsim.load, {"path": stored}),
        "load_network": (storage.load_network, {"path": stored}),
        "stratified_split": (
            datasets.stratified_split,
            {"labels": [0, 0, 1, 1], "fractions": (0.5,), "seed": 0},
        ),
        "latency_spikes": (
            datasets.latency_spikes,
            {"images": np.full((1, 2, 2), 200, np.uint8), "duration": 20.0},
        ),
        "locate": (
            datasets.locate,
            {
                "files": [datasets.PublishedFile("network.safetensors", "here")],
                "folder": folder,
                "download": False,
            },
        ),
        "data_folder": (datasets.data_folder, {"folder": folder}),
        "read_idx": (datasets.read_idx, {"path": stored, "dimensions": 1}),
        "read_braille": (datasets.read_braille, {"path": stored}),
        "read_ts": (datasets.read_ts, {"path": stored}),
        "read_recordings": (
            datasets.read_recordings,
            {
                "path": stored,
                "classes": 2,
                "duration": 20.0,
                "late": "cut",
                "at_most_one_per": None,
            },
        ),
    }
    # tasks
    for name in tasks.__all__:
        task = getattr(tasks, name)
        fields = {
            field.name: getattr(task.Settings(), field.name)
            for field in dataclasses.fields(task.Settings)
        }
        if name in ("spoken_digits", "ssc"):
            continue  # which are as shd
        found[f"{name}.Settings"] = (task.Settings, fields)
        # Functions of settings are looked at where data need no files.
        if name in ("sequence", "yin_yang", "sound_localisation", "motion_detection"):
            for function in ("network", "loss", "optimizers", "class_names", "data"):
                found[f"{name}.{function}"] = getattr(task, function), {"settings": task.Settings()}
        else:
            for function in ("network", "loss", "optimizers", "class_names"):
                found[f"{name}.{function}"] = getattr(task, function), {"settings": task.Settings()}
    itds = tasks.sound_localisation.Settings()
    found["sound_localisation.samples"] = (
        tasks.sound_localisation.samples,
        {"settings": itds, "split": "test"},
    )
    found["sound_localisation.tuning"] = (
        tasks.sound_localisation.tuning,
        {"network": tasks.sound_localisation.network(itds), "settings": itds, "itds": points[:, 0]},
    )
    found["motion_detection.samples"] = (
        tasks.motion_detection.samples,
        {"settings": tasks.motion_detection.Settings(), "split": "test"},
    )
    if find_spec("flint") is not None:
        found |= certified_calls(network, spikes, run)
    found["yin_yang.classify"] = (tasks.yin_yang.classify, {"points": points})
    found["yin_yang.draw_points"] = (
        tasks.yin_yang.draw_points,
        {"size": 3, "generator": generator},
    )
    found["yin_yang.encode"] = (
        tasks.yin_yang.encode,
        {"points": points, "settings": tasks.yin_yang.Settings()},
    )
    return found
