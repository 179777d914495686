"""Columns of arrays in JSON and Arrow records on Apache Kafka: the same arrays are archived as Delta arrays, become features, are answered
to pyarrow, give the same training set and verify; what is no array of its column is a dead letter that names it, and a definition that
cannot take one is refused with what to write, which then works.
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

FORMATS = ("json", "arrow")
SOURCE = """CREATE SOURCE s_{format} (name VARCHAR NOT NULL, tags VARCHAR(5)[], amounts ARRAY<DOUBLE>, ids BIGINT[], at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at) WITH (connector = 'kafka', topic = '{topic}', format = '{format}');"""
REST = """CREATE FEATURE VIEW v_{format} ENTITY person AS
SELECT name, at, last_value(tags) OVER ever AS tags, first_value(amounts) OVER ever AS amounts, count(tags) OVER ever AS tagged,
       sum(cardinality(ids)) OVER ever AS ids, count(*) FILTER (WHERE array_contains(tags, 'a')) OVER ever AS with_a,
       max(amounts[1]) OVER ever AS most, array_agg(ids[1], 2) OVER ever AS newest_ids, max_by(ids, amounts[2]) OVER ever AS ids_by, (last_value(ids) OVER ever)[1] AS first_id
FROM s_{format} WINDOW ever AS (PARTITION BY name ORDER BY at);
CREATE FEATURE SERVICE of_{format} (name VARCHAR) AS
SELECT v.tags, v.amounts, v.newest_ids, v.tagged, v.ids, v.with_a, v.most, v.ids_by, v.first_id, v.tags[2] AS second,
       coalesce(v.tags, ARRAY['none']) = ARRAY['b', NULL] AS is_b, array_to_string(v.tags, '+', '?') AS text
FROM request LEFT JOIN v_{format} AS v USING (name);"""
COLUMNS = ["name", "tags", "amounts", "ids", "at"]
TYPES = [pa.string(), pa.list_(pa.string()), pa.large_list(pa.float64()), pa.list_(pa.int32()), pa.timestamp("us", "UTC")]
UTC = datetime.timezone.utc


def moment(second):
    return datetime.datetime(2024, 5, 1, 0, 0, second, tzinfo=UTC)


EVENTS = [("ann", ["a", "b"], [0.5, float("inf"), None], [7, 2**31 - 1], moment(0)), ("bob", None, None, None, moment(1)),
          ("ann", [], [-0.0], [], moment(2)), ("ann", ["b", None], [2.5, 1.0], [1], moment(3)), ("bob", ["a"], [], [None], moment(4))]
EXPECTED = {
    "ann": {"tags": ["b", None], "amounts": [0.5, float("inf"), None], "tagged": 3, "ids": 3, "with_a": 1, "most": 2.5, "ids_by": [7, 2**31 - 1],
            "first_id": 1, "second": None, "is_b": True, "text": "b+?", "newest_ids": [None, 1]},
    "bob": {"tags": ["a"], "amounts": None, "tagged": 1, "ids": 1, "with_a": 1, "most": None, "ids_by": None, "first_id": None, "second": None,
            "is_b": False, "text": "a", "newest_ids": [None, None]},
}


def as_json(row):
    def cell(value):
        if isinstance(value, list):
            return ["Infinity" if one == float("inf") else one for one in value]
        return value.isoformat() if isinstance(value, datetime.datetime) else value

    return json.dumps({name: cell(value) for name, value in zip(COLUMNS, row)}).encode()


def as_arrow(row):
    schema, out = pa.schema(list(zip(COLUMNS, TYPES))), io.BytesIO()
    with pa.ipc.new_stream(out, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([cell], kind) for cell, kind in zip(row, TYPES)], schema=schema))
    return out.getvalue()


WRITERS = {"json": as_json, "arrow": as_arrow}


@pytest.fixture(scope="module")
def arrays(module_servers, kafka, tmp_path_factory):
    """A server that reads a topic of each format, its definitions and the topics."""
    sql = tmp_path_factory.mktemp("arrays") / "sql"
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


def test_an_array_is_the_same_value_everywhere(arrays, forebay, tmp_path):
    server, sql, _ = arrays
    spine = pa.table({"name": list(EXPECTED), "event_time": [datetime.datetime(2024, 5, 2)] * 2})
    pq.write_table(spine, tmp_path / "spine.parquet")
    for name in FORMATS:
        for who, expected in EXPECTED.items():
            found = features(server, name, who)
            assert {column: found[column] for column in expected} == expected, (name, who)
        rows = delta(server.data_dir, f"s_{name}", [*COLUMNS, "_offset"]).sort_by("_offset")
        for column, at in (("tags", 1), ("amounts", 2), ("ids", 3)):
            assert rows[column].to_pylist() == [row[at] for row in EVENTS], (name, column)
        assert server.client.action("verify", {"service": f"of_{name}", "sample": 100})["clean"]
        forebay("training-set", f"of_{name}", "--spine", tmp_path / "spine.parquet", "--out", tmp_path / f"{name}.parquet",
                "--data-dir", server.data_dir)
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert pa.types.is_list(table.schema.field("tags").type), table.schema
        trained = table.to_pylist()
        assert [{column: row[column] for column in EXPECTED["ann"]} for row in trained] == list(EXPECTED.values()), name
    done = forebay("get", "of_json", "name=ann", "--at", "2024-05-02T00:00:00Z", "--output", "json", "--flight-addr", server.flight)
    told = json.loads(done.stdout)["features"]
    assert (told["tags"], told["amounts"], told["ids_by"]) == (["b", None], [0.5, "Infinity", None], [7, 2**31 - 1])


def test_what_is_no_array_of_its_column_is_a_dead_letter_that_names_it(arrays, kafka):
    server, _, topics = arrays
    bad = [(("ann", ["a", "sixsix"], None, None, moment(10)), "`tags`: has items of type VARCHAR(5) and the record has 6 characters"),
           (("ann", None, None, [1] * 1025, moment(10)), "an array of 1025 items, more than 1024 (ARRAY_MAX_ITEMS)")]
    for name in FORMATS:
        for row, _ in bad:
            produce(kafka, topics[name], WRITERS[name](row))
    produce(kafka, topics["json"], b'{"name": "ann", "ids": [1, [2]], "at": "2024-05-01T00:00:10Z"}')

    def letters(name):
        if not delta_rows(server.data_dir, "dead_letters"):
            return []
        found = delta(server.data_dir, "dead_letters", ["source", "_offset", "reason", "detail"]).sort_by("_offset").to_pylist()
        return [(one["reason"], one["detail"]) for one in found if one["source"] == f"s_{name}"]

    for name in FORMATS:
        wanted = [words for _, words in bad] + (["`ids`: has items of type BIGINT and the record has an array"] if name == "json" else [])
        wait_for(lambda: len(letters(name)) == len(wanted), f"the dead letters of {name}")
        for (reason, detail), words in zip(letters(name), wanted):
            assert reason == "wrong_type" and words in detail, (name, reason, detail)


def test_a_push_a_file_and_a_test_are_judged_as_records_are(arrays, forebay, tmp_path):
    server, sql, _ = arrays
    schema = pa.schema(list(zip(COLUMNS, TYPES)))
    rows = {"name": ["eve", "eve"], "tags": [["x", None], ["sixsix"]], "amounts": [[1.5], None], "ids": [[3], None], "at": [moment(20)] * 2}
    writer, reader = server.client.flight.do_put(flight.FlightDescriptor.for_path("source", "s_arrow"), schema)
    writer.write_batch(pa.RecordBatch.from_pydict(rows, schema))
    told = json.loads(reader.read().to_pybytes())
    writer.close()
    assert (told["status"], told["rows"]) == ("OK", 1), told
    assert [int(one.get("row", 0)) for one in told["refused"]] == [1] and "VARCHAR(5)" in told["refused"][0]["reason"], told
    wait_for(lambda: features(server, "arrow", "eve")["tags"] == ["x", None], "the row that was pushed")

    folder = tmp_path / "sql"
    (folder / "tests").mkdir(parents=True)
    (folder / "all.sql").write_text((sql / "all.sql").read_text())
    test = """CREATE TEST arrays GIVEN s_json (name, tags, amounts, ids, at) VALUES
    ('a', ARRAY['a', NULL], ARRAY[0.5, 'NaN'], ARRAY[1, 2], '2024-05-01 00:00:00'), ('a', NULL, ARRAY[], NULL, '2024-05-01 00:00:01')
