"""Kill -9 at random moments loses nothing and doubles nothing.

A real server on Apache Kafka is killed again and again while events come in, some kills while it starts and recovers, and is
started on the same directory each time. Among the events are records that no source takes: they have to be in the dead-letter
table. Afterwards the server's state, its Delta tables and its predictions are compared with those of a server that read the
same topics undisturbed: equal reads of every key at many instants, equal rows of every table, no row twice, the same dead
letters, the same predictions.

One thing may differ legitimately between two runs: topics are read side by side, so a departure may be scored before or after
an event of another topic was applied, and then its features differ, and with them margin and score. Each run is held to itself
there: the features are those of the offsets that the record says it had applied (`forebay verify`), margin and score are the
model's for these features, to the bit. So is its monitor: what it reports is what an evaluator outside it counts over the
archive of that run, and the same after a restart and after a rebuild.

FOREBAY_CRASH_KILLS says how many kills (50), FOREBAY_CRASH_PARTITIONS how many partitions a topic has (4),
FOREBAY_CRASH_BROKER_KILLS how often the broker is killed meanwhile and comes back on its log (0), FOREBAY_CRASH_SEED which
moments (`scripts/crash`). FOREBAY_CRASH_RESULTS is a file that the run is added to.
"""

import concurrent.futures
import datetime
import json
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

