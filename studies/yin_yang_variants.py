"""Yin-Yang with one change at a time, for studies.

    cd studies
    evsim study yin_yang_sizes.toml --out ../runs/sizes
    evsim study yin_yang_factors.toml --out ../runs/factors

Each variant changes settings of the task ``evsim.tasks.yin_yang``; all others have the task's
defaults.  A run returns the test accuracy and the validation accuracy of the epoch that is best on
the validation samples.  Settings should be chosen by the latter.
"""

from __future__ import annotations

from typing import Any

from evsim.tasks import yin_yang

NOTHING = {"existence": 0.0}
"""Nothing is done about silent units; by default the loss Existence acts on them."""

LIFT = {"existence": 0.0, "silent_lift": 0.02}
"""The incoming weights of silent units grow by 0.02 after each epoch."""

SMALL_WEIGHTS = {"hidden_weight_mean": 0.5, "hidden_weight_deviation": 0.2}
"""Initial weights with which most hidden units are silent."""

VARIANTS: dict[str, dict[str, Any]] = {
    "weights only": {},
    "delays of inputs": {"delays": True, "output_delays": False},
    "all delays": {"delays": True},
    "weights only, alpha 0": {"alpha": 0.0},
    "delays of inputs, alpha 0": {"delays": True, "output_delays": False, "alpha": 0.0},
    "all delays, alpha 0.003": {"delays": True, "alpha": 0.003},
    "delays start at 0": {"delays": True, "initial_delay": 0.0},
    "nothing for silent units": {"delays": True, **NOTHING},
    "tau_syn 5 ms": {"delays": True, "tau_syn": 5.0},
    "tau_syn 5 ms, lift": {"delays": True, "tau_syn": 5.0, **LIFT},
    "tau_syn 5 ms, nothing": {"delays": True, "tau_syn": 5.0, **NOTHING},
    "small weights": {"delays": True, **SMALL_WEIGHTS},
    "small weights, lift": {"delays": True, **SMALL_WEIGHTS, **LIFT},
    "small weights, nothing": {"delays": True, **SMALL_WEIGHTS, **NOTHING},
    "squared error": {"delays": True, "loss": "time_invariant"},
    "tau0 0.1 ms": {"delays": True, "tau0": 0.1},
    "tau0 0.5 ms": {"delays": True, "tau0": 0.5},
    "tau0 1 ms": {"delays": True, "tau0": 1.0},
    "delay rate 0.03 ms": {"delays": True, "delay_rate": 0.03},
    "delay rate 0.1 ms": {"delays": True, "delay_rate": 0.1},
    "delay rate 1 ms": {"delays": True, "delay_rate": 1.0},
    "rates that do not fall": {"delays": True, "rate_decay": 1.0},
}


def train(settings: dict[str, Any], seed: int, folder: str) -> dict[str, float]:
    """Train one network and test it."""
    chosen = yin_yang.Settings(
        hidden=settings["hidden"], seed=seed, **VARIANTS[settings["variant"]]
    )
    result = yin_yang.train(chosen, run_folder=folder, resume=True, progress=False)
    if result.interrupted:
        raise KeyboardInterrupt
    best = result.history[result.best_epoch - 1]
    tested = yin_yang.evaluate(result, chosen)
    assert best.validation_accuracy is not None
    assert tested.accuracy is not None
    return {
        "accuracy": tested.accuracy,
        "validation_accuracy": best.validation_accuracy,
        "best_epoch": result.best_epoch,
        "silent_at_first": result.history[0].silent_units["hidden"],
        "silent_at_most": max(epoch.silent_units["hidden"] for epoch in result.history),
        "silent_at_last": result.history[-1].silent_units["hidden"],
    }
