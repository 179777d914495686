"""The pool of threads for work that blocks, on Apache Kafka: more pushes than it has threads wait for a broker that is down, and
take half of it. Reads and `status` are answered, the archive is verified, and a stop ends in time; once the broker answers, every
push ends, and nothing is lost or there twice. Verifications, which wait for threads while they hold one, never take all either.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import threading
import time

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from client import Client
from conftest import ROOT, wait_for
from tables import delta_rows, instant
from test_apply import apply, click, clicks, total
from test_archive import OTHER_VIEW
from test_hanging import data_file, ends_in_time, hangs, lives
from test_log import shop, source  # noqa: F401 - a fixture
from test_remedies import COUNT, stopped, whole  # noqa: F401 - a fixture
from topics import answers

# Threads for work that blocks, as the runtime has them at most, and those that serve (`server.runtime_threads`): of one name.
POOL, SERVING = 512, 2
ASKED = POOL + 16
# A connection takes 128 calls at once (CONNECTION_MAX_STREAMS).
OF_A_CONNECTION = 100
# Pushes that have a thread at once (PUSHES_AT_ONCE).
PUSHES = 256
# Verifications that may be under way at once.
VERIFICATIONS_MAX = 16
# Of one read beside all that.
READ_S = 2
SCHEMA = pa.schema([("name", pa.string()), ("amount", pa.float64()), ("at", pa.timestamp("us", "UTC"))])


class Push(threading.Thread):
    """Pushes one event; `ack` is what it is answered, `failed` how its stream ends without."""

    def __init__(self, client, number):
        super().__init__(daemon=True)
        self.client, self.number, self.ack, self.failed = client, number, None, None
        self.start()

    def run(self):
        at = instant("2024-05-01") + self.number * 1_000_000
        row = pa.RecordBatch.from_pydict({"name": ["bob"], "amount": [0.25], "at": [at]}, SCHEMA)
        try:
            writer, reader = self.client.flight.do_put(flight.FlightDescriptor.for_path("source", "clicks"), SCHEMA)
            writer.write_with_metadata(row, json.dumps({"batch_id": self.number}).encode())
            answer = reader.read()
            self.ack = answer and json.loads(answer.to_pybytes())
            writer.close()
        except pa.ArrowException as error:
            self.failed = error


class Verification(threading.Thread):
    """Asks for a verification; `answer` is what it says, `failed` how it ends without."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.answer, self.failed = client, None, None
        self.start()

    def run(self):
        try:
            self.answer = self.client.action("verify", {"service": "spending_now", "sample": 10})
        except pa.ArrowException as error:
            self.failed = error


def kafka_script(command):
    folder = pathlib.Path(os.environ["FOREBAY_TEST_KAFKA_STATE"])
    subprocess.run([ROOT / "scripts" / "kafka", command, folder], check=True, capture_output=True, timeout=120)


def threads(server):
    """Threads of the runtime that the process has."""
    count = 0
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            count += (task / "comm").read_text() == "runtime\n"
    return count


@pytest.fixture
def broker_down(stopped):  # noqa: F811
    """A running server whose broker is down, and boots it again."""
    server, _, kafka = stopped
    # No push gives up before the broker is there again.
    server.env["FOREBAY_KAFKA_DELIVERY_TIMEOUT_MS"] = "120000"
    server.start()
    wait_for(lambda: source(server)["state"] == "reading", lambda: f"reading to begin; {source(server)}")
    kafka_script("kill")

    def boot():
        kafka_script("boot")
        wait_for(lambda: answers(kafka), "the broker to answer")

    yield server, boot
    if not answers(kafka):
        boot()


