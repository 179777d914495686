"""An archive that hangs, on Apache Kafka: a named pipe stands where a file of it was, so that whoever opens it waits for ever, as
over a disk of the network that is away. The server answers /livez and reads all the while, definitions change, other sources are
read, and SIGTERM ends it in time, whatever waits; and /livez answers while a start recovers a large state. A table that is
damaged at a start is set aside as one that hangs is.
"""

import contextlib
import os
import shutil
import signal
import threading
import time
import uuid

import pyarrow as pa
import pytest

from conftest import wait_for
from tables import delta_rows
from test_apply import SERVICE, SOURCE, VIEW, apply, click, clicks, total
from test_archive import OTHER_VIEW
from test_descriptors import click_as_many, spent
from test_log import definitions, shop, source  # noqa: F401 - a fixture
from test_remedies import COUNT, stopped, whole  # noqa: F401 - a fixture
from topics import make_topic

STOP_S = 10
# Of a change over an append that hangs: it waits for its table, for 10 s, and then for the append, for 5 s.
CHANGE_S = 40
# The other source, with a view and a service.
OTHER = (VIEW.replace("VIEW spending", "VIEW spending_too").replace("FROM clicks", "FROM clicks_too"),
         SERVICE.replace("SERVICE spending_now", "SERVICE spending_too_now").replace("spending AS s", "spending_too AS s"))
LARGE = 60_000


@contextlib.contextmanager
def hangs(path, folder):
    """`path` is a pipe that nobody writes; afterwards it is what it was, and who waits for it finds it empty."""
    kept = folder / "kept"
    if path.exists():
        shutil.move(path, kept)
    os.mkfifo(path)
    try:
        yield
    finally:
        try:
            writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody waits for it
            writer = None
        path.unlink()
        if kept.exists():
            shutil.move(kept, path)
        if writer is not None:
            os.close(writer)


class Asking(threading.Thread):
    """Asks something of a server that does not answer; `failed` is how it ends."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self.ask, self.failed = ask, None
        self.start()

    def run(self):
        try:
            self.ask()
        except pa.ArrowException as error:
            self.failed = error


def lives(server, seconds, ready):
    """All the while the process answers, and says whether reads are answered."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.http("/livez")[0] == 200
        assert server.http("/readyz")[0] == ready, server.http("/readyz")
        time.sleep(0.02)


def ends_in_time(server):
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == 0, server.log_tail()
    assert time.monotonic() - begun < STOP_S, server.log_tail()


def data_file(server):
    return next((server.data_dir / "offline" / "clicks").glob("part-*.parquet"))


def log_folder(server):
    return server.data_dir / "offline" / "clicks" / "_delta_log"


def next_entry(server):
    """Where the log of the table goes on: whoever reads what is new in it, before an append, meets it."""
    newest = max(int(entry.stem) for entry in log_folder(server).glob("*.json"))
    return log_folder(server) / f"{newest + 1:020}.json"


def clicks_too(server):
    rows = server.client.get("spending_too_now", {"name": ["ann"]}, at="2024-05-02T00:00:00Z")
    return rows["clicks"][0].as_py(), rows["total"][0].as_py()


def is_served(server):
    try:
        return clicks(server)[0] is not None
    except pa.ArrowKeyError:
        return False


def click_too(server, other, kafka, first):
    """What comes to the other source is read and archived."""
    click(kafka, other, first, 1)
    wait_for(lambda: clicks_too(server) == total(first + 1), lambda: f"the other source; {server.client.status()['sources']}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks_too") == first + 1, "its row in the archive")


def halted(server, *codes):
    """The first source is halted, and every read is answered."""
    wait_for(lambda: source(server).get("code") in codes, lambda: f"the halt; {source(server)}")
    assert server.http("/readyz")[0] == 200 and clicks(server)[0] >= COUNT


@pytest.fixture
def two(stopped):  # noqa: F811
    """A running server with a second source beside the first, and the topics of both."""
    server, topic, kafka = stopped
    other = f"{topic}.other"
    make_topic(kafka, other)
    server.start()
    apply(server, SOURCE.format(amount="DOUBLE", topic=other).replace("SOURCE clicks", "SOURCE clicks_too"), *OTHER)
    click_too(server, other, kafka, 0)
    return server, topic, other, kafka


