"""A disk that is full and freed again, or read-only and writable again, on Apache Kafka: the data directory is a file system of
its own. Ingest stands and says why, reads go on, a stop is quick, and once there is room all is applied and archived, each
record once.
"""

import pathlib
import signal
import time
import uuid

import pytest

from conftest import wait_for
from disks import FULL, READ_ONLY, fill
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


def gauges(server):
    """Whether ingest stands still, and whether the source is halted because the archive takes nothing."""
    halted = server.metric("forebay_source_halted", source="clicks", code="not_archived")
    return server.metric("forebay_ingest_standing") == 1, halted == 1


def told(server):
    """The gauges say what /readyz/ingest says, one of the two at least. Which meets the full disk first is a matter of time: the
    shard, or the archive, whose source is halted then. Both are looked at once a second, so that what has changed between two
    looks tells nothing."""
    said = []
    for _ in range(2):
        _, text = server.http("/readyz/ingest")
        said.append(("was applied for" in text, "[not_archived]" in text))
        shown = gauges(server)
    return any(shown) and said == [shown, shown]


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
    wait_for(lambda: told(server), lambda: f"gauges that agree with {server.http('/readyz/ingest')}")
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
    assert gauges(server) == (False, False)


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


@pytest.fixture
def bound(disks, servers, kafka, tmp_path):
    """The same, where the archive is a mount of its own. The state cannot be one that turns read-only under a running server: a
    mount with a file that is open for writing stays writable."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    server = servers(kafka, definitions(tmp_path, topic), env=ENV)
    archive = server.data_dir / "offline"
    disks.bind(archive)
    server.start()
    click(kafka, topic, 0, 3)
    wait_for(lambda: spent(server.client) == total(3), "three clicks")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 3, "three archived rows")
    return server, topic, kafka, disks, archive


def test_an_archive_that_turns_read_only_is_told_holds_back_no_read_and_heals(bound):
    server, topic, kafka, disks, archive = bound
    wait_for(lambda: disks.remount(archive, "ro"), "a moment without a file that is written")
    click(kafka, topic, 3, 3)
    wait_for(lambda: READ_ONLY in str(server.client.status()["failing"]), lambda: f"the cause; {server.client.status()['failing']}")
    assert READ_ONLY in server.log_tail(), server.log_tail()
    wait_for(lambda: spent(server.client) == total(6), "reads that see what the state has")
    wait_for(lambda: READ_ONLY in server.http("/readyz/ingest")[1], lambda: f"the reason; {server.http('/readyz/ingest')}")
    assert server.http("/readyz")[0] == 200 and server.http("/livez")[0] == 200
    assert disks.remount(archive, "rw")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") >= 6, lambda: f"all in the archive; {server.client.status()}")
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"healthy ingest; {server.http('/readyz/ingest')}")
    assert delta_rows(server.data_dir, "clicks") == 6
    code, text = verify(server)
    assert code == 0, text


def test_a_start_on_a_read_only_directory_says_so_and_the_next_one_goes_on(bound):
    server, topic, kafka, disks, archive = bound
    server.stop()
    click(kafka, topic, 3, 3)
    state = server.data_dir / "online"
    disks.bind(state)
    assert disks.remount(state, "ro")
    server.start(ready=False)
    assert server.process.wait(timeout=60) not in (0, None)
    assert READ_ONLY in server.log_tail(), server.log_tail()
    assert disks.remount(state, "rw")
    server.start()
    wait_for(lambda: delta_rows(server.data_dir, "clicks") >= 6, lambda: f"all in the archive; {server.client.status()}")
    assert spent(server.client) == total(6) and delta_rows(server.data_dir, "clicks") == 6
