"""Random expressions of a wanted type over what a scope offers: columns, constants, aggregates. Expressions that may fail are made
rarely and often behind a guard (AND, OR, CASE, nullif, FILTER), since that is where engines part.
"""

import datetime
import random
from typing import Any, Callable

import functions
from rules import Rules
from tree import Call, CaseWhen, Cast, Column, Literal, literal
from values import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, INTERVAL, ITEMS, LISTS, TIMESTAMP, VARCHAR

SMALL = (-7, -2, -1, 0, 1, 2, 3, 5, 10, 60, 100)
DOUBLES = (-2.5, -1.0, 0.0, 0.25, 0.5, 1.0, 1.5, 3.0, 10.0, 100.0, 0.1)
TEXTS = ("", "a", "b", "abc", "a b", "5", "-12", "x", "ab,c", "Éa", "buy", "sell", "1.5", "a'b", "true")
DATES = tuple(datetime.date(*parts) for parts in ((1969, 12, 31), (1970, 1, 1), (2000, 2, 29), (2024, 5, 1), (2034, 12, 31)))
ODD_DATES = (datetime.date.min, datetime.date.max)
DATE_TEXTS = ("2024-05-01", " 1970-01-01", "2023-02-29", "0000-01-01", "9999-12-31", "2024-5-1", "2024-05-01 00:00:00")
COMPARED = ("=", "<>", "<", "<=", ">", ">=")


