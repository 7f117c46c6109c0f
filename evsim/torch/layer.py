"""Layer: what a module runs, apart from the values of its parameters."""

from __future__ import annotations

import warnings
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
from evsim.engines.protocol import Engine
from evsim.network.network import Network
from evsim.network.parameters import Parameter, refuse, with_data
from evsim.readouts import Readout
from evsim.simulation.run import Run, simulate
from evsim.simulation.silence import warn_of_silent_layers
from evsim.torch.spike_tensors import PER_INPUT, GivenInput
from evsim.training.optimisers import Bounds, Projection
from evsim.training.trained_parameters import POSITIVE, numbers

_numbers = count()
_layers: WeakValueDictionary[str, Layer] = WeakValueDictionary()


class Layer:
    """A network, what is read of it and how it is run; it does not change.

    Operators of PyTorch take only tensors, numbers and strings, so they get the ``key`` of a layer
    and find the layer with ``with_key``.

    Parameters
    ----------
    network : Network
        The populations, the connections, and some values of parameters; see ``network_of``.
    readouts : sequence of Readout
    duration : float
        In ms.
    engine : Engine
    missing : str
        "infinite" or "end", see ``evsim.torch.Module``.
    projections : mapping from name of a learned parameter to sequence of Projection
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
        _ = network.topology  # it is computed now, and networks made by ``replace`` share it

    @staticmethod
    def with_key(key: str) -> Layer:
        """The layer of this key."""
        if key not in _layers:
            raise RuntimeError(
                "an evsim.torch.Module was deleted before the backward pass through it: keep it "
                "until then"
            )
        return _layers[key]

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Layer, (
            self.network, self.readouts, self.duration, self.engine, self.missing,
            self.projections,
        )  # fmt: skip

    # -- the network ------------------------------------------------------------------------

    def network_of(self, tensors: Sequence[Tensor]) -> Network:
        """The network with the values in these tensors, in the order of its parameters."""
        changed = {}
        for (name, before), tensor in zip(self.network.parameters.items(), tensors, strict=True):
            value = _as_parameter(self.network, name, tensor)
            if not np.array_equal(numbers(value), numbers(before)):
                changed[name] = value
        return self.network.replace(changed)

    def _check_values(self, tensors: Sequence[Tensor]) -> None:
        """Refuse learned values outside their bounds, where an optimiser's step has taken them."""
        for name, tensor in zip(self.network.parameters, tensors, strict=True):
            if name not in self.projections:
                continue
            value = _as_parameter(self.network, name, tensor)
            array, unit = numbers(value), _unit(name)
            for projection in self.projections[name]:
                if isinstance(projection, Bounds):
                    low, high = (
                        _rounded(b, tensor.dtype) for b in (projection.low, projection.high)
                    )
                    outside = (array < low) | (array > high)
                    rule = (
                        f"it lies outside its bounds [{projection.low:g}, {projection.high:g}]: "
                        "call module.keep_in_bounds(optimizer) once, or module.project_() after "
                        "each optimizer.step()"
                    )
                    refuse(value, outside, name, unit, rule)
            kind = name.rsplit(".", 1)[1]
            if kind in POSITIVE:
                rule = (
                    "it must stay > 0: give it bounds within which to learn, such as "
                    f"projections={{{kind!r}: {POSITIVE[kind]}}}, and call "
                    "module.keep_in_bounds(optimizer) once"
                )
                refuse(value, ~(array > 0), name, unit, rule)

    # -- runs -------------------------------------------------------------------------------

    def run(self, parameters: Sequence[Tensor], spikes: Sequence[Tensor]) -> Simulated:
        """Simulate a batch and read it."""
        self._warn_of_rounding(parameters)
        self._check_values(parameters)
        network = self.network_of(parameters)
        inputs = {
            population.name: GivenInput.of(
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
        warnings.warn(
            f"evsim computes in float64: parameters, values and gradients in {rounded[0]} are "
            "converted, which rounds them and saves no time",
            UserWarning,
            stacklevel=2,
        )


@dataclass(frozen=True, eq=False)
class Simulated:
    """A run of a layer, its inputs, and the values of its readouts, infinite where missing."""

    layer: Layer
    run: Run
    inputs: Mapping[str, GivenInput]
    values: tuple[NDArray[np.float64], ...]

    @property
    def results(self) -> tuple[NDArray[np.float64], ...]:
        """The values as the module returns them."""
        if self.layer.missing == "infinite":
            return self.values
        return tuple(np.where(v == np.inf, self.layer.duration, v) for v in self.values)

    def pull_back(
        self, cotangents: Sequence[NDArray[np.float64]], needed: Sequence[bool]
    ) -> list[NDArray[np.float64]]:
        """The gradients that are needed: first of parameters, then of input times.

        ``needed`` has an entry for each parameter, and for each tensor of the inputs.
        """
        network = self.run.network
        names = [name for name, asked in zip(network.parameters, needed, strict=False) if asked]
        inputs = [
            name
            for place, name in enumerate(self.inputs)
            if needed[len(network.parameters) + PER_INPUT * place]
        ]
        warn_of_silent_layers(network, self.run.spike_counts)
        pulled = self.run.pull_back(self._finite(cotangents), wrt=names)
        by_event = pulled.input_times_by_name
        return [numbers(pulled.parameters[name]) for name in names] + [
            self.inputs[name].gradient(by_event[name]) for name in inputs
        ]

    def _finite(
        self, cotangents: Sequence[NDArray[np.float64]]
    ) -> dict[Readout, NDArray[np.float64]]:
        """The cotangents of each readout, apart from those that are 0; refuses NaN and infinity.

        With missing="infinite" the function of a missing spike has no derivative, whatever PyTorch
        computes for it, for example NaN for inf - inf.
        """
        found: dict[Readout, NDArray[np.float64]] = {}
        for readout, values, given in zip(
            self.layer.readouts, self.values, cotangents, strict=True
        ):
            cotangent = given
            if self.layer.missing == "infinite":
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
                found[readout] = cotangent
        return found or {self.layer.readouts[0]: np.zeros_like(self.values[0])}


# -- between tensors and parameters -----------------------------------------------------------


def _as_parameter(network: Network, name: str, tensor: Tensor) -> Parameter:
    """The value of a parameter, float64, for a tensor of its numbers."""
    array = tensor.detach().to("cpu", torch.float64).numpy()
    template = network.parameters[name]
    return with_data(template, array) if is_sparse(template) else array


def _rounded(bound: float, dtype: Any) -> float:
    """A bound as a tensor of this type stores it."""
    return bound if dtype == torch.float64 else float(torch.tensor(bound, dtype=dtype))


def _unit(name: str) -> str:
    return "ms" if name.endswith((".delay", ".tau_mem", ".tau_syn")) else ""
