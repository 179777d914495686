"""File descriptors, on Apache Kafka: connections alone take none from the state, a process that has none left says so and
heals once it has, and a limit that is too low is refused with what is needed.
"""

import json
import pathlib
import resource
import socket
import time
import uuid

import pytest

from client import Client
from conftest import wait_for
from tables import delta_rows
from test_apply import click, total
from test_log import definitions
from topics import kcat, make_topic

LIMIT = 512
EVENTS = 200_000
# One shard with the smallest memtable: it needs a new file after some thousand events.
ENV = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "500", "FOREBAY_STATE_SHARDS": "1", "FOREBAY_STATE_WRITE_BUFFER_MIB": "4"}


@pytest.fixture
def shop(servers, kafka, tmp_path):
    """A server that does not run yet, over one topic with one partition."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    return servers(kafka, definitions(tmp_path, topic), env=ENV), topic, kafka


def spent(client, name="ann"):
    rows = client.get("spending_now", {"name": [name]}, at="2024-05-02T00:00:00Z")
    return rows["clicks"][0].as_py(), rows["total"][0].as_py()


def open_files(server):
    return len(list(pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()))


def click_as_many(kafka, topic, names):
    """One event of each name, 0.25 of amount."""
    events = [json.dumps({"name": f"n{n}", "amount": 0.25, "at": "2024-05-01T00:00:00Z"}) for n in range(names)]
    kcat(kafka, "-P", "-t", topic, data="\n".join(events).encode())


def test_connections_alone_take_no_files_from_the_state(shop):
    server, topic, kafka = shop
    server.start(descriptors=LIMIT)
    client = Client(server.flight)
    assert spent(client) == (None, None)
    idle = [socket.create_connection(("127.0.0.1", port)) for port in [server.flight_port, server.http_port] * LIMIT]
    try:
        click(kafka, topic, 0, 3)
        wait_for(lambda: spent(client) == total(3), lambda: f"three clicks; {spent(client)}")
        wait_for(lambda: delta_rows(server.data_dir, "clicks") == 3, "three archived rows")
        assert open_files(server) < LIMIT
    finally:
        for connection in idle:
            connection.close()
    wait_for(server.is_ready, "connections to be accepted again")


def test_a_process_without_descriptors_says_so_and_heals_once_it_has_some(shop):
    server, topic, kafka = shop
    server.start()
    client = Client(server.flight)
    click(kafka, topic, 0, 3)
    wait_for(lambda: spent(client) == total(3), "three clicks")
    allowed = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (16, allowed[1]))
    click_as_many(kafka, topic, EVENTS)

    def stands():
        return "open files" in server.log_tail().lower()

    wait_for(stands, lambda: f"the cause in the log:\n{server.log_tail()}")
    held = [socket.create_connection(("127.0.0.1", server.http_port)) for _ in range(8)]
    time.sleep(5)
    assert spent(client) == total(3), "reads go on over the connections that there are"
    said = pathlib.Path(server.log.name).read_text().count("\n")
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, allowed)
    for connection in held:
        connection.close()
    last = f"n{EVENTS - 1}"
    wait_for(lambda: spent(client, last) == (1, 0.25), lambda: f"all events; {client.status()['sources']}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == EVENTS + 3, "all events in the archive")
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, "ingest that is healthy")
    assert server.http("/readyz")[0] == 200
    assert said < 200, f"{said} lines: the cause is told once, not with each event"
    server.check_alive()


def test_a_limit_that_is_too_low_is_refused_with_what_is_needed(shop):
    server, *_ = shop
    server.start(ready=False, descriptors=LIMIT - 1)
    wait_for(lambda: server.process.poll() is not None, "the server to end")
    assert server.process.returncode != 0
    text = server.log_tail()
    assert f"may have {LIMIT - 1} files" in text and f"{LIMIT} are needed" in text and "ulimit -Hn" in text, text
