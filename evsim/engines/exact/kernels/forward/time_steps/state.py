"""What a component needs while it runs in time steps: the steps, its units, and memory."""

from __future__ import annotations

from math import ceil, expm1, frexp, ldexp
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim.engines.exact.kernels.forward.recurrent_state import Running
from evsim.engines.exact.kernels.forward.time_steps.dense_synapses import DenseSynapses
from evsim.equations.lif import decays_and_response

ARRIVALS_PER_STEP = 2.0  # at a unit, on average
MOST_PER_STEP = 6.0  # the same, if steps are longer to save memory
CACHE = 2**22  # the most bytes that the sums of the coming steps should take
MOST_IN_STEP = 256  # arrivals at a unit in a step; components with more run in time slices


class Step(NamedTuple):
    """The length of the time steps in ms, and how many there are.

    Step n contains the times after ``n length`` up to ``(n + 1) length``; step 0 also contains 0.
    """

    length: float
    number: int
    per_ms: float


class Sums(NamedTuple):
    """The effect of arrivals on V and I at the end of their step, (rows, units).

    Step n has row ``n & (rows - 1)``.  The number of rows is a power of 2, large enough for all
    steps in which a spike may still arrive.  ``excitation`` sums positive weights.
    """

    voltage: np.ndarray
    current: np.ndarray
    excitation: np.ndarray


class Members(NamedTuple):
    """The units of a component, (units,): the factors of a step, and the state at its beginning.

    Over a step V loses ``loss_mem`` of itself, I ``loss_syn``, and V gains ``response`` of I.
    ``bound`` is an upper bound on V at the end of the step, and ``nearly`` is the threshold minus
    the possible rounding error of the bound.  ``slot`` is the slot of a unit in this step, -1 if
    none.
    """

    loss_mem: np.ndarray
    loss_syn: np.ndarray
    response: np.ndarray
    nearly: np.ndarray
    voltage: np.ndarray
    current: np.ndarray
    free_at: np.ndarray  # the end of the refractory period, ms
    is_refractory: np.ndarray
    slot: np.ndarray
    bound: np.ndarray


class Slots(NamedTuple):
    """The units that are advanced through their arrivals in a step one by one, (slots,).

    ``time`` and ``weight`` (slots, MOST_IN_STEP) describe ``arrivals`` arrivals.  A unit is at time
    ``now``, before arrival ``next``, with ``voltage`` and ``current``.  If nothing more arrives, it
    emits at ``due``, before arrival ``due_next`` and with ``due_current``; it may emit later unless
    ``is_exact`` is set.  If ``due`` is infinite, it ends the step in the state ``end_...``.
    """

    member: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    arrivals: np.ndarray
    now: np.ndarray
    next: np.ndarray
    voltage: np.ndarray
    current: np.ndarray
    due: np.ndarray
    is_exact: np.ndarray
    due_next: np.ndarray
    due_current: np.ndarray
    end_voltage: np.ndarray
    end_current: np.ndarray
    end_is_refractory: np.ndarray


class Sent(NamedTuple):
    """Spikes sent into the component in order of time, with their times and sources."""

    time: np.ndarray
    source: np.ndarray


class Windows(NamedTuple):
    """The spikes that may arrive in a step, first to last - 1, from outside and from inside."""

    first: int
    last: int
    first_inside: int
    last_inside: int


class Scratch(NamedTuple):
    """Memory for the arrivals of one spike at all units, and of all spikes at one unit.

    For one spike (units,): the time and step of each arrival, how V responds and I decays until the
    end of the step, and what is added at which place of the sums.  For all spikes: when each
    arrives, and whether it arrives in a step; ``are_found`` is the memory of ``is_found``, read
    eight entries at a time.
    """

    time: np.ndarray
    step: np.ndarray
    response: np.ndarray
    decay_syn: np.ndarray
    of_voltage: np.ndarray
    of_current: np.ndarray
    excitation: np.ndarray
    place: np.ndarray
    arrival: np.ndarray
    is_found: np.ndarray
    are_found: np.ndarray


class Stepping(NamedTuple):
    """A component that runs in time steps."""

    step: Step
    duration: float  # ms
    running: Running
    dense: DenseSynapses
    members: Members
    sums: Sums
    slots: Slots
    scratch: Scratch
    outside: Sent
    inside: Sent


