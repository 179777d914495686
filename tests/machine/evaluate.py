"""Expressions as Python closures over a row: three-valued logic, AND, OR, CASE, coalesce lazy from left to right, casts, and faults
as exceptions that only the row that reaches them has.

`compiled` turns a tree into a closure once; a row is whatever the scope's getters read.
"""

import datetime
import math
import re
from typing import Any, Callable

import civil
import functions
import values
from rules import Rules
from tree import Aggregate, Call, CaseWhen, Cast, Column, Literal
from values import INTEGERS, Fault, compare

Getter = Callable[[Any], Any]
# What a scope gives for a column or an aggregate: how to read it from a row.
Scope = Callable[[Any], Getter]

COMPARISONS: dict[str, Callable[[int], bool]] = {
    "=": lambda c: c == 0, "<>": lambda c: c != 0, "<": lambda c: c < 0, "<=": lambda c: c <= 0, ">": lambda c: c > 0,
    ">=": lambda c: c >= 0}
ARITHMETIC = ("+", "-", "*", "/", "%")
DECIMAL_INTEGER = re.compile(r"[+-]?[0-9]+")
DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NO_NUMBERS = {"nan": values.NAN, **{f"{sign}{word}": -values.INFINITY if sign == "-" else values.INFINITY
                                    for sign in ("", "+", "-") for word in ("inf", "infinity")}}
BOOLEANS = {True: ("true", "yes", "on", "1"), False: ("false", "no", "off", "0")}
# White space of ASCII.
WHITE = " \t\n\r\f"


