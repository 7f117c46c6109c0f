"""A network as the loops and kernels of the grid engine read it.

Times become steps, and the flow over one step becomes a few coefficients per unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evsim.display.short_repr import Brief
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim_gpu.model import coefficients
from evsim_gpu.model.components import (
    GridComponent,
    GridConnection,
    components_of,
    connections_of,
)
from evsim_gpu.model.precision import check_parameters
from evsim_gpu.model.synapse_values import Delays, SynapseValues, Weights
from evsim_gpu.model.time_grid import steps_in


@dataclass(frozen=True, eq=False, repr=False)
class GridLayout(Brief):
    """A network on a grid.

    Parameters
    ----------
    network : Network
    duration, dt : float
        The lengths of the trial and of a step, in ms.
    steps : int
        The number of steps in the trial.
    precision : type
        ``numpy.float32`` or ``numpy.float64``.
    units : records of ``unit_record``, shape (units of all populations,)
    drop_rate : float64, shape (units of all populations,)
        The probability that dropout drops a spike.
    components : tuple of GridComponent
    weights : Weights
    delays : Delays
        Those of all synapses, connection by connection as in ``connections``.
    """

    network: Network
    duration: float
    dt: float
    steps: int
    precision: type[np.floating]
    units: np.ndarray
    drop_rate: NDArray[np.float64]
    components: tuple[GridComponent, ...]
    weights: Weights
    delays: Delays

    @classmethod
    def of(
        cls,
        network: Network,
        duration: float,
        dt: float,
        precision: type[np.floating],
        dropout: Dropout | None = None,
    ) -> GridLayout:
        """The layout of a network; what it has in common with the previous one is reused.

        Raises ValueError if dt does not divide the duration, or if the precision cannot represent a
        parameter.
        """
        steps = steps_in(duration, dt)
        check_parameters(network, precision)
        components = components_of(network)
        values = SynapseValues.of(network, connections_of(components), dt, steps, precision)
        rates = np.zeros(network.topology.unit_count)
        return cls(
            network=network,
            duration=duration,
            dt=dt,
            steps=steps,
            precision=precision,
            units=coefficients.unit_coefficients(network, dt, steps, precision),
            drop_rate=rates if dropout is None else dropout.rate_per_unit(network),
            components=components,
            weights=values.weights,
            delays=values.delays,
        )

    @cached_property
    def connections(self) -> tuple[GridConnection, ...]:
        """All connections, component by component."""
        return connections_of(self.components)

    def place(self, population: str) -> tuple[int, int, int]:
        """The component, first column and end of the columns of a population (not an input)."""
        for index, candidate in enumerate(self.network.populations):
            if candidate.name != population:
                continue
            for component in self.components:
                if index in component.first_column:
                    first = component.first_column[index]
                    return component.index, first, first + candidate.units
        raise ValueError(f"{population!r} is no population with a voltage")

    @cached_property
    def time_constant_slopes(self) -> NDArray[np.floating]:
        """See ``evsim_gpu.model.coefficients.time_constant_slopes``."""
        return coefficients.time_constant_slopes(self.network, self.dt, self.precision)
