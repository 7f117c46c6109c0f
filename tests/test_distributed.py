"""Processes that share the batches of a training run: not a bit differs, and all fail alike.

The ranks are threads here, see ``ranks_as_threads``; ``test_mpi`` has real processes.
"""

import json
import re
import signal
import warnings

import numpy as np
import pytest
from agreement import entries
from networks import KINDS, random_case
from ranks_as_threads import AbortedError, ThreadCommunicator, on_ranks, results
from training_runs import DURATION, bits, everything, raise_after, small_data, train

import evsim
from evsim import losses
from evsim.distributed.alike import machines_told
from evsim.distributed.held_signals import HeldSignals
from evsim.distributed.machines import threads_of_each
from evsim.distributed.processes import ranks_of
from evsim.engines import EngineError, Exact, Grid, Reference
from evsim.losses import Loss
from evsim.network.dropout import Dropout
from evsim.readouts import Mean, Peak
from evsim.simulation.gradients import GradientOptions, quiet_gradient

ENGINES = {"exact": Exact(threads=2), "grid": Grid(dt=0.5, threads=1)}


def shared(engine, communicator):
    return ranks_of(communicator).engine(engine)


# -- not a bit ------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_a_training_run_has_the_bits_of_one_process(engine, ranks):
    arguments = {**everything(), "engine": ENGINES[engine], "epochs": 3}
    alone = train(**arguments)
    found = results(ranks, lambda rank: train(distributed=rank, **arguments))
    assert all(bits(one) == bits(alone) for one in found)
    assert [one.history for one in found] == [found[0].history] * ranks  # seconds included
    assert alone.history[-1].dropped_spikes > 0
    assert alone.history[-1].limited_spikes > 0


OF_LIF = {
    "first spikes": losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=10.0, alpha=0.1),
    "squared voltages": losses.TimeInvariantMSE(1.0),
    "mean of LIF": losses.CrossEntropy(Mean("exponential")),
    "mean by quadrature": losses.CrossEntropy(Mean("sigmoid")),
    "sum": losses.FirstSpikeCrossEntropy(tau0=2.0)
    + 0.5 * losses.CrossEntropy(Mean("linear", population="second")),
}
OF_LI = {
    "mean": losses.CrossEntropy(Mean("linear")),
    "mean by quadrature": losses.CrossEntropy(Mean("sigmoid")),
    "peak": losses.CrossEntropy(Peak()),
    "integral": losses.TimeAveragedCrossEntropy(),
    "sum": losses.CrossEntropy(Peak()) + losses.CrossEntropy(Mean("flat")),
}
LOSSES = [("LIF", name) for name in OF_LIF] + [("LI", name) for name in OF_LI]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("output", "name"), LOSSES)
def test_every_loss_and_gradient_has_the_bits_of_one_process(engine, output, name):
    rng = np.random.default_rng([len(name), output == "LI"])
    loss = (OF_LIF if output == "LIF" else OF_LI)[name]
    case = random_case(
        rng, "two populations, mutual", batch=13, output=output, duration=20.0, voltages=True,
        refractory=2.0, heterogeneous=True,
    )  # fmt: skip
    labels = rng.integers(0, case.network.output.units, 13)
    names = tuple(case.network.parameters)

    def solve(engine):
        dropout = Dropout({"first": 0.2}, seed=1)
        return quiet_gradient(
            case.network, case.inputs, labels, loss, case.duration,
            GradientOptions(names, engine, dropout),
        )  # fmt: skip

    def everything_of(found):
        arrays = {"losses": found.losses, "readout": found.readout}
        arrays |= {f"gradient of {n}": entries(part) for n, part in found.parameters.items()}
        arrays |= {f"counts of {n}": found.run.spike_counts[n] for n in found.run.spike_counts}
        return (
            {key: (array.shape, array.tobytes()) for key, array in arrays.items()},
            found.run.spikes, found.report, found.limited,
        )  # fmt: skip

    alone = solve(ENGINES[engine])
    assert all(alone.run.spike_counts[p.name].any() for p in case.network.populations[:-1])
    expected = everything_of(alone)
    for ranks in (2, 5):
        found = results(ranks, lambda rank: everything_of(solve(shared(ENGINES[engine], rank))))
        assert found == [expected] * ranks


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_of_a_batch_has_the_bits_of_one_process(engine, kind):
    case = random_case(np.random.default_rng(4), kind, batch=9, duration=20.0)
    name = case.network.output.name
    times = np.linspace(0, case.duration, 7)

    def read(engine):
        run = evsim.simulate(case.network, case.inputs, case.duration, engine)
        read = [*(run.read(readout) for readout in case.readouts), *run.event_times(name)]
        states = run.states_at(name, case.moments)
        pulled = run.pull_back(Mean(), np.ones((9, case.network.output.units)))
        traces = run.voltage(name, times), run.current(name, times), pulled.lambda_V(name, times)
        return [array.tobytes() for array in (*read, *states, *traces)]

    expected = read(ENGINES[engine])
    assert results(3, lambda rank: read(shared(ENGINES[engine], rank))) == [expected] * 3


