"""Builds an evsim network in NEST, unit by unit and synapse by synapse, and records its spikes.

NEST integrates ``tau_m dV/dt = -(V - E_L) + (tau_m / C_m) I`` with currents that decay with
``tau_syn_ex`` and ``tau_syn_in``.  With ``C_m = tau_m``, ``E_L = rest`` and both synaptic
time constants equal to ``tau_syn`` these are evsim's equations; evsim's V and I have the values of
NEST's in mV and pA.

NEST's delays are at least one step of its resolution, and its generators cannot spike at time 0.
So each population has its own clock: the clock of population i is i + 1 steps late, and the delay
to a later population is longer by the difference of the clocks.  Delays of 0 are thus possible
between layers, but not in loops.  The samples of a batch are separate copies of the network.

NEST's smallest unit of time, a tick, is 2^-14 ms.  So resolutions that are powers of two, and the
times of their steps, are exact.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import evsim

Model = Literal["iaf_psc_exp", "iaf_psc_exp_ps", "iaf_psc_exp_ps_lossless"]
Synapse = Literal["cont_delay_synapse", "static_synapse"]

ON_GRID: Model = "iaf_psc_exp"
PRECISE: Model = "iaf_psc_exp_ps"
LOSSLESS: Model = "iaf_psc_exp_ps_lossless"

INSTALL = "pip install nest-simulator"
TICKS_PER_MS = 2**14


def is_installed() -> bool:
    """Whether NEST can be imported."""
    return importlib.util.find_spec("nest") is not None


def loaded() -> Any:
    """The module nest, set to print only errors."""
    import nest

    nest.verbosity = nest.VerbosityLevel.ERROR
    return nest


def version() -> str:
    """NEST's version."""
    return str(loaded().__version__)


def power_of_two(resolution: float) -> str:
    """A resolution as text for a table."""
    power = round(math.log2(resolution))
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return "2" + str(power).translate(digits) if power else "1"


class NestStoppedError(RuntimeError):
    """NEST stopped during a simulation."""


class NestRefusedError(ValueError):
    """NEST does not accept a value, or cannot represent it."""


@dataclass(frozen=True)
class NestRun:
    """The spikes of all populations except inputs, and the CPU time in s of NEST's loop."""

    spikes: dict[str, evsim.SpikeTrains]
    seconds: float


