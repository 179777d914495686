"""One memory budget: whatever is read, asked for and not fetched, the process stays within [memory] limit_mib and 15 %. Requests
are refused with a typed error, keys give way, ingest waits, and no event is lost.
"""

import datetime
import json
import os
import re
import subprocess
import threading

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest

from conftest import ROOT, binary, wait_for
from tables import delta_rows
from topics import kcat, make_topic
from unfinished import Unfinished

LIMIT_MIB = 256
LIMIT = {"FOREBAY_MEMORY_LIMIT_MIB": str(LIMIT_MIB)}
EVENTS, KEYS, LABEL_BYTES = 60_000, 20_000, 1_000
ROWS = 4_000
BEGIN = datetime.datetime(2026, 1, 1)

DEFINITIONS = """
CREATE SOURCE notes (
    id VARCHAR NOT NULL, label VARCHAR, x DOUBLE, ts TIMESTAMP NOT NULL,
    WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH (connector = 'kafka', topic = '{topic}', format = 'json');
CREATE ENTITY thing (id VARCHAR);
CREATE FEATURE VIEW note ENTITY thing AS
SELECT id, ts, last_value(label) OVER ever AS label, count(*) OVER ever AS notes, sum(x) OVER ever AS total
FROM notes WINDOW ever AS (PARTITION BY id ORDER BY ts);
CREATE FEATURE SERVICE notes_of (id VARCHAR) AS
SELECT n.label, n.notes, n.total FROM request LEFT JOIN note AS n USING (id);
"""


def event(number):
    """Event `number`: every key in turn, a label of its own, half a second after the one before."""
    time = BEGIN + datetime.timedelta(milliseconds=500 * number)
    label = f"{number:06}".ljust(LABEL_BYTES, "x")
    return {"id": f"thing-{number % KEYS}", "label": label, "x": 0.5, "ts": time.isoformat() + "Z"}


@pytest.fixture
def backlog(kafka, tmp_path):
    """Definitions, and a topic that holds all events."""
    topic = f"notes.{tmp_path.name}"
    make_topic(kafka, topic, 4)
    lines = "\n".join(json.dumps(event(number)) for number in range(EVENTS)).encode()
    # By key, so that a key's events keep their order.
    keyed = b"\n".join(json.loads(line)["id"].encode() + b"\t" + line for line in lines.split(b"\n"))
    kcat(kafka, "-P", "-t", topic, "-K", "\t", data=keyed, timeout=120)
    sql = tmp_path / "sql"
    sql.mkdir()
    (sql / "notes.sql").write_text(DEFINITIONS.format(topic=topic))
    return sql


