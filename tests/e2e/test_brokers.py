"""Three brokers of one cluster, on Apache Kafka: one that is away holds back only what it alone has, also over a restart, and one
that comes and goes loses and doubles nothing.
"""

import json
import subprocess
import threading
import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import ROOT, wait_for
from flight_day import DEPLOYMENTS, FIRST, SECOND, THIRD, Flights, due
from tables import delta_rows
from test_apply import clicks
from test_log import definitions
from test_verify import verify

AWAY, FLAPS = 3, 6
REPLICATED = ("departures", "arrivals")


class Cluster:
    """Three brokers in folders of `state`, numbered from 1."""

    def __init__(self, state):
        self.state = state
        self._script("cluster", state)
        self.bootstrap = (state / "bootstrap").read_text().strip()
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def _script(self, command, state):
        done = subprocess.run([ROOT / "scripts" / "kafka", command, state], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def kill(self, broker):
        self._script("kill", self.state / str(broker))

    def boot(self, broker):
        self._script("boot", self.state / str(broker))

    def stop(self):
        for broker in (1, 2, AWAY):
            # Without a majority a broker would wait for the others before it ends.
            self.kill(broker)
        self._script("stop", self.state)

    def make_topic(self, name, replicas, **config):
        """A topic whose partitions have these brokers; the first one leads. `config` as in `topics.make_topic`."""
        config = {key.replace("_", "."): value for key, value in config.items()}
        made = self.admin.create_topics([NewTopic(name, len(replicas), replica_assignment=replicas, config=config)])
        made[name].result(30)

    def leader(self, topic, partition):
        return self.admin.list_topics(topic, timeout=30).topics[topic].partitions[partition].leader


@pytest.fixture(scope="module")
def cluster(kafka, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("brokers") / "kafka")
    yield made
    made.stop()


def test_one_of_three_that_is_away_holds_back_only_what_it_alone_has(cluster, servers, tmp_path):
    flights = Flights(servers, cluster.bootstrap, tmp_path, uuid.uuid4().hex[:8])
    for name in [*REPLICATED, *(f"predictions.{name}" for name in DEPLOYMENTS)]:
        cluster.make_topic(flights.topic(name), [[1, 2, AWAY], [AWAY, 1, 2]], min_insync_replicas="2")
    cluster.make_topic(flights.topic("weather"), [[1], [AWAY]])
    server = flights.server
    flights.begin()

    def goes_on(until):
        """What has copies elsewhere is read, scored and published up to this day, and what has none waits."""
        expected = due(FIRST, until, REPLICATED)
        flights.assert_archived_once(expected)
        flights.assert_scored_once(expected["departures"])
        wait_for(lambda: "source weather waits" in server.http("/readyz/ingest")[1],
                 lambda: f"the source to wait; {server.http('/readyz/ingest')}, {flights.state('weather')}")
        assert server.http("/readyz/ingest")[0] == 503 and server.metric("forebay_ingest_standing") == 1
        wait_for(lambda: all(flights.state(name)["state"] == "reading" for name in REPLICATED),
                 lambda: f"the others to be read; {[flights.state(name) for name in REPLICATED]}")
        assert server.http("/readyz")[0] == 200 and flights.features()["route_arrivals"] is not None

    cluster.kill(AWAY)
    flights.send(SECOND, REPLICATED)
    goes_on(SECOND)
    assert flights.state("weather")["state"] == "reading" and flights.partition("weather", 1)["waiting"], flights.state("weather")
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 10
    server.start()
    flights.send(THIRD, REPLICATED)
    goes_on(THIRD)
    cluster.boot(AWAY)
    wait_for(lambda: cluster.leader(flights.topic("weather"), 1) == AWAY, "the broker to lead again")
    flights.send((SECOND[0], THIRD[1]), ("weather",))
    flights.assert_archived_once(due(FIRST, THIRD))
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"healthy ingest; {server.http('/readyz/ingest')}")
    assert server.metric("forebay_ingest_standing") == 0


class Sending(threading.Thread):
    """Sends clicks of ann to both partitions of a topic in turn until it is told to end; then all of them are acknowledged."""

    def __init__(self, bootstrap, topic):
        super().__init__()
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.timeout.ms": 120_000,
                                  "log_level": 0})
        self.topic, self.sent, self.refused, self.ended = topic, 0, [], threading.Event()

    def run(self):
        while not self.ended.wait(0.01):
            value = json.dumps({"name": "ann", "amount": 0.25, "at": f"2024-05-01T00:{self.sent // 60 % 60:02}:{self.sent % 60:02}Z"})
            self.producer.produce(self.topic, value.encode(), partition=self.sent % 2, on_delivery=self.heard)
            self.producer.poll(0)
            self.sent += 1
        self.producer.flush(120)

    def heard(self, error, _):
        if error:
            self.refused.append(error)


def test_a_broker_that_flaps_loses_and_doubles_nothing(cluster, servers, tmp_path):
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    cluster.make_topic(topic, [[1], [AWAY]])
    env = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "300", "FOREBAY_INGEST_STALL_S": "2"}
    server = servers(cluster.bootstrap, definitions(tmp_path, topic), env=env).start()
    sending = Sending(cluster.bootstrap, topic)
    sending.start()
    seen = []

    def look(seconds):
        """Ask for `seconds` how the server is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert server.http("/readyz")[0] == 200
            seen.append((server.http("/readyz/ingest")[0], server.metric("forebay_ingest_standing")))
            assert server.client.status()["sources"]["clicks"]["state"] != "halted", server.log_tail()
            time.sleep(0.2)

    look(2)
    for flap in range(FLAPS):
        cluster.kill(AWAY)
        look(2)
        if flap == FLAPS - 1:
            # The others may be over before the controller has missed the broker; one that lasts is told.
            wait_for(lambda: look(0.2) or seen[-1] == (503, 1.0), lambda: f"readiness and metrics to say so; {seen[-1]}")
            wait_for(lambda: "partition 1 of source clicks waits for its broker" in server.http("/readyz/ingest")[1],
                     lambda: f"the partition to be named; {server.http('/readyz/ingest')}")
        cluster.boot(AWAY)
        wait_for(lambda: look(0.2) or cluster.leader(topic, 1) == AWAY, "the broker to lead again")
        look(1)
    sending.ended.set()
    sending.join()
    assert not sending.refused, sending.refused[:1]
    expected = sending.sent, sending.sent * 0.25
    wait_for(lambda: clicks(server) == expected, lambda: f"{expected}; {clicks(server)}, {server.client.status()['sources']}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") >= sending.sent, "all clicks in the archive")
    code, text = verify(server, "--log-records", 10 * sending.sent)
    assert code == 0, text
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"healthy ingest; {server.http('/readyz/ingest')}")
    assert server.metric("forebay_ingest_standing") == 0
