"""A source's columns change with its producers', beside running ingest: the archive's table follows, views that do not read the
columns keep their state, a new view over a new column is filled from old and new rows alike, and a restart finds all of it.
"""

import uuid

import pyarrow as pa
import pytest

from conftest import wait_for
from tables import delta, delta_rows
from topics import produce

SOURCE = """CREATE OR REPLACE SOURCE clicks ({more}name VARCHAR NOT NULL, amount DOUBLE, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{topic}', format = 'json');"""
REST = """CREATE ENTITY person (name VARCHAR);
CREATE FEATURE VIEW spending ENTITY person AS
SELECT name, at, count(*) OVER ever AS clicks, sum(amount) OVER ever AS total FROM clicks
WINDOW ever AS (PARTITION BY name ORDER BY at);
CREATE FEATURE SERVICE spending_now (name VARCHAR) AS SELECT s.clicks, s.total FROM request LEFT JOIN spending AS s USING (name);
"""
PLACES = """CREATE FEATURE VIEW places ENTITY person AS
SELECT name, at, count(place) OVER ever AS known, last_value(place) OVER ever AS last FROM clicks
WINDOW ever AS (PARTITION BY name ORDER BY at);
CREATE FEATURE SERVICE places_now (name VARCHAR) AS SELECT p.known, p.last FROM request LEFT JOIN places AS p USING (name);
"""


@pytest.fixture
def shop(servers, kafka, tmp_path):
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    sql = tmp_path / "sql"
    sql.mkdir()
    (sql / "all.sql").write_text(SOURCE.format(more="", topic=topic) + REST)
    return servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "300"}).start(), topic, kafka


def apply(server, *statements):
    return server.client.action("apply", {"files": [{"path": "change.sql", "text": "\n".join(statements)}]})["changes"]


def click(kafka, topic, numbers, **more):
    for number in numbers:
        produce(kafka, topic, {"name": "ann", "amount": number + 0.25, "at": f"2024-05-01T00:{number:02}:00Z", **more})


def answer(server, service="spending_now"):
    rows = server.client.get(service, {"name": ["ann"]}, at="2024-05-02T00:00:00Z")
    return tuple(rows[name][0].as_py() for name in rows.schema.names)


def spent(count):
    return count, sum(number + 0.25 for number in range(count))


def verified(server, service):
    found = server.client.action("verify", {"service": service, "sample": 100})
    assert found["clean"], found


def test_columns_come_and_go_and_views_that_do_not_read_them_keep_their_state(shop):
    server, topic, kafka = shop
    click(kafka, topic, range(3))
    wait_for(lambda: answer(server) == spent(3), "three clicks")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 3, "three archived clicks")
    changes = apply(server, SOURCE.format(more="place VARCHAR, ", topic=topic))
    replaced = [(change["kind"], change["name"]) for change in changes if change["action"] != "unchanged"]
    assert replaced == [("source", "clicks")]
    assert answer(server) == spent(3)
    click(kafka, topic, range(3, 5), place="Ulm")
    wait_for(lambda: answer(server) == spent(5), "five clicks")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 5, "five archived clicks")
    rows = delta(server.data_dir, "clicks", ["at", "place", "amount"]).sort_by("at").to_pydict()
    assert rows["place"] == [None] * 3 + ["Ulm"] * 2
    assert rows["amount"] == [0.25, 1.25, 2.25, 3.25, 4.25]
    apply(server, PLACES)
    wait_for(lambda: answer(server, "places_now") == (2, "Ulm"), lambda: f"two places; there are {answer(server, 'places_now')}")
    for service in ("spending_now", "places_now"):
        verified(server, service)
    server.stop()
    # The folder of the first start has the source without its new column.
    server.sql = None
    server.start()
    assert answer(server) == spent(5)
    apply(server, "DROP FEATURE SERVICE places_now; DROP FEATURE VIEW places;", SOURCE.format(more="", topic=topic))
    click(kafka, topic, range(5, 7), place="Ulm")
    wait_for(lambda: answer(server) == spent(7), "seven clicks")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 7, "seven archived clicks")
    rows = delta(server.data_dir, "clicks", ["at", "place"]).sort_by("at").to_pydict()
    assert rows["place"] == [None] * 3 + ["Ulm"] * 2 + [None] * 2
    verified(server, "spending_now")


def test_what_older_events_cannot_have_is_refused_and_changes_nothing(shop):
    server, topic, kafka = shop
    click(kafka, topic, range(2))
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 2, "two archived clicks")
    for more, words in [("place VARCHAR NOT NULL, ", "NOT NULL"), ("\"Amount\" DOUBLE, ", "mount")]:
        with pytest.raises(pa.ArrowException, match=words):
            apply(server, SOURCE.format(more=more, topic=topic))
    with pytest.raises(pa.ArrowException, match="exists with another schema"):
        apply(server, SOURCE.format(more="", topic=topic).replace("name VARCHAR NOT NULL", "name BIGINT NOT NULL").replace("amount DOUBLE", "amount BIGINT"),
              REST.replace("name VARCHAR", "name BIGINT"))
    click(kafka, topic, range(2, 3))
    wait_for(lambda: answer(server) == spent(3), "ingest to go on")


def test_a_plan_tells_what_a_new_view_would_leave_out_of_the_archived_rows(shop):
    server, topic, kafka = shop
    click(kafka, topic, range(4))
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 4, "four archived clicks")
    view = """CREATE FEATURE VIEW shares ENTITY person AS
    SELECT name, at, max(10 / CAST(amount - 0.25 AS BIGINT)) OVER (PARTITION BY name ORDER BY at) AS share FROM clicks;"""
    planned = server.client.action("plan", {"files": [{"path": "change.sql", "text": view}]})["changes"]
    [told] = [change["warnings"] for change in planned if change["name"] == "shares"]
    assert any("1 of the 4 newest archived rows would be left out" in warning and "division by zero" in warning for warning in told), told
