"""What an operator does and what a year does to a server: a view is added over a large archive while events flow, with a crash
in the middle; a start beside many archived predictions; memory under load; a topic with a thousand partitions. The floor of each
is the same server without it: the reading before the view, the start with a checkpoint, the memory at the beginning.

The answers are checked: what the added view counts is what was sent, or the run fails. Broker, server and load share the
machine's cores; nothing is pinned.
"""

import datetime
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
import uuid

import pyarrow.flight as flight

from load import Load, make_topic, send
from processes import DEADLINE_S, ROOT, Server, definitions, ended, wait

FLIGHTS = ROOT / "data" / "nycflights13"
PREDICTIONS = "predictions_late_arrival"
PARTITIONS, NAMES = 4, 50_000
BEGINNING = datetime.datetime(2024, 5, 1)
LIMIT_MIB = 2_048  # of the server under load: a few minutes of events at the full rate fill its part for keys in memory
DAY_COMMITS = 24 * 3_600 // 30  # one each ingest.archive_flush_ms of the defaults
MERGE_EVERY = 100  # commits in archive.upkeep_interval_s by default, where they come ten times as often
SOURCE = """CREATE SOURCE clicks (name VARCHAR NOT NULL, amount DOUBLE, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{topic}', format = 'json');
CREATE ENTITY person (name VARCHAR);"""
VIEW = """CREATE FEATURE VIEW {view} ENTITY person AS
SELECT name, at, count(*) OVER ever AS clicks, sum(amount) OVER ever AS total FROM clicks
WINDOW ever AS (PARTITION BY name ORDER BY at);
CREATE FEATURE SERVICE {view}_now (name VARCHAR) AS
SELECT v.clicks, v.total FROM request LEFT JOIN {view} AS v USING (name);"""


def rate_of(bench):
    """Events a second beside what is measured."""
    return 5_000 if bench.quick else 50_000


# Events


def events(first, count, rate):
    """The events from number `first` on, JSON lines: each name in turn, so that counts are known, at the event time at which
    they come where there are `rate` a second."""
    at = BEGINNING + datetime.timedelta(seconds=first / rate)
    line = f'{{{{"name":"n{{}}","amount":0.25,"at":"{at.isoformat(timespec="milliseconds")}Z"}}}}\n'
    return "".join(line.format(number % NAMES) for number in range(first, first + count)).encode()


def lines_of(bench):
    return lambda first, count: events(first, count, rate_of(bench))


def clicks_of(name, sent):
    """How many events the name of that number has, of the first so many."""
    return (sent - name + NAMES - 1) // NAMES


class Watch(threading.Thread):
    """The longest time for which no further row was read, and the greatest lag, until it is stopped; `moves` counts how often
    further ones were."""

    def __init__(self, server):
        super().__init__()
        self.server, self.stopping = server, threading.Event()
        self.pause_s, self.lag, self.moves = 0.0, 0, 0

    def run(self):
        rows, moved = None, time.monotonic()
        while not self.stopping.is_set():
            source = (self.server.status() or {"sources": {}})["sources"].get("clicks")
            now = time.monotonic()
            # None: ingest stands while the definitions change.
            if source and source["rows"] != rows:
                rows, moved, self.moves = source["rows"], now, self.moves + 1
                self.lag = max(self.lag, source["lag_records"] or 0)
            self.pause_s = max(self.pause_s, now - moved)
            time.sleep(0.005)

    def stop(self):
        self.stopping.set()
        self.join()


# A view is added


def view_files(views):
    return [{"path": "views.sql", "text": "\n".join(VIEW.format(view=view) for view in views)}]


def source_files(topic):
    return [{"path": "source.sql", "text": SOURCE.format(topic=topic)}]


def served(server, view, name="n0"):
    ticket = {"service": f"{view}_now", "rows": {"name": [name]}, "at": "2024-05-02T00:00:00Z"}
    return server.flight.do_get(flight.Ticket(json.dumps(ticket).encode())).read_all()["clicks"][0].as_py() or 0