class Compiler:
    """Compiles expressions under the given rules."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.strict = {(f.name, len(f.takes)): f for f in functions.table(rules)}

    def compiled(self, node: Any, scope: Scope) -> Getter:
        match node:
            case Literal():
                return lambda row, value=node.value: value
            case Column() | Aggregate():
                return scope(node)
            case Cast():
                return self.cast(node, scope)
            case CaseWhen():
                return self.case(node, scope)
            case Call():
                return self.call(node, scope)
        raise AssertionError(node)

    def all(self, nodes: Any, scope: Scope) -> list[Getter]:
        return [self.compiled(node, scope) for node in nodes]

    # --- Calls -------------------------------------------------------------------------------------------------------------------

    def call(self, node: Call, scope: Scope) -> Getter:
        name, args = node.name, self.all(node.args, scope)
        lazy = getattr(self, "lazy_" + name.replace(" ", "_"), None)
        if lazy is not None:
            return lazy(node, args)
        if name in COMPARISONS:
            test = COMPARISONS[name]
            if {arg.type for arg in node.args} == {"DATE", "TIMESTAMP"}:
                return self.binary(args, lambda a, b: test(compare(*map(moment, (a, b)))))
            return self.binary(args, lambda a, b: test(compare(a, b)))
        if name in ARITHMETIC:
            kind = functions.result_type(name, [arg.type for arg in node.args], self.rules)
            return self.binary(args, lambda a, b: functions.arithmetic(name, a, b, kind, self.rules))
        if name in ("neg", "abs"):
            kind = functions.result_type(name, [node.args[0].type], self.rules)
            if name == "neg" and not self.rules.negated_integer_is_bigint:
                kind = node.args[0].type
            how = functions.negate if name == "neg" else functions.absolute
            return self.strictly(args, lambda a: how(a, kind, self.rules))
        return self.strictly(args, self.strict[(name, len(args))].value)

    @staticmethod
    def binary(args: list[Getter], how: Callable) -> Getter:
        left, right = args

        def value(row):
            # Both sides are evaluated: a NULL on the left hides no error on the right.
            a, b = left(row), right(row)
            return None if a is None or b is None else how(a, b)
        return value

    @staticmethod
    def strictly(args: list[Getter], how: Callable) -> Getter:
        def value(row):
            given = [arg(row) for arg in args]
            return None if None in given else checked(how(*given))
        return value

    def lazy_and(self, node: Call, args: list[Getter]) -> Getter:
        return self.logic(args, False)

    def lazy_or(self, node: Call, args: list[Getter]) -> Getter:
        return self.logic(args, True)

    def logic(self, args: list[Getter], decides: bool) -> Getter:
        left, right = args

        def value(row):
            fault = None
            try:
                a = left(row)
            except Fault as found:
                if self.rules.left_side_of_and_decides:
                    raise
                a, fault = None, found
            if a is decides:
                return decides
            b = right(row)
            if b is decides:
                return decides
            if fault:
                raise fault
            return None if a is None or b is None else not decides
        return value

    def lazy_not(self, node: Call, args: list[Getter]) -> Getter:
        return self.strictly(args, lambda a: not a)

    def lazy_is_null(self, node: Call, args: list[Getter]) -> Getter:
        return lambda row: args[0](row) is None

    def lazy_is_not_null(self, node: Call, args: list[Getter]) -> Getter:
        return lambda row: args[0](row) is not None

    def lazy_is_true(self, node: Call, args: list[Getter]) -> Getter:
        return lambda row: args[0](row) is True

    def lazy_is_not_false(self, node: Call, args: list[Getter]) -> Getter:
        return lambda row: args[0](row) is not False

    def lazy_is_distinct_from(self, node: Call, args: list[Getter]) -> Getter:
        def value(row):
            a, b = args[0](row), args[1](row)
            return (a is not b) if a is None or b is None else compare(a, b) != 0
        return value

    def lazy_between(self, node: Call, args: list[Getter]) -> Getter:
        def value(row):
            a, low, high = (arg(row) for arg in args)
            first = None if a is None or low is None else compare(a, low) >= 0
            second = None if a is None or high is None else compare(a, high) <= 0
            if first is False or second is False:
                return False
            return None if first is None or second is None else True
        return value

    def lazy_in(self, node: Call, args: list[Getter]) -> Getter:
        def value(row):
            a, *others = [arg(row) for arg in args]
            if a is None:
                return None
            found = [None if b is None else compare(a, b) == 0 for b in others]
            return True if True in found else None if None in found else False
        return value

    def lazy_not_in(self, node: Call, args: list[Getter]) -> Getter:
        inside = self.lazy_in(node, args)

        def value(row):
            found = inside(row)
            return None if found is None else not found
        return value

    def lazy_coalesce(self, node: Call, args: list[Getter]) -> Getter:
        def value(row):
            for arg in args:
                found = arg(row)
                if found is not None:
                    return found
            return None
        return value

    lazy_nvl = lazy_ifnull = lazy_coalesce

    def lazy_nullif(self, node: Call, args: list[Getter]) -> Getter:
        def value(row):
            a, b = args[0](row), args[1](row)
            return None if a is not None and b is not None and compare(a, b) == 0 else a
        return value

    def extreme(self, args: list[Getter], sign: int) -> Getter:
        def value(row):
            best = None
            for found in [arg(row) for arg in args]:
                if found is not None and (best is None or sign * compare(found, best) > 0):
                    best = found
            return best
        return value

    def lazy_greatest(self, node: Call, args: list[Getter]) -> Getter:
        return self.extreme(args, 1)

    def lazy_least(self, node: Call, args: list[Getter]) -> Getter:
        return self.extreme(args, -1)

    def lazy_make_array(self, node: Call, args: list[Getter]) -> Getter:
        return lambda row: tuple(arg(row) for arg in args)

    def lazy_concat(self, node: Call, args: list[Getter]) -> Getter:
        return lambda row: "".join(s for s in [arg(row) for arg in args] if s is not None)

    def lazy_concat_ws(self, node: Call, args: list[Getter]) -> Getter:
        def value(row):
            mark, *rest = [arg(row) for arg in args]
            return None if mark is None else mark.join(s for s in rest if s is not None)
        return value

    # --- CASE and CAST -----------------------------------------------------------------------------------------------------------

    def case(self, node: CaseWhen, scope: Scope) -> Getter:
        base = None if node.base is None else self.compiled(node.base, scope)
        arms = [(self.compiled(when, scope), self.compiled(then, scope)) for when, then in node.arms]
        otherwise = (lambda row: None) if node.otherwise is None else self.compiled(node.otherwise, scope)

        def searched(row):
            for when, then in arms:
                if when(row) is True:
                    return then(row)
            return otherwise(row)

        def simple(row):
            wanted = base(row)
            for when, then in arms:
                found = when(row)
                if wanted is not None and found is not None and compare(wanted, found) == 0:
                    return then(row)
            return otherwise(row)
        return searched if base is None else simple

    def cast(self, node: Cast, scope: Scope) -> Getter:
        arg, source, target = self.compiled(node.arg, scope), node.arg.type, node.type

        def value(row):
            found = arg(row)
            if found is None:
                return None
            try:
                return self.converted(found, source, target)
            except Fault:
                if node.attempt:
                    return None
                raise
        return value

    def converted(self, found: Any, source: str, target: str) -> Any:
        """A value in another type."""
        if source == target:
            return found
        match source, target:
            case _, "BOOLEAN" if source in INTEGERS:
                return found != 0
            case "BOOLEAN", ("INTEGER" | "BIGINT"):
                return int(found)
            case "BOOLEAN", "VARCHAR":
                return "true" if found else "false"
            case _, "DOUBLE" if source in INTEGERS:
                return float(found)
            case _, "VARCHAR" if source in INTEGERS:
                return str(found)
            case "DOUBLE", ("INTEGER" | "BIGINT"):
                return self.whole(found, target)
            case "DATE", "VARCHAR":
                return found.isoformat()
            case "DATE", "TIMESTAMP":
                return civil.midnight(found)
            case "TIMESTAMP", "DATE":
                day = civil.day_at(found)
                if day is None:
                    raise Fault("cast", f"{found} to DATE")
                return day
            case "VARCHAR", _:
                return self.read(found.strip(WHITE) if self.rules.cast_of_text_is_lenient else found, target)
            case "TIMESTAMP", "BIGINT":
                return found
            case _ if source in INTEGERS and target in INTEGERS:
                return self.fitting(found, target)
        raise AssertionError((source, target))

    def read(self, text: str, target: str) -> Any:
        """The value that a text is."""
        if target in INTEGERS and DECIMAL_INTEGER.fullmatch(text):
            return self.fitting(int(text), target)
        if target == "DOUBLE":
            if text.lower() in NO_NUMBERS:
                return NO_NUMBERS[text.lower()]
            # One that is too large has no double.
            if DECIMAL.fullmatch(text) and math.isfinite(float(text)):
                return float(text)
        if target == "DATE" and ISO_DATE.fullmatch(text):
            try:
                return datetime.date.fromisoformat(text)
            except ValueError as why:
                raise Fault("cast", f"'{text}' to DATE") from why
        if target == "BOOLEAN" and text:
            for value, words in BOOLEANS.items():
                if any(self.is_word(text.lower(), word) for word in words):
                    return value
        raise Fault("cast", f"'{text}' to {target}")

    def is_word(self, text: str, word: str) -> bool:
        if not self.rules.cast_of_text_is_lenient:
            return text == word and word in ("true", "false")
        # Of `on` and `off` one letter is not enough.
        return word.startswith(text) and (word not in ("on", "off") or len(text) > 1)

    def whole(self, found: float, target: str) -> int:
        if not math.isfinite(found):
            raise Fault("cast", f"{found} to {target}")
        return self.fitting(math.trunc(found) if self.rules.cast_to_integer_truncates else round(found), target)

    @staticmethod
    def fitting(found: int, target: str) -> int:
        low, high = values.BOUNDS[target]
        if not low <= found <= high:
            raise Fault("cast", f"{found} to {target}")
        return found


def moment(value: Any) -> int:
    """A DATE as its midnight; a TIMESTAMP as it is."""
    return civil.midnight(value) if isinstance(value, datetime.date) else value


def checked(value: Any) -> Any:
    """A text beyond the limit has no value."""
    if isinstance(value, str) and len(value) > functions.TEXT_MAX_BYTES // 4 and len(value.encode()) > functions.TEXT_MAX_BYTES:
        raise Fault("range", "text too long")
    return value
