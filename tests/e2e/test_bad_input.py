"""Bad input, at every door: the command line, tickets and exchanges, pushes, actions, SQL, HTTP and Kafka records. Each is
refused with a typed error that names what is wrong (or becomes a dead letter with its reason and its bytes), and after all of
it the same server still answers.
"""

import datetime
import json
import os

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest

from client import Refused, batch_of
from conftest import FLIGHTS, copy_definitions, wait_for
from tables import delta, event_counts
from topics import produce

UNTIL = "2013-01-02"
AT = "2013-01-01T15:00:00Z"
ROWS = {"origin": ["JFK"], "dest": ["LAX"], "carrier": ["AA"], "tailnum": ["N338AA"], "distance": [2475],
        "sched_dep": [AT], "dep_delay": [4.0]}
REQUEST = pa.schema([("origin", pa.string()), ("dest", pa.string()), ("carrier", pa.string()), ("tailnum", pa.string()),
                     ("distance", pa.int64()), ("sched_dep", pa.timestamp("us", "UTC")), ("dep_delay", pa.float64())])
BATCH = batch_of({**ROWS, "sched_dep": [None]}, REQUEST)


@pytest.fixture(scope="module")
def server(module_servers, forebay, kafka, tmp_path_factory):
    sql = copy_definitions(tmp_path_factory.mktemp("bad") / "sql", "0[123]_*.sql")
    server = module_servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200",
                                             "FOREBAY_STATE_HISTORY_HOURS": "100000"}).start()
    forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--until", UNTIL)
    server.wait_read(event_counts(until=UNTIL))
    return server


