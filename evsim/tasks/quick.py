"""Quick forms: settings with which an experiment shows within two minutes that it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evsim.engines import Engine


@dataclass(frozen=True)
class QuickForm:
    """What ``evsim train TASK --quick`` sets, unless other values are given.

    An experiment has a quick form if its settings have the attribute ``quick_form``.  Its values
    are chosen with training samples only.

    Parameters
    ----------
    settings : mapping
        Settings of the experiment, by name.
    engine : mapping
        The name of the engine, "engine", and arguments of it: "dt" in ms and "precision".  By
        default the exact engine.
    """

    settings: Mapping[str, Any]
    engine: Mapping[str, Any] = field(default_factory=dict)

    def create_engine(self) -> Engine:
        """The engine of the quick form."""
        from evsim import engines

        arguments = {name: value for name, value in self.engine.items() if name != "engine"}
        engine: Any = engines.resolve(self.engine.get("engine", "exact"))
        chosen: Engine = replace(engine, **arguments)
        return chosen
