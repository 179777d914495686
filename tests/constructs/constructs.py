"""Reads the table of constructs and plays one: the definitions that a row means, the events and the spine that all share, and what came
out: right, refused clearly, or what is wrong with it.

A row of constructs.txt is a name, and below it, indented: one line `kind: SQL`; `= a | b | c`, the values of the feature at the three
spine rows (numbers, "texts", DATE 2024-01-15, null, NaN, Infinity, error); `! word; this/or that`, what a refusal must name. A row with both may be
either. `feature: NAME` is the feature to look at where it is not f. In SQL `\\n` is a line's end and `{300 times X}` repeats X.

Kinds: `f` a feature over tx with the windows ever, h (an hour) and d (a day); `over` what follows PARTITION BY and ORDER BY; `length`
the length of a frame; `view` a view's whole SELECT; `column` the type of a column; `source` a whole CREATE SOURCE o; `item` an item of
a service over view v; `service` a service's SELECT; `statement` more statements; `whole` all after source and entity; `file` the file.
"""

import dataclasses
import datetime
import decimal
import json
import pathlib
import re
import sys
import textwrap
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "machine"))

import engine_runs  # noqa: E402
import refusals  # noqa: E402
import values  # noqa: E402

TIME = pa.timestamp("us", "UTC")
SOURCE = """CREATE SOURCE tx (user_id VARCHAR NOT NULL, merchant VARCHAR, kind VARCHAR, amount DOUBLE, qty BIGINT, cents INTEGER,
    ok BOOLEAN, seen TIMESTAMP, doc VARCHAR, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka', topic = 'tx', format = 'json');
CREATE SOURCE other (user_id VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka', topic = 'other', format = 'json');
CREATE ENTITY customer (user_id VARCHAR);
"""
HOUR = "PARTITION BY user_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW"
WINDOWS = f"""WINDOW ever AS (PARTITION BY user_id ORDER BY ts), h AS ({HOUR}),
    d AS (PARTITION BY user_id ORDER BY ts RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW)"""
VIEW = f"""CREATE FEATURE VIEW v ENTITY customer AS
SELECT user_id, ts, count(*) OVER ever AS f, count(*) OVER h AS n, sum(amount) OVER ever AS total, last_value(qty) OVER h AS last_h,
    last_value(ts) OVER ever AS newest
FROM tx
{WINDOWS};
"""
REQUEST = "(user_id VARCHAR, q BIGINT, r DOUBLE, s VARCHAR, b BOOLEAN, at TIMESTAMP)"
COLUMNS = ("user_id", "merchant", "kind", "amount", "qty", "cents", "ok", "seen", "doc", "ts")


def instant(text: str) -> int:
    at = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc)
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def events() -> pa.Table:
    """The log of tx: five events of u1, one of u2."""
    day = "2024-01-15 "
    rows = [("u1", "m1", "buy", 10.5, 1, 250, True, 60.0, '{"a": 1, "b": {"c": "x"}}', day + "10:00:00"),
            ("u1", "m2", "sell", 4.0, 0, 100, False, None, '{"a": 2, "b": {"c": "y"}}', day + "10:10:00.500"),
            ("u2", "m1", "sell", -2.0, 5, 300, True, 0.5, '{"a": 7, "b": {"c": "z"}}', day + "10:15:00"),
            ("u1", "m1", "buy", None, 2, None, True, 1800.25, None, day + "10:30:00"),
            ("u1", None, None, 7.25, -3, 50, None, 1.0, None, day + "11:00:00"),
            ("u1", "m2", "buy", 20.0, 4, 75, False, None, None, day + "11:20:00")]
    times = [instant(row[9]) for row in rows]
    seen = [None if row[7] is None else at - int(row[7] * 1_000_000) for row, at in zip(rows, times)]
    columns = dict(zip(COLUMNS, map(list, zip(*rows))))
    return pa.table({**columns, "cents": pa.array(columns["cents"], pa.int32()), "seen": pa.array(seen, TIME), "ts": pa.array(times, TIME)})


