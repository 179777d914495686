"""Aggregates from what they mean, over the list of values that a window holds: exact integers, one rounding, one NaN. Each takes the
arguments' values of the rows that pass its FILTER, in the order of the log within equal times.
"""

import functools
import struct
from typing import Any, Callable

import values
from rules import Rules
from values import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, NAN, VARCHAR, Fault, compare


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


def first(rows: list, kind: str, rules: Rules) -> Any:
    return rows[0] if rows else None


def newest(most: int) -> Callable:
    """The last values, the oldest first, NULLs too."""
    def value(rows: list, kind: str, rules: Rules) -> Any:
        return tuple(rows[-most:]) or None
    return value


def distinct(rows: list, kind: str, rules: Rules) -> int:
    found: list = []
    for value in present(rows):
        # One NaN and one zero.
        if not any(compare(value, other) == 0 for other in found):
            found.append(value)
    return len(found)


def folded(how: Callable) -> Callable:
    """A fold of the values that are present."""
    def value(rows: list, kind: str, rules: Rules) -> Any:
        rows = present(rows)
        return functools.reduce(how, rows) if rows else None
    return value


def value_by(sign: int) -> Callable:
    """The first argument where the second one is the extreme; of equal ones the first in the log. A NULL in the second does not count."""
    def value(rows: list, kind: str, rules: Rules) -> Any:
        best = None
        for found, by in rows:
            if by is not None and (best is None or sign * compare(by, best[1]) > 0):
                best = (found, by)
        return None if best is None else best[0]
    return value


def pairs(rows: list) -> list:
    return [pair for pair in rows if None not in pair]


def comoments(rows: list) -> tuple[int, int, int, int, float | None]:
    """Count, and n * sum(xy) - sum(x) * sum(y), the same of xx and of yy, over 2^2148; or what is no number."""
    kept = pairs(rows)
    if any(value != value or value in (values.INFINITY, -values.INFINITY) for pair in kept for value in pair):
        return len(kept), 0, 0, 0, NAN
    scaled = [(values.scaled(float(x)), values.scaled(float(y))) for x, y in kept]
    n, sx, sy = len(kept), sum(x for x, _ in scaled), sum(y for _, y in scaled)
    return (n, n * sum(x * y for x, y in scaled) - sx * sy, n * sum(x * x for x, _ in scaled) - sx * sx,
            n * sum(y * y for _, y in scaled) - sy * sy, None)


def covariance(sample: bool) -> Callable:
    def value(rows: list, kind: str, rules: Rules) -> float | None:
        n, xy, _, _, odd = comoments(rows)
        if n < 1 + sample:
            return None
        return odd if odd is not None else values.rounded(xy, n * (n - sample) * values.UNIT * values.UNIT)
    return value


def correlation(rows: list, kind: str, rules: Rules) -> float | None:
    n, xy, xx, yy, odd = comoments(rows)
    if n < 2:
        return None
    if odd is not None:
        return odd
    if xx == 0 or yy == 0:
        return None
    root = values.rounded_root(xy * xy, xx * yy)
    return -root if xy < 0 else root


def cut_median(rows: list, kind: str, rules: Rules) -> float | None:
    """The value at place ceil(n / 2), cut to 8 bits behind its first one."""
    known = sorted((float(value) for value in present(rows)), key=functools.cmp_to_key(compare))
    if not known:
        return None
    value = known[(len(known) + 1) // 2 - 1]
    if value != value:
        return NAN
    (bits,) = struct.unpack("<q", struct.pack("<d", abs(value)))
    (cut,) = struct.unpack("<d", struct.pack("<q", bits >> 44 << 44))
    return -cut if value < 0 and cut else cut


class Definition:
    """`takes` are the signatures, each a tuple of types; `gives` is a type by that of the first argument. `new` ones exist only where the
    engine has the registry of aggregates."""

    def __init__(self, takes: tuple, gives: Callable[[str], str], value: Callable, names: tuple[str, ...], new: bool = False):
        self.takes, self.gives, self.value, self.names, self.new = takes, gives, value, names, new


def integer_or_double(kind: str) -> str:
    return DOUBLE if kind == DOUBLE else BIGINT


def own(kind: str) -> str:
    return kind


def double(kind: str) -> str:
    return DOUBLE


def bigint(kind: str) -> str:
    return BIGINT


ORDERED = tuple((kind,) for kind in values.TYPES)
ANY = ORDERED + tuple((kind,) for kind in values.LISTS)
NUMBERS = ((INTEGER,), (BIGINT,), (DOUBLE,))
BY = tuple((kind, by) for kind in (VARCHAR, BIGINT, DATE, "VARCHAR[]", "DOUBLE[]") for by in (BIGINT, DOUBLE, DATE))

AGGREGATES = {
    "count(*)": Definition(((),), bigint, count_all, ("count(*)",)),
    "count": Definition(ANY, bigint, count, ("count",)),
    "sum": Definition(NUMBERS, integer_or_double, total, ("sum",)),
    "avg": Definition(NUMBERS, double, mean, ("avg", "mean")),
    "stddev": Definition(NUMBERS, double, deviation(True), ("stddev", "stddev_samp")),
    "stddev_pop": Definition(NUMBERS, double, deviation(False), ("stddev_pop",)),
    "var": Definition(NUMBERS, double, variance(True), ("var", "var_samp")),
    "var_pop": Definition(NUMBERS, double, variance(False), ("var_pop",)),
    "min": Definition(ORDERED, own, extreme(-1), ("min",)),
    "max": Definition(ORDERED, own, extreme(1), ("max",)),
    "last_value": Definition(ANY, own, last, ("last_value",)),
    "first_value": Definition(ANY, own, first, ("first_value",), True),
    "count distinct": Definition(ORDERED, bigint, distinct, ("count distinct",), True),
    "bool_and": Definition(((BOOLEAN,),), own, folded(lambda a, b: a and b), ("bool_and", "every"), True),
    "bool_or": Definition(((BOOLEAN,),), own, folded(lambda a, b: a or b), ("bool_or",), True),
    "bit_and": Definition(((BIGINT,),), own, folded(lambda a, b: a & b), ("bit_and",), True),
    "bit_or": Definition(((BIGINT,),), own, folded(lambda a, b: a | b), ("bit_or",), True),
    "bit_xor": Definition(((BIGINT,),), own, folded(lambda a, b: a ^ b), ("bit_xor",), True),
    "max_by": Definition(BY, own, value_by(1), ("max_by", "arg_max"), True),
    "min_by": Definition(BY, own, value_by(-1), ("min_by", "arg_min"), True),
    "covar_samp": Definition(((DOUBLE, DOUBLE),), own, covariance(True), ("covar_samp",), True),
    "covar_pop": Definition(((DOUBLE, DOUBLE),), own, covariance(False), ("covar_pop",), True),
    "approx_median": Definition(NUMBERS, double, cut_median, ("approx_median",), True),
    **{f"array_agg {most}": Definition(tuple((kind,) for kind in values.ITEMS.values()), lambda kind: f"{kind}[]", newest(most), (f"array_agg {most}",), True)
       for most in (1, 2, 5, 256)},
    "corr": Definition(((DOUBLE, DOUBLE),), own, correlation, ("corr",), True),
}
