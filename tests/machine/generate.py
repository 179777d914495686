"""A random case from a seed: sources with their logs, entities, two to seven views with filters, derived tables, common tables and
windows, a service with expressions over requests, and a spine that looks at windows' edges.

Logs have ties, disorder, NULLs, NaN of both signs, infinities, -0.0, extremes, duplicates, hot keys and keys without rows.
"""

import datetime
import random
import struct
from typing import Any

from aggregates import AGGREGATES
from civil import DAY, HOUR, MINUTE, SECOND, days_of
from evaluate import Compiler
from expressions import Generator, columns_of, outermost
from oracle import Programs, fails
from rules import PROMISED, Rules
from tree import Aggregate, Case, Column, Entity, Join, Layer, Service, Source, View, Window, walk
from values import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, ITEMS, LISTS, TIMESTAMP, VARCHAR

NAMES = ("a", "b", "c", "amount", "qty", "price", "flag", "word", "at2", "order", "Größe", "user id", "x y", "Mixed", "n", "m", "z", "select")
NEGATIVE_NAN = struct.unpack(">d", bytes.fromhex("fff8000000000000"))[0]
ODD_DOUBLES = (float("nan"), NEGATIVE_NAN, float("inf"), -float("inf"), -0.0, 0.0, 5e-324, -5e-324, 1.7976931348623157e308, -1e308, 1e16,
               0.1, 2.0**53)
ODD_BIGINTS = (2**63 - 1, -2**63, 2**62, 2**53 + 1, -2**53, 2**31, -2**31 - 1, 3_000_000_000)
ODD_INTEGERS = (2**31 - 1, -2**31, 2**30, 46_341, 3_000_000)
WORDS = ("", "a", "b", "abc", "buy", "sell", "5", "-12", "x", "ab,c", "Éa", "1.5", "a b", " a ", "日本", "true", "A", "é", "no", "1e400",
         "99999999999999999999")
