"""SQL values as Python has them, and what they mean: NULL is None, BIGINT and INTEGER are int, DOUBLE is float, VARCHAR is str,
DATE is datetime.date, TIMESTAMP and INTERVAL are int microseconds, an array is a tuple. One NaN, greater than every number and
equal to itself; -0.0 equals 0.0.

Exact arithmetic lives here too: a double is an integer over 2^1074, sums of those are integers, and every result is rounded once,
by Python's own division of integers, which is correctly rounded.
"""

import fractions
import math

BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR, DATE, TIMESTAMP, INTERVAL = (
    "BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP", "INTERVAL")
TYPES = (BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR, DATE, TIMESTAMP)
# Arrays, and what their items are.
ITEMS = {"VARCHAR[]": VARCHAR, "BIGINT[]": BIGINT, "DOUBLE[]": DOUBLE, "INTEGER[]": INTEGER, "BOOLEAN[]": BOOLEAN}
LISTS = tuple(ITEMS)
INTEGERS = (INTEGER, BIGINT)
BOUNDS = {INTEGER: (-2**31, 2**31 - 1), BIGINT: (-2**63, 2**63 - 1)}
NAN = float("nan")
INFINITY = float("inf")
# Every finite double is an integer over this.
UNIT_BITS = 1074
UNIT = 1 << UNIT_BITS
DOUBLE_MAX = int(1.7976931348623157e308)


class Fault(Exception):
    """A row without a value: the error of this row alone."""

    def __init__(self, kind: str, what: str = ""):
        super().__init__(f"{kind}: {what}")
        self.kind = kind


def fit(value: int, kind: str, wraps: bool = False) -> int:
    """`value` as an integer type, or the fault of its overflow."""
    low, high = BOUNDS[kind]
    if low <= value <= high:
        return value
    if wraps:
        return (value - low) % (high - low + 1) + low
    raise Fault("overflow", f"{value} is no {kind}")


def compare(left, right) -> int:
    """-1, 0 or 1 of two values of one type, neither of them NULL. Numbers of two types are compared as doubles. Arrays are equal, 0, or
    not, 1: place by place, NULL as NULL."""
    if isinstance(left, tuple):
        return 0 if len(left) == len(right) and all(same(a, b) for a, b in zip(left, right)) else 1
    if isinstance(left, float) or isinstance(right, float):
        left, right = float(left), float(right)
        if left != left or right != right:
            return (left != left) - (right != right)
    return (left > right) - (left < right)


def same(left, right) -> bool:
    """Whether two cells are equal, NULL to NULL; the sign of a zero is left to the engine's own comparisons."""
    if left is None or right is None:
        return left is right
    if isinstance(left, bool) != isinstance(right, bool) or isinstance(left, str) != isinstance(right, str):
        return False
    if isinstance(left, float) or isinstance(right, float) or isinstance(left, tuple):
        return compare(left, right) == 0
    return left == right


def ulps_between(left: float, right: float) -> float:
    """How many doubles lie from one number to the other; infinite where one of them is none."""
    if compare(left, right) == 0:
        return 0
    if not math.isfinite(left) or not math.isfinite(right):
        return INFINITY
    return abs(left - right) / math.ulp(max(abs(left), abs(right)))


def scaled(value: float) -> int:
    """A finite double times 2^1074."""
    numerator, denominator = value.as_integer_ratio()
    return numerator * (UNIT // denominator)


def rounded(numerator: int, denominator: int) -> float:
    """The double nearest to a fraction, ties to even; infinite beyond the greatest double."""
    try:
        return numerator / denominator
    except OverflowError:
        return INFINITY if (numerator > 0) == (denominator > 0) else -INFINITY


def rounded_fraction(value: fractions.Fraction) -> float:
    return rounded(value.numerator, value.denominator)


def rounded_root(numerator: int, denominator: int) -> float:
    """The double nearest to sqrt(numerator / denominator), ties to even."""
    if numerator == 0:
        return 0.0
    shift = max(0, 130 - numerator.bit_length() + denominator.bit_length())
    shift += shift % 2
    quotient, rest = divmod(numerator << shift, denominator)
    root = math.isqrt(quotient)
    inexact = rest != 0 or root * root != quotient
    # One more bit says whether anything was cut off; the one rounding to a double is then that of the true root.
    return rounded(2 * root + inexact, 1 << (shift // 2 + 1))


def half_away(value: fractions.Fraction) -> int:
    """The nearest integer, ties away from zero."""
    whole = math.floor(abs(value) + fractions.Fraction(1, 2))
    return whole if value >= 0 else -whole


def divide(left: int, right: int) -> int:
    """Quotient cut toward zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def remainder(left: int, right: int) -> int:
    """What is left over; it has the sign of the dividend."""
    return left - right * divide(left, right)
