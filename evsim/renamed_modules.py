"""Modules that had another name in an earlier version can still be imported under it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

NEW_NAMES = {
    # What evsim.NAME offers, and has always been called so.
    "evsim.augment": "evsim.data.augment",
    "evsim.datasets": "evsim.data",
    "evsim.optim": "evsim.training.optimisers",
    "evsim.schedules": "evsim.training.schedules",
    # Names of version 0.4 and earlier.
    "evsim.augment.alignment": "evsim.data.augment.alignment",
    "evsim.augment.augmentation": "evsim.data.augment.base",
    "evsim.augment.blending": "evsim.data.augment.blending",
    "evsim.augment.channels": "evsim.data.augment.channels",
    "evsim.augment.delay_lines": "evsim.data.augment.delay_lines",
    "evsim.augment.dilation": "evsim.data.augment.dilation",
    "evsim.augment.thinning": "evsim.data.augment.thinning",
    "evsim.dataset": "evsim.training",
    "evsim.datasets.braille_files": "evsim.data.readers.braille",
    "evsim.datasets.catalogue": "evsim.data.published",
    "evsim.datasets.cochlea": "evsim.data.readers.hdf5_recordings",
    "evsim.datasets.fetching": "evsim.data.fetching",
    "evsim.datasets.files": "evsim.data.readers.files",
    "evsim.datasets.idx": "evsim.data.readers.idx",
    "evsim.datasets.splits": "evsim.data.splits",
    "evsim.dropout": "evsim.network.dropout",
    "evsim.engines.warming": "evsim.precompile",
    "evsim.exponential": "evsim.equations.exponential",
    "evsim.initialisers": "evsim.network.initialisers",
    "evsim.integration": "evsim.readouts.integration",
    "evsim.lif": "evsim.equations.lif",
    "evsim.records": "evsim.training.history",
    "evsim.regularisers": "evsim.losses.regularisers",
    "evsim.silence": "evsim.simulation.silence",
    "evsim.spikes": "evsim.network.spike_trains",
    "evsim.training_loop": "evsim.training",
}
"""The name of each module now, by the name under which it can be imported too."""


class RenamedModules:
    """Finds a module under an earlier name; it is the same module, not a copy."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How to import a module of that name; None if it is not an earlier name."""
        return spec_from_loader(name, self) if name in NEW_NAMES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make a module, which ``exec_module`` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the present name in place of one of the earlier name."""
        sys.modules[module.__name__] = import_module(NEW_NAMES[module.__name__])


def install() -> None:
    """Let Python look for earlier names first.

    Otherwise it would find the file of ``evsim.augment.dilation`` in the folder of
    ``evsim.data.augment``, and make a second module of it.
    """
    if not any(isinstance(finder, RenamedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, RenamedModules())
