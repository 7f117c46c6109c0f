"""evsim in JAX: a readout of a network as a function with exact gradients.

``reader(network, readout, duration)(parameters, spikes)`` works under ``jax.jit``, ``jax.grad`` and
``jax.vmap``.  The network is simulated on the processor, outside what JAX compiles, and
derivatives are those of ``run.pull_back``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_choice, check_duration, shown, unknown_name
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.network.checks import check_network, check_wrt
from evsim.network.network import Network
from evsim.network.parameters import Parameter, numbers, with_numbers
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import Readout
from evsim.readouts.silent_peak import is_at_end
from evsim.readouts.voltage_trace import check_has_values
from evsim.simulation.input_times import TimesAsTrains, padded_times, spikes_by_input
from evsim.simulation.run import Run, simulate

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise ImportError('evsim.jax needs JAX: pip install "evsim[jax]"') from error

__all__ = ["Reader", "padded_times", "reader"]

Missing = Literal["infinite", "end"]

_RUNS_KEPT = 4


@helpful
def reader(
    network: Network,
    readout: Readout,
    duration: float,
    wrt: Iterable[str] | None = ("weight", "delay"),
    *,
    engine: str | Engine = "exact",
    missing: Missing = "infinite",
) -> Reader:
    """A function ``values = read(parameters, spikes)`` for JAX.

    Parameters
    ----------
    network : Network
    readout : Readout
    duration : float
        The trial is [0, duration] ms.
    wrt : iterable of str, or None
        Which parameters the function takes: full names, or kinds such as "weight"; None means all.
        The others keep the values of ``network``.
    engine : str or Engine
    missing : {"infinite", "end"}
        What represents a missing spike in readouts of spike times.  "infinite": infinity, without
        gradient, whatever derivative JAX has computed for it.  "end": the end of the trial; a
        derivative creates a phantom spike there (L section 4.1: Nowotny, Turner, Knight).

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together.
    """
    return Reader(network, readout, duration, wrt, engine=engine, missing=missing)


@helpful
class Reader:
    """The function that ``reader`` returns, with the initial parameters.

    It is called with ``parameters``, a dict from the names of parameters to arrays, and ``spikes``.
    These are SpikeTrains, or an array of spike times in ms of shape (batch, units) or (batch,
    units, spikes) with infinity where there is no spike; for several inputs, a mapping from each
    name to one of these.  It returns the values of the readout, for example (batch, units).

    Spike trains are constants.  An array of times has a gradient, and may change from call to call
    under ``jax.jit`` without compiling again; ``padded_times`` makes one from spike trains.
    """

    def __init__(
        self,
        network: Network,
        readout: Readout,
        duration: float,
        wrt: Iterable[str] | None,
        *,
        engine: str | Engine,
        missing: Missing,
    ) -> None:
        check_network(network)
        if not isinstance(readout, Readout):
            raise TypeError(f"readout = {shown(readout)}: give one such as evsim.readouts.Peak()")
        check_has_values(readout)
        self.duration = check_duration(duration)
        self.units = network.population(readout.population_of(network)).units
        readout.check(self.duration)
        self.readout = readout
        self.names = check_wrt(network, wrt)
        self.engine = resolve(engine)
        check_choice(missing, "missing", ("infinite", "end"))
        self.missing = missing
        self._network = network
        self._runs = _RecentRuns()

    def __repr__(self) -> str:
        return f"Reader({self.readout} of {len(self.names)} parameters, {self.duration:g} ms)"

    @property
    def parameters(self) -> dict[str, jax.Array]:
        """The values of the parameters in the given network, as initial values.

        A sparse weight is the array of its stored entries.
        """
        values = self._network.parameters
        return {name: jnp.asarray(numbers(values[name])) for name in self.names}

    def network(self, parameters: Mapping[str, Any]) -> Network:
        """The network with these values of its parameters."""
        self._check_names(parameters)
        given = {name: np.asarray(parameters[name], np.float64) for name in self.names}
        return self._with_values(given)

    def __call__(self, parameters: Mapping[str, Any], spikes: Any) -> jax.Array:
        self._check_names(parameters)
        values = {name: jnp.asarray(parameters[name]) for name in self.names}
        for name, array in values.items():
            expected = numbers(self._network.parameters[name]).shape
            if array.shape != expected:
                raise ValueError(
                    f"parameters[{name!r}] has shape {array.shape}: it must have the shape of the "
                    f"network's parameter, {expected}"
                )
        trains, times = self._inputs(spikes)
        return _function(self, trains)(values, times)

    # -- arguments --------------------------------------------------------------------------

    def _check_names(self, parameters: Any) -> None:
        if not isinstance(parameters, Mapping):
            raise TypeError(
                f"parameters are of type {type(parameters).__name__}: give a dict from the name of "
                "each parameter to its values, as the attribute parameters has"
            )
        known = dict.fromkeys(self.names)
        for name in parameters:
            if name not in known:
                raise ValueError(unknown_name("parameter", name, known))
        for name in self.names:
            if name not in parameters:
                raise ValueError(f"the parameter {name!r} is missing: give all that wrt names")

    def _inputs(self, spikes: Any) -> tuple[dict[str, SpikeTrains], dict[str, Any]]:
        """The inputs that are given as spike trains, and those given as arrays of times."""
        units = {population.name: population.units for population in self._network.inputs}
        by_input = spikes_by_input(units, spikes)
        trains: dict[str, SpikeTrains] = {}
        times: dict[str, Any] = {}
        for name, count in units.items():
            given = by_input[name]
            if isinstance(given, SpikeTrains):
                trains[name] = given
                continue
            array = jnp.asarray(given)
            if not jnp.issubdtype(array.dtype, jnp.floating):
                raise TypeError(
                    f"spikes of {name!r} are an array of {array.dtype}: give spike times in ms as "
                    "floats, infinity where there is no spike"
                )
            if array.ndim not in (2, 3) or array.shape[1] != count:
                raise ValueError(
                    f"spikes of {name!r} have shape {array.shape}: give spike times in ms of shape "
                    f"(batch, units) or (batch, units, spikes) with {number_of(count, 'unit')}"
                )
            times[name] = array
        sizes = {len(of_input) for of_input in (*trains.values(), *times.values())}
        if len(sizes) > 1:
            raise ValueError(f"the inputs differ in their number of samples: {sorted(sizes)}")
        return trains, times

    def batch_size(self, trains: Mapping[str, SpikeTrains], times: Mapping[str, Any]) -> int:
        """The number of samples."""
        return len(next(iter((*trains.values(), *times.values()))))

    # -- on the host ------------------------------------------------------------------------

    def _with_values(self, values: Mapping[str, NDArray[np.float64]]) -> Network:
        templates = self._network.parameters
        changed: dict[str, Parameter] = {
            name: with_numbers(templates[name], np.asarray(array, np.float64))
            for name, array in values.items()
        }
        return self._network.replace(changed)

    def run(
        self,
        trains: Mapping[str, SpikeTrains],
        parameters: Mapping[str, Any],
        times: Mapping[str, Any],
    ) -> tuple[Run, dict[str, TimesAsTrains]]:
        """The run for some values, reused if it is among the most recent."""
        arrays = {
            kind: {name: np.asarray(array, np.float64) for name, array in given.items()}
            for kind, given in (("parameters", parameters), ("times", times))
        }
        key = (*(id(t) for t in trains.values()), *(
            (name, array.shape, array.tobytes())
            for given in arrays.values() for name, array in sorted(given.items())
        ))  # fmt: skip
        found = self._runs.get(key)
        if found is None:
            network = self._with_values(arrays["parameters"])
            given = {name: TimesAsTrains.of(name, a) for name, a in arrays["times"].items()}
            inputs = {**trains, **{name: one.trains for name, one in given.items()}}
            found = simulate(network, inputs, self.duration, self.engine), given
            self._runs.put(key, found)
        return found

    def read(
        self,
        trains: Mapping[str, SpikeTrains],
        parameters: Mapping[str, Any],
        times: Mapping[str, Any],
        dtype: Any,
    ) -> NDArray[Any]:
        """The values of the readout."""
        run, _ = self.run(trains, parameters, times)
        values = run.read(self.readout)
        if is_at_end(self.missing, self.readout):
            values = np.where(values == np.inf, self.duration, values)
        return values.astype(dtype)

    def pull_back(
        self,
        trains: Mapping[str, SpikeTrains],
        parameters: Mapping[str, Any],
        times: Mapping[str, Any],
        cotangents: Any,
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """The gradients with respect to the parameters and the arrays of times."""
        run, given = self.run(trains, parameters, times)
        array = np.asarray(cotangents, np.float64)
        if not is_at_end(self.missing, self.readout):
            array = np.where(run.read(self.readout) == np.inf, 0.0, array)
        pulled = run.pull_back(self.readout, array, wrt=self.names)
        by_parameter = {
            name: numbers(pulled.parameters[name]).astype(parameters[name].dtype)
            for name in self.names
        }
        by_event = pulled.input_times_by_name
        by_time = {
            name: one.gradient(by_event[name]).astype(times[name].dtype)
            for name, one in given.items()
        }
        return by_parameter, by_time


# -- for JAX ----------------------------------------------------------------------------------


def _function(read: Reader, trains: Mapping[str, SpikeTrains]) -> Any:
    """The function of (parameters, times) with its derivative; spike trains are constants."""

    def values(parameters: dict[str, Any], times: dict[str, Any]) -> Any:
        batch = read.batch_size(trains, times)
        dtype = jnp.result_type(float)  # float64 only if enabled in JAX
        shape = jax.ShapeDtypeStruct(read.readout.shape(batch, read.units), dtype)

        def call(parameters: dict[str, Any], times: dict[str, Any]) -> NDArray[Any]:
            return read.read(trains, parameters, times, shape.dtype)

        return jax.pure_callback(call, shape, parameters, times, vmap_method="sequential")

    def gradients(parameters: dict[str, Any], times: dict[str, Any], cotangents: Any) -> Any:
        shapes = jax.tree.map(
            lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), (parameters, times)
        )

        def call(parameters: dict[str, Any], times: dict[str, Any], cotangents: Any) -> Any:
            return read.pull_back(trains, parameters, times, cotangents)

        return jax.pure_callback(
            call, shapes, parameters, times, cotangents, vmap_method="sequential"
        )

    # The computation of a first derivative is differentiated only for a second derivative.
    once, gradients_once = _without_derivative(values), _without_derivative(gradients)
    function = jax.custom_vjp(values)
    function.defvjp(
        lambda parameters, times: (once(parameters, times), (parameters, times)),
        lambda given, cotangents: gradients_once(*given, cotangents),
    )
    return function


def _without_derivative(function: Any) -> Any:
    """A function whose derivative is refused."""
    last: Any = jax.custom_jvp(function)

    @last.defjvp
    def refuse(*_: Any) -> Any:
        raise NotImplementedError(
            "evsim.jax has first derivatives only, and this is a second one: leave out jax.hessian "
            "and gradients of gradients"
        )

    return last


class _RecentRuns:
    """The most recent runs by their arguments, so that a backward pass finds its run."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Any, tuple[Run, dict[str, TimesAsTrains]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> tuple[Run, dict[str, TimesAsTrains]] | None:
        """The run with this key, if it is among the most recent."""
        with self._lock:
            return self._runs.get(key)

    def put(self, key: Any, run: tuple[Run, dict[str, TimesAsTrains]]) -> None:
        """Keep a run in place of the oldest."""
        with self._lock:
            self._runs[key] = run
            while len(self._runs) > _RUNS_KEPT:
                self._runs.popitem(last=False)
