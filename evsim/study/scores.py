"""The scores of several runs, with their mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.arguments.checks import check_flag, check_is, listed, shown
from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Scores(Brief):
    """The scores of several runs.

    Parameters
    ----------
    names : tuple of str
        The folds or seeds of the finished runs.
    values : array, shape (runs,)
    interrupted : bool
        Whether Ctrl-C ended the last run, which then has no score here.
    """

    names: tuple[str, ...]
    values: np.ndarray
    interrupted: bool = False

    def __post_init__(self) -> None:
        names = listed(self.names, "names", "give a list of names")
        for name in names:
            check_is(name, "a name in names", str, "give words")
        object.__setattr__(self, "names", names)
        values = np.asarray(self.values)
        if values.shape != (len(self.names),) or values.dtype.kind not in "iuf":
            raise ValueError(
                f"values = {shown(self.values)}: give one number for each of the "
                f"{len(self.names)} names"
            )
        object.__setattr__(self, "values", values.copy())
        self.values.setflags(write=False)
        check_flag(self.interrupted, "interrupted")

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return float(np.mean(self.values))

    @property
    def standard_deviation(self) -> float:
        """The standard deviation with the divisor n - 1; NaN for a single score."""
        return float(np.std(self.values, ddof=1)) if self.values.size > 1 else float("nan")

    def __str__(self) -> str:
        count = self.values.size
        spread = f" ± {self.standard_deviation:.3f}" if count > 1 else ""
        ended = ", interrupted" if self.interrupted else ""
        return f"{self.mean:.3f}{spread} ({count} score{'s' * (count != 1)}{ended})"
