"""Kill -9 at random moments loses nothing and doubles nothing.

A real server on Apache Kafka is killed again and again while it reads at full speed, some kills while it starts and recovers,
and is started on the same directory each time. Events are sent as fast as the broker takes them, so many that records are unread
all the time. Among them are records that no source takes: they have to be in the dead-letter table. Afterwards the server's
state, its Delta tables and its predictions are compared with those of a server that read the same topics undisturbed: equal
reads of every key at many instants, equal rows of every table, no row twice, the same dead letters, the same predictions.

One thing may differ legitimately between two runs: topics are read side by side, so a departure may be scored before or after
an event of another topic was applied, and then its features differ, and with them margin and score. Each run is held to itself
there: the features are those of the offsets that the record says it had applied (`forebay verify`), margin and score are the
model's for these features, to the bit. So is its monitor: what it reports is what an evaluator outside it counts over the
archive of that run, and the same after a restart and after a rebuild.

FOREBAY_CRASH_KILLS says how many kills (50), FOREBAY_CRASH_SECONDS after how long they end in any case, FOREBAY_CRASH_PARTITIONS
how many partitions a topic has (4), FOREBAY_CRASH_BROKER_KILLS how often the broker is killed meanwhile and comes back on its log
(0), FOREBAY_CRASH_SEED which moments (`scripts/crash`), FOREBAY_CRASH_DAYS how many days of flights are sent (what fits the
kills). FOREBAY_CRASH_RESULTS is a file that the run is added to.
"""

import concurrent.futures
import datetime
import json
import math
import os
import pathlib
import random
import subprocess
import time
import uuid

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Producer

import monitor as monitor_oracle
import raw_features
from conftest import FLIGHTS, ROOT, copy_definitions, run_binary, wait_for
from model import assert_outputs
from tables import TIME_COLUMNS, assert_equal, delta, delta_rows, event_counts
from topics import make_topic, placed_records, records

SINCE = "2013-01-01"
PREDICTIONS, DEAD_LETTERS = "predictions_late_arrival", "dead_letters"
PREDICTIONS_TOPIC = "predictions.late_arrival"
PARTITIONS = int(os.environ.get("FOREBAY_CRASH_PARTITIONS", "4"))
KILLS = int(os.environ.get("FOREBAY_CRASH_KILLS", "50"))
BROKER_KILLS = int(os.environ.get("FOREBAY_CRASH_BROKER_KILLS", "0"))
SEED = int(os.environ.get("FOREBAY_CRASH_SEED") or random.SystemRandom().randrange(2**32))
SECONDS = float(os.environ.get("FOREBAY_CRASH_SECONDS") or math.inf)
# Days of flights that are sent, of about 1,800 rows each. One question to `verify` compares 100,000 predictions at most: those
# of 113 days.
DAYS_MOST = 113
DAYS = min(int(os.environ.get("FOREBAY_CRASH_DAYS") or max(31, KILLS)), DAYS_MOST)
# So many are sent at once. A server that lives for moments reads one topic to its end before it comes to the next: with all
# days there at once, half of the kills would have passed before the first event is scored.
PART_DAYS = 5
# Kills that have to fall while records are unread, and how much longer than the kills the reading is planned to last.
IN_FLIGHT_SHARE, MARGIN = 0.8, 1.3
# Kills that fall before the server reads, and how long it may take until it does: its broker may be away.
EARLY_SHARE, FIRST_READ_S = 0.3, 3.0
ENVIRONMENT = {
    "FOREBAY_STATE_HISTORY_HOURS": "100000",
    # Small steps, so that kills fall between epochs, commits and appends although the server lives for moments only: what it
    # has not appended before a kill it reads again.
    "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "20",
    "FOREBAY_INGEST_EPOCH_MAX_ROWS": "32",
}
# Columns of a prediction that may differ between two runs, and why.
OF_ITS_RUN = {
    "features", "applied", "margin", "score",  # what was applied when it was scored: see above
    "_topic", "_partition", "_offset", "_kafka_time",  # each run publishes to a topic of its own, at its own time
    "_ingest_time",  # the moment of the append
}
GOOD = {
    "departures": {"flight_id": "f", "carrier": "ZZ", "origin": "BAD", "dest": "BOS", "dep_time": "2013-01-05T12:00:00Z",
                   "dep_delay": 1.0},
    "arrivals": {"flight_id": "f", "carrier": "ZZ", "origin": "BAD", "dest": "BOS", "arr_time": "2013-01-05T12:00:00Z",
                 "arr_delay": 1.0},
    "weather": {"origin": "BAD", "observed_at": "2013-01-05T12:00:00Z", "temp": 1.0},
}