@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_a_batch_in_more_or_fewer_pieces_has_the_bits_of_one_process_too(pieces):
    arguments = {"epochs": 2, "batch_size": 10, "engine": Exact(pieces=pieces)}
    alone = train(**arguments)
    assert all(
        bits(one) == bits(alone)
        for one in results(3, lambda rank: train(distributed=rank, **arguments))
    )
    assert len(Exact(pieces=pieces).piece_bounds(alone.network, 10)) == min(pieces, 10)


def test_the_number_of_pieces_is_a_setting_of_the_run(tmp_path):
    train(tmp_path, epochs=1)
    with pytest.raises(evsim.storage.StorageError, match="engine.pieces: absent is stored, 3"):
        train(tmp_path, epochs=2, resume=True, engine=Exact(pieces=3))
    train(tmp_path, epochs=2, resume=True, engine=Exact(threads=1))


def test_more_processes_than_samples():
    arguments = {"epochs": 1, "batch_size": 3}
    found = results(5, lambda rank: train(distributed=rank, **arguments))
    assert all(bits(one) == bits(train(**arguments)) for one in found)


# -- failing alike --------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [Exact(spike_limit=40), Grid(dt=0.5)], ids=["exact", "grid"])
def test_a_sample_that_cannot_go_on_is_named_by_its_number_on_all_ranks(engine):
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", 1), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", 30.0),
            evsim.Connection("hidden", "hidden", [[80.0]], 0.5),
            evsim.Connection("hidden", "output", 1.0),
        ],
    )
    lists = [[] for _ in range(12)]
    lists[7] = lists[10] = [(1.0, 0)]  # the loop excites itself without end

    def run(communicator=None):
        return evsim.fit(
            network, (evsim.SpikeTrains.from_lists(lists, units=1), np.zeros(12, int)),
            losses.CrossEntropy(Mean()), duration=400.0, optimizers={"weight": evsim.SGD(1.0)},
            epochs=1, batch_size=12, engine=engine, progress=False, distributed=communicator,
        )  # fmt: skip

    with pytest.raises(EngineError) as alone:
        run()
    failed = on_ranks(4, run)
    assert {type(one) for one in failed} == {EngineError}
    assert {(str(one), *one.__notes__) for one in failed} == {
        (str(alone.value), *alone.value.__notes__)
    }


class FailsOn(Loss):
    """A loss that fails in one process only, as one does whose memory is too small."""

    readout = Mean()

    def __init__(self, rank, error):
        self._rank, self._error = rank, error

    def __call__(self, values, labels, duration):
        if self._rank == 1:
            raise self._error
        return losses.CrossEntropy(self.readout)(values, labels, duration)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("too small"), "rank 1 of 3 on .*: too small"),
        (KeyError("no such"), "rank 1 of 3 on .*: 'no such'"),
        (np.linalg.LinAlgError("odd"), "rank 1 of 3 on .*: odd"),
    ],
)
def test_an_error_of_one_rank_is_raised_on_all(error, told):
    failed = on_ranks(
        3, lambda rank: train(distributed=rank, loss=FailsOn(rank.Get_rank(), error), epochs=1)
    )
    for one in failed:
        assert isinstance(one, Exception)
        with pytest.raises(Exception, match=told):
            raise one


