"""What the workloads run: the flights' definitions under topics of their own, a server as a real process, with its memory, CPU
and disk as the system counts them, and how they wait for it and for other processes.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pyarrow.flight as flight

ROOT = pathlib.Path(__file__).resolve().parents[1]
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
DEADLINE_S = 600


def definitions(folder, topics, files, predictions):
    """sql/flights with topics of this run's own."""
    folder.mkdir(exist_ok=True)
    for file in sorted((ROOT / "sql" / "flights").glob(files)):
        text = re.sub(r"(topic\s*=\s*')([^']+)(')", rf"\g<1>\g<2>.{topics}\g<3>", file.read_text())
        (folder / file.name).write_text(re.sub(r"(INTO TOPIC ')([^']+)(')", rf"\g<1>\g<2>.{predictions}\g<3>", text))
    return folder


def ended(process):
    if process.wait(timeout=DEADLINE_S) != 0:
        sys.exit(f"{process.args} ended with {process.returncode}")


def wait(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited {DEADLINE_S} s for {what}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server process on a data directory of its own, empty at first, without definitions: it reads nothing until they are
    applied. It may be killed and started again."""

    def __init__(self, bench, folder, **settings):
        self.bench, self.data = bench, pathlib.Path(tempfile.mkdtemp(prefix="data-", dir=folder))
        self.environment = {**os.environ, "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "true", **settings}
        self.log = open(self.data.with_suffix(".log"), "wb")

    def start(self):
        self.address, self.http_address = (f"127.0.0.1:{free_port()}" for _ in range(2))
        command = [self.bench.binary, "server", "--data-dir", self.data, "--bootstrap", self.bench.kafka,
                   "--flight-addr", self.address, "--http-addr", self.http_address]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self.log, stderr=self.log, env=self.environment)
        self.flight = flight.FlightClient(f"grpc://{self.address}")
        wait(lambda: self.status() is not None, "the server to answer")

    def __enter__(self):
        self.start()
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def apply(self, sql):
        """Apply the definitions of a folder: the reading begins a moment before this returns."""
        self.apply_files([{"path": file.name, "text": file.read_text()} for file in sorted(sql.glob("*.sql"))])

    def apply_files(self, files):
        list(self.flight.do_action(flight.Action("apply", json.dumps({"files": files}).encode())))

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)
        shutil.rmtree(self.data, ignore_errors=True)

    def status(self):
        """What the server has read; None until it answers."""
        if self.process.poll() is not None:
            sys.exit(f"the server ended with {self.process.returncode}; its log: {pathlib.Path(self.log.name).read_text()[-2000:]}")
        try:
            parts = self.flight.do_action(flight.Action("status", b""))
            return json.loads(b"".join(part.body.to_pybytes() for part in parts))
        except flight.FlightUnavailableError:
            return None

    def has_read(self, expected):
        sources = self.status()["sources"]
        return all(sources.get(name, {"rows": 0})["rows"] >= count for name, count in expected.items())

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    def peak_rss_bytes(self):
        return self.memory_bytes("VmHWM")

    def memory_bytes(self, field="VmRSS"):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) << 10

    def forget_peak(self):
        """The peak of the memory begins anew at what is resident now."""
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def moved_bytes(self, field):
        """What the process has read from files (`rchar`) or written to the disk (`write_bytes`)."""
        text = pathlib.Path(f"/proc/{self.process.pid}/io").read_text()
        return int(re.search(rf"^{field}: (\d+)", text, re.MULTILINE)[1])
