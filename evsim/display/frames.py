"""Tables as pandas data frames; pandas is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame


def data_frame(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> DataFrame:
    """A data frame with these columns.

    Masked arrays become pandas' nullable integers, with NA where they are masked.

    Raises ImportError without pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"to_frame() makes a pandas DataFrame ({error}): install pandas, pip install pandas"
        ) from error
    return pandas.DataFrame(
        {
            name: pandas.arrays.IntegerArray(column.filled(0), np.ma.getmaskarray(column))
            if isinstance(column, np.ma.MaskedArray)
            else column
            for name, column in columns.items()
        }
    )