def day(number):
    return str(datetime.date.fromisoformat(SINCE) + datetime.timedelta(days=number))


UNTIL = day(DAYS)


def definitions(folder, topics, predictions):
    copy_definitions(folder, topics=topics, predictions=predictions)
    (folder / "05_raw_features.sql").write_text(raw_features.definition())
    return folder


class Kills:
    """The kills, spread over the time in which the server reads so many `records`."""

    def __init__(self, server, records):
        self.server, self.records = server, records
        # How many; of these before the server read, while events were sent, and while records were unread.
        self.done, self.early, self.while_sent, self.in_flight = 0, 0, 0, 0
        # What the log had at the kills of which it is not yet known whether it was read by then.
        self.open = []
        # Events in the log; what the state had applied of it when the server could last tell.
        self.sent, self.applied = 0, 0
        # How long the server read before its kills; rows a second of the whole time, starts included.
        self.reading_s, self.rows_a_second = 0.0, 0
        self.over = False

    def run(self, rng, sending, until):
        """Again and again: start, wait for a random moment of its life, kill. Ends at `until`, after one kill at least."""
        start_s, began = 1.0, time.monotonic()
        while self.done < KILLS and (self.done == 0 or time.monotonic() < until):
            started = time.monotonic()
            self.server.start(ready=False)
            if self.done > 0 and rng.random() < EARLY_SHARE:
                self.early += 1
                time.sleep(rng.uniform(0.02, start_s))
            else:
                self.wait_first_read()
                reads = time.monotonic()
                start_s = reads - started
                time.sleep(rng.uniform(0, 2) * self.life_s())
                self.reading_s += time.monotonic() - reads
            self.server.check_alive()
            self.while_sent += not sending.done()
            self.open.append(self.sent)
            self.server.kill()
            self.done += 1
        self.rows_a_second = round(self.applied / (time.monotonic() - began))
        self.server.start()
        wait_for(lambda: self.look(self.server.client.status()), "the server to say what it has applied")

    def wait_first_read(self):
        """Until the server is ready and reads, or finds nothing to read for a while."""
        self.server.wait_ready()
        client, end = self.server.client, time.monotonic() + FIRST_READ_S
        while True:
            status = client.status()
            self.look(status)
            if status["epochs"] or time.monotonic() > end:
                return
            time.sleep(0.005)

    def life_s(self):
        """How long the server reads before a kill, on average: such that the records last a little longer than the kills,
        however fast or slow this machine is. Begins with a guess of 10,000 rows a second."""
        lives = max(1.0, (KILLS - self.done) * (1 - EARLY_SHARE))
        rows = max(0, self.records - self.applied) / lives / MARGIN
        rate = (self.applied + 1_000) / (self.reading_s + 0.1)
        return min(rows / rate, 0.5)

    def look(self, status):
        """What the state has applied; False where the server cannot tell yet. What is unread now was unread at the kills."""
        places = [place for source in sources_of(status) for place in source["partitions"]]
        if len(places) < PARTITIONS * len(TIME_COLUMNS):
            return False
        self.applied = sum(place["applied"] for place in places)
        self.in_flight += sum(self.applied < sent for sent in self.open)
        self.open.clear()
        return True


def sources_of(status):
    return [status["sources"][name] for name in TIME_COLUMNS if name in status["sources"]]


def records_read(status):
    """What the process has read for the first time."""
    return sum(source["rows"] + source["dead_letters"] for source in sources_of(status))


def send_events(sql, kafka, kills):
    """All events, as fast as the broker takes them, in parts: the next one once no more are unread than the last one had."""
    for first in range(0, DAYS, PART_DAYS):
        since, until = day(first), day(min(first + PART_DAYS, DAYS))
        command = ["replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", since, "--until", until,
                   "--shuffle-within", "20m", "--seed", SEED % 1000, "--speed", "max"]
        # A replay that finds no broker when it begins has sent nothing.
        wait_for(lambda: replayed(command, 300), "the broker to come back")
        part = sum(event_counts(since, until).values())
        kills.sent += part
        while kills.sent - kills.applied > part and not kills.over:
            time.sleep(0.02)


