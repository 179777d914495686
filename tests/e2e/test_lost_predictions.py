"""Predictions that retention took before they were archived: once their gap is accepted, the events that they answered are
settled with a note, the monitor goes on, and what it says is the same after a restart and when it is built anew.
"""

import uuid

from confluent_kafka import Consumer, TopicPartition

from conftest import wait_for
from flight_day import FIRST, SECOND, THIRD, Flights, due, table_of
from tables import delta, instant
from test_log import forebay
from topics import delete_records

DEPLOYMENT = "late_arrival"


def ends(kafka, topic):
    """By partition one past the newest record."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "ends"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    found = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1] for number in partitions}
    consumer.close()
    return found


def test_a_monitor_goes_on_behind_predictions_that_were_lost_with_an_accepted_gap(servers, kafka, tmp_path):
    flights = Flights(servers, kafka, tmp_path, uuid.uuid4().hex[:8])
    flights.begin()
    server, topic = flights.server, flights.topic("predictions.late_arrival")
    server.stop()
    # They come back and are counted, and the process dies before the archive has them.
    server.env["FOREBAY_INGEST_ARCHIVE_FLUSH_MS"] = "86400000"
    server.start()
    flights.send(SECOND)
    flights.wait_monitored(due(FIRST, SECOND)["departures"])
    wait_for(lambda: server.client.status()["deployments"][DEPLOYMENT]["outbox"] == 0, "the outbox to be empty")
    server.kill()
    for number, end in ends(kafka, topic).items():
        delete_records(kafka, topic, end, tmp_path, partition=number)
    server.env["FOREBAY_INGEST_ARCHIVE_FLUSH_MS"] = "300"
    server.start()
    source = table_of(DEPLOYMENT)
    wait_for(lambda: flights.state(source)["state"] == "halted", lambda: f"the source to be halted; {flights.state(source)}")
    accepted = forebay(server, "gap", "accept", source)
    assert accepted.returncode == 0, accepted
    flights.send(THIRD)

    def monitor():
        monitors = server.client.status()["monitors"]
        return monitors[0] if monitors else None

    lost = due(SECOND, SECOND)["departures"]
    counted = due(FIRST, THIRD)["departures"] - lost

    def is_on():
        now = monitor()
        return now and now["input"]["accepted"] == counted and (now["watermark_us"] or 0) > instant("2013-01-03T12:00:00")

    wait_for(is_on, lambda: f"the monitor to go on; {monitor()}", deadline_s=60)
    wait_for(lambda: "lost" in delta(server.data_dir, "settlements", ["reason"])["reason"].to_pylist(), "the notes")
    notes = delta(server.data_dir, "settlements", ["deployment", "reason", "events"]).to_pylist()
    assert all((note["deployment"], note["reason"]) == (DEPLOYMENT, "lost") for note in notes), notes
    assert sum(note["events"] for note in notes) == lost
    live = monitor()
    server.stop()
    for path in [None, *(server.data_dir / "checkpoints").glob("monitor-*")]:
        if path:
            path.unlink()
        server.start()
        wait_for(lambda: monitor() == live, lambda: f"the same report; {monitor()}")
        server.stop()
