"""The year of flights, replayed into Apache Kafka beforehand (4 partitions a topic) and then read at full speed: by Forebay's
ingest with all five views, by the whole loop (features, model, predictions, archive, monitor), and by the floors: a thread that
takes the records from the broker and drops them, and a thread that decodes them from memory. Interleaved, several rounds,
medians. Then the time from an event to an answer that shows it: beside the year while that is replayed at full speed and read by
a server with all five views, and on a server that has read everything and is idle otherwise; there single-entity reads on a
DoExchange stream too.

Broker, servers and clients share the machine's cores; nothing is pinned. The answers are checked: the counts that are served at
the end are those of the files, or the run fails.
"""

import json
import statistics
import subprocess
import sys
import time
import uuid

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as flight
import pyarrow.parquet as pq

from processes import DEADLINE_S, ROOT, Server, definitions, ended, wait

FLIGHTS = ROOT / "data" / "nycflights13"
SOURCES = {"departures": "dep_time", "arrivals": "arr_time", "weather": "observed_at"}
PREDICTIONS = "predictions_late_arrival"
PARTITIONS = 4
# The events that are looked for beside the year have a topic of their own: their event times, after the year, would make all
# that follows them on a partition of the departures late. Their way through the server is that of all events.
MARKERS = """CREATE SOURCE markers (
    tailnum  VARCHAR NOT NULL,
    dep_time TIMESTAMP NOT NULL,
    WATERMARK FOR dep_time AS dep_time - INTERVAL '30' MINUTE
) WITH (connector = 'kafka', topic = '{topic}', format = 'json');

CREATE FEATURE VIEW marker_seen ENTITY aircraft AS
SELECT tailnum, dep_time, count(*) OVER ever AS markers FROM markers
WINDOW ever AS (PARTITION BY tailnum ORDER BY dep_time);

CREATE FEATURE SERVICE freshness (tailnum VARCHAR) AS
SELECT a.markers FROM request LEFT JOIN marker_seen AS a USING (tailnum);
"""


def year(bench, folder):
    until = "2013-02-01" if bench.quick else "2014-01-02"
    rounds = 1 if bench.quick else 3
    suffix = uuid.uuid4().hex[:8]
    expected = {source: events(source, until).num_rows for source in SOURCES}
    features = definitions(folder / "features", suffix, "0[123]_*.sql", suffix)
    topics = {source: f"{source}.{suffix}" for source in SOURCES}
    fill_s = fill(bench, features, until, sum(expected.values()))
    measured = {}
    for number in range(rounds):
        # Another topic for the predictions of each round: no round reads those of another.
        whole = definitions(folder / f"loop-{number}", suffix, "*.sql", f"{suffix}.{number}")
        steps = [("consume", lambda: floor(bench, "consume", topics)), ("decode", lambda: floor(bench, "decode", topics)),
                 ("ingest", lambda: ingest(bench, folder, features, expected, until)),
                 ("loop", lambda: ingest(bench, folder, whole, expected, until, scored=True))]
        for name, step in steps[number % 4:] + steps[:number % 4]:
            measured.setdefault(name, []).append(step())
    report(bench, measured, expected)
    live = definitions(folder / "live", f"{suffix}.live", "0[123]_*.sql", suffix)
    freshness_at_full_speed(bench, folder, live, until, f"markers.{suffix}", fill_s)
    serve(bench, folder, features, expected, until, topics)


def report(bench, measured, expected):
    total = sum(expected.values())

    def median(name, field):
        return statistics.median(m[field] for m in measured[name])

    bench.figure("input", "events", total, "events")
    systems = {"consume": "rdkafka, consume only", "decode": "decode only, no broker", "ingest": "forebay ingest",
               "loop": "forebay loop"}
    for name, system in systems.items():
        rates = [m["events"] / m["seconds"] for m in measured[name]]
        bench.figure(system, "events a second, median", statistics.median(rates), "events/s")
        if len(rates) > 1:
            bench.figure(system, "events a second, least", min(rates), "events/s")
            bench.figure(system, "events a second, most", max(rates), "events/s")
    for name in ("ingest", "loop"):
        bench.figure(systems[name], "CPU", median(name, "cpu_seconds"), "s")
        bench.figure(systems[name], "CPU a million events", median(name, "cpu_seconds") / total * 1e6, "s")
        bench.figure(systems[name], "cores in use", median(name, "cpu_seconds") / median(name, "seconds"), "cores")
        bench.figure(systems[name], "peak resident memory", median(name, "peak_rss_bytes") / 2**20, "MiB")
    bench.figure(systems["loop"], "predictions a second", expected["departures"] / median("loop", "seconds"), "predictions/s")
    rate = statistics.median(m["events"] / m["seconds"] for m in measured["ingest"])
    for name in ("consume", "decode"):
        bench.figure("forebay ingest", f"share of the floor: {systems[name]}",
                     rate / statistics.median(m["events"] / m["seconds"] for m in measured[name]), "x")
    bench.goal("ingest with all five views", 150_000, rate, "events/s", rate >= 150_000)
    peak = max(m["peak_rss_bytes"] for m in measured["loop"]) / 2**20
    bench.goal("peak resident memory of the loop", 1024, peak, "MiB", peak < 1024)


def events(source, until):
    table = pq.read_table(FLIGHTS / f"{source}.parquet")
    limit = pa.scalar(until).cast(pa.timestamp("us")).cast(pa.int64())
    at = table[SOURCES[source]].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return table.filter(pc.less(at, limit))