def replayed(command, timeout):
    done = run_binary(*command, check=False, timeout=timeout)
    is_away = BROKER_KILLS > 0 and "no Kafka broker answered" in done.stderr
    assert done.returncode == 0 or is_away, done.stderr
    return done.returncode == 0


def bad_record(rng, number):
    """Source, reason and bytes of a record that its source does not take; no two are equal."""
    source = rng.choice(sorted(GOOD))
    event = {"number": number, **GOOD[source]}
    whole = json.dumps(event).encode()
    reason, value = rng.choice([
        ("not_json", whole[:-1]),
        ("not_json", whole.replace(b"BAD", b"\xff\xfe")),
        ("missing_column", json.dumps({k: v for k, v in event.items() if k != "origin"}).encode()),
        ("missing_column", json.dumps({**event, TIME_COLUMNS[source]: None}).encode()),
        ("wrong_type", whole.replace(b"1.0", b'"late"')),
        ("wrong_type", json.dumps({**event, TIME_COLUMNS[source]: "yesterday"}).encode()),
    ])
    return source, reason, value


def kill_brokers(kills):
    """The broker is killed and comes back on its log, at random ones of the kills. How often."""
    rng = random.Random(SEED + 2)
    moments = sorted(rng.randrange(KILLS) for _ in range(BROKER_KILLS))
    for killed, moment in enumerate(moments):
        while kills.done < moment:
            if kills.over:
                return killed
            time.sleep(0.01)
        done = subprocess.run([ROOT / "scripts" / "kafka", "restart", os.environ["FOREBAY_TEST_KAFKA_STATE"]],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    return BROKER_KILLS


def send_bad_records(kafka, suffix, sending):
    """Bad records between the good ones for as long as those are sent: {(source, bytes): reason}."""
    rng, sent = random.Random(SEED + 1), {}
    # Tries again while the broker is away, and writes no record twice.
    producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "log_level": 2})
    while not sending.done():
        source, reason, value = bad_record(rng, len(sent))
        sent[source, value] = reason
        producer.produce(f"{source}.{suffix}", value, partition=rng.randrange(PARTITIONS))
        assert producer.flush(120) == 0, "a bad record was not taken"
        concurrent.futures.wait([sending], timeout=rng.uniform(0.1, 0.6))
    return sent


def kill_while_it_reads(server, kafka, sql, suffix, rng, until):
    """The kills, how often the broker was killed, and the bad records that were sent beside the good ones."""
    kills = Kills(server, sum(event_counts(SINCE, UNTIL).values()))
    for source in GOOD:
        make_topic(kafka, f"{source}.{suffix}", PARTITIONS)
    for run in ("disturbed", "undisturbed"):
        make_topic(kafka, f"{PREDICTIONS_TOPIC}.{suffix}.{run}", PARTITIONS)
    server.start().kill()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sending = pool.submit(send_events, sql, kafka, kills)
        bad = pool.submit(send_bad_records, kafka, suffix, sending)
        brokers = pool.submit(kill_brokers, kills)
        try:
            wait_for(lambda: kills.sent or sending.done(), "the first events to be sent")
            kills.run(rng, sending, until)
        finally:
            kills.over = True
        sending.result()
        return kills, brokers.result(), bad.result()


def dead_letters_due(kafka, suffix, bad):
    """Where each bad record stands in its topic: {(source, partition, offset): (reason, bytes)}."""
    due = {}
    for source in GOOD:
        for partition, offset, value in placed_records(kafka, f"{source}.{suffix}"):
            if (source, value) in bad:
                due[source, partition, offset] = (bad[source, value], value)
    assert {(source, value) for (source, _, _), (_, value) in due.items()} == set(bad), "every bad record is in its topic"
    return due


def seconds_to_read(server, rows):
    """How long a server that was just started takes to read so many records."""
    began, client = time.monotonic(), server.client
    what = f"{rows} records to be read; log: {server.log.name}"
    wait_for(lambda: records_read(client.status()) >= rows, what, deadline_s=600)
    return time.monotonic() - began


def wait_complete(server, expected):
    """Until everything is archived and scored."""

    def done():
        server.check_alive()
        status = server.client.status()
        assert not status["failed"], server.log_tail()
        return status["scores_waiting"] == 0 and all(delta_rows(server.data_dir, n) >= c for n, c in expected.items())

    def how_far():
        archived = {name: delta_rows(server.data_dir, name) for name in expected}
        return f"{expected} rows to be archived; there are {archived}; log: {server.log.name}"

    wait_for(done, how_far, deadline_s=600, every_s=0.5)


