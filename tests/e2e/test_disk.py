"""A disk that is full and freed again, on Apache Kafka: the data directory is a small file system of its own. Ingest stands and
says why, reads go on, a stop is quick, and once there is room all is applied and archived, each record once.
"""

import pathlib
import signal
import time
import uuid

import pytest

from conftest import wait_for
from disks import FULL, fill
from tables import delta_rows
from test_apply import click, total
from test_descriptors import click_as_many, spent
from test_log import definitions
from test_verify import verify
from topics import make_topic

DISK_MIB = 96
EVENTS = 60_000
# One shard with the smallest memtable: what is preallocated of its log is used up after some thousand events.
ENV = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "500", "FOREBAY_INGEST_STALL_S": "2", "FOREBAY_STATE_SHARDS": "1",
       "FOREBAY_STATE_WRITE_BUFFER_MIB": "4", "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false"}


@pytest.fixture
def shop(disks, servers, kafka, tmp_path):
    """A server whose data directory is a disk of its own, with three clicks applied and archived."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    server = servers(kafka, definitions(tmp_path, topic), env=ENV)
    disks.mount(server.data_dir, DISK_MIB)
    server.start()
    click(kafka, topic, 0, 3)
    wait_for(lambda: spent(server.client) == total(3), "three clicks")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 3, "three archived rows")
    return server, topic, kafka


def says_full(server):
    code, text = server.http("/readyz/ingest")
    return code == 503 and FULL in text


def stands_full(server, topic, kafka):
    """Fill the disk of `server` and bring it events until it stands; returns what fills it."""
    filler = fill(server.data_dir)
    click_as_many(kafka, topic, EVENTS)
    wait_for(lambda: says_full(server), lambda: f"the reason; {server.http('/readyz/ingest')}\n{server.log_tail()}")
    return filler


def assert_whole(server, topic, kafka):
    """Every event is applied, archived once, and the log agrees."""
    client, last = server.client, f"n{EVENTS - 1}"
    wait_for(lambda: spent(client, last) == (1, 0.25), lambda: f"all events; {client.status()['sources']}\n{server.log_tail()}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") >= EVENTS + 3, "all events in the archive")
    assert delta_rows(server.data_dir, "clicks") == EVENTS + 3
    assert spent(client) == total(3)
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"healthy ingest; {server.http('/readyz/ingest')}")
    code, text = verify(server, "--log-records", 2 * EVENTS)
    assert code == 0, text


def test_a_full_disk_is_told_holds_back_no_read_and_heals_once_it_is_freed(shop):
    server, topic, kafka = shop
    filler = stands_full(server, topic, kafka)
    client = server.client
    status = client.status()
    assert any(FULL in why for why in status["failing"].values()), status
    assert status["sources"]["clicks"]["lag_records"] > 0 and not status["failed"], status
    # Which of the two meets the full disk first is a matter of time: the shard, or the archive, whose source is halted then.
    told = lambda: server.metric("forebay_ingest_standing") or server.metric("forebay_source_halted", source="clicks", code="not_archived")  # noqa: E731
    wait_for(lambda: told() == 1, lambda: f"a gauge; {server.http('/readyz/ingest')}")
    assert server.http("/readyz")[0] == 200 and server.http("/livez")[0] == 200
    assert spent(client) == total(3), "reads go on"
    said = pathlib.Path(server.log.name).read_text().count("\n")
    assert said < 200, f"{said} lines: the cause is told once, not at each try:\n{server.log_tail()}"
    time.sleep(5)
    assert spent(client) == total(3)
    more = pathlib.Path(server.log.name).read_text().count("\n") - said
    assert more < 20, f"{more} lines in 5 s:\n{server.log_tail()}"
    filler.unlink()
    assert_whole(server, topic, kafka)
    wait_for(lambda: server.client.status()["failing"] == {}, lambda: f"nothing to fail; {server.client.status()['failing']}")
    assert server.metric("forebay_ingest_standing") == 0


def test_a_server_on_a_full_disk_stops_in_time_and_the_next_start_has_all(shop):
    server, topic, kafka = shop
    filler = stands_full(server, topic, kafka)
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(timeout=30)
    # It may say that not all could be written; no signal and no panic ends it.
    assert 0 <= code < 100, f"the stop ended with {code}:\n{server.log_tail()}"
    assert time.monotonic() - begun < 10, server.log_tail()
    # On the full disk it serves what it has, or ends and says why.
    server.start(ready=False)

    def answers_or_has_ended():
        if server.process.poll() is not None:
            return True
        try:
            return server.http("/readyz")[0] == 200
        except OSError:
            return False

    wait_for(answers_or_has_ended, lambda: f"reads or an end:\n{server.log_tail()}")
    if server.process.poll() is None:
        assert spent(server.client) == total(3)
        server.stop()
    else:
        assert FULL in server.log_tail(), server.log_tail()
    filler.unlink()
    server.start()
    assert_whole(server, topic, kafka)
