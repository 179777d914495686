"""Columns of every type that says more than where it is kept, in each format, on Apache Kafka: what they hold is archived, becomes
features, is answered, gives the same training set and verifies; what they do not hold is a dead letter, a refused row of a push, a
refused file, each with the type's name. A type that is changed makes views anew over the archive's rows.
"""

import datetime
import io
import json
import uuid

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest

from conftest import wait_for
from tables import delta, delta_rows
from topics import make_topic, produce

FORMATS = ("json", "csv", "arrow")
SOURCE = """CREATE SOURCE s_{format} (name VARCHAR(3) NOT NULL, visits SMALLINT, amount REAL, seen TIMESTAMP(3), at TIMESTAMP NOT NULL, born DATE,
    WATERMARK FOR at AS at) WITH (connector = 'kafka', topic = '{topic}', format = '{format}');"""
REST = """CREATE FEATURE VIEW v_{format} ENTITY person AS
SELECT name, at, sum(visits) OVER ever AS visits, sum(amount) OVER ever AS total, last_value(amount) OVER ever AS last,
       max(seen) OVER ever AS seen, count(*) FILTER (WHERE amount = 0.1) OVER ever AS tenths,
       last_value(visits * visits) OVER ever AS squared, min(born) OVER ever AS eldest, last_value(born) OVER ever AS born,
       count(DISTINCT born) OVER ever AS days
FROM s_{format} WINDOW ever AS (PARTITION BY name ORDER BY at);
CREATE FEATURE SERVICE of_{format} (name VARCHAR) AS
SELECT v.visits, v.total, v.last, v.seen, v.tenths, v.squared, v.eldest, v.born, v.days, v.born - v.eldest AS apart FROM request LEFT JOIN v_{format} AS v USING (name);"""
COLUMNS = ["name", "visits", "amount", "seen", "at", "born"]
TYPES = [pa.string(), pa.int16(), pa.float32(), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC"), pa.date32()]
UTC = datetime.timezone.utc
TENTH = pa.array([0.1], pa.float32())[0].as_py()
# The DOUBLE nearest to this text lies halfway between two REALs; the text does not.
HALFWAY, ABOVE = "1.00000005960464480", 1.00000011920928955


BORN = (datetime.date(1970, 1, 1), datetime.date(2024, 2, 29), datetime.date(1, 1, 1), None)


def moment(second, micros=0):
    return datetime.datetime(2024, 5, 1, 0, 0, second, micros, UTC)


def event(name, visits, amount, second):
    """`amount` is a text, so that it is written as it is."""
    return name, visits, amount, moment(second, 999_999), moment(second), BORN[second % len(BORN)]


EVENTS = [event("ann", 32_767, "0.1", 0), event("äöü", -32_768, HALFWAY, 1), event("ann", 2, "16777217", 2), event("äöü", None, "-0.0", 3)]


def as_json(row):
    def cell(name, value):
        return value if name == "amount" else json.dumps(value.isoformat() if isinstance(value, datetime.date) else value)

    return ("{" + ", ".join(f'"{name}": {cell(name, value)}' for name, value in zip(COLUMNS, row)) + "}").encode()


def as_csv(row):
    cells = ("" if value is None else value.isoformat() if isinstance(value, datetime.date) else str(value) for value in row)
    return ",".join(cells).encode()


def as_arrow(row):
    cells = [float(value) if name == "amount" else value for name, value in zip(COLUMNS, row)]
    # The nearest REAL to the text is taken where the text is still known.
    if row[2] == HALFWAY:
        cells[2] = ABOVE
    kinds = [pa.int64() if kind == pa.int16() else kind for kind in TYPES]
    schema = pa.schema(list(zip(COLUMNS, kinds)))
    out = io.BytesIO()
    with pa.ipc.new_stream(out, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([cell], kind) for cell, kind in zip(cells, kinds)], schema=schema))
    return out.getvalue()


WRITERS = {"json": as_json, "csv": as_csv, "arrow": as_arrow}
EXPECTED = {
    "ann": {"visits": 32_769, "total": 16_777_216 + TENTH, "last": 16_777_216.0, "seen": moment(2, 999_000), "tenths": 0, "squared": 4,
            "eldest": BORN[2], "born": BORN[2], "days": 2, "apart": 0},
    "äöü": {"visits": -32_768, "total": ABOVE, "last": -0.0, "seen": moment(3, 999_000), "tenths": 0, "squared": None,
            "eldest": BORN[1], "born": None, "days": 1, "apart": None},
}


@pytest.fixture(scope="module")
def types(module_servers, kafka, tmp_path_factory):
    """A server that reads a topic of each format, its definitions and the topics."""
    sql = tmp_path_factory.mktemp("types") / "sql"
    sql.mkdir()
    topics, texts = {}, ["CREATE ENTITY person (name VARCHAR);"]
    for name in FORMATS:
        topics[name] = f"{name}.{uuid.uuid4().hex[:8]}"
        make_topic(kafka, topics[name])
        texts += [SOURCE.format(format=name, topic=topics[name]), REST.format(format=name)]
    (sql / "all.sql").write_text("\n".join(texts))
    server = module_servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200"}).start()
    for row in EVENTS:
        for name, topic in topics.items():
            produce(kafka, topic, WRITERS[name](row))
    server.wait_read({f"s_{name}": len(EVENTS) for name in FORMATS})
    for name in FORMATS:
        wait_for(lambda: delta_rows(server.data_dir, f"s_{name}") >= len(EVENTS), f"the archive of {name}")
    return server, sql, topics


