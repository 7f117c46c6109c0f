"""evsim: exact, event-driven simulation and gradients of spiking networks with delays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evsim import losses, readouts
from evsim.dropout import Dropout
from evsim.initialisers import Constant, Gamma, Normal, Uniform
from evsim.network import LI, LIF, Connection, Input, Network
from evsim.regularisers import RateRegulariser
from evsim.silence import SilentNetworkWarning
from evsim.simulation import Gradient, Run, gradient, simulate
from evsim.spikes import SpikeTrains

if TYPE_CHECKING:
    from evsim import (
        augment,
        datasets,
        engines,
        metrics,
        plotting,
        schedules,
        study,
        tasks,
        testing,
    )
    from evsim.optim import SGD, Adam
    from evsim.schedules import EarlyStopping
    from evsim.training import Dataset, StopTraining, evaluate, fit

__version__ = "0.4.0"

__all__ = [
    "LI",
    "LIF",
    "SGD",
    "Adam",
    "Connection",
    "Constant",
    "Dataset",
    "Dropout",
    "EarlyStopping",
    "Gamma",
    "Gradient",
    "Input",
    "Network",
    "Normal",
    "RateRegulariser",
    "Run",
    "SilentNetworkWarning",
    "SpikeTrains",
    "StopTraining",
    "Uniform",
    "augment",
    "datasets",
    "engines",
    "evaluate",
    "fit",
    "gradient",
    "losses",
    "metrics",
    "optim",
    "plotting",
    "readouts",
    "schedules",
    "simulate",
    "storage",
    "study",
    "tasks",
    "testing",
]

_LAZY = {
    "SGD": "optim",
    "Adam": "optim",
    "Dataset": "training",
    "EarlyStopping": "schedules",
    "StopTraining": "training",
    "evaluate": "training",
    "fit": "training",
}
_LAZY_MODULES = (
    "augment",
    "datasets",
    "engines",
    "metrics",
    "optim",
    "plotting",
    "schedules",
    "storage",
    "study",
    "tasks",
    "testing",
    "training",
)


def __getattr__(name: str) -> Any:
    """Import what pulls in more than NumPy only when it is used."""
    from importlib import import_module

    if name in _LAZY:
        return getattr(import_module(f"evsim.{_LAZY[name]}"), name)
    if name in _LAZY_MODULES:
        return import_module(f"evsim.{name}")
    raise AttributeError(f"module 'evsim' has no attribute {name!r}")
