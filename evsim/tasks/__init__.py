"""Experiments of the papers: data, network and hyperparameters, ready to train.

Each experiment is a module with the same names: ``Settings``, a frozen dataclass, and the
functions ``network(settings)``, ``data(settings)``, ``class_names(settings)``,
``loss(settings)``, ``optimizers(settings)``, ``train(settings, ...)``,
``evaluate(result, settings, ...)`` and ``pictures(result, settings, folder)``.
``Settings.grid_step`` is the time step, in ms, of the grid that the experiment was published with.

- ``sequence``: distinguish two spikes in one order from the same two in the other, with delays
  only.
- ``yin_yang``: classify points of the Yin-Yang figure, given as four spike times.
- ``mnist``: classify images of digits, each bright pixel given as one spike.
- ``shd``: classify spoken digits of two languages, given as spikes of a cochlea model.
- ``spoken_digits``: classify spoken digits of one language and six speakers.
- ``ssc``: classify spoken commands, given as spikes of a cochlea model.
- ``japanese_vowels``: tell speakers apart by the coefficients of the spectrum of their voices.
- ``braille``: read letters by touch, given as spikes of a robot's finger.
- ``sound_localisation``: tell where a sound comes from by the spike times of two ears.
- ``motion_detection``: tell the direction and the speed of a bar that passes over receptors.

``shd`` and ``spoken_digits`` also have ``cross_validate(settings, ...)`` over speakers.
``evsim.tasks.base`` defines what an experiment is and how it runs.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "braille",
    "japanese_vowels",
    "mnist",
    "motion_detection",
    "sequence",
    "shd",
    "sound_localisation",
    "spoken_digits",
    "ssc",
    "yin_yang",
]


def __getattr__(name: str) -> Any:
    """Import an experiment only when it is used."""
    from importlib import import_module

    if name in __all__:
        return import_module(f"evsim.tasks.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, for tab completion; nothing is imported."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