@pytest.fixture(autouse=True)
def still_answers(request):
    """After each test the server answers as before."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        server.check_alive()
        answer = server.client.get("delay_features", ROWS, at=AT).to_pylist()[0]
        assert answer["departures_1h"] > 0, answer
        assert server.http("/readyz")[0] == 200
        assert not server.client.status()["failed"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files and folders that commands are pointed at."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.parquet").write_text("this is no Parquet file")
    pq.write_table(pa.table({**{k: v for k, v in ROWS.items() if k != "sched_dep"},
                             "sched_dep": pa.array([0], pa.timestamp("us", "UTC")),
                             "event_time": pa.array([0], pa.timestamp("us", "UTC"))}), folder / "spine.parquet")
    pq.write_table(pa.table({"event_time": pa.array([0], pa.timestamp("us", "UTC")), "origin": ["JFK"]}),
                   folder / "narrow.parquet")
    pq.write_table(pa.table({"event_time": [1.5], "origin": ["JFK"]}), folder / "timeless.parquet")
    for name, text in {"key.toml": "[state]\nshard = 2\n", "text.toml": "[state\n", "many.toml": "[state]\nshards = 0\n"}.items():
        (folder / name).write_text(text)
    for name, text in SQL_CASES.items():
        (folder / name).mkdir()
        (folder / name / "01.sql").write_text(text[0])
    (folder / "empty").mkdir()
    return folder


def over(aggregate, source="departures", queries=""):
    """A view with one feature."""
    return (f"CREATE FEATURE VIEW v ENTITY airport AS\n{queries}SELECT {aggregate} OVER (PARTITION BY origin ORDER BY dep_time) AS f "
            f"FROM {source};\n")


SQL_CASES = {
    # folder: (text, where, words)
    "no_statement": ("CREATE TABEL x;\n", "01.sql:1:8", ["TABEL"]),
    "unfinished": ("\n  CREATE ENTITY airport (origin VARCHAR\n", "01.sql:", ["expected"]),
    "no_type": ("CREATE ENTITY gate (gate GATE);\n", "01.sql:1:", ["GATE"]),
    "no_view_source": ("CREATE FEATURE VIEW v ENTITY airport AS\nSELECT origin, at, count(*) OVER w AS n FROM nowhere\n"
                       "WINDOW w AS (PARTITION BY origin ORDER BY at RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);\n",
                       "01.sql:", ["nowhere"]),
    "no_column": ("CREATE FEATURE VIEW v ENTITY airport AS\nSELECT origin, dep_time, count(gates) OVER w AS n FROM departures\n"
                  "WINDOW w AS (PARTITION BY origin ORDER BY dep_time RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);\n",
                  "01.sql:", ["gates"]),
    "rows_frame": ("CREATE FEATURE VIEW v ENTITY airport AS\nSELECT origin, dep_time, count(*) OVER w AS n FROM departures\n"
                   "WINDOW w AS (PARTITION BY origin ORDER BY dep_time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW);\n",
                   "01.sql:", ["ROWS", "RANGE"]),
    "clock": ("CREATE FEATURE VIEW v ENTITY airport AS\nSELECT origin, dep_time, count(*) OVER w AS n FROM departures\n"
              "WHERE dep_time < now()\n"
              "WINDOW w AS (PARTITION BY origin ORDER BY dep_time RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);\n",
              "01.sql:", ["now"]),
    "no_service_view": ("CREATE FEATURE SERVICE s (origin VARCHAR) AS SELECT n.x FROM request LEFT JOIN nothing AS n USING (origin);\n",
                        "01.sql:", ["nothing"]),
    "deep": (over("max(" + "CAST(" * 48 + "dep_delay" + " AS DOUBLE)" * 48 + ")"), "01.sql:2:", ["SQL_MAX_NESTING"]),
    "wrong_inside": (over("max(" + "CAST(" * 25 + "dep_delay +" + " AS DOUBLE)" * 25 + ")"), "01.sql:2:", ["SQL_MAX_PARSER_STEPS"]),
    "chained": (over("max(distance" + " << 1" * 6_000 + ")"), "01.sql:2:", ["SQL_MAX_CHAINED_OPERATORS"]),
    "doubling": (over("max(distance)", "c22", "WITH c0 AS (SELECT origin, dep_time, distance FROM departures)" + "".join(
        f", c{i} AS (SELECT origin, dep_time, distance * distance AS distance FROM c{i - 1})" for i in range(1, 23)) + " "),
        "01.sql:2:", ["EXPRESSION_MAX_NODES"]),
    "no_model_dir": ("CREATE MODEL m VERSION 1 FROM 'models/none/1' FEATURES delay_features;\n", "models/none/1", ["m"]),
}

# Arguments, exit code, words that the error must say. $FILES is the folder of the fixture `files`, $FLIGHTS the data,
# $SERVER the running server, $SQL its definitions, $NOBODY an address where nobody listens.
COMMANDS = [
    (["bogus"], 2, ["bogus"]),
    ([], 2, ["Usage"]),
    (["server", "--bogus"], 2, ["--bogus"]),
    (["server", "--config", "$FILES/absent.toml"], 2, ["absent.toml", "--config"]),
    (["server", "--config", "$FILES/text.toml"], 2, ["text.toml"]),
    (["server", "--config", "$FILES/key.toml"], 2, ["shard"]),
    (["server", "--config", "$FILES/many.toml"], 2, ["state.shards = 0"]),
    (["server", "--flight-addr", "nowhere"], 2, ["nowhere"]),
    (["server", "--broker", "rabbit"], 2, ["rabbit", "embedded"]),
    (["server", "--broker", "embedded", "--data-dir", "$FILES/a", "--flight-addr", "0.0.0.0:0"], 2, ["0.0.0.0", "loopback"]),
    (["server", "--broker", "embedded", "--data-dir", "$FILES/spine.parquet"], 2, ["spine.parquet"]),
    (["server", "--broker", "embedded", "--data-dir", "$FILES/b", "--sql", "$FILES/absent"], 2, ["absent"]),
    (["server", "--broker", "embedded", "--data-dir", "$FILES/c", "--sql", "$FILES/empty"], 2, ["empty", ".sql"]),
    (["server", "--broker", "embedded", "--data-dir", "$FILES/d", "--sql", "$FILES/no_statement"], 2, ["01.sql:1:8"]),
    (["server", "--bootstrap", "$NOBODY", "--data-dir", "$DATA"], 2, ["in use by another forebay process", "--data-dir"]),
    (["worker", "--model", "late_arrival"], 2, ["NAME=DIR"]),
    (["worker", "--model", "late_arrival=models/late_arrival/1", "--register", "junk"], 2, ["junk", "HOST:PORT"]),
    (["worker", "--model", "late_arrival=models/late_arrival/1", "--device", "gpu:99"], 2, ["gpu:99"]),
    (["worker", "--model", "late_arrival=$FILES/empty"], 2, ["manifest.toml"]),
    (["worker", "--model", "other=models/late_arrival/1"], 2, ["other"]),
    (["worker", "--model", "late_arrival=models/late_arrival/1", "--device", "tpu"], 2, ["tpu", "gpu:N"]),
    (["worker", "--model", "late_arrival=models/late_arrival/1", "--listen", "0.0.0.0:0"], 2, ["loopback"]),
    (["plan", "$FILES/absent", "--flight-addr", "$SERVER"], 2, ["absent"]),
    (["plan", "$FILES/empty", "--flight-addr", "$SERVER"], 2, ["empty"]),
    (["plan", "sql/flights", "--flight-addr", "$NOBODY"], 3, ["$NOBODY", "forebay server"]),
    (["apply", "sql/flights", "--flight-addr", "$NOBODY"], 3, ["$NOBODY"]),
    (["get", "delay_features", "--flight-addr", "$SERVER"], 2, ["COLUMNS"]),
    (["get", "delay_features", "origin", "--flight-addr", "$SERVER"], 2, ["COLUMN=VALUE"]),
    (["get", "delay_features", "gate=4", "--flight-addr", "$SERVER"], 2, ["gate", "tailnum"]),
    (["get", "delay_features", "distance=far", "--flight-addr", "$SERVER"], 2, ["distance", "far", "BIGINT"]),
    (["get", "delay_features", "origin=JFK", "--at", "noon", "--flight-addr", "$SERVER"], 2, ["noon"]),
    (["get", "nothing", "origin=JFK", "--flight-addr", "$SERVER"], 2, ["nothing", "delay_features"]),
    (["get", "delay_features", "origin=JFK", "--flight-addr", "$NOBODY"], 3, ["$NOBODY"]),
    (["get", "delay_features", "origin=JFK", "--flight-addr", "not an address"], 2, ["not an address"]),
    (["get", "delay_features", "origin=JFK", "--flight-addr", "$HTTP"], 3, ["$HTTP", "8815 is Flight", "8080 is HTTP"]),
    (["training-set", "delay_features", "--spine", "$FILES/spine.parquet"], 2, ["--out"]),
    (["training-set", "delay_features", "--spine", "$FILES/spine.parquet", "--out", "$FILES/o", "--sql", "sql/flights"], 2,
     ["--events"]),
    (["training-set", "delay_features", "--spine", "$FILES/absent.parquet", "--out", "$FILES/o", *"--sql sql/flights --events $FLIGHTS".split()],
     2, ["absent.parquet"]),
    (["training-set", "delay_features", "--spine", "$FILES/text.parquet", "--out", "$FILES/o", *"--sql sql/flights --events $FLIGHTS".split()],
     2, ["text.parquet", "Parquet"]),
    (["training-set", "delay_features", "--spine", "$FILES/narrow.parquet", "--out", "$FILES/o", *"--sql sql/flights --events $FLIGHTS".split()],
     2, ["dest"]),
    (["training-set", "delay_features", "--spine", "$FILES/timeless.parquet", "--out", "$FILES/o", *"--sql sql/flights --events $FLIGHTS".split()],
     2, ["event_time"]),
    (["training-set", "delay_features", "--spine", "$FILES/spine.parquet", "--out", "$FILES/o", "--time-column", "when",
      *"--sql sql/flights --events $FLIGHTS".split()], 2, ["when"]),
    (["training-set", "delay_features", "--spine", "$FILES/spine.parquet", "--out", "$FILES/o", *"--sql sql/flights --events $FILES/empty".split()],
     2, ["departures.parquet"]),
    (["training-set", "delay_features", "--spine", "$FILES/spine.parquet", "--out", "$FILES/absent/o", *"--sql sql/flights --events $FLIGHTS".split()],
     2, ["--out", "absent/o"]),
    (["training-set", "nothing", "--spine", "$FILES/spine.parquet", "--out", "$FILES/o", *"--sql sql/flights --events $FLIGHTS".split()],
     2, ["nothing", "delay_features"]),
    (["training-set", "delay_features", "--spine", "$FILES/spine.parquet", "--out", "$FILES/o", "--data-dir", "$FILES/absent"], 2,
     ["absent", "--data-dir"]),
    (["replay", "$FILES/absent", "--bootstrap", "$NOBODY"], 2, ["absent"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--speed", "fast"], 2, ["fast"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--speed", "1e-300"], 2, ["1e-300", "0.001"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--from", "someday"], 2, ["someday"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--from", "2013-02-01", "--until", "2013-01-01"], 2, ["--until"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--shuffle-within", "a while"], 2, ["a while"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--partitions", "0"], 2, ["0"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--sql", "$FILES/no_statement"], 2, ["01.sql:1:8"]),
    (["replay", "$FLIGHTS", "--bootstrap", "$NOBODY", "--until", "2013-01-02"], 3, ["$NOBODY"]),
    (["verify", "nothing", "--flight-addr", "$SERVER"], 2, ["nothing"]),
    (["verify", "delay_features", "--predictions", "--flight-addr", "$SERVER"], 2, ["deployment"]),
    (["verify", "delay_features", "--sample", "0", "--flight-addr", "$SERVER"], 2, ["--sample 0", "at least 1"]),
    (["verify", "delay_features", "--sample", "200000", "--flight-addr", "$SERVER"], 2, ["VERIFY_MAX_ROWS"]),
    (["verify", "delay_features", "--sample", "many", "--flight-addr", "$SERVER"], 2, ["many"]),
    (["verify", "delay_features", "--flight-addr", "$NOBODY"], 3, ["$NOBODY"]),
    (["profile", "q1", "--training-set", "$FILES/absent.parquet", "--model", "models/late_arrival/1"], 2, ["absent.parquet"]),
    (["profile", "q1", "--training-set", "$FILES/spine.parquet", "--model", "$FILES/empty"], 2, ["empty"]),
    (["profile", "q1", "--training-set", "$FILES/narrow.parquet", "--model", "models/late_arrival/1"], 2, ["narrow.parquet"]),
    (["doctor", "--config", "$FILES/key.toml"], 2, ["shard"]),
    (["demo", "--speed", "fast"], 2, ["fast"]),
    (["demo", "--until", "never"], 2, ["never"]),
    (["demo", "--until", "2012-01-01"], 2, ["--until 2012-01-01", "2013-01-01T06:00:00Z", "2014-01-01T10:53:00Z"]),
    (["demo", "--summary", "$FILES/absent/summary.json"], 2, ["--summary", "absent/summary.json"]),
    (["demo", "--bootstrap", "$KAFKA", "--sql", "$SQL", "--until", "2013-01-02"], 2, ["departures", "records", "--bootstrap"]),
    (["demo", "--data", "$FILES/empty", "--data-dir", "$FILES/f", "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"], 2,
     ["departures.parquet"]),
    (["demo", "--sql", "$FILES/no_statement", "--data-dir", "$FILES/g", "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"], 2,
     ["01.sql:1:8"]),
]


def filled(text, server, files):
    for name, value in {"$FILES": files, "$FLIGHTS": FLIGHTS, "$SERVER": server.flight, "$SQL": server.sql, "$NOBODY": "127.0.0.1:1",
                        "$HTTP": f"127.0.0.1:{server.http_port}", "$DATA": server.data_dir, "$KAFKA": server.bootstrap}.items():
        text = text.replace(name, str(value))
    return text


@pytest.mark.parametrize("arguments, code, words", COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_a_wrong_command_line(arguments, code, words, server, files, forebay):
    done = forebay(*(filled(a, server, files) for a in arguments), check=False, timeout=120)
    said = done.stderr
    assert done.returncode == code, f"exit code {done.returncode}: {said}"
    for word in words:
        assert filled(word, server, files) in said, said
    assert "panicked" not in said and "RUST_BACKTRACE" not in said


@pytest.mark.parametrize("name, value", [("STATE_HISTORY_HOURS", 4_000_000_000), ("STATE_CACHE_MIB", 10**16),
                                         ("STATE_WRITE_BUFFER_MIB", 1), ("INGEST_ARCHIVE_FLUSH_MS", 10**18),
                                         ("INGEST_ARCHIVE_FLUSH_MIB", 10**16), ("INGEST_EPOCH_WAIT_MS", 10**18),
                                         ("KAFKA_PARTITIONS", 2**31 - 1)])
def test_a_setting_outside_its_bounds(name, value, forebay):
    env = {**os.environ, f"FOREBAY_{name}": str(value)}
    done = forebay("doctor", check=False, env=env)
    section, key = name.lower().split("_", 1)
    assert done.returncode == 2, done.stderr
    assert f"{section}.{key} = {value} is outside" in done.stderr, done.stderr


def test_a_variable_that_is_no_setting_is_said(forebay):
    done = forebay("doctor", check=False, env={**os.environ, "FOREBAY_STATE_SHARD": "2"})
    assert "FOREBAY_STATE_SHARD is not a setting" in done.stderr, done.stderr


def test_every_command_has_help_with_an_example(forebay):
    commands = ["server", "worker", "plan", "apply", "get", "training-set", "replay", "verify", "profile", "doctor", "demo"]
    listed = forebay("--help").stdout
    for command in commands:
        assert command in listed
        assert f"forebay {command}" in forebay(command, "--help").stdout.split("Example")[1]


@pytest.mark.parametrize("command", ["plan", "apply"])
@pytest.mark.parametrize("case", SQL_CASES)
def test_wrong_sql_is_refused_with_its_place_and_changes_nothing(case, command, server, files, forebay):
    _, where, words = SQL_CASES[case]
    before = server.client.action("services")
    done = forebay(command, files / case, "--flight-addr", server.flight, check=False)
    assert done.returncode == 2, done.stderr
    for word in [where, *words]:
        assert word in done.stderr, done.stderr
    assert server.client.action("services") == before


def ticket(**fields):
    return json.dumps({"service": "delay_features", "rows": ROWS, "at": AT, **fields}).encode()


def rows(**columns):
    return ticket(rows={**ROWS, **columns})


TICKETS = {
    "nothing": (b"", ["service"]),
    "noise": (b"\xff\xfe\x00 noise", ["JSON", "FeatureRequest"]),
    "cut off": (ticket()[:-1], ["ticket"]),
    "no object": (b"[1, 2]", ["FeatureRequest"]),
    "no rows": (json.dumps({"service": "delay_features"}).encode(), ["rows"]),
    "empty rows": (ticket(rows={}), ["rows"]),
    "unknown field": (ticket(limit=5), ["limit"]),
    "unknown service": (ticket(service="nothing"), ["nothing", "delay_features"]),
    "unknown version": (ticket(version=9), ["version", "9"]),
    "another fingerprint": (ticket(schema_fingerprint="00ff"), ["fingerprint", "00ff"]),
    "unknown column": (rows(gate=[4]), ["gate", "tailnum"]),
    "missing column": (ticket(rows={k: v for k, v in ROWS.items() if k != "dest"}), ["dest"]),
    "column twice": (ticket().replace(b'"dest"', b'"origin"'), ["origin", "twice"]),
    "unequal columns": (rows(dest=["LAX", "ORD"]), ["equally long", "dest"]),
    "text for a number": (rows(distance=["far"]), ["distance", "BIGINT"]),
    "fraction for an integer": (rows(distance=[1.5]), ["distance", "BIGINT"]),
    "number for a text": (rows(origin=[1]), ["origin", "VARCHAR"]),
    "list for a text": (rows(origin=[["JFK"]]), ["ticket"]),
    "a number beyond 64 bits": (ticket().replace(b"2475", b"99999999999999999999"), ["distance", "BIGINT"]),
    "no time": (rows(sched_dep=["soon"]), ["sched_dep", "2013-07-01T12:00:00Z"]),
    "instant that is none": (ticket(at="soon"), ["soon"]),
    "instant beyond all years": (ticket(at=2**62), ["9999"]),
    "too deep": (b'{"service":' + b"[" * 40 + b"]" * 40 + b"}", ["REQUEST_MAX_DEPTH"]),
    "too many rows": (rows(**{name: values * 10_001 for name, values in ROWS.items()}), ["REQUEST_MAX_ROWS", "10001"]),
    "too many bytes": (rows(tailnum=["x" * (5 << 20)]), []),
    "key too long": (rows(tailnum=["x" * 5_000]), ["KEY_MAX_BYTES"]),
}


@pytest.mark.parametrize("case", TICKETS)
def test_a_wrong_ticket(case, server):
    sent, words = TICKETS[case]
    with pytest.raises((flight.FlightError, pa.ArrowException, ValueError, KeyError)) as refused:
        server.client.flight.do_get(flight.Ticket(sent)).read_all()
    for word in words:
        assert word in str(refused.value)
    assert "panicked" not in str(refused.value)


OPENINGS = {
    "nothing": (b"", ["service"]),
    "noise": (b"\x00\x01\x02", ["ExchangeOpen"]),
    "unknown field": (b'{"service": "delay_features", "at": 5}', ["at"]),
    "unknown service": (b'{"service": "nothing"}', ["nothing"]),
    "another fingerprint": (b'{"service": "delay_features", "schema_fingerprint": "00ff"}', ["00ff"]),
}


@pytest.mark.parametrize("case", OPENINGS)
def test_a_wrong_opening_of_an_exchange(case, server):
    command, words = OPENINGS[case]
    with pytest.raises((flight.FlightError, pa.ArrowException, ValueError, KeyError)) as refused:
        writer, reader = server.client.flight.do_exchange(flight.FlightDescriptor.for_command(command))
        with writer:
            writer.begin(REQUEST)
            writer.write_with_metadata(BATCH, b'{"request_id": 1}')
            writer.done_writing()
            reader.read_chunk()
    for word in words:
        assert word in str(refused.value)


REQUESTS = {
    "unknown field": (REQUEST, b'{"request_id": 1, "colour": 2}', "INVALID_ARGUMENT", ["colour"]),
    "no id": (REQUEST, b"{}", "INVALID_ARGUMENT", ["request_id"]),
    "noise": (REQUEST, b"\xff\xff", "INVALID_ARGUMENT", ["RequestMeta"]),
    "deadline too far": (REQUEST, b'{"request_id": 1, "deadline_us": 3600000000}', "RESOURCE_EXHAUSTED", ["REQUEST_DEADLINE_MAX_MS"]),
    "no time": (REQUEST, b'{"request_id": 1, "deadline_us": 0}', "DEADLINE_EXCEEDED", ["deadline"]),
    "missing column": (pa.schema(list(REQUEST)[1:]), b'{"request_id": 1}', "INVALID_ARGUMENT", ["origin"]),
    "another type": (REQUEST.set(0, pa.field("origin", pa.float64())), b'{"request_id": 1}', "INVALID_ARGUMENT", ["origin", "VARCHAR"]),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_wrong_request_of_an_exchange_is_answered_and_the_stream_goes_on(case, server):
    schema, meta, status, words = REQUESTS[case]
    columns = {name: [1.0] if pa.types.is_float64(schema.field(name).type) else BATCH.column(name).to_pylist() for name in schema.names}
    descriptor = flight.FlightDescriptor.for_command(b'{"service": "delay_features"}')
    writer, reader = server.client.flight.do_exchange(descriptor)
    with writer:
        writer.begin(schema)
        answers = []
        for sent in (meta, meta):
            writer.write_with_metadata(batch_of(columns, schema), sent)
            answers.append(json.loads(reader.read_chunk().app_metadata.to_pybytes()))
        writer.done_writing()
    for answer in answers:
        assert answer["status"] == status, answer
        for word in words:
            assert word in answer["message"]


def test_too_many_rows_in_one_request_of_an_exchange(server):
    batch = pa.RecordBatch.from_arrays([pa.array(BATCH.column(n).to_pylist() * 10_001, REQUEST.field(n).type) for n in REQUEST.names],
                                       schema=REQUEST)
    with pytest.raises((Refused, flight.FlightError, pa.ArrowException), match="REQUEST_MAX_ROWS"):
        server.client.exchange("delay_features", [(0, batch)])


PUSHES = {
    "unknown source": (["source", "nothing"], ["nothing", "departures"]),
    "unknown path": (["table", "departures"], ["source"]),
    "no path": ([], ["source"]),
}


@pytest.mark.parametrize("case", PUSHES)
def test_a_wrong_push(case, server):
    path, words = PUSHES[case]
    batch = batch_of(ROWS, pa.schema([("origin", pa.string())]))
    with pytest.raises((flight.FlightError, pa.ArrowException)) as refused:
        writer, reader = server.client.flight.do_put(flight.FlightDescriptor.for_path(*path), batch.schema)
        writer.write_batch(batch)
        writer.done_writing()
        reader.read()
        writer.close()
    for word in words:
        assert word in str(refused.value)


ACTIONS = {
    "nothing": (b"", ["nothing", "services"]),
    "plan": (b"no JSON", ["plan"]),
    "apply": (b'{"files": [{"path": "x.sql"}]}', ["apply", "text"]),
    "verify": (b'{"service": "delay_features", "samples": 5}', ["verify", "samples"]),
    "register_worker": (b"{}", ["register_worker"]),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_a_wrong_action(name, server):
    body, words = ACTIONS[name]
    with pytest.raises((flight.FlightError, pa.ArrowException, NotImplementedError)) as refused:
        list(server.client.flight.do_action(flight.Action(name, body)))
    for word in words:
        assert word in str(refused.value)


def test_http_refuses_what_it_does_not_know(server):
    code, body = server.http("/nothing")
    assert code == 404 and json.loads(body)
    assert server.http("/metrics", method="POST")[0] == 405
    assert server.http("/metrics", headers={"Host": "forebay.example.com"})[0] == 403
    assert server.http("/healthz")[0] == 200


FUTURE = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
GOOD = {"flight_id": "f", "carrier": "ZZ", "origin": "BAD", "dest": "BOS", "dep_time": "2013-01-01T14:59:00Z", "dep_delay": 1.0}
RECORDS = {
    "not_json": [b"{broken", b'{"flight_id": "\xff\xfe"}', b"[1]", b'{"origin": "A", "origin": "B"}'],
    "missing_column": [json.dumps({k: v for k, v in GOOD.items() if k != "origin"}).encode(), json.dumps({**GOOD, "dep_time": None}).encode()],
    "wrong_type": [json.dumps({**GOOD, "dep_delay": "late"}).encode(), json.dumps({**GOOD, "distance": 1.5}).encode(),
                   json.dumps({**GOOD, "dep_time": "yesterday"}).encode()],
    "too_deep": [json.dumps({**GOOD, "more": None}).encode().replace(b"null", b"[" * 20 + b"]" * 20)],
    "future_time": [json.dumps({**GOOD, "dep_time": FUTURE}).encode()],
    "no_value": [None],
}


def test_bad_records_become_dead_letters_and_the_stream_goes_on(server, kafka):
    (line,) = [line for line in (server.sql / "01_sources.sql").read_text().splitlines() if "'departures." in line]
    topic = line.split("topic = '")[1].split("'")[0]
    before = server.client.status()["sources"]["departures"]["rows"]
    sent = [(reason, value) for reason, values in RECORDS.items() for value in values]
    for reason, value in sent:
        if value is None:
            produce(kafka, topic, b"key:", partition=0, flags=["-K", ":", "-Z"])
        else:
            produce(kafka, topic, value, partition=0)
    produce(kafka, topic, {**GOOD, "unknown": "is skipped"}, partition=0)

    good = {**ROWS, "origin": ["BAD"]}
    wait_for(lambda: server.client.get("delay_features", good, at=AT).column("departures_1h").to_pylist() == [1],
             "the good record behind the bad ones")
    status = server.client.status()["sources"]["departures"]
    assert (status["rows"] - before, status["dead_letters"]) == (1, len(sent))
    wait_for(lambda: server.metric("forebay_ingest_records_total", source="departures", result="dead_letter") == len(sent),
             "the dead letters in /metrics")
    for reason, values in RECORDS.items():
        wait_for(lambda: server.metric("forebay_dead_letter_records_total", source="departures", reason=reason) == len(values),
                 f"dead letters of reason {reason} in /metrics")

    server.client.action("verify", {"service": "delay_features", "sample": 1})
    letters = delta(server.data_dir, "dead_letters").sort_by("_offset")
    assert letters["reason"].to_pylist() == [reason for reason, _ in sent]
    assert letters["payload"].to_pylist() == [value or b"" for _, value in sent]
    assert set(letters["source"].to_pylist()) == {"departures"} and set(letters["_topic"].to_pylist()) == {topic}
    assert set(letters["_partition"].to_pylist()) == {0}
    details = dict(zip(letters["reason"].to_pylist(), letters["detail"].to_pylist()))
    assert "dep_time" in details["future_time"] and "dep_time" in details["missing_column"]
