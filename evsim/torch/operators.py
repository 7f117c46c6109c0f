"""simulate: a layer as a function of tensors that PyTorch can differentiate.

It consists of two operators, ``evsim::simulate`` and ``evsim::pull_back``, which ``torch.compile``
treats as opaque.  An operator is a function of tensors.  The run between the two contains more than
tensors, so the first operator returns a handle in addition to the values: a tensor whose memory
belongs to an array that refers to the run.  The run lives as long as the memory of its handle.
PyTorch may copy the handle, for example to move what a backward pass needs to a file.  Then the run
is lost and is simulated again.

PyTorch needs the operators when it traces a module, or runs it with fake tensors.  When it really
computes, the same functions are called without the operators around them, which saves time.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._ops import _len_torch_dispatch_stack_pre_dispatch

from evsim.torch.layer import Layer, Simulated
from evsim.torch.spike_tensors import PER_INPUT, Entry, as_tensors, batch_size_of

# -- runs -------------------------------------------------------------------------------------


class _Handle(np.ndarray[Any, Any]):
    """An array that contains the number of a run and refers to the run."""

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
    handle: Tensor, parameters: Sequence[Tensor], spikes: Sequence[Entry], layer: str
) -> Simulated:
    known = _runs.get(int(handle))
    return Layer.with_key(layer).run(parameters, spikes) if known is None else known.simulated


# -- operators --------------------------------------------------------------------------------

_library = torch.library.Library("evsim", "DEF")
_library.define(
    "simulate(Tensor[] parameters, Tensor[] spikes, str layer, ScalarType dtype, Device device)"
    " -> Tensor[]"
)
_library.define(
    "pull_back(Tensor handle, Tensor[] cotangents, Tensor[] parameters, Tensor[] spikes,"
    " str layer, bool[] needed) -> Tensor[]"
)


def _simulate(
    parameters: Sequence[Tensor],
    spikes: Sequence[Entry],
    layer: str,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    """The values of each readout of a layer, and the handle of the run."""
    simulated = Layer.with_key(layer).run(parameters, spikes)
    results = [_tensor(values, dtype, device) for values in simulated.results]
    return [*results, _handle_of(simulated)]


def _simulate_shapes(
    parameters: Sequence[Tensor],
    spikes: Sequence[Tensor],
    layer: str,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    """Tensors like the results of ``_simulate``, without a simulation."""
    found = Layer.with_key(layer)
    network, batch = found.network, batch_size_of(spikes[:PER_INPUT])
    shapes = [
        readout.shape(batch, network.population(readout.population_of(network)).units)
        for readout in found.readouts
    ]
    values = [torch.empty(shape, dtype=dtype, device=device) for shape in shapes]
    return [*values, torch.empty(1, dtype=torch.int64)]


def _pull_back(
    handle: Tensor,
    cotangents: Sequence[Tensor],
    parameters: Sequence[Tensor],
    spikes: Sequence[Entry],
    layer: str,
    needed: Sequence[bool],
) -> list[Tensor]:
    """The gradients with respect to the parameters and spikes that need them, in this order."""
    simulated = _run_of(handle, parameters, spikes, layer)
    arrays = [tensor.detach().to("cpu", torch.float64).numpy() for tensor in cotangents]
    wanted = _chosen([*parameters, *spikes], needed)
    return [
        _tensor(gradient, tensor.dtype, tensor.device)
        for gradient, tensor in zip(simulated.pull_back(arrays, needed), wanted, strict=True)
    ]


def _pull_back_shapes(
    handle: Tensor,
    cotangents: Sequence[Tensor],
    parameters: Sequence[Tensor],
    spikes: Sequence[Tensor],
    layer: str,
    needed: Sequence[bool],
) -> list[Tensor]:
    """Tensors like the results of ``_pull_back``."""
    wanted = _chosen([*parameters, *spikes], needed)
    return [torch.empty(like.shape, dtype=like.dtype, device=like.device) for like in wanted]


for _name, _function, _shapes in (
    ("simulate", _simulate, _simulate_shapes),
    ("pull_back", _pull_back, _pull_back_shapes),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"evsim::{_name}", _shapes, lib=_library)

_simulate_operator = torch.ops.evsim.simulate.default
_pull_back_operator = torch.ops.evsim.pull_back.default


def _computes(given: Sequence[Any]) -> bool:
    """Whether PyTorch really computes with these tensors, instead of tracing or faking them."""
    if torch.compiler.is_compiling():
        return False
    if torch._C._len_torch_dispatch_stack() or _len_torch_dispatch_stack_pre_dispatch():
        return False
    return not any(
        isinstance(one, Tensor) and (type(one) not in _WITH_NUMBERS or one.is_meta) for one in given
    )


_WITH_NUMBERS = (Tensor, torch.nn.Parameter)


def _chosen(entries: Sequence[Any], needed: Sequence[bool]) -> list[Tensor]:
    return [entry for entry, asked in zip(entries, needed, strict=True) if asked]


def _tensor(values: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The values in separate memory: what a run keeps must not change with a tensor."""
    return torch.from_numpy(np.array(values)).to(device, dtype)


