"""A source in each format, on Apache Kafka: the same events as JSON, as CSV and as Arrow (as pyarrow writes it)
give the same rows and the same features; what is no row of its format is a dead letter whose words, followed, make it one.
"""

import datetime
import io
import json
import uuid

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from conftest import run_binary, wait_for
from tables import delta, delta_rows
from topics import make_topic, produce

FORMATS = {"json": "", "csv": ", delimiter = ';', null = 'NULL'", "arrow": ""}
SOURCE = """CREATE SOURCE s_{format} (name VARCHAR NOT NULL, amount DOUBLE, visits BIGINT, member BOOLEAN, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
    WITH (connector = 'kafka', topic = '{topic}', format = '{format}'{options});"""
REST = """CREATE FEATURE VIEW v_{format} ENTITY person AS
SELECT name, at, count(*) OVER ever AS events, sum(amount) OVER ever AS total, max(visits) OVER ever AS visits,
       bool_or(member) OVER ever AS member, last_value(amount) OVER ever AS last
FROM s_{format} WINDOW ever AS (PARTITION BY name ORDER BY at);
CREATE FEATURE SERVICE of_{format} (name VARCHAR) AS
SELECT v.events, v.total, v.visits, v.member, v.last FROM request LEFT JOIN v_{format} AS v USING (name);"""
COLUMNS = ["name", "amount", "visits", "member", "at"]
TYPES = [pa.string(), pa.float64(), pa.int64(), pa.bool_(), pa.timestamp("us", "UTC")]


def event(who, amount, visits, member, second):
    at = datetime.datetime(2024, 5, 1, 0, 0, second, 250_000, datetime.timezone.utc)
    return dict(zip(COLUMNS, (who, amount, visits, member, at)))


EVENTS = [
    event("ann", 1.5, 1, True, 0),
    event('an;n "the\nlong"', -0.0, 9_223_372_036_854_775_807, False, 1),
    event("ann", 0.1, None, None, 2),
    event("NULL", None, -1, True, 3),
    event("ann", 1e300, 7, False, 4),
    event("", 3, 3, None, 5),
]


def text_of(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_json(rows):
    [row] = rows
    return json.dumps({**row, "at": text_of(row["at"])}).encode()


def as_csv(rows):
    def cell(value):
        if isinstance(value, str):
            # In quotes, so that 'NULL' as a text is no NULL.
            return '"' + value.replace('"', '""') + '"'
        return "NULL" if value is None else text_of(value) if isinstance(value, datetime.datetime) else str(value)

    return "".join(";".join(cell(row[name]) for name in COLUMNS) + "\n" for row in rows).encode()


def as_arrow(rows, **more):
    schema = pa.schema([*zip(COLUMNS, TYPES), *((name, array.type) for name, array in more.items())])
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in zip(COLUMNS, TYPES)]
    out = io.BytesIO()
    with pa.ipc.new_stream(out, schema) as writer:
        writer.write_batch(pa.record_batch([*columns, *more.values()], schema=schema))
    return out.getvalue()


WRITERS = {"json": as_json, "csv": as_csv, "arrow": as_arrow}


@pytest.fixture(scope="module")
def formats(module_servers, kafka, tmp_path_factory):
    """A server that reads a topic of each format, and the topics."""
    sql = tmp_path_factory.mktemp("formats") / "sql"
    sql.mkdir()
    topics, texts = {}, ["CREATE ENTITY person (name VARCHAR);"]
    for name, options in FORMATS.items():
        topics[name] = f"{name}.{uuid.uuid4().hex[:8]}"
        make_topic(kafka, topics[name])
        texts += [SOURCE.format(format=name, topic=topics[name], options=options), REST.format(format=name)]
    (sql / "all.sql").write_text("\n".join(texts))
    server = module_servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200"}).start()
    for row in EVENTS:
        for name, topic in topics.items():
            produce(kafka, topic, WRITERS[name]([row]))
    server.wait_read({f"s_{name}": len(EVENTS) for name in FORMATS})
    return server, topics, sql


def features(server, name, who):
    return server.client.get(f"of_{name}", {"name": [who]}, at="2024-05-02T00:00:00Z").to_pylist()[0]


def letters(server, name):
    """Reason and words of each dead letter of a source, by offset."""
    if not delta_rows(server.data_dir, "dead_letters"):
        return {}
    found = delta(server.data_dir, "dead_letters", ["source", "_offset", "reason", "detail"]).to_pylist()
    return {one["_offset"]: (one["reason"], one["detail"]) for one in found if one["source"] == f"s_{name}"}