def check(server, views, sent):
    """Each view counts what was sent, also what came while it was filled."""
    wait(lambda: server.status()["sources"]["clicks"]["lag_records"] == 0, "no lag")
    for view, name in itertools.product(views, (0, 17, NAMES - 1)):
        counted, expected = served(server, view, f"n{name}"), clicks_of(name, sent)
        if counted != expected:
            sys.exit(f"{view} counts {counted} of {expected} clicks of n{name}: the figures are void")


def add_a_view(bench, folder):
    count, rate = 300_000 if bench.quick else 10_000_000, rate_of(bench)
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(bench, topic, PARTITIONS)
    send(bench, topic, count, lines_of(bench))
    what = f"view over {count:,} rows, {rate:,} events/s beside"
    with Server(bench, folder) as server:
        server.apply_files([*source_files(topic), *view_files(["before"])])
        check(server, ["before"], count)
        load = Load(bench, topic, rate, lines_of(bench), count)
        load.start()
        floor, _ = watched(server, lambda: time.sleep(5))
        bench.figure("forebay, no change", "longest time without a row read", floor.pause_s * 1_000, "ms")
        server.forget_peak()
        before = server.memory_bytes()
        seen, seconds = watched(server, lambda: server.apply_files(view_files(["before", "added"])))
        report_fill(bench, what, server, seen, count, seconds, before)
        crash_in_the_middle(bench, server, seconds, what)
        load.stop()
        check(server, ["before", "added", "again"], load.sent)


def watched(server, action):
    """What was seen while `action` ran and until ingest had gone on after it, and the seconds that it took."""
    watch, started = Watch(server), time.monotonic()
    watch.start()
    try:
        action()
        seconds, moves = time.monotonic() - started, watch.moves
        wait(lambda: watch.moves > moves + 1, "ingest to go on")
    finally:
        watch.stop()
    return watch, seconds


def report_fill(bench, what, server, seen, count, seconds, before):
    bench.figure("forebay apply", f"{what}: rows a second", count / seconds, "rows/s")
    bench.figure("forebay apply", f"{what}: longest pause", seen.pause_s * 1_000, "ms")
    bench.figure("forebay apply", f"{what}: greatest lag", seen.lag, "records")
    bench.figure("forebay apply", f"{what}: memory more than before",
                 (server.peak_rss_bytes() - before) / 2**20, "MiB")
    bench.goal("pause of ingest while a view is added", 1_000, seen.pause_s * 1_000, "ms", seen.pause_s <= 1)


def crash_in_the_middle(bench, server, seconds, what):
    """Kill the server half-way through a fill, start it, and add the view again."""

    def give_up():
        # The call ends with the process.
        try:
            server.apply_files(view_files(["before", "added", "again"]))
        except flight.FlightError:
            pass

    applying = threading.Thread(target=give_up)
    applying.start()
    time.sleep(seconds / 2)
    server.kill()
    applying.join()
    started = time.monotonic()
    server.start()
    bench.figure("forebay start", f"{what}: after a kill in the middle", time.monotonic() - started, "s")
    started = time.monotonic()
    server.apply_files(view_files(["before", "added", "again"]))
    again = time.monotonic() - started
    bench.figure("forebay apply", f"{what}: again after a kill, to one that is not killed", again / seconds, "x")


# Memory under load


