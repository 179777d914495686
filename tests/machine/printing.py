"""Trees as SQL text: expressions in full parentheses, names quoted where they must be, and the ways to write a window, a derived table
or a join that the tree asks for.
"""

import datetime
import math
import re
from typing import Any

import functions
from rules import PROMISED
from tree import Aggregate, Call, Case, CaseWhen, Cast, Column, Literal, Service, Source, View, Window
from values import DATE, DOUBLE, ITEMS, TIMESTAMP, VARCHAR

PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
RESERVED = {"select", "from", "where", "order", "group", "user", "end", "case", "when", "table", "values", "window", "interval", "ts2"}
TEMPLATES = {(f.name, len(f.takes)): f.sql for f in functions.table(PROMISED)}
WRITTEN = {
    "neg": "(- {})", "not": "(NOT {})", "and": "({} AND {})", "or": "({} OR {})", "is null": "({} IS NULL)",
    "is not null": "({} IS NOT NULL)", "is true": "({} IS TRUE)", "is not false": "({} IS NOT FALSE)",
    "is distinct from": "({} IS DISTINCT FROM {})", "between": "({} BETWEEN {} AND {})"}
INFIX = ("+", "-", "*", "/", "%", "=", "<>", "<", "<=", ">", ">=")


def name(text: str) -> str:
    """An identifier, quoted unless it is plain."""
    if PLAIN.fullmatch(text) and text not in RESERVED:
        return text
    return '"' + text.replace('"', '""') + '"'


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def instant(at: int) -> str:
    """A timestamp's text, in UTC."""
    whole = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=at)
    return whole.isoformat(sep=" ", timespec="microseconds")


def literal(node: Literal) -> str:
    value, kind = node.value, node.type
    if kind in ITEMS:
        # There is no cast to an array, and so no other NULL of one.
        if value is None:
            one = literal(Literal(kind, (None,)))
            return f"nullif({one}, {one})"
        return f"ARRAY[{', '.join(literal(Literal(ITEMS[kind], item)) for item in value)}]"
    if value is None:
        return f"CAST(NULL AS {kind})"
    if kind == VARCHAR:
        return quoted(value)
    if kind == DATE:
        return f"DATE '{value.isoformat()}'"
    if kind == TIMESTAMP:
        # The literal alone is of another unit.
        return f"CAST(TIMESTAMP '{instant(value)}' AS TIMESTAMP)"
    if kind == DOUBLE:
        if not math.isfinite(value):
            word = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
            return f"CAST('{word}' AS DOUBLE)"
        text = repr(value) if "e" in repr(value) or "." in repr(value) else f"{value!r}.0"
        return f"({text})" if text.startswith("-") else text
    if isinstance(value, bool):
        return "true" if value else "false"
    if value == -2**63:
        # The parser takes the number before its sign.
        return "(-9223372036854775807 - 1)"
    text = f"({value})" if value < 0 else str(value)
    return text if kind == "BIGINT" else f"CAST({text} AS {kind})"


def expression(node: Any) -> str:
    """An expression's SQL."""
    match node:
        case Literal():
            return literal(node)
        case Column():
            return f"{name(node.table)}.{name(node.name)}" if node.table else name(node.name)
        case Cast():
            if node.short:
                return f"({expression(node.arg)})::{node.type}"
            return f"{'TRY_CAST' if node.attempt else 'CAST'}({expression(node.arg)} AS {node.type})"
        case CaseWhen():
            base = "" if node.base is None else f" {expression(node.base)}"
            arms = "".join(f" WHEN {expression(when)} THEN {expression(then)}" for when, then in node.arms)
            rest = "" if node.otherwise is None else f" ELSE {expression(node.otherwise)}"
            return f"CASE{base}{arms}{rest} END"
        case Aggregate():
            return aggregate(node, {})
        case Call():
            return call(node)
    raise AssertionError(node)


def call(node: Call) -> str:
    args = [expression(arg) for arg in node.args]
    if node.name == "make_array":
        return f"ARRAY[{', '.join(args)}]"
    if node.name in WRITTEN:
        return WRITTEN[node.name].format(*args)
    if node.name in INFIX:
        return f"({args[0]} {node.name} {args[1]})"
    if node.name in ("in", "not in"):
        return f"({args[0]} {node.name.upper()} ({', '.join(args[1:])}))"
    template = TEMPLATES.get((node.name, len(args)))
    return template.format(*args) if template else f"{node.name}({', '.join(args)})"


class Windows:
    """How the windows of a view are written."""

    def __init__(self, view: View, keys: list[str]):
        self.order = f"PARTITION BY {', '.join(map(name, keys))} ORDER BY {name(view.time)}"
        self.by_name = {window.name: window for window in view.windows}

    def inside(self, window: Window) -> str:
        """What stands between the brackets."""
        frame = ""
        if window.length_us is not None:
            frame = {"between": f"RANGE BETWEEN {window.text} PRECEDING AND CURRENT ROW", "short": f"RANGE {window.text} PRECEDING"}[window.form]
        elif window.form == "unbounded":
            frame = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        start = name(window.base) if window.base else self.order
        return f"{start} {frame}".strip()

    def over(self, wanted: str) -> str:
        window = self.by_name[wanted]
        return f"OVER {name(window.name)}" if window.named else f"OVER ({self.inside(window)})"

    def clause(self) -> str:
        named = [window for window in self.by_name.values() if window.named]
        if not named:
            return ""
        return "\nWINDOW " + ",\n       ".join(f"{name(window.name)} AS ({self.inside(window)})" for window in named)


