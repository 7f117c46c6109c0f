"""Helpful messages for calls with wrong arguments.

``helpful`` decorates every public function and class.  It does not change a correct call.  For a
wrong one, such as ``Adam(lr=0.1)``, the error message says what the argument is called in evsim, or
which arguments there are.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from evsim.arguments.checks import nearest, shown

Target = TypeVar("Target", bound=Callable[..., Any])

# The names of arguments in other simulators and training libraries, by their names in evsim.
_OTHER_NAMES = {
    "units": "n size num n_units num_units n_neurons num_neurons neurons features out_features "
    "hidden_size num_hidden unit_count number",
    "unit_count": "units n_units num_units n_neurons size n",
    "tau_mem": "tau tau_m taum tau_membrane tau_mem_inv beta leak decay_mem tau_v time_constant",
    "tau_syn": "tau_s taus tau_synapse tau_synaptic tau_i tau_syn_inv alpha decay_syn",
    "threshold": "v_th vth v_thresh v_threshold thresh theta th spike_threshold v_thr",
    "reset": "v_reset vreset reset_voltage reset_potential v_r reset_val c",
    "rest": "v_rest vrest v_leak e_l el resting_potential rest_voltage u_rest",
    "start": "v_init v0 v_0 initial_voltage init_v v_start initial",
    "refractory": "t_ref tau_ref tref t_refrac refractory_period t_refractory refrac",
    "source": "pre src pre_synaptic presynaptic from_ origin",
    "target": "post dst dest destination post_synaptic postsynaptic to",
    "weight": "weights w g strength efficacy",
    "delay": "delays d latency",
    "standard_deviation": "std sigma scale sd stddev std_dev deviation",
    "mean": "mu loc average",
    "low": "min minimum a lower lo",
    "high": "max maximum b upper hi",
    "value": "val constant fill",
    "network": "net model snn module",
    "spikes": "inputs input x spike_trains spike_times stimulus stimuli input_spikes",
    "samples": "spikes events lists data",
    "duration": "t T time t_end t_stop t_max sim_time time_max runtime end trial num_steps n_steps "
    "timesteps time_steps",
    "engine": "device backend simulator solver",
    "device": "backend gpu",
    "labels": "targets target y classes truth y_true label",
    "loss": "criterion loss_fn loss_function objective cost",
    "wrt": "parameters params with_respect_to argnums names",
    "regularisers": "regularizers regulariser regularizer regularisation regularization",
    "lambda_limit": "clip max_lambda limit",
    "data": "dataset train training train_data x samples loader dataloader train_loader spikes",
    "validation": "val valid val_data validation_data test val_loader dev",
    "optimizers": "optimizer optimiser optimisers optim opt",
    "epochs": "num_epochs n_epochs max_epochs epoch iterations",
    "batch_size": "batch batchsize bs minibatch mini_batch_size n_batch samples_per_batch",
    "delay_max": "max_delay delay_limit",
    "projections": "bounds clamp constraints projection constraint limits",
    "silent_lift": "lift silent nudge",
    "augmentation": "augmentations augment transform transforms",
    "early_stopping": "patience early_stop stopping",
    "watch": "monitor metric",
    "callbacks": "callback hooks hook",
    "run_folder": "save_dir checkpoint_dir output_dir out_dir log_dir out folder path directory",
    "progress": "verbose pbar progress_bar tqdm quiet",
    "seed": "random_state rng random_seed generator",
    "learning_rate": "lr rate eta step_size alpha",
    "epsilon": "eps",
    "beta1": "beta b1",
    "decay": "gamma lr_decay",
    "schedule": "scheduler lr_scheduler schedules",
    "weight_decay": "l2 wd",
    "clip": "max_norm clip_norm grad_clip gradient_clip clipnorm max_grad_norm",
    "momentum": "beta",
    "factor": "gamma rate decay",
    "every": "step_size step period epochs",
    "watched": "monitor",
    "min_epochs": "warmup start_epoch start_from_epoch",
    "rates": "p rate prob probability dropout",
    "probability": "p prob rate",
    "count": "k n number",
    "times": "t time ts at",
    "dt": "time_step timestep step resolution h delta_t",
    "precision": "dtype",
    "threads": "num_threads n_threads n_jobs num_workers workers",
    "folds": "n_splits n_folds num_folds k splits",
    "population": "layer name group",
    "target_spikes": "target",
    "classes": "num_classes n_classes",
    "predictions": "y_pred preds predicted",
    "tolerance": "tol rtol atol",
    "readout": "read reads decoder loss criterion",
    "weighting": "weights kind",
    "path": "file filename name",
}

_WHY_NOT = {
    "dt": "evsim has no time step; for a grid give engine=evsim.engines.Grid(dt=...)",
    "reset_mechanism": "V is set to reset=... after a spike",
    "bias": "a constant current is rest=..., to which V decays; see docs/coming_from.md",
    "shuffle": "samples are drawn in an order that seed decides",
    "surrogate": "gradients are exact and need no surrogate",
    "spike_grad": "gradients are exact and need no surrogate",
    "method": "gradients are exact and need no surrogate",
    "betas": "give beta1=... and beta2=...",
}
"""Arguments of other programs that evsim does not have, and the reasons."""

_OF_SPIKING_UNITS = ("threshold", "refractory", "reset")


def helpful(target: Target) -> Target:
    """Decorate a function, or a class with its public methods; signatures stay as they are."""
    if not isinstance(target, type):
        decorated: Target = _helpful_function(target, target.__name__)
        return decorated
    for name, member in list(vars(target).items()):
        if name == "__init__" or (name == "__new__" and issubclass(target, tuple)):
            setattr(target, name, _helpful_function(member, target.__name__, target))
        elif name.startswith("_"):
            continue
        elif inspect.isfunction(member):
            setattr(target, name, _helpful_function(member, f"{target.__name__}.{name}"))
        elif isinstance(member, classmethod):
            inner = _helpful_function(member.__func__, f"{target.__name__}.{name}")
            setattr(target, name, classmethod(inner))
    return target


def _helpful_function(function: Any, name: str, owner: type | None = None) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            # The message names the subclass.
            called = name
            if owner is not None and args and not isinstance(args[0], type):
                called = type(args[0]).__name__
            refusal = _refusal(function, called, args, kwargs)
            if refusal is None:
                raise
        raise TypeError(refusal)

    return call


def _refusal(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """Why a call does not match the signature of a function; None if it does."""
    parameters = dict(inspect.signature(function).parameters)
    bound_first = name.partition(".")[2] or next(iter(parameters), "") in ("self", "cls", "_cls")
    if bound_first:  # the caller does not give self or cls
        parameters.pop(next(iter(parameters)))
        args = args[1:]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        key: p
        for key, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    for keyword in kwargs:
        if keyword not in named and not takes_any:
            return _unknown_keyword(name, keyword, tuple(named))
    in_order = [
        key
        for key, p in parameters.items()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(args) > len(in_order) and not any(
        p.kind is p.VAR_POSITIONAL for p in parameters.values()
    ):
        found = shown(args[len(in_order)])
        by_name = [key for key, p in named.items() if p.kind is p.KEYWORD_ONLY]
        rest = f"; by name it takes {', '.join(by_name)}" if by_name else ""
        takes = f"only {', '.join(in_order)}" if in_order else "no argument"
        return f"{name} has no place for {found}: it takes {takes} without a name{rest}"
    for key in in_order[: len(args)]:
        if key in kwargs:
            return f"{name} is given {key} twice, by its place and by its name: give it once"
    missing = [
        key for key, p in named.items() if p.default is p.empty and key not in kwargs
        and key not in in_order[: len(args)]
    ]  # fmt: skip
    if missing:
        them = "it" if len(missing) == 1 else "them"
        form = ", ".join(_form(p) for p in parameters.values())
        return f"{name} lacks {', '.join(missing)}: give {them}, {name}({form})"
    return None


def _form(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}=..."


def _unknown_keyword(name: str, keyword: str, known: tuple[str, ...]) -> str:
    start = f"{name} has no argument {keyword!r}"
    if name == "LI" and _name_here(keyword, _OF_SPIKING_UNITS) is not None:
        return f"{start}: LI units never spike; for units that do, use LIF"
    here = _name_here(keyword, known)
    if here is not None:
        told = " (a time constant in ms, not a factor)" if _is_a_factor(keyword, here) else ""
        return f"{start}: it is called {here!r}{told}"
    if keyword in _WHY_NOT:
        return f"{start}: {_WHY_NOT[keyword]}"
    if not known:
        return f"{start}: it takes none"
    return start + (nearest(keyword, known) or f"; it has {', '.join(known)}")


def _name_here(keyword: str, known: tuple[str, ...]) -> str | None:
    """The known argument that has this name in another program."""
    plain = keyword.lower()
    if plain in known:
        return plain
    return next((k for k in known if plain in _OTHER_NAMES.get(k, "").lower().split()), None)


def _is_a_factor(keyword: str, here: str) -> bool:
    factors = ("beta", "alpha", "leak", "decay_mem", "decay_syn", "tau_mem_inv", "tau_syn_inv")
    return here in ("tau_mem", "tau_syn") and keyword in factors
