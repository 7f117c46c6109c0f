"""RandomNetworksAgree: the exact engine against the reference engine on small random networks.

As a program, it tests again a disagreement that was written to a file:

    python validation/random_networks_agree.py runs/validation/random_networks/0-123.safetensors
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from agreement import entries
from claims import Claim, Finding, Table
from referee import (
    FEWEST_ULP,
    SAME_TIME,
    SAME_VALUE,
    Results,
    RunawayError,
    drive_of,
    drive_of_sample,
    is_close,
    is_decided,
    judge,
    largest,
    largest_lambda,
    sample_dropouts,
    simulate,
    solve,
    terms_of_time_constants,
)
from small_networks import SmallCase, TiedCase, load_case, save_case, small_case, tied_case
from ties import has_the_gradient_of_its_events, judge_ties, looks_right

import evsim
from evsim.engines import EngineError, Exact, Reference
from evsim.engines.reference.network import Kind, Model, Simulation
from evsim.storage import write_atomically

EXACT = Exact(threads=1, spike_limit=80, debug=True)
FLOATS = Reference()

GRAZING = 4.0 * float(np.sqrt(np.finfo(float).eps))  # I / threshold - 1, of which V has the square
SAME_TERM = 16.0 * float(np.finfo(float).eps)  # relative to terms that cancel to nothing


@dataclass(frozen=True)
class RandomNetworksAgree(Claim):
    """The exact engine and the reference agree on a million small random networks.

    Networks of one to about five units with up to eight input spikes are drawn to be difficult (see
    ``small_networks``): coinciding events, equal and extreme time constants, weights that take V
    exactly to the threshold, refractory periods, loops, sparse and shared parameters, empty
    samples, spikes at 0 and at the end. Both engines, which share no code, run each network in
    float64. Spikes, a readout, and its gradients with respect to all parameters (time constants in
    three of ten) and input times are compared. If results differ by more than a few units in the
    last place, the reference engine in ``digits`` decimal digits decides, and measures the possible
    effect of rounding (see ``referee``). If only gradients differ and events nearly tie, a
    derivative may have several one-sided values: then the gradient must be that of the engine's own
    events, in many digits (see ``ties``).

    In addition, ``tied`` networks are constructed to tie: sums of the same weights in another
    order, identical units, delays that are multiples of one delay, loops without delay, and spikes
    at the times at which a run in float64 has emissions, arrivals and ends of refractory periods,
    or up to five float64 numbers beside these times. Each network is checked in many digits at the
    events of the exact engine (see ``ties``): V must be at the threshold at each spike and never
    above it, and the gradient must be that of these events. The spikes must also be those of the
    run in many digits, unless that run has an emission within 64 units in the last place of an
    inhibitory arrival that would prevent it, of a peak of V or of the end of the trial; the report
    counts these cases. In addition, the exact engine checks each of its runs,
    ``Exact(debug=True)``.

    Refuted by a network for which the exact engine differs from the reference in many digits by
    more than rounding explains, has other spikes although rounding cannot add or remove any, raises
    an error without need, or fails its check. Each such network is written to its own file.
    """

    networks: int = 1_000_000
    tied: int = 20_000
    digits: int = 50
    seed: int = 0
    processes: int = 1
    chunk: int = 1000

    against: ClassVar[str] = "the reference engine; 50 digits decide"
    counts: ClassVar[tuple[str, ...]] = ("networks", "tied")

    def examine(self, folder: Path) -> Finding:
        """Run all chunks whose results are not in the folder yet."""
        results = folder / "random_networks"
        results.mkdir(parents=True, exist_ok=True)
        starts = [
            (is_tied, start)
            for is_tied, total in ((False, self.networks), (True, self.tied))
            for start in range(0, total, self.chunk)
        ]
        tally: Counter[str] = Counter()
        work = partial(examine_chunk, self, results)
        if self.processes == 1:
            for found in map(work, starts):
                tally.update(found)
        else:
            context = get_context("spawn")
            with ProcessPoolExecutor(self.processes, mp_context=context) as pool:
                for found in pool.map(work, starts):
                    tally.update(found)
        return self.finding(tally)

    def finding(self, tally: Counter[str]) -> Finding:
        """The finding from the counts."""
        wrong = {kind: count for kind, count in tally.items() if kind.startswith("disagree")}
        rows = [[kind, f"{count:,}"] for kind, count in sorted(tally.items())]
        refused = sum(n for kind, n in tally.items() if kind.startswith(("passed", "refused:")))
        compared = tally["networks"] + tally["tied"] - refused
        summary = (
            f"{compared:,} networks with {tally['spikes']:,} spikes were compared; "
            f"{tally['referred']:,} were referred to {self.digits} digits, which found "
            f"{sum(wrong.values()):,} disagreements and {tally['near-ties']:,} near-ties, in "
            f"which rounding decides whether a unit spikes. Of {tally['tied']:,} networks made to "
            f"tie {tally['tied: other spikes after a near-tie']:,} go another way after a near-tie."
        )
        refutations = [f"{kind}: {count:,} networks" for kind, count in sorted(wrong.items())]
        columns = ["what", "number"]
        return Finding.of(summary, refutations, [Table("Networks", columns, rows)])


def examine_chunk(
    claim: RandomNetworksAgree, folder: Path, chunk: tuple[bool, int]
) -> Counter[str]:
    """The counts of one chunk, read from the folder if it contains them."""
    is_tied, start = chunk
    count = min(claim.chunk, (claim.tied if is_tied else claim.networks) - start)
    prefix = "tied-" if is_tied else ""
    path = folder / f"{prefix}{claim.seed}-{claim.digits}-{start}-{count}.json"
    if path.exists():
        return Counter(json.loads(path.read_text()))
    tally: Counter[str] = Counter()
    for number in range(start, start + count):
        case = (tied_case if is_tied else small_case)(claim.seed, number)
        kind = examine_any(case, claim.digits, tally)
        if kind is not None:
            tally[kind] += 1
            description = {"seed": claim.seed, "number": number, "found": kind}
            description["evsim"] = evsim.__version__
            save_case(folder / f"{prefix}{claim.seed}-{number}.safetensors", case, description)
    tally["tied" if is_tied else "networks"] += count
    write_atomically(path, (json.dumps(tally) + "\n").encode())
    return tally


# -- one network --------------------------------------------------------------------------


def examine_any(case: SmallCase, digits: int, tally: Counter[str]) -> str | None:
    """The kind of disagreement, or None; adds to the counts."""
    if isinstance(case, TiedCase):
        return examine_tied(case, digits, tally)
    return examine_case(case, digits, tally)


def examine_tied(case: TiedCase, digits: int, tally: Counter[str]) -> str | None:
    """The same for a network whose events tie."""
    try:
        found = exact_results(case)
    except EngineError as error:
        return examine_refusal(case, str(error), digits, tally)
    tally["spikes"] += sum(times.size for times in found.spikes.values())
    try:
        if looks_right(case, found):
            return None
    except (EngineError, RunawayError):
        tally["refused by the reference in float64"] += 1
    tally["referred"] += 1
    try:
        verdict = judge_ties(case, found, digits)
    except (EngineError, RunawayError) as error:
        return f"disagreement: the reference refuses: {error}"
    if verdict.exempt is not None:
        tally["tied: other spikes after a near-tie"] += 1
        tally[f"tied: {verdict.exempt}"] += 1
    if verdict.wrong is None:
        return None
    return f"disagreement: {case.kind}: {verdict.wrong.split(':')[0]}"


def examine_case(case: SmallCase, digits: int, tally: Counter[str]) -> str | None:
    """The kind of disagreement, or None; adds to the counts."""
    try:
        found = exact_results(case)
    except EngineError as error:
        return examine_refusal(case, str(error), digits, tally)
    tally["spikes"] += sum(times.size for times in found.spikes.values())
    try:
        if agrees(case, found) or is_close(case, found, solve(case, None)):
            return None
    except EngineError:  # the reference in float64 cannot differentiate at a grazing spike
        tally["refused by the reference in float64"] += 1
    except RunawayError:  # it may have a spike that many digits have not
        tally["ran away in the reference in float64"] += 1
    tally["referred"] += 1
    try:
        verdict = judge(case, found, digits, seed=0)
    except RunawayError as error:
        return f"disagreement: the reference runs away: {error}"
    if not verdict.is_decided:
        tally["near-ties"] += 1
        return None
    if verdict.differs:
        is_of_gradients = {"pattern", "spikes"}.isdisjoint(verdict.differs)
        if is_of_gradients and has_the_gradient_of_its_events(case, found, digits):
            tally["near-ties: another one-sided derivative"] += 1
            return None
        return "disagreement: " + ", ".join(sorted({d.rsplit(".")[-1] for d in verdict.differs}))
    return None


def exact_results(case: SmallCase, engine: Exact = EXACT) -> Results:
    """The results of the exact engine."""
    state = engine.simulate(case.network, case.inputs, case.duration, case.dropout)
    readout = engine.read(state, case.readout)
    adjoint = engine.pull_back(state, case.readout, case.cotangents, case.wrt, case.adjustments)
    spikes: dict[tuple[int, int], np.ndarray] = {}
    trains = engine.spikes(state)
    for population, first, last in state.populations():
        if isinstance(population, evsim.Input):
            continue
        train = trains[population.name]
        for b in range(case.batch_size):
            begin, end = train.offsets[b], train.offsets[b + 1]
            times, units = train.times[begin:end], train.units[begin:end]
            for unit in range(first, last):
                spikes[b, unit] = times[units == unit - first] if end > begin else times
    gradients = {n: entries(values).ravel() for n, values in adjoint.parameters.items()}
    gradients |= {f"{n}.times": values for n, values in adjoint.input_times.items()}
    return Results(spikes, readout.ravel(), gradients, {})


def agrees(case: SmallCase, found: Results) -> bool:
    """Whether the reference in float64 agrees up to a few units in the last place.

    This is a quick test.  Only if it fails, ``is_close`` is needed, which considers the size of the
    terms from which each number was summed.
    """
    model = Model.from_network(case.network, FLOATS.numbers)
    state = simulate(case, FLOATS, model, FLOATS.input_events(case.network, case.inputs))
    spikes: dict[tuple[int, int], list[float]] = {owner: [] for owner in found.spikes}
    for b, sample in enumerate(state.samples):
        for emission in sample.emissions:
            if emission.index is None:
                spikes[b, emission.unit].append(emission.time)
    limit = SAME_TIME * np.spacing(case.duration)
    for owner, times in spikes.items():
        exact = found.spikes[owner].tolist()
        if len(exact) != len(times):
            return False
        if any(abs(a - b) > limit for a, b in zip(exact, times, strict=True)):
            return False
    values = FLOATS.read(state, case.readout).ravel()
    if not _close(found.readout, values, largest(values) + drive_of(state)):
        return False
    adjoint = FLOATS.pull_back(state, case.readout, case.cotangents, case.wrt, case.adjustments)
    adjoints = adjoint.state.samples
    # A gradient with respect to a time is a sum of terms w lambda_V - w lambda_I.
    cancels = max(map(largest_lambda, adjoints)) * max(map(abs, state.model.weight), default=0.0)
    for name, expected in adjoint.parameters.items():
        own_values, other = found.gradients[name], entries(expected).ravel()
        least = cancels if name.endswith(".delay") else 0.0
        if name.endswith((".tau_mem", ".tau_syn")):
            least = terms_of_time_constants(state.samples, adjoints)
        if not _close(own_values, other, largest(other), least):
            return False
    return all(
        _close(found.gradients[f"{name}.times"], other, largest(other), cancels)
        for name, other in adjoint.input_times.items()
    )


def _close(found: np.ndarray, expected: np.ndarray, scale: float, cancelling: float = 0.0) -> bool:
    limit = max(SAME_VALUE * scale, SAME_TERM * cancelling)
    pairs = zip(found.tolist(), expected.tolist(), strict=True)
    return all(a == b or abs(a - b) <= limit for a, b in pairs)


# -- networks that the exact engine refuses -----------------------------------------------

REFUSALS = {
    "spike_limit": "passed over: too many spikes",
    "spikes again before time moves on": "refused: spikes closer than float64 can tell",
    "grazes": "refused: I - threshold rounds to 0",
    "no finite number": "refused: overflow",
}


def examine_refusal(case: SmallCase, message: str, digits: int, tally: Counter[str]) -> str | None:
    """None if many digits justify the refusal, otherwise the kind of disagreement."""
    for words, kind in REFUSALS.items():
        if words in message:
            tally[kind] += 1
            return None if _is_justified(case, words, digits) else f"disagreement: {kind}"
    return f"disagreement: refused: {message}"


def _is_justified(case: SmallCase, words: str, digits: int) -> bool:
    """Whether the reference engine finds the problem that the exact engine reports."""
    limit = EXACT.spike_limit
    spikes, shortest, smallest, current = 0, np.inf, np.inf, 0.0
    for sample in _simulations(case, None if words == "spike_limit" else digits):
        count = 0
        last: dict[int, Any] = {}
        for event in sample:
            if event.kind != Kind.EMISSION or event.index is not None:
                continue
            threshold = sample.model.neurons[event.unit].threshold
            interval = float(event.time - last.get(event.unit, -1.0))
            shortest = min(shortest, interval / float(np.spacing(float(event.time))))
            smallest = min(smallest, float(event.current / threshold - 1))
            last[event.unit] = event.time
            count += 1
            if count > limit or shortest < FEWEST_ULP:
                break
        spikes = max(spikes, count)
        current = max(current, drive_of_sample(sample))
    if words in ("spike_limit", "spikes again before time moves on"):
        is_right = shortest < FEWEST_ULP or (words == "spike_limit" and spikes > limit)
        return is_right or not is_decided(case, digits)
    if words == "grazes":
        return smallest < GRAZING or not is_decided(case, digits)
    return current > 1e300


def _simulations(case: SmallCase, digits: int | None) -> Iterator[Simulation]:
    """The simulations of the samples, which the caller runs event by event."""
    engine = Reference(digits)
    model = Model.from_network(case.network, engine.numbers)
    duration = engine.numbers.convert(case.duration)
    events = engine.input_events(case.network, case.inputs)
    for inputs, dropout in zip(events, sample_dropouts(case), strict=True):
        yield Simulation(model, inputs, duration, dropout=dropout)


def main() -> int:
    """Test the disagreement in a file again; 1 if the engines still disagree."""
    path = Path(sys.argv[1])
    case, description = load_case(path)
    print(case.network, case.readout, f"duration {case.duration} ms", description, sep="\n")
    tally: Counter[str] = Counter()
    kind = examine_any(case, 50, tally)
    print(kind or f"no disagreement any more: {dict(tally)}")
    return 0 if kind is None else 1


if __name__ == "__main__":
    sys.exit(main())
