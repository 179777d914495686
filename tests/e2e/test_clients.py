"""Clients that nobody here wrote: pyarrow.flight reads features by DoGet and DoExchange, lists services and actions and pushes
events; kcat produces an event that becomes visible in a read; DuckDB and delta-rs for Python open the archive's tables.
"""

import bisect
import functools
import json
import time

import duckdb
import pyarrow as pa
import pyarrow.flight as flight
import pytest

from client import batch_of
from conftest import FLIGHTS, copy_definitions, wait_for
from tables import delta, event_counts, events, instant
from topics import produce, records

UNTIL = "2013-01-08"
NOON = instant("2013-01-07T12:00:00")
REQUEST = pa.schema([("origin", pa.string()), ("dest", pa.string()), ("carrier", pa.string()), ("tailnum", pa.string()),
                     ("distance", pa.int64()), ("sched_dep", pa.timestamp("us", "UTC")), ("dep_delay", pa.float64())])
ROWS = {"origin": ["JFK", "EWR", "ZZZ"], "dest": ["LAX", "ORD", "LAX"], "carrier": ["AA", "UA", "B6"],
        "tailnum": ["N338AA", None, "N0"], "distance": [2475, 719, None],
        "sched_dep": ["2013-01-07T12:00:00Z", "2013-01-07T11:00:00Z", None], "dep_delay": [4.0, -2.5, None]}


@pytest.fixture(scope="module")
def server(module_servers, forebay, kafka, tmp_path_factory):
    sql = copy_definitions(tmp_path_factory.mktemp("clients") / "sql", "0[123]_*.sql")
    server = module_servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "500",
                                             "FOREBAY_STATE_HISTORY_HOURS": "100000"}).start()
    forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--until", UNTIL)
    server.wait_read(event_counts(until=UNTIL))
    return server


def topic(server, source):
    (line,) = [line for line in (server.sql / "01_sources.sql").read_text().splitlines() if f"'{source}." in line]
    return line.split("topic = '")[1].split("'")[0]


