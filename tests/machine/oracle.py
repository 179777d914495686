"""What a case must answer: for each spine row and feature of its service a value, or that the cell is an error, and for each view how
many rows it leaves out.

A view at (key, t) is computed from scratch: the rows that its WHERE lets through, of that key, with t - length <= time <= t, in the
order of time, partition and offset. A row that WHERE, a FILTER that is reached or an argument that is reached fails on is left out
of that view, and counts where a row of the spine would have seen it. A key without a row at or before t, or whose newest row is older than the TTL, has NULLs.
"""

import bisect
import collections
import dataclasses
import math
from typing import Any

import tree
import values
from aggregates import AGGREGATES
from evaluate import Compiler, Getter
from functions import table
from rules import Rules
from tree import Aggregate, Case, Column, View
from values import Fault


@dataclasses.dataclass
class Expected:
    """`cells` are columns of values by feature; a `Fault` stands for an error. `left_out` counts rows by view."""

    cells: dict[str, list]
    left_out: dict[str, int]
    # Features whose last bits are not agreed on.
    approximate: set[str]

    def faults(self) -> int:
        return sum(isinstance(cell, Fault) for column in self.cells.values() for cell in column)


class Programs:
    """The expressions of a view, compiled: its conditions from the innermost SELECT outwards, each aggregate's FILTER and arguments, key,
    time, and each feature over (key, time, aggregates' values)."""

    def __init__(self, view: View, source: tree.Source, keys: list[str], compiler: Compiler):
        self.view, self.keys = view, keys
        at = {label: number for number, (label, _, _) in enumerate(source.columns)}
        scope: Any = lambda node: lambda row, number=at[node.name]: row[number]
        self.conditions: list[Getter] = []
        for layer in view.layers:
            if layer.where is not None:
                self.conditions.append(compiler.compiled(layer.where, scope))
            inner = {label: compiler.compiled(value, scope) for label, value in layer.items}
            scope = lambda node, inner=inner: inner[node.name]
        if view.where is not None:
            self.conditions.append(compiler.compiled(view.where, scope))
        self.aggregates: list[Aggregate] = []
        for _, feature in view.features:
            for node in tree.walk(feature):
                if isinstance(node, Aggregate) and node not in self.aggregates:
                    self.aggregates.append(node)
        self.place = {node: number for number, node in enumerate(self.aggregates)}
        self.partials = [self.partial(node, scope, compiler) for node in self.aggregates]
        self.key = [scope(Column("", key)) for key in keys]
        self.time = scope(Column("", view.time))
        self.features = [(label, compiler.compiled(value, self.post_scope)) for label, value in view.features]

    @staticmethod
    def partial(node: Aggregate, scope: Any, compiler: Compiler) -> tuple[Getter | None, list[Getter]]:
        keep = None if node.filter is None else compiler.compiled(node.filter, scope)
        return keep, compiler.all(node.args, scope)

    def post_scope(self, node: Any) -> Getter:
        """Of an expression around aggregates: a row is (key, time, aggregates' values)."""
        if isinstance(node, Aggregate):
            number = self.place[node]

            def value(row):
                found = row[2][number]
                if isinstance(found, Fault):
                    raise found
                return found
            return value
        if node.name == self.view.time:
            return lambda row: row[1]
        number = self.keys.index(node.name)
        return lambda row: row[0][number]

    def fail_on_nulls(self, columns: int) -> bool:
        """Whether any of them fails on a row of NULLs: such a definition can be refused when it is made."""
        nulls = (None,) * columns
        getters = [*self.conditions, *(get for keep, args in self.partials for get in (keep, *args) if get is not None)]
        post = (nulls[:len(self.keys)], None, (None,) * len(self.aggregates))
        return any(fails(get, nulls) for get in getters) or any(fails(get, post) for _, get in self.features)


def fails(get: Getter, row: Any) -> bool:
    return isinstance(attempt(get, row), Fault)


