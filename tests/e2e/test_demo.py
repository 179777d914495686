"""The demo's main job, played to its end on both brokers: every event that was sent is read, archived and, where a deployment
asks for it, scored; the summary says so. The in-process broker keeps 5 MiB of a partition and drops the oldest records silently;
on it the run is long enough that departures, arrivals and predictions all pass that, and nothing is lost all the same.
"""

import json
import os
import re
import shlex
import signal
import subprocess

from conftest import ROOT, binary, copy_definitions, free_port, wait_for
from tables import delta_rows, event_counts
from topics import kcat


def command(folder, until, *flags):
    """The arguments of a demo that keeps its data and its summary in `folder`."""
    return ["demo", "--until", until, "--speed", "max", "--summary", folder / "summary.json", "--data-dir", folder / "data",
            "--flight-addr", f"127.0.0.1:{free_port()}", "--http-addr", f"127.0.0.1:{free_port()}", *flags]


def assert_nothing_lost(folder, until, said):
    expected = event_counts(until=until)
    told = json.loads((folder / "summary.json").read_text())
    assert told["sent"] == expected
    due = {**expected, "predictions_late_arrival": expected["departures"]}
    for name, count in due.items():
        counts = (told["read"][name], told["archived"][name], delta_rows(folder / "data", name))
        assert counts == (count, count, count), name
    assert told["predictions"] == told["predictions_due"] == expected["departures"]
    assert (told["dead_letters"], told["unscored"], told["late_rows"]) == (0, 0, 0)
    (monitor,) = told["monitors"]
    assert monitor["input"]["accepted"] == expected["departures"]
    (series,) = monitor["series"]
    assert series["overall"]["coverage"] > 0.95 and series["overall"]["auc"] > 0.8
    assert "nothing (counted)" in said and "Try next" in said
    assert told["peak_rss_bytes"] < 1 << 30
    print(f"\n{sum(expected.values())} events in {told['elapsed_seconds']:.1f} s, {told['peak_rss_bytes'] >> 20} MiB")
    return expected


def offsets(broker, topic, partition):
    """The oldest offset that a broker still has of a partition, and the next one that it will give."""
    answers = (kcat(broker, "-Q", "-t", f"{topic}:{partition}:{which}") for which in (-2, -1))
    return tuple(int(re.search(rb"offset (\d+)", answer)[1]) for answer in answers)


def follow_the_hints(said):
    """What the demo says to try next works as it stands there."""
    hints = re.findall(r"^ +forebay (.+)$", said, re.MULTILINE)
    assert len(hints) == 2, said[-1000:]
    for hint in hints:
        tried = subprocess.run([binary(), *shlex.split(hint)], capture_output=True, text=True, timeout=120)
        assert tried.returncode == 0, f"{hint}: {tried.stdout}{tried.stderr}"


def test_nothing_is_lost_to_the_retention_of_the_embedded_broker(tmp_path):
    """One partition a topic instead of four: each takes in five months what it would otherwise take in 20."""
    until, said, log = "2013-06-01", tmp_path / "stdout", tmp_path / "stderr"
    with said.open("w") as stdout, log.open("w") as stderr:
        demo = subprocess.Popen([binary(), *map(str, command(tmp_path, until, "--serve"))], cwd=ROOT, stdout=stdout,
                                stderr=stderr, env={**os.environ, "FOREBAY_KAFKA_PARTITIONS": "1"})

    def has_played():
        assert demo.poll() is None, log.read_text()[-4000:]
        return "serving; end with Ctrl-C" in log.read_text()

    try:
        wait_for(has_played, lambda: f"the demo to play; it said {log.read_text()[-2000:]}", deadline_s=300, every_s=0.2)
        expected = assert_nothing_lost(tmp_path, until, said.read_text())
        broker = re.search(r"Kafka at (\S+)", log.read_text())[1]
        sent = {"departures": expected["departures"], "arrivals": expected["arrivals"],
                "predictions.late_arrival": expected["departures"]}
        for topic, count in sent.items():
            oldest, following = offsets(broker, topic, 0)
            assert following == count > 100_000, f"{topic} has had {following} records, not {count}"
            assert oldest > 0, f"the broker still has all of {topic}: this run shows nothing about its retention"
            print(f"{topic}: {count} records, of which the broker has dropped {oldest}")
        follow_the_hints(said.read_text())
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=60) == 0, log.read_text()[-4000:]
    finally:
        demo.kill()
        demo.wait()


def test_nothing_is_lost_on_apache_kafka(kafka, forebay, tmp_path):
    until = "2013-01-15"
    flags = ["--bootstrap", kafka, "--sql", copy_definitions(tmp_path / "sql")]
    done = forebay(*command(tmp_path, until, *flags), timeout=300)
    assert_nothing_lost(tmp_path, until, done.stdout)
