"""Another log than the one that was read, on an Apache Kafka of its own whose folder is put back as it was: a topic that was made
anew, one that has fewer partitions, one whose log lost its tail, and one whose log lost it and grew again. None is followed. What
the halts and the findings of `forebay verify` say is done then: another data directory reads all of the new logs, and over the
logs that were brought back the old one goes on, each event once.
"""

import json
import os
import shutil
import signal
import subprocess

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from conftest import ROOT, Kafka, binary, wait_for
from tables import delta_rows
from test_apply import total
from topics import answers, kcat

# Of each log: what its halt says.
HALTS = {
    "anew": ("topic_made_anew", "was deleted and made anew"),
    "fewer": ("partition_gone", "partition 1 of topic 'fewer' was read and is not there any more (1 partitions are)"),
    "cut": ("log_shorter", "everything below offset 6 was applied and the log ends at 3: it lost its tail"),
    "grown": ("record_differs", "the record at offset 5 is not the one that was applied"),
}
KEPT, READ = 3, 6

LOG = """CREATE SOURCE {name} (name VARCHAR NOT NULL, amount DOUBLE, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{name}', format = 'json');
CREATE FEATURE VIEW of_{name} ENTITY person AS
SELECT name, at, count(*) OVER ever AS clicks, sum(amount) OVER ever AS total FROM {name}
WINDOW ever AS (PARTITION BY name ORDER BY at);
CREATE FEATURE SERVICE now_{name} (name VARCHAR) AS SELECT v.clicks, v.total FROM request
LEFT JOIN of_{name} AS v USING (name);
"""


class Broker(Kafka):
    """One whose logs can be kept aside and put back."""

    def __init__(self, folder):
        # A broker that was killed is let in again when its session is over.
        super().__init__(folder / "kafka", {"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "200"})
        self.kept = folder / "kept"

    def keep(self, name):
        """Copy its logs under a name, as they are at one moment."""
        process = int((self.state / "pid").read_text())
        os.kill(process, signal.SIGSTOP)
        shutil.copytree(self.state / "data", self.kept / name)
        os.kill(process, signal.SIGCONT)

    def put_back(self, name):
        """It has the logs that were kept under a name."""
        self._script("kill")
        shutil.rmtree(self.state / "data")
        shutil.copytree(self.kept / name, self.state / "data")
        self._script("boot")
        wait_for(lambda: answers(self.bootstrap), "the broker to answer")

    def change(self, action, *what):
        """What an administrator asks for, done."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for done in getattr(admin, action)(list(what)).values():
            done.result(30)


@pytest.fixture
def broker(kafka, tmp_path):
    """One of the test's own; where there is no Apache Kafka for all, the test is skipped."""
    made = Broker(tmp_path)
    yield made
    made.stop()


def click(broker, topic, numbers, partition=0):
    events = [{"name": "ann", "amount": number + 0.25, "at": f"2024-05-01T00:{number:02}:00Z"} for number in numbers]
    kcat(broker.bootstrap, "-P", "-t", topic, "-p", partition, data="\n".join(map(json.dumps, events)).encode())


def source(server, name):
    return server.client.status()["sources"].get(name, {"state": "not begun"})


def clicks(server, name):
    rows = server.client.get(f"now_{name}", {"name": ["ann"]}, at="2024-05-02T00:00:00Z")
    return rows["clicks"][0].as_py(), rows["total"][0].as_py()


def has(server, expected):
    """Of each log these numbers are applied and archived, each once."""
    for name, numbers in expected.items():
        wanted = len(numbers), sum(number + 0.25 for number in numbers)
        wait_for(lambda: clicks(server, name) == wanted, lambda: f"{wanted}; {clicks(server, name)}, {source(server, name)}")
        wait_for(lambda: delta_rows(server.data_dir, name) >= len(numbers), f"{len(numbers)} archived rows of {name}")
        assert delta_rows(server.data_dir, name) == len(numbers), name


def findings(server, name):
    """What a verification finds."""
    command = [binary(), "verify", f"now_{name}", "--sample", "50", "--flight-addr", server.flight]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    found = [line for line in done.stdout.splitlines() if line.lstrip().startswith("FAILED: ")]
    assert done.returncode == (1 if found else 0), done
    return found


def test_another_directory_follows_another_log_and_the_old_one_goes_on_when_its_log_is_brought_back(servers, broker, tmp_path):
    (tmp_path / "sql").mkdir()
    texts = ["CREATE ENTITY person (name VARCHAR);", *(LOG.format(name=name) for name in HALTS)]
    (tmp_path / "sql" / "all.sql").write_text("\n".join(texts))
    server = servers(broker.bootstrap, tmp_path / "sql", env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "300",
                                                              "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false"})
    broker.change("create_topics", *(NewTopic(name, 1) for name in HALTS))
    for name in HALTS:
        click(broker, name, range(KEPT))
    broker.keep("before")
    broker.change("create_partitions", NewPartitions("fewer", 2))
    for name in HALTS:
        click(broker, name, range(KEPT, READ), partition=1 if name == "fewer" else 0)
    server.start()
    has(server, {name: range(READ) for name in HALTS})
    server.stop()

    # Another log under each name.
    broker.keep("read")
    broker.put_back("before")
    broker.change("delete_topics", "anew")
    broker.change("create_topics", NewTopic("anew", 1))
    click(broker, "anew", range(20, 28))
    click(broker, "grown", range(20, 25))
    server.start()
    for name, (code, words) in HALTS.items():
        wait_for(lambda: source(server, name)["state"] == "halted", lambda: f"{name} to be halted; {source(server, name)}")
        told = source(server, name)
        assert told["code"] == code and words in told["reason"], told
        assert "bring back the" in told["reason"] and "start with another --data-dir to follow this one" in told["reason"], told
        assert clicks(server, name) == total(READ), "reads go on"
    for name, words in (("anew", "the log has other records than those"), ("cut", "rows beyond the end of the log")):
        found = findings(server, name)
        remedy = "bring back the log that was read, or give a new --data-dir"
        assert any(words in line and remedy in line for line in found), found
    server.stop()

    own, server.data_dir = server.data_dir, server.data_dir.with_name("another")
    server.start()
    has(server, {"anew": range(20, 28), "fewer": range(KEPT), "cut": range(KEPT), "grown": [*range(KEPT), *range(20, 25)]})
    assert [findings(server, name) for name in HALTS] == [[]] * len(HALTS)
    server.stop()

    broker.put_back("read")
    for name in HALTS:
        click(broker, name, [READ])
    server.data_dir = own
    server.start()
    has(server, {name: range(READ + 1) for name in HALTS})
    assert [findings(server, name) for name in HALTS] == [[]] * len(HALTS)
