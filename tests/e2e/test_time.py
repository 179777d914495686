"""Time and transactions on Apache Kafka: what one producer writes neither stops nor hastens the rest, a partition with nothing but
aborted records holds nobody back, and the markers of transactions are neither lag nor a loss.
"""

import datetime
import json
import time
import uuid

import pytest
from confluent_kafka import Producer

from conftest import wait_for
from tables import delta, delta_rows
from test_apply import ENTITY, SERVICE, SOURCE, VIEW, clicks, total
from test_verify import source, verify
from topics import make_topic

HOUR_US, YEAR_S = 3_600_000_000, 365 * 86_400
MAY = datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)
IDLE_S, DELAY_US, FUTURE_MAX_US = 2, 60_000_000, 600_000_000


@pytest.fixture
def shop(servers, kafka, tmp_path):
    """Makes a server that does not run yet over a new topic of two partitions, and the name of the topic."""

    def make(**config):
        topic = f"clicks.{uuid.uuid4().hex[:8]}"
        make_topic(kafka, topic, 2, **config)
        declared = SOURCE.replace("format = 'json'", f"format = 'json', idle_timeout = '{IDLE_S} s'")
        assert declared != SOURCE
        sql = tmp_path / "sql"
        sql.mkdir()
        (sql / "all.sql").write_text("\n".join([declared.format(amount="DOUBLE", topic=topic), ENTITY, VIEW, SERVICE]))
        return servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200"}), topic

    return make


def event(number, at=None):
    at = at or MAY + datetime.timedelta(minutes=number)
    return {"name": "ann", "amount": number + 0.25, "at": at.isoformat().replace("+00:00", "Z")}


def send(producer, topic, numbers, partition=0):
    for number in numbers:
        producer.produce(topic, json.dumps(event(number)).encode(), partition=partition)
    producer.flush()


def transaction(kafka, topic, numbers, partition=0, commit=True):
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    send(producer, topic, numbers, partition)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def micros(at):
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def test_a_partition_of_aborted_records_alone_holds_nobody_back(shop, kafka):
    server, topic = shop()
    transaction(kafka, topic, range(20, 23), partition=1, commit=False)
    send(Producer({"bootstrap.servers": kafka}), topic, range(5))
    newest = micros(MAY + datetime.timedelta(minutes=4)) - DELAY_US
    server.start()
    for _ in range(2):
        wait_for(lambda: clicks(server) == total(5), lambda: f"five clicks; {clicks(server)}")
        wait_for(lambda: source(server).get("watermark_us") == newest, lambda: f"the watermark to go on; {source(server)}")
        wait_for(lambda: source(server)["lag_records"] == 0, lambda: f"no lag; {source(server)}")
        server.stop()
        server.start()
    # A row of the partition that was passed over counts all the same.
    send(Producer({"bootstrap.servers": kafka}), topic, [5], partition=1)
    wait_for(lambda: clicks(server) == total(6), lambda: f"six clicks; {clicks(server)}")


def test_transactions_are_read_when_committed_and_their_markers_are_no_loss(shop, kafka):
    server, topic = shop()
    transaction(kafka, topic, range(0, 3))
    transaction(kafka, topic, range(50, 54), commit=False)
    transaction(kafka, topic, range(3, 7))
    server.start()
    wait_for(lambda: clicks(server) == total(7), lambda: f"seven clicks; {clicks(server)}")
    wait_for(lambda: source(server)["lag_records"] == 0, lambda: f"no lag; {source(server)}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 7, "seven archived clicks")
    code, text = verify(server)
    assert code == 0, text
    # Three markers and four aborted records.
    assert "7 archived (7 compared with the log)" in text and "7 without a record" in text, text
    server.stop()
    transaction(kafka, topic, range(7, 9))
    server.start()
    wait_for(lambda: clicks(server) == total(9), lambda: f"nine clicks; {clicks(server)}")


def test_a_clock_that_is_ahead_is_a_dead_letter_where_the_broker_writes_the_time(shop, kafka):
    server, topic = shop(message_timestamp_type="LogAppendTime")
    producer = Producer({"bootstrap.servers": kafka})
    ahead = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=YEAR_S)
    send(producer, topic, range(3))
    producer.produce(topic, json.dumps(event(90, ahead)).encode(), partition=0)
    send(producer, topic, range(3, 6))
    server.start()
    wait_for(lambda: clicks(server) == total(6), lambda: f"six clicks; {clicks(server)}")
    wait_for(lambda: delta_rows(server.data_dir, "dead_letters") == 1, "the dead letter")
    (letter,) = delta(server.data_dir, "dead_letters").to_pylist()
    assert (letter["reason"], letter["_offset"]) == ("future_time", 3), letter


def test_a_producer_whose_clock_is_ahead_makes_no_row_of_others_late(shop, kafka):
    # The broker takes any time that a producer writes.
    server, topic = shop(message_timestamp_after_max_ms=2**62, message_timestamp_type="CreateTime")
    producer = Producer({"bootstrap.servers": kafka})
    server.start()
    now = datetime.datetime.now(datetime.timezone.utc)
    ahead = now + datetime.timedelta(seconds=YEAR_S)
    for partition in (0, 1):
        producer.produce(topic, json.dumps(event(1, now)).encode(), partition=partition)
    producer.produce(topic, json.dumps(event(2, ahead)).encode(), partition=0, timestamp=int(ahead.timestamp() * 1_000))
    producer.flush()
    wait_for(lambda: source(server).get("rows") == 3, lambda: f"three rows; {source(server)}")
    later = datetime.datetime.now(datetime.timezone.utc)
    for partition in (0, 1):
        producer.produce(topic, json.dumps(event(3, later)).encode(), partition=partition)
    producer.flush()
    wait_for(lambda: source(server)["rows"] == 5, lambda: f"five rows; {source(server)}")
    time.sleep(2 * IDLE_S)
    for _ in range(2):
        wait_for(lambda: source(server).get("watermark_us"), "a watermark")
        limit = micros(datetime.datetime.now(datetime.timezone.utc)) + FUTURE_MAX_US
        assert source(server)["watermark_us"] <= limit, source(server)
        at = (later + datetime.timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
        row = server.client.get("spending_now", {"name": ["ann"]}, at=at)
        assert row["clicks"][0].as_py() == 4, "both rows of each partition, and not the one of the year to come"
        server.stop()
        server.start()
    assert server.client.status()["late_rows"] == 0