def spine() -> pa.Table:
    """u1 soon after its last event, u1 a day later, u2."""
    at = [instant("2024-01-15 11:30:00"), instant("2024-01-16 12:00:00"), instant("2024-01-15 10:20:00")]
    return pa.table({"user_id": ["u1", "u1", "u2"], "q": pa.array([10, 0, None], pa.int64()), "r": [1.5, 2.0, 2.0],
                     "s": ["u2", None, "u2"], "b": [True, False, None], "at": pa.array(at, TIME), "event_time": pa.array(at, TIME)})


# Columns x of events of a type, where a file can hold it.
TYPED = {
    "DECIMAL(12,2)": (pa.decimal128(12, 2), decimal.Decimal("1.25")), "NUMERIC": (pa.decimal128(38, 9), decimal.Decimal("1")),
    "DATE": (pa.date32(), datetime.date(2024, 1, 1)), "FLOAT": (pa.float32(), 1.5), "REAL": (pa.float32(), 1.5),
    "SMALLINT": (pa.int16(), 7), "TINYINT": (pa.int8(), 7), "INT8": (pa.int64(), 7), "DOUBLE ARRAY": (pa.list_(pa.float64()), [1.0]),
    "ARRAY<DOUBLE>": (pa.list_(pa.float64()), [1.0]), "DOUBLE[]": (pa.list_(pa.float64()), [1.0]),
    "STRUCT<a INT>": (pa.struct([("a", pa.int32())]), {"a": 1}), "ROW(a INT)": (pa.struct([("a", pa.int32())]), {"a": 1}),
    "TIMESTAMP(3)": (pa.timestamp("ms", "UTC"), 5), "TIMESTAMPTZ": (TIME, 5), "TIMESTAMP WITH TIME ZONE": (TIME, 5),
    "INTEGER": (pa.int32(), 7), "DOUBLE PRECISION": (pa.float64(), 1.5)}


@dataclasses.dataclass
class Row:
    group: str
    name: str
    kind: str = ""
    sql: str = ""
    values: list | None = None
    words: list[tuple[str, ...]] | None = None
    feature: str = "f"


def parse(text: str) -> list[Row]:
    """The rows of the table."""
    rows, group = [], ""
    for number, line in enumerate(text.splitlines(), 1):
        body = line.strip()
        if line.startswith("## "):
            group = line[3:]
        elif not body or line.startswith("#"):
            continue
        elif not line.startswith(" "):
            rows.append(Row(group, body))
        elif body.startswith("= "):
            rows[-1].values = [value(word.strip()) for word in body[2:].split(" | ")]
        elif body.startswith("! "):
            rows[-1].words = [tuple(word.strip().lower() for word in part.split("/")) if part.strip() != "/" else ("/",)
                              for part in body[2:].split("; ")]
        elif body.startswith("feature: "):
            rows[-1].feature = body.removeprefix("feature: ")
        else:
            kind, _, sql = body.partition(":")
            if rows[-1].kind or not sql and kind != "over":
                raise ValueError(f"line {number}: {line}")
            rows[-1].kind, rows[-1].sql = kind, sql.strip()
    return rows


def value(word: str) -> Any:
    """An expected value."""
    if word.startswith("DATE "):
        return datetime.date.fromisoformat(word.removeprefix("DATE "))
    return "error" if word == "error" else json.loads(word)


def expanded(sql: str) -> str:
    """SQL with its shorthands written out."""
    sql = re.sub(r"\{(\d+) times ([^}]*)\}", lambda found: found[2] * int(found[1]), sql)
    windows = ", ".join(f"count(*) OVER (PARTITION BY user_id ORDER BY ts RANGE BETWEEN INTERVAL '{n}' SECOND PRECEDING AND CURRENT ROW) AS w{n}"
                        for n in range(1, 251))
    features = ", ".join(f"sum(qty + {n}) OVER ever AS w{n}" for n in range(600))
    return sql.replace("{250 windows}", windows).replace("{600 features}", features).replace("\\n", "\n").replace("\\\n", "\\n")


def service(select: str) -> str:
    return f"CREATE FEATURE SERVICE svc {REQUEST} AS\n{select};\n"


