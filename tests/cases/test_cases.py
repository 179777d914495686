"""Small inputs that the engine once answered wrongly, with the right answers (engine.json), through every lowering, cuts of the rows and
a running server.

A case is one source `e (k VARCHAR NOT NULL, <columns>, ts TIMESTAMP NOT NULL)` with its rows (times in microseconds since 1970), one
view `v` (`SELECT k, ts, <select> FROM e [WHERE <where>] <window>`), one service (`SELECT v.*`, or `<service>` with `<request>`
columns), and a spine of [key, time, request values]. `expect` gives one value a spine row and feature: a number, a text, null,
"NaN", or "error" (the cell is an error of its row, its neighbours are answered); `left_out` counts the rows that the view leaves
out; {"create": "refused"} is a definition that is refused with its place and reason.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "machine"))

import engine_runs  # noqa: E402
import refusals  # noqa: E402
import streams  # noqa: E402
import tree  # noqa: E402
import values  # noqa: E402
from values import TIMESTAMP, VARCHAR  # noqa: E402

TOLD = json.loads((HERE / "engine.json").read_text())
CASES = {case["name"]: case for case in TOLD["cases"]}
# A window that a case refines and the common clause lacks.
H2 = ", h2 AS (PARTITION BY k ORDER BY ts)"
# Cases whose text says that a refusal by name is right too.
MAY_BE_REFUSED = {"named_window_refined", "similar_to", "to_timestamp_text"}
# Rows of one row group: how the file's rows come in batches.
CUTS = (1_000_000, 1)


def columns(case: dict) -> list:
    return [("k", VARCHAR), *case["columns"].items(), ("ts", TIMESTAMP)]


def request(case: dict) -> list:
    return [("k", VARCHAR), *case.get("request", {}).items()]


def definitions(case: dict, prefix: str = "") -> str:
    """The statements of a case; in a server that others share its objects begin with `prefix`."""
    declared = "".join(f"{name} {kind}, " for name, kind in case["columns"].items())
    asked = ", ".join(f"{name} {kind}" for name, kind in request(case))
    where = f" WHERE {case['where']}" if "where" in case else ""
    windows = TOLD["window"] + (H2 if "h2" in case["select"] else "")
    return f"""CREATE SOURCE {prefix}e (k VARCHAR NOT NULL, {declared}ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka', topic = '{prefix}e', format = 'json');
CREATE ENTITY {prefix}entity (k VARCHAR);
CREATE FEATURE VIEW {prefix}v ENTITY {prefix}entity AS
SELECT k, ts, {case['select']}
FROM {prefix}e{where}
{windows};
CREATE FEATURE SERVICE {prefix}s ({asked}) AS
SELECT {case.get('service', 'v.*')} FROM request LEFT JOIN {prefix}v AS v USING (k);
"""


def rows(case: dict) -> list:
    return [tuple(row.get(name) for name, _ in columns(case)) for row in case["rows"]]


def spine(case: dict) -> list:
    return [(key, *({} if not more else more[0]).values(), at) for key, at, *more in case["spine"]]


def expected(case: dict) -> dict:
    return {name: column for name, column in case["expect"].items() if name not in ("left_out", "create")}


def check(case: dict, answer: engine_runs.Answer, listed: bool) -> None:
    """The answer is the expected one; with `listed` its errors and rows left out are told too."""
    if answer.cells is None:
        assert "create" in case["expect"] or case["name"] in MAY_BE_REFUSED, answer.refused
        lacks = refusals.unclear(answer.refused, answer.code, [])
        assert not lacks, f"{lacks}: {answer.refused}"
        return
    assert "create" not in case["expect"], f"accepted, and answered {answer.cells}"
    errors = set()
    for feature, wanted in expected(case).items():
        for row, (cell, got) in enumerate(zip(wanted, answer.cells[feature], strict=True)):
            if cell == "error":
                errors.add((row, feature))
            right = values.NAN if cell == "NaN" else None if cell == "error" else cell
            assert values.same(right, got), f"{feature} of row {row}: {got!r} for {cell!r}"
    if listed:
        assert (answer.errors or set()) == errors
        assert sum((answer.left_out or {}).values()) == case["expect"].get("left_out", 0)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("lowering", engine_runs.LOWERINGS)
@pytest.mark.parametrize("name", CASES)
def test_case_over_files(name, lowering, cut, tmp_path):
    case = CASES[name]
    for folder in ("sql", "events"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sql" / "all.sql").write_text(definitions(case))
    engine_runs.write_events(tmp_path / "events" / "e.parquet", columns(case), rows(case), group_rows=cut)
    engine_runs.write_events(tmp_path / "spine.parquet", [*request(case), ("event_time", TIMESTAMP)], spine(case), group_rows=cut)
    check(case, engine_runs.training_set(tmp_path, "s", lowering), listed=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all cases; each applies its own definitions."""
    made = streams.Server(tmp_path_factory.mktemp("cases"), "", 1)
    made.start()
    yield made
    made.stop()


def apply(server: streams.Server, text: str, folder: pathlib.Path) -> subprocess.CompletedProcess:
    """What `forebay apply` says of a text."""
    (folder / "sql").mkdir()
    (folder / "sql" / "all.sql").write_text(text)
    return subprocess.run([engine_runs.binary(), "apply", folder / "sql", "--flight-addr", f"127.0.0.1:{server.flight_port}"],
                          capture_output=True, text=True, timeout=60, env=os.environ)


@pytest.mark.parametrize("name", CASES)
def test_case_in_a_server(name, server, tmp_path):
    case, prefix = CASES[name], f"{name}_"
    done = apply(server, definitions(case, prefix), tmp_path)
    if done.returncode != 0:
        check(case, engine_runs.Answer(None, done.stderr, done.returncode), listed=False)
        return
    assert "create" not in case["expect"], f"accepted: {done.stdout}"
    source = tree.Source(f"{prefix}e", tuple((label, kind, True) for label, kind in columns(case)), "ts", tuple(rows(case)), ())
    server.push(source)
    server.wait_read({source.name: len(source.rows)})
    service = tree.Service(f"{prefix}s", tuple(request(case)), (), ())
    answer = server.read(tree.Case(0, (), (), (), service, tuple(spine(case))), list(expected(case)))
    if answer.cells is None:
        pytest.fail(answer.refused)
    check(case, answer, listed=False)