def memory_under_load(bench, folder):
    """Half an hour of events whose state outgrows the memory of the process in the first minutes."""
    seconds, rate = 30 if bench.quick else 1_800, rate_of(bench)
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(bench, topic, PARTITIONS)
    with Server(bench, folder, FOREBAY_MEMORY_LIMIT_MIB=str(LIMIT_MIB)) as server:
        server.apply_files([*source_files(topic), *view_files(["before"])])
        load = Load(bench, topic, rate, lines_of(bench))
        load.start()
        samples, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            samples.append(server.memory_bytes())
            time.sleep(1)
        lag = server.status()["sources"]["clicks"]["lag_records"]
        load.stop()
        check(server, ["before"], load.sent)
    third = len(samples) // 3
    middle, last = (statistics.median(part) for part in (samples[third:2 * third], samples[2 * third:]))
    what = f"{rate:,} events/s for {seconds} s, {LIMIT_MIB:,} MiB at most"
    bench.figure("forebay memory", f"{what}: last third", last / 2**20, "MiB")
    bench.figure("forebay memory", f"{what}: most", max(samples) / 2**20, "MiB")
    bench.figure("forebay ingest", f"{what}: lag at the end", lag, "records")
    bench.goal("memory under load to its limit", 1.15, max(samples) / (LIMIT_MIB << 20), "x",
               max(samples) <= 1.15 * (LIMIT_MIB << 20))
    bench.figure("forebay memory", f"{what}: last third to the second", last / middle, "x")
    bench.goal("memory under load is flat, last third to the second", 1.05, last / middle, "x", last / middle <= 1.05)


# Many partitions


def many_partitions(bench, folder):
    partitions = 100 if bench.quick else 1_000
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(bench, topic, partitions)
    count, what = 1_000_000 if not bench.quick else 100_000, f"{partitions:,} partitions"
    send(bench, topic, count, lines_of(bench))
    with Server(bench, folder) as server:
        server.apply_files([*source_files(topic), *view_files(["before"])])
        check(server, ["before"], count)
        time.sleep(5)
        rss, written = server.memory_bytes(), server.moved_bytes("write_bytes") / count
        began = server.cpu_seconds(), time.monotonic()
        time.sleep(20)
        idle = (server.cpu_seconds() - began[0]) / (time.monotonic() - began[1])
    bench.figure("forebay memory", what, rss / 2**20, "MiB")
    bench.figure("forebay disk", f"{what}: written for each event", written, "B")
    bench.figure("forebay CPU", f"{what}: idle", 100 * idle, "% of a core")
    bench.goal(f"memory at {what}", 400, rss / 2**20, "MiB", rss <= 400 << 20)
    bench.goal(f"written for each event at {what}", 1_024, written, "B", written <= 1_024)
    bench.goal(f"idle CPU at {what}", 2, 100 * idle, "% of a core", idle <= 0.02)


# A start beside many predictions


def start_beside_predictions(bench, folder):
    """A month of flights is scored; what the archive has of it is repeated by the server's own append until it has so many
    predictions, and the topics end where the archive does. Then the server starts over a new state, so that the monitor reads
    all of them, and again beside the checkpoint of that run."""
    rows, suffix = 200_000 if bench.quick else 10_000_000, uuid.uuid4().hex[:8]
    sql = definitions(folder / "predictions", suffix, "*.sql", suffix)
    ended(subprocess.Popen([bench.binary, "replay", FLIGHTS, "--sql", sql, "--bootstrap", bench.kafka, "--until", "2013-02-01"],
                           cwd=ROOT, stdout=subprocess.DEVNULL))
    with Server(bench, folder) as server:
        server.apply(sql)
        wait(lambda: complete(server), "all departures to be scored and seen by the monitor")
        stop(server)
        predictions = repeat_archive(bench, server, rows)
        for lost in ("online", "checkpoints"):
            shutil.rmtree(server.data / lost)
        for how in ("monitor rebuilt", "with its checkpoint"):
            started = time.monotonic()
            server.start()
            wait(lambda: (found := monitor(server)) and found["input"]["accepted"] == predictions,
                 f"the monitor to have {predictions:,} predictions")
            what = f"beside {predictions:,} predictions, {how}"
            bench.figure("forebay start", what, time.monotonic() - started, "s")
            bench.figure("forebay start", f"{what}: read from files", server.moved_bytes("rchar") / 2**20, "MiB")
            bench.figure("forebay start", f"{what}: memory", server.peak_rss_bytes() / 2**20, "MiB")
            if how == "monitor rebuilt":
                stop(server)


def stop(server):
    server.process.terminate()
    server.process.wait(timeout=DEADLINE_S)