class Generator:
    """Makes expressions. `leaf` gives a column or aggregate of a type, or None; `wild` allows what may fail and odd constants."""

    def __init__(self, rng: random.Random, rules: Rules, leaf: Callable[[str], Any], wild: bool, new: bool):
        self.rng, self.leaf, self.wild, self.new = rng, leaf, wild, new
        self.by_result: dict[str, list] = {}
        for function in functions.table(rules):
            if function.approximate or (function.fails and not wild) or (function.new and not new):
                continue
            self.by_result.setdefault(function.gives, []).append(function)

    def constant(self, kind: str) -> Literal:
        rng = self.rng
        if rng.random() < 0.03:
            return Literal(kind, None)
        if kind in ITEMS:
            # An empty one does not say of what it is.
            return Literal(kind, tuple(self.constant(ITEMS[kind]).value for _ in range(rng.choice((1, 2, 3)))))
        match kind:
            case "BOOLEAN":
                return literal(rng.random() < 0.5)
            case "BIGINT" | "INTEGER":
                extremes = (2**31, 2**53 + 1, 2**62, 2**63 - 1, -2**63) if kind == BIGINT else (2**31 - 1, -2**31)
                odd = self.wild and rng.random() < 0.05
                return Literal(kind, rng.choice(extremes if odd else SMALL))
            case "DOUBLE":
                odd = self.wild and rng.random() < 0.08
                return literal(rng.choice((float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, 1e16)) if odd else rng.choice(DOUBLES))
            case "VARCHAR":
                return literal(rng.choice(TEXTS))
            case "DATE":
                odd = self.wild and rng.random() < 0.05
                return Literal(DATE, rng.choice(ODD_DATES if odd else DATES))
            case "TIMESTAMP":
                return Literal(TIMESTAMP, rng.choice((0, 951_782_400_000_000, 1_700_000_000_123_456, -86_400_000_001)))
        raise AssertionError(kind)

    def atom(self, kind: str) -> Any:
        found = self.leaf(kind) if self.rng.random() < 0.8 else None
        if kind == INTERVAL:
            return Call(INTERVAL, "age", (self.atom(TIMESTAMP), self.atom(TIMESTAMP)))
        return found if found is not None else self.constant(kind)

    def number(self, depth: int) -> Any:
        return self.make(self.rng.choice((BIGINT, BIGINT, DOUBLE, INTEGER)), depth)

    def make(self, kind: str, depth: int) -> Any:
        """An expression of a type, at most `depth` deep."""
        if depth <= 0 or self.rng.random() < 0.15:
            return self.atom(kind)
        if kind in ITEMS:
            return self.array(kind, depth)
        roll = self.rng.random()
        if kind != INTERVAL:
            if roll < 0.10:
                return self.conditional(kind, depth)
            if roll < 0.15:
                name = self.rng.choice(("coalesce", "coalesce", "nvl" if self.new else "coalesce"))
                args = tuple(self.make(kind, depth - 1) for _ in range(2 if name == "nvl" else self.rng.choice((2, 2, 3))))
                return Call(kind, name, args)
            if roll < 0.18:
                return Call(kind, "nullif", (self.make(kind, depth - 1), self.make(kind, depth - 1)))
            if roll < 0.22 and kind != BOOLEAN:
                args = tuple(self.make(kind, depth - 1) for _ in range(self.rng.choice((2, 3))))
                return Call(kind, self.rng.choice(("greatest", "least")), args)
            if roll < 0.28:
                return self.cast(kind, depth)
        if kind == BOOLEAN:
            return self.boolean(depth)
        if kind in (BIGINT, DOUBLE) and roll < 0.62:
            return self.arithmetic(kind, depth)
        if kind == VARCHAR and roll < 0.45:
            name = self.rng.choice(("concat", "concat_ws"))
            return Call(VARCHAR, name, tuple(self.make(VARCHAR, depth - 1) for _ in range(self.rng.choice((2, 3)))))
        return self.function(kind, depth)

    def array(self, kind: str, depth: int) -> Any:
        """What there is of arrays beside columns and constants."""
        name = self.rng.choice(("case", "coalesce", "nullif", "make_array", "make_array"))
        if name == "case":
            return self.conditional(kind, depth)
        inner = ITEMS[kind] if name == "make_array" else kind
        return Call(kind, name, tuple(self.make(inner, depth - 1) for _ in range(2 if name != "make_array" else self.rng.choice((1, 2, 3)))))

    def function(self, kind: str, depth: int) -> Any:
        found = self.by_result.get(kind)
        if not found:
            return self.atom(kind)
        function = self.rng.choices(found, [f.weight for f in found])[0]
        args = []
        for takes in function.takes:
            if callable(takes):
                value = takes(self.rng)
                args.append(literal(value))
            else:
                args.append(self.make(takes, depth - 1))
        return Call(function.gives, function.name, tuple(args))

    def arithmetic(self, kind: str, depth: int) -> Any:
        if self.rng.random() < 0.12:
            return Call(kind, self.rng.choice(("neg", "abs")), (self.make(kind, depth - 1),))
        name = self.rng.choice(("+", "-", "*", "+", "-", "/", "%"))
        if kind == DOUBLE:
            sides = [self.make(DOUBLE, depth - 1), self.number(depth - 1)]
            self.rng.shuffle(sides)
            return Call(DOUBLE, name, tuple(sides))
        kinds = (BIGINT, BIGINT, INTEGER) if not self.new else (BIGINT, INTEGER, INTEGER)
        left = self.make(BIGINT, depth - 1)
        right = self.make(self.rng.choice(kinds), depth - 1)
        if self.new and self.rng.random() < 0.3:
            left = self.make(INTEGER, depth - 1)
        if name in "/%":
            right = self.divisor(right, depth)
        return Call(BIGINT, name, (left, right))

    def divisor(self, node: Any, depth: int) -> Any:
        """Mostly one that is not 0."""
        roll = self.rng.random()
        if self.wild and roll < 0.4:
            return node
        if roll < 0.7:
            return Call(node.type, "nullif", (node, Literal(node.type, 0)))
        return Literal(node.type, self.rng.choice((1, 2, 3, 7, -2)))

    def cast(self, kind: str, depth: int) -> Any:
        sources = {BOOLEAN: (BIGINT,), INTEGER: (BOOLEAN,), BIGINT: (INTEGER, BOOLEAN, TIMESTAMP), DOUBLE: (BIGINT, INTEGER),
                   VARCHAR: (BIGINT, BOOLEAN, DATE), DATE: (TIMESTAMP,), TIMESTAMP: (DATE,)}[kind]
        failing = {BOOLEAN: (VARCHAR,) if self.new else (), INTEGER: (BIGINT, DOUBLE, VARCHAR), BIGINT: (DOUBLE, VARCHAR), DOUBLE: (VARCHAR,), DATE: (VARCHAR,)}.get(kind, ())
        attempt = bool(failing) and self.rng.random() < 0.3
        if attempt or (failing and self.wild and self.rng.random() < 0.3):
            if kind == DATE and self.rng.random() < 0.7:
                return Cast(kind, literal(self.rng.choice(DATE_TEXTS)), attempt)
            return Cast(kind, self.make(self.rng.choice(failing), depth - 1), attempt)
        if not sources:
            return self.atom(kind)
        return Cast(kind, self.make(self.rng.choice(sources), depth - 1), False, self.rng.random() < 0.3)

    def conditional(self, kind: str, depth: int) -> Any:
        rng = self.rng
        otherwise = None if rng.random() < 0.25 else self.make(kind, depth - 1)
        count = rng.choice((1, 1, 2, 3))
        if rng.random() < 0.3:
            over = rng.choice((BIGINT, DOUBLE, VARCHAR, DATE))
            arms = tuple((self.make(over, 0), self.make(kind, depth - 1)) for _ in range(count))
            return CaseWhen(kind, self.make(over, depth - 1), arms, otherwise)
        arms = tuple((self.boolean(depth - 1), self.make(kind, depth - 1)) for _ in range(count))
        return CaseWhen(kind, None, arms, otherwise)

    def boolean(self, depth: int) -> Any:
        rng = self.rng
        if depth <= 0:
            return self.atom(BOOLEAN)
        roll = rng.random()
        if roll < 0.22:
            return Call(BOOLEAN, rng.choice(("and", "or")), (self.boolean(depth - 1), self.boolean(depth - 1)))
        if roll < 0.27:
            return Call(BOOLEAN, "not", (self.boolean(depth - 1),))
        if roll < 0.33 and self.wild:
            return self.guarded(depth)
        if roll < 0.40:
            kind = rng.choice((BIGINT, DOUBLE, VARCHAR, BOOLEAN, DATE, TIMESTAMP))
            return Call(BOOLEAN, rng.choice(("is null", "is not null")), (self.make(kind, depth - 1),))
        if roll < 0.44:
            return Call(BOOLEAN, rng.choice(("is true", "is not false")), (self.boolean(depth - 1),))
        if roll < 0.55:
            return self.function(BOOLEAN, depth)
        if self.new and rng.random() < 0.1:
            kind = rng.choice(LISTS)
            name = rng.choice(("=", "<>", "is distinct from", "in"))
            return Call(BOOLEAN, name, (self.make(kind, depth - 1), self.atom(kind)))
        kind = rng.choice((BIGINT, BIGINT, DOUBLE, DOUBLE, VARCHAR, DATE, TIMESTAMP, INTEGER))
        if roll < 0.62:
            items = tuple(self.constant(kind) for _ in range(rng.choice((1, 2, 3, 4, 6))))
            return Call(BOOLEAN, rng.choice(("in", "not in")), (self.make(kind, depth - 1), *items))
        if roll < 0.67:
            return Call(BOOLEAN, "between", (self.make(kind, depth - 1), self.atom(kind), self.atom(kind)))
        if roll < 0.71:
            return Call(BOOLEAN, "is distinct from", (self.make(kind, depth - 1), self.make(kind, depth - 1)))
        other = rng.choice((BIGINT, DOUBLE)) if kind in (BIGINT, DOUBLE) and rng.random() < 0.15 else kind
        if kind == DATE and rng.random() < 0.2:
            other = TIMESTAMP
        return Call(BOOLEAN, rng.choice(COMPARED), (self.make(kind, depth - 1), self.make(other, depth - 1)))

    def guarded(self, depth: int) -> Any:
        """A condition whose second half fails where the first one does not hold."""
        rng = self.rng
        divisor = self.make(BIGINT, min(1, depth - 1))
        zero = Literal(BIGINT, 0)
        ratio = Call(BIGINT, rng.choice(("/", "%")), (self.make(BIGINT, min(1, depth - 1)), divisor))
        test = Call(BOOLEAN, rng.choice((">", "<", "=")), (ratio, literal(rng.choice(SMALL))))
        if rng.random() < 0.4:
            return Call(BOOLEAN, "and", (Call(BOOLEAN, "<>", (divisor, zero)), test))
        if rng.random() < 0.5:
            return Call(BOOLEAN, "or", (Call(BOOLEAN, "=", (divisor, zero)), test))
        return CaseWhen(BOOLEAN, None, ((Call(BOOLEAN, "<>", (divisor, zero)), test),), literal(False))


def outermost(rng: random.Random, rules: Rules, argument: Any) -> Any:
    """A function whose last bits are the libm's, around an expression of DOUBLE."""
    found = [f for f in functions.table(rules) if f.approximate]
    function = rng.choice(found)
    if function.fails:
        argument = Call(DOUBLE, "+", (Call(DOUBLE, "abs", (argument,)), literal(0.5)))
    return Call(DOUBLE, function.name, (argument,))


def columns_of(columns: Any, rng: random.Random, table: str = "") -> Callable[[str], Any]:
    """A leaf that is a random column of the type; an INTEGER now and then where a BIGINT is wanted, cast."""
    by_type: dict[str, list] = {}
    for name, kind in columns:
        by_type.setdefault(kind, []).append(Column(kind, name, table))

    def leaf(kind: str) -> Any:
        found = by_type.get(kind)
        return rng.choice(found) if found else None
    return leaf

