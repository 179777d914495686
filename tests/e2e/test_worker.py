"""Workers are processes of their own: a server scores on those that it knows, loses nothing when one is killed, and its monitor
says on Kafka what drifted.

Three weeks of June run through a server that has two workers, one named in its settings and one that registers itself. The first
is killed with SIGKILL while batches are under way; every departure is scored once all the same. June is not the winter that
the model was trained on: the alarms are on `forebay.alerts` as CloudEvents. A restart repeats none of them, and one that knows
of none says the same again.

A worker that hangs or is gone holds back neither ingest nor predictions: the server scores by itself within seconds, and uses
the worker again when it is back. Where only workers may score, the status names the worker that is waited for.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from conftest import FLIGHTS, ROOT, binary, copy_definitions, free_port, wait_for
from tables import delta, delta_rows, event_counts
from topics import records

SINCE, UNTIL = "2013-06-01", "2013-06-22"
PREDICTIONS = "predictions_late_arrival"
ALERTS = "forebay.alerts"
# Event seconds in a second: the pace of the demo.
SPEED = 175_200


class Worker:
    """One `forebay worker` process."""

    def __init__(self, model, port, *flags):
        command = [binary(), "worker", "--listen", f"127.0.0.1:{port}", "--model", f"late_arrival={model}", *flags]
        self.process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.said = self.process.stdout.readline()

    def end(self):
        self.process.terminate()
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@pytest.fixture
def scene(servers, kafka, tmp_path):
    """A server with two workers, and the folder of its definitions."""
    sql = copy_definitions(tmp_path / "sql")
    model = ROOT / "models" / "late_arrival" / "1"
    named_port = free_port()
    named = Worker(model, named_port)
    server = servers(kafka, sql, env={"FOREBAY_INFERENCE_WORKERS": f"127.0.0.1:{named_port}",
                                      "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "2000"}).start()
    registered = Worker(model, free_port(), "--register", server.flight)
    wait_for(lambda: pathlib.Path(server.log.name).read_text(errors="replace").count("worker known") >= 2,
             "both workers to be known")
    yield server, sql, named, registered
    for worker in (named, registered):
        if worker.process.poll() is None:
            worker.end()


def test_a_killed_worker_loses_nothing_and_alarms_are_published(scene, kafka):
    server, sql, named, registered = scene
    assert re.match(r"worker ready on 127\.0\.0\.1:\d+, scoring on cpu: late_arrival version 1", named.said), named.said
    expected = event_counts(SINCE, UNTIL)
    command = [binary(), "replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", SINCE, "--until", UNTIL,
               "--speed", SPEED]
    replay = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    third = expected["departures"] // 3
    wait_for(lambda: server.client.status()["predictions"] > third, "a third of the predictions")
    named.process.kill()
    assert replay.wait(timeout=300) == 0, replay.stderr.read()
    status = server.wait_read({**expected, PREDICTIONS: expected["departures"]})
    assert status["unscored"] == 0
    wait_for(lambda: delta_rows(server.data_dir, PREDICTIONS) >= expected["departures"], "predictions in the archive")
    ids = delta(server.data_dir, PREDICTIONS, ["prediction_id"])["prediction_id"].to_pylist()
    assert len(ids) == len(set(ids)) == expected["departures"]
    wait_for(lambda: server.metric("forebay_worker_up") == 1, "one worker to be up")
    code, log = registered.end()
    assert code == 0, log
    assert "cuda" in log.lower() or "gpu" in log.lower(), f"the worker does not say why it has no GPU: {log}"

    alarms = wait_for(lambda: [event for event in june(kafka) if event["type"].endswith(".firing")], "alarms of June")
    for event in alarms:
        assert event["specversion"] == "1.0" and event["source"] == "/forebay/monitors/late_arrival_quality"
        assert event["data"]["score"] > event["data"]["threshold"]
    assert any(event["subject"] == "late_arrival/1/live/distance_miles" for event in alarms), [e["subject"] for e in alarms]
    assert_restarts_repeat_no_alarm(server, kafka)
    print(f"\n{len({event['id'] for event in alarms})} alarms; {expected['departures']} predictions on two workers, one killed")


def replay(forebay, sql, kafka, since, until):
    forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", since, "--until", until, "--speed", "max")


def of_days(until):
    """What has to be read of the days of June up to `until`, predictions among it."""
    expected = event_counts(SINCE, until)
    return {**expected, PREDICTIONS: expected["departures"]}


def fallback_rows(server):
    return server.metric("forebay_inference_fallback_rows_total")


def test_a_worker_that_hangs_costs_seconds_and_is_used_again_when_it_goes_on(servers, forebay, kafka, tmp_path):
    sql, port = copy_definitions(tmp_path / "sql"), free_port()
    worker = Worker(ROOT / "models" / "late_arrival" / "1", port)
    server = servers(kafka, sql, env={"FOREBAY_INFERENCE_WORKERS": f"127.0.0.1:{port}"}).start()
    try:
        replay(forebay, sql, kafka, SINCE, "2013-06-03")
        server.wait_read(of_days("2013-06-03"))
        assert fallback_rows(server) == 0, "the worker scores"
        worker.process.send_signal(signal.SIGSTOP)
        replay(forebay, sql, kafka, "2013-06-03", "2013-06-05")
        started = time.monotonic()
        status = server.wait_read(of_days("2013-06-05"), deadline_s=60)
        took = time.monotonic() - started
        assert took < 30, f"predictions stood still for {took:.1f} s"
        assert (status["unscored"], fallback_rows(server) > 0, server.metric("forebay_worker_up")) == (0, True, 0)
        worker.process.send_signal(signal.SIGCONT)
        day = iter(range(5, 20))

        def is_used_again():
            if server.metric("forebay_worker_up") == 1:
                return True
            today = next(day)
            replay(forebay, sql, kafka, f"2013-06-{today:02}", f"2013-06-{today + 1:02}")
            server.wait_read(of_days(f"2013-06-{today + 1:02}"))
            return False

        wait_for(is_used_again, "the worker to be used again", every_s=1)
        today = next(day)
        before = fallback_rows(server)
        replay(forebay, sql, kafka, f"2013-06-{today:02}", f"2013-06-{today + 1:02}")
        assert server.wait_read(of_days(f"2013-06-{today + 1:02}"))["unscored"] == 0
        assert fallback_rows(server) == before, "the server still scores by itself"
        print(f"\nwith a stopped worker two days took {took:.1f} s to be scored")
    finally:
        worker.process.kill()


def test_a_worker_that_is_not_there_holds_back_nothing(servers, forebay, kafka, tmp_path):
    sql = copy_definitions(tmp_path / "sql")
    server = servers(kafka, sql, env={"FOREBAY_INFERENCE_WORKERS": f"127.0.0.1:{free_port()}"}).start()
    replay(forebay, sql, kafka, SINCE, "2013-06-03")
    status = server.wait_read(of_days("2013-06-03"), deadline_s=60)
    assert (status["unscored"], status["deployments"]["late_arrival"]["state"]) == (0, "scoring")
    assert fallback_rows(server) == event_counts(SINCE, "2013-06-03")["departures"]


def test_where_only_workers_score_predictions_wait_for_one_and_ingest_goes_on(servers, forebay, kafka, tmp_path):
    sql, port = copy_definitions(tmp_path / "sql"), free_port()
    server = servers(kafka, sql, env={"FOREBAY_INFERENCE_WORKERS": f"127.0.0.1:{port}",
                                      "FOREBAY_INFERENCE_LOCAL_SCORING": "false"}).start()
    replay(forebay, sql, kafka, SINCE, "2013-06-03")
    expected = event_counts(SINCE, "2013-06-03")

    def waits():
        status = server.client.status()
        reason = status["deployments"]["late_arrival"]["reason"] or ""
        read = all(status["sources"][name]["rows"] >= count for name, count in expected.items())
        return read and f"127.0.0.1:{port}" in reason and status

    status = wait_for(waits, lambda: f"the status to name the worker: {server.client.status()['deployments']}")
    assert (status["predictions"], status["scores_waiting"]) == (0, expected["departures"])
    worker = Worker(ROOT / "models" / "late_arrival" / "1", port)
    try:
        assert server.wait_read(of_days("2013-06-03"), deadline_s=60)["unscored"] == 0
        assert fallback_rows(server) == 0
    finally:
        worker.end()


def june(kafka):
    """What was said of alarms in June, oldest first for each alarm."""
    return [event for event in map(json.loads, records(kafka, ALERTS)) if event["time"].startswith("2013-06")]


def last_words(events):
    return {event["subject"]: (event["time"], event["type"]) for event in events}


def assert_restarts_repeat_no_alarm(server, kafka):
    server.stop()
    said = june(kafka)
    server.start().stop()
    assert june(kafka) == said, "a restart raised alarms that were published before, or others"
    (server.data_dir / "checkpoints" / "alarms.ckpt").unlink()
    server.start()
    wait_for(lambda: len(june(kafka)) > len(said) and last_words(june(kafka)) == last_words(said),
             "a server that knows of no alarm to rebuild and publish those of its archive")
    server.stop()
    again = june(kafka)
    assert last_words(again) == last_words(said)
    server.start()


def test_the_demo_host_says_why_there_is_no_gpu(forebay):
    if os.path.exists("/dev/nvidia0"):
        pytest.skip("this machine has a GPU")
    done = forebay("doctor", "--broker", "embedded", check=False)
    said = done.stdout.lower()
    assert "cuda" in said and ("not" in said or "no " in said), done.stdout
