"""Means with their 95 % confidence, over the rows of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isnan, sqrt
from typing import Any

import numpy as np

Row = dict[str, Any]


@dataclass(frozen=True)
class Mean:
    """`half` is the half-width of the 95 % confidence interval (Student's t); None for a single value."""

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + (self.half or 0.0)


def mean_of(values: Iterable[Any]) -> Mean | None:
    """Of the values that are numbers; None where there are none."""
    from scipy.stats import t  # noqa: PLC0415

    numbers = [float(value) for value in values if is_number(value)]
    if not numbers:
        return None
    n = len(numbers)
    half = float(t.ppf(0.975, n - 1)) * float(np.std(numbers, ddof=1)) / sqrt(n) if n > 1 else None
    return Mean(float(np.mean(numbers)), half, n)


def is_number(value: Any) -> bool:
    """Whether a table's value is a number that can be averaged."""
    return type(value) in (int, float) and not isnan(value)


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Rows by a key, in the order in which keys first come."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