def test_a_rank_that_fails_while_others_wait_for_what_it_sends_ends_all(capfd):
    class Breaks(ThreadCommunicator):
        def Alltoallv(self, own, into):  # noqa: N802 (MPI's name)
            if self.rank == 1:
                raise OSError("the network is down")
            super().Alltoallv(own, into)

    found = on_ranks(2, lambda rank: train(distributed=Breaks(rank.meeting, rank.rank)))
    assert {type(one) for one in found} == {AbortedError}
    told = capfd.readouterr().err.splitlines()
    assert re.fullmatch(
        r"evsim: rank 1 of 2 on \S+: OSError: the network is down; the run ends and can be "
        r"resumed from its last epoch", told[0],
    )  # fmt: skip


def test_ctrl_c_on_one_rank_ends_all_after_the_same_epoch(tmp_path):
    found = results(
        3, lambda rank: train(tmp_path, distributed=rank, loss=InterruptsOn(rank.Get_rank()))
    )
    assert [one.interrupted for one in found] == [True] * 3
    assert [len(one.history) for one in found] == [2] * 3
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


class InterruptsOn(Loss):
    """Ctrl-C reaches rank 1 in the middle of the third epoch."""

    readout = Mean("exponential")

    def __init__(self, rank):
        self._rank, self._calls = rank, 0

    def __call__(self, values, labels, duration):
        self._calls += 1
        if self._rank == 1 and self._calls == 10:  # with 3 batches and validation in an epoch
            raise KeyboardInterrupt
        return losses.CrossEntropy(self.readout)(values, labels, duration)


def test_a_callback_on_rank_0_stops_all():
    called = []

    def callback(state):
        called.append(state.epoch)
        if state.epoch == 2:
            raise evsim.StopTraining("enough")

    found = results(2, lambda rank: train(distributed=rank, callbacks=[callback]))
    assert called == [1, 2]
    assert [(one.stopped, len(one.history)) for one in found] == [("enough", 2)] * 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 4}, "seed: 3 on rank 0, 4 here"),
        ({"epochs": 5}, "epochs: 4 on rank 0, 5 here"),
        ({"data": small_data(seed=7)}, "data: "),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_ranks_with_other_arguments_are_refused(changes, told):
    failed = on_ranks(
        3, lambda rank: train(distributed=rank, **(changes if rank.Get_rank() == 2 else {}))
    )
    assert {type(one) for one in failed} == {ValueError}
    assert all("rank 2 of 3" in str(one) for one in failed)
    assert all(told in str(one) for one in failed)


@pytest.mark.parametrize("engine", [Reference(), "reference"])
def test_engines_that_do_not_cut_batches_are_refused(engine):
    failed = on_ranks(2, lambda rank: train(distributed=rank, engine=engine))
    assert all(isinstance(one, ValueError) for one in failed)
    assert all("does not cut batches into pieces" in str(one) for one in failed)


def test_what_is_no_communicator_is_refused():
    with pytest.raises(TypeError, match=r"give a communicator of mpi4py, mpi4py\.MPI\.COMM_WORLD"):
        train(distributed=8)


# -- run folders ----------------------------------------------------------------------------


@pytest.mark.parametrize(("ranks", "then"), [(2, 3), (3, 1), (1, 2)])
def test_a_run_resumes_with_another_number_of_processes(tmp_path, ranks, then):
    uninterrupted = train()

    def begin(communicator):
        stop = raise_after(2, KeyboardInterrupt())
        return train(tmp_path, distributed=communicator, callbacks=[stop])

    assert all(one.interrupted for one in results(ranks, begin))
    resumed = results(then, lambda rank: train(tmp_path, distributed=rank, resume=True))
    for one in resumed:
        assert bits(one)[:2] == bits(uninterrupted)[:2]
        assert bits(one)[2] == bits(uninterrupted)[2]
    starts = json.loads((tmp_path / "machines.json").read_text())
    assert [(start["after"], len(start["ranks"])) for start in starts] == [(0, ranks), (2, then)]
    assert all(rank["processor"] for start in starts for rank in start["ranks"])