def appending(server, topic, kafka):
    """An append begins that does not end."""
    click(kafka, topic, COUNT, 1)
    wait_for(lambda: server.metric("forebay_archive_append_running_seconds", table="clicks") > 1, "an append that hangs")
    assert clicks(server) == total(COUNT + 1), "the state has the row"


def test_definitions_change_and_the_source_is_dropped_over_an_append_that_hangs(two, tmp_path):
    server, topic, other, kafka = two
    with hangs(next_entry(server), tmp_path):
        appending(server, topic, kafka)
        begun = time.monotonic()
        # A view of the other source is added; of this one it cannot be filled.
        apply(server, OTHER[0].replace("VIEW spending_too", "VIEW spending_third"),
              OTHER[1].replace("SERVICE spending_too_now", "SERVICE third").replace("spending_too AS s", "spending_third AS s"))
        assert time.monotonic() - begun < CHANGE_S, server.log_tail()
        assert server.client.get("third", {"name": ["ann"]}, at="2024-05-02T00:00:00Z")["clicks"][0].as_py() == 1
        click_too(server, other, kafka, 1)
        halted(server, "not_archived", "table_unusable")
        with pytest.raises(pa.ArrowException, match="clicks"):
            apply(server, OTHER_VIEW)
        click_too(server, other, kafka, 2)
        begun = time.monotonic()
        apply(server, "DROP FEATURE SERVICE spending_now;", "DROP FEATURE VIEW spending;", "DROP SOURCE clicks;")
        assert time.monotonic() - begun < CHANGE_S, server.log_tail()
        assert "clicks" not in server.client.status()["sources"]
        click_too(server, other, kafka, 3)
        ends_in_time(server)
    # The folder of a start brings the source back: nothing of it is lost or there twice.
    server.start()
    wait_for(lambda: is_served(server), lambda: f"the service to be back; {server.client.status()['phase']}")
    whole(server, COUNT + 1)
    click_too(server, other, kafka, 4)


def test_a_stop_over_an_append_that_hangs_ends_in_time_and_the_row_is_archived_by_the_next_start(two, tmp_path):
    server, topic, other, kafka = two
    with hangs(next_entry(server), tmp_path):
        appending(server, topic, kafka)
        click_too(server, other, kafka, 1)
        ends_in_time(server)
    server.start()
    whole(server, COUNT + 1)
    click_too(server, other, kafka, 2)


def test_a_start_beside_a_table_that_hangs_serves_and_reads_its_source_once_it_answers(two, tmp_path):
    server, topic, other, kafka = two
    server.stop()
    click(kafka, topic, COUNT, 1)
    with hangs(log_folder(server) / "_last_checkpoint", tmp_path):
        server.start()
        halted(server, "table_unusable")
        assert "'clicks'" in source(server)["reason"], source(server)
        # Looked at once a second.
        wait_for(lambda: server.metric("forebay_source_halted", source="clicks", code="table_unusable") == 1, "the gauge")
        click_too(server, other, kafka, 1)
        assert clicks(server) == total(COUNT), "nothing of it is read"
    whole(server, COUNT + 1)
    click_too(server, other, kafka, 2)


def test_a_start_beside_a_damaged_table_serves_and_reads_its_source_once_it_is_restored(two):
    server, topic, other, kafka = two
    server.stop()
    click(kafka, topic, COUNT, 1)
    entry = max(log_folder(server).glob("*.json"))
    kept = entry.read_bytes()
    entry.write_bytes(kept[:20])
    server.start()
    halted(server, "table_unusable")
    assert "is not JSON" in source(server)["reason"], source(server)
    wait_for(lambda: "source clicks is halted" in server.http("/readyz/ingest")[1], "readiness to say so")
    click_too(server, other, kafka, 1)
    # Nor does it stand in the way of a change.
    apply(server, OTHER[1].replace("SERVICE spending_too_now", "SERVICE again"))
    entry.write_bytes(kept)
    whole(server, COUNT + 1)
    click_too(server, other, kafka, 2)


