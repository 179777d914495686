"""Fixtures of the end-to-end tests: the real binary, Apache Kafka, and servers as real processes.

FOREBAY_BIN names the binary, FOREBAY_TEST_KAFKA the bootstrap address (scripts/test sets both). Without Kafka the tests
that need it are skipped, loudly; in CI they fail instead.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLIGHTS = ROOT / "data" / "nycflights13"
DEADLINE_S = 120


def binary():
    path = os.environ.get("FOREBAY_BIN")
    if not path:
        pytest.fail("FOREBAY_BIN is not set; run these tests by `make test`")
    return path


@pytest.fixture(scope="session")
def forebay():
    """Runs a command of the binary; returns the finished process, its output as text."""

    def run(*args, check=True, timeout=600, **kwargs):
        done = subprocess.run([binary(), *map(str, args)], cwd=ROOT, text=True, capture_output=True,
                              timeout=timeout, **kwargs)
        if check and done.returncode != 0:
            pytest.fail(f"forebay {' '.join(map(str, args))} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return done

    return run


@pytest.fixture(scope="session")
def kafka():
    """Bootstrap address of a running Apache Kafka."""
    address = os.environ.get("FOREBAY_TEST_KAFKA")
    if not address:
        if os.environ.get("CI"):
            pytest.fail("FOREBAY_TEST_KAFKA is not set; CI must run these tests against Apache Kafka")
        pytest.skip("needs Apache Kafka; run by `make test`")
    return address


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what, deadline_s=DEADLINE_S, every_s=0.05):
    """Wait until condition() is true and return it; fail with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    pytest.fail(f"waited {deadline_s} s for {what}")


class Server:
    """One `forebay server` process on a directory; may be killed and started again."""

    def __init__(self, data_dir, bootstrap, sql, env=None, broker="kafka"):
        self.data_dir, self.bootstrap, self.sql, self.broker = data_dir, bootstrap, sql, broker
        self.env = {**os.environ, **(env or {})}
        self.flight_port, self.http_port = free_port(), free_port()
        self.log = open(pathlib.Path(str(data_dir) + ".log"), "ab")
        self.process = None

    @property
    def flight(self):
        return f"127.0.0.1:{self.flight_port}"

    def start(self, ready=True):
        args = [binary(), "server", "--data-dir", self.data_dir, "--sql", self.sql,
                "--flight-addr", self.flight, "--http-addr", f"127.0.0.1:{self.http_port}"]
        args += ["--bootstrap", self.bootstrap] if self.broker == "kafka" else ["--broker", "embedded"]
        self.process = subprocess.Popen(list(map(str, args)), cwd=ROOT, env=self.env, stdout=self.log, stderr=self.log)
        if ready:
            wait_for(self.is_ready, f"the server on {self.http_port} (log: {self.log.name})")
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            tail = pathlib.Path(self.log.name).read_text(errors="replace")[-4000:]
            pytest.fail(f"the server ended with {self.process.returncode}:\n{tail}")
        try:
            return self.http("/readyz")[0] == 200
        except OSError:
            return False

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
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


@pytest.fixture
def servers(tmp_path):
    """Makes servers; stops what still runs."""
    made = []

    def make(bootstrap, sql=ROOT / "sql" / "flights", **kwargs):
        server = Server(tmp_path / f"data-{len(made)}", bootstrap, sql, **kwargs)
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def own_topics(tmp_path):
    """A copy of sql/flights whose topics carry a unique suffix, so that tests share one broker without meeting."""
    suffix = uuid.uuid4().hex[:8]
    folder = tmp_path / "sql"
    folder.mkdir()
    for file in sorted((ROOT / "sql" / "flights").glob("*.sql")):
        text = re.sub(r"(topic\s*=\s*')([^']+)(')", rf"\g<1>\g<2>.{suffix}\g<3>", file.read_text())
        text = re.sub(r"(INTO TOPIC ')([^']+)(')", rf"\g<1>\g<2>.{suffix}\g<3>", text)
        (folder / file.name).write_text(text)
    return folder
