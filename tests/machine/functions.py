"""Strict scalar functions and operators: what each gives for values that are not NULL (any NULL gives NULL), from which types to
which, and how the generator picks constants for it. Lazy and NULL-aware ones are `evaluate`'s.

Everything is written here or in Python's standard library (re, hashlib); DuckDB is asked for nothing so far.
"""

import datetime
import fractions
import functools
import hashlib
import math
import re
from typing import Any, Callable

import civil
import values
from rules import Rules
from values import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, INTERVAL, LISTS, TIMESTAMP, VARCHAR, Fault

# Kinds of arguments: a type, I for either integer, N for any number, A for any type.
INT, NUMBER = "I", "N"
TEXT_MAX_BYTES = 1 << 20


class Function:
    """`takes` are kinds of arguments; a kind that is a callable makes a constant from a random generator. `gives` is a type.
    `sql` is a template for the arguments' texts where `name(..)` is not how it is written; `new` functions exist only behind
    the registry of functions; `approximate` ones may differ in the last bits."""

    def __init__(self, name: str, takes: tuple, gives: str, value: Callable, sql: str | None = None, fails: bool = False,
                 new: bool = False, approximate: bool = False, weight: float = 1.0):
        self.name, self.takes, self.gives, self.value, self.sql = name, takes, gives, value, sql
        self.fails, self.new, self.approximate, self.weight = fails, new, approximate, weight


def one_of(*choices: Any) -> Callable:
    return lambda rng: rng.choice(choices)


# --- Numbers ---------------------------------------------------------------------------------------------------------------------

def result_type(name: str, types: list[str], rules: Rules) -> str:
    """The type of arithmetic over numbers."""
    if DOUBLE in types:
        return DOUBLE
    if rules.integer_arithmetic_is_bigint or BIGINT in types:
        return BIGINT
    return INTEGER


def float_divide(left: float, right: float) -> float:
    if right == 0:
        if left == 0 or left != left:
            return values.NAN
        return math.copysign(values.INFINITY, math.copysign(1, left) * math.copysign(1, right))
    return left / right


def float_remainder(left: float, right: float) -> float:
    if right == 0 or math.isinf(left) or left != left or right != right:
        return values.NAN
    return math.fmod(left, right)


def arithmetic(name: str, left: Any, right: Any, kind: str, rules: Rules) -> Any:
    """+ - * / % of two numbers in the type `kind`."""
    if kind == DOUBLE:
        left, right = float(left), float(right)
        made = {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right,
                "/": lambda: float_divide(left, right), "%": lambda: float_remainder(left, right)}[name]()
        return made if rules.computed_zero_keeps_sign else made + 0.0
    if name in "/%":
        if right == 0:
            if not rules.division_by_zero_is_an_error:
                return None
            raise Fault("division", f"{left} {name} 0")
        # The quotient of the least integer and -1 has no wrapped form anywhere.
        return values.fit(values.divide(left, right), kind) if name == "/" else values.remainder(left, right)
    made = {"+": left + right, "-": left - right, "*": left * right}[name] if name != "*" else left * right
    return values.fit(made, kind, wraps=not rules.overflow_is_an_error)


def negate(value: Any, kind: str, rules: Rules) -> Any:
    return -value if kind == DOUBLE else values.fit(-value, kind, wraps=not rules.overflow_is_an_error)


def absolute(value: Any, kind: str, rules: Rules) -> Any:
    return abs(value) if kind == DOUBLE else values.fit(abs(value), kind)


def whole(how: Callable) -> Callable:
    """A double made whole by `how`; what is no number stays, and a zero has the sign of its number."""
    def value(x: float) -> float:
        return math.copysign(float(how(x)), x) if math.isfinite(x) else x
    return value


def to_places(how: Callable) -> Callable:
    """The same at n decimal places, of the exact value; rounded once more to a double."""
    def value(x: float, places: int) -> float:
        if not math.isfinite(x):
            return x
        scale = fractions.Fraction(10) ** places
        return math.copysign(values.rounded_fraction(how(fractions.Fraction(x) * scale) / scale), x)
    return value


