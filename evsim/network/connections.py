"""Connection: weights and delays of the synapses from one population to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evsim.arguments.checks import (
    is_sparse,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.network.initialisers import Initialiser
from evsim.network.parameters import (
    FrozenArrays,
    check_delay,
    per_connection,
    same_entries,
)


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Connection(Brief, FrozenArrays):
    """Synapses from the units of a source population to the units of a target population.

    Parameters
    ----------
    source, target : str
        Names of populations; they may be the same.
    weight : array, scipy.sparse matrix or Initialiser
        How much a spike raises the current of its target.  Shape (post, pre), or (), (1, pre) or
        (post, 1) if synapses share values.  A sparse matrix has a synapse for each stored entry,
        including stored zeros.
    delay : array, scipy.sparse matrix or Initialiser
        The time from emission to arrival in ms, >= 0; same shapes.  If the weight is sparse, the
        delay is shared, with shape (), (1, pre) or (post, 1), or sparse with the same entries.
    name : str, optional
        The default is "source->target".  Two connections between the same populations need
        different names.
    """

    source: str
    target: str
    weight: Any
    delay: Any = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        for part in ("source", "target", "name"):
            if not isinstance(getattr(self, part), str):
                found = shown(getattr(self, part))
                raise TypeError(f"{part} = {found} of a connection: give a name")
        if not self.name:
            object.__setattr__(self, "name", f"{self.source}->{self.target}")
        if "." in self.name:
            raise ValueError(f"connection name {self.name!r}: '.' is kept for parameters")

    @property
    def is_sparse(self) -> bool:
        """Whether synapses exist only where the weight matrix stores an entry."""
        return is_sparse(self.weight)

    def resolved(self, post: int, pre: int, seed: int | None) -> Connection:
        """The same connection with values drawn from its initialisers, and all arrays checked."""
        given = {"weight": self.weight, "delay": self.delay}
        for kind, value in given.items():
            if isinstance(value, Initialiser):
                given[kind] = value.fill(f"{self.name}.{kind}", seed, post, pre)
        return self.with_values(given, post, pre)

    def with_values(self, values: Mapping[str, Any], post: int, pre: int) -> Connection:
        """The same connection with another weight or delay, or both, checked and read-only.

        What is not in ``values`` has already been checked.
        """
        weight, delay = (
            per_connection(values[kind], f"{self.name}.{kind}", (post, pre))
            if kind in values
            else getattr(self, kind)
            for kind in ("weight", "delay")
        )
        if "delay" in values:
            check_delay(delay, f"{self.name}.delay")
        if is_sparse(delay) and not is_sparse(weight):
            raise ValueError(
                f"{self.name}.delay is sparse while the weight is dense: make the weight sparse "
                "with the same entries, or give a dense delay"
            )
        if is_sparse(delay) and not same_entries(weight, delay):
            raise ValueError(
                f"{self.name}.delay is sparse and does not store the same entries as "
                f"{self.name}.weight: build it from the weight's indices and indptr"
            )
        unshared = not is_sparse(delay) and delay.shape == (post, pre) and min(post, pre) > 1
        if is_sparse(weight) and unshared:
            raise ValueError(
                f"{self.name}.delay is dense, shape {delay.shape}, while the weight is sparse: "
                "give a sparse delay with the entries of the weight, or a shared one of "
                f"shape (), (1, {pre}) or ({post}, 1)"
            )
        changed = object.__new__(type(self))  # the names need no checks again
        changed.__dict__.update(self.__dict__, weight=weight, delay=delay)
        return changed
