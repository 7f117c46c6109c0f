"""Module: a network as a torch.nn.Module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from evsim.arguments.checks import (
    check_choice,
    check_duration,
    check_is,
    listed,
    shown,
    unknown_name,
)
from evsim.arguments.keywords import helpful
from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.network.checks import check_network
from evsim.network.network import Network
from evsim.network.parameters import Parameter, numbers, same_entries
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import Readout
from evsim.readouts.voltage_trace import check_has_values
from evsim.torch.layer import Layer, as_parameter, as_tensor
from evsim.torch.operators import simulate
from evsim.torch.spike_tensors import input_entries
from evsim.training.optimisers import Projection
from evsim.training.trained_parameters import assign_projections

Missing = Literal["infinite", "end"]


@helpful
class Module(torch.nn.Module):
    """A network as a module of PyTorch, with exact gradients.

    It is called with the input spikes of a batch and returns the values of its readouts.  The
    spikes are SpikeTrains, or a tensor of spike times in ms of shape (batch, units) or (batch,
    units, spikes), infinite where there is no spike.  Such a tensor can have a gradient.  A network
    with several inputs takes a mapping from the name of each input to its spikes.  The values of
    a readout have its shape, such as (batch, units); several readouts return a tuple or a dict.

    A parameter "input->hidden.weight" is called ``input_to_hidden_weight`` here, and
    "hidden.tau_mem" is called ``hidden_tau_mem``.  Learned parameters are parameters of the module.
    The others keep their values in the network, in float64; ``state_dict`` contains both.  A sparse
    parameter is the tensor of its stored entries.

    Parameters
    ----------
    network : Network
        The populations, the connections, and the initial values of parameters.
    readout : Readout, or a sequence or a mapping of several
    duration : float
        The trial is [0, duration] ms.
    learn : sequence of str
        Which parameters are learned: kinds, such as "weight", "delay", "tau_mem" and "rest",
        or full names such as "hidden.tau_mem".
    engine : str or Engine
        As for ``evsim.simulate``.
    dtype : torch.dtype
        The type of the learned parameters and of the values, torch.float64 or torch.float32.
        evsim computes in float64 in both cases.
    missing : str
        How a missing spike is represented.  "infinite": its time is infinity and has no gradient.
        "end": its time is the duration, and its gradient is that of a phantom spike at the end
        of the trial (L section 4.1, where L is Nowotny, Turner and Knight, loss shaping with
        EventProp).
    projections : mapping, optional
        The bounds (low, high) of kinds of parameters or of single ones, or functions, as for
        ``evsim.fit``.  ``project_`` and ``keep_in_bounds`` apply them.
    delay_max : float
        The largest delay in ms.  Learned delays stay between 0 and this.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together; in a call, also for learned values outside their
        bounds.
    FloatingPointError
        In a backward pass, for a gradient of the values that is not finite.

    Warns
    -----
    SilentNetworkWarning
        In the same cases as ``evsim.gradient``.
    UserWarning
        At the first call with parameters in float32.
    """

    def __init__(
        self,
        network: Network,
        readout: Readout | Iterable[Readout] | Mapping[str, Readout],
        duration: float,
        learn: Iterable[str] = ("weight", "delay"),
        engine: str | Engine = "exact",
        dtype: Any = torch.float64,
        missing: Missing = "infinite",
        *,
        projections: Mapping[str, Projection | tuple[float, float]] | None = None,
        delay_max: float = np.inf,
    ) -> None:
        super().__init__()
        check_network(network)
        duration = check_duration(duration)
        readouts = _listed_readouts(readout)
        for one in readouts:
            one.population_of(network)
            one.check(duration)
        check_choice(missing, "missing", ("infinite", "end"))
        if dtype not in (torch.float64, torch.float32):
            raise TypeError(f"dtype = {shown(dtype)}: give torch.float64 or torch.float32")
        learned = _learned(learn, network)
        has_delay = any(name.endswith(".delay") for name in learned)
        if delay_max != np.inf and not has_delay:
            raise ValueError(
                f"delay_max = {shown(delay_max)} would have no effect, as learn names no delay: "
                'give learn=("weight", "delay"), or leave it out'
            )
        chains = assign_projections(projections, delay_max, learned)
        self._layer = Layer(network, readouts, duration, resolve(engine), missing, chains)
        self._readout_names = tuple(readout) if isinstance(readout, Mapping) else None
        self._has_one_readout = isinstance(readout, Readout)
        self._input_units = {population.name: population.units for population in network.inputs}
        self._keys = _keys_of(network)
        self.register_buffer("_like", torch.empty(0, dtype=dtype), persistent=False)
        for name, value in learned.items():
            parameter = torch.nn.Parameter(as_tensor(value).to(dtype))
            self.register_parameter(self._keys[name], parameter)

    def forward(
        self, spikes: SpikeTrains | Tensor | Mapping[str, SpikeTrains | Tensor]
    ) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
        """The values of the readouts for a batch of input spikes."""
        if _is_exporting():
            raise NotImplementedError(
                "evsim.torch.Module cannot be exported by torch.export, because its network is not "
                "part of the program: store module.state_dict(), or evsim.storage.save_network"
            )
        inputs = input_entries(self._input_units, spikes)
        parameters = self._tensors()
        devices = [
            entry.device for entry in inputs if isinstance(entry, Tensor) and entry.dim() > 1
        ]
        # If the parameters have no numbers ("meta"), neither have the values.
        device = devices[0] if devices and not self._like.is_meta else self._like.device
        values = simulate(parameters, inputs, self._layer.key, self._like.dtype, device)
        if self._has_one_readout:
            return values[0]
        if self._readout_names is None:
            return values
        return dict(zip(self._readout_names, values, strict=True))

    def _tensors(self) -> list[Tensor]:
        """The tensors of the learned parameters, in the order of the layer."""
        return [getattr(self, self._keys[name]) for name in self._layer.learned]

    # -- the network ------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """The network with the current values of the parameters."""
        return self._layer.network_of(self._tensors())

    def set_network(self, network: Network) -> None:
        """Take the values of all parameters from a network with the same structure.

        ``module.set_network(evsim.storage.load_network(path))`` restores what
        ``evsim.storage.save_network(path, module.network)`` has stored.

        Raises TypeError, and ValueError for a network with other parameters or shapes.
        """
        check_network(network)
        own = self._layer.network.parameters
        for name in (*own, *network.parameters):
            if name not in own or name not in network.parameters:
                raise ValueError(
                    f"the networks differ in {name}, which only one of them has: give a network "
                    "with the same populations and connections"
                )
            _check_same_form(name, own[name], network.parameters[name])
        state = {key: as_tensor(network.parameters[name]) for name, key in self._keys.items()}
        self.load_state_dict(state)

    def _fixed(self) -> dict[str, Parameter]:
        """The parameters that are not learned, by their names in the network."""
        layer = self._layer
        return {n: v for n, v in layer.network.parameters.items() if n not in layer.projections}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, value in self._fixed().items():
            destination[prefix + self._keys[name]] = as_tensor(value)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        others, values = dict(state_dict), {}
        for name, value in self._fixed().items():
            key = prefix + self._keys[name]
            if key not in others:
                missing_keys += [key] if strict else []
                continue
            tensor = others.pop(key)
            if tensor.shape != numbers(value).shape:
                error_msgs.append(
                    f"{key} has shape {tuple(tensor.shape)}, and {numbers(value).shape} in this "
                    "module"
                )
                continue
            values[name] = as_parameter(self._layer.network, name, tensor)
        self._layer = self._layer.with_network(self._layer.network.replace(values))
        super()._load_from_state_dict(
            others, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def parameters_of(self, *names: str) -> list[torch.nn.Parameter]:
        """The learned parameters of these kinds or full names, for the groups of an optimiser.

        For example ``torch.optim.Adam([{"params": module.parameters_of("weight"), "lr": 0.005},
        {"params": module.parameters_of("delay"), "lr": 0.1}])``, with the step of delays in ms.

        Raises ValueError for a name that matches nothing that is learned.
        """
        learned = self._layer.learned
        chosen = dict.fromkeys(
            name for given in names for name in _named(given, learned, "learned ")
        )
        return [getattr(self, self._keys[name]) for name in chosen]

    # -- bounds -----------------------------------------------------------------------------

    def project_(self) -> None:
        """Move learned parameters back into their bounds, after a step of an optimiser.

        Delays are >= 0 and at most ``delay_max``; ``projections`` gives the bounds of the others.
        """
        self._project({})

    def keep_in_bounds(self, optimizer: torch.optim.Optimizer) -> Any:
        """Move learned parameters back into their bounds after every step of this optimiser.

        Momentum of Adam or SGD that points beyond a bound is set to 0, as in ``evsim.fit``.
        Returns what ``optimizer.register_step_post_hook`` returns; its ``remove()`` ends this.

        Raises ValueError for an optimiser that holds no parameter of the module.
        """
        check_is(optimizer, "optimizer", torch.optim.Optimizer, "give an optimiser of torch.optim")
        own = {id(parameter) for parameter in self.parameters()}
        if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            raise ValueError(
                "optimizer holds no parameter of this module: build it from module.parameters(), "
                "or call keep_in_bounds of the module that it trains"
            )

        def after_step(stepped: torch.optim.Optimizer, *_: Any) -> None:
            self._project(stepped.state)

        return optimizer.register_step_post_hook(after_step)

    @torch.no_grad()
    def _project(self, state: Mapping[Any, Mapping[str, Any]]) -> None:
        """Apply the projections; ``state`` is the state of an optimiser for each parameter."""
        for name, chain in self._layer.projections.items():
            parameter = getattr(self, self._keys[name])
            for projection in chain:
                before = parameter.detach().to("cpu", torch.float64).numpy()
                projected = np.asarray(projection(before.copy()))
                if projected.shape != before.shape:
                    raise ValueError(
                        f"the projection of {name} turned values of shape {before.shape} into "
                        f"{projected.shape}: it must keep their shape"
                    )
                if np.array_equal(projected, before):
                    continue
                change = torch.tensor(projected - before).to(parameter)
                parameter.copy_(torch.tensor(projected))
                for moment in _MOMENTS & state.get(parameter, {}).keys():
                    _stop(state[parameter][moment], change)

    def extra_repr(self) -> str:
        """What ``repr`` shows: the populations, the readouts, and what is learned."""
        layer = self._layer
        sizes = " -> ".join(f"{p.name} {p.units}" for p in layer.network.populations)
        read = ", ".join(map(repr, layer.readouts))
        return f"{sizes}, {layer.duration:g} ms, {read}, learn {', '.join(layer.learned)}"


_is_exporting = getattr(torch.compiler, "is_exporting", bool)  # PyTorch 2.6 does not have it

_MOMENTS = {"exp_avg", "momentum_buffer"}
"""The moments of Adam, its variants and SGD; steps of torch.optim go in the opposite direction."""


def _stop(moment: Tensor, change: Tensor) -> None:
    """Set a moment to 0 where its step would undo the change made by a projection."""
    moment.masked_fill_(torch.sign(moment) * torch.sign(change) > 0, 0.0)


# -- names --------------------------------------------------------------------------------------


def _keys_of(network: Network) -> dict[str, str]:
    """The name in the module of each parameter of a network."""
    keys: dict[str, str] = {}
    for name in network.parameters:
        key = name.replace("->", "_to_").replace(".", "_")
        taken = next((other for other, used in keys.items() if used == key), None)
        if taken is not None:
            raise ValueError(
                f"{taken} and {name} would both be called {key}: give a connection another name"
            )
        keys[name] = key
    return keys


def _learned(learn: Iterable[str], network: Network) -> dict[str, Parameter]:
    """The parameters that are learned, in the order of the network."""
    given = listed(learn, "learn", 'give a list of kinds or names, ("weight", "delay")')
    chosen = {name for key in given for name in _named(key, network.parameters, "")}
    return {name: value for name, value in network.parameters.items() if name in chosen}


def _named(key: Any, names: Iterable[str], which: str) -> list[str]:
    """The parameters of this kind, or of this full name."""
    names = list(names)
    found = [name for name in names if key in (name, name.rsplit(".", 1)[1])]
    if not found:
        kinds = dict.fromkeys(name.rsplit(".", 1)[1] for name in names)
        raise ValueError(unknown_name(f"{which}parameter", key, [*kinds, *names]))
    return found


# -- checks -------------------------------------------------------------------------------------


def _listed_readouts(readout: Any) -> tuple[Readout, ...]:
    remedy = "give a readout such as evsim.readouts.Peak(), or several in a list or a mapping"
    given = readout.values() if isinstance(readout, Mapping) else readout
    readouts = (readout,) if isinstance(readout, Readout) else listed(given, "readout", remedy)
    for one in readouts:
        check_is(one, "readout", Readout, remedy)
        check_has_values(one)
    if not readouts:
        raise ValueError(f"readout = {shown(readout)} is empty: {remedy}")
    if len(set(readouts)) < len(readouts):
        raise ValueError(f"readout = {shown(readout)} has one readout twice: give it once")
    return readouts


def _check_same_form(name: str, own: Parameter, other: Parameter) -> None:
    same = numbers(own).shape == numbers(other).shape and type(own) is type(other)
    if not same or (not isinstance(own, np.ndarray) and not same_entries(own, other)):
        raise ValueError(
            f"{name} has other shapes or synapses in the two networks, {own.shape} here and "
            f"{other.shape} there: give a network with the same ones"
        )