class ViewState:
    """A view over its source's rows, ready to answer at any (key, time)."""

    def __init__(self, case: Case, view: View, compiler: Compiler):
        self.view, self.rules = view, compiler.rules
        source = next(made for made in case.sources if made.name == view.source)
        self.keys = [key for key, _ in next(made for made in case.entities if made.name == view.entity).keys]
        self.programs = Programs(view, source, self.keys, compiler)
        # Key and time of each row that is left out.
        self.left_out: list[tuple] = []
        self.rows: dict[tuple, list] = {}
        self.fold(source)
        # A window that no aggregate is over keeps no row.
        used = {node.window for node in self.programs.aggregates}
        self.windows = {window.name: window.length_us for window in view.windows if window.name in used}
        self.cache: dict = {}

    def fold(self, source: tree.Source) -> None:
        """Sort the rows that count into their keys."""
        programs = self.programs
        order = sorted(range(len(source.rows)), key=lambda number: source.places[number])
        for number in order:
            row = source.rows[number]
            key = tuple(get(row) for get in programs.key)
            if None in key:
                continue
            try:
                if not all(condition(row) is True for condition in programs.conditions):
                    continue
                arguments = [self.argument(row, *partial) for partial in programs.partials]
            except Fault:
                self.left_out.append((key, programs.time(row)))
                continue
            self.rows.setdefault(key, []).append((programs.time(row), arguments))
        self.times = {}
        for key, rows in self.rows.items():
            # Stable: equal times stay in the order of the log.
            rows.sort(key=lambda row: row[0])
            self.times[key] = [at for at, _ in rows]

    @staticmethod
    def argument(row: Any, keep: Getter | None, args: list[Getter]) -> tuple | None:
        """The arguments' values, or None where the FILTER does not pass."""
        if keep is not None and keep(row) is not True:
            return None
        return tuple(arg(row) for arg in args)

    def answer(self, key: tuple, at: int) -> dict[str, Any] | None:
        """Features by name, Faults among them; None where there is no row."""
        if None in key or key not in self.rows:
            return None
        times = self.times[key]
        end = bisect.bisect_right(times, at)
        if end == 0 or self.view.ttl_us is not None and at - times[end - 1] > self.view.ttl_us:
            return None
        # Between two moments at which a row comes or goes all aggregates stay.
        starts = {name: 0 if length is None else bisect.bisect_left(times, at - length) for name, length in self.windows.items()}
        known = (key, end, *starts.values())
        if known not in self.cache:
            rows = self.rows[key]
            self.cache[known] = [self.aggregate(number, node, rows[starts[node.window]:end]) for number, node in enumerate(self.programs.aggregates)]
        row = (key, at, self.cache[known])
        return {label: attempt(finish, row) for label, finish in self.programs.features}

    def left_out_of(self, asked: list[tuple]) -> int:
        """Rows left out that one of the asked (key, instant) would see: not younger, nor too old for every window and the TTL."""
        lengths = [self.view.ttl_us, *self.windows.values()]
        reach = math.inf if None in lengths else max(lengths)
        instants = collections.defaultdict(list)
        for key, at in asked:
            instants[key].append(at)
        return sum(any(at - reach <= time <= at for at in instants[key]) for key, time in self.left_out)

    def aggregate(self, number: int, node: Aggregate, rows: list) -> Any:
        definition = AGGREGATES[canonical(node.name)]
        kept = [arguments[number] for _, arguments in rows if arguments[number] is not None]
        if len(node.args) == 1:
            kept = [arguments[0] for arguments in kept]
        try:
            return definition.value(kept, node.args[0].type if node.args else "", self.rules)
        except Fault as fault:
            return fault


CANONICAL = {written: name for name, definition in AGGREGATES.items() for written in definition.names}


def canonical(written: str) -> str:
    return written if written in AGGREGATES else CANONICAL[written]


def attempt(get: Getter, row: Any) -> Any:
    try:
        return get(row)
    except Fault as fault:
        return fault


def service_scope(case: Case) -> Any:
    """A row is (request's values, {alias: features or None})."""
    place = {label: number for number, (label, _) in enumerate(case.service.request)}

    def scope(node: Column) -> Getter:
        if node.table in ("", "request") and node.name in place:
            return lambda row, number=place[node.name]: row[0][number]

        def feature(row):
            features = row[1][node.table]
            found = None if features is None else features[node.name]
            if isinstance(found, Fault):
                raise found
            return found
        return feature
    return scope


def expected(case: Case, rules: Rules) -> Expected:
    """The answers to a case."""
    compiler = Compiler(rules)
    states = {view.name: ViewState(case, view, compiler) for view in case.views}
    place = {label: number for number, (label, _) in enumerate(case.service.request)}
    joins = [(join.alias, states[join.view], [place[dict(join.on)[key]] for key in states[join.view].keys]) for join in case.service.joins]
    scope, finishers = service_scope(case), []
    approximate = {f.name for f in table(rules) if f.approximate}
    loose = set()
    views = {view.name: view for view in case.views}
    for label, value in case.service.items:
        if label == "*":
            view = views[next(join.view for join in case.service.joins if join.alias == value.table)]
            finishers += [(name, scope(Column(feature.type, name, value.table))) for name, feature in view.features]
            continue
        finishers.append((label, compiler.compiled(value, scope)))
        if any(isinstance(node, tree.Call) and node.name in approximate for node in tree.walk(value)):
            loose.add(label)
    cells: dict[str, list] = {label: [] for label, _ in finishers}
    for *request, at in case.spine:
        found = {alias: state.answer(tuple(request[number] for number in numbers), at) for alias, state, numbers in joins}
        for label, finish in finishers:
            cells[label].append(attempt(finish, (request, found)))
    asked = collections.defaultdict(list)
    for join, (_, _, numbers) in zip(case.service.joins, joins):
        asked[join.view] += [(tuple(request[number] for number in numbers), at) for *request, at in case.spine]
    left_out = {name: state.left_out_of(asked[name]) for name, state in states.items()}
    return Expected(cells, {name: rows for name, rows in left_out.items() if rows}, loose)


def equal(wanted: Any, got: Any, loose: bool) -> bool:
    """Whether an answer is the expected one; an error is NULL in the column."""
    if isinstance(wanted, Fault):
        return got is None
    if loose and isinstance(wanted, float) and isinstance(got, float):
        return values.ulps_between(wanted, got) <= 4
    return values.same(wanted, got)