def cut_places(x: float, places: int) -> float:
    """Cut at n decimal places, of the shortest decimal that reads back as the number."""
    if not math.isfinite(x):
        return x
    scale = fractions.Fraction(10) ** places
    return math.copysign(values.rounded_fraction(fractions.Fraction(math.trunc(fractions.Fraction(repr(x)) * scale)) / scale), x)


def by_scaling(how: Callable) -> Callable:
    """The same in doubles."""
    def value(x: float, places: int) -> float:
        if not math.isfinite(x):
            return x
        scale = 10.0 ** abs(places)
        high = x * scale if places >= 0 else x / scale
        if not math.isfinite(high):
            return high
        cut = math.copysign(float(how(fractions.Fraction(high))), x)
        return cut / scale if places >= 0 else cut * scale
    return value


def sign(x: float) -> float:
    return x if x != x else float((x > 0) - (x < 0))


def root(rules: Rules) -> Callable:
    def value(x: float) -> float:
        if x < 0:
            if rules.root_of_negative_is_an_error:
                raise Fault("range", f"sqrt({x})")
            return values.NAN
        return x if x != x else math.sqrt(x)
    return value


def logarithm(how: Callable, rules: Rules) -> Callable:
    def value(x: float) -> float:
        if x != x:
            return x
        if x <= 0:
            if rules.logarithm_of_nonpositive_is_an_error:
                raise Fault("range", f"logarithm of {x}")
            return -values.INFINITY if x == 0 else values.NAN
        return how(x) if x < values.INFINITY else x
    return value


