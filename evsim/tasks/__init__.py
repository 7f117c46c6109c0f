"""Tasks of the papers: data, network and hyperparameters, ready to train.

Every task is a module with the same names in it: ``Settings``, a frozen dataclass, and the
functions ``network(settings)``, ``data(settings)``, ``loss(settings)``,
``optimizers(settings)``, ``train(settings, ...)``, ``evaluate(result, settings, ...)`` and
``pictures(result, settings, folder)``.

- ``sequence``: tell two spikes in one order from the same two in the other, by delays alone.
- ``yin_yang``: classify points of the Yin-Yang figure, given as four spike times.
"""

from __future__ import annotations

from typing import Any

__all__ = ["sequence", "yin_yang"]


def __getattr__(name: str) -> Any:
    """Import a task only when it is used."""
    from importlib import import_module

    if name in __all__:
        return import_module(f"evsim.tasks.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
