"""What breaks, breaks alone, on Apache Kafka: a source whose topic is another one, a topic that takes no prediction, a monitor
whose reference is gone, a broker that is killed. Reads are answered all the while, and everything else goes on.
"""

import os
import shutil
import subprocess
import threading

import pytest

from conftest import FLIGHTS, ROOT, copy_definitions, run_binary, wait_for
from tables import delta_rows, event_counts
from topics import delete_topic, make_topic

PREDICTIONS = "predictions_late_arrival"
AT = "2013-01-03T00:00:00Z"
FIRST, SECOND = ("2013-01-01", "2013-01-02"), ("2013-01-02", "2013-01-03")


@pytest.fixture
def flights(servers, kafka, tmp_path):
    """Makes a server that has read the first day of the flights, over topics with this suffix."""

    def make(suffix=tmp_path.name.replace("_", "-"), **environment):
        sql = copy_definitions(tmp_path / "sql", topics=suffix)
        send(kafka, sql, FIRST)
        server = servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "300", **environment}).start()
        server.wait_read(event_counts(*FIRST))
        return server, sql, suffix

    return make


def send(kafka, sql, days):
    run_binary("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", days[0], "--until", days[1], "--partitions", "2")


def due(*names):
    """Rows of these sources after the second day."""
    counts = event_counts(FIRST[0], SECOND[1])
    return {name: counts[name] for name in names}


def state(server, source):
    return server.client.status()["sources"][source]


def features(server):
    rows = {"origin": ["JFK"], "dest": ["LAX"], "carrier": ["AA"], "tailnum": [None], "distance": [2475], "sched_dep": [None],
            "dep_delay": [0.0]}
    return server.client.get("delay_features", rows, at=AT).to_pylist()[0]


def scored(server, count):
    wait_for(lambda: delta_rows(server.data_dir, PREDICTIONS) == count, lambda: f"{count} predictions in the archive")


def monitored(server, count):
    def accepted():
        monitors = server.client.status()["monitors"]
        return monitors[0]["input"]["accepted"] if monitors else None

    wait_for(lambda: accepted() == count, lambda: f"the monitor to have {count} predictions; it has {accepted()}")


def test_a_source_whose_topic_was_made_anew_stands_alone(flights, kafka):
    server, sql, suffix = flights()
    before = state(server, "weather")["rows"]
    delete_topic(kafka, f"weather.{suffix}")
    make_topic(kafka, f"weather.{suffix}", 2)
    wait_for(lambda: state(server, "weather")["state"] == "halted", lambda: f"weather to be halted; {state(server, 'weather')}")
    send(kafka, sql, SECOND)
    others = due("departures", "arrivals")
    server.wait_read(others)
    scored(server, others["departures"])
    monitored(server, others["departures"])
    assert features(server)["route_arrivals"] is not None
    assert state(server, "weather")["rows"] == before, "no record of the other topic"
    assert server.http("/readyz")[0] == 200
    assert "weather" in server.http("/readyz/ingest")[1]


def test_a_topic_that_takes_no_prediction_holds_back_no_feature(flights, kafka, tmp_path):
    suffix = tmp_path.name.replace("_", "-")
    make_topic(kafka, f"predictions.late_arrival.{suffix}", 2, max_message_bytes=100)
    server, sql, _ = flights(suffix)
    send(kafka, sql, SECOND)
    expected = event_counts(FIRST[0], SECOND[1])
    server.wait_read(expected)
    # Each refusal is noted, and counts as an answer.
    def refused():
        return server.client.status()["deployments"]["late_arrival"]["unscored"]

    wait_for(lambda: refused() == {"prediction_refused": expected["departures"]}, lambda: f"every event to be settled; {refused()}")
    wait_for(lambda: delta_rows(server.data_dir, "settlements") > 0, "the refusals in the archive")
    for name, rows in expected.items():
        wait_for(lambda: delta_rows(server.data_dir, name) == rows, f"{rows} archived rows of {name}")
    assert delta_rows(server.data_dir, PREDICTIONS) == 0
    assert features(server)["route_arrivals"] is not None
    assert server.http("/readyz")[0] == 200


def test_a_monitor_without_its_reference_is_set_aside_alone(flights, kafka, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(ROOT / "models", root / "models")
    server, sql, _ = flights(FOREBAY_SERVER_MODEL_ROOT=str(root))
    server.stop()
    for profile in root.rglob("reference-*.json"):
        profile.unlink()
    # The folder of a start is applied strictly: the definitions that were applied before are not.
    for file in sql.glob("*.sql"):
        if not file.name.startswith("01"):
            file.unlink()
    server.start()
    suspended = wait_for(lambda: server.client.status()["suspended"], "what is set aside")
    assert [part["kind"] for part in suspended] == ["monitor"], suspended
    send(kafka, sql, SECOND)
    expected = due("departures", "arrivals", "weather")
    scored(server, expected["departures"])
    assert features(server)["route_arrivals"] is not None


def test_a_broker_that_is_killed_holds_back_no_read_and_everything_goes_on(flights, kafka):
    server, sql, _ = flights()
    restarting = threading.Event()
    failures, answered = [], [0]

    def read():
        client = server.client
        while not restarting.is_set():
            try:
                answered[0] += features(server) is not None and client.status() is not None
            except Exception as error:  # noqa: BLE001 - whatever a reader sees is told
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run([ROOT / "scripts" / "kafka", "restart", os.environ["FOREBAY_TEST_KAFKA_STATE"]], capture_output=True,
                          text=True, timeout=120)
    restarting.set()
    reader.join()
    assert done.returncode == 0, done.stderr
    assert not failures and answered[0] > 10, (failures[:1], answered)
    send(kafka, sql, SECOND)
    expected = due("departures", "arrivals", "weather")
    server.wait_read(expected)
    scored(server, expected["departures"])
    monitored(server, expected["departures"])
