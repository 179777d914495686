"""An archive that hangs, on Apache Kafka: a named pipe stands where a file of it was, so that whoever opens it waits for ever, as
over a disk of the network that is away. The server answers /livez and reads all the while, and SIGTERM ends it in time, whatever
waits; and /livez answers while a start recovers a large state.
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
from test_apply import SERVICE, apply, click, clicks, total
from test_archive import OTHER_VIEW
from test_descriptors import click_as_many, spent
from test_log import definitions, shop, source  # noqa: F401 - a fixture
from test_remedies import COUNT, stopped, whole  # noqa: F401 - a fixture
from topics import make_topic

STOP_S = 10
LARGE = 60_000


@contextlib.contextmanager
def hangs(path, folder):
    """`path` is a pipe that nobody writes; afterwards it is what it was."""
    kept = folder / "kept"
    if path.exists():
        shutil.move(path, kept)
    os.mkfifo(path)
    try:
        yield
    finally:
        path.unlink()
        if kept.exists():
            shutil.move(kept, path)


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
