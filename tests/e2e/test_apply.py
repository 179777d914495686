"""Definitions change while events flow: a new view is filled from the archive, a dropped source that comes back has all its
events, what cannot be applied leaves ingest as it was, and verification beside it neither waits for ever nor finds a difference.
"""

import threading
import uuid

import pyarrow as pa
import pytest

from conftest import wait_for
from tables import delta_rows
from topics import make_topic, produce

SOURCE = """CREATE SOURCE clicks (name VARCHAR NOT NULL, amount {amount}, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{topic}', format = 'json');"""
ENTITY = "CREATE ENTITY person (name VARCHAR);"
VIEW = """CREATE FEATURE VIEW spending ENTITY person AS
SELECT name, at, count(*) OVER ever AS clicks, sum(amount) OVER ever AS total FROM clicks
WINDOW ever AS (PARTITION BY name ORDER BY at);"""
SERVICE = """CREATE FEATURE SERVICE spending_now (name VARCHAR) AS SELECT s.clicks, s.total FROM request
LEFT JOIN spending AS s USING (name);"""


@pytest.fixture
def shop(servers, kafka, tmp_path):
    """A running server with one source, view and service, and the name of its topic."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    sql = tmp_path / "sql"
    sql.mkdir()
    texts = [SOURCE.format(amount="DOUBLE", topic=topic), ENTITY, VIEW, SERVICE]
    (sql / "all.sql").write_text("\n".join(texts))
    return servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "500"}).start(), topic, kafka


def apply(server, *statements):
    return server.client.action("apply", {"files": [{"path": "change.sql", "text": "\n".join(statements)}]})["changes"]


def click(kafka, topic, first, count):
    for number in range(first, first + count):
        produce(kafka, topic, {"name": "ann", "amount": number + 0.25, "at": f"2024-05-01T00:{number:02}:00Z"})


def clicks(server, at="2024-05-02T00:00:00Z"):
    rows = server.client.get("spending_now", {"name": ["ann"]}, at=at)
    return rows["clicks"][0].as_py(), rows["total"][0].as_py()


def total(count):
    return count, sum(number + 0.25 for number in range(count))


def test_a_source_that_comes_back_has_all_its_events(shop):
    server, topic, kafka = shop
    click(kafka, topic, 0, 6)
    wait_for(lambda: clicks(server) == total(6), "six clicks")
    apply(server, "DROP FEATURE SERVICE spending_now;", "DROP FEATURE VIEW spending;", "DROP SOURCE clicks;")
    click(kafka, topic, 6, 4)
    apply(server, SOURCE.format(amount="DOUBLE", topic=topic), VIEW, SERVICE)
    wait_for(lambda: clicks(server) == total(10), lambda: f"ten clicks; there are {clicks(server)}")
    answer = server.client.action("verify", {"service": "spending_now", "sample": 100})
    assert answer["clean"], answer


def test_what_cannot_be_applied_changes_nothing(shop):
    server, topic, kafka = shop
    click(kafka, topic, 0, 2)
    wait_for(lambda: clicks(server) == total(2), "two clicks")
    with pytest.raises(pa.ArrowException, match="clicks"):
        apply(server, SOURCE.format(amount="VARCHAR", topic=topic), VIEW.replace("sum(amount)", "max(amount)"), SERVICE)
    click(kafka, topic, 2, 1)
    wait_for(lambda: clicks(server) == total(3), "ingest to go on")
    assert server.http("/readyz")[0] == 200
    server.stop()
    server.start()
    assert clicks(server) == total(3)


def test_a_refused_apply_leaves_no_table_and_its_source_may_have_other_columns_next_time(shop):
    server, topic, kafka = shop
    click(kafka, topic, 0, 3)
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 3, "three archived clicks")
    others, returned = f"{topic}.orders", f"{topic}.returns"
    make_topic(kafka, others)
    make_topic(kafka, returned)
    orders = ("CREATE SOURCE orders (id {kind} NOT NULL, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at - INTERVAL '1' MINUTE) "
              f"WITH (connector = 'kafka', topic = '{others}', format = 'json');")
    # The table of a source that was dropped has rows, and other columns than these.
    returns = orders.replace("orders", "returns")
    apply(server, returns.format(kind="VARCHAR"))
    produce(kafka, returned, {"id": "first", "at": "2024-05-01T00:00:00Z"})
    wait_for(lambda: delta_rows(server.data_dir, "returns") == 1, "the archived return")
    apply(server, "DROP SOURCE returns;")
    with pytest.raises(pa.ArrowException, match="exists with another schema"):
        apply(server, orders.format(kind="BIGINT"), returns.format(kind="BIGINT"))
    tables = server.data_dir / "offline"
    assert not list(tables.glob("orders/**/*.json"))
    apply(server, orders.format(kind="VARCHAR"))
    produce(kafka, others, {"id": "first", "at": "2024-05-01T00:00:00Z"})
    wait_for(lambda: delta_rows(server.data_dir, "orders") == 1, "the archived order")
    # A table with rows is nobody's to delete.
    apply(server, "DROP SOURCE orders;")
    with pytest.raises(pa.ArrowException, match="exists with another schema"):
        apply(server, orders.format(kind="BIGINT"))
    assert delta_rows(server.data_dir, "orders") == 1


def test_applying_beside_verification_ends_and_agrees(shop):
    server, topic, kafka = shop
    click(kafka, topic, 0, 5)
    wait_for(lambda: clicks(server) == total(5), "five clicks")
    stop, answers, failures = threading.Event(), [], []

    def verify():
        while not stop.is_set():
            try:
                answers.append(server.client.action("verify", {"service": "spending_now", "sample": 50}))
            except Exception as error:  # noqa: BLE001 - reported below
                failures.append(error)

    threads = [threading.Thread(target=verify) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(6):
        apply(server, VIEW.replace("AS total", "AS total" if number % 2 else f"AS total, max(amount) OVER ever AS top{number}"))
        click(kafka, topic, 5 + number, 1)
    wait_for(lambda: clicks(server) == total(11), lambda: f"eleven clicks; there are {clicks(server)}")
    stop.set()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads), "a verification hangs"
    assert answers and not failures, failures
    assert all(answer["clean"] for answer in answers), str([a for a in answers if not a["clean"]][:1])
    assert server.client.status()["sources"]["clicks"]["rows"] >= 11
