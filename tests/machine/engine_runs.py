"""Runs the real binary over files: writes definitions, events and spine, calls `forebay training-set` in one of its lowerings, and
reads what came out: cells, cells that are errors, rows left out by view, or the refusal's text.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tree import Case
from values import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, ITEMS, TIMESTAMP, VARCHAR

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOWERINGS = ("probe", "batch")
TIMEOUT_S = 120
ARROW = {VARCHAR: pa.string(), BIGINT: pa.int64(), INTEGER: pa.int32(), DOUBLE: pa.float64(), BOOLEAN: pa.bool_(),
         DATE: pa.date32(), TIMESTAMP: pa.timestamp("us", "UTC")}
ARROW |= {kind: pa.list_(ARROW[item]) for kind, item in ITEMS.items()}


@dataclasses.dataclass
class Answer:
    """`cells` by feature, or `refused` with the command's words. `errors` are (row, feature) where the command lists them, `left_out`
    counts by view where the manifest has them."""

    cells: dict[str, list] | None
    refused: str = ""
    code: int = 0
    errors: set[tuple[int, str]] | None = None
    left_out: dict[str, int] | None = None


def binary() -> str:
    """FOREBAY_BIN names it, as for the end-to-end tests."""
    found = os.environ.get("FOREBAY_BIN")
    if not found:
        raise SystemExit("FOREBAY_BIN is not set: it names the binary to run")
    return found


def array(cells: list, kind: str) -> pa.Array:
    return pa.array(cells, pa.int64()).cast(ARROW[kind]) if kind == TIMESTAMP else pa.array(cells, ARROW[kind])


def plain(column: Any) -> list:
    """A column as Python values; times as microseconds, arrays as tuples."""
    if pa.types.is_list(column.type):
        return [None if cell is None else tuple(cell) for cell in column.to_pylist()]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    return column.to_pylist()


def write_events(path: pathlib.Path, columns: Any, rows: Any, places: Any = None, group_rows: int = 1_000_000) -> None:
    """One source's file. `columns` are pairs of name and type; `places` say where each row stood in the log."""
    made = {name: array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(columns)}
    if places is not None:
        made["_partition"] = pa.array([partition for partition, _ in places], pa.int32())
        made["_offset"] = pa.array([offset for _, offset in places], pa.int64())
    pq.write_table(pa.table(made), path, row_group_size=max(1, min(group_rows, max(1, len(rows)))))


def write_case(folder: pathlib.Path, case: Case, sql: str) -> None:
    """Definitions, events and spine of a case."""
    for name in ("sql", "events"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sql" / "all.sql").write_text(sql)
    for source in case.sources:
        columns = [(name, kind) for name, kind, _ in source.columns]
        write_events(folder / "events" / f"{source.name}.parquet", columns, source.rows, source.places, source.group_rows)
    request = (*case.service.request, ("event_time", TIMESTAMP))
    write_events(folder / "spine.parquet", request, case.spine, group_rows=case.spine_group_rows)


def training_set(folder: pathlib.Path, service: str, lowering: str, features: Any = None) -> Answer:
    """The answer of one lowering over a written case."""
    out = folder / f"{lowering}.parquet"
    errors = out.with_suffix(".errors.parquet")
    for old in (out, errors):
        old.unlink(missing_ok=True)
    done = run("training-set", service, "--spine", folder / "spine.parquet", "--out", out, "--sql", folder / "sql", "--events",
               folder / "events", "--lowering", lowering)
    if done.returncode != 0:
        return Answer(None, done.stderr.strip() or done.stdout.strip(), done.returncode)
    table = pq.read_table(out)
    names = [name for name in table.column_names if features is None or name in features]
    manifest = json.loads(pathlib.Path(f"{out}.manifest.json").read_text())
    left_out = manifest.get("left_out")
    return Answer({name: plain(table.column(name)) for name in names}, errors=listed_errors(errors),
                  left_out=None if left_out is None else {view: rows for view, rows in left_out.items() if rows})


def listed_errors(path: pathlib.Path) -> set[tuple[int, str]] | None:
    """Cells that the command says are errors; None where it says nothing."""
    if not path.exists():
        return None
    table = pq.read_table(path).to_pydict()
    return set(zip(table["row"], table["feature"]))


def run(*args: Any, timeout: int = TIMEOUT_S) -> subprocess.CompletedProcess:
    """A command of the binary; one that hangs counts as ended by a signal."""
    words = [binary(), *map(str, args)]
    try:
        return subprocess.run(words, cwd=ROOT, text=True, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, -9, "", f"no end within {timeout} s")
