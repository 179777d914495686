"""Kill -9 at random moments loses nothing and doubles nothing.

A real server on Apache Kafka is killed again and again while events come in, some kills while it starts and recovers, and is
started on the same directory each time. Afterwards its state, its Delta tables and its predictions are compared with those of
a server that read the same topics undisturbed: equal reads of every key at many instants, equal rows of every table, no row
twice, the same predictions, each of them verified against the offsets that it says it had applied.

FOREBAY_CRASH_KILLS says how many kills (50), FOREBAY_CRASH_SEED which ones (`scripts/crash N`).
"""

import json
import os
import random
import subprocess
import time
import uuid

import pyarrow as pa
import pyarrow.compute as pc

import raw_features
from conftest import FLIGHTS, binary, copy_definitions, wait_for
from tables import TIME_COLUMNS, assert_equal, delta, delta_rows, event_counts
from topics import records

SINCE, UNTIL = "2013-01-01", "2013-01-13"
PREDICTIONS = "predictions_late_arrival"
KILLS = int(os.environ.get("FOREBAY_CRASH_KILLS", "50"))
SEED = int(os.environ.get("FOREBAY_CRASH_SEED") or random.SystemRandom().randrange(2**32))
# About what one kill takes, start and recovery included: the replay lasts as long as the kills do.
SECONDS_A_KILL = 1.8
ENVIRONMENT = {
    "FOREBAY_STATE_HISTORY_HOURS": "100000",
    # Small steps, so that kills fall between epochs, commits and appends.
    "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200",
    "FOREBAY_INGEST_EPOCH_MAX_ROWS": "256",
}


def definitions(folder, topics, predictions):
    copy_definitions(folder, topics=topics, predictions=predictions)
    (folder / "05_raw_features.sql").write_text(raw_features.definition())
    return folder


def start_replay(sql, kafka):
    days = int(UNTIL[-2:]) - int(SINCE[-2:])
    speed = days * 86_400 / (KILLS * SECONDS_A_KILL)
    return subprocess.Popen([binary(), "replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", SINCE,
                             "--until", UNTIL, "--shuffle-within", "20m", "--seed", str(SEED % 1000), "--speed",
                             str(speed)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_again_and_again(server, rng):
    """KILLS times: start, wait for a random moment of its life, kill. How many fell into the start."""
    early, start_s = 0, 1.0
    for number in range(KILLS):
        started = time.monotonic()
        server.start(ready=False)
        if number > 0 and rng.random() < 0.3:
            early += 1
            time.sleep(rng.uniform(0.02, start_s))
        else:
            server.wait_ready()
            start_s = time.monotonic() - started
            time.sleep(rng.uniform(0.05, 1.0))
        server.check_alive()
        server.kill()
    return early


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
    return server


def by_place(table):
    """A table in the order of the log, without what names the moment of the append."""
    dropped = [name for name in ("_ingest_time", "_kafka_time") if name in table.column_names]
    return table.drop_columns(dropped).sort_by([("_partition", "ascending"), ("_offset", "ascending")])


def assert_no_row_twice(table):
    places = table.select(["_partition", "_offset"]).group_by(["_partition", "_offset"]).aggregate([([], "count_all")])
    doubled = places.filter(pc.greater(places["count_all"], 1))
    assert doubled.num_rows == 0, f"{doubled.num_rows} rows twice: {doubled.slice(0, 10).to_pylist()}"


def assert_same_archive(disturbed, undisturbed, expected):
    for name in TIME_COLUMNS:
        left, right = delta(disturbed.data_dir, name), delta(undisturbed.data_dir, name)
        assert_no_row_twice(left)
        assert left.num_rows == expected[name], f"{name}: {left.num_rows} rows of {expected[name]}"
        assert_equal(by_place(left), by_place(right))


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


def assert_predictions(disturbed, undisturbed, topic, kafka, expected):
    """The archive has each prediction once, the same ones as without kills, and the topic has no others."""
    ids = delta(disturbed.data_dir, PREDICTIONS, ["prediction_id"])["prediction_id"].to_pylist()
    assert len(ids) == len(set(ids)) == expected, f"{len(ids)} predictions, {len(set(ids))} different, of {expected}"
    undisturbed_ids = delta(undisturbed.data_dir, PREDICTIONS, ["prediction_id"])["prediction_id"].to_pylist()
    assert set(ids) == set(undisturbed_ids)
    published = records(kafka, topic)
    values = {}
    for value in published:
        prediction = json.loads(value)["prediction_id"]
        assert values.setdefault(prediction, value) == value, f"prediction {prediction} went out with two values"
    assert set(values) == set(ids)
    return len(published) - len(values)


def assert_verified(server, expected):
    answer = server.client.action("verify", {"service": "delay_features", "sample": 100_000, "predictions": True})
    report = answer["report"]
    assert answer["clean"] and report["equal"] == expected, (report, answer["differences"])


def test_kills_lose_nothing_and_double_nothing(servers, kafka, tmp_path):
    print(f"\n{KILLS} kills, FOREBAY_CRASH_SEED={SEED}")
    rng = random.Random(SEED)
    suffix = uuid.uuid4().hex[:8]
    expected = event_counts(SINCE, UNTIL)
    expected[PREDICTIONS] = expected["departures"]
    sql = definitions(tmp_path / "disturbed", suffix, f"{suffix}.disturbed")
    disturbed = servers(kafka, sql, env=ENVIRONMENT)
    replay = start_replay(sql, kafka)
    early = kill_again_and_again(disturbed, rng)
    _, replay_said = replay.communicate(timeout=600)
    assert replay.returncode == 0, replay_said
    wait_complete(disturbed, expected)
    undisturbed = servers(kafka, definitions(tmp_path / "undisturbed", suffix, f"{suffix}.undisturbed"), env=ENVIRONMENT)
    wait_complete(undisturbed, expected)

    assert_same_archive(disturbed, undisturbed, expected)
    reads = assert_same_reads(disturbed, undisturbed, rng)
    repeats = assert_predictions(disturbed, undisturbed, f"predictions.late_arrival.{suffix}.disturbed", kafka,
                                 expected[PREDICTIONS])
    assert_verified(disturbed, expected[PREDICTIONS])
    for server in (disturbed, undisturbed):
        (monitor,) = server.client.status()["monitors"]
        assert monitor["input"]["accepted"] == expected[PREDICTIONS], monitor["input"]
    print(f"{KILLS} kills ({early} while starting): {sum(expected.values())} rows and predictions, lost 0, doubled 0; "
          f"{reads} reads equal; {repeats} predictions were published again and dropped")
