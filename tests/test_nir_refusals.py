"""NIR graphs and networks that cannot be converted exactly are refused, with the reason."""

import json
import warnings

import numpy as np
import pytest
from test_bad_arguments import faults_of_call, in_a_folder  # noqa: F401

import evsim

nir = pytest.importorskip("nir", reason='NIR files need pip install "evsim[nir]"')

from nir_graphs import (  # noqa: E402
    EVENT,
    PLAIN,
    assert_same,
    graph,
    layered,
    neuron,
    small,
    synaptic_by_hand,
)

# -- refusals of read ---------------------------------------------------------------------------


def with_node(node, name="odd"):
    """Input, a node, a CubaLIF."""
    made = layered(node)
    made.nodes = {name if n == "middle0" else n: v for n, v in made.nodes.items()}
    made.edges = [tuple(name if end == "middle0" else end for end in e) for e in made.edges]
    return made


ONES = np.ones(3)
IN_2D = {"padding": np.zeros(2), "stride": np.ones(2)}
KINDS = {
    "LIF": nir.LIF(ONES, ONES, 0 * ONES, ONES),
    "LI": nir.LI(ONES, ONES, 0 * ONES),
    "IF": nir.IF(ONES, ONES),
    "I": nir.I(ONES),
    "Threshold": nir.Threshold(ONES),
    "Conv1d": nir.Conv1d(None, np.ones((1, 1, 1)), 1, 0, 1, 1, np.ones(1)),
    "Conv2d": nir.Conv2d(None, np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.ones(1)),
    "SumPool2d": nir.SumPool2d(np.ones(2), **IN_2D),
    "AvgPool2d": nir.AvgPool2d(np.ones(2), **IN_2D),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_cannot_be_converted_is_refused_with_the_reason(kind):
    reason = "evsim connects single units; write the same map as a Linear"
    if kind in ("LIF", "LI"):
        reason = rf"so a spike would make V jump, .*; use Cuba{kind}, with a short tau_syn"
    elif kind in ("IF", "I"):
        reason = "it has no leak and no synaptic current; use CubaLI"
    elif kind == "Threshold":
        reason = "evsim's units have their threshold themselves"
    with pytest.raises(ValueError, match=f"node 'odd' is of the kind {kind}: .*{reason}"):
        evsim.nir.read(with_node(KINDS[kind]), **EVENT)


def changed(made, edges=None, **nodes):
    """A graph with other nodes, and edges in place of its own."""
    made.nodes |= nodes
    if edges is not None:
        made.edges = [tuple(edge.split()) for edge in edges]
    return made


class Strange(nir.Linear):
    pass


LOOP = nir.Linear(np.ones((2, 2)))
NESTED = graph({"a": nir.Input(np.array([2])), "b": nir.Input(np.array([2]))}, [])

REFUSED = {
    "an unknown kind": (
        lambda: layered(Strange(np.ones((2, 3)))),
        "node 'middle0' is of the kind Strange, which evsim does not know: it reads Input, Output",
    ),
    "a voltage as an input": (
        lambda: changed(
            layered(PLAIN, neuron(kind="CubaLI")),
        ),
        "from the CubaLI node 'middle1' to 'lif': its units do not spike, and in evsim a voltage",
    ),
    "a matrix in front of the output": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 lif", "middle0 output"]),
        "the Linear node 'middle0' leads to the Output 'output': .* put a CubaLI in between",
    ),
    "a missing node": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 nowhere"]),
        "the edge from 'middle0' to 'nowhere' names a node that is not there, 'nowhere'",
    ),
    "an edge twice": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 lif", "middle0 lif"]),
        "the edge from 'middle0' to 'lif' is there twice: remove one",
    ),
    "an edge to an input": (
        lambda: changed(layered(PLAIN), ["input middle0", "middle0 lif", "lif input"]),
        "an edge leads to the Input node 'input': it emits given spikes",
    ),
    "no edge to a map": (
        lambda: changed(layered(PLAIN), ["middle0 lif"]),
        "no edge leads to the Linear node 'middle0': put an Input in front of it",
    ),
    "a loop without a neuron": (
        lambda: changed(
            layered(PLAIN),
            ["input middle0", "middle0 a", "a b", "b a", "a lif", "lif output"],
            a=LOOP,
            b=LOOP,
        ),
        "the edges of 'a', 'b' form a loop without a neuron in it",
    ),
    "a wrong size": (
        lambda: layered(nir.Linear(np.ones((2, 4)))),
        "the Linear node 'middle0' takes 4 values, but 3 come from 'input'",
    ),
    "a wrong number of units": (
        lambda: layered(nir.Linear(np.ones((5, 3)))),
        "node 'lif' has 2 units, but 5 values come from 'middle0'",
    ),
    "sizes that differ": (
        lambda: changed(
            layered(PLAIN),
            ["input middle0", "middle0 lif", "input lif", "lif output"],
        ),
        "what reaches node 'lif' differs in size: {'middle0': 2, 'input': 3}",
    ),
    "a stack of matrices": (
        lambda: layered(nir.Linear(np.ones((4, 2, 3)))),
        r"weight of 'middle0' has shape \(4, 2, 3\): evsim reads matrices",
    ),
    "a wrong bias": (
        lambda: layered(nir.Affine(np.ones((2, 3)), np.ones(3))),
        r"bias of 'middle0' has shape \(3,\) and its weight \(2, 3\): give one bias per row",
    ),
    "a bias with a delay": (
        lambda: layered(nir.Affine(np.ones((2, 3)), np.ones(2)), nir.Delay(np.ones(2))),
        "a bias passes through the Delay node 'middle1': it would begin later than the trial",
    ),
    "a negative delay": (
        lambda: layered(PLAIN, nir.Delay(np.array([1.0, -2.0]))),
        "node 'middle1' has a delay of -2: it must be >= 0",
    ),
    "a time constant of 0": (
        lambda: layered(PLAIN, tau_syn=0.0),
        "tau_syn of 'lif' is 0 ms: it must be finite and > 0",
    ),
    "two ways into a graph": (
        lambda: changed(layered(PLAIN), ["input inside"], inside=NESTED),
        "the graph 'inside' inside the graph has 2 nodes of the kind Input: an edge",
    ),
    "no units": (
        lambda: changed(
            layered(),
            [],
            lif=nir.CubaLI(*(np.array(1.0) for _ in range(4))),
            output=neuron(),
        ),
        "the parameters of node 'lif' are single numbers, and nothing in front of it says",
    ),
    "an input without a shape": (
        lambda: changed(layered(), input=nir.Input(None)),
        "the Input node 'input' has no shape: give it one",
    ),
    "nothing": (lambda: graph({}, []), "the graph has no Input and no neuron"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_cannot_be_converted_is_refused_with_the_reason(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        evsim.nir.read(make(), **EVENT)


CONVENTION_REFUSED = {
    "neither": (
        {},
        "NIR does not define the unit of time and the size of a spike: give time_unit='s', 'ms', "
        "'us' or a number of ms and spike='event' if .*; or name the program, source='snntorch', '",
    ),
    "no size": ({"time_unit": "ms"}, "give spike='event' if it raises I by w_in W, spike='pulse'"),
    "only the documentation": ({"source": "spec"}, "NIR does not define the size of a spike"),
    "no unit": ({"spike": "event"}, "NIR does not define the unit of time: give time_unit='s', 'm"),
    "a pulse": ({"time_unit": "s", "spike": "pulse"}, "spike = 'pulse' is as long as a step: give"),
    "a bias": ({**EVENT, "bias": "per step"}, "bias = 'per step' needs the step: give dt=..., in"),
    "source": ({"source": "norze"}, "source = 'norze': choose one of .*; did you mean 'norse'?"),
    "spike": ({**EVENT, "spike": "jump"}, "spike = 'jump': choose one of event, pulse"),
    "bias": ({**EVENT, "bias": "often"}, "bias = 'often': choose one of constant, per step"),
    "unit": ({**EVENT, "time_unit": "min"}, "time_unit = 'min': choose one of s, ms, us"),
    "no time": ({**EVENT, "time_unit": 0.0}, "time_unit = 0.0: it must be finite and > 0"),
    "no step": ({**EVENT, "dt": -1.0}, "dt = -1.0: it must be finite and > 0"),
    "refractory": ({**EVENT, "refractory": -1.0}, "refractory = -1.0 ms: it must be >= 0"),
    "delay": ({**EVENT, "recurrent_delay": -1.0}, "recurrent_delay = -1.0 ms: it must be >= 0"),
    "snnTorch": (
        {"source": "snntorch"},
        "has r = 1 for unit 0, and snnTorch writes tau_mem/dt = 1000",
    ),
}


@pytest.mark.parametrize("name", CONVENTION_REFUSED)
def test_a_convention_that_is_not_given_or_is_contradicted_is_refused(name):
    given, message = CONVENTION_REFUSED[name]
    with pytest.raises(ValueError, match=message):
        evsim.nir.read(layered(PLAIN, tau_mem=10.0), **given)


def test_a_file_of_another_program_than_its_source_is_refused():
    with pytest.raises(ValueError, match=r"'1' has r = 100 for unit 0, and Norse writes 1: give"):
        evsim.nir.read(synaptic_by_hand(False), source="norse")
    made = synaptic_by_hand(False)
    made.nodes["3"].w_in[1] = 49.0
    named = r"'3' has w_in = 49 for unit 1, and snnTorch writes tau_syn/dt = 50"
    with pytest.raises(ValueError, match=named):
        evsim.nir.read(made, source="snntorch")
    made.nodes["3"].tau_syn[0] *= 2.0
    made.nodes["3"].w_in[0] *= 2.0
    with pytest.raises(ValueError, match=named):
        evsim.nir.read(made, source="snntorch")


def test_files_that_are_not_nir_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.nir': there is no such file"):
        evsim.nir.read(tmp_path / "missing.nir", **EVENT)
    (tmp_path / "text.nir").write_text("no graph")
    with pytest.raises(evsim.storage.StorageError, match="text.nir cannot be read as a NIR file: "):
        evsim.nir.read(tmp_path / "text.nir", **EVENT)
    with pytest.raises(TypeError, match=r"file = 5: give the path of a NIR file, or a nir\.NIRGr"):
        evsim.nir.read(5, **EVENT)
    with pytest.raises(TypeError, match="file is a Linear node: give a graph, nir.NIRGraph"):
        evsim.nir.read(PLAIN, **EVENT)
    damaged = layered(PLAIN)
    damaged.metadata = {"evsim": json.dumps({"spike": "event"})}
    with pytest.raises(evsim.storage.StorageError, match="metadata 'evsim' of the graph is damag"):
        evsim.nir.read(damaged, **EVENT)


# -- refusals of write ----------------------------------------------------------------------------


def test_delays_of_synapses_are_written_on_request_only():
    network = small(delay=np.arange(6.0).reshape(2, 3))
    with pytest.raises(ValueError, match=r"in->lif.delay differs from synapse .*synaptic_delays=T"):
        evsim.nir.write(network, **EVENT)
    made = evsim.nir.write(network, **EVENT, synaptic_delays=True)
    kinds = [type(made.nodes[f"in_to_lif{part}"]).__name__ for part in ("_repeat", "_delay", "")]
    assert kinds == ["Linear", "Delay", "Linear"]
    assert_same(evsim.nir.read(made), network)


def test_what_nir_does_not_have_is_left_out_only_if_that_is_said():
    network = small(lif=evsim.LIF("lif", 2, refractory=[0.0, 3.0]))
    with pytest.raises(ValueError, match="lif.refractory is 3 ms, and NIR has no refr.*lossy=True"):
        evsim.nir.write(network, **EVENT)
    assert_same(evsim.nir.read(evsim.nir.write(network, **EVENT, lossy=True)), small())
    network = small(lif=evsim.LIF("lif", 2, start=0.5))
    with pytest.raises(ValueError, match="lif.start differs from its rest, and in NIR V has no st"):
        evsim.nir.write(network, **EVENT)
    assert_same(evsim.nir.read(evsim.nir.write(network, **EVENT, lossy=True)), small())
    evsim.nir.write(small(lif=evsim.LIF("lif", 2, start=0.5, rest=0.5)), **EVENT)


def test_write_refuses_what_cannot_be_a_file(tmp_path):
    with pytest.raises(
        ValueError, match="NIR does not define the unit .* or name the program, target='snnt"
    ):
        evsim.nir.write(small())
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        evsim.nir.write(small(), tmp_path, **EVENT)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        evsim.nir.write(small(), tmp_path / "missing" / "a.nir", **EVENT)
    with pytest.raises(ValueError, match="the name 'a/b' holds '/', which separates groups"):
        evsim.nir.write(small(names=("a/b", "lif")), **EVENT)
    with pytest.raises(TypeError, match="network = 5: give an evsim.Network"):
        evsim.nir.write(5, **EVENT)


@pytest.mark.slow
def test_every_argument_is_refused_by_name_where_it_cannot_be_meant(in_a_folder):  # noqa: F811
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=3)
    reading = {"source": None, "bias": "constant", "start": 0.0, "refractory": 0.0}
    reading |= {"recurrent_delay": 0.0, "sparse": False, "bias_input": "bias", **EVENT, "dt": 0.1}
    writing = {"target": None, "synaptic_delays": False, "lossy": False, "bias_input": "bias"}
    calls = {
        "read": {"file": layered(PLAIN, tau_syn=5.0), **reading},
        "write": {"network": small(), "file": "a.nir", **writing, **EVENT, "dt": 0.1},
        "with_bias": {"network": small(), "spikes": spikes, "bias_input": "bias"},
    }
    faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", evsim.nir.CoarseStepWarning)
        for name, arguments in calls.items():
            getattr(evsim.nir, name)(**arguments)
            faults += faults_of_call(name, getattr(evsim.nir, name), arguments)
    assert not faults, "\n".join(faults)
