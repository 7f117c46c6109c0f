"""Columns of a table that was pickled as a list of dicts, as a dict, or by pandas.

pandas stores a table as blocks of columns of one type, and for each block the numbers of its
columns.  The format has changed: up to pandas 1.2 the blocks are the state of their manager, since
1.3 they are its arguments; since 3.0 text is in special arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from evsim.data.readers.pickle_records import Record

TABLE_NAMES = frozenset(
    {
        "__builtin__.slice",  # the name in protocols 0 to 2
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
    """A table cannot be used; the message says why, and the caller adds the name of the file."""


def columns(content: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """The named columns of a table read by ``read_records`` with ``TABLE_NAMES`` allowed.

    All columns have the same length.  Raises ``TableError`` for columns that are missing or
    contain anything other than Python objects, and for content that is not a table.
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
            name: _objects(column)[1] if isinstance(column, Record) else column
            for name, column in content.items()
            if name in names and isinstance(column, (list, tuple, Record))
        }
    if isinstance(content, Record) and content.name.endswith(".DataFrame"):
        return dict(_columns_of_frame(content))
    raise TableError("it holds neither a list of samples nor a table")


def _columns_of_rows(rows: list[Any], names: Sequence[str]) -> dict[str, Any]:
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not all(name in row for name in names):
            raise TableError(f"its sample {number} is not a dict with {' and '.join(names)}")
    return {name: [row[name] for row in rows] for name in names}


# -- pandas -------------------------------------------------------------------------------


def _columns_of_frame(frame: Record) -> Iterator[tuple[str, list[Any]]]:
    """Each column of Python objects with its name; columns of numbers are skipped."""
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


def _holds_objects(array: Record) -> bool:
    """Whether an array was created empty and then filled with a list of Python objects."""
    array = _without_type(array)
    return array.name.endswith("._reconstruct") and isinstance(array.state[-1], list)


def _objects(array: Record) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and entries, row after row, of an array of Python objects."""
    if not _holds_objects(array):
        raise TableError("a column holds no Python objects")
    array = _without_type(array)
    shape, entries = array.state[-4], array.state[-1]
    return shape, entries


def _without_type(array: Record) -> Record:
    """The NumPy array inside an array of pandas, such as one of text, which adds a type."""
    return array.state[1] if array.name.endswith(".__pyx_unpickle_NDArrayBacked") else array


def _numbers(placement: Record) -> Sequence[int]:
    """The numbers of columns, given as a slice or as an array of 64-bit integers."""
    if placement.name.endswith(".slice"):
        return range(*placement.arguments)
    packed = placement.state[-1] if placement.state else placement.arguments[0]
    numbers: list[int] = np.frombuffer(packed, "<i8").tolist()
    return numbers