def in_order(table, by):
    """A table in the order of its columns `by`, in which no two rows are equal."""
    again = table.group_by(by).aggregate([([], "count_all")]).filter(pc.field("count_all") > 1)
    assert again.num_rows == 0, f"{again.num_rows} rows more than once: {again.slice(0, 10).to_pylist()}"
    return table.sort_by([(name, "ascending") for name in by])


def assert_same_archive(disturbed, undisturbed, expected):
    """Equal rows in the tables of the sources and of the dead letters, but for the moment of the append."""
    for name in [*TIME_COLUMNS, DEAD_LETTERS]:
        left, right = (in_order(delta(server.data_dir, name).drop_columns(["_ingest_time"]), ["_topic", "_partition", "_offset"])
                       for server in (disturbed, undisturbed))
        assert left.num_rows == expected[name], f"{name}: {left.num_rows} rows of {expected[name]}"
        assert left.column_names == right.column_names
        assert_equal(left, right)


def assert_dead_letters(server, suffix, due):
    """Each bad record once, at its place, with its reason and its bytes, and nothing else."""
    letters = delta(server.data_dir, DEAD_LETTERS).to_pylist()
    found = {(row["source"], row["_partition"], row["_offset"]): (row["reason"], row["payload"]) for row in letters}
    assert len(letters) == len(found) and found == due
    assert all(row["_topic"] == f"{row['source']}.{suffix}" for row in letters)


def assert_same_reads(disturbed, undisturbed, rng):
    keys = raw_features.Keys(SINCE, UNTIL).everything()
    instants = raw_features.instants(rng, 40, SINCE, UNTIL)
    requests = [(at, keys.slice(row, 128)) for at in instants for row in range(0, keys.num_rows, 128)]
    left, right = (pa.Table.from_batches(server.client.exchange(raw_features.SERVICE, requests, with_status=True,
                                                                with_event_time=True))
                   for server in (disturbed, undisturbed))
    assert left.num_rows == keys.num_rows * len(instants)
    assert_equal(left, right)
    return left.num_rows


def assert_same_predictions(disturbed, undisturbed, expected):
    """The archive has each prediction once, and by its id it is the one that was made without kills; of both runs, margin and
    score are the model's and the features are those of the offsets."""
    tables = []
    for server in (disturbed, undisturbed):
        table = in_order(delta(server.data_dir, PREDICTIONS), ["prediction_id"])
        assert table.num_rows == expected, f"{table.num_rows} predictions of {expected}"
        assert_outputs(table)
        answer = server.client.action("verify", {"service": "delay_features", "sample": 100_000, "predictions": True})
        assert answer["clean"] and answer["report"]["equal"] == expected, (answer["report"], answer["differences"])
        tables.append(table.drop_columns(sorted(OF_ITS_RUN)).flatten())
    left, right = tables
    assert left.column_names == right.column_names
    assert_equal(left, right)


def assert_published(server, topic, kafka):
    """The topic has the predictions of the archive and no others, each with one value, however often it went out."""
    values = {}
    published = records(kafka, topic)
    for value in published:
        prediction = json.loads(value)["prediction_id"]
        assert values.setdefault(prediction, value) == value, f"prediction {prediction} went out with two values"
    names = ["prediction_id", "model_version", "role", "source_offset", "flight_id", "margin", "score", "features", "applied"]
    archived = {row["prediction_id"]: row for row in delta(server.data_dir, PREDICTIONS, names).to_pylist()}
    assert set(values) == set(archived)
    for prediction, value in values.items():
        read = json.loads(value)
        assert {name: read[name] for name in names} == archived[prediction]
    return len(published) - len(values)


def report(server):
    (monitor,) = server.client.status()["monitors"] or [None]
    return monitor


def assert_monitor(server, expected):
    """What the monitor says is what its evaluator counts over the archive, and the same after a restart from its checkpoint
    and when it is rebuilt from the archive."""
    tables = [delta(server.data_dir, name) for name in ("departures", PREDICTIONS, "arrivals")]
    counted = monitor_oracle.evaluate(*tables)

    def is_right():
        now = report(server)
        return now and now["input"]["accepted"] == expected and monitor_oracle.figures(now) == counted

    def differs():
        return f"what the evaluator counts, {counted}; the monitor says {monitor_oracle.figures(report(server))}"

    wait_for(is_right, differs, deadline_s=60)
    for what in ("from its checkpoint", "rebuilt"):
        server.stop()
        [checkpoint] = (pathlib.Path(server.data_dir) / "checkpoints").glob("monitor-*.ckpt")
        if what == "rebuilt":
            checkpoint.unlink()
        server.start()
        wait_for(is_right, lambda: f"{what}: {differs()}", deadline_s=60)


