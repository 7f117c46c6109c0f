"""Earlier names of modules, under which they can still be imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

NEW_NAMES = {
    # The names under which evsim itself offers these modules.
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
    "evsim.datasets.cochlea": "evsim.data.readers.spoken_words",
    "evsim.datasets.fetching": "evsim.data.fetching",
    "evsim.datasets.files": "evsim.data.readers.files",
    "evsim.datasets.idx": "evsim.data.readers.images",
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
"""The present name of the module for each other name under which it can be imported."""


class RenamedModules:
    """Import finder for earlier names, which refer to the present module, not to a copy of it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The import specification of an earlier name; None for all other names."""
        return spec_from_loader(name, self) if name in NEW_NAMES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None, so that Python creates a module, which ``exec_module`` then replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Replace the module of the earlier name by that of the present name."""
        sys.modules[module.__name__] = import_module(NEW_NAMES[module.__name__])


def install() -> None:
    """Make Python look for an earlier name before it looks for files.

    Otherwise Python would find the file of ``evsim.augment.dilation`` in the folder of
    ``evsim.data.augment``, and load it as a second module.
    """
    if not any(isinstance(finder, RenamedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, RenamedModules())