SINCE, DAYS = "2013-01-01", 12
PREDICTIONS, DEAD_LETTERS = "predictions_late_arrival", "dead_letters"
PREDICTIONS_TOPIC = "predictions.late_arrival"
PARTITIONS = int(os.environ.get("FOREBAY_CRASH_PARTITIONS", "4"))
KILLS = int(os.environ.get("FOREBAY_CRASH_KILLS", "50"))
BROKER_KILLS = int(os.environ.get("FOREBAY_CRASH_BROKER_KILLS", "0"))
SEED = int(os.environ.get("FOREBAY_CRASH_SEED") or random.SystemRandom().randrange(2**32))
# Kills that have to fall while events are still sent, and how much longer than the kills the sending is planned to last.
IN_FLIGHT_SHARE, MARGIN = 0.8, 1.15
ENVIRONMENT = {
    "FOREBAY_STATE_HISTORY_HOURS": "100000",
    # Small steps, so that kills fall between epochs, commits and appends.
    "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200",
    "FOREBAY_INGEST_EPOCH_MAX_ROWS": "256",
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
    """The kills, which go on for about as long as events are sent."""

    def __init__(self, server):
        self.server = server
        self.left, self.early, self.in_flight = KILLS, 0, 0
        # About what one takes, start and recovery included; measured from the first one on.
        self.seconds_each = 1.8

    def run(self, rng, sending):
        """Again and again: start, wait for a random moment of its life, kill."""
        start_s, began = 1.0, time.monotonic()
        for number in range(KILLS):
            started = time.monotonic()
            self.server.start(ready=False)
            if number > 0 and rng.random() < 0.3:
                self.early += 1
                time.sleep(rng.uniform(0.02, start_s))
            else:
                self.server.wait_ready()
                start_s = time.monotonic() - started
                time.sleep(rng.uniform(0.05, 1.0))
            self.server.check_alive()
            self.in_flight += not sending.done()
            self.server.kill()
            self.left -= 1
            self.seconds_each = (time.monotonic() - began) / (number + 1)


def send_events(sql, kafka, kills):
    """All events, day by day: each day takes its share of the time that the kills still to come will take, however fast or
    slow this machine is today. What is left after the last kill goes out at once."""
    for number in range(DAYS):
        seconds = kills.left * kills.seconds_each * MARGIN / (DAYS - number)
        speed = 86_400 / seconds if kills.left > 0 else "max"
        command = ["replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", day(number), "--until", day(number + 1),
                   "--shuffle-within", "20m", "--seed", SEED % 1000, "--speed", speed]
        # A replay that finds no broker when it begins has sent nothing.
        wait_for(lambda: replayed(command, seconds + 300), "the broker to come back")


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


def kill_brokers(sending):
    """The broker is killed and comes back on its log, spread over the time for which events are sent. How often."""
    rng, killed = random.Random(SEED + 2), 0
    while killed < BROKER_KILLS and not sending.done():
        concurrent.futures.wait([sending], timeout=rng.uniform(2, 12))
        done = subprocess.run([ROOT / "scripts" / "kafka", "restart", os.environ["FOREBAY_TEST_KAFKA_STATE"]],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        killed += 1
    return killed


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


def kill_while_events_come_in(server, kafka, sql, suffix, rng):
    """The kills, how often the broker was killed, and the bad records that were sent beside them."""
    kills = Kills(server)
    for source in GOOD:
        make_topic(kafka, f"{source}.{suffix}", PARTITIONS)
    for run in ("disturbed", "undisturbed"):
        make_topic(kafka, f"{PREDICTIONS_TOPIC}.{suffix}.{run}", PARTITIONS)
    server.start().kill()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sending = pool.submit(send_events, sql, kafka, kills)
        bad = pool.submit(send_bad_records, kafka, suffix, sending)
        brokers = pool.submit(kill_brokers, sending)
        try:
            kills.run(rng, sending)
        finally:
            kills.left = 0
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


def wait_complete(server, expected):
    """Until everything is archived and scored."""
    server.start()

    def done():
        server.check_alive()
        status = server.client.status()
        assert not status["failed"], server.log_tail()
        return status["scores_waiting"] == 0 and all(delta_rows(server.data_dir, n) >= c for n, c in expected.items())

    def how_far():
        archived = {name: delta_rows(server.data_dir, name) for name in expected}
        return f"{expected} rows to be archived; there are {archived}; log: {server.log.name}"

    wait_for(done, how_far, deadline_s=300, every_s=0.5)


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
    print(f"\n{KILLS} kills, {PARTITIONS} partitions, {BROKER_KILLS} of the broker, FOREBAY_CRASH_SEED={SEED}")
    began = time.monotonic()
    rng = random.Random(SEED)
    suffix = uuid.uuid4().hex[:8]
    sql = definitions(tmp_path / "disturbed", suffix, f"{suffix}.disturbed")
    disturbed = servers(kafka, sql, env=ENVIRONMENT)
    kills, brokers, bad = kill_while_events_come_in(disturbed, kafka, sql, suffix, rng)
    assert kills.in_flight >= KILLS * IN_FLIGHT_SHARE, f"events were still sent at {kills.in_flight} of {KILLS} kills only"
    assert brokers == BROKER_KILLS, f"the broker was killed {brokers} times only while events were sent"
    due = dead_letters_due(kafka, suffix, bad)
    expected = {**event_counts(SINCE, UNTIL), DEAD_LETTERS: len(due)}
    expected[PREDICTIONS] = expected["departures"]
    wait_complete(disturbed, expected)
    undisturbed = servers(kafka, definitions(tmp_path / "undisturbed", suffix, f"{suffix}.undisturbed"), env=ENVIRONMENT)
    wait_complete(undisturbed, expected)

    assert_same_archive(disturbed, undisturbed, expected)
    assert_dead_letters(disturbed, suffix, due)
    reads = assert_same_reads(disturbed, undisturbed, rng)
    assert_same_predictions(disturbed, undisturbed, expected[PREDICTIONS])
    repeats = assert_published(disturbed, f"{PREDICTIONS_TOPIC}.{suffix}.disturbed", kafka)
    for server in (disturbed, undisturbed):
        assert_monitor(server, expected[PREDICTIONS])
    add_to_results({
        "partitions": PARTITIONS, "kills": KILLS, "kills_while_starting": kills.early,
        "kills_while_events_were_sent": kills.in_flight, "broker_kills": brokers, "seed": SEED,
        "seconds": round(time.monotonic() - began, 1), "rows": sum(expected.values()), "dead_letters": len(due),
        "reads_equal": reads, "predictions_published_again": repeats,
    })
    print(f"{KILLS} kills ({kills.early} while starting, {kills.in_flight} while events were sent), {brokers} of the broker: "
          f"{sum(expected.values())} rows, {len(due)} of them dead letters, lost 0, doubled 0; {reads} reads equal; {repeats} "
          f"predictions were published again and dropped; the monitor's report equals its evaluator's")