def clients(server):
    """A client for each of the requests that would use up the pool; some share a connection."""
    connections = [Client(server.flight) for _ in range(-(-ASKED // OF_A_CONNECTION))]
    return [connections[number // OF_A_CONNECTION] for number in range(ASKED)]


def push_many(server):
    """More pushes than the pool has threads."""
    pushes = [Push(client, number) for number, client in enumerate(clients(server))]
    wait_for(lambda: threads(server) >= PUSHES + SERVING, lambda: f"the pushes to wait; {threads(server)} threads")
    assert all(push.is_alive() for push in pushes), [push.ack or push.failed for push in pushes if not push.is_alive()][:3]
    return pushes


def read(server, rows):
    """A read of so many rows is answered in time, all of them alike; what it says of one."""
    begun = time.monotonic()
    table = server.client.get("spending_now", {"name": ["ann"] * rows}, at="2024-05-02T00:00:00Z")
    assert time.monotonic() - begun < READ_S
    [told] = set(zip(table["clicks"].to_pylist(), table["total"].to_pylist()))
    assert table.num_rows == rows
    return told


def pushed(server):
    """Pushed events that are applied."""
    return server.client.get("spending_now", {"name": ["bob"]}, at="2024-05-02T00:00:00Z")["clicks"][0].as_py()


def reads_go_on(server):
    """The process lives, is ready, and answers small reads and large ones."""
    lives(server, 2, ready=200)
    for _ in range(20):
        assert read(server, 1) == read(server, 5_000) == total(COUNT)


def all_end(pushes):
    """Every push has an end that its caller can tell."""
    for push in pushes:
        push.join(timeout=60)
    assert not any(push.is_alive() for push in pushes)
    assert all(push.ack or push.failed for push in pushes)


def test_pushes_that_wait_for_a_broker_hold_back_nothing_else_and_are_written_once_it_answers(broker_down):
    server, boot = broker_down
    pushes = push_many(server)
    reads_go_on(server)
    for _ in range(20):
        assert server.client.status()["failed"] is None
    # It ends, whatever it can say of a log that is away.
    assert "clean" in server.client.action("verify", {"service": "spending_now", "sample": 10})
    apply(server, OTHER_VIEW)
    assert threads(server) < POOL and all(push.is_alive() for push in pushes)
    boot()
    all_end(pushes)
    assert all(push.ack["status"] == "OK" for push in pushes), [push.ack or push.failed for push in pushes][:3]
    wait_for(lambda: pushed(server) == ASKED, lambda: f"{ASKED} events; {pushed(server)}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == COUNT + ASKED, "each of them in the archive, once")
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"healthy ingest; {server.http('/readyz/ingest')}")
    assert server.client.action("verify", {"service": "spending_now", "sample": 100})["clean"]
    assert clicks(server) == total(COUNT)


def test_a_stop_while_more_pushes_wait_than_there_are_threads_ends_in_time(broker_down):
    server, _ = broker_down
    pushes = push_many(server)
    ends_in_time(server)
    all_end(pushes)
    assert all(push.failed is not None for push in pushes), "no broker had any"
    server.start()
    assert clicks(server) == total(COUNT)


def test_more_verifications_than_may_be_under_way_are_refused_and_a_file_that_hangs_holds_back_nothing_else(
        stopped, tmp_path):  # noqa: F811
    server, topic, kafka = stopped
    server.start()
    with hangs(data_file(server), tmp_path):
        asked = [Verification(client) for client in clients(server)]

        def waiting():
            return sum(verification.is_alive() for verification in asked)

        wait_for(lambda: waiting() <= VERIFICATIONS_MAX, lambda: f"the others to be refused; {waiting()} are under way")
        refused = [verification.failed for verification in asked if not verification.is_alive()]
        assert all("VERIFICATIONS_MAX" in str(error) for error in refused), refused[:3]
        assert waiting() == VERIFICATIONS_MAX and threads(server) < POOL
        reads_go_on(server)
        click(kafka, topic, COUNT, 1)
        # The archive's rows cannot be counted: their reader would wait for the same file.
        wait_for(lambda: clicks(server) == total(COUNT + 1), lambda: f"the new event; {clicks(server)}")
        assert source(server)["state"] == "reading"
    for verification in asked:
        verification.join(timeout=60)
    assert waiting() == 0
    assert server.client.action("verify", {"service": "spending_now", "sample": 10})["clean"]
    whole(server, COUNT + 1)
