"""A server's life: looking at a change changes nothing, what cannot be opened at a start is set aside alone, listeners
answer from the first moment, and a stop ends also what hangs.
"""

import pathlib
import re
import shutil
import signal
import time

import pytest

from conftest import DEFINITIONS, ROOT, wait_for
from test_apply import click, clicks, total
from test_log import definitions as definitions_of_clicks


@pytest.fixture
def scoring(servers, kafka, tmp_path):
    """A running server over a copy of the demo's definitions and models, and the folder of the copy."""
    sql, root = tmp_path / "sql", tmp_path / "root"
    shutil.copytree(DEFINITIONS, sql)
    shutil.copytree(ROOT / "models", root / "models")
    for file in sql.rglob("*.sql"):
        file.write_text(own_topics(file.read_text(), tmp_path.name))
    return servers(kafka, sql, env={"FOREBAY_SERVER_MODEL_ROOT": str(root)}).start(), sql, root


def own_topics(text, name):
    """The definitions with topics that no other test uses."""
    text = re.sub(r"topic = '([\w.]+)'", rf"topic = '\1.{name}'", text)
    return re.sub(r"INTO TOPIC '([\w.]+)'", rf"INTO TOPIC '\1.{name}'", text)


def definitions(sql):
    return [{"path": str(path), "text": path.read_text()} for path in sorted(sql.glob("*.sql"))]


def gauges(server):
    """Everything that says whether models serve, by series."""
    lines = server.http("/metrics")[1].splitlines()
    return sorted(line for line in lines if line.startswith(("forebay_model_ready", "forebay_ingest_standing")))


def test_a_plan_and_a_refused_apply_change_nothing(scoring):
    server, sql, _ = scoring
    before = wait_for(lambda: gauges(server), "the gauges of models")
    files = definitions(sql)
    changed = [dict(file, text=file["text"].replace("TTL INTERVAL '14' DAY", "TTL INTERVAL '15' DAY")) for file in files]
    assert changed != files, "a view that the model reads has another TTL"
    for action in ("plan", "apply", "plan"):
        with pytest.raises(Exception, match="fingerprint"):
            server.client.action(action, {"files": changed})
        assert gauges(server) == before
    assert server.client.status()["suspended"] == []
    assert server.http("/readyz")[0] == 200


def test_a_model_that_is_gone_at_a_start_is_set_aside_alone_until_it_is_mended_and_applied_again(scoring):
    server, sql, root = scoring
    files = definitions(sql)
    server.stop()
    shutil.rmtree(root / "models")
    # The folder of a start names no model; the definitions that were applied before do.
    for file in sql.glob("*.sql"):
        if not file.name.startswith("01"):
            file.unlink()
    server.start()
    suspended = wait_for(lambda: server.client.status()["suspended"], "what is set aside")
    assert {part["kind"] for part in suspended} >= {"model"}, suspended
    assert all(part["reason"] for part in suspended)
    assert server.http("/readyz")[0] == 200
    assert server.client.action("apply", {"files": files}), "what is aside stands in the way of nothing"
    assert server.client.status()["suspended"] == suspended
    shutil.copytree(ROOT / "models", root / "models")
    changes = server.client.action("apply", {"files": files})["changes"]
    assert {change["action"].lower() for change in changes} == {"unchanged"}, changes
    assert server.client.status()["suspended"] == []


def test_a_hang_up_ends_nothing_and_a_stop_is_quick(scoring):
    server, *_ = scoring
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    server.check_alive()
    assert server.http("/livez")[0] == 200
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=15) == 0
    assert time.monotonic() - begun < 10


def test_whoever_asks_for_the_status_all_the_time_fills_no_log(scoring):
    server, *_ = scoring
    log = pathlib.Path(server.log.name)
    before = len(log.read_text().splitlines())
    for _ in range(50):
        server.client.status()
    new = log.read_text().splitlines()[before:]
    assert len(new) < 10 and not any("status" in line for line in new), new


def test_the_address_of_the_embedded_broker_is_told_and_takes_events(servers, tmp_path):
    topic = "clicks.embedded"
    server = servers("", definitions_of_clicks(tmp_path, topic), broker="embedded").start()
    told = re.search(r"an embedded Kafka broker listens.*bootstrap=\"?([\w.:]+)", server.log_tail())
    assert told, server.log_tail()
    click(told[1], topic, 0, 3)
    wait_for(lambda: clicks(server) == total(3), lambda: f"three clicks; {clicks(server)}")
