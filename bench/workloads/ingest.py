"""Events of a shop, JSON of ten fields, through one view of twelve features (count, sum, avg and max over a minute, an hour and a day):
100,000 keys by Zipf's law and a million keys evenly, each in a topic of 4 partitions that is filled beforehand and read at full speed.
Beside it the floors: a thread that takes the records from the broker and drops them, one that decodes them from memory, one that
decodes them and keeps count, sum and most by user, and one that writes as many entries into RocksDB; and, but for --quick, the peer:
PyFlink on the same topic and windows (bench/peers/flink_ingest.py). Interleaved, medians.

Broker and server share the machine's cores; nothing is pinned. The answers are checked: a user's count is that of the topic, or the
run fails.
"""

import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid

import pyarrow.flight as flight

from load import make_topic
from processes import DEADLINE_S, ROOT, Server, wait

PARTITIONS = 4
GOAL_A_CORE, GOAL_TO_FLINK = 600_000, 10
FLINK_EVENTS = 2_000_000  # at most: it would take many minutes for all
ENTRY_BYTES = 32  # of the floor of writes: a row of one argument with its time
END = "2024-06-04T00:00:00Z"  # the events' last time, exclusive
SOURCE = """CREATE SOURCE shop (
    event_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, amount DOUBLE, quantity BIGINT, country VARCHAR, device VARCHAR,
    is_new BOOLEAN, session VARCHAR, page VARCHAR, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE
) WITH (connector = 'kafka', topic = '{topic}', format = 'json');

CREATE ENTITY shopper (user_id VARCHAR);

CREATE FEATURE VIEW spending ENTITY shopper AS
SELECT user_id, at, {features}, count(*) OVER ever AS events
FROM shop
WINDOW minute AS (PARTITION BY user_id ORDER BY at RANGE INTERVAL '1' MINUTE PRECEDING),
       hour AS (PARTITION BY user_id ORDER BY at RANGE INTERVAL '1' HOUR PRECEDING),
       day AS (PARTITION BY user_id ORDER BY at RANGE INTERVAL '1' DAY PRECEDING),
       ever AS (PARTITION BY user_id ORDER BY at);

CREATE FEATURE SERVICE shoppers (user_id VARCHAR) AS
SELECT s.events FROM request LEFT JOIN spending AS s USING (user_id);
"""
FEATURES = ",\n       ".join(f"{call} OVER {window} AS {call.split('(')[0]}_{window}" for window in ("minute", "hour", "day")
                            for call in ("count(*)", "sum(amount)", "avg(amount)", "max(amount)"))


def zipf(bench, folder):
    measured(bench, folder, 100_000, "zipf")


def even(bench, folder):
    measured(bench, folder, 1_000_000, "even")


def measured(bench, folder, keys, law):
    count, rounds = (200_000, 1) if bench.quick else (10_000_000, 3)
    topic = f"shop.{uuid.uuid4().hex[:8]}"
    make_topic(bench, topic, PARTITIONS)
    filled = example(bench, "shop_events", bench.kafka, topic, count, keys, law)
    bench.figure("input", "events", count, "events")
    bench.figure("input", "bytes an event", filled["bytes"] / count, "B")
    steps = [("consume", lambda: example(bench, "consume_floor", "consume", bench.kafka, f"shop={topic}")),
             ("decode", lambda: example(bench, "consume_floor", "decode", bench.kafka, f"shop={topic}")),
             ("group", lambda: example(bench, "consume_floor", "group", bench.kafka, f"shop={topic}")),
             ("write", lambda: example(bench, "write_floor", folder / f"floor-{uuid.uuid4().hex[:8]}", count, keys, ENTRY_BYTES)),
             ("ingest", lambda: ingest(bench, folder, topic, count))]
    if not bench.quick:
        steps.append(("flink", lambda: flink(bench, topic, count)))
    runs = {}
    for number in range(rounds):
        for name, step in steps[number % len(steps):] + steps[:number % len(steps)]:
            runs.setdefault(name, []).append(step())
    report(bench, runs, count)