def features(server, name, who):
    return server.client.get(f"of_{name}", {"name": [who]}, at="2024-05-02T00:00:00Z").to_pylist()[0]


def test_what_a_type_holds_is_the_same_value_everywhere(types, forebay, tmp_path):
    server, sql, _ = types
    spine = pa.table({"name": list(EXPECTED), "event_time": [datetime.datetime(2024, 5, 2)] * 2})
    pq.write_table(spine, tmp_path / "spine.parquet")
    for name in FORMATS:
        for who, expected in EXPECTED.items():
            found = features(server, name, who)
            assert {column: found[column] for column in expected} == expected, (name, who)
        rows = delta(server.data_dir, f"s_{name}", [*COLUMNS, "_offset"]).sort_by("_offset")
        assert [rows.schema.field(column).type for column in ("visits", "amount", "born")] == [pa.int32(), pa.float64(), pa.date32()]
        assert rows["amount"].to_pylist() == [TENTH, ABOVE, 16_777_216.0, -0.0]
        assert rows["born"].to_pylist() == list(BORN)
        assert rows["seen"].to_pylist() == [moment(second, 999_000) for second in range(4)]
        assert server.client.action("verify", {"service": f"of_{name}", "sample": 100})["clean"]
        forebay("training-set", f"of_{name}", "--spine", tmp_path / "spine.parquet", "--out", tmp_path / f"{name}.parquet",
                "--data-dir", server.data_dir)
        trained = pq.read_table(tmp_path / f"{name}.parquet").to_pylist()
        assert [{column: row[column] for column in EXPECTED["ann"]} for row in trained] == list(EXPECTED.values()), name


def test_what_a_type_does_not_hold_is_a_dead_letter_that_names_it(types, kafka):
    server, _, topics = types
    bad = [(event("ann", 32_768, "1", 10), "`visits`: is SMALLINT and the record has a number out of its range"),
           (event("anna", 1, "1", 10), "`name`: is VARCHAR(3) and the record has 4 characters"),
           (event("ann", 1, "1e39", 10), "the number is beyond the largest REAL"),
           ((*event("ann", 1, "1", 10)[:5], "2023-02-29"), "`born`: is DATE and the record has a string that is no date; write 2024-05-01")]
    for name in FORMATS:
        for row, _ in bad[:2] if name == "arrow" else bad:
            produce(kafka, topics[name], WRITERS[name](row))

    def letters(name):
        if not delta_rows(server.data_dir, "dead_letters"):
            return []
        found = delta(server.data_dir, "dead_letters", ["source", "_offset", "reason", "detail"]).sort_by("_offset").to_pylist()
        return [(one["reason"], one["detail"]) for one in found if one["source"] == f"s_{name}"]

    for name in FORMATS:
        wanted = [words for _, words in bad][:2 if name == "arrow" else len(bad)]
        wait_for(lambda: len(letters(name)) == len(wanted), f"the dead letters of {name}")
        for (reason, detail), words in zip(letters(name), wanted):
            assert reason == "wrong_type" and words in detail, (name, reason, detail)


def test_a_push_and_a_file_are_judged_as_records_are(types, forebay, tmp_path):
    server, sql, _ = types
    schema = pa.schema(list(zip(COLUMNS, [pa.string(), pa.int64(), pa.float64(), pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.date64()])))
    rows = {"name": ["bob", "bobby", "bob"], "visits": [1, 1, 40_000], "amount": [0.1, None, None], "seen": [1_999, None, None], "at": [moment(20)] * 3, "born": [BORN[1]] * 3}
    writer, reader = server.client.flight.do_put(flight.FlightDescriptor.for_path("source", "s_json"), schema)
    writer.write_batch(pa.RecordBatch.from_pydict(rows, schema))
    told = json.loads(reader.read().to_pybytes())
    writer.close()
    assert (told["status"], told["rows"]) == ("OK", 1), told
    reasons = {int(one.get("row", 0)): one["reason"] for one in told["refused"]}
    assert reasons == {1: "column name is VARCHAR(3), but has 5 characters", 2: "column visits is SMALLINT, but has a number out of its range"}
    wait_for(lambda: features(server, "json", "bob")["visits"] == 1, "the row that was pushed")
    assert features(server, "json", "bob")["last"] == TENTH
    assert features(server, "json", "bob")["born"] == BORN[1]
    told = forebay("get", "of_json", "name=bob", "--flight-addr", f"127.0.0.1:{server.flight_port}")
    assert "2024-02-29" in told.stdout, told

    events, spine = tmp_path / "events", tmp_path / "spine.parquet"
    events.mkdir()
    pq.write_table(pa.table({"name": ["ann"], "event_time": [datetime.datetime(2024, 5, 2)]}), spine)

    def trained(visits):
        columns = [["ann"], visits, [0.1], [None], [moment(0)], [BORN[0]]]
        table = pa.table([pa.array(cells, kind) for cells, kind in zip(columns, schema.types)], schema=schema)
        pq.write_table(table, events / "s_json.parquet")
        return forebay("training-set", "of_json", "--sql", sql, "--events", events, "--spine", spine, "--out", tmp_path / "t.parquet", check=False)

    done = trained([40_000])
    words = "column `visits` is SMALLINT in source s_json, the file has a number out of its range in row 0 (counted from 0)"
    assert done.returncode == 2 and words in done.stderr, done
    assert trained([7]).returncode == 0
    [row] = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert (row["visits"], row["last"], row["born"]) == (7, TENTH, BORN[0])