def repeat_archive(bench, server, rows):
    """The archive has at least so many predictions, each of an event that it has too; returns how many."""
    started = time.monotonic()
    done = subprocess.run([bench.examples / "predictions", server.data / "offline", "departures", "dep_time", "flight_id",
                           PREDICTIONS, str(rows)], check=True, capture_output=True, text=True)
    made = json.loads(done.stdout)
    bench.figure("generator", f"{made['predictions']:,} predictions and their events", time.monotonic() - started, "s")
    cut = []
    for topic, ends in made["ends"].items():
        for partition, end in ends.items():
            have = end_of(bench, topic, partition)
            fill_up(bench, topic, partition, end - have)
            assert end_of(bench, topic, partition) == end
            cut.append({"topic": topic, "partition": int(partition), "offset": end})
    # What fills the topics up is no event: retention has taken all that the archive has.
    file = server.data / "cut.json"
    file.write_text(json.dumps({"partitions": cut, "version": 1}))
    subprocess.run([ROOT / "scripts" / "kafka", "tool", "DeleteRecordsCommand", "--bootstrap-server", bench.kafka,
                    "--offset-json-file", file], check=True, capture_output=True)
    return made["predictions"]


def end_of(bench, topic, partition):
    done = subprocess.run(["kcat", "-Q", "-b", bench.kafka, "-t", f"{topic}:{partition}:-1"], check=True, capture_output=True,
                          text=True)
    return int(done.stdout.rsplit(None, 1)[1])


def fill_up(bench, topic, partition, count):
    command = ["kcat", "-P", "-b", bench.kafka, "-t", topic, "-p", partition, "-X", "linger.ms=20", "-X", "compression.codec=lz4"]
    sending = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for first in range(0, count, 1_000_000):
        sending.stdin.write(b"-\n" * min(1_000_000, count - first))
    sending.stdin.close()
    ended(sending)


def monitor(server):
    monitors = (server.status() or {"monitors": []})["monitors"]
    return monitors[0] if monitors else None


def complete(server):
    """Whether everything is read, scored and seen by the monitor."""
    status = server.status()
    if not status or not status["monitors"] or status["scores_waiting"]:
        return False
    accepted, sources = status["monitors"][0]["input"]["accepted"], status["sources"]
    idle = all(source.get("lag_records") == 0 for source in sources.values())
    return idle and accepted == sources["departures"]["rows"] == sources[PREDICTIONS]["rows"] > 0


# A day of small commits


def small_commits(bench, folder):
    """A day of commits as often as by default, merged at its end."""
    commits_of_a_day(bench, folder / "at_the_end", 500 if bench.quick else DAY_COMMITS, 0)


def frequent_commits(bench, folder):
    """Ten times as many, merged beside as a server does; this takes an hour."""
    commits_of_a_day(bench, folder / "beside", 2_000 if bench.quick else 10 * DAY_COMMITS, MERGE_EVERY)


def commits_of_a_day(bench, folder, count, merge_every):
    done = subprocess.run([bench.examples / "small_commits", folder, str(count), str(merge_every)], check=True,
                          capture_output=True, text=True)
    measured, beside = json.loads(done.stdout), ", merged beside" if merge_every else ""
    what = f"{count:,} commits of 10 rows{beside}"
    for when in ("before", "after"):
        system = f"archive {when} upkeep"
        bench.figure(system, f"{what}: files", measured[when]["files"], "files")
        bench.figure(system, f"{what}: files of the log", measured[when]["log_files"], "files")
        bench.figure(system, f"{what}: log", measured[when]["log_bytes"] / 2**20, "MiB")
        bench.figure(system, f"{what}: opened in", measured[when]["open_ms"], "ms")
    bench.figure("archive", f"{what}: the first appends", measured["append_first_ms"], "ms")
    bench.figure("archive", f"{what}: the last appends to the first", measured["append_last_ms"] / measured["append_first_ms"],
                 "x")
    bench.figure("archive", f"{what}: joined in", measured["compact_ms"] / 1_000, "s")


PARTS = {
    "view": add_a_view,
    "memory": memory_under_load,
    "partitions": many_partitions,
    "predictions": start_beside_predictions,
    "commits": small_commits,
    "frequent_commits": frequent_commits,
}