def example(bench, name, *args):
    done = subprocess.run([bench.examples / name, *map(str, args)], capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode != 0:
        sys.exit(f"{name}: {done.stderr}")
    return json.loads(done.stdout)


def flink(bench, topic, count):
    """The peer over a part of the events that every partition has its share of."""
    installed = subprocess.run([ROOT / "scripts" / "flink"], check=True, capture_output=True, text=True).stdout.split()
    python, jar = installed
    command = [python, ROOT / "bench" / "peers" / "flink_ingest.py", bench.kafka, topic, jar, int(min(FLINK_EVENTS, 0.95 * count)), PARTITIONS]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=2 * DEADLINE_S)
    if done.returncode != 0:
        sys.exit(f"flink_ingest.py: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ingest(bench, folder, topic, count):
    """Read everything. The clock runs from the moment that the definitions are applied."""
    with Server(bench, folder) as server:
        began, cpu = time.monotonic(), server.cpu_seconds()
        server.apply_files([{"path": "all.sql", "text": SOURCE.format(topic=topic, features=FEATURES)}])
        wait(lambda: server.has_read({"shop": count}), f"{count:,} events to be read")
        seconds, cpu = time.monotonic() - began, server.cpu_seconds() - cpu
        written, peak = server.moved_bytes("write_bytes"), server.peak_rss_bytes()
        check(server, topic, bench)
        rocks = {name: metric(server, f"forebay_rocksdb_{name}") for name in
                 ("wal_bytes_total", "flushed_bytes_total", 'compaction_bytes_total{direction="written"}', "file_bytes")}
    put, flushed, compacted, files = rocks.values()
    return {"records": count, "seconds": seconds, "cpu_seconds": cpu, "peak_rss_bytes": peak, "written_bytes": written,
            "amplification": (put + flushed + compacted) / max(put, 1), "file_bytes": files}


def check(server, topic, bench):
    """One user's events, as the topic has them and as they are served."""
    done = subprocess.run(["kcat", "-C", "-e", "-q", "-b", bench.kafka, "-t", topic], capture_output=True, check=True, timeout=DEADLINE_S)
    wanted = done.stdout.count(b'"user_id":"u0000007"')
    ticket = json.dumps({"service": "shoppers", "rows": {"user_id": ["u0000007"]}, "at": END}).encode()
    end = time.monotonic() + 10
    while (served := server.flight.do_get(flight.Ticket(ticket)).read_all()["events"][0].as_py() or 0) != wanted:
        if time.monotonic() > end:
            sys.exit(f"u0000007 has {served} events served, not {wanted}: the run is void")
        time.sleep(0.05)


def metric(server, name):
    with urllib.request.urlopen(f"http://{server.http_address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.MULTILINE)
    return float(found[1]) if found else sys.exit(f"the server has no metric {name}")


def report(bench, runs, count):
    def median(name, field):
        return statistics.median(run[field] for run in runs[name])

    systems = {"consume": "rdkafka, consume only", "decode": "decode only, no broker", "group": "decode and group by user",
               "write": f"RocksDB, entries of {ENTRY_BYTES} B", "ingest": "forebay ingest"}
    if "flink" in runs:
        systems["flink"] = "PyFlink"
    rates = {name: statistics.median(run["records"] / run["seconds"] for run in runs[name]) for name in systems}
    for name, system in systems.items():
        bench.figure(system, "events a second, median", rates[name], "events/s")
    a_core = count / median("ingest", "cpu_seconds")
    ours = systems["ingest"]
    bench.figure(ours, "events a second of a core", a_core, "events/s")
    bench.figure(ours, "peak resident memory", median("ingest", "peak_rss_bytes") / 2**20, "MiB")
    bench.figure(ours, "written to the disk an event, archive and state", median("ingest", "written_bytes") / count, "B")
    bench.figure(ours, "files of the state an event", median("ingest", "file_bytes") / count, "B")
    bench.figure(ours, "write amplification of the state", median("ingest", "amplification"), "x")
    for name in ("consume", "decode", "group", "write"):
        bench.figure(ours, f"a core's events to: {systems[name]}", a_core / rates[name], "x")
    if "flink" in runs:
        peer = statistics.median(run["records"] / run["cpu_seconds"] for run in runs["flink"])
        bench.figure("PyFlink", "events a second of a core", peer, "events/s")
        bench.goal("a core's events to PyFlink's", GOAL_TO_FLINK, a_core / peer, "x", a_core >= GOAL_TO_FLINK * peer)
    bench.goal("events a second of a core", GOAL_A_CORE, a_core, "events/s", a_core >= GOAL_A_CORE)


PARTS = {"zipf": zipf, "even": even}