KEY_TYPES = (VARCHAR, VARCHAR, BIGINT, INTEGER, BOOLEAN, DATE, TIMESTAMP)
ODD_DATES = (datetime.date.min, datetime.date.max, datetime.date(1969, 12, 31))
LENGTHS = (("INTERVAL '1' SECOND", SECOND), ("INTERVAL '90' SECOND", 90 * SECOND), ("INTERVAL '15' MINUTE", 15 * MINUTE),
           ("INTERVAL '1' HOUR", HOUR), ("INTERVAL '1 hour'", HOUR), ("INTERVAL '1 day 12 hours'", 36 * HOUR),
           ("INTERVAL '1' DAY", DAY), ("INTERVAL '0.5' HOUR", HOUR // 2), ("INTERVAL '7' DAY", 7 * DAY), ("INTERVAL '30' DAY", 30 * DAY),
           ("INTERVAL '0' SECOND", 0),
           ("INTERVAL '1' MILLISECOND", 1_000), ("INTERVAL '36500' DAY", 36_500 * DAY))
NEW_LENGTHS = (("INTERVAL 7 DAY", 7 * DAY), ("INTERVAL 90 MINUTE", 90 * MINUTE))


class Options:
    """What a run asks of the generator. `tame` leaves out what may fail and odd values; `new` allows what only the registry of
    functions knows, `aggregates` what only that of aggregates does; `prefix` stands in front of the names of a case, so that many live in one server."""

    def __init__(self, rules: Rules = PROMISED, tame: bool = False, new: bool = True, prefix: str = "", live: bool = False,
                 aggregates: bool = False):
        self.rules, self.tame, self.new, self.prefix, self.live, self.aggregates = rules, tame, new, prefix, live, aggregates


class Maker:
    """One case in the making."""

    def __init__(self, seed: int, options: Options):
        self.seed, self.rng, self.options = seed, random.Random(f"case {seed}"), options
        self.features, self.inner = 0, 0
        self.span = self.rng.choice((10 * MINUTE, 6 * HOUR, 3 * DAY, 60 * DAY))
        first, last = (2000, 2024) if options.live else (1908, 2034)
        self.start = self.rng.randrange(days_of(first, 1, 1), days_of(last, 1, 1)) * DAY
        # Times on a grid meet each other and the edges of windows.
        self.grid = self.rng.choice((1, SECOND, MINUTE, HOUR, self.span // 7))

    def case(self) -> Case:
        rng = self.rng
        key_types = [rng.choice(KEY_TYPES) for _ in range(3)]
        keys = [(name, kind) for name, kind in zip(rng.sample(("k", "user id", "shop", "Region", "k2"), 3), key_types)]
        # What a key is called in the sources, where a derived table gives it its name.
        self.renamed = {name: f"{name} in log" for name, _ in keys if rng.random() < 0.15}
        self.pools = {name: self.key_pool(kind) for name, kind in keys}
        entities = []
        for number in range(rng.choice((1, 1, 2))):
            entities.append(Entity(f"{self.options.prefix}ent{number}", tuple(rng.sample(keys, rng.choice((1, 1, 2, 3))))))
        sources = [self.source(number, [(self.key_column(key), kind) for key, kind in keys]) for number in range(rng.choice((1, 1, 2)))]
        views = [self.sound_view(number, rng.choice(sources), rng.choice(entities)) for number in range(rng.randint(2, 7))]
        service = self.service(views, {entity.name: entity for entity in entities})
        spine = self.spine(service, views, sources)
        return Case(self.seed, tuple(sources), tuple(entities), tuple(views), service, tuple(spine), rng.choice((1, 7, 1_000_000)))

    def key_column(self, key: str) -> str:
        return self.renamed.get(key, key)

    # --- Data --------------------------------------------------------------------------------------------------------------------

    def key_pool(self, kind: str) -> list:
        rng, count = self.rng, self.rng.choice((1, 2, 3, 5))
        match kind:
            case "BOOLEAN":
                return [True, False]
            case "VARCHAR":
                return rng.sample(("a", "b", "", "Éa", "a\x00b", "long key " * 5, "'q'", "日本"), count)
            case "DATE":
                return [self.day() for _ in range(count)]
            case "TIMESTAMP":
                return [self.start + number * HOUR for number in range(count)]
        extremes = [2**31 - 1, -2**31] if kind == INTEGER else [2**63 - 1, -2**63]
        return rng.sample([0, 1, 2, 3, -1, *extremes], count)

    def day(self) -> datetime.date:
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=self.start // DAY + self.rng.randint(-2, 40))

    def instant(self) -> int:
        return self.start + self.rng.randrange(0, self.span + 1) // self.grid * self.grid

    def source(self, number: int, keys: list) -> Source:
        rng = self.rng
        names = rng.sample(NAMES, rng.randint(3, 8))
        taken = {name for key, _ in keys for name in (key, key.removesuffix(" in log"))}
        kinds = [BIGINT, DOUBLE, rng.choice((VARCHAR, BOOLEAN)), *(rng.choice((INTEGER, BIGINT, DOUBLE, VARCHAR, BOOLEAN, DATE, TIMESTAMP)) for _ in names)]
        if self.options.new:
            kinds = [kind if at < 2 or rng.random() < 0.8 else rng.choice(LISTS) for at, kind in enumerate(kinds)]
        plain = [(name, kind, rng.random() < 0.7) for name, kind in zip(names, kinds) if name not in taken]
        columns = [*((name, kind, rng.random() < 0.3) for name, kind in keys), *plain, ("ts", TIMESTAMP, False)]
        moods = {name: "plain" if self.options.tame else rng.choice(("plain", "plain", "plain", "mixed", "odd")) for name, _, _ in columns}
        rows = [self.row(columns, moods) for _ in range(rng.choice((0, 1, 5, 20, 40, 80, 120)))]
        if rows and rng.random() < 0.3:
            rows += [rng.choice(rows) for _ in range(3)]
        if rng.random() < 0.7:
            rows.sort(key=lambda row: row[-1] + rng.randrange(0, self.span // 10 + 1))
        partitions = rng.choice((1, 1, 2, 4))
        places, ends = [], [0] * partitions
        for _ in rows:
            partition = rng.randrange(partitions)
            places.append((partition, ends[partition]))
            ends[partition] += rng.choice((1, 1, 1, 2))
        return Source(f"{self.options.prefix}src{number}", tuple(columns), "ts", tuple(rows), tuple(places), rng.choice((1, 3, 16, 1_000_000)), partitions)

    def row(self, columns: list, moods: dict) -> tuple:
        return tuple(self.cell(name, kind, nullable, moods[name]) for name, kind, nullable in columns)

    def cell(self, name: str, kind: str, nullable: bool, mood: str) -> Any:
        rng = self.rng
        if name == "ts":
            return self.instant()
        if nullable and rng.random() < 0.12:
            return None
        name = name.removesuffix(" in log")
        if name in self.pools:
            # The first key of a pool is hot.
            pool = self.pools[name]
            return pool[0] if rng.random() < 0.4 else rng.choice(pool)
        if kind in ITEMS:
            return tuple(self.cell("", ITEMS[kind], True, mood) for _ in range(rng.choice((0, 1, 2, 3, 5))))
        odd = mood == "odd" and rng.random() < 0.5 or mood == "mixed" and rng.random() < 0.1
        match kind:
            case "BOOLEAN":
                return rng.random() < 0.5
            case "BIGINT":
                return rng.choice(ODD_BIGINTS) if odd else rng.randint(-10, 10) if rng.random() < 0.8 else rng.randint(-10**6, 10**6)
            case "INTEGER":
                return rng.choice(ODD_INTEGERS) if odd else rng.randint(-10, 10)
            case "DOUBLE":
                return rng.choice(ODD_DOUBLES) if odd else rng.randint(-40, 40) / 4 if rng.random() < 0.6 else rng.gauss(0, 1000)
            case "VARCHAR":
                return rng.choice(WORDS)
            case "DATE":
                return rng.choice(ODD_DATES) if odd else self.day()
        return self.instant() + rng.choice((0, 1, -1, DAY))

    # --- Views -------------------------------------------------------------------------------------------------------------------

    def generator(self, leaf: Any) -> Generator:
        return Generator(self.rng, self.options.rules, leaf, not self.options.tame, self.options.new)

    def sound_view(self, number: int, source: Source, entity: Entity) -> View:
        """A view that does not fail on a row of NULLs, which would be refused."""
        compiler, keys = Compiler(self.options.rules), [key for key, _ in entity.keys]
        while True:
            made = self.view(number, source, entity)
            if not Programs(made, source, keys, compiler).fail_on_nulls(len(source.columns)):
                return made

    def sound_item(self, make: Any) -> Any:
        """An expression of a service, alike."""
        compiler = Compiler(self.options.rules)
        while True:
            made = make()
            if not fails(compiler.compiled(made, lambda node: lambda row: None), ()):
                return made

    def view(self, number: int, source: Source, entity: Entity) -> View:
        rng = self.rng
        columns = [(name, kind) for name, kind, _ in source.columns]
        layers, fixed = [], [*(name for name, _ in entity.keys), "ts"]
        is_renamed = any(key in self.renamed for key, _ in entity.keys)
        for depth in range(rng.choice((1, 1, 2) if is_renamed else (0, 0, 0, 1, 1, 2))):
            origin = {name: self.key_column(name) if depth == 0 else name for name in fixed}
            layer = self.layer(columns, origin, rng.choice(("derived", "cte")) if not layers or layers[-1].form == "cte" else "derived")
            layers.append(layer)
            columns = [(name, value.type) for name, value in layer.items]
        pre = self.generator(columns_of(columns, rng))
        where = pre.boolean(2) if rng.random() < 0.25 else None
        windows = self.windows()
        features = tuple(self.feature(pre, windows, entity) for _ in range(rng.randint(1, 5)))
        ttl = rng.choice((None, None, None, HOUR, DAY, 2 * self.span, 0, SECOND))
        return View(f"{self.options.prefix}v{number}", entity.name, source.name, ttl, "ts", tuple(layers), where, tuple(windows), features, rng.random() < 0.9)

    def layer(self, columns: list, fixed: dict, form: str) -> Layer:
        """`fixed` are the columns that go through, by the name that they get: keys and time."""
        rng = self.rng
        made = self.generator(columns_of(columns, rng))
        kinds = dict(columns)
        items: list = [(name, Column(kinds[origin], origin)) for name, origin in fixed.items()]
        for name, kind in columns:
            if name not in fixed and name not in fixed.values() and rng.random() < 0.7:
                items.append((name, Column(kind, name)))
        for _ in range(rng.randint(1, 3)):
            value = made.make(rng.choice((BIGINT, DOUBLE, VARCHAR, BOOLEAN, DATE, *(LISTS[:3] if self.options.new else ()))), 2)
            self.inner += 1
            items.append((f"y{self.inner}", value))
        return Layer(tuple(items), made.boolean(2) if rng.random() < 0.25 else None, form)

    def windows(self) -> list[Window]:
        rng, made = self.rng, []
        for number in range(rng.randint(1, 4)):
            text, length = rng.choice((*LENGTHS, *(NEW_LENGTHS if self.options.new else ()), ("", None), ("", None)))
            if length is None:
                made.append(Window(f"w{number}", "", None, rng.random() < 0.8, rng.choice(("plain", "unbounded"))))
            else:
                whole = [window.name for window in made if window.named and window.length_us is None and window.form == "plain"]
                base = rng.choice(whole) if self.options.new and whole and rng.random() < 0.5 else ""
                made.append(Window(f"w{number}", text, length, rng.random() < 0.8, rng.choice(("between", "between", "short")), base))
        return made

    def aggregate(self, pre: Generator, windows: list, kind: str) -> Any:
        """An aggregate of a type."""
        rng, choices = self.rng, []
        for name, definition in AGGREGATES.items():
            if definition.new and not self.options.aggregates:
                continue
            choices += [(name, takes) for takes in definition.takes if definition.gives(takes[0] if takes else "") == kind]
        if not choices:
            return None
        name, takes = rng.choice(choices)
        keep = pre.boolean(2) if rng.random() < 0.3 else None
        args = tuple(pre.atom(each) if rng.random() < 0.6 else pre.make(each, 2) for each in takes)
        return Aggregate(kind, rng.choice(AGGREGATES[name].names), args, keep, rng.choice(windows).name)

    def feature(self, pre: Generator, windows: list, entity: Entity) -> tuple:
        rng = self.rng
        kind = rng.choice((BIGINT, BIGINT, DOUBLE, DOUBLE, DOUBLE, BOOLEAN, VARCHAR, INTEGER, DATE, TIMESTAMP))
        if self.options.new and rng.random() < 0.2:
            kind = rng.choice(LISTS)
        value = self.aggregate(pre, windows, kind)
        if rng.random() < 0.35:
            own = columns_of([*entity.keys, ("ts", TIMESTAMP)], rng)

            def leaf(wanted: str) -> Any:
                found = own(wanted) if rng.random() < 0.15 else None
                return found if found is not None else self.aggregate(pre, windows, wanted)
            value = self.generator(leaf).make(kind, 2)
            # An output has a type that can be stored and is made of at least one aggregate.
            value = value if any_aggregate(value) else self.aggregate(pre, windows, kind)
        self.features += 1
        return f"f{self.features}", value

    # --- The service and its spine -----------------------------------------------------------------------------------------------

    def service(self, views: list, entities: dict) -> Service:
        rng = self.rng
        request, joins, items = [], [], []
        extra = [("q", BIGINT), ("r", DOUBLE), ("s", VARCHAR), ("on", BOOLEAN)][:rng.randint(1, 4)]
        for number, view in enumerate(views):
            on = []
            using = rng.random() < 0.7
            for key, kind in entities[view.entity].keys:
                column = key if using else f"{key}_of"
                on.append((key, column))
                if (column, kind) not in request:
                    request.append((column, kind))
            joins.append(Join(view.name, f"t{number}", tuple(on), using))
        offered = [(f"t{number}", view) for number, view in enumerate(views)]
        for alias, view in offered:
            if rng.random() < 0.5:
                items.append(("*", Column("", "*", alias)))
            else:
                items += [(name, Column(value.type, name, alias)) for name, value in view.features]
        pool: dict[str, list] = {}
        for alias, view in offered:
            for name, value in view.features:
                pool.setdefault(value.type, []).append(Column(value.type, name, alias))
        for name, kind in extra:
            pool.setdefault(kind, []).append(Column(kind, name, "request"))
        made = self.generator(lambda kind: rng.choice(pool[kind]) if kind in pool else None)
        for number in range(rng.randint(0, 3)):
            kind = rng.choice((BIGINT, DOUBLE, BOOLEAN, VARCHAR, DATE, *(LISTS[:2] if self.options.new else ())))
            items.append((f"e{number}", self.sound_item(lambda: made.make(kind, 3))))
        if rng.random() < 0.3:
            items.append(("e_last", self.sound_item(lambda: outermost(rng, self.options.rules, made.make(DOUBLE, 1)))))
        return Service(f"{self.options.prefix}svc", (*request, *extra), tuple(joins), tuple(items))

    def spine(self, service: Service, views: list, sources: list) -> list:
        rng, rows = self.rng, []
        lengths = [window.length_us for view in views for window in view.windows if window.length_us is not None]
        lengths += [view.ttl_us for view in views if view.ttl_us is not None]
        times = [row[-1] for source in sources for row in source.rows]
        for _ in range(rng.choice((5, 20, 40, 60))):
            request = [self.request_value(name, kind) for name, kind in service.request]
            rows.append((*request, self.moment(times, lengths)))
        return rows

    def request_value(self, name: str, kind: str) -> Any:
        rng, key = self.rng, name.removesuffix("_of")
        if key in self.pools:
            roll = rng.random()
            if roll < 0.03:
                return None
            if roll < 0.08:
                return {VARCHAR: "nobody", BOOLEAN: True, DATE: datetime.date(1970, 1, 2), TIMESTAMP: 7}.get(kind, 77)
            return rng.choice(self.pools[key])
        return self.cell(name, kind, True, "plain" if self.options.tame else "mixed")

    def moment(self, times: list, lengths: list) -> int:
        rng, roll = self.rng, self.rng.random()
        if not times or roll < 0.1:
            return self.start + rng.randrange(-self.span, 2 * self.span)
        at = rng.choice(times)
        if roll < 0.4:
            return at + rng.choice((-1, 0, 0, 1))
        if lengths and roll < 0.8:
            return at + min(rng.choice(lengths), 400 * DAY) + rng.choice((-1, 0, 1))
        return at + rng.randrange(0, self.span)


def any_aggregate(value: Any) -> bool:
    return any(isinstance(node, Aggregate) for node in walk(value))


def make(seed: int, options: Options) -> Case:
    """The case of a seed."""
    return Maker(seed, options).case()