def aggregate(node: Aggregate, windows: Any) -> str:
    args = ", ".join(expression(arg) for arg in node.args)
    if node.name.startswith("array_agg"):
        text = f"array_agg({args}, {node.name.split()[1]})"
    else:
        text = {"count(*)": "count(*)", "count distinct": f"count(DISTINCT {args})"}.get(node.name, f"{node.name}({args})")
    if node.filter is not None:
        text += f" FILTER (WHERE {expression(node.filter)})"
    return f"{text} {windows.over(node.window)}" if windows else f"{text} OVER {node.window}"


def with_windows(node: Any, windows: Windows) -> str:
    """A feature's SQL: `expression` with each aggregate's window as its view writes it."""
    match node:
        case Aggregate():
            return aggregate(node, windows)
        case Call():
            parts = tuple(Column(arg.type, f"\x00{at}") for at, arg in enumerate(node.args))
            return filled(expression(Call(node.type, node.name, parts)), node.args, windows)
        case Cast():
            part = Column(node.arg.type, "\x000")
            return filled(expression(Cast(node.type, part, node.attempt, node.short)), (node.arg,), windows)
        case CaseWhen():
            inner: list = []

            def hole(child: Any) -> Any:
                if child is None:
                    return None
                inner.append(child)
                return Column(child.type, f"\x00{len(inner) - 1}")
            arms = [(hole(when), hole(then)) for when, then in node.arms]
            text = expression(CaseWhen(node.type, hole(node.base), tuple(arms), hole(node.otherwise)))
            return filled(text, tuple(inner), windows)
    return expression(node)


def filled(text: str, children: tuple, windows: Windows) -> str:
    """`text` with its holes filled by the children."""
    return re.sub('"\x00([0-9]+)"', lambda hole: with_windows(children[int(hole[1])], windows), text)


def select(view: View, keys: list[str]) -> str:
    """The SELECT of a view with its layers."""
    origin, common = name(view.source), []
    for number, layer in enumerate(view.layers):
        items = ", ".join(item(expression(value), label, isinstance(value, Column) and value.name == label) for label, value in layer.items)
        where = "" if layer.where is None else f" WHERE {expression(layer.where)}"
        text = f"SELECT {items} FROM {origin}{where}"
        if layer.form == "cte":
            common.append(f"c{number} AS ({text})")
            origin = f"c{number}"
        else:
            origin = f"({text}) AS d{number}"
    windows = Windows(view, keys)
    shown = [name(column) for column in (*keys, view.time)] if view.shows_key else []
    shown += [f"{with_windows(value, windows)} AS {name(label)}" for label, value in view.features]
    where = "" if view.where is None else f"\nWHERE {expression(view.where)}"
    start = f"WITH {', '.join(common)} " if common else ""
    joined = ",\n       ".join(shown)
    return f"{start}SELECT {joined}\nFROM {origin}{where}{windows.clause()}"


def item(text: str, label: str, is_plain: bool) -> str:
    return text if is_plain else f"{text} AS {name(label)}"


def source(made: Source) -> str:
    columns = [f"{name(label)} {kind}{'' if nullable else ' NOT NULL'}" for label, kind, nullable in made.columns]
    columns.append(f"WATERMARK FOR {name(made.time)} AS {name(made.time)} - INTERVAL '30' DAY")
    body = ",\n    ".join(columns)
    return f"CREATE SOURCE {name(made.name)} (\n    {body}\n) WITH (connector = 'kafka', topic = '{made.name}', format = 'json');"


def service(made: Service) -> str:
    request = ", ".join(f"{name(label)} {kind}" for label, kind in made.request)
    items = ", ".join(f"{name(value.table)}.*" if label == "*" else item(expression(value), label, plain(label, value)) for label, value in made.items)
    joins = "".join("\nLEFT JOIN " + join_text(join) for join in made.joins)
    return f"CREATE FEATURE SERVICE {name(made.name)} ({request}) AS\nSELECT {items}\nFROM request{joins};"


def plain(label: str, value: Any) -> bool:
    return isinstance(value, Column) and value.name == label


def join_text(join: Any) -> str:
    start = f"{name(join.view)} AS {name(join.alias)} "
    if join.using:
        return start + f"USING ({', '.join(name(key) for key, _ in join.on)})"
    return start + "ON " + " AND ".join(f"{name(join.alias)}.{name(key)} = request.{name(column)}" for key, column in join.on)


def definitions(case: Case) -> str:
    """All statements of a case."""
    keys = {entity.name: [key for key, _ in entity.keys] for entity in case.entities}
    texts = [source(made) for made in case.sources]
    for entity in case.entities:
        columns = ", ".join(f"{name(key)} {kind}" for key, kind in entity.keys)
        texts.append(f"CREATE ENTITY {name(entity.name)} ({columns});")
    for view in case.views:
        ttl = "" if view.ttl_us is None else f" TTL INTERVAL '{view.ttl_us // 1_000_000}' SECOND"
        texts.append(f"CREATE FEATURE VIEW {name(view.name)} ENTITY {name(view.entity)}{ttl} AS\n{select(view, keys[view.entity])};")
    texts.append(service(case.service))
    return "\n\n".join(texts) + "\n"
