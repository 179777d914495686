"""The log that the state follows, on Apache Kafka: a topic that is made anew is never followed, partitions that are added
are read, a gap halts its source until it is accepted, and without a broker a server starts and serves.
"""

import json
import os
import pathlib
import subprocess
import time
import uuid

import pytest
from confluent_kafka import Producer

from conftest import ROOT, binary, wait_for
from test_apply import ENTITY, SERVICE, SOURCE, VIEW, apply, click, clicks, total
from tables import delta_rows
from topics import add_partitions, delete_records, delete_topic, has_topic, make_topic, produce


def definitions(folder, topic):
    sql = folder / "sql"
    sql.mkdir()
    texts = [SOURCE.format(amount="DOUBLE", topic=topic), ENTITY, VIEW, SERVICE]
    (sql / "all.sql").write_text("\n".join(texts))
    return sql


@pytest.fixture
def shop(servers, kafka, tmp_path):
    """A server that does not run yet, over one topic with one partition."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    env = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "500", "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false"}
    return servers(kafka, definitions(tmp_path, topic), env=env), topic, kafka


def source(server):
    """What the server says of the source; nothing before ingest begins."""
    return server.client.status()["sources"].get("clicks", {"state": "not begun"})


def gaps_told(server):
    """The accepted gaps that an answer speaks of; None where it speaks of none."""
    rows = server.client.get("spending_now", {"name": ["ann"]}, at="2024-05-02T00:00:00Z")
    told = rows.schema.metadata.get(b"forebay.gaps")
    return told and json.loads(told)


def is_halted(server):
    return source(server)["state"] == "halted"


def forebay(server, *args):
    command = [binary(), *args, "--flight-addr", server.flight]
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_topic_made_anew_is_never_followed(shop):
    server, topic, kafka = shop
    click(kafka, topic, 0, 6)
    server.start()
    wait_for(lambda: clicks(server) == total(6), lambda: f"six clicks; {clicks(server)}, {source(server)}")
    server.stop()
    delete_topic(kafka, topic)
    make_topic(kafka, topic)
    # More records than were read: the offset that comes next is there, and is another record's.
    click(kafka, topic, 20, 9)
    for _ in range(2):
        server.start()
        wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
        assert topic in source(server)["reason"], source(server)
        assert source(server)["lag_records"] is None, "of another log nobody can tell"
        assert clicks(server) == total(6), "reads go on, and no record of the other topic is in them"
        # Looked at once a second; until then it says that ingest has not started.
        wait_for(lambda: topic in server.http("/readyz/ingest")[1], lambda: f"the reason; {server.http('/readyz/ingest')}")
        assert server.http("/readyz/ingest")[0] == 503
        assert server.http("/readyz")[0] == 200
        server.stop()


def test_partitions_that_are_added_are_read_from_their_beginning(shop):
    server, topic, kafka = shop
    click(kafka, topic, 0, 3)
    server.start()
    wait_for(lambda: clicks(server) == total(3), "three clicks")
    add_partitions(kafka, topic, 3)
    for number in range(3, 6):
        event = {"name": "ann", "amount": number + 0.25, "at": f"2024-05-01T00:{number:02}:00Z"}
        produce(kafka, topic, event, partition=2)
    wait_for(lambda: clicks(server) == total(6), lambda: f"six clicks; {clicks(server)}, {source(server)}", deadline_s=40)
    assert {part["partition"] for part in source(server)["partitions"]} == {0, 1, 2}
    wait_for(lambda: source(server)["lag_records"] == 0, "no lag")


def test_a_gap_halts_its_source_until_it_is_accepted_as_its_error_says(shop, tmp_path):
    server, topic, kafka = shop
    click(kafka, topic, 0, 4)
    server.start()
    wait_for(lambda: clicks(server) == total(4), "four clicks")
    server.stop()
    click(kafka, topic, 4, 6)
    delete_records(kafka, topic, 7, tmp_path)
    server.start()
    wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
    assert source(server)["reason"].endswith("`forebay gap accept clicks`"), source(server)
    assert source(server)["lag_records"] == 6, "what was deleted unread is not read"
    assert clicks(server) == total(4), "reads go on"
    listed = forebay(server, "gap", "list")
    assert listed.returncode == 0 and "clicks" in listed.stdout, listed
    verified = forebay(server, "verify", "spending_now")
    assert verified.returncode == 1 and "lost records before they were read; see `forebay gap list`" in verified.stdout, verified
    assert gaps_told(server) is None
    accepted = forebay(server, "gap", "accept", "clicks")
    assert accepted.returncode == 0, accepted
    told = [{"topic": topic, "partition": 0, "from": 4, "to": 7}]
    assert gaps_told(server) == told, "from the acceptance on answers say so"
    counted = [number for number in range(10) if number < 4 or number >= 7]
    expected = len(counted), sum(number + 0.25 for number in counted)
    wait_for(lambda: clicks(server) == expected, lambda: f"what is left; {clicks(server)}, {source(server)}")
    server.stop()
    server.start()
    wait_for(lambda: source(server)["state"] == "reading", lambda: f"reading to go on; {source(server)}")
    assert clicks(server) == expected
    assert gaps_told(server) == told, "and after a restart"


def test_a_gap_of_what_the_state_has_and_the_archive_not_keeps_live_values_and_refuses_to_fill_others(shop, tmp_path):
    server, topic, kafka = shop
    click(kafka, topic, 0, 4)
    server.start()
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 4, "four clicks to be archived")
    server.stop()
    # The archive runs behind the state, and the process dies in between.
    server.env["FOREBAY_INGEST_ARCHIVE_FLUSH_MS"] = "86400000"
    server.start()
    click(kafka, topic, 4, 6)
    wait_for(lambda: clicks(server) == total(10), "ten clicks")
    applied = lambda: [part["applied"] for part in source(server)["partitions"]]  # noqa: E731
    wait_for(lambda: applied() == [10], lambda: f"each shard to say so; {source(server)}")
    server.kill()
    delete_records(kafka, topic, 7, tmp_path)
    server.env["FOREBAY_INGEST_ARCHIVE_FLUSH_MS"] = "500"
    server.start()
    wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
    assert source(server)["lag_records"] == 6, "the archive needs what the state has"
    accepted = forebay(server, "gap", "accept", "clicks")
    assert accepted.returncode == 0, accepted
    click(kafka, topic, 10, 2)
    wait_for(lambda: clicks(server) == total(12), lambda: f"twelve clicks; {clicks(server)}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 9, "what the log still has to be archived")
    for _ in range(2):
        assert gaps_told(server) is None, "the view has what the archive lacks"
        refused = forebay(server, "rebuild", "spending")
        assert refused.returncode == 2 and f"below offset 7 of {topic}-0" in refused.stderr, refused
        assert "an empty --data-dir" in refused.stderr, refused
        with pytest.raises(Exception, match="below offset 7"):
            apply(server, VIEW.replace("VIEW spending", "VIEW spending_too"))
        assert clicks(server) == total(12)
        verified = forebay(server, "verify", "spending_now", "--sample", "50")
        assert verified.returncode == 1 and " 0 different" in verified.stdout, verified
        assert "not verifiable: " in verified.stdout and "(archive cut)" in verified.stdout, verified
        assert "lost and made anew" not in verified.stdout, verified
        server.stop()
        server.start()
        wait_for(lambda: source(server)["state"] == "reading", lambda: f"reading to go on; {source(server)}")


def test_a_batch_whose_bytes_have_changed_halts_its_partition_alone_and_is_passed_as_its_error_says(shop):
    server, topic, kafka = shop
    add_partitions(kafka, topic, 2)

    def click_of(partition, number):
        event = {"name": "ann", "amount": number + 0.25, "at": f"2024-05-01T00:{number:02}:00Z"}
        produce(kafka, topic, event, partition=partition)

    for number in range(4):
        click_of(0, number)
    click_of(1, 4)
    # In the broker's own file, so that the client gets a batch with a wrong checksum.
    segment = pathlib.Path(os.environ["FOREBAY_TEST_KAFKA_STATE"]) / "data" / f"{topic}-0" / f"{0:020}.log"
    log = segment.read_bytes()
    assert log.count(b"2.25") == 1, "the values are not compressed"
    with segment.open("r+b") as file:
        file.seek(log.index(b"2.25"))
        file.write(b"9")
    server.start()

    def halted():
        return [part["halted"] for part in source(server).get("partitions", []) if part["partition"] == 0]

    wait_for(lambda: any(halted()), lambda: f"the partition to be halted; {source(server)}")
    assert "forebay gap accept" in halted()[0] and "offset 2" in halted()[0], halted()
    expected = 3, 0.25 + 1.25 + 4.25
    wait_for(lambda: clicks(server) == expected, lambda: f"what is whole; {clicks(server)}, {source(server)}")
    click_of(1, 5)
    wait_for(lambda: clicks(server) == (4, expected[1] + 5.25), lambda: f"the other partition; {clicks(server)}")
    accepted = forebay(server, "gap", "accept", "clicks/0")
    assert accepted.returncode == 0, accepted
    wait_for(lambda: clicks(server) == (5, expected[1] + 5.25 + 3.25), lambda: f"what is behind it; {clicks(server)}")


def produce_bomb(kafka, topic, records):
    """One batch of so many records of zeros in partition 0: some kilobytes, that inflate beyond what the client takes for one
    answer (`receive.message.max.bytes`, 100 MB)."""
    settings = {"compression.type": "zstd", "message.max.bytes": 10**9, "batch.size": 10**9, "linger.ms": 3000}
    producer, failures = Producer({"bootstrap.servers": kafka, **settings}), []
    for _ in range(records):
        producer.produce(topic, bytes(120_000_000 // records), partition=0, on_delivery=lambda error, _: failures.append(error))
    # A flush would send what is there at once, in more than one batch.
    wait_for(lambda: producer.poll(0.1) is not None and len(failures) == records, "the batch to be taken")
    assert failures == [None] * records, failures


def test_a_batch_that_inflates_beyond_an_answer_halts_its_partition_alone_and_is_passed_as_its_error_says(shop):
    server, topic, kafka = shop
    add_partitions(kafka, topic, 2)

    def click_of(partition, number):
        event = {"name": "ann", "amount": number + 0.25, "at": f"2024-05-01T00:{number:02}:00Z"}
        produce(kafka, topic, event, partition=partition)

    for number in range(2):
        click_of(0, number)
    produce_bomb(kafka, topic, 3)
    segment = pathlib.Path(os.environ["FOREBAY_TEST_KAFKA_STATE"]) / "data" / f"{topic}-0" / f"{0:020}.log"
    assert segment.stat().st_size < 50_000, "the broker keeps it as it came"
    click_of(0, 2)
    click_of(1, 3)
    server.start()

    def halted(partition):
        return [part["halted"] for part in source(server).get("partitions", []) if part["partition"] == partition]

    wait_for(lambda: any(halted(0)), lambda: f"the partition to be halted; {source(server)}")
    [reason] = halted(0)
    assert f"{topic}-0" in reason and "offset 2" in reason and "`forebay gap accept clicks/0`" in reason, reason
    expected = 3, 0.25 + 1.25 + 3.25
    wait_for(lambda: clicks(server) == expected, lambda: f"what can be read; {clicks(server)}, {source(server)}")
    click_of(1, 4)
    wait_for(lambda: clicks(server) == (4, expected[1] + 4.25), lambda: f"the other partition; {clicks(server)}")
    assert halted(1) == [None] and source(server)["state"] == "reading", source(server)
    wait_for(lambda: server.http("/readyz/ingest")[0] == 503, "the readiness of ingest to tell it")
    accepted = forebay(server, "gap", "accept", "clicks/0")
    assert accepted.returncode == 0 and "2 to 4" in accepted.stdout, accepted
    whole = 5, expected[1] + 4.25 + 2.25
    wait_for(lambda: clicks(server) == whole, lambda: f"what is behind it; {clicks(server)}, {source(server)}")
    server.stop()
    server.start()
    click_of(0, 5)
    wait_for(lambda: clicks(server) == (6, whole[1] + 5.25), lambda: f"reading to go on; {clicks(server)}, {source(server)}")


def shown(server):
    """Series of the source and of the view."""
    lines = server.http("/metrics")[1].splitlines()
    return [line for line in lines if 'source="clicks"' in line or 'view="spending"' in line]


@pytest.mark.parametrize("at_start", [False, True], ids=["live", "at_a_start"])
def test_a_source_whose_topic_is_gone_is_dropped_and_the_topic_is_not_made(shop, tmp_path, at_start):
    server, topic, kafka = shop
    click(kafka, topic, 0, 3)
    server.start()
    wait_for(lambda: clicks(server) == total(3), "three clicks")
    server.stop()
    delete_topic(kafka, topic)
    server.start()
    wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
    assert not has_topic(kafka, topic), "nobody asked for it"
    assert source(server)["code"] == "topic_missing", source(server)
    wait_for(lambda: server.metric("forebay_source_halted", source="clicks", code="topic_missing") == 1, "the metric")
    assert "clicks  " in (listed := forebay(server, "gap", "list").stdout) and "[topic_missing]" in listed, listed
    assert '"topic_missing"' in server.log_tail() or "code=topic_missing" in server.log_tail(), server.log_tail()
    assert source(server)["lag_records"] is None, source(server)
    drops = ["DROP FEATURE SERVICE spending_now;", "DROP FEATURE VIEW spending;", "DROP SOURCE clicks;"]
    if at_start:
        server.stop()
        (tmp_path / "sql" / "all.sql").write_text("\n".join(drops))
        server.start()
    else:
        apply(server, *drops)
    wait_for(lambda: server.client.status()["sources"] == {}, lambda: f"no source; {server.client.status()['sources']}")
    wait_for(lambda: not shown(server), lambda: f"no series of what is dropped; {shown(server)}")
    other = f"{topic}.other"
    make_topic(kafka, other)
    apply(server, SOURCE.format(amount="DOUBLE", topic=other), VIEW, SERVICE)
    click(kafka, other, 0, 4)
    wait_for(lambda: clicks(server) == total(4), lambda: f"four clicks; {clicks(server)}, {source(server)}")
    assert not has_topic(kafka, topic)
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 10


def test_without_a_broker_a_server_starts_serves_and_stops(servers, tmp_path):
    server = servers("127.0.0.1:1", definitions(tmp_path, "clicks.nowhere")).start()
    wait_for(lambda: source(server)["state"] == "waiting", lambda: f"the source to wait; {source(server)}")
    assert source(server)["lag_records"] is None, "nobody can tell what waits"
    wait_for(lambda: 'forebay_ingest_lag_known{source="clicks"} 0' in server.http("/metrics")[1], "the metric to say so")
    assert "forebay_ingest_lag_records{" not in server.http("/metrics")[1]
    assert clicks(server) == (None, None)
    assert server.http("/readyz")[0] == 200
    server.stop()
