"""A view whose SQL fails on an event leaves that event out, alone: no event is lost to it, everything else goes on over restarts, and
a corrected definition has them all. SQL that can never give a value is refused before it runs.
"""

import uuid

import pytest

from conftest import run_binary, wait_for
from tables import delta_rows
from test_apply import ENTITY, SERVICE, SOURCE, VIEW, apply
from topics import make_topic, produce

BOB = "bob"
# On Bob's events an integer is divided by zero.
DIVIDES = f"max(CASE WHEN name = '{BOB}' THEN 1 / CAST(amount - amount AS BIGINT) ELSE amount END)"
CONSTANT = "max(amount + 1 / 0)"
MENDED = "max(amount)"


def odd(expression):
    return f"""CREATE FEATURE VIEW odd ENTITY person AS SELECT name, at, {expression} OVER ever AS most FROM clicks
        WINDOW ever AS (PARTITION BY name ORDER BY at);"""


OF_ODD = "CREATE FEATURE SERVICE of_odd (name VARCHAR) AS SELECT o.most FROM request LEFT JOIN odd AS o USING (name);"


class Shop:
    def __init__(self, servers, kafka, tmp_path, expression):
        self.kafka, self.topic, self.sent = kafka, f"clicks.{uuid.uuid4().hex[:8]}", 0
        make_topic(kafka, self.topic)
        sql = tmp_path / "sql"
        sql.mkdir()
        texts = [SOURCE.format(amount="DOUBLE", topic=self.topic), ENTITY, VIEW, SERVICE, odd(expression), OF_ODD]
        (sql / "all.sql").write_text("\n".join(texts))
        self.server = servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "300"}).start()
        # A later start finds what was applied meanwhile.
        self.server.sql = None

    def click(self, *names):
        for name in names:
            produce(self.kafka, self.topic, {"name": name, "amount": self.sent + 0.5, "at": f"2024-05-01T00:00:{self.sent:02}Z"})
            self.sent += 1
        wait_for(lambda: delta_rows(self.server.data_dir, "clicks") == self.sent, lambda: f"the archive to have them; {self.server.client.status()}")

    def get(self, service, column, *names):
        return self.server.client.get(service, {"name": list(names)}, at="2024-05-01T01:00:00Z").to_pydict()[column]

    def left_out(self):
        return self.server.client.status()["sources"]["clicks"]["left_out"]


def test_an_event_on_which_a_view_fails_is_left_out_of_that_view_alone(servers, kafka, tmp_path):
    shop = Shop(servers, kafka, tmp_path, DIVIDES)
    server = shop.server
    shop.click("ann", BOB, "ann")
    wait_for(lambda: shop.left_out() == {"odd": 1}, lambda: f"the event to be left out; {shop.left_out()}")
    wait_for(lambda: server.metric("forebay_left_out_records_total", source="clicks", view="odd") == 1, "the series")
    assert shop.get("of_odd", "most", "ann", BOB) == [2.5, None]
    assert shop.get("spending_now", "clicks", "ann", BOB) == [2, 1]

    # Also over a kill and a start.
    server.kill()
    server.start()
    shop.click(BOB, "ann")
    wait_for(lambda: shop.get("spending_now", "clicks", "ann", BOB) == [3, 2], "all to be counted")
    assert shop.get("of_odd", "most", "ann", BOB) == [4.5, None]
    status = server.client.status()
    assert status["sources"]["clicks"]["dead_letters"] == 0 and status["suspended"] == [], status
    assert server.client.action("verify", {"service": "of_odd", "sample": 100})["clean"]

    # A fill leaves out the same events; corrected it has all.
    run_binary("rebuild", "odd", "--flight-addr", server.flight)
    assert shop.get("of_odd", "most", "ann", BOB) == [4.5, None]
    apply(server, odd(MENDED))
    assert shop.get("of_odd", "most", "ann", BOB) == [4.5, 3.5]
    assert server.client.action("verify", {"service": "of_odd", "sample": 100})["clean"]


def test_sql_that_never_has_a_value_is_refused_with_its_place(servers, kafka, tmp_path):
    shop = Shop(servers, kafka, tmp_path, MENDED)
    for expression, words in ((CONSTANT, "1 / 0"), ("max(date_part('fortnight', at))", "fortnight")):
        with pytest.raises(Exception, match="feature view odd") as refused:
            apply(shop.server, odd(expression).replace("CREATE", "CREATE OR REPLACE"))
        assert words in str(refused.value), refused.value
    shop.click("ann", BOB)
    assert shop.get("of_odd", "most", "ann", BOB) == [0.5, 1.5]