def definitions(row: Row) -> str:
    """The file that a row means."""
    sql = expanded(row.sql)
    wanted = service(f"SELECT v.{row.feature} AS f FROM request LEFT JOIN v USING (user_id)")
    view = "CREATE FEATURE VIEW v ENTITY customer AS\n{};\n"
    match row.kind:
        case "f":
            return SOURCE + view.format(f"SELECT user_id, ts, {sql} AS f\nFROM tx\n{WINDOWS}") + wanted
        case "over":
            return SOURCE + view.format(f"SELECT user_id, ts, count(*) OVER (PARTITION BY user_id ORDER BY ts {sql}) AS f\nFROM tx") + wanted
        case "length":
            frame = f"RANGE BETWEEN {sql} PRECEDING AND CURRENT ROW"
            return SOURCE + view.format(f"SELECT user_id, ts, count(*) OVER (PARTITION BY user_id ORDER BY ts {frame}) AS f\nFROM tx") + wanted
        case "view":
            return SOURCE + view.format(sql) + wanted
        case "column" | "source":
            declared = sql if row.kind == "source" else (
                f"CREATE SOURCE o (user_id VARCHAR NOT NULL, x {sql}, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) "
                "WITH (connector = 'kafka', topic = 'o', format = 'json');")
            counted = "x" if row.kind == "column" else "*"
            return f"{SOURCE}{declared}\n" + view.format(f"SELECT user_id, ts, count({counted}) OVER (PARTITION BY user_id ORDER BY ts) AS f FROM o") + wanted
        case "item":
            return SOURCE + VIEW + service(f"SELECT {sql} AS f FROM request LEFT JOIN v USING (user_id)")
        case "service":
            return SOURCE + VIEW + service(sql)
        case "statement":
            return SOURCE + VIEW + wanted + sql + "\n"
        case "whole":
            return SOURCE + sql + "\n" + wanted
        case "file":
            base = SOURCE + VIEW + wanted
            return sql.replace("\\ufeff", "\ufeff").replace("{BASE with CRLF}", base.replace("\n", "\r\n")).replace("{BASE}", base)
    raise ValueError(row.kind)


def write(row: Row, folder: pathlib.Path) -> None:
    for name in ("sql", "events"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sql" / "all.sql").write_bytes(definitions(row).encode())
    table = events()
    pq.write_table(table, folder / "events" / "tx.parquet")
    pq.write_table(table.select(["user_id", "ts"]), folder / "events" / "other.parquet")
    kind, cell = TYPED.get(row.sql if row.kind == "column" else "", (pa.string(), "x"))
    typed = table.select(["user_id", "ts"]).append_column("x", pa.array([cell] * table.num_rows, kind))
    pq.write_table(typed, folder / "events" / "o.parquet")
    pq.write_table(spine(), folder / "spine.parquet")


@dataclasses.dataclass
class Outcome:
    """`kind` is right, refused clearly, or one of wrong, refused unclearly, accepted, fails."""

    kind: str
    told: str = ""

    @property
    def good(self) -> bool:
        return self.kind in ("right", "refused clearly")


def play(row: Row, folder: pathlib.Path) -> Outcome:
    """What becomes of a row, in both lowerings where it is taken."""
    write(row, folder)
    for lowering in engine_runs.LOWERINGS:
        feature = row.feature if row.kind == "service" else "f"
        outcome = judged(row, engine_runs.training_set(folder, "svc", lowering), feature)
        if outcome.kind != "right":
            return dataclasses.replace(outcome, told=f"{lowering}: {outcome.told}")
    return outcome


def judged(row: Row, answer: engine_runs.Answer, feature: str) -> Outcome:
    if answer.cells is None:
        text = "\n".join(line for line in answer.refused.splitlines() if not line.startswith("computing "))
        lacks = refusals.unclear(text, answer.code, row.words or [])
        if row.words is None:
            return Outcome("fails" if "failed on the data" in text else "refused", f"want {row.values}: {text}")
        return Outcome("refused unclearly" if lacks else "refused clearly", f"{lacks}: {text}" if lacks else text)
    got = answer.cells.get(feature)
    if row.values is None:
        return Outcome("accepted", f"must be refused; got {got}")
    for number, (wanted, cell) in enumerate(zip(row.values, got, strict=True)):
        error = wanted == "error"
        if error and (number, feature) not in (answer.errors or set()):
            return Outcome("wrong", f"row {number}: the error is not listed")
        if not values.same(None if error else wanted, cell):
            return Outcome("wrong", f"row {number}: want {wanted} got {cell!r}")
    return Outcome("right")


def shown(text: str) -> str:
    return textwrap.shorten(text, 300)