AT '2024-05-01 00:00:02' EXPECT of_json (name, tags, amounts, ids, tagged) VALUES ('a', NULL, {}, 2, 1);"""
    for amounts, code in (("ARRAY[0.5, 'NaN']", 0), ("ARRAY[0.5]", None)):
        (folder / "tests" / "arrays.sql").write_text(test.format(amounts))
        done = forebay("test", folder, check=False)
        assert (done.returncode == 0) == (code == 0), done
    assert "ARRAY[0.5, 'NaN']" in done.stdout + done.stderr, done


def test_what_takes_no_array_says_what_to_write(forebay, tmp_path):
    folder = tmp_path / "sql"
    folder.mkdir()
    source = "CREATE SOURCE s (k VARCHAR, tags VARCHAR[], at TIMESTAMP NOT NULL, WATERMARK FOR at AS at) WITH (connector = 'kafka', format = '{}');"
    rest = """CREATE ENTITY e (k {});
CREATE FEATURE VIEW v ENTITY e AS SELECT k, at, {} OVER w AS f FROM s WINDOW w AS (PARTITION BY k ORDER BY at);
CREATE FEATURE SERVICE of_v (k VARCHAR) AS SELECT v.f FROM request LEFT JOIN v USING (k);"""

    def plan(form="json", key="VARCHAR", feature="last_value(tags)"):
        (folder / "all.sql").write_text(source.format(form) + "\n" + rest.format(key, feature))
        return forebay("show", "sources", "--dir", folder, check=False)

    assert plan().returncode == 0
    for refused, words, taken in (
            ({"form": "csv"}, "column tags is VARCHAR[], which records of format 'csv' cannot hold; write format = 'json' or 'arrow'", {"form": "arrow"}),
            ({"key": "VARCHAR[]"}, "keys and requests have no arrays", {}),
            ({"feature": "max(tags)"}, "max does not take an argument of type VARCHAR[]", {"feature": "max(tags[1])"}),
            ({"feature": "array_agg(tags[1])"}, "write array_agg(x, 10)", {"feature": "array_agg(tags[1], 10)"}),
            ({"feature": "array_agg(tags, 3)"}, "an array holds no arrays; write an item, array_agg(x[1], 10)", {"feature": "array_agg(tags[1], 256)"}),
            ({"feature": "count(DISTINCT tags)"}, "cardinality(x)", {"feature": "count(DISTINCT cardinality(tags))"}),
            ({"feature": "count(*) FILTER (WHERE tags < ARRAY['a'])"}, "arrays have no order; compare items, a[1] < b[1]",
             {"feature": "count(*) FILTER (WHERE tags[1] < 'a')"}),
            ({"feature": "max(CAST(tags AS VARCHAR))"}, "array_to_string(tags, ',')", {"feature": "max(array_to_string(tags, ','))"})):
        done = plan(**refused)
        assert done.returncode == 2 and words in done.stderr, (refused, done)
        done = plan(**taken)
        assert done.returncode == 0, (taken, done)
