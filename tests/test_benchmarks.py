"""The benchmarks detect wrong results before timing, and put their tables into the right places."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import evsim
from evsim.engines import Exact

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(sys.modules) - before:  # their names are too plain to be left behind
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def small_work(weight=8.0):
    from workload import Work

    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", weight, evsim.Uniform(0.0, 8.0)),
            evsim.Connection("hidden", "output", evsim.Normal(0.0, 1.0)),
        ],
        seed=0,
    )
    spikes = evsim.SpikeTrains.from_lists(
        [[(1.0, 0), (2.0, 1), (15.0, 0)], [(3.0, 1), (4.0, 0)]], units=2
    )
    loss = evsim.losses.CrossEntropy(evsim.readouts.Mean())
    return Work(network, spikes, np.array([0, 1]), loss, 20.0)


def test_a_case_passes_with_its_own_number_of_spikes_and_fails_with_another():
    from workload import Case, hidden_spikes

    spikes = hidden_spikes(small_work().forward(Exact(threads=1)))
    work, run = Case("small", "a small one", small_work, small_work, spikes).checked()
    assert run.report.arrivals > 0
    assert work.wrt == ["input->hidden.weight", "hidden->output.weight"]
    with pytest.raises(AssertionError, match="hidden spikes a sample, not"):
        Case("small", "a small one", small_work, small_work, 1.2 * spikes).checked()


def test_a_silent_part_is_no_comparison():
    from workload import check_against_reference

    with (
        pytest.warns(evsim.SilentNetworkWarning, match="no unit of 'hidden' spiked"),
        pytest.raises(AssertionError, match="has no spikes"),
    ):
        check_against_reference(small_work(weight=0.1))


def test_a_wrong_gradient_is_found(monkeypatch):
    from workload import Work, check_against_reference

    right = Work.gradient

    def wrong(self, engine):
        outcome = right(self, engine)
        if isinstance(engine, Exact):
            outcome.parameters["hidden->output.weight"][0, 0] *= 1 + 1e-6
        return outcome

    monkeypatch.setattr(Work, "gradient", wrong)
    with pytest.raises(AssertionError, match=r"hidden->output\.weight"):
        check_against_reference(small_work())


def test_equal_delays_are_no_case():
    from workload import check_delays
    from yin_yang import with_delays

    work = with_delays(samples=2)
    check_delays(work)
    equal = np.full((30, 4), 1.0)
    with pytest.raises(AssertionError, match=r"input->hidden\.delay are equal"):
        check_delays(replace(work, network=work.network.replace({"input->hidden.delay": equal})))


def test_short_batches_take_turns():
    from workload import check_turns
    from yin_yang import with_delays

    work = with_delays(samples=2)
    run = work.forward(Exact(threads=1))
    first, *others = work.batches()
    assert len(others) == 19
    np.testing.assert_array_equal(first.spikes.times, work.spikes.times)
    assert all((other.spikes.times != first.spikes.times).any() for other in others)
    check_turns(work, run)
    with pytest.raises(AssertionError, match="1 batches take turns"):
        check_turns(replace(work, training=None), run)


@pytest.mark.parametrize("kind", ["layered", "recurrent"])
def test_arrivals_are_counted_again_dense_or_sparse(kind):
    from growth import work
    from sparse import work as sparse_work
    from workload import check_arrivals, hidden_spikes

    sparse = replace(sparse_work(units=200, fan_out=5, inputs=1000), duration=20.0)
    for case in (work(kind, "longer trials", 2e4, samples=2), sparse):
        run = case.forward(Exact(threads=1))
        assert run.report.arrivals_after_end > 0
        assert hidden_spikes(run) > 0
        check_arrivals(run)


def stored(quantity, threads, median, samples=10):
    extra = {
        "case": "small", "quantity": quantity, "threads": threads, "title": "a small one",
        "samples": samples, "arrivals": 50.0, "hidden_spikes": 4.0,
        "target": {"value": 40.0, "unit": "ns"},
    }  # fmt: skip
    return {"extra_info": extra, "stats": {"median": median, "iqr": median / 10}}


def test_the_table_divides_by_samples_and_arrivals():
    from tables import speed_table, threads_sentence

    benchmarks = [
        stored("forward", 1, 1e-5), stored("gradient", 1, 4e-5), stored("epoch", 1, 0.01, 1000),
        stored("gradient", 2, 2e-5),
    ]  # fmt: skip
    lines = speed_table(benchmarks).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    one = ["a small one", "1", "4", "50", "20 (2)", "80 (8)", "4", "10", "40 ns", "–"]
    assert cells[2] == one
    assert cells[3] == ["a small one", "2", "4", "50", "–", "40 (4)", "2", "–", "–", "–"]
    assert "2.00 to 2.00 times as fast" in threads_sentence(benchmarks)


def test_only_what_is_between_the_markers_is_replaced(tmp_path):
    from tables import write_between

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n")
    for text in ("new", "newer"):
        write_between(page, "a", text)
        expected = f"before\n<!-- a: begin -->\n{text}\n<!-- a: end -->\nafter\n"
        assert page.read_text() == expected
    with pytest.raises(ValueError, match="has 0 lines '<!-- b: begin -->'"):
        write_between(page, "b", "new")


def test_the_page_has_a_place_for_every_table(tmp_path):
    from tables import write_between

    page = tmp_path / "performance.md"
    page.write_text((FOLDER.parent / "docs" / "performance.md").read_text(encoding="utf-8"))
    for name in ("speed", "growth", "dimensions", "comparison"):
        write_between(page, name, "new")
    page.write_text((FOLDER.parent / "docs" / "scaling.md").read_text(encoding="utf-8"))
    write_between(page, "scaling", "new")


def test_the_comparison_on_the_page_is_the_stored_one(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER / "peers"))
    from comparison import comparison

    page = (FOLDER.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    assert f"<!-- comparison: begin -->\n{comparison()}\n<!-- comparison: end -->" in page


def test_a_round_gives_one_ratio_and_losses_are_above_1(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER / "peers"))
    from compare import by_turns, row

    calls = []
    times = by_turns(lambda: calls.append("ours"), lambda: calls.append("theirs"), 3)
    assert calls == ["theirs", "ours", "ours", "theirs"] * 2
    assert [len(part) for part in times] == [3, 3]
    found = row("a network", "forward", ([2e-3, 4e-3, 9e-3], [1e-3, 2e-3, 3e-3]), 10, "", "")
    assert (found.evsim, found.peer, found.rounds) == (400.0, 200.0, 3)
    assert (found.ratio, found.low, found.high) == (2.0, 2.0, 2.5)


def test_what_a_parent_held_does_not_count_as_memory():
    from memory import STATUS, in_subprocess

    if not STATUS.exists():
        pytest.skip("only Linux tells a process's own peak")
    held = np.ones(40_000_000)
    assert int(in_subprocess("yin-yang-30-13")) < held.nbytes / 4


def test_activity_is_measured_on_networks_that_run_away():
    from activity import NETWORKS, cost_of_an_arrival, time_to_refusal

    net = NETWORKS["10 units, delays 0.1 to 1 ms"]
    spikes, arrivals, cost = cost_of_an_arrival(net, 200)
    assert 200 <= spikes <= 400
    assert arrivals > spikes
    assert cost > 0
    assert time_to_refusal(net) > 0


def test_the_model_of_a_cluster_adds_up_its_parts():
    import scale_out

    # 40 ns an arrival, 8 ms alone, 2 ms by samples, 20 exchanges, sums of 4 MB, rows of 1 MB.
    model = scale_out.Model(40e-9, 0.008, 0.002, 20, 4e6, 1e6)
    batches = scale_out.EPOCH_SAMPLES / scale_out.BATCH
    work, name = 40e-9 * scale_out.EPOCH_ARRIVALS, "100 Gb/s InfiniBand"
    assert model.seconds(1, 64, name) == pytest.approx(work + 0.01 * batches)
    assert model.seconds(16, 64, name) == pytest.approx(work / 16 + 0.01 * batches)
    # Of three cores one takes 22 of 64 pieces; of 65 cores each takes one or none.
    assert model.seconds(3, 64, name) == pytest.approx(work * 22 / 64 + 0.01 * batches)
    assert model.seconds(65, 64, name) > work / 64 + 0.008 * batches
    # Four machines: 16 pieces each and the sum, three quarters of which are sent.
    latency, bandwidth = scale_out.NETWORKS[name]
    sending = 20 * latency * 2 + (17 * 4e6 * 3 / 4 + 1e6) / bandwidth
    assert model.sending(64, 64, name) == pytest.approx(sending)
    besides = 0.008 + 0.002 / 4 + sending
    assert model.seconds(64, 64, name) == pytest.approx(work / 64 + besides * batches)
    assert model.share_of_sending(64, 64, name) == pytest.approx(
        sending * batches / (work / 64 + besides * batches)
    )
    cores = model.cores_for(100.0, 64, name)
    assert model.seconds(cores, 64, name) <= 100 < model.seconds(cores - 1, 64, name)
    assert model.cores_for(0.001, 64, name) is None
