"""Columns of a table that was pickled as a list of dicts, as a dict, or by pandas.

pandas keeps a table as blocks of columns of one type; the pickle says which columns a block
holds.  How it says so has changed: up to pandas 1.2 blocks are in the state of their manager,
from 1.3 on they are its arguments; text is in arrays of its own from 3.0 on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from evsim.data.readers.inert_pickle import Inert

TABLE_NAMES = frozenset(
    {
        "__builtin__.slice",  # so in protocols 0 to 2
        "_codecs.encode",
        "builtins.slice",
        "functools.partial",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.numeric._frombuffer",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.numeric._frombuffer",
        "numpy.dtype",
        "numpy.ndarray",
        "pandas.DataFrame",
        "pandas.Index",
        "pandas.NA",
        "pandas.RangeIndex",
        "pandas.StringDtype",
        "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
        "pandas._libs.internals._unpickle_block",
        "pandas._libs.missing.C_NA",
        "pandas.arrays.StringArray",
        "pandas.core.arrays.string_.StringArray",
        "pandas.core.arrays.string_.StringDtype",
        "pandas.core.frame.DataFrame",
        "pandas.core.indexes.base.Index",
        "pandas.core.indexes.base._new_Index",
        "pandas.core.indexes.numeric.Int64Index",
        "pandas.core.indexes.range.RangeIndex",
        "pandas.core.internals.blocks.new_block",
        "pandas.core.internals.managers.BlockManager",
    }
)


class TableError(ValueError):
    """What is wrong with a table, for a message that names the file."""


def columns(content: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """The named columns of a table read by ``read_inert`` with ``TABLE_NAMES`` allowed.

    All columns have the same length.  Raises ``TableError`` for columns that are missing or
    hold anything else than Python objects, and for content that is no table.
    """
    try:
        found = _all_columns(content, names)
    except TableError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise TableError("it is of no version of pandas or NumPy known here") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise TableError(f"it has no column {missing[0]!r}")
    lengths = {name: len(found[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise TableError(f"its columns differ in length, {lengths}")
    return {name: list(found[name]) for name in names}


def _all_columns(content: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(content, list):
        return _columns_of_rows(content, names)
    if isinstance(content, dict):
        return {
            name: _objects(column)[1] if isinstance(column, Inert) else column
            for name, column in content.items()
            if name in names and isinstance(column, (list, tuple, Inert))
        }
    if isinstance(content, Inert) and content.name.endswith(".DataFrame"):
        return dict(_columns_of_frame(content))
    raise TableError("it holds neither a list of samples nor a table")


def _columns_of_rows(rows: list[Any], names: Sequence[str]) -> dict[str, Any]:
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not all(name in row for name in names):
            raise TableError(f"its sample {number} is not a dict with {' and '.join(names)}")
    return {name: [row[name] for row in rows] for name in names}


# -- pandas -------------------------------------------------------------------------------


def _columns_of_frame(frame: Inert) -> Iterator[tuple[str, list[Any]]]:
    """Each column of Python objects with its name; columns of numbers are passed over."""
    manager = frame.state["_mgr"] if "_mgr" in frame.state else frame.state["_data"]
    if manager.arguments:
        blocks, axes = manager.arguments
        parts = [block.arguments[:2] for block in blocks]
    else:
        table = manager.state[3]["0.14.1"]
        axes = table["axes"]
        parts = [(block["values"], block["mgr_locs"]) for block in table["blocks"]]
    _, names = _objects(axes[0].arguments[1]["data"])
    for values, placement in parts:
        if not _holds_objects(values):
            continue
        shape, entries = _objects(values)
        rows = int(shape[-1])
        for place, column in enumerate(_numbers(placement)):
            name = names[column]
            if isinstance(name, str):
                yield name, entries[place * rows : (place + 1) * rows]


def _holds_objects(array: Inert) -> bool:
    """Whether an array was built empty and then given a list of Python objects."""
    array = _without_type(array)
    return array.name.endswith("._reconstruct") and isinstance(array.state[-1], list)


def _objects(array: Inert) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and entries, row after row, of an array of Python objects."""
    if not _holds_objects(array):
        raise TableError("a column holds no Python objects")
    array = _without_type(array)
    shape, entries = array.state[-4], array.state[-1]
    return shape, entries


def _without_type(array: Inert) -> Inert:
    """The array in one of pandas' own, such as one of text, which has a type beside it."""
    return array.state[1] if array.name.endswith(".__pyx_unpickle_NDArrayBacked") else array


def _numbers(placement: Inert) -> Sequence[int]:
    """The numbers of columns, given as a slice or as an array of 64-bit integers."""
    if placement.name.endswith(".slice"):
        return range(*placement.arguments)
    packed = placement.state[-1] if placement.state else placement.arguments[0]
    return np.frombuffer(packed, "<i8").tolist()