@compiled
def step_for(arrivals: float, duration: float, dense: DenseSynapses) -> Step:
    """Steps in which units receive few arrivals, given the total number of arrivals."""
    members = dense.weight.shape[1]
    per_arrival = duration * members / arrivals
    longest = max(dense.longest_delay, dense.longest_delay_inside)
    to_save_memory = longest * members * 3 * 8 / CACHE
    wanted = max(ARRIVALS_PER_STEP * per_arrival, min(MOST_PER_STEP * per_arrival, to_save_memory))
    # The length has few digits, so that all ends of steps are exact: their rounding errors would
    # accumulate in V and I.
    fraction, exponent = frexp(wanted)
    length = min(ldexp(ceil(ldexp(fraction, 16)), exponent - 16), duration)
    return Step(length, ceil(duration / length), 1.0 / length)


@compiled
def step_at(time: float, step: Step) -> int:
    """The step of a time >= 0."""
    n = int(time * step.per_ms)
    n = n - 1 if time <= n * step.length else n
    n = n + 1 if time > (n + 1) * step.length else n
    return max(n, 0)


@compiled
def latest_before(n: int, step: Step) -> float:
    """The latest time before step n; negative for step 0, which begins with time 0."""
    return n * step.length if n > 0 else -1.0


@compiled
def end_of(n: int, stepping: Stepping) -> float:
    """When step n ends; the last one ends with the trial."""
    return min((n + 1) * stepping.step.length, stepping.duration)


@compiled
def row_of(n: int, sums: Sums) -> int:
    """The row of step n."""
    return n & (sums.current.shape[0] - 1)


@allocating
def new_sums(step: Step, dense: DenseSynapses) -> Sums:
    """Sums without arrivals in any step."""
    longest = max(dense.longest_delay, dense.longest_delay_inside)
    needed = min(float(step.number), longest * step.per_ms + 3.0)
    rows = 1
    while rows < needed:
        rows *= 2
    shape = rows, dense.weight.shape[1]
    return Sums(np.zeros(shape), np.zeros(shape), np.zeros(shape))


@allocating
def new_members(members: np.ndarray, units: np.ndarray, step: Step) -> Members:
    """The units at the beginning of the trial."""
    size = members.size
    new = Members(
        np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size),
        np.zeros(size), np.full(size, -1.0), np.zeros(size, np.bool_), np.full(size, -1),
        np.empty(size),
    )  # fmt: skip
    for m in range(size):
        unit = members[m]
        tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
        new.loss_mem[m] = -expm1(-step.length / tau_mem)
        new.loss_syn[m] = -expm1(-step.length / tau_syn)
        _, _, new.response[m] = decays_and_response(step.length, tau_mem, tau_syn, tau_mem)
        new.nearly[m] = units[unit].threshold * (1.0 - 1e-6)
        new.voltage[m] = units[unit].start
    return new


@allocating
def new_slots(size: int) -> Slots:
    """Room for so many units."""
    return Slots(
        np.empty(size, np.int64), np.empty((size, MOST_IN_STEP)), np.empty((size, MOST_IN_STEP)),
        np.empty(size, np.int64), np.empty(size), np.empty(size, np.int64), np.empty(size),
        np.empty(size), np.empty(size), np.empty(size, np.bool_), np.empty(size, np.int64),
        np.empty(size), np.empty(size), np.empty(size), np.empty(size, np.bool_),
    )  # fmt: skip


@allocating
def new_scratch(size: int, spikes: int) -> Scratch:
    """Room for the arrivals at so many units, or of so many spikes."""
    is_found = np.zeros(spikes + 8 - spikes % 8, np.uint8)
    return Scratch(
        np.empty(size), np.empty(size, np.int64), np.empty(size), np.empty(size), np.empty(size),
        np.empty(size), np.empty(size), np.empty(size, np.uint64), np.empty(spikes), is_found,
        is_found.view(np.uint64),
    )  # fmt: skip


@allocating
def new_sent(spikes: int) -> Sent:
    """Room for so many spikes."""
    return Sent(np.empty(spikes), np.empty(spikes, np.uint64))
