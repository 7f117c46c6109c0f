"""A batch simulated on a GPU, as the host asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim_gpu.cuda.backward import CudaGradients, CudaSources, adjoints, pull_back
from evsim_gpu.cuda.batch import NONE, CudaBatch
from evsim_gpu.device import Activity, Emissions, GridInputs, GridSources, MeanForm, Pulled
from evsim_gpu.model.layout import GridConnection, GridLayout

if TYPE_CHECKING:
    from evsim_gpu.cuda.device import CudaDevice


@dataclass(frozen=True, eq=False, repr=False)
class ComponentSpikes(Brief):
    """Emissions of a component, sorted by sample, step and column."""

    sample: np.ndarray
    step: np.ndarray
    column: np.ndarray
    dropped: np.ndarray

    @classmethod
    def of(cls, emitted: np.ndarray, delivered: np.ndarray) -> ComponentSpikes:
        """From bits, each (batch, words, columns)."""
        sample, word, column = np.nonzero(emitted)
        fired, sent = (part[sample, word, column] for part in (emitted, delivered))
        octets = fired.astype("<u4").view(np.uint8).reshape(-1, 4)
        which, bit = np.nonzero(np.unpackbits(octets, axis=1, bitorder="little"))
        sample, column = sample[which], column[which]
        step = 32 * word[which] + bit
        order = np.lexsort((column, step, sample))
        dropped = (sent[which] >> bit.astype(np.uint32)) & 1 == 0
        return cls(sample[order], step[order], column[order], dropped[order])


@dataclass(frozen=True, eq=False, repr=False)
class CudaActivity(Brief, Activity):
    """A simulated batch."""

    device: CudaDevice
    layout: GridLayout
    inputs: GridInputs
    batch: CudaBatch
    _spikes: dict[int, ComponentSpikes] = field(default_factory=dict)

    @cached_property
    def overflow(self) -> tuple[int, int, int] | None:  # type: ignore[override]
        first = self.batch.overflow.get()[0]
        if first == NONE:
            return None
        sample, column = divmod(int(first), self.batch.network.unit_of.size)
        component = next(c for c in self.batch.network.components if column < c.first + c.columns)
        with self.device.current():
            states = self.batch.states(component.index, column - component.first, 1).get()
        finite = np.isfinite(states[sample, :, 0, 1])
        return sample, int(self.batch.network.unit_of[column]), int(np.argmin(finite))

    # -- spikes --------------------------------------------------------------------------

    def _spikes_of(self, component: int) -> ComponentSpikes:
        if component not in self._spikes:
            with self.device.current():
                bits = self.batch.emitted[component].get(), self.batch.delivered[component].get()
            self._spikes[component] = ComponentSpikes.of(*bits)
        return self._spikes[component]

    def _places(self, population: str) -> tuple[np.ndarray, np.ndarray]:
        """A population's emissions among those of its component, and in the latter's arrays."""
        component, first, last = self.layout.place(population)
        spikes = self._spikes_of(component)
        own = np.flatnonzero((first <= spikes.column) & (spikes.column < last))
        columns = self.layout.components[component].columns
        row = spikes.sample[own] * (self.layout.steps + 1) + spikes.step[own]
        return own, row * columns + spikes.column[own]

    def emissions(self, population: str) -> Emissions:
        component, first, _ = self.layout.place(population)
        spikes = self._spikes_of(component)
        own, places = self._places(population)
        with self.device.current():
            drive = self.batch.take(component, self.device.cupy.asarray(places)).get()
        offsets = np.zeros(self.inputs.batch + 1, np.int64)
        np.cumsum(np.bincount(spikes.sample[own], minlength=self.inputs.batch), out=offsets[1:])
        return Emissions(
            step=spikes.step[own].astype(np.int32),
            unit=(spikes.column[own] - first).astype(np.int32),
            drive=drive,
            dropped=spikes.dropped[own],
            offsets=offsets,
        )

    def counts(self, population: str) -> np.ndarray:
        component, first, last = self.layout.place(population)
        spikes, (own, _) = self._spikes_of(component), self._places(population)
        index = spikes.sample[own] * (last - first) + spikes.column[own] - first
        counts = np.bincount(index, minlength=self.inputs.batch * (last - first))
        return counts.reshape(self.inputs.batch, last - first)

    def arrivals(self) -> tuple[int, int, int]:
        within = after = 0
        for own in self.layout.connections:
            heard = self._heard(own)
            rows = np.repeat(np.arange(own.source_units), np.diff(own.row_start))
            in_time = own.delay <= self.layout.steps
            latest = self.layout.steps - own.delay[in_time]
            arrived = int(heard[rows[in_time], latest].sum())
            within += arrived
            after += int((heard[:, -1] * np.diff(own.row_start)).sum()) - arrived
        dropped = int((self._kept_inputs < 0).sum())
        for component in self.batch.emitted:
            dropped += int(self._spikes_of(component).dropped.sum())
        return within, after, dropped

    @cached_property
    def _kept_inputs(self) -> np.ndarray:
        with self.device.current():
            return self.batch.kept_inputs.get()

    def _heard(self, connection: GridConnection) -> np.ndarray:
        """How many spikes of each source unit its synapses got up to each step.

        (source units, steps + 2); the last column holds those after the end too.
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
        return counts.reshape(-1, width).cumsum(axis=1)

    # -- states and readouts ------------------------------------------------------------------

    def states(self, population: str) -> tuple[np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        with self.device.current():
            states = self.batch.states(component, first, last - first).get()
        return np.ascontiguousarray(states[..., 0]), np.ascontiguousarray(states[..., 1])

    def mean(self, population: str, form: MeanForm) -> np.ndarray:
        component, first, last = self.layout.place(population)
        with self.device.current():
            parts = self._form(form)
            return self.batch.mean(component, first, last - first, *parts).get()

    def _form(self, form: MeanForm) -> list[Any]:
        rows = np.concatenate([form.by_voltage, form.by_current])
        return [self._upload(part) for part in (form.f, form.g, rows)]

    def peak(self, population: str) -> tuple[np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        with self.device.current():
            values, at = self.batch.peak(component, first, last - first)
            return values.get(), at.get()

    # -- adjoints -----------------------------------------------------------------------------

    def pull_back(
        self, sources: GridSources, *, time_constants: bool, events: bool = True
    ) -> Pulled:
        """See ``Activity``; without ``events`` there are zeros for those of inputs."""
        with self.device.current():
            found = pull_back(
                self.batch,
                self._cuda_sources(sources),
                time_constants=time_constants,
                events=events,
            )
            by_event = found.events.get() if events else np.zeros(self.inputs.step.size)
            return Pulled(
                weight=self._by_synapse(found.weight),
                delay=self._by_synapse(found.delay),
                threshold=self._by_unit(found.threshold),
                tau_mem=self._by_unit(found.tau_mem),
                tau_syn=self._by_unit(found.tau_syn),
                events=by_event.astype(np.float64),
                limited=int(found.limited.get()[0]),
                grazing=self._grazing(found),
                activity=self,
                sources=sources,
            )

    def adjoints(self, pulled: Pulled, population: str) -> tuple[np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        with self.device.current():
            adjoint = adjoints(self.batch, self._cuda_sources(pulled.sources), component).get()
        own = adjoint[:, :, first:last]
        return np.ascontiguousarray(own[..., 0]), np.ascontiguousarray(own[..., 1])

    def _upload(self, host: np.ndarray, dtype: Any = None) -> Any:
        dtype = self.layout.precision if dtype is None else dtype
        return self.device.cupy.asarray(np.ascontiguousarray(host, dtype))

    def _cuda_sources(self, sources: GridSources) -> CudaSources:
        component, first, last = self.layout.place(sources.population)
        optional: dict[str, Any] = {}
        if sources.mean is not None:
            optional |= dict(zip(("f", "g", "form"), self._form(sources.mean), strict=True))
        if sources.slopes is not None:
            _, places = self._places(sources.population)
            optional["slope_places"] = self._upload(places, np.int64)
            optional["slopes"] = self._upload(sources.slopes)
        for name in ("cotangents", "phantom"):
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

    def _by_synapse(self, of_pairs: Any) -> np.ndarray:
        """Values of the topology's synapses, from those of all pairs."""
        return of_pairs.get().astype(np.float64)[self.batch.network.stored]

    def _by_unit(self, of_columns: Any) -> np.ndarray:
        values = np.zeros(self.layout.units.size)
        values[self.batch.network.unit_of] = of_columns.get()
        return values

    def _grazing(self, found: CudaGradients) -> tuple[int, int, int] | None:
        rank = int(found.grazing.get()[0])
        if rank == NONE:
            return None
        own, before_end = divmod(rank, self.layout.steps + 1)
        sample, unit = divmod(own, self.layout.units.size)
        return sample, unit, self.layout.steps - before_end