def test_without_a_table_that_every_source_needs_a_start_serves_and_ingest_begins_once_it_is_restored(two):
    server, topic, other, kafka = two
    server.stop()
    click(kafka, topic, COUNT, 1)
    entry = max((server.data_dir / "offline" / "_marks" / "_delta_log").glob("*.json"))
    kept = entry.read_bytes()
    entry.write_bytes(kept[:20])
    server.start()
    halted(server, "table_unusable")
    assert "'_marks'" in source(server)["reason"], source(server)
    assert clicks(server) == total(COUNT), "nothing is read"
    entry.write_bytes(kept)
    whole(server, COUNT + 1)
    click_too(server, other, kafka, 1)


def test_an_apply_over_an_archive_that_hangs_holds_back_no_read_and_no_stop(stopped, tmp_path):  # noqa: F811
    server, topic, kafka = stopped
    server.start()
    again = SERVICE.replace("spending AS s", "spending_again AS s")
    with hangs(data_file(server), tmp_path):
        applying = Asking(lambda: apply(server, OTHER_VIEW, again))
        wait_for(lambda: server.client.status()["phase"].startswith("changing: fill view"), "the fill to begin")
        lives(server, 2, ready=200)
        click(kafka, topic, COUNT, 1)
        wait_for(lambda: clicks(server) == total(COUNT + 1), lambda: f"ingest to go on; {clicks(server)}, {source(server)}")
        assert applying.is_alive(), "the fill waits for the file"
        ends_in_time(server)
        applying.join(timeout=30)
        assert applying.failed is not None
    server.start()
    whole(server, COUNT + 1)
    apply(server, OTHER_VIEW, again)
    whole(server, COUNT + 1)


def test_a_verification_over_an_archive_that_hangs_holds_back_no_read_and_no_stop(stopped, tmp_path):  # noqa: F811
    server, *_ = stopped
    server.start()
    with hangs(data_file(server), tmp_path):
        verifying = Asking(lambda: server.client.action("verify", {"service": "spending_now", "sample": 10}))
        lives(server, 3, ready=200)
        assert verifying.is_alive(), "the verification waits for the file"
        assert clicks(server) == total(COUNT)
        ends_in_time(server)
        verifying.join(timeout=30)
        assert verifying.failed is not None
    server.start()
    assert server.client.action("verify", {"service": "spending_now", "sample": 10})["clean"]


def test_a_start_over_an_archive_that_hangs_lives_is_not_ready_and_is_ended(stopped, tmp_path):  # noqa: F811
    server, *_ = stopped
    with hangs(server.data_dir / "offline" / "clicks" / "_delta_log" / "_last_checkpoint", tmp_path):
        server.start(ready=False)
        wait_for(lambda: answers(server), lambda: f"the listener\n{server.log_tail()}", deadline_s=10, every_s=0.01)
        lives(server, 3, ready=503)
        ends_in_time(server)
    server.start()
    whole(server)


def answers(server):
    server.check_alive()
    try:
        return server.http("/livez")[0] == 200
    except OSError:
        return False


@pytest.fixture
def large(servers, kafka, tmp_path):
    """A killed server with a large state of one shard, all of it in memory and its log."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    env = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "500", "FOREBAY_STATE_SHARDS": "1"}
    server = servers(kafka, definitions(tmp_path, topic), env=env).start()
    click_as_many(kafka, topic, LARGE)
    wait_for(lambda: spent(server.client, f"n{LARGE - 1}") == (1, 0.25), lambda: f"all events; {source(server)}")
    server.kill()
    return server


def test_a_start_over_a_large_state_lives_from_its_first_answer_and_is_ready_when_reads_are_answered(large):
    large.start(ready=False)
    wait_for(lambda: answers(large), "the listener", deadline_s=30, every_s=0.005)
    seen = []

    def is_ready():
        # Live at each look, and reads are answered as soon as it says so.
        assert large.http("/livez")[0] == 200
        seen.append(large.http("/readyz")[0])
        return seen[-1] == 200

    wait_for(is_ready, lambda: f"readiness; {large.http('/readyz')}", every_s=0.002)
    assert spent(large.client, "n7") == (1, 0.25)
    assert set(seen[:-1]) <= {503}, "it is not ready and then not"