def peak_mib(pid):
    """Most that the process has held so far."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) / 1024


def ticket(numbers):
    rows = {"id": [f"thing-{number % KEYS}" for number in numbers]}
    return flight.Ticket(json.dumps({"service": "notes_of", "rows": rows}).encode())


def is_typed(error):
    """Whether it is the refusal that names what is used up and when to try again."""
    return "the memory for answers is used up" in str(error) and "try again in" in str(error)


def unread(client, count):
    """Answers that are asked for and not read, as many as there is memory for."""
    answers = []
    for _ in range(count):
        try:
            answers.append(client.flight.do_get(ticket(range(ROWS))))
        except Exception as error:
            assert is_typed(error), error
    return answers


class Askers:
    """Threads that ask for many wide rows at once until they are told to stop; every refusal must be typed."""

    def __init__(self, server, threads=4):
        self.server, self.stop = server, threading.Event()
        self.answered, self.refused, self.wrong = 0, 0, []
        self.threads = [threading.Thread(target=self.ask, args=(n,)) for n in range(threads)]
        for thread in self.threads:
            thread.start()

    def ask(self, seed):
        client = self.server.client.flight
        while not self.stop.is_set():
            try:
                rows = client.do_get(ticket(range(seed, seed + ROWS))).read_all().num_rows
                self.answered += rows == ROWS
            except Exception as error:
                if is_typed(error):
                    self.refused += 1
                else:
                    self.wrong.append(error)
                    return

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.wrong, self.wrong


def test_the_process_stays_within_its_limit_and_loses_nothing(servers, kafka, backlog, tmp_path):
    server = servers(kafka, backlog, env={**LIMIT, "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "2000"}).start()
    client, pid = server.client, server.process.pid
    askers = Askers(server)
    server.wait_read({"notes": EVENTS})
    held = unread(client, 5)
    memory = client.status()["memory"]
    assert memory["limit_bytes"] == LIMIT_MIB << 20
    for part, of_part in memory["parts"].items():
        assert of_part["bytes"] <= of_part["most_bytes"], part
    del held
    askers.end()
    assert askers.answered > 0 and askers.refused > 0, (askers.answered, askers.refused)
    assert server.metric("forebay_serving_shed_total", reason="memory") >= askers.refused

    def answers():
        return client.status()["memory"]["parts"]["answers"]["bytes"]

    wait_for(lambda: answers() == 0, lambda: f"{answers()} bytes of answers come back")
    wait_for(lambda: delta_rows(server.data_dir, "notes") == EVENTS, "all events in the archive")
    status = client.status()
    source = status["sources"]["notes"]
    assert (source["rows"], source["dead_letters"], status["archived_rows"]) == (EVENTS, 0, EVENTS)
    table = client.flight.do_get(ticket(range(1_000))).read_all()
    assert table["notes"].to_pylist() == [EVENTS // KEYS] * 1_000
    newest = [event(EVENTS - KEYS + number)["label"] for number in range(1_000)]
    assert table["label"].to_pylist() == newest
    verified = client.action("verify", {"service": "notes_of", "sample": 200})
    assert verified["clean"], verified["failures"]
    assert peak_mib(pid) <= 1.15 * LIMIT_MIB, client.status()["memory"]

    spine, out = tmp_path / "spine.parquet", tmp_path / "set.parquet"
    at = pa.array([BEGIN + datetime.timedelta(days=1)] * 5_000, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": [f"thing-{n}" for n in range(5_000)], "event_time": at}), spine)
    code, words = training_set(server.data_dir, spine, out, LIMIT_MIB)
    assert code == 0, words
    assert pq.read_table(out)["notes"].to_pylist() == [EVENTS // KEYS] * 5_000
    ids = [f"thing-{n % KEYS}" for n in range(5 * KEYS)]
    at = pa.array([BEGIN + datetime.timedelta(days=1)] * len(ids), pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": ids, "event_time": at}), spine)
    # What does not fit at once is answered in parts.
    code, words = training_set(server.data_dir, spine, out, 160)
    assert code == 0, words
    assert pq.read_table(out)["notes"].to_pylist() == [EVENTS // KEYS] * len(ids)


def test_messages_that_are_begun_and_not_finished_stay_within_the_limit(servers, kafka, backlog):
    """Three clients, 360 messages of 3 MB: a GiB, were they all taken."""
    server = servers(kafka, backlog, env=LIMIT).start()
    server.wait_read({"notes": EVENTS})
    pid, of_part = server.process.pid, lambda: server.client.status()["memory"]["parts"]["requests"]
    for method in ["DoGet", "DoPut", "DoExchange"]:
        client = Unfinished("127.0.0.1", server.flight_port)
        client.begin(method, 120)
        client.send(seconds=4)
        requests = of_part()
        assert requests["bytes"] <= requests["most_bytes"], requests
        assert requests["refused"] > 0 and len(client.sending) < 2, (method, len(client.sending), requests)
        # An answer beside it.
        assert server.client.flight.do_get(ticket(range(10))).read_all().num_rows == 10
        assert peak_mib(pid) <= 1.15 * LIMIT_MIB, server.client.status()["memory"]
        client.close()
        wait_for(lambda: of_part()["bytes"] < 1_000_000, lambda: f"{of_part()} comes back")


def training_set(data_dir, spine, out, limit_mib):
    """Exit code and words of the command."""
    args = [binary(), "training-set", "notes_of", "--data-dir", data_dir, "--spine", spine, "--out", out]
    env = {**os.environ, "FOREBAY_MEMORY_LIMIT_MIB": str(limit_mib)}
    done = subprocess.run(list(map(str, args)), cwd=ROOT, env=env, text=True, capture_output=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_a_limit_that_is_too_small_is_refused_with_one_that_works(servers, tmp_path):
    sql = tmp_path / "sql"
    sql.mkdir()
    (sql / "notes.sql").write_text(DEFINITIONS.format(topic="notes"))
    small = servers(None, sql, env={"FOREBAY_MEMORY_LIMIT_MIB": "64"}, broker="embedded").start(ready=False)
    assert small.process.wait(timeout=60) != 0
    words = small.log_tail()
    found = re.search(r"memory\.limit_mib = 64 .* the smallest that works here is (\d+)", words)
    assert found, words
    env = {"FOREBAY_MEMORY_LIMIT_MIB": found[1]}
    enough = servers(None, sql, env=env, broker="embedded").start()
    assert enough.client.status()["memory"]["limit_bytes"] == int(found[1]) << 20