def test_a_folder_of_another_run_is_refused_on_all_ranks(tmp_path):
    train(tmp_path, epochs=1)
    failed = on_ranks(2, lambda rank: train(tmp_path, epochs=1, distributed=rank))
    assert {type(one) for one in failed} == {FileExistsError}
    failed = on_ranks(2, lambda rank: train(tmp_path, seed=9, distributed=rank, resume=True))
    assert {type(one) for one in failed} == {evsim.storage.StorageError}


def test_only_rank_0_warns_and_shows_progress(capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        late = evsim.SpikeTrains.from_lists([[(DURATION + 1, 0)]] * 6, units=3)
        results(2, lambda rank: train(data=(late, [0] * 6), distributed=rank, progress=True))
    assert len(caught) == 1
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == len(set(shown))
    assert any(line.startswith("2 ranks on ") for line in shown)


# -- machines -----------------------------------------------------------------------------


def test_ranks_that_drift_apart_are_refused():
    def run(communicator):
        def project(values):
            return values * (1.0 + 1e-15 * communicator.Get_rank())

        return train(distributed=communicator, projections={"weight": project})

    failed = on_ranks(2, run)
    assert {type(one) for one in failed} == {ValueError}
    for one in failed:
        assert "after epoch 1: rank 1 on " in str(one)
        assert "has other parameters than rank 0 on " in str(one)


def test_what_is_told_about_machines():
    def machine(name, processor):
        return {"machine": name, "processor": processor, "cores": [0]}

    def told(machines, digests, before=()):
        return machines_told([machine(*one) for one in machines], digests, list(before))

    assert told([("a", "x")], ["1"], ["x"]) == []
    same = told([("a", "x"), ("b", "x")], ["1", "1"])
    assert same == ["2 ranks on a (x), b (x)"]
    alike = told([("a", "x"), ("b", "y"), ("b", "y")], ["1", "1", "1"])
    assert alike[1:] == [
        "rank 1 on b (y) has another processor than rank 0, and computes the first sample to the "
        "same bits"
    ]
    differs = told([("a", "x"), ("b", "y")], ["1", "2"])
    assert "rank 1 on b (y) computes the first sample to other bits than rank 0" in differs[1]
    moved = told([("a", "x")], ["1"], ["y", "z"])
    assert "earlier epochs were trained on y, z, these are trained on x" in moved[0]


# -- threads --------------------------------------------------------------------------------


def test_ranks_on_the_same_cores_share_them(monkeypatch):
    cores = {0: [0, 1, 2, 3], 1: [0, 1, 2, 3], 2: [4, 5], 3: [4, 5], 4: [6]}

    def machine(ranks):
        return {"machine": "one", "processor": "x", "cores": cores[ranks.index]}

    def threads(communicator):
        ranks = ranks_of(communicator)
        texts = ranks.texts(json.dumps(machine(ranks)))
        monkeypatch.setattr(
            "evsim.distributed.machines.machines_of", lambda _: [json.loads(t) for t in texts]
        )
        return threads_of_each(ranks)

    assert results(5, threads) == [2, 2, 1, 1, 1]


def test_signals_wait_for_the_end_of_an_exchange():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    signals = HeldSignals()
    try:
        with signals.installed():
            signal.raise_signal(signal.SIGINT)
            assert len(seen) == 1  # at once
            signals.hold()
            signal.raise_signal(signal.SIGINT)
            assert len(seen) == 1
            signals.release()
            assert len(seen) == 2
            signals.hold()
            signal.raise_signal(signal.SIGINT)
            signals.forget()
            signals.release()
        signal.raise_signal(signal.SIGINT)
        assert len(seen) == 3
    finally:
        signal.signal(signal.SIGINT, before)