def replay(bench, sql, until):
    command = [bench.binary, "replay", FLIGHTS, "--sql", sql, "--bootstrap", bench.kafka, "--until", until, "--partitions",
               str(PARTITIONS)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def fill(bench, sql, until, total):
    """Put the events into their topics; the seconds that it took."""
    started = time.monotonic()
    ended(replay(bench, sql, until))
    seconds = time.monotonic() - started
    bench.figure("forebay replay", "events a second into Kafka", total / seconds, "events/s")
    return seconds


def floor(bench, mode, topics):
    done = subprocess.run([bench.examples / "consume_floor", mode, bench.kafka, *(f"{k}={v}" for k, v in topics.items())],
                          check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    measured = json.loads(done.stdout)
    return {"events": measured["records"], "seconds": measured["seconds"]}


def route_arrivals(server, routes, at):
    """The arrivals that the service knows of, over all routes."""
    rows = {"origin": [r[0] for r in routes], "dest": [r[1] for r in routes]}
    for name in ("carrier", "tailnum", "distance", "sched_dep", "dep_delay"):
        rows[name] = [None] * len(routes)
    ticket = flight.Ticket(json.dumps({"service": "delay_features", "rows": rows, "at": at}).encode())
    return pc.sum(server.flight.do_get(ticket).read_all()["route_arrivals"]).as_py() or 0


def ingest(bench, folder, sql, expected, until, scored=False):
    """Read everything. The clock runs from the moment that the definitions are applied; rows read until then do not count."""
    arrivals = events("arrivals", until)
    routes = sorted(set(zip(arrivals["origin"].to_pylist(), arrivals["dest"].to_pylist())))
    wanted = {**expected, PREDICTIONS: expected["departures"]} if scored else expected

    def read(server):
        status, cpu_seconds, now = server.status(), server.cpu_seconds(), time.monotonic()
        rows = {name: source["rows"] for name, source in status["sources"].items()}
        return now, cpu_seconds, sum(rows.get(name, 0) for name in expected), all(rows.get(n, 0) >= c for n, c in wanted.items())

    with Server(bench, folder) as server:
        server.apply(sql)
        first = last = read(server)
        while not last[3]:
            time.sleep(0.02)
            last = read(server)
            if last[0] - first[0] > DEADLINE_S:
                sys.exit(f"not everything was read within {DEADLINE_S} s; status: {server.status()}")
        check(server, routes, arrivals.num_rows)
        return {"events": last[2] - first[2], "seconds": last[0] - first[0], "cpu_seconds": last[1] - first[1],
                "peak_rss_bytes": server.peak_rss_bytes()}


def check(server, routes, arrivals):
    """The last epoch is applied a moment after it is counted; then what is served is what the files hold."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if route_arrivals(server, routes, "2014-02-01T00:00:00Z") == arrivals:
            return
        time.sleep(0.01)
    sys.exit(f"the routes' arrivals are {route_arrivals(server, routes, '2014-02-01T00:00:00Z')}, not {arrivals}: the row is void")


def serve(bench, folder, sql, expected, until, topics):
    seconds = 5 if bench.quick else 30
    departures = events("departures", until)
    newest = departures.sort_by([("dep_time", "descending")]).slice(0, 2_000)
    at = pc.max(newest["dep_time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())).as_py()
    columns = ["origin", "dest", "carrier", "tailnum", "distance", "dep_delay"]
    lines = "\n".join(json.dumps(row) for row in newest.select(columns).to_pylist())
    with Server(bench, folder) as server:
        server.apply(sql)
        wait(lambda: server.has_read(expected), "everything to be read")
        done = subprocess.run([bench.examples / "exchange_latency", server.address, "delay_features", str(at), str(seconds)],
                              input=lines, check=True, capture_output=True, text=True)
        read = json.loads(done.stdout)
        for share in ("p50", "p90", "p99"):
            bench.figure("forebay DoExchange", f"one entity, {share}", read[f"{share}_us"], "us")
        bench.figure("forebay DoExchange", "reads a second, one client", read["reads"] / seconds, "reads/s")
        bench.goal("single-entity DoExchange read, p50", 200, read["p50_us"], "us", read["p50_us"] <= 200)
        for rate in (100, 1_000):
            seen = event_to_answer(bench, server, topics["departures"], "delay_features", rate, seconds)
            report_freshness(bench, f"idle otherwise, {rate:,}/s", seen)


def freshness_at_full_speed(bench, folder, sql, until, topic, fill_s):
    """While a replay runs that would take `fill_s` with the machine to itself; one second passes before the first event that
    counts. Without figures where the replay is too short for that."""
    rate, seconds = 1_000, max(1.0, fill_s - 1.0)
    (sql / "05_markers.sql").write_text(MARKERS.format(topic=topic))
    with Server(bench, folder) as server:
        server.apply(sql)
        beside = replay(bench, sql, until)
        seen = event_to_answer(bench, server, topic, "freshness", rate, seconds)
        over = beside.poll() is not None
        ended(beside)
    if over:
        print("  no figure of freshness at full speed: the replay was over before the last of the events looked for", flush=True)
    else:
        report_freshness(bench, f"replay at full speed, {rate:,}/s", seen)


def event_to_answer(bench, server, topic, service, rate, seconds):
    command = [bench.examples / "event_to_read", bench.kafka, topic, server.address, service, str(rate), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def report_freshness(bench, where, seen):
    for share in ("p50", "p99"):
        bench.figure("forebay freshness", f"event to answer, {where}, {share}", seen[f"{share}_ms"], "ms")


PARTS = {"year": year}
