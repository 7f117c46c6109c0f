"""The values of parameters: their checks, and the map from shared values to synapses.

A weight or delay is a dense array whose shape broadcasts to (post, pre), or a
``scipy.sparse.csr_array`` of that shape.  ``spread`` gives each synapse its value.  ``fold`` is the
transpose of ``spread``: it sums a quantity per synapse into the shape of the parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import is_sparse, real_array
from evsim.display.frames import data_frame

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_array

Parameter: TypeAlias = "NDArray[np.float64] | csr_array"
"""The values of a parameter; a csr_array for a sparse connection."""


class FrozenArrays:
    """A class whose arrays stay read-only when an object is pickled or copied."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for value in state.values():
            parts = (value.data, value.indices, value.indptr) if is_sparse(value) else (value,)
            for part in parts:
                if isinstance(part, np.ndarray):
                    part.setflags(write=False)


# -- checks -------------------------------------------------------------------------------


def real_numbers(values: object, name: str) -> np.ndarray:
    """A read-only float64 copy; TypeError if the values are not real numbers."""
    array = np.array(real_array(values, name), np.float64)
    array.setflags(write=False)
    return array


def per_connection(values: Any, name: str, shape: tuple[int, int]) -> Parameter:
    """A weight or delay, checked and read-only, of a connection of shape (post, pre)."""
    return _sparse(values, name, shape) if is_sparse(values) else _shared(values, name, shape)


def _shared(values: object, name: str, shape: tuple[int, int]) -> np.ndarray:
    array = real_numbers(values, name)
    post, pre = shape
    if array.shape not in ((), (post, pre), (1, pre), (post, 1), (1, 1)):
        raise ValueError(
            f"{name} has shape {array.shape}: with {post} target and {pre} source units it must "
            f"be (post, pre) = ({post}, {pre}), or shared as (1, {pre}), ({post}, 1) or ()"
        )
    finite = np.isfinite(array)
    if not finite.all():
        refuse(array, ~finite, name, "", "it must be finite")
    return array


def _sparse(values: Any, name: str, shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}: it must be (post, pre) = {shape}")
    entries = values.nnz
    matrix = csr_array(values, copy=True)
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise ValueError(f"{name} is not a valid sparse matrix: {error}") from error
    matrix.sum_duplicates()
    # The conversion from coo has summed duplicates; the formats besides these three hold none.
    if values.format in ("coo", "csr", "csc") and matrix.nnz != entries:
        raise ValueError(
            f"{name} stores {entries - matrix.nnz} entries more than once: a synapse has "
            "one weight and one delay; call sum_duplicates() if their sum is meant"
        )
    matrix = with_data(matrix, real_numbers(matrix.data, name))
    matrix.indices.setflags(write=False)
    matrix.indptr.setflags(write=False)
    refuse(matrix, ~np.isfinite(matrix.data), name, "", "it must be finite")
    return matrix


def check_delay(delay: Parameter, name: str) -> None:
    """Refuse negative delays."""
    negative = (delay.data if is_sparse(delay) else delay) < 0
    refuse(delay, negative, name, "ms", "delays must be >= 0")


def refuse(values: Parameter, wrong: np.ndarray, name: str, unit: str, rule: str) -> None:
    """Raise ValueError for the first wrong value, and name its index.

    ``wrong`` has the shape of the values, or shape (entries,) for a sparse matrix.
    """
    if not wrong.any():
        return
    first = int(np.argmax(wrong))
    if is_sparse(values):
        index = tuple(axis[first] for axis in sparse_entries(values))
        value = values.data[first]
    else:
        index = np.unravel_index(first, values.shape)
        value = values[index]
    place = f"[{', '.join(str(int(i)) for i in index)}]" if index else ""
    raise ValueError(f"{name}{place} = {value:g}{' ' + unit if unit else ''}: {rule}")


# -- between parameters and synapses ------------------------------------------------------


def spread(values: Parameter, weight: Parameter, shape: tuple[int, int]) -> np.ndarray:
    """The value of a parameter at each synapse of its connection, row by row, shape (synapses,).

    ``weight`` is the weight of the connection, which determines which synapses exist; ``shape`` is
    (post, pre).
    """
    if is_sparse(values):
        stored: np.ndarray = values.data
        return stored
    full: np.ndarray = values if values.shape == shape else np.broadcast_to(values, shape)
    if is_sparse(weight):
        rows, columns = sparse_entries(weight)
        entries: np.ndarray = full[rows, columns]
        return entries
    return full.ravel()


