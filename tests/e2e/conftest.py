"""Fixtures of the end-to-end tests: the real binary, Apache Kafka, and servers as real processes.

FOREBAY_BIN names the binary, FOREBAY_TEST_KAFKA the bootstrap address (scripts/test sets both). Without Kafka the tests
that need it are skipped, loudly; in CI they fail instead.
"""

import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLIGHTS = ROOT / "data" / "nycflights13"
DEFINITIONS = ROOT / "sql" / "flights"
DEADLINE_S = 120

sys.path.insert(0, str(ROOT / "tests" / "oracle"))
sys.path.insert(0, str(ROOT / "scripts" / "train"))

from client import Client  # noqa: E402
from disks import Disks  # noqa: E402


def binary():
    path = os.environ.get("FOREBAY_BIN")
    if not path:
        pytest.fail("FOREBAY_BIN is not set; run these tests by `make test`")
    return path


def run_binary(*args, check=True, timeout=600, **kwargs):
    """A command of the binary, finished; its output as text."""
    done = subprocess.run([binary(), *map(str, args)], cwd=ROOT, text=True, capture_output=True, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        pytest.fail(f"forebay {' '.join(map(str, args))} ended with {done.returncode}:\n{done.stdout[-2000:]}"
                    f"{done.stderr[-4000:]}")
    return done


@pytest.fixture(scope="session")
def forebay():
    """Runs a command of the binary; returns the finished process, its output as text."""
    return run_binary


class Kafka:
    """A broker of a test's own, in folder `state`, with `settings` beyond those of all."""

    def __init__(self, state, settings):
        self.state = state
        more = "\n".join(f"{name}={value}" for name, value in settings.items())
        self._script("start", env={**os.environ, "FOREBAY_KAFKA_MORE_SETTINGS": more})
        self.bootstrap = (state / "bootstrap").read_text().strip()

    def _script(self, command, **options):
        done = subprocess.run([ROOT / "scripts" / "kafka", command, self.state], capture_output=True, text=True, timeout=300,
                              **options)
        assert done.returncode == 0, done.stderr

    def stop(self):
        self._script("stop")


@pytest.fixture(scope="session", autouse=True)
def own_broker(tmp_path_factory):
    """Where several processes run the tests, each has a broker of its own: there are tests that kill it and tests that hold it up."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    broker = Kafka(tmp_path_factory.mktemp("broker") / "kafka", {})
    os.environ.update(FOREBAY_TEST_KAFKA=broker.bootstrap, FOREBAY_TEST_KAFKA_STATE=str(broker.state))
    yield
    broker.stop()


@pytest.fixture(scope="session")
def kafka(own_broker):
    """Bootstrap address of a running Apache Kafka."""
    address = os.environ.get("FOREBAY_TEST_KAFKA")
    if not address:
        if os.environ.get("CI"):
            pytest.fail("FOREBAY_TEST_KAFKA is not set; CI must run these tests against Apache Kafka")
        pytest.skip("needs Apache Kafka; run by `make test`")
    return address


def ports():
    """The ports of this process among those that run the tests: two give none twice."""
    number, processes = (int(os.environ.get(name, default).removeprefix("gw")) for name, default in
                         (("PYTEST_XDIST_WORKER", "0"), ("PYTEST_XDIST_WORKER_COUNT", "1")))
    return range(10_000 + number, 20_000, processes)


def free_port(given=set()):  # noqa: B006: all that this process gave
    """A port that can be bound and was not given before, below those that the system gives to connections: it is still free when a
    server that was killed starts again."""
    while True:
        port = random.SystemRandom().choice(ports())
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in given:
            given.add(port)
            return port


def wait_for(condition, what, deadline_s=DEADLINE_S, every_s=0.05):
    """Wait until condition() is true and return it; fail with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    pytest.fail(f"waited {deadline_s} s for {what() if callable(what) else what}")


class Server:
    """One `forebay server` process on a directory; may be killed and started again."""

    def __init__(self, data_dir, bootstrap, sql, env=None, broker="kafka"):
        self.data_dir, self.bootstrap, self.sql, self.broker = data_dir, bootstrap, sql, broker
        # Tests mostly produce before or after a start as it comes; those of missing topics say otherwise.
        self.env = {**os.environ, "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "true", **(env or {})}
        self.flight_port, self.http_port = free_port(), free_port()
        self.log = open(pathlib.Path(str(data_dir) + ".log"), "ab")
        self.process = None

    @property
    def flight(self):
        return f"127.0.0.1:{self.flight_port}"

    @property
    def client(self):
        """A pyarrow client of this server."""
        return Client(self.flight)

    def start(self, ready=True, descriptors=None):
        """Start it; with `descriptors` that is its hard limit of open files."""
        args = [binary(), "server", "--data-dir", self.data_dir, "--flight-addr", self.flight,
                "--http-addr", f"127.0.0.1:{self.http_port}", *(["--sql", self.sql] if self.sql else [])]
        args += ["--bootstrap", self.bootstrap] if self.broker == "kafka" else ["--broker", "embedded"]
        if descriptors:
            args = ["prlimit", f"--nofile={descriptors}:{descriptors}", *args]
        self.process = subprocess.Popen(list(map(str, args)), cwd=ROOT, env=self.env, stdout=self.log, stderr=self.log)
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self):
        wait_for(self.is_ready, f"the server on {self.http_port} (log: {self.log.name})", every_s=0.01)

    def is_ready(self):
        self.check_alive()
        try:
            return self.http("/readyz")[0] == 200
        except OSError:
            return False

    def check_alive(self):
        if self.process.poll() is not None:
            pytest.fail(f"the server ended with {self.process.returncode}:\n{self.log_tail()}")

    def log_tail(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")[-4000:]

    def check_invariants(self):
        """A broken invariant stops no server: the log of its whole life must have none."""
        log = pathlib.Path(self.log.name).read_text(errors="replace")
        broken = [line for line in log.splitlines() if "an invariant is broken" in line]
        assert not broken, broken

    def http(self, path, headers=None, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name, **labels):
        """Sum of a metric over its series that carry `labels`."""
        total = 0.0
        for line in self.http("/metrics")[1].splitlines():
            match = re.match(r"^(\w+)(?:\{(.*)\})? (\S+)$", line)
            if not match or match[1] != name:
                continue
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if all(found.get(k) == v for k, v in labels.items()):
                total += float(match[3])
        return total

    def wait_read(self, expected, deadline_s=300):
        """Wait until this process has read `expected` rows of each source and scored all that it has to score."""
        client = self.client
        status = {}

        def done():
            self.check_alive()
            status.update(client.status())
            if status["failed"]:
                pytest.fail(f"ingest has stopped:\n{self.log_tail()}")
            rows = {name: source["rows"] for name, source in status["sources"].items()}
            return status["scores_waiting"] == 0 and all(rows.get(name, 0) >= count for name, count in expected.items())

        wait_for(done, lambda: f"{expected} to be read; status: {status}; log: {self.log.name}", deadline_s)
        return status

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
                pytest.fail("the server did not stop within 60 s of SIGTERM")


def server_maker(folder):
    made = []

    def make(bootstrap, sql=DEFINITIONS, **kwargs):
        server = Server(folder / f"data-{len(made)}", bootstrap, sql, **kwargs)
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()
    for server in made:
        server.check_invariants()


@pytest.fixture
def servers(tmp_path):
    """Makes servers; stops what still runs."""
    yield from server_maker(tmp_path)


@pytest.fixture(scope="module")
def module_servers(tmp_path_factory):
    """The same for servers that the tests of a module share."""
    yield from server_maker(tmp_path_factory.mktemp("servers"))


@pytest.fixture
def disks():
    """Small file systems of their own. A test asks for it before `servers`, so that they outlive what runs on them."""
    made = Disks()
    yield made
    made.take_away()


def copy_definitions(folder, files="*.sql", topics=None, predictions=None):
    """Copy sql/flights into `folder` with topics of its own, so that tests share one broker without meeting: `topics` and
    `predictions` are what the topics of sources and of deployments end with. Returns the folder."""
    topics = topics or uuid.uuid4().hex[:8]
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(DEFINITIONS.glob(files)):
        text = re.sub(r"(topic\s*=\s*')([^']+)(')", rf"\g<1>\g<2>.{topics}\g<3>", file.read_text())
        text = re.sub(r"(INTO TOPIC ')([^']+)(')", rf"\g<1>\g<2>.{predictions or topics}\g<3>", text)
        (folder / file.name).write_text(text)
    return folder


@pytest.fixture
def own_topics(tmp_path):
    """A copy of sql/flights whose topics carry a unique suffix, so that tests share one broker without meeting."""
    return copy_definitions(tmp_path / "sql")
