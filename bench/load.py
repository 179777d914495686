"""Events made by a workload: topics of its own, a kcat that sends lines, and a steady load beside what is measured."""

import subprocess
import threading
import time

from processes import ROOT, ended

CHUNK = 500


def make_topic(bench, topic, partitions):
    subprocess.run([ROOT / "scripts" / "kafka", "tool", "TopicCommand", "--bootstrap-server", bench.kafka, "--create", "--topic",
                    topic, "--partitions", str(partitions), "--replication-factor", "1"], check=True, capture_output=True)


def producer(bench, topic, linger_ms):
    """A kcat that sends the lines of its standard input, spread over the partitions."""
    command = ["kcat", "-P", "-b", bench.kafka, "-t", topic, "-X", "partitioner=random", "-X", f"linger.ms={linger_ms}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


def send(bench, topic, count, lines):
    """Send `count` events, of which `lines(first, some)` gives so many from number `first` on."""
    sending = producer(bench, topic, linger_ms=20)
    for first in range(0, count, CHUNK):
        sending.stdin.write(lines(first, min(CHUNK, count - first)))
    sending.stdin.close()
    ended(sending)


class Load(threading.Thread):
    """Sends `rate` events a second, those that follow the first `sent`, until it is stopped; `sent` counts them too."""

    def __init__(self, bench, topic, rate, lines, sent=0, chunk=CHUNK, linger_ms=20):
        super().__init__()
        self.rate, self.lines, self.chunk, self.sending = rate, lines, chunk, producer(bench, topic, linger_ms)
        self.sent, self.stopping = sent, threading.Event()

    def run(self):
        started, before = time.monotonic(), self.sent
        while not self.stopping.is_set():
            self.sending.stdin.write(self.lines(self.sent, self.chunk))
            self.sending.stdin.flush()
            self.sent += self.chunk
            time.sleep(max(0.0, (self.sent - before) / self.rate - (time.monotonic() - started)))
        self.sending.stdin.close()
        ended(self.sending)

    def stop(self):
        self.stopping.set()
        self.join()