def exponential(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return values.INFINITY


def wave(how: Callable) -> Callable:
    def value(x: float) -> float:
        if math.isinf(x):
            raise Fault("range", f"the angle {x}")
        return x if x != x else how(x)
    return value


def shift(left: int, by: int) -> int:
    if not 0 <= by <= 63:
        raise Fault("range", f"shift by {by}")
    return left << by


def shifted(value: int) -> int:
    """The low 64 bits, as a signed number."""
    return values.fit(value, BIGINT, wraps=True)


# --- Text ------------------------------------------------------------------------------------------------------------------------

def substring(text: str, start: int, length: int) -> str:
    """`length` characters from the one numbered `start`; those in front of the first count, and are not there."""
    if length < 0:
        raise Fault("range", f"substr(.., {length})")
    return text[max(start - 1, 0):max(start - 1 + length, 0)]


def split_part(text: str, mark: str, number: int) -> str:
    if number == 0:
        raise Fault("range", "split_part(.., 0)")
    parts = text.split(mark)
    index = number - 1 if number > 0 else len(parts) + number
    return parts[index] if 0 <= index < len(parts) else ""


def pad(left: bool) -> Callable:
    def value(text: str, length: int, fill: str) -> str:
        if len(text) >= length:
            return text[:max(length, 0)]
        more = (fill * length)[:length - len(text)]
        return more + text if left else text + more
    return value


@functools.cache
def like(pattern: str, any_case: bool) -> Callable[[str], bool]:
    """`%` is any text, `_` any character; `\\` in front of them takes their meaning."""
    parts, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        else:
            parts.append({"%": ".*", "_": "."}.get(char, re.escape(char)))
        at += 1
    found = re.compile("".join(parts), re.S | (re.I if any_case else 0))
    return lambda text: found.fullmatch(text) is not None


@functools.cache
def matches(pattern: str, any_case: bool = False) -> Callable[[str], bool]:
    found = re.compile(pattern, re.I if any_case else 0)
    return lambda text: found.search(text) is not None


def initcap(text: str) -> str:
    return re.sub(r"[^\W_]+", lambda word: word[0][:1].upper() + word[0][1:].lower(), text)


def distance(left: str, right: str) -> int:
    """How many characters to insert, delete or replace."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


# --- The table -------------------------------------------------------------------------------------------------------------------

PATTERNS = ("a%", "%b%", "_", "%", "", "a_c%", "100\\%", "%é%", "A%", "%1%")
EXPRESSIONS = ("^[0-9]+$", "b", "^a", "[a-c]{2}", "^$", "x|y", "^-?[0-9]+$", "z$")


def table(rules: Rules) -> list[Function]:
    """Every strict function, under the given rules."""
    round_it, cut_it = (to_places(values.half_away), cut_places) if rules.round_is_exact else (by_scaling(values.half_away), by_scaling(math.trunc))
    small = one_of(-3, -1, 0, 1, 2, 3, 5)
    place = one_of(-2, -1, 0, 1, 2, 3)
    char = one_of(",", "-", "a", " ")
    made = [
        Function("round", (DOUBLE,), DOUBLE, whole(lambda x: values.half_away(fractions.Fraction(x)))),
        Function("round", (DOUBLE, place), DOUBLE, round_it),
        Function("trunc", (DOUBLE,), DOUBLE, whole(math.trunc)),
        Function("trunc", (DOUBLE, place), DOUBLE, cut_it),
        Function("floor", (DOUBLE,), DOUBLE, whole(math.floor)),
        Function("ceil", (DOUBLE,), DOUBLE, whole(math.ceil)),
        Function("signum", (DOUBLE,), DOUBLE, sign),
        Function("sign", (DOUBLE,), DOUBLE, sign, new=True),
        Function("sqrt", (DOUBLE,), DOUBLE, root(rules), fails=True),
        Function("isnan", (DOUBLE,), BOOLEAN, lambda x: x != x),
        Function("iszero", (DOUBLE,), BOOLEAN, lambda x: x == 0),
        Function("nanvl", (DOUBLE, DOUBLE), DOUBLE, lambda x, y: y if x != x else x),
        Function("&", (BIGINT, BIGINT), BIGINT, lambda x, y: x & y, "({} & {})"),
        Function("|", (BIGINT, BIGINT), BIGINT, lambda x, y: x | y, "({} | {})"),
        Function("<<", (BIGINT, one_of(0, 1, 4, 62, 63)), BIGINT, lambda x, y: shifted(shift(x, y)), "({} << {})"),
        Function(">>", (BIGINT, one_of(0, 1, 4, 62, 63)), BIGINT, lambda x, y: x >> y, "({} >> {})"),
        Function("gcd", (one_of(0, 12, -8), one_of(18, 7, 0)), BIGINT, math.gcd, weight=0.1),
        # Last bits are the libm's: outermost in a service only.
        Function("ln", (DOUBLE,), DOUBLE, logarithm(math.log, rules), fails=True, approximate=True),
        Function("log10", (DOUBLE,), DOUBLE, logarithm(math.log10, rules), fails=True, approximate=True),
        Function("log2", (DOUBLE,), DOUBLE, logarithm(math.log2, rules), fails=True, approximate=True),
        Function("exp", (DOUBLE,), DOUBLE, exponential, approximate=True),
        Function("sin", (DOUBLE,), DOUBLE, wave(math.sin), fails=True, approximate=True),
        Function("cos", (DOUBLE,), DOUBLE, wave(math.cos), fails=True, approximate=True),
        Function("atan", (DOUBLE,), DOUBLE, math.atan, approximate=True),
        Function("tanh", (DOUBLE,), DOUBLE, math.tanh, approximate=True),

        Function("length", (VARCHAR,), BIGINT, len),
        Function("character_length", (VARCHAR,), BIGINT, len),
        Function("octet_length", (VARCHAR,), BIGINT, lambda s: len(s.encode())),
        Function("bit_length", (VARCHAR,), BIGINT, lambda s: 8 * len(s.encode())),
        Function("ascii", (VARCHAR,), BIGINT, lambda s: ord(s[0]) if s else 0),
        Function("upper", (VARCHAR,), VARCHAR, str.upper),
        Function("lower", (VARCHAR,), VARCHAR, str.lower),
        Function("initcap", (VARCHAR,), VARCHAR, initcap, weight=0.5),
        Function("trim", (VARCHAR,), VARCHAR, lambda s: s.strip(" ")),
        Function("btrim", (VARCHAR, char), VARCHAR, lambda s, c: s.strip(c)),
        Function("ltrim", (VARCHAR,), VARCHAR, lambda s: s.lstrip(" ")),
        Function("rtrim", (VARCHAR,), VARCHAR, lambda s: s.rstrip(" ")),
        Function("reverse", (VARCHAR,), VARCHAR, lambda s: s[::-1]),
        Function("left", (VARCHAR, small), VARCHAR, lambda s, n: s[:n]),
        Function("right", (VARCHAR, small), VARCHAR, lambda s, n: s[max(len(s) - n, 0):] if n >= 0 else s[-n:]),
        Function("substr", (VARCHAR, small), VARCHAR, lambda s, n: s[max(n - 1, 0):]),
        Function("substr", (VARCHAR, small, one_of(0, 1, 2, 4)), VARCHAR, substring),
        Function("substring", (VARCHAR, one_of(1, 2), one_of(1, 3)), VARCHAR, substring, "substring({} from {} for {})"),
        Function("replace", (VARCHAR, char, one_of("", "+", "bb")), VARCHAR, str.replace),
        Function("translate", (VARCHAR, one_of("abc"), one_of("xy", "123")), VARCHAR,
                 lambda s, a, b: s.translate({ord(x): b[i] if i < len(b) else None for i, x in enumerate(a)}), weight=0.5),
        Function("strpos", (VARCHAR, one_of("a", "b", "é", "", "1")), BIGINT, lambda s, t: s.find(t) + 1),
        Function("split_part", (VARCHAR, char, one_of(1, 2, -1)), VARCHAR, split_part),
        Function("split_part", (VARCHAR, char, one_of(0)), VARCHAR, split_part, fails=True, weight=0.1),
        Function("lpad", (VARCHAR, one_of(0, 3, 8), one_of("*", "ab")), VARCHAR, pad(True)),
        Function("rpad", (VARCHAR, one_of(0, 3, 8), one_of("*", "ab")), VARCHAR, pad(False)),
        Function("repeat", (VARCHAR, one_of(0, 1, 3)), VARCHAR, lambda s, n: s * n),
        Function("||", (VARCHAR, VARCHAR), VARCHAR, lambda a, b: a + b, "({} || {})"),
        Function("starts_with", (VARCHAR, VARCHAR), BOOLEAN, str.startswith),
        Function("ends_with", (VARCHAR, VARCHAR), BOOLEAN, str.endswith),
        Function("contains", (VARCHAR, VARCHAR), BOOLEAN, lambda a, b: b in a),
        Function("levenshtein", (VARCHAR, VARCHAR), BIGINT, distance, weight=0.3),
        Function("to_hex", (BIGINT,), VARCHAR, lambda n: f"{n & 0xFFFFFFFFFFFFFFFF:x}", weight=0.5),
        Function("chr", (one_of(65, 97, 233, 8364),), VARCHAR, chr, weight=0.2),
        Function("md5", (VARCHAR,), VARCHAR, lambda s: hashlib.md5(s.encode()).hexdigest(), new=True),
        Function("regexp_like", (VARCHAR, one_of(*EXPRESSIONS)), BOOLEAN, lambda s, p: matches(p)(s)),
        Function("~", (VARCHAR, one_of(*EXPRESSIONS)), BOOLEAN, lambda s, p: matches(p)(s), "({} ~ {})"),
        Function("!~", (VARCHAR, one_of(*EXPRESSIONS)), BOOLEAN, lambda s, p: not matches(p)(s), "({} !~ {})"),
        Function("~*", (VARCHAR, one_of(*EXPRESSIONS)), BOOLEAN, lambda s, p: matches(p, True)(s), "({} ~* {})"),
        Function("regexp_replace", (VARCHAR, one_of("[0-9]", "b"), one_of("", "_")), VARCHAR,
                 lambda s, p, to: re.sub(p, to, s, count=1)),
        Function("like", (VARCHAR, one_of(*PATTERNS)), BOOLEAN, lambda s, p: like(p, False)(s), "({} LIKE {})"),
        Function("not like", (VARCHAR, one_of(*PATTERNS)), BOOLEAN, lambda s, p: not like(p, False)(s), "({} NOT LIKE {})"),
        Function("ilike", (VARCHAR, one_of(*PATTERNS)), BOOLEAN, lambda s, p: like(p, True)(s), "({} ILIKE {})"),

        Function("date_trunc", (one_of(*civil.UNITS), TIMESTAMP), TIMESTAMP, civil.cut),
        Function("date_bin", (TIMESTAMP,), TIMESTAMP, lambda at: at - at % (15 * civil.MINUTE), "date_bin(INTERVAL '15' MINUTE, {})", new=True),
        Function("local hour", (one_of(*civil.ZONES), TIMESTAMP), BIGINT, local_part, "date_part('hour', {1} AT TIME ZONE {0})", weight=0.7),
        Function("age", (TIMESTAMP, TIMESTAMP), INTERVAL, lambda a, b: a - b, "({} - {})"),
        Function("epoch of", (INTERVAL,), DOUBLE, epoch_of(rules), "extract(epoch from {})"),
        Function("micros of", (INTERVAL,), BIGINT, lambda a: a, "CAST({} AS BIGINT)"),
        Function("epoch", (TIMESTAMP,), DOUBLE, lambda at: civil.part("epoch", at), "extract(epoch from {})"),
    ]
    made += [function for kind in LISTS for function in of_arrays(kind, values.ITEMS[kind])]
    for name in civil.PARTS:
        value = (lambda part: lambda at: civil.part(part, at))(name)
        made.append(Function(f"extract {name}", (TIMESTAMP,), BIGINT, value, f"extract({name} from {{}})", weight=0.25))
        made.append(Function(f"date_part {name}", (TIMESTAMP,), BIGINT, value, f"date_part('{name}', {{}})", weight=0.25))
    for text, length in (("1' DAY", civil.DAY), ("90' MINUTE", 90 * civil.MINUTE), ("1 day 2 hours'", 26 * civil.HOUR)):
        made.append(Function(f"+{text}", (TIMESTAMP,), TIMESTAMP, (lambda by: lambda at: at + by)(length), f"({{}} + INTERVAL '{text})", weight=0.3))
        made.append(Function(f"-{text}", (TIMESTAMP,), TIMESTAMP, (lambda by: lambda at: at - by)(length), f"({{}} - INTERVAL '{text})", weight=0.3))
    for months in (1, -1, 13):
        made.append(Function(f"{months} months", (TIMESTAMP,), TIMESTAMP, (lambda by: lambda at: civil.add_months(at, by))(months),
                             f"({{}} + INTERVAL '{months}' MONTH)", weight=0.2))
    return made + dates()


def dates() -> list[Function]:
    """The functions and operators of DATE; what takes a TIMESTAMP takes one as its midnight."""
    made = [
        Function("date plus", (DATE, BIGINT), DATE, lambda day, by: later(day, by), "({} + {})", fails=True),
        Function("plus date", (BIGINT, DATE), DATE, lambda by, day: later(day, by), "({} + {})", fails=True, weight=0.5),
        Function("date minus", (DATE, INTEGER), DATE, lambda day, by: later(day, -by), "({} - {})", fails=True),
        Function("add_days", (DATE, one_of(-1, 0, 1, 30)), DATE, later, fails=True, weight=0.3),
        Function("days between", (DATE, DATE), BIGINT, lambda a, b: a.toordinal() - b.toordinal(), "({} - {})"),
        Function("make_date", (one_of(1, 1999, 2024, 9999, 0), one_of(1, 2, 12, 13), one_of(1, 28, 29, 31)), DATE, made_date, fails=True,
                 weight=0.3),
        Function("date trunc of date", (one_of(*civil.UNITS), DATE), TIMESTAMP, lambda unit, day: civil.cut(unit, civil.midnight(day)),
                 "date_trunc({}, {})", weight=0.3),
        Function("date and length", (DATE,), TIMESTAMP, lambda day: civil.midnight(day) + 26 * civil.HOUR, "({} + INTERVAL '1 day 2 hours')",
                 weight=0.3),
        Function("date and months", (DATE,), TIMESTAMP, lambda day: civil.add_months(civil.midnight(day), -1), "({} - INTERVAL '1' MONTH)",
                 weight=0.3),
        Function("date and time", (DATE, TIMESTAMP), INTERVAL, lambda day, at: civil.midnight(day) - at, "({} - {})", weight=0.3),
        Function("epoch of date", (DATE,), DOUBLE, lambda day: civil.part("epoch", civil.midnight(day)), "extract(epoch from {})", weight=0.3),
    ]
    for name in civil.PARTS:
        value = (lambda part: lambda day: civil.part(part, civil.midnight(day)))(name)
        made.append(Function(f"extract {name} of date", (DATE,), BIGINT, value, f"extract({name} from {{}})", weight=0.15))
    return made


def later(day: datetime.date, by: int) -> datetime.date:
    found = civil.ordinal(day.toordinal() + by)
    if found is None:
        raise Fault("range", f"{day} + {by} days")
    return found


def made_date(year: int, month: int, day: int) -> datetime.date:
    try:
        return datetime.date(year, month, day)
    except ValueError as why:
        raise Fault("range", f"make_date({year}, {month}, {day})") from why


def written(item: Any) -> str:
    """An item as CAST writes it; not of DOUBLE, whose shortest text is another's business."""
    return str(item).lower() if isinstance(item, bool) else str(item)


def of_arrays(kind: str, item: str) -> list[Function]:
    """The functions of arrays of a type."""
    place = one_of(1, 1, 2, 3, 4, 0, -1)

    def position(array: tuple, sought: Any) -> int | None:
        return next((at + 1 for at, found in enumerate(array) if found is not None and values.compare(found, sought) == 0), None)

    def element(array: tuple, at: int) -> Any:
        return array[at - 1] if 1 <= at <= len(array) else None
    made = [
        Function("subscript", (kind, place), item, element, "({})[{}]", new=True, weight=0.6),
        Function("array_element", (kind, BIGINT), item, element, new=True, weight=0.3),
        Function("cardinality", (kind,), BIGINT, len, "array_length({})", new=True, weight=0.3),
        Function("array_contains", (kind, item), BOOLEAN, lambda a, x: position(a, x) is not None, new=True, weight=0.4),
        Function("array_position", (kind, item), BIGINT, position, new=True, weight=0.2)]
    if item != DOUBLE:
        made.append(Function("array_to_string", (kind, one_of(",", "", "a")), VARCHAR,
                             lambda a, mark: mark.join(written(x) for x in a if x is not None), new=True, weight=0.3))
        made.append(Function("array_to_string", (kind, one_of(","), one_of("-", "")), VARCHAR,
                             lambda a, mark, null: mark.join(null if x is None else written(x) for x in a), new=True, weight=0.2))
    return made


def local_part(zone: str, at: int) -> int:
    wall = civil.local(zone, at)
    if wall is None:
        raise Unsure(f"{zone} at {at}")
    return civil.part("hour", wall)


class Unsure(Exception):
    """No answer is agreed on: the cell is compared between the lowerings alone."""


def epoch_of(rules: Rules) -> Callable:
    def value(length: int) -> float:
        if rules.epoch_of_interval_has_fraction:
            return length / civil.SECOND
        return float(values.divide(length, civil.SECOND))
    return value