def fold(
    per_synapse: np.ndarray, values: Parameter, weight: Parameter, shape: tuple[int, int]
) -> Parameter:
    """Sum a quantity per synapse into the shape of ``values``: the transpose of ``spread``.

    If no synapses share a value, the result shares the memory of ``per_synapse``.
    """
    if is_sparse(values):
        return with_data(values, per_synapse)
    if is_sparse(weight):
        rows, columns = sparse_entries(weight)
        owner = np.broadcast_to(np.arange(values.size).reshape(values.shape), shape)
        sums = np.bincount(owner[rows, columns], weights=per_synapse, minlength=values.size)
        return sums.reshape(values.shape)
    full = per_synapse.reshape(shape)
    if values.shape == ():
        return np.asarray(full.sum())
    shared_axes = tuple(axis for axis in (0, 1) if values.shape[axis] == 1)
    return full.sum(axis=shared_axes, keepdims=True) if shared_axes else full


# -- the numbers of a parameter -----------------------------------------------------------


def numbers(value: Parameter) -> np.ndarray:
    """The numbers of a parameter or a gradient: the array, or its stored entries if sparse."""
    flat: np.ndarray = value.data if is_sparse(value) else value
    return flat


def with_numbers(value: Parameter, array: np.ndarray) -> Parameter:
    """A parameter like ``value`` with other numbers: the inverse of ``numbers``."""
    return with_data(value, array) if is_sparse(value) else array


def added(one: Parameter, other: Parameter) -> Parameter:
    """The sum of two gradients with respect to one parameter; entries that are 0 stay stored."""
    return with_numbers(one, numbers(one) + numbers(other))


def norm(value: Parameter) -> float:
    """The Euclidean norm of the numbers of a parameter or a gradient."""
    # NumPy's norm would call BLAS, which would start its threads.
    with np.errstate(over="ignore", under="ignore"):
        return float(np.sqrt(np.square(numbers(value)).sum()))


def largest(value: Parameter) -> float | None:
    """The largest magnitude of the numbers of a parameter or a gradient; None if there is none."""
    magnitudes = np.abs(numbers(value))
    return float(magnitudes.max()) if magnitudes.size else None


def parameter_frame(
    parameters: Mapping[str, Parameter], shapes: Mapping[str, tuple[int, int]]
) -> DataFrame:
    """Parameters as a data frame with a row for each number that they have.

    ``shapes`` has the numbers of target and source units, (post, pre), of each connection.  See
    ``Network.to_frame`` for the columns.
    """
    tables = []
    for name, value in parameters.items():
        owner, kind = name.rsplit(".", 1)
        places = _places(value, shapes.get(owner))
        size = numbers(value).size
        columns = {"parameter": np.full(size, name, object), "kind": np.full(size, kind, object)}
        tables.append(columns | places | {"value": np.ravel(numbers(value))})
    return data_frame({key: _joined([table[key] for table in tables]) for key in tables[0]})


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    if not isinstance(parts[0], np.ma.MaskedArray):
        return np.concatenate(parts)
    mask = np.concatenate([np.ma.getmaskarray(part) for part in parts])
    return np.ma.MaskedArray(np.concatenate([part.data for part in parts]), mask=mask)


def _places(value: Parameter, shape: tuple[int, int] | None) -> dict[str, np.ma.MaskedArray]:
    """The units that each number belongs to; masked where units share it.

    ``shape`` is (post, pre) for a parameter of a connection, None for one of a population.
    """
    size = numbers(value).size
    found = {
        axis: np.ma.MaskedArray(np.zeros(size, np.int64), mask=True)
        for axis in ("post", "pre", "unit")
    }
    if is_sparse(value):
        found["post"][:], found["pre"][:] = sparse_entries(value)
        return found
    axes = ("unit",) if shape is None else ("post", "pre")
    full = value.shape if shape is None else shape
    for axis, indices in enumerate(np.indices(value.shape)):
        if value.shape[axis] == full[axis]:
            found[axes[axis]][:] = np.ravel(indices)
    return found


# -- sparse matrices ----------------------------------------------------------------------


def sparse_entries(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of each stored entry of a csr matrix, row by row."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows, matrix.indices


def same_entries(a: Any, b: Any) -> bool:
    """Whether two values are sparse matrices that store the same entries."""
    return (
        is_sparse(a)
        and is_sparse(b)
        and np.array_equal(a.indptr, b.indptr)
        and np.array_equal(a.indices, b.indices)
    )


def with_data(matrix: Any, data: np.ndarray) -> csr_array:
    """A csr matrix with the same entries and new values."""
    from scipy.sparse import csr_array

    return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
