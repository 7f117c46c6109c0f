"""evsim: exact, event-driven simulation and gradients of spiking networks with delays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evsim import losses, readouts, renamed_modules
from evsim.losses.regularisers import RateRegulariser
from evsim.network import (
    LI,
    LIF,
    Connection,
    Constant,
    Dropout,
    Gamma,
    Input,
    Network,
    Normal,
    SpikeTrains,
    Uniform,
)
from evsim.simulation import (
    Gradient,
    Run,
    SilentNetworkWarning,
    TimeUnitWarning,
    gradient,
    nearest_change,
    simulate,
)

if TYPE_CHECKING:
    from evsim import data as datasets
    from evsim import encoding, engines, metrics, nir, plotting, storage, study, tasks, testing
    from evsim.data import augment
    from evsim.data.dataset import Dataset
    from evsim.referee import compare
    from evsim.simulation.certificate import Certificate, certify
    from evsim.storage.run_folder import load
    from evsim.training import StopTraining, evaluate, fit, predict, schedules
    from evsim.training import optimisers as optim
    from evsim.training.advice.warning import TrainingWarning
    from evsim.training.optimisers import SGD, Adam
    from evsim.training.schedules import EarlyStopping

__version__ = "0.4.0"

__all__ = [
    "LI",
    "LIF",
    "SGD",
    "Adam",
    "Certificate",
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
    "TimeUnitWarning",
    "TrainingWarning",
    "Uniform",
    "augment",
    "certify",
    "compare",
    "datasets",
    "encoding",
    "engines",
    "evaluate",
    "fit",
    "gradient",
    "load",
    "losses",
    "metrics",
    "nearest_change",
    "nir",
    "optim",
    "plotting",
    "predict",
    "readouts",
    "schedules",
    "simulate",
    "storage",
    "study",
    "tasks",
    "testing",
]

_DEFINED_IN = {
    "SGD": "evsim.training.optimisers",
    "Adam": "evsim.training.optimisers",
    "Certificate": "evsim.simulation.certificate",
    "Dataset": "evsim.data.dataset",
    "EarlyStopping": "evsim.training.schedules",
    "StopTraining": "evsim.training",
    "TrainingWarning": "evsim.training.advice.warning",
    "certify": "evsim.simulation.certificate",
    "compare": "evsim.referee",
    "evaluate": "evsim.training",
    "fit": "evsim.training",
    "load": "evsim.storage",
    "predict": "evsim.training",
}
"""The modules of names that import more than NumPy; they are imported on first use."""

_MODULES = (
    "augment",
    "data",
    "datasets",
    "encoding",
    "engines",
    "jax",
    "metrics",
    "nir",
    "optim",
    "plotting",
    "referee",
    "schedules",
    "storage",
    "study",
    "tasks",
    "testing",
    "torch",
    "training",
)
"""The modules that are imported on first use."""

_NEEDS = {"jax": "jax", "torch": "torch"}
"""The modules that can only be imported where another package is installed."""

renamed_modules.install()


def __getattr__(name: str) -> Any:
    """Import a name that needs more than NumPy on its first use."""
    from importlib import import_module

    if name in _DEFINED_IN:
        return getattr(import_module(_DEFINED_IN[name]), name)
    if name in _MODULES:
        return import_module(f"evsim.{name}")
    raise AttributeError(f"module 'evsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    """All public names, for tab completion; nothing is imported.

    Modules whose package is missing are left out: ``help`` and ``inspect`` get every name here.
    """
    from importlib.util import find_spec

    missing = {module for module, package in _NEEDS.items() if find_spec(package) is None}
    special = (name for name in globals() if name.startswith("__"))
    return sorted({*__all__, *_MODULES, *special} - missing)