# -- derivatives ------------------------------------------------------------------------------


def simulate(
    parameters: Sequence[Tensor],
    spikes: Sequence[Entry],
    layer: str,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """The values of each readout of the layer with this key.

    ``parameters`` are those that the layer learns, in its order.  ``spikes`` contains three entries
    for each input, see ``evsim.torch.spike_tensors``.
    """
    computes = _computes([*parameters, *spikes])
    results = _Simulation.apply(
        computes, len(parameters), layer, dtype, device, *parameters,
        *(spikes if computes else as_tensors(spikes)),
    )  # fmt: skip
    return tuple(results[:-1])


_NOT_MAPPED = (
    "evsim.torch cannot be mapped by torch.func.vmap: give all samples as one batch, Jacobians row "
    "by row"
)


class _NotMapped(torch.autograd.Function):
    """A function that torch.func.vmap cannot map."""

    @staticmethod
    def vmap(*_: Any) -> Any:
        raise NotImplementedError(_NOT_MAPPED)


class _Simulation(_NotMapped):
    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        computes, count, layer, dtype, device, *given = inputs
        run = _simulate if computes else _simulate_operator
        return tuple(run(given[:count], given[count:], layer, dtype, device))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, ctx.count, ctx.key, _, _, *given = inputs
        if not torch.compiler.is_compiling():  # else the compiled module keeps its layer
            ctx.layer = Layer.with_key(ctx.key)  # keeps it alive until the backward pass
        ctx.mark_non_differentiable(output[-1])
        ctx.others = [None if isinstance(one, Tensor) else one for one in given]
        ctx.save_for_backward(
            *(one if isinstance(one, Tensor) else None for one in given), output[-1]
        )

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        *saved, handle = ctx.saved_tensors
        given = [
            other if one is None else one for one, other in zip(saved, ctx.others, strict=True)
        ]
        needed = list(ctx.needs_input_grad[5:])
        # With create_graph=True, the following is itself differentiated, which must be refused.
        pull_back = _Adjoint.apply if torch.is_grad_enabled() else _Adjoint.forward
        found = iter(
            pull_back(len(given), ctx.count, ctx.key, needed, handle, *given, *cotangents[:-1])
        )
        return None, None, None, None, None, *(next(found) if asked else None for asked in needed)


# PyTorch binds the signature in every call; a short one that is already known saves time.
_Simulation.forward.__signature__ = inspect.signature(_Simulation.forward)  # type: ignore[attr-defined]


class _Adjoint(_NotMapped):
    @staticmethod
    def forward(
        given: int, count: int, layer: str, needed: list[bool], handle: Tensor, *others: Any
    ) -> tuple[Tensor, ...]:
        parameters, spikes, cotangents = others[:count], others[count:given], others[given:]
        if _computes(cotangents):
            # The vmap of is_grads_batched=True does not check whether the function can be mapped.
            if any(map(torch._C._functorch.is_legacy_batchedtensor, cotangents)):
                raise NotImplementedError(_NOT_MAPPED)
            found = _pull_back(handle, cotangents, parameters, spikes, layer, needed)
        else:
            found = _pull_back_operator(
                handle, cotangents, parameters, as_tensors(spikes), layer, needed
            )
        return tuple(found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(*_: Any) -> Any:
        raise NotImplementedError(
            "evsim.torch has first derivatives only, and this is a second one: leave out "
            "create_graph=True, and penalties on gradients"
        )
