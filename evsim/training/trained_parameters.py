"""Parameters in training: their optimisers, their bounds and the steps they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    check_is,
    check_number,
    is_sparse,
    real_array,
    shown,
)
from evsim.network.checks import kind_of, parameters_named
from evsim.network.network import Network
from evsim.network.parameters import Parameter, norm, numbers, sparse_entries
from evsim.network.populations import LIF
from evsim.training.optimisers import Bounds, Optimizer, Projection

POSITIVE = {"tau_mem": (3.0, 60.0), "tau_syn": (1.0, 15.0)}
"""Kinds of parameters that must be > 0, with reasonable bounds."""

# -- parameters in training ---------------------------------------------------------------


class TrainedParameter:
    """A parameter during training, with the state of its optimiser.

    ``holder`` is the value for ``Network.replace``.  ``values`` are its numbers and share its
    memory: the array itself, or the stored entries of a sparse parameter, whose structure does
    not change.
    """

    def __init__(
        self,
        name: str,
        value: Parameter,
        optimizer: Optimizer,
        projections: Sequence[Projection] = (),
    ) -> None:
        self.name = name
        self.optimizer = optimizer
        self.projections = tuple(projections)
        if is_sparse(value):
            self.holder = value.copy()
            self.values: np.ndarray = self.holder.data
        else:
            self.holder = self.values = np.array(value, np.float64)
        self.state = optimizer.start(self.values)

    @property
    def clips(self) -> bool:
        """Whether large gradients are scaled down."""
        return self.optimizer.clip < np.inf

    def step(self, gradient: np.ndarray, learning_rate: float) -> bool:
        """Make a step and apply the projections; return whether the gradient was scaled down.

        The gradient has the shape of the values.
        """
        optimizer = self.optimizer
        clipped = False
        if self.clips:
            length = norm(gradient)
            clipped = length > optimizer.clip
            if clipped:
                gradient = gradient * (optimizer.clip / length)
        if optimizer.weight_decay:
            self.values *= 1.0 - learning_rate * optimizer.weight_decay
        optimizer.step(self.values, gradient, self.state, learning_rate)
        self.project()
        return clipped

    def check(self, place: str) -> None:
        """Refuse impossible values; ``place`` is the epoch and batch for the message."""
        kind = kind_of(self.name)
        if kind not in POSITIVE or (self.values > 0).all():
            return
        wrong = np.ravel(~(self.values > 0))
        first = int(np.argmax(wrong))
        index = f"[{first}]" if self.values.ndim else ""
        raise ValueError(
            f"{place}: the step took {self.name}{index} to {np.ravel(self.values)[first]:g}, and "
            "it must stay > 0: give it bounds within which to learn, such as "
            f"projections={{{kind!r}: {POSITIVE[kind]}}}, or a smaller learning rate"
        )

    def project(self) -> None:
        """Apply the projections, and set momentum that points outwards to 0.

        If a projection has moved a value and the first moment would move it out again, that moment
        is set to 0.
        """
        for projection in self.projections:
            if isinstance(projection, Bounds):
                self._restrict(projection)
                continue
            projected = real_array(projection(self.values), f"the projection of {self.name}")
            if projected.shape != self.values.shape:
                raise ValueError(
                    f"the projection of {self.name} turned values of shape {self.values.shape} "
                    f"into {projected.shape}: it must keep their shape"
                )
            change = projected - self.values
            if not change.any():
                continue
            moment = self.state.get("first_moment")
            if moment is not None:
                outward = np.sign(moment) * np.sign(change) > 0
                np.copyto(moment, 0.0, where=outward)
            self.values[...] = projected

    def _restrict(self, bounds: Bounds) -> None:
        """The same for the projection onto bounds."""
        moment = self.state.get("first_moment")
        for is_outside, bound, points_outward in (
            (np.less, bounds.low, np.greater),
            (np.greater, bounds.high, np.less),
        ):
            outside = is_outside(self.values, bound)
            if outside.any():
                if moment is not None:
                    np.copyto(moment, 0.0, where=outside & points_outward(moment, 0.0))
                np.copyto(self.values, bound, where=outside)

    def lift(self, units: np.ndarray, amount: float) -> None:
        """Add an amount to the incoming weights of the units in a mask, shape (units,)."""
        if is_sparse(self.holder):
            chosen = units[sparse_entries(self.holder)[0]]
        else:
            chosen = units.reshape(self.values.shape) if self.values.ndim == 0 else units
        self.values[chosen] += amount
        self.project()


def renewed(network: Network, parameters: Sequence[TrainedParameter], place: str) -> Network:
    """The network with the values of its parameters in training.

    Raises ValueError if a threshold is no longer above the voltages that must be below it;
    ``place`` is the epoch and batch for the message.
    """
    try:
        return network.replace({p.name: p.holder for p in parameters})
    except ValueError as error:
        name = next((p.name for p in parameters if f" {p.name}" in f" {error}"), parameters[0].name)
        raise ValueError(
            f"{place}: the step led to {error}; give {name} bounds within which to learn, "
            f"projections={{{name!r}: (low, high)}}, or a smaller learning rate"
        ) from error


# -- which parameters are trained, and how ------------------------------------------------


def assign_optimizers(
    optimizers: Mapping[str, Optimizer | None], parameters: Mapping[str, Parameter]
) -> dict[str, Optimizer]:
    """The optimiser of each trained parameter, in the order of the network's parameters.

    Keys are kinds ("weight", "delay", "tau_mem", "threshold", "rest", ...) or full names
    ("input->hidden.delay"), which take precedence; None under a full name leaves that parameter
    out.

    Raises TypeError for values that are not optimisers, and ValueError for a key that matches no
    parameter or if nothing is left to train.
    """
    if not isinstance(optimizers, Mapping):
        raise TypeError(
            f"optimizers is of type {type(optimizers).__name__}: give a mapping such as "
            '{"weight": evsim.Adam(5e-3)}'
        )
    for key, optimizer in optimizers.items():
        parameters_named(key, parameters, "optimizers")
        if optimizer is not None:
            name, remedy = f"optimizers[{key!r}]", "give an optimiser such as evsim.Adam(5e-3)"
            check_is(optimizer, name, Optimizer, remedy)
    assigned = {}
    for name in parameters:
        optimizer = optimizers[name] if name in optimizers else optimizers.get(kind_of(name))
        if optimizer is not None:
            assigned[name] = optimizer
    if not assigned:
        raise ValueError(
            "optimizers leaves nothing to train: give an optimiser for a kind of parameter, "
            'such as {"weight": evsim.Adam(5e-3)}'
        )
    return assigned


_PROJECTIONS = 'give a mapping such as {"tau_mem": (3.0, 60.0)}'


def assign_projections(
    projections: Mapping[str, Projection | tuple[float, float]] | None,
    delay_max: float,
    trained: Mapping[str, Parameter],
) -> dict[str, tuple[Projection, ...]]:
    """The projections of each trained parameter, in the order in which they are applied.

    The first is the one given for the parameter's name, or else for its kind; then, for delays, the
    interval [0, delay_max] follows.

    Raises TypeError and ValueError for projections of parameters that are not trained, and for
    bounds outside which a parameter starts.
    """
    check_number(delay_max, "delay_max", "a time in ms")
    if not delay_max >= 0:
        raise ValueError(f"delay_max = {delay_max} ms: it must be >= 0")
    if delay_max < np.inf and not any(kind_of(name) == "delay" for name in trained):
        raise ValueError(
            f"delay_max = {delay_max:g} ms would have no effect, as no delay is trained: give "
            'the delays an optimiser, optimizers={"delay": evsim.Adam(0.1)}, or leave it out'
        )
    if projections is None:
        projections = {}
    check_is(projections, "projections", Mapping, _PROJECTIONS)
    given = {key: _as_projection(key, value) for key, value in projections.items()}
    for key in given:
        parameters_named(key, trained, "projections", "trained ")
    assigned = {}
    for name, value in trained.items():
        projection_given = given.get(name, given.get(kind_of(name)))
        chain: tuple[Projection, ...] = () if projection_given is None else (projection_given,)
        if kind_of(name) == "delay":
            chain = (*chain, Bounds(0.0, float(delay_max)))
        for projection in chain:
            if isinstance(projection, Bounds):
                _check_bounds(name, value, projection)
        assigned[name] = chain
    return assigned


def assign_lift(
    silent_lift: float | Mapping[str, float],
    network: Network,
    read: str,
    trained: Mapping[str, Any],
) -> dict[str, dict[str, float]]:
    """The amount that is added to each trained weight of silent units, by population.

    A single number applies to every LIF population except ``read``, which the loss reads.

    Raises TypeError and ValueError for populations that cannot be lifted: those that never spike,
    that have no trained incoming weights, or whose units share them.
    """
    if isinstance(silent_lift, Mapping):
        amounts = {name: _lift_amount(amount) for name, amount in silent_lift.items()}
    else:
        amount = _lift_amount(silent_lift)
        spiking = [p.name for p in network.populations if isinstance(p, LIF)]
        amounts = {name: amount for name in spiking if name != read}
        if amount and not amounts:
            raise ValueError(
                f"silent_lift = {amount:g} would have no effect: the network has no hidden LIF "
                "population; to lift the output, name it, silent_lift={'output': ...}"
            )
    amounts = {name: amount for name, amount in amounts.items() if amount}
    return {
        population: dict.fromkeys(_liftable(network, population, trained), amount)
        for population, amount in amounts.items()
    }


def _lift_amount(amount: Any) -> float:
    check_number(amount, "silent_lift", "a number, or one by population")
    if not 0 <= amount < np.inf:
        raise ValueError(f"silent_lift = {amount}: it must be finite and >= 0")
    return float(amount)


def _liftable(network: Network, population: str, trained: Mapping[str, Any]) -> list[str]:
    """The trained weights into a population."""
    if not isinstance(network.population(population), LIF):
        raise ValueError(f"silent_lift names {population!r}, whose units never spike")
    incoming = [f"{c.name}.weight" for c in network.connections if c.target == population]
    names = [name for name in incoming if name in trained]
    if not names:
        raise ValueError(
            f"silent_lift cannot lift {population!r}: none of its incoming weights is trained"
        )
    units = network.population(population).units
    for name in names:
        shape = network.parameters[name].shape
        if units > 1 and (not shape or shape[0] == 1):
            raise ValueError(
                f"silent_lift cannot lift single units of {population!r}: {name} has shape "
                f"{shape}, which its {units} units share; give it a row per unit, or no lift"
            )
    return names


def _as_projection(key: str, given: Any) -> Projection:
    if callable(given):
        function: Projection = given
        return function
    if isinstance(given, (tuple, list)) and len(given) == 2:
        for bound in given:
            check_number(bound, f"a bound in projections[{key!r}]")
        return Bounds(float(given[0]), float(given[1]))
    raise TypeError(
        f"projections[{key!r}] = {shown(given)}: give bounds (low, high), or a function from an "
        "array to an array of the same shape"
    )


def _check_bounds(name: str, value: Parameter, bounds: Bounds) -> None:
    if kind_of(name) in POSITIVE and bounds.low <= 0:
        raise ValueError(
            f"the bounds of {name} are [{bounds.low:g}, {bounds.high:g}]: it must stay > 0, so "
            "the lower one must be > 0"
        )
    values = numbers(value)
    outside = (values < bounds.low) | (values > bounds.high)
    if outside.any():
        found = values[np.unravel_index(int(np.argmax(outside)), values.shape)]
        raise ValueError(
            f"{name} starts at {found:g}, outside its bounds [{bounds.low:g}, {bounds.high:g}]: "
            "widen the bounds, or start within them"
        )