@dataclass(frozen=True)
class Nest:
    """How NEST simulates a network, on one thread.

    Parameters
    ----------
    model : str
        Units of ``iaf_psc_exp_ps`` and ``iaf_psc_exp_ps_lossless`` spike at any time, units of
        ``iaf_psc_exp`` only at steps.
    resolution : float
        The step in ms, a multiple of 2^-14.
    synapse : str, optional
        ``cont_delay_synapse`` keeps delays as they are, ``static_synapse`` rounds them to steps.
        The default is the former; for ``iaf_psc_exp`` it is the latter.
    refractory : float, optional
        A refractory period in ms that replaces that of the network; at least one step.
    precise_inputs : bool, optional
        Whether inputs may spike between steps; by default they may if units of the model may.
    ticks_per_ms : int
        The number of NEST's ticks per millisecond.
    """

    model: Model = LOSSLESS
    resolution: float = 2.0**-4
    synapse: Synapse | None = None
    refractory: float | None = None
    precise_inputs: bool | None = None
    ticks_per_ms: int = TICKS_PER_MS

    def simulate(
        self,
        network: evsim.Network,
        inputs: Mapping[str, evsim.SpikeTrains],
        duration: float,
    ) -> NestRun:
        """Simulate a batch of trials of ``duration`` ms.

        Raises
        ------
        NestRefusedError
            For delays in loops that are shorter than a step, and for values NEST refuses.
        NestStoppedError
            If NEST stops before the end of the trial.
        """
        nest = loaded()
        nest.ResetKernel()
        nest.set(tics_per_ms=self.ticks_per_ms, resolution=self.resolution)
        batch = len(next(iter(inputs.values())))
        try:
            nodes = [self._nodes(nest, network, inputs, sample) for sample in range(batch)]
            self._connect(nest, network, nodes)
            recorder = nest.Create("spike_recorder", params={"time_in_steps": True})
            is_input = self._is_input(network)
            for copy in nodes:
                nest.Connect(nest.NodeCollection(np.sort(copy[~is_input])), recorder)
        except nest.NESTError as error:
            raise NestRefusedError(str(error)) from error
        steps = math.ceil(duration / self.resolution) + len(network.populations) + 2
        try:
            nest.Prepare()
            start = time.process_time()
            nest.Run(steps * self.resolution)
            seconds = time.process_time() - start
            nest.Cleanup()
        except nest.NESTError as error:
            raise NestStoppedError(str(error)) from error
        return NestRun(self._spikes(network, nodes, recorder.events, duration), seconds)

    def _nodes(
        self,
        nest: Any,
        network: evsim.Network,
        inputs: Mapping[str, evsim.SpikeTrains],
        sample: int,
    ) -> np.ndarray:
        """The NEST nodes of one sample's units, (units,), in the order of ``network.topology``."""
        made = []
        for index, population in enumerate(network.populations):
            if isinstance(population, evsim.Input):
                trains = inputs[population.name][sample]
                made.append(nest.Create("spike_generator", population.units))
                made[-1].set(self._generators(trains, self._clock(index)))
            else:
                made.append(nest.Create(self.model, population.units, self._neurons(population)))
        return np.concatenate([np.array(part.tolist()) for part in made])

    def _clock(self, index: int) -> float:
        """The lag of the clock of a population in ms."""
        return (index + 1) * self.resolution

    def _generators(self, trains: evsim.SpikeTrains, clock: float) -> list[dict[str, Any]]:
        precise = self.model != ON_GRID if self.precise_inputs is None else self.precise_inputs
        times = trains.times if precise else self._rounded(trains.times)
        return [
            {"precise_times": precise, "spike_times": times[trains.units == unit] + clock}
            for unit in range(trains.unit_count)
        ]

    def _rounded(self, times: np.ndarray) -> np.ndarray:
        return np.floor(times / self.resolution + 0.5) * self.resolution

    def _neurons(self, population: evsim.Population) -> dict[str, Any]:
        """The parameters of a population, with one value per unit."""
        if isinstance(population, evsim.LI):
            raise NestRefusedError(f"{population.name} has no threshold: NEST would not record it")

        if population.start is not None:
            raise NestRefusedError(f"{population.name} does not start at rest: its clock is late")

        def per_unit(value: Any) -> list[float]:
            return np.broadcast_to(value, population.units).tolist()

        refractory = population.refractory if self.refractory is None else self.refractory
        longest = 1e6  # ms; for units that spike at most once per trial
        return {
            "tau_m": per_unit(population.tau_mem),
            "C_m": per_unit(population.tau_mem),
            "tau_syn_ex": per_unit(population.tau_syn),
            "tau_syn_in": per_unit(population.tau_syn),
            "t_ref": per_unit(np.minimum(refractory, longest)),
            "V_th": per_unit(population.threshold),
            "E_L": per_unit(population.rest),
            "V_reset": per_unit(population.reset),
            "V_m": per_unit(population.rest),
        }

    def _connect(self, nest: Any, network: evsim.Network, nodes: list[np.ndarray]) -> None:
        topology = network.topology
        if not topology.source.size:
            return
        sizes = [population.units for population in network.populations]
        index = np.repeat(np.arange(len(sizes)), sizes)
        late = index[topology.target] - index[topology.source]
        delay = network.delay_per_synapse()
        precise = "static_synapse" if self.model == ON_GRID else "cont_delay_synapse"
        synapse = self.synapse or precise
        if synapse == "static_synapse":
            delay = self._rounded(delay)
        delay = delay + late * self.resolution
        if (delay < self.resolution).any():
            at = int(np.argmin(delay))
            raise NestRefusedError(
                f"a delay of {network.delay_per_synapse()[at]:g} ms in a loop: NEST's are at least "
                f"a step of {self.resolution:g} ms"
            )
        # Rounded down: NEST loses spikes that arrive earlier than its minimal delay allows.
        whole_steps = np.floor(delay / self.resolution) * self.resolution
        synapses = {
            "synapse_model": synapse,
            "weight": network.weight_per_synapse(),
            "delay": whole_steps,
        }
        for copy in nodes:
            nest.Connect(copy[topology.source], copy[topology.target], "one_to_one", synapses)
        if (whole_steps != delay).any():
            self._set_delays(nest, topology, nodes, delay)

    def _set_delays(
        self, nest: Any, topology: Any, nodes: list[np.ndarray], delay: np.ndarray
    ) -> None:
        """Set delays between steps, which NEST would round if they were given when connecting."""
        pairs = topology.source * topology.unit_count + topology.target
        if np.unique(pairs).size < pairs.size:
            raise NestRefusedError("two synapses join the same units: which delay is whose?")
        sources, targets = (
            np.concatenate([copy[end] for copy in nodes])
            for end in (topology.source, topology.target)
        )
        made = nest.GetConnections(synapse_model="cont_delay_synapse")
        order = np.lexsort((targets, sources))
        places = np.lexsort((np.array(list(made.targets())), np.array(list(made.sources()))))
        wanted = np.empty(order.size)
        wanted[places] = np.tile(delay, len(nodes))[order]
        made.delay = wanted.tolist()

    def _is_input(self, network: evsim.Network) -> np.ndarray:
        kinds = [isinstance(population, evsim.Input) for population in network.populations]
        return np.repeat(kinds, [population.units for population in network.populations])

    def _spikes(
        self,
        network: evsim.Network,
        nodes: list[np.ndarray],
        events: Mapping[str, np.ndarray],
        duration: float,
    ) -> dict[str, evsim.SpikeTrains]:
        """The recorded spikes within the trial, in the time of the trial."""
        units = network.topology.unit_count
        unit_of, sample_of = np.zeros((2, int(max(copy.max() for copy in nodes)) + 1), int)
        for sample, copy in enumerate(nodes):
            unit_of[copy], sample_of[copy] = np.arange(units), sample
        senders = np.asarray(events["senders"], int)
        unit, sample = unit_of[senders], sample_of[senders]
        found = {}
        first = network.topology.first_unit
        for index, population in enumerate(network.populations):
            if isinstance(population, evsim.Input):
                continue
            # Subtract whole steps first, so that only the last place of the offset is rounded.
            steps = events["times"] - (index + 1)
            times = steps * self.resolution - events["offsets"]
            chosen = (unit >= first[index]) & (unit < first[index + 1]) & (times <= duration)
            found[population.name] = evsim.SpikeTrains.from_events(
                times[chosen],
                unit[chosen] - first[index],
                sample[chosen],
                batch_size=len(nodes),
                unit_count=population.units,
            )
        return found
