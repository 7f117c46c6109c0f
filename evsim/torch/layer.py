"""Layer: everything that a module needs to run, except the values that it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evsim.arguments.checks import is_sparse
from evsim.display.warning_place import warn_caller
from evsim.engines.protocol import Engine
from evsim.network.network import Network
from evsim.network.parameters import Parameter, numbers, refuse, with_data
from evsim.readouts import Readout, SilentPeak
from evsim.readouts.base import ReadoutCotangents
from evsim.readouts.silent_peak import is_at_end
from evsim.simulation.checks import check_time_constants
from evsim.simulation.input_times import TimesAsTrains
from evsim.simulation.run import Run, simulate
from evsim.simulation.silence import warn_of_silent_layers
from evsim.torch.spike_tensors import PER_INPUT, Entry, trains_of
from evsim.training.optimisers import Bounds, Projection
from evsim.training.trained_parameters import POSITIVE

_numbers = count()
_layers: WeakValueDictionary[str, Layer] = WeakValueDictionary()


class Layer:
    """A network, its readouts and how it is run; immutable.

    Operators of PyTorch take only tensors, numbers and strings, so they get the ``key`` of a layer
    and find the layer with ``with_key``.

    Parameters
    ----------
    network : Network
        The populations, the connections, and the values of parameters that are not learned.
    readouts : sequence of Readout
    duration : float
        In ms.
    engine : Engine
    missing : str
        "infinite" or "end", see ``evsim.torch.Module``.
    projections : mapping from name of each learned parameter to sequence of Projection
    """

    def __init__(
        self,
        network: Network,
        readouts: Sequence[Readout],
        duration: float,
        engine: Engine,
        missing: str,
        projections: Mapping[str, Sequence[Projection]],
    ) -> None:
        self.network = network
        self.readouts = tuple(readouts)
        self.duration = duration
        self.engine = engine
        self.missing = missing
        self.projections = dict(projections)
        self.key = str(next(_numbers))
        self._has_warned_of_rounding = False
        _layers[self.key] = self
        _ = network.topology  # computed now, so that networks made by ``replace`` share it

    @staticmethod
    def with_key(key: str) -> Layer:
        """The layer with this key."""
        layer = _layers.get(key)
        if layer is None:
            raise RuntimeError(
                "an evsim.torch.Module was deleted before the backward pass through it: keep it "
                "until then"
            )
        return layer

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Layer, (
            self.network, self.readouts, self.duration, self.engine, self.missing,
            self.projections,
        )  # fmt: skip

    # -- the network ------------------------------------------------------------------------

    @property
    def pulled(self) -> set[str]:
        """The populations whose silent units losses can pull towards their threshold."""
        peaks = [readout for readout in self.readouts if isinstance(readout, SilentPeak)]
        return {readout.population_of(self.network) for readout in peaks}

    @property
    def learned(self) -> tuple[str, ...]:
        """The names of the parameters that are learned, in the order of their tensors."""
        return tuple(self.projections)

    def with_network(self, network: Network) -> Layer:
        """The same layer with another network of the same structure."""
        _, (_, *others) = self.__reduce__()
        return Layer(network, *others)

    def network_of(self, tensors: Sequence[Tensor]) -> Network:
        """The network with the values in these tensors, one for each learned parameter.

        Raises ValueError for values that a step of an optimiser has moved out of their bounds.
        """
        values = {}
        for (name, projections), tensor in zip(self.projections.items(), tensors, strict=True):
            value = as_parameter(self.network, name, tensor)
            _check_learned(name, value, projections, tensor.dtype)
            values[name] = value
        return self.network.replace(values)

    # -- runs -------------------------------------------------------------------------------

    def run(self, parameters: Sequence[Tensor], spikes: Sequence[Entry]) -> Simulated:
        """Simulate a batch and read it; ``spikes`` contains three entries for each input."""
        self._warn_of_rounding(parameters)
        network = self.network_of(parameters)
        inputs = {
            population.name: trains_of(
                population.name,
                population.units,
                spikes[PER_INPUT * place : PER_INPUT * (place + 1)],
            )
            for place, population in enumerate(network.inputs)
        }
        trains = {name: given.trains for name, given in inputs.items()}
        run = simulate(network, trains, self.duration, self.engine)
        return Simulated(self, run, inputs, tuple(run.read(readout) for readout in self.readouts))

    def _warn_of_rounding(self, parameters: Sequence[Tensor]) -> None:
        """Warn once that parameters with fewer digits than float64 do not make evsim faster."""
        rounded = [tensor.dtype for tensor in parameters if tensor.dtype != torch.float64]
        if not rounded or self._has_warned_of_rounding:
            return
        self._has_warned_of_rounding = True
        warn_caller(
            f"evsim computes in float64: parameters, values and gradients in {rounded[0]} are "
            "converted, which rounds them and saves no time",
            UserWarning,
        )


@dataclass(frozen=True, eq=False)
class Simulated:
    """A run of a layer, its inputs, and the values of its readouts, infinite where missing."""

    layer: Layer
    run: Run
    inputs: Mapping[str, TimesAsTrains]
    values: tuple[NDArray[np.float64], ...]

    @property
    def results(self) -> tuple[NDArray[np.float64], ...]:
        """The values as the module returns them."""
        layer = self.layer
        return tuple(
            np.where(v == np.inf, layer.duration, v) if is_at_end(layer.missing, readout) else v
            for readout, v in zip(layer.readouts, self.values, strict=True)
        )

    def pull_back(
        self, cotangents: Sequence[NDArray[np.float64]], needed: Sequence[bool]
    ) -> list[NDArray[np.float64]]:
        """The gradients that are needed: first of parameters, then of input times.

        ``needed`` has an entry for each learned parameter, and for each entry of the inputs.
        """
        network, learned = self.run.network, self.layer.learned
        names = [name for name, asked in zip(learned, needed, strict=False) if asked]
        inputs = [
            name
            for place, name in enumerate(self.inputs)
            if needed[len(learned) + PER_INPUT * place]
        ]
        warn_of_silent_layers(network, self.run.spike_counts, self.layer.pulled, read_silent_peak)
        check_time_constants(network, names)
        with np.errstate(under="ignore"):
            adjoint = self.run.pull_back_parts(self._parts(cotangents), names)
        return [numbers(adjoint.parameters[name]) for name in names] + [
            self.inputs[name].gradient(adjoint.input_times[name]) for name in inputs
        ]

    def _parts(self, cotangents: Sequence[NDArray[np.float64]]) -> list[ReadoutCotangents]:
        """The cotangents of each readout, without those that are 0; refuses NaN and infinity.

        With missing="infinite", a function of a missing spike has no derivative, whatever PyTorch
        computes for it, for example NaN for inf - inf.
        """
        found = []
        for readout, values, given in zip(
            self.layer.readouts, self.values, cotangents, strict=True
        ):
            cotangent = given
            if not is_at_end(self.layer.missing, readout):
                cotangent = np.where(values == np.inf, 0.0, given)
            wrong = ~np.isfinite(cotangent)
            if wrong.any():
                index = tuple(int(i) for i in np.argwhere(wrong)[0])
                raise FloatingPointError(
                    f"the gradient that reaches {readout} at {index} is {cotangent[index]}, where "
                    f"its value is {values[index]:g}: the loss or a layer after the module has "
                    "computed it, from an infinite time of a missing spike if there is one; "
                    'missing="end" gives finite times'
                )
            if cotangent.any():
                found.append(ReadoutCotangents(readout, cotangent))
        return found or [ReadoutCotangents(self.layer.readouts[0], np.zeros_like(self.values[0]))]


def read_silent_peak(name: str) -> str:
    """The advice to read how far silent units of a population are from their threshold."""
    peak = f"evsim.readouts.SilentPeak(population={name!r})"
    return f"also read {peak} and add torch.relu(0.1 - peak).pow(2).sum() to the loss"


# -- parameters -------------------------------------------------------------------------------


def as_parameter(network: Network, name: str, tensor: Tensor) -> Parameter:
    """The value of a parameter, float64, from a tensor of its numbers."""
    array = tensor.detach().to("cpu", torch.float64).numpy()
    template = network.parameters[name]
    return with_data(template, array) if is_sparse(template) else array


def as_tensor(value: Parameter) -> Tensor:
    """The numbers of a parameter as a separate tensor, float64."""
    return torch.tensor(numbers(value))


def _check_learned(
    name: str, value: Parameter, projections: Sequence[Projection], dtype: torch.dtype
) -> None:
    """Refuse values outside their bounds, and signs that no network can have."""
    array = numbers(value)
    for projection in projections:
        if isinstance(projection, Bounds):
            low, high = (_rounded(bound, dtype) for bound in (projection.low, projection.high))
            if array.size and (array.min() < low or array.max() > high):
                rule = (
                    f"it lies outside its bounds [{projection.low:g}, {projection.high:g}]: call "
                    "module.keep_in_bounds(optimizer) once, or module.project_() after each "
                    "optimizer.step()"
                )
                refuse(value, (array < low) | (array > high), name, _unit(name), rule)
    kind = name.rsplit(".", 1)[1]
    if kind in POSITIVE and not (array > 0).all():
        rule = (
            "it must stay > 0: give it bounds within which to learn, such as "
            f"projections={{{kind!r}: {POSITIVE[kind]}}}, and call "
            "module.keep_in_bounds(optimizer) once"
        )
        refuse(value, ~(array > 0), name, _unit(name), rule)


def _rounded(bound: float, dtype: torch.dtype) -> float:
    """A bound, rounded as in a tensor of this type."""
    return bound if dtype == torch.float64 else float(torch.tensor(bound, dtype=dtype))


def _unit(name: str) -> str:
    return "ms" if name.endswith((".delay", ".tau_mem", ".tau_syn")) else ""
