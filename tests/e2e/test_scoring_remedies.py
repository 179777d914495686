"""What the reasons of events without a prediction say is to be done is done here, on Apache Kafka: later events are scored, and
what ended without a prediction stays noted, each event once.
"""

import json

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from conftest import ROOT, copy_definitions, free_port, wait_for
from flight_day import FIRST, SECOND, THIRD, Flights, due, table_of
from tables import delta, delta_rows, event_counts
from test_worker import PREDICTIONS, SINCE, Worker, replay
from topics import produce

# Fits an event and no prediction (EVENT_MAX_BYTES, PREDICTION_MAX_BYTES).
LONG = "f" * 1_000_000
# Scores that may wait, and hours with fewer departures.
LIMIT = 100
FEW = "2013-06-03T07:00:00Z", "2013-06-03T10:30:00Z"


def deployment(server, name):
    return server.client.status()["deployments"][name]


@pytest.fixture
def flights(servers, kafka, tmp_path):
    """A running server that has scored the first day with two deployments."""
    made = Flights(servers, kafka, tmp_path, "scoring")
    made.begin()
    return made


def allow(flights, max_bytes):
    """`max.message.bytes` of the topic of the second deployment's predictions."""
    admin = AdminClient({"bootstrap.servers": flights.kafka})
    entry = ConfigEntry("max.message.bytes", str(max_bytes), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, flights.topic("predictions.late_too"), incremental_configs=[entry])
    for done in admin.incremental_alter_configs([topic]).values():
        done.result()


def departure(flights, number):
    """A departure with a long name."""
    event = {"flight_id": LONG, "carrier": "AA", "origin": "JFK", "dest": "LAX", "dep_time": f"2013-01-03T23:{number:02}:00Z"}
    produce(flights.kafka, flights.topic("departures"), json.dumps(event).encode(), partition=0,
            flags=["-X", "message.max.bytes=2000000"])


def test_predictions_that_were_refused_go_through_once_the_topic_takes_them_or_they_carry_less(flights):
    server = flights.server
    allow(flights, 100)
    flights.send(SECOND)
    refused = due(SECOND, SECOND)["departures"]
    wait_for(lambda: deployment(server, "late_too")["unscored"] == {"prediction_refused": refused},
             lambda: f"each refusal; {deployment(server, 'late_too')}")
    wait_for(lambda: delta_rows(server.data_dir, "settlements") > 0, "the archived notes")
    details = delta(server.data_dir, "settlements", ["detail"])["detail"].to_pylist()
    assert any("max.message.bytes" in detail or "MessageSizeTooLarge" in detail for detail in details), details
    allow(flights, 1_048_588)
    flights.send(THIRD)
    flights.assert_scored_once(due(FIRST, THIRD)["departures"], ("late_arrival",))
    taken = due(FIRST, FIRST)["departures"] + due(THIRD, THIRD)["departures"]
    flights.assert_scored_once(taken, ("late_too",))

    # `late_arrival` carries the flight's id; the second one carries nothing.
    departure(flights, 0)
    large = {"row_refused": 1}
    wait_for(lambda: deployment(server, "late_arrival")["unscored"] == large, lambda: f"{deployment(server, 'late_arrival')}")
    flights.assert_scored_once(taken + 1, ("late_too",))
    wait_for(lambda: any("deploy under another name with fewer or shorter carried columns" in detail for detail in
                         delta(server.data_dir, "settlements", ["detail"])["detail"].to_pylist()), "the remedy in the archive")
    assert flights.apply("DROP MONITOR late_arrival_quality;", "DROP DEPLOYMENT late_arrival;", f"""CREATE DEPLOYMENT lean
        USING MODEL late_arrival ON departures INTO TOPIC '{flights.topic("predictions.lean")}' ROUTE VERSION 1 WEIGHT 100;""")
    departure(flights, 1)
    flights.assert_scored_once(taken + 2, ("late_too",))
    flights.assert_scored_once(1, ("lean",))
    assert deployment(server, "lean")["unscored"] == {}


@pytest.mark.parametrize("remedy", ["a worker", "a higher limit"])
def test_a_suspended_deployment_scores_again_with_a_worker_or_a_higher_limit(servers, forebay, kafka, tmp_path, remedy):
    sql, port = copy_definitions(tmp_path / "sql"), free_port()
    env = {"FOREBAY_INFERENCE_WORKERS": f"127.0.0.1:{port}", "FOREBAY_INFERENCE_LOCAL_SCORING": "false",
           "FOREBAY_INFERENCE_PENDING_MAX_RECORDS": str(LIMIT)}
    server = servers(kafka, sql, env=env).start()
    first = event_counts(SINCE, "2013-06-03")["departures"]
    both = first + event_counts(*FEW)["departures"]
    assert 0 < both - first < LIMIT

    replay(forebay, sql, kafka, SINCE, "2013-06-02")
    wait_for(lambda: server.client.status()["scores_waiting"] >= LIMIT, lambda: f"the limit; {server.client.status()}")
    replay(forebay, sql, kafka, "2013-06-02", "2013-06-03")

    def noted():
        return deployment(server, "late_arrival")["unscored"].get("suspended", 0)

    def ended(count):
        """That many events wait, are scored or were noted."""
        status = server.client.status()
        return status["scores_waiting"] + status["predictions"] + noted() == count

    wait_for(lambda: ended(first) and noted() > 0, lambda: f"a suspension; {server.client.status()}")
    status = deployment(server, "late_arrival")
    assert status["state"] == "suspended" and "pending_max_records and pending_max_mib in [inference]" in status["reason"], status
    lost, worker = noted(), None
    try:
        if remedy == "a worker":
            worker = Worker(ROOT / "models" / "late_arrival" / "1", port)
            wait_for(lambda: deployment(server, "late_arrival")["state"] == "scoring", lambda: f"{server.client.status()}")
            wait_for(lambda: server.client.status()["scores_waiting"] == 0, "what waited to be scored")
            before = lost
            replay(forebay, sql, kafka, *FEW)
        else:
            server.stop()
            server.env["FOREBAY_INFERENCE_PENDING_MAX_RECORDS"] = "100000"
            server.start()
            replay(forebay, sql, kafka, *FEW)
            wait_for(lambda: server.client.status()["scores_waiting"] == both - lost, lambda: f"{server.client.status()}")
            assert deployment(server, "late_arrival")["state"] != "suspended" and noted() == 0
            before = 0
            worker = Worker(ROOT / "models" / "late_arrival" / "1", port)
        wait_for(lambda: server.client.status()["scores_waiting"] == 0 and
                 delta_rows(server.data_dir, PREDICTIONS) >= both - lost, lambda: f"the rest; {server.client.status()}")
        assert noted() == before, "later events are scored"
    finally:
        if worker:
            worker.end()
    ids = delta(server.data_dir, PREDICTIONS, ["prediction_id"])["prediction_id"].to_pylist()
    assert len(ids) == len(set(ids)) == both - lost
