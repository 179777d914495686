"""An apply while another change fills a view: it takes that change over, adds to it or drops it again, goes on with what was
folded, and waits for no fill. What is wrong, or brings nothing new, takes over nothing.
"""

import pyarrow.flight as flight
import pytest
from conftest import wait_for
from test_apply import VIEW, apply
from test_fill import BATCH, begin
from test_log import shop, source  # noqa: F401 - a fixture
from test_rebuild import KEYS, expected, send, told, values

COUNT = 300_000
AT = "2024-05-01T23:00:00Z"
TOO, THIRD = (
    VIEW.replace("VIEW spending", f"VIEW {name}")
    + f"CREATE FEATURE SERVICE of_{name} (name VARCHAR) AS SELECT s.clicks, s.total FROM request LEFT JOIN {name} AS s USING (name);"
    for name in ["too", "third"]
)


def rows_done(server, view):
    """Rows that the fill of `view` which is under way has done; None where there is none."""
    change = server.client.status()["change"]
    return change["rows"] if change and change["step"].startswith(f"fill view {view} ") else None


def fill(server, folder, view, text):
    """An apply of `text` whose fill of `view` is under way."""
    folder.mkdir(exist_ok=True)
    (folder / "more.sql").write_text(text)
    process = begin(server, folder)
    wait_for(lambda: (rows_done(server, view) or 0) > BATCH, "the fill to be under way", every_s=0.005)
    return process


def answers(server, view):
    return told(server.client.get(f"of_{view}", {"name": KEYS}, at=AT).to_pydict())


def test_an_apply_takes_over_a_change_that_fills(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    send(kafka, topic, range(COUNT))
    server.start()
    wait_for(lambda: source(server).get("rows") == COUNT, lambda: f"the events; {source(server)}")

    first = fill(server, tmp_path / "more", "too", TOO)
    with pytest.raises(Exception, match="another change is under way: fill view too") as same:
        apply(server, TOO)
    assert "try again when it is done" in str(same.value)
    with pytest.raises(Exception, match="nowhere"):
        apply(server, THIRD.replace("FROM clicks", "FROM nowhere"))
    assert first.poll() is None, "neither has ended it"
    changes = apply(server, THIRD)
    assert [change["name"] for change in changes] == ["third", "of_third"], "its own"
    _, words = first.communicate(timeout=60)
    assert first.returncode == 2 and "another apply took this change over" in words, words
    assert answers(server, "too") == answers(server, "third") == told(values(server))
    read = server.metric("forebay_backfill_rows_total", view="too")
    assert read < COUNT + BATCH, f"{read} rows: it goes on where it was"
    assert server.client.action("verify", {"service": "of_too", "sample": 100})["clean"]

    # A view that is still being filled is dropped, and may come again.
    apply(server, "DROP FEATURE SERVICE of_third;", "DROP FEATURE VIEW third;")
    second = fill(server, tmp_path / "more", "third", THIRD)
    apply(server, "DROP FEATURE SERVICE of_third;", "DROP FEATURE VIEW third;")
    _, words = second.communicate(timeout=60)
    assert second.returncode == 2 and "another apply took this change over" in words, words
    with pytest.raises(Exception, match="of_third"):
        answers(server, "third")
    send(kafka, topic, range(COUNT, COUNT + 100))
    wait_for(lambda: source(server).get("rows") == COUNT + 100, lambda: f"ingest to go on; {source(server)}")
    apply(server, THIRD)
    assert answers(server, "third") == told(values(server))


def test_what_is_put_back_is_there_at_once_and_a_start_is_taken_over_too(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    send(kafka, topic, range(COUNT))
    server.start()
    before = expected(range(COUNT))
    wait_for(lambda: told(values(server)) == before, lambda: f"the values of all events; {source(server)}")

    # A view that was changed by mistake.
    wrong = VIEW.replace("sum(amount)", "max(amount)")
    change = fill(server, tmp_path / "more", "spending", wrong)
    changes = apply(server, VIEW)
    assert ("spending", "replace", 1) in [(c["name"], c["action"], c["version"]) for c in changes]
    _, words = change.communicate(timeout=60)
    assert change.returncode == 2 and "another apply took this change over" in words, words
    assert told(values(server)) == before
    assert server.metric("forebay_backfill_rows_total", view="spending") < COUNT, "it was not filled again"

    # What a start applies is taken over like any apply, and the server goes on.
    server.stop()
    (server.sql / "too.sql").write_text(TOO)
    server.start(ready=False)

    def fills():
        server.check_alive()
        try:
            return (rows_done(server, "too") or 0) > BATCH
        except (OSError, flight.FlightUnavailableError):
            return False  # It does not listen yet.

    wait_for(fills, "the fill of the start", every_s=0.005)
    apply(server, THIRD)
    assert answers(server, "too") == answers(server, "third") == before
    assert server.process.poll() is None