def test_equal_events_are_equal_rows_and_equal_features_in_every_format(formats):
    server, _, _ = formats
    for who in {row["name"] for row in EVENTS}:
        expected = features(server, "json", who)
        assert expected["events"] == sum(row["name"] == who for row in EVENTS)
        assert {name: features(server, name, who) for name in FORMATS} == dict.fromkeys(FORMATS, expected)
    for name in FORMATS:
        wait_for(lambda: delta_rows(server.data_dir, f"s_{name}") >= len(EVENTS), f"the archive of {name}")
        rows = delta(server.data_dir, f"s_{name}", [*COLUMNS, "_offset"]).sort_by("_offset").to_pylist()[:len(EVENTS)]
        assert [{column: row[column] for column in COLUMNS} for row in rows] == EVENTS, name
        assert server.client.action("verify", {"service": f"of_{name}", "sample": 100})["clean"]


def test_what_is_no_row_of_its_format_is_told_and_is_one_as_the_words_say(formats, kafka):
    server, topics, _ = formats
    rows = [event("bob", 1.0, 1, True, 10), event("bob", 2.0, 2, True, 11)]
    short = as_csv(rows[:1]).replace(b"bob", b"b;ob")
    # A record, its reason, a part of the words, and the records that follow from them.
    bad = {
        "csv": [(as_csv(rows), "not_one_row", "send each as a record of its own", [as_csv([row]) for row in rows]),
                (short.replace(b'"', b""), "not_csv", "write a field that holds the delimiter in quotes", [short])],
        "arrow": [(as_arrow(rows), "not_one_row", "the record has 2 rows", [as_arrow([row]) for row in rows]),
                  (as_arrow([]), "not_one_row", "the record has 0 rows", []),
                  (as_arrow(rows[:1])[:-60], "not_arrow", "write an Arrow IPC stream", [])],
    }
    for name, cases in bad.items():
        offset, taken = len(EVENTS), 0
        for record, reason, words, mended in cases:
            produce(kafka, topics[name], record)
            wait_for(lambda: offset in letters(server, name), f"the dead letter {offset} of {name}")
            got, detail = letters(server, name)[offset]
            assert got == reason and words in detail, (got, detail)
            for one in mended:
                produce(kafka, topics[name], one)
            offset, taken = offset + 1 + len(mended), taken + len(mended)
            wait_for(lambda: server.client.status()["sources"][f"s_{name}"]["rows"] == len(EVENTS) + taken, "what is mended")
    assert features(server, "csv", "bob")["events"] == 2 and features(server, "csv", "b;ob")["events"] == 1
    assert features(server, "arrow", "bob") == features(server, "csv", "bob")


def test_doctor_reads_the_records_of_each_format(formats, kafka, tmp_path):
    _, topics, sql = formats
    for name in ("csv", "arrow"):
        record = as_arrow([EVENTS[0]], more=pa.array([[1]])) if name == "arrow" else as_csv([EVENTS[0]])
        produce(kafka, topics[name], record)
        done = run_binary("doctor", "--topic", topics[name], "--sql", sql, "--bootstrap", kafka, "--data-dir", tmp_path / "none",
                          "--records", "1", check=False, timeout=120)
        assert done.returncode == 0 and "1 are rows" in done.stdout, done.stdout
        assert ("skipped: more (1)" in done.stdout) == (name == "arrow"), done.stdout


def test_pushed_rows_become_records_of_their_source_s_format(formats):
    server, _, _ = formats
    pushed = [event("pushed", 0.25, 5, True, 6), event('push;ed "it\n"', None, None, None, 7)]
    schema = pa.schema(list(zip(COLUMNS, TYPES)))
    rows = pa.RecordBatch.from_pylist(pushed, schema)
    for name in FORMATS:
        writer, reader = server.client.flight.do_put(flight.FlightDescriptor.for_path("source", f"s_{name}"), schema)
        writer.write_batch(rows)
        writer.done_writing()
        assert reader.read() is not None
        writer.close()
    expected = {"events": 1, "total": 0.25, "visits": 5, "member": True, "last": 0.25}
    for name in FORMATS:
        wait_for(lambda: features(server, name, "pushed") == expected, lambda: f"the row pushed as {name}: {letters(server, name)}")
        wait_for(lambda: features(server, name, pushed[1]["name"])["events"] == 1, f"the second row pushed as {name}")
