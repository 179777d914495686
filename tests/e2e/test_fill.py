"""The fill of a new view beside ingest: one that `kill -9` cuts off is gone on with by the next apply, from where it was,
and the view answers what one that was there from the first event does.
"""

import subprocess

from conftest import ROOT, binary, wait_for
from test_apply import VIEW
from test_log import shop, source  # noqa: F401 - a fixture
from test_rebuild import KEYS, send, told, values

COUNT = 120_000
# Rows that a fill folds at once (EPOCH_MAX_ROWS).
BATCH = 8_192
TOO = VIEW.replace("VIEW spending", "VIEW spending_too") + """
CREATE FEATURE SERVICE too (name VARCHAR) AS SELECT s.clicks, s.total FROM request LEFT JOIN spending_too AS s USING (name);
"""


def begin(server, folder):
    command = [binary(), "apply", folder, "--flight-addr", server.flight]
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows_done(server):
    """Rows that the fill under way has done; None where there is none."""
    change = server.client.status()["change"]
    return change["rows"] if change and change["step"].startswith("fill view spending_too") else None


def test_a_fill_that_was_killed_goes_on_where_it_was(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "more.sql").write_text(TOO)
    send(kafka, topic, range(COUNT))
    server.start()
    wait_for(lambda: source(server).get("rows") == COUNT, lambda: f"the events; {source(server)}")
    apply = begin(server, folder)
    wait_for(lambda: (rows_done(server) or 0) > BATCH, "the fill to be under way", every_s=0.005)
    server.kill()
    assert apply.wait(timeout=60) == 3, apply.communicate()
    server.start()
    wait_for(lambda: source(server)["state"] == "reading", lambda: f"reading to go on; {source(server)}")
    apply, seen = begin(server, folder), []
    while apply.poll() is None:
        seen += [rows for rows in [rows_done(server)] if rows is not None]
    assert apply.returncode == 0, apply.communicate()
    assert all(rows >= BATCH for rows in seen), "it does not begin anew"
    read = server.metric("forebay_backfill_rows_total", view="spending_too")
    assert 0 < read <= COUNT - BATCH, read
    too = server.client.get("too", {"name": KEYS}, at="2024-05-01T23:00:00Z").to_pydict()
    assert told(too) == told(values(server))
    answer = server.client.action("verify", {"service": "too", "sample": 100})
    assert answer["clean"], answer
    # What one more crash finds is a view like any other.
    server.kill()
    server.start()
    again = lambda: server.client.get("too", {"name": KEYS}, at="2024-05-01T23:00:00Z").to_pydict()  # noqa: E731
    wait_for(lambda: told(again()) == told(too), "the same after a crash")