@functools.cache
def departures_of(origin):
    """Times of the departures of an airport, ascending."""
    table = events("departures", until=UNTIL)
    times = table["dep_time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return sorted(at for at, where in zip(times, table["origin"].to_pylist()) if where == origin)


def flights_of(origin, since_us, until_us):
    times = departures_of(origin)
    return bisect.bisect_right(times, until_us) - bisect.bisect_left(times, since_us)


def test_do_get_reads_features_with_status_and_freshness(server):
    table = server.client.get("delay_features", ROWS, at="2013-01-07T12:00:00Z", with_status=True, with_event_time=True)
    first = table.slice(0, 1).to_pylist()[0]
    assert first["departures_1h"] == flights_of("JFK", NOON - 3_600_000_000, NOON) > 0
    assert first["departure_delay"] == 4.0 and first["distance_miles"] == 2475.0 and first["sched_hour_utc"] == 12.0
    assert first["delay_minus_airport"] == 4.0 - first["dep_delay_avg_1h"]
    assert (first["t__status"], first["t__event_time"] is not None) == (1, True)
    last = table.slice(2, 1).to_pylist()[0]
    assert (last["departures_1h"], last["t__status"], last["t__event_time"]) == (None, 3, None)
    metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert metadata["forebay.service"] == "delay_features" and metadata["forebay.version"] == "1"
    assert int(metadata["forebay.as_of_us"]) == NOON
    assert int(metadata["forebay.newest_event_time_us"]) <= NOON < int(metadata["forebay.watermark_us"])
    assert metadata["forebay.applied"]


def test_do_exchange_answers_many_requests_in_order_with_their_instants(server):
    columns = {**ROWS, "sched_dep": [instant("2013-01-07T12:00:00"), instant("2013-01-07T11:00:00"), None]}
    batch = batch_of(columns, REQUEST)
    minutes = [NOON + 60_000_000 * minute for minute in range(300)]
    answers = server.client.exchange_with_meta("delay_features", [(at, batch) for at in minutes], in_flight=200)
    for at, (meta, answer) in zip(minutes, answers):
        assert meta["as_of_us"] == at and meta["applied"] and meta["newest_event_time_us"] <= at
        assert answer.column("departures_1h").to_pylist()[0] == flights_of("JFK", at - 3_600_000_000, at)
    get = server.client.get("delay_features", ROWS, at=NOON)
    assert pa.Table.from_batches([answers[0][1]]).to_pylist() == get.to_pylist()


def test_an_exchange_goes_on_after_a_request_that_is_refused(server):
    descriptor = flight.FlightDescriptor.for_command(json.dumps({"service": "delay_features"}).encode())
    writer, reader = server.client.flight.do_exchange(descriptor)
    batch = batch_of({**ROWS, "sched_dep": [None] * 3}, REQUEST)
    with writer:
        writer.begin(REQUEST)
        answers = []
        for meta in (b'{"request_id": 7, "at": "yesterday"}', b'{"request_id": 8, "nonsense": 1}',
                     b'{"request_id": 9, "at": "2013-01-07T12:00:00Z", "full_applied": true}'):
            writer.write_with_metadata(batch, meta)
            chunk = reader.read_chunk()
            answers.append((json.loads(chunk.app_metadata.to_pybytes()), chunk.data))
        writer.done_writing()
    assert [meta["status"] for meta, _ in answers] == ["INVALID_ARGUMENT", "INVALID_ARGUMENT", "OK"]
    assert "yesterday" in answers[0][0]["message"] and "nonsense" in answers[1][0]["message"]
    assert [data.num_rows for _, data in answers] == [0, 0, 3]
    offsets = [p for shard in answers[2][0]["applied"] for p in shard["partitions"]]
    assert {p["topic"] for p in offsets} == {topic(server, name) for name in ("departures", "arrivals", "weather")}


def test_services_and_actions_are_listed(server):
    listed = list(server.client.flight.list_flights())
    assert [info.descriptor.path for info in listed] == [[b"delay_features"]]
    assert "departures_1h" in listed[0].schema.names
    info = server.client.flight.get_flight_info(flight.FlightDescriptor.for_path("delay_features"))
    assert info.schema == listed[0].schema
    command = json.dumps({"service": "delay_features", "rows": ROWS, "at": NOON}).encode()
    (endpoint,) = server.client.flight.get_flight_info(flight.FlightDescriptor.for_command(command)).endpoints
    assert server.client.flight.do_get(endpoint.ticket).read_all().num_rows == 3
    actions = {action.type for action in server.client.flight.list_actions()}
    assert {"health", "services", "plan", "apply", "verify", "status"} <= actions
    assert server.client.action("health") == {"status": "serving", "services": 1}
    (service,) = server.client.action("services")["services"]
    assert [column["name"] for column in service["request"]] == REQUEST.names


def departure(number, at, origin):
    return {"flight_id": f"kcat-{number}", "carrier": "ZZ", "flight": number, "tailnum": "N-KCAT", "origin": origin,
            "dest": "BOS", "distance": 187, "dep_time": at, "dep_delay": 30.0 + number}


def test_an_event_of_kcat_becomes_visible_in_a_read(server, kafka):
    rows = {**ROWS, "origin": ["KCT"] * 3}
    at = "2013-01-07T12:00:00Z"
    assert server.client.get("delay_features", rows, at=at).column("departures_1h").to_pylist() == [None] * 3
    sent = time.monotonic()
    produce(kafka, topic(server, "departures"), departure(1, "2013-01-07T11:59:59Z", "KCT"))

    def seen():
        row = server.client.get("delay_features", rows, at=at).slice(0, 1).to_pylist()[0]
        return row if row["departures_1h"] == 1 else None

    row = wait_for(seen, "the event of kcat to be read", deadline_s=20, every_s=0.002)
    print(f"\nkcat to read: {(time.monotonic() - sent) * 1000:.0f} ms, kcat's start included")
    assert row["dep_delay_avg_1h"] == 31.0
    before = server.client.get("delay_features", rows, at="2013-01-07T11:59:58.999999Z")
    assert before.column("departures_1h").to_pylist() == [None] * 3


def test_events_pushed_by_do_put_are_in_the_topic_and_in_a_read(server, kafka):
    schema = pa.schema([("flight_id", pa.string()), ("carrier", pa.string()), ("origin", pa.string()), ("dest", pa.string()),
                        ("dep_time", pa.timestamp("us", "UTC")), ("dep_delay", pa.float64())])
    pushed = {"flight_id": ["put-1", "put-2", None], "carrier": ["ZZ"] * 3, "origin": ["PUT"] * 3, "dest": ["BOS"] * 3,
              "dep_time": [NOON] * 3, "dep_delay": [1.0, 2.0, 3.0]}
    writer, reader = server.client.flight.do_put(flight.FlightDescriptor.for_path("source", "departures"), schema)
    writer.write_with_metadata(batch_of(pushed, schema), b'{"batch_id": 5}')
    acknowledged = json.loads(reader.read().to_pybytes())
    writer.close()
    assert (acknowledged["batch_id"], acknowledged["rows"], acknowledged["status"]) == (5, 2, "OK")
    assert [refused["row"] for refused in acknowledged["refused"]] == [2]
    assert "flight_id" in acknowledged["refused"][0]["reason"]
    assert sum(b'"put-' in value for value in records(kafka, topic(server, "departures"))) == 2
    rows = {**ROWS, "origin": ["PUT"] * 3}
    wait_for(lambda: server.client.get("delay_features", rows, at=NOON).column("departures_1h").to_pylist() == [2] * 3,
             "the pushed events to be read", deadline_s=20)


def test_the_command_line_reads_the_same(server, forebay):
    done = forebay("get", "delay_features", "origin=JFK", "dest=LAX", "carrier=AA", "tailnum=N338AA", "distance=2475",
                   "sched_dep=2013-01-07 12:00:00", "dep_delay=4", "--at", "2013-01-07T12:00:00Z", "--output", "json",
                   "--flight-addr", server.flight)
    read = server.client.get("delay_features", {k: v[:1] for k, v in ROWS.items()}, at=NOON).to_pylist()[0]
    assert json.loads(done.stdout)["features"] == read


def test_duckdb_and_delta_rs_open_the_archive(server):
    server.client.action("verify", {"service": "delay_features", "sample": 1})
    archived = delta(server.data_dir, "arrivals")
    assert {"_topic", "_partition", "_offset", "_kafka_time", "_ingest_time", "_late"} <= set(archived.column_names)
    sent = events("arrivals", until=UNTIL)
    totals = "SELECT carrier, count(*), sum(arr_delay) FROM {} GROUP BY ALL ORDER BY ALL"
    assert duckdb.sql(totals.format("archived")).fetchall() == duckdb.sql(totals.format("sent")).fetchall()
    files = f"{server.data_dir}/offline/arrivals/**/*.parquet"
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet('{files}')").fetchall() == [(sent.num_rows,)]


def test_an_unknown_service_is_refused_on_every_way_in(server):
    with pytest.raises(pa.ArrowException, match="nothing_here"):
        server.client.get("nothing_here", ROWS)
    with pytest.raises(pa.ArrowException, match="nothing_here"):
        server.client.exchange("nothing_here", [(None, batch_of({**ROWS, "sched_dep": [None] * 3}, REQUEST))])
