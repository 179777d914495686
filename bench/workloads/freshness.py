"""The time from an event to a DoExchange answer that shows it, while 1,000 to 100,000 events a second go the same way through one
topic of 4 partitions: on a server that is idle otherwise, and beside the fill of a view over what is archived. 200 events a second
are looked for, each from the moment at which it was due to be sent; a thousand-event view counts them all.

Before that the machine's capacity is measured: the events a second that the same server reads of the same topic when it is filled
beforehand. The goal holds up to half of it; beyond there are figures only. Broker, server, load and reader share the machine's
cores; nothing is pinned. The answers are checked: the counts that are served are those of the events, or the run fails.
"""

import json
import subprocess
import sys
import threading
import time
import uuid

import pyarrow.flight as flight

from load import Load, make_topic, send
from processes import DEADLINE_S, Server, wait

PARTITIONS, NAMES = 4, 50_000
RATES = (1_000, 10_000, 50_000, 100_000)
LOOKED_FOR = 200  # events a second among them
SETTLED_S = 32  # what was read before is appended to the archive by then (ingest.archive_flush_ms)
GOAL_MS = 20
DEFINITIONS = """CREATE SOURCE markers (
    tailnum  VARCHAR NOT NULL,
    dep_time TIMESTAMP NOT NULL,
    WATERMARK FOR dep_time AS dep_time - INTERVAL '30' MINUTE
) WITH (connector = 'kafka', topic = '{topic}', format = 'json');

CREATE ENTITY aircraft (tailnum VARCHAR);

CREATE FEATURE VIEW marker_seen ENTITY aircraft AS
SELECT tailnum, dep_time, count(*) OVER ever AS markers FROM markers
WINDOW ever AS (PARTITION BY tailnum ORDER BY dep_time);

CREATE FEATURE SERVICE freshness (tailnum VARCHAR) AS
SELECT a.markers FROM request LEFT JOIN marker_seen AS a USING (tailnum);
"""
FILLED = """CREATE FEATURE VIEW marker_days ENTITY aircraft AS
SELECT tailnum, dep_time, count(*) OVER days AS markers, max(dep_time) OVER days AS newest FROM markers
WINDOW days AS (PARTITION BY tailnum ORDER BY dep_time RANGE INTERVAL '30' DAY PRECEDING);
"""


def rates(bench, folder):
    count = 200_000 if bench.quick else 3_000_000
    topic = filled_topic(bench, count)
    with Server(bench, folder) as server:
        capacity = read_all(bench, server, topic, count)
        sent = count
        for rate in RATES:
            sent, seen = beside_load(bench, server, topic, rate, sent, 5 if bench.quick else 30)
            report(bench, f"{rate:,} events/s", seen, rate <= capacity / 2)
        check(server, sent)


def backfill(bench, folder):
    count = 300_000 if bench.quick else 5_000_000
    for rate in RATES[:2]:
        topic = filled_topic(bench, count)
        with Server(bench, folder) as server:
            capacity = read_all(bench, server, topic, count)
            filling = Apply(server, definitions(topic) + [{"path": "filled.sql", "text": FILLED}])
            filling.start()
            _, seen = beside_load(bench, server, topic, rate, count, 5 if bench.quick else 30)
            report(bench, f"{rate:,} events/s beside a fill", seen, rate <= capacity / 2)
            filling.join()
            bench.figure("forebay fill", f"rows a second beside {rate:,} events/s", count / filling.seconds, "rows/s")


class Apply(threading.Thread):
    """Definitions that are applied; `seconds` is how long it took, with the fill of what is new."""

    def __init__(self, server, files):
        super().__init__()
        self.server, self.files, self.seconds = server, files, None

    def run(self):
        started = time.monotonic()
        self.server.apply_files(self.files)
        self.seconds = time.monotonic() - started


def definitions(topic):
    return [{"path": "all.sql", "text": DEFINITIONS.format(topic=topic)}]


def lines(first, count):
    """Events of 50,000 names in turn, all at one moment."""
    line = '{{"tailnum":"n{}","dep_time":"2014-01-03T00:00:00Z"}}\n'
    return "".join(line.format(number % NAMES) for number in range(first, first + count)).encode()


def filled_topic(bench, count):
    topic = f"markers.{uuid.uuid4().hex[:8]}"
    make_topic(bench, topic, PARTITIONS)
    send(bench, topic, count, lines)
    return topic


def read_all(bench, server, topic, count):
    """Events a second that the server reads; figures of that."""
    started = time.monotonic()
    server.apply_files(definitions(topic))
    wait(lambda: server.has_read({"markers": count}), f"{count:,} events to be read")
    rate = count / (time.monotonic() - started)
    bench.figure("forebay ingest", f"of {count:,} events that wait", rate, "events/s")
    time.sleep(SETTLED_S)
    return rate


def beside_load(bench, server, topic, rate, sent, seconds):
    """How many events of the load there are now, and what `event_to_read` measured beside it."""
    # Ten times a second and more: not in heaps.
    load = Load(bench, topic, rate - LOOKED_FOR, lines, sent, chunk=max(1, (rate - LOOKED_FOR) // 200), linger_ms=1)
    load.start()
    try:
        command = [bench.examples / "event_to_read", bench.kafka, topic, server.address, "freshness", str(LOOKED_FOR), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    finally:
        load.stop()
    if done.returncode != 0:
        sys.exit(f"event_to_read: {done.stderr}")
    return load.sent, json.loads(done.stdout)


def report(bench, where, seen, has_goal):
    for share in ("p50", "p99", "max"):
        bench.figure("forebay freshness", f"{where}, {share}", seen[f"{share}_ms"], "ms")
    if has_goal:
        bench.goal(f"{where}, p99", GOAL_MS, seen["p99_ms"], "ms", seen["p99_ms"] <= GOAL_MS)


def check(server, sent):
    """A name's count is that of its events, once all are read."""
    name = 7
    wanted, ticket = (sent - name + NAMES - 1) // NAMES, json.dumps(
        {"service": "freshness", "rows": {"tailnum": [f"n{name}"]}, "at": "2014-01-04T00:00:00Z"}).encode()

    def served():
        return server.flight.do_get(flight.Ticket(ticket)).read_all()["markers"][0].as_py()

    end = time.monotonic() + DEADLINE_S
    while served() != wanted:
        if time.monotonic() > end:
            sys.exit(f"n{name} has {served()} events served, not {wanted}: the run is void")
        time.sleep(0.05)


PARTS = {"rates": rates, "backfill": backfill}
