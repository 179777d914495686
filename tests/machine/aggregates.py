"""Aggregates from what they mean, over the list of values that a window holds: exact integers, one rounding, one NaN. Each takes the
arguments' values of the rows that pass its FILTER, in the order of the log within equal times.
"""

from typing import Any, Callable

import values
from rules import Rules
from values import BIGINT, BOOLEAN, DOUBLE, INTEGER, NAN, Fault, compare

NUMBERS = (INTEGER, BIGINT, DOUBLE)


def present(rows: list) -> list:
    return [value for value in rows if value is not None]


def no_number(rows: list) -> float | None:
    """What a sum is where a value is not finite; None where all are."""
    odd = {value for value in rows if value in (values.INFINITY, -values.INFINITY)}
    if any(value != value for value in rows) or len(odd) == 2:
        return NAN
    return odd.pop() if odd else None


class Moments:
    """Count, sum and sum of squares as exact numbers over a power of two."""

    def __init__(self, rows: list, kind: str, rules: Rules):
        self.rows = present(rows)
        if kind != DOUBLE and not rules.integer_moments_are_exact:
            self.rows, kind = [float(value) for value in self.rows], DOUBLE
        self.odd = no_number(self.rows) if kind == DOUBLE else None
        whole = kind != DOUBLE
        self.unit = 1 if whole else values.UNIT
        self.parts = self.rows if whole else [values.scaled(value) for value in self.rows] if self.odd is None else []
        self.count, self.total = len(self.rows), sum(self.parts)

    def variance(self, sample: bool) -> tuple[int, int] | None:
        """As a fraction; None where there are too few values."""
        if self.count < 1 + sample:
            return None
        squares = sum(part * part for part in self.parts)
        divisor = self.count * (self.count - sample)
        return self.count * squares - self.total * self.total, divisor * self.unit * self.unit


def count(rows: list, kind: str, rules: Rules) -> int:
    return len(present(rows))


def count_all(rows: list, kind: str, rules: Rules) -> int:
    return len(rows)


def total(rows: list, kind: str, rules: Rules) -> Any:
    rows = present(rows)
    if not rows:
        return None
    if kind != DOUBLE:
        if rules.integer_sum_is_exact:
            found = sum(rows)
            low, high = values.BOUNDS[BIGINT]
            if not low <= found <= high:
                raise Fault("overflow", "sum")
            return found
        return values.fit(sum(rows), BIGINT, wraps=True)
    moments = Moments(rows, kind, rules)
    return moments.odd if moments.odd is not None else values.rounded(moments.total, values.UNIT)


def mean(rows: list, kind: str, rules: Rules) -> float | None:
    moments = Moments(rows, kind, rules)
    if not moments.count:
        return None
    return moments.odd if moments.odd is not None else values.rounded(moments.total, moments.count * moments.unit)


def variance(sample: bool) -> Callable:
    def value(rows: list, kind: str, rules: Rules) -> float | None:
        moments = Moments(rows, kind, rules)
        found = moments.variance(sample)
        if found is None:
            return None
        return NAN if moments.odd is not None else values.rounded(*found)
    return value


def deviation(sample: bool) -> Callable:
    def value(rows: list, kind: str, rules: Rules) -> float | None:
        moments = Moments(rows, kind, rules)
        found = moments.variance(sample)
        if found is None:
            return None
        return NAN if moments.odd is not None else values.rounded_root(*found)
    return value


def extreme(sign: int) -> Callable:
    def value(rows: list, kind: str, rules: Rules) -> Any:
        best = None
        for found in present(rows):
            if best is None or sign * compare(found, best) > 0:
                best = found
        return best
    return value


def last(rows: list, kind: str, rules: Rules) -> Any:
    return rows[-1] if rows else None


class Definition:
    """`takes` are the types of the argument, None for `*`; `gives` a type, or nothing for the argument's own."""

    def __init__(self, takes: tuple | None, gives: Callable[[str], str], value: Callable, names: tuple[str, ...]):
        self.takes, self.gives, self.value, self.names = takes, gives, value, names


def integer_or_double(kind: str) -> str:
    return DOUBLE if kind == DOUBLE else BIGINT


AGGREGATES = {
    "count(*)": Definition(None, lambda kind: BIGINT, count_all, ("count",)),
    "count": Definition(values.TYPES, lambda kind: BIGINT, count, ("count",)),
    "sum": Definition(NUMBERS, integer_or_double, total, ("sum",)),
    "avg": Definition(NUMBERS, lambda kind: DOUBLE, mean, ("avg", "mean")),
    "stddev": Definition(NUMBERS, lambda kind: DOUBLE, deviation(True), ("stddev", "stddev_samp")),
    "stddev_pop": Definition(NUMBERS, lambda kind: DOUBLE, deviation(False), ("stddev_pop",)),
    "var": Definition(NUMBERS, lambda kind: DOUBLE, variance(True), ("var", "var_samp")),
    "var_pop": Definition(NUMBERS, lambda kind: DOUBLE, variance(False), ("var_pop",)),
    "min": Definition(values.TYPES, lambda kind: kind, extreme(-1), ("min",)),
    "max": Definition(values.TYPES, lambda kind: kind, extreme(1), ("max",)),
    "last_value": Definition(values.TYPES, lambda kind: kind, last, ("last_value",)),
}