def add_to_results(figures):
    """Adds a run that has passed to the results file. Runs count as long as the code that they judge stays the same."""
    path = os.environ.get("FOREBAY_CRASH_RESULTS")
    if not path:
        return
    file, code = pathlib.Path(path), os.environ["FOREBAY_CRASH_CODE"]
    kept = json.loads(file.read_text()) if file.exists() else {}
    runs = kept["runs"] if kept.get("code") == code else []
    result = {"workload": "crash", "commit": os.environ["FOREBAY_CRASH_COMMIT"], "code": code, "runs": [*runs, figures]}
    file.write_text(json.dumps(result, indent=2) + "\n")


def test_kills_lose_nothing_and_double_nothing(servers, kafka, tmp_path):
    print(f"\n{KILLS} kills, {PARTITIONS} partitions, {BROKER_KILLS} of the broker, {DAYS} days, FOREBAY_CRASH_SEED={SEED}")
    began = time.monotonic()
    rng = random.Random(SEED)
    suffix = uuid.uuid4().hex[:8]
    sql = definitions(tmp_path / "disturbed", suffix, f"{suffix}.disturbed")
    disturbed = servers(kafka, sql, env=ENVIRONMENT)
    kills, brokers, bad = kill_while_it_reads(disturbed, kafka, sql, suffix, rng, began + SECONDS)
    assert kills.in_flight >= kills.done * IN_FLIGHT_SHARE, (
        f"records were unread at {kills.in_flight} of {kills.done} kills only: the server reads too fast for so few events; "
        f"raise FOREBAY_CRASH_DAYS (it is {DAYS}, and can be {DAYS_MOST}) or ask for fewer kills a run")
    assert brokers == BROKER_KILLS or kills.done < KILLS, f"the broker was killed {brokers} times only"
    due = dead_letters_due(kafka, suffix, bad)
    expected = {**event_counts(SINCE, UNTIL), DEAD_LETTERS: len(due)}
    rows = sum(expected.values())
    expected[PREDICTIONS] = expected["departures"]
    wait_complete(disturbed, expected)
    undisturbed = servers(kafka, definitions(tmp_path / "undisturbed", suffix, f"{suffix}.undisturbed"), env=ENVIRONMENT)
    rows_a_second = round(rows / seconds_to_read(undisturbed.start(), rows))
    wait_complete(undisturbed, expected)

    assert_same_archive(disturbed, undisturbed, expected)
    assert_dead_letters(disturbed, suffix, due)
    reads = assert_same_reads(disturbed, undisturbed, rng)
    assert_same_predictions(disturbed, undisturbed, expected[PREDICTIONS])
    repeats = assert_published(disturbed, f"{PREDICTIONS_TOPIC}.{suffix}.disturbed", kafka)
    for server in (disturbed, undisturbed):
        assert_monitor(server, expected[PREDICTIONS])
    add_to_results({
        "partitions": PARTITIONS, "kills": kills.done, "kills_while_starting": kills.early,
        "kills_while_events_were_sent": kills.while_sent, "kills_while_records_were_unread": kills.in_flight,
        "broker_kills": brokers, "seed": SEED, "seconds": round(time.monotonic() - began, 1), "rows": sum(expected.values()),
        "rows_a_second": rows_a_second, "rows_a_second_between_kills": kills.rows_a_second,
        "dead_letters": len(due), "reads_equal": reads, "predictions_published_again": repeats,
    })
    print(f"{kills.done} kills ({kills.early} while starting, {kills.in_flight} while records were unread, {kills.while_sent} "
          f"of these while events were sent), {brokers} of the broker: {sum(expected.values())} rows, {len(due)} of them dead "
          f"letters, lost 0, doubled 0; {reads} reads equal; {repeats} predictions were published again and dropped; the "
          f"monitor's report equals its evaluator's; {rows_a_second} rows a second undisturbed, {kills.rows_a_second} with the "
          f"kills and starts")
