"""A batch simulated on a GPU, as NumPy arrays on the host."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evsim.display.short_repr import Brief
from evsim_gpu.cuda.backward import CudaGradients, CudaSources, adjoints, pull_back
from evsim_gpu.cuda.batch import NOTHING_FOUND, CudaBatch
from evsim_gpu.cuda.gpu import Gpu
from evsim_gpu.device import Activity, Emissions, GridInputs, GridSources, MeanForm, Pulled
from evsim_gpu.model.components import GridConnection
from evsim_gpu.model.layout import GridLayout


@dataclass(frozen=True, eq=False, repr=False)
class ComponentSpikes(Brief):
    """Emissions of a component, sorted by sample, step and column, each (emissions,)."""

    sample: NDArray[np.int64]
    step: NDArray[np.int64]
    column: NDArray[np.int64]
    dropped: NDArray[np.bool_]

    @classmethod
    def of(cls, emitted: np.ndarray, delivered: np.ndarray) -> ComponentSpikes:
        """From emissions and delivered emissions as bits, each uint32, (batch, words, columns)."""
        sample, word, column = np.nonzero(emitted)
        fired, sent = (bits[sample, word, column] for bits in (emitted, delivered))
        octets = fired.astype("<u4").view(np.uint8).reshape(-1, 4)
        index, bit = np.nonzero(np.unpackbits(octets, axis=1, bitorder="little"))
        sample, column = sample[index], column[index]
        step = 32 * word[index] + bit
        order = np.lexsort((column, step, sample))
        dropped = (sent[index] >> bit.astype(np.uint32)) & 1 == 0
        return cls(sample[order], step[order], column[order], dropped[order])


@dataclass(frozen=True, eq=False, repr=False)
class CudaActivity(Brief, Activity):
    """A simulated batch, see ``Activity``."""

    gpu: Gpu
    layout: GridLayout
    inputs: GridInputs
    batch: CudaBatch
    _spikes: dict[int, ComponentSpikes] = field(default_factory=dict)

    @cached_property
    def overflow(self) -> tuple[int, int, int] | None:  # type: ignore[override]
        first = self.batch.overflow.get()[0]
        if first == NOTHING_FOUND:
            return None
        sample, column = divmod(int(first), self.batch.network.columns)
        components = self.batch.network.components
        component = next(c for c in components if column < c.first_column + c.columns)
        with self.gpu.current():
            states = self.batch.states(component.index, column - component.first_column, 1).get()
        finite = np.isfinite(states[sample, :, 0, 1])
        return sample, int(self.batch.network.unit_of_column[column]), int(np.argmin(finite))

    # -- spikes --------------------------------------------------------------------------

    def _spikes_of(self, component: int) -> ComponentSpikes:
        if component not in self._spikes:
            with self.gpu.current():
                bits = self.batch.emitted[component].get(), self.batch.delivered[component].get()
            self._spikes[component] = ComponentSpikes.of(*bits)
        return self._spikes[component]

    def _emissions_of(self, population: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The emissions of a population, each (emissions,).

        As indices into the emissions of its component, and as entries of the component's arrays.
        """
        component, first, last = self.layout.place(population)
        spikes = self._spikes_of(component)
        index = np.flatnonzero((first <= spikes.column) & (spikes.column < last))
        columns = self.layout.components[component].columns
        row = spikes.sample[index] * (self.layout.steps + 1) + spikes.step[index]
        return index, row * columns + spikes.column[index]

    def emissions(self, population: str) -> Emissions:
        component, first, _ = self.layout.place(population)
        spikes = self._spikes_of(component)
        index, entries = self._emissions_of(population)
        with self.gpu.current():
            excess = self.batch.threshold_excess(component, self.gpu.cupy.asarray(entries)).get()
        offsets = np.zeros(self.inputs.batch + 1, np.int64)
        np.cumsum(np.bincount(spikes.sample[index], minlength=self.inputs.batch), out=offsets[1:])
        return Emissions(
            step=spikes.step[index].astype(np.int32),
            unit=(spikes.column[index] - first).astype(np.int32),
            threshold_excess=excess,
            dropped=spikes.dropped[index],
            offsets=offsets,
        )

    def counts(self, population: str) -> np.ndarray:
        component, first, last = self.layout.place(population)
        spikes, (index, _) = self._spikes_of(component), self._emissions_of(population)
        unit = spikes.sample[index] * (last - first) + spikes.column[index] - first
        counts = np.bincount(unit, minlength=self.inputs.batch * (last - first))
        return counts.reshape(self.inputs.batch, last - first)

    def arrivals(self) -> tuple[int, int, int]:
        within = after = 0
        for connection in self.layout.connections:
            spikes = self._spikes_up_to_step(connection)
            synapses = np.diff(connection.row_start)
            source = np.repeat(np.arange(connection.source_units), synapses)
            delay = self.layout.delays.values[connection.place]
            in_time = delay <= self.layout.steps
            latest = self.layout.steps - delay[in_time]
            arrived = int(spikes[source[in_time], latest].sum())
            within += arrived
            after += int((spikes[:, -1] * synapses).sum()) - arrived
        dropped = int((self._kept_inputs < 0).sum())
        for component in self.batch.emitted:
            dropped += int(self._spikes_of(component).dropped.sum())
        return within, after, dropped

    @cached_property
    def _kept_inputs(self) -> NDArray[np.int64]:
        with self.gpu.current():
            kept = self.batch.kept_inputs.get()
        return np.asarray(kept, np.int64)

    def _spikes_up_to_step(self, connection: GridConnection) -> NDArray[np.int64]:
        """The number of delivered spikes of each source unit up to each step, over all samples.

        Shape (source units, steps + 2); the last column includes spikes after the end of the
        trial.
        """
        if connection.source_component < 0:
            unit = np.repeat(
                np.arange(self.inputs.start.size - 1) % self.layout.units.size,
                np.diff(self.inputs.start),
            )
            unit, step = unit - connection.source_first, self._kept_inputs
            kept = step >= 0
        else:
            spikes = self._spikes_of(connection.source_component)
            unit, step = spikes.column - connection.source_column, spikes.step
            kept = ~spikes.dropped
        kept &= (unit >= 0) & (unit < connection.source_units)
        width = self.layout.steps + 2
        size = connection.source_units * width
        counts = np.bincount(unit[kept] * width + step[kept], minlength=size)
        return np.cumsum(counts.reshape(-1, width), axis=1)

    # -- states and readouts --------------------------------------------------------------

    def states(self, population: str) -> tuple[np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        with self.gpu.current():
            states = self.batch.states(component, first, last - first).get()
        return np.ascontiguousarray(states[..., 0]), np.ascontiguousarray(states[..., 1])

    def mean(self, population: str, form: MeanForm) -> np.ndarray:
        component, first, last = self.layout.place(population)
        with self.gpu.current():
            values: np.ndarray = self.batch.mean(
                component, first, last - first, *self._form(form)
            ).get()
        return values

    def _form(self, form: MeanForm) -> tuple[Any, Any, Any]:
        """The weights f and g per step, and P, Q, R, U per unit, (4, units), on the device."""
        rows = np.concatenate([form.by_voltage, form.by_current])
        return self._upload(form.f), self._upload(form.g), self._upload(rows)

    def peak(self, population: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        with self.gpu.current():
            values, step, share = self.batch.peak(component, first, last - first)
            return values.get(), step.get(), share.get()

    # -- adjoints -----------------------------------------------------------------------------

    def pull_back(
        self, sources: GridSources, *, delays: Collection[str], time_constants: bool
    ) -> Pulled:
        with self.gpu.current():
            found = pull_back(
                self.batch,
                self._cuda_sources(sources),
                time_constants=time_constants,
                events=True,
            )
            weight = self._of_synapses(found.weight)
            return Pulled(
                weight=weight,
                delay=self._of_synapses(found.delay) if delays else np.zeros(weight.size),
                threshold=self._of_units(found.threshold),
                reset=self._of_units(found.reset),
                start=self._of_units(found.start),
                tau_mem=self._of_units(found.tau_mem),
                tau_syn=self._of_units(found.tau_syn),
                events=found.events.get().astype(np.float64),
                limited=int(found.limited.get()[0]),
                grazing=self._grazing(found),
                activity=self,
                sources=sources,
            )

    def adjoints(self, pulled: Pulled, population: str) -> tuple[np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        with self.gpu.current():
            adjoint = adjoints(self.batch, self._cuda_sources(pulled.sources), component).get()
        lambdas = adjoint[:, :, first:last]
        return np.ascontiguousarray(lambdas[..., 0]), np.ascontiguousarray(lambdas[..., 1])

    def _upload(self, host: np.ndarray, dtype: DTypeLike | None = None) -> Any:
        """An array copied to the device, in the engine's precision unless a type is given."""
        dtype = self.layout.precision if dtype is None else dtype
        return self.gpu.cupy.asarray(np.ascontiguousarray(host, dtype))

    def _cuda_sources(self, sources: GridSources) -> CudaSources:
        component, first, last = self.layout.place(sources.population)
        optional: dict[str, Any] = {}
        if sources.mean is not None:
            optional |= dict(zip(("f", "g", "form"), self._form(sources.mean), strict=True))
        if sources.slopes is not None:
            _, entries = self._emissions_of(sources.population)
            optional["emission_entries"] = self._upload(entries, np.int64)
            optional["spike_time_gradient"] = self._upload(sources.slopes)
        for name in ("cotangents", "peak_share", "phantom"):
            if getattr(sources, name) is not None:
                optional[name] = self._upload(getattr(sources, name))
        if sources.peak_step is not None:
            optional["peak_step"] = self._upload(sources.peak_step, np.int32)
        return CudaSources(
            component=component,
            first=first,
            width=last - first,
            rate_jump=self._upload(sources.rate_jump),
            moment_step=self._upload(sources.moment_step, np.int32),
            moment_start=self._upload(sources.moment_start, np.int64),
            moment_lambda_v=self._upload(sources.moment_lambda_v),
            moment_lambda_i=self._upload(sources.moment_lambda_i),
            limit=sources.limit,
            **optional,
        )

    def _of_synapses(self, dense: Any) -> NDArray[np.float64]:
        """The values of each connection's synapses row by row, from those of dense synapses."""
        values = dense.get().astype(np.float64)[self.batch.network.dense_index]
        slots = self.layout.network.topology.slots
        return np.concatenate([np.empty(0), *(values[own] for own in slots)])

    def _of_units(self, of_columns: Any) -> NDArray[np.float64]:
        """The values of the units of all populations, from those of columns."""
        values = np.zeros(self.layout.units.size)
        values[self.batch.network.unit_of_column] = of_columns.get()
        return values

    def _grazing(self, found: CudaGradients) -> tuple[int, int, int] | None:
        """Sample, unit and step of the first grazing emission, from its rank."""
        rank = int(found.grazing.get()[0])
        if rank == NOTHING_FOUND:
            return None
        unit_of_batch, before_end = divmod(rank, self.layout.steps + 1)
        sample, unit = divmod(unit_of_batch, self.layout.units.size)
        return sample, unit, self.layout.steps - before_end
