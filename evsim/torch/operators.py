"""Two operators of PyTorch, ``evsim::simulate`` and ``evsim::pull_back``, which it does not trace.

An operator is a function of tensors.  The run between the two is more than tensors, so the first
operator returns a handle beside the values: a tensor whose memory belongs to an array that refers
to the run.  The run lives as long as the memory of its handle.  PyTorch may copy the handle, for
example to move what a backward pass needs to a file.  Then the run is gone and is simulated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evsim.torch.layer import Layer, Simulated
from evsim.torch.spike_tensors import batch_size_of

# -- runs -------------------------------------------------------------------------------------


class _Handle(np.ndarray[Any, Any]):
    """The number of a run in an array that refers to the run."""

    simulated: Simulated


_numbers = count()
_runs: WeakValueDictionary[int, _Handle] = WeakValueDictionary()


def _handle_of(simulated: Simulated) -> Tensor:
    number = next(_numbers)
    handle = np.array([number]).view(_Handle)
    handle.simulated = simulated
    _runs[number] = handle
    return torch.from_numpy(handle)


def _run_of(
    handle: Tensor, parameters: Sequence[Tensor], spikes: Sequence[Tensor], layer: str
) -> Simulated:
    known = _runs.get(int(handle))
    return Layer.with_key(layer).run(parameters, spikes) if known is None else known.simulated


# -- forward ----------------------------------------------------------------------------------


@torch.library.custom_op(
    "evsim::simulate",
    mutates_args=(),
    schema="(Tensor[] parameters, Tensor[] spikes, str layer, ScalarType dtype, Device device)"
    " -> Tensor[]",
)
def simulate(
    parameters: Sequence[Tensor],
    spikes: Sequence[Tensor],
    layer: str,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    """The values of each readout of a layer, and the handle of the run.

    ``parameters`` are those that the layer learns, in its order.  ``spikes`` are three tensors of
    each input, see ``evsim.torch.spike_tensors``.
    """
    simulated = Layer.with_key(layer).run(parameters, spikes)
    results = [_tensor(values, dtype, device) for values in simulated.results]
    return [*results, _handle_of(simulated)]


@simulate.register_fake
def _(
    parameters: Sequence[Tensor],
    spikes: Sequence[Tensor],
    layer: str,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    found = Layer.with_key(layer)
    network, batch = found.network, batch_size_of(spikes[:3])
    shapes = [
        readout.shape(batch, network.population(readout.population_of(network)).units)
        for readout in found.readouts
    ]
    values = [torch.empty(shape, dtype=dtype, device=device) for shape in shapes]
    return [*values, torch.empty(1, dtype=torch.int64)]


# -- backward ---------------------------------------------------------------------------------


@torch.library.custom_op(
    "evsim::pull_back",
    mutates_args=(),
    schema="(Tensor handle, Tensor[] cotangents, Tensor[] parameters, Tensor[] spikes, str layer,"
    " bool[] needed) -> Tensor[]",
)
def pull_back(
    handle: Tensor,
    cotangents: Sequence[Tensor],
    parameters: Sequence[Tensor],
    spikes: Sequence[Tensor],
    layer: str,
    needed: Sequence[bool],
) -> list[Tensor]:
    """The gradients with respect to those parameters and spikes that are needed, in this order."""
    simulated = _run_of(handle, parameters, spikes, layer)
    arrays = [tensor.detach().to("cpu", torch.float64).numpy() for tensor in cotangents]
    wanted = _chosen([*parameters, *spikes], needed)
    return [
        _tensor(gradient, tensor.dtype, tensor.device)
        for gradient, tensor in zip(simulated.pull_back(arrays, needed), wanted, strict=True)
    ]


@pull_back.register_fake
def _(
    handle: Tensor,
    cotangents: Sequence[Tensor],
    parameters: Sequence[Tensor],
    spikes: Sequence[Tensor],
    layer: str,
    needed: Sequence[bool],
) -> list[Tensor]:
    wanted = _chosen([*parameters, *spikes], needed)
    return [
        torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device) for tensor in wanted
    ]


def _chosen(tensors: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    return [tensor for tensor, asked in zip(tensors, needed, strict=True) if asked]


def _tensor(values: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


# -- derivatives ------------------------------------------------------------------------------


def _remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    parameters, spikes, key, _, _ = inputs
    ctx.save_for_backward(*parameters, *spikes, output[-1])
    ctx.parameter_count = len(parameters)
    ctx.needed = [tensor.requires_grad for tensor in (*parameters, *spikes)]
    ctx.key = key
    ctx.layer = Layer.with_key(key)  # it lives until the backward pass


def _backward(ctx: Any, cotangents: Sequence[Tensor]) -> tuple[Any, ...]:
    *given, handle = ctx.saved_tensors
    count = ctx.parameter_count
    found = iter(
        pull_back(handle, cotangents[:-1], given[:count], given[count:], ctx.key, ctx.needed)
    )
    gradients = [next(found) if asked else None for asked in ctx.needed]
    return gradients[:count], gradients[count:], None, None, None


def _refuse_second_derivative(*_: Any) -> None:
    raise NotImplementedError(
        "evsim.torch has first derivatives only, and this is a second one: leave out "
        "create_graph=True, and penalties on gradients"
    )


def _refuse_vmap(*_: Any) -> None:
    raise NotImplementedError(
        "evsim.torch cannot be mapped by torch.func.vmap: give all samples as one batch, "
        "Jacobians row by row"
    )


simulate.register_autograd(_backward, setup_context=_remember)
pull_back.register_autograd(_refuse_second_derivative, setup_context=lambda *_, **__: None)
simulate.register_vmap(_refuse_vmap)
pull_back.register_vmap(_refuse_vmap)
