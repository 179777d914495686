"""A view whose SQL fails on an event, or always, is set aside alone: no event is lost to it, everything else goes on over restarts,
its reads say why, and it is dropped or corrected while all runs.
"""

import uuid

import pytest

from conftest import run_binary, wait_for
from tables import delta_rows
from test_apply import ENTITY, SERVICE, SOURCE, VIEW, apply
from topics import make_topic, produce

# What comes out for this name has another type than was promised: no fault of the event that has it.
BOB = "2024-05-01"
POISONED = f"max(CASE WHEN name = '{BOB}' THEN date_part('epoch', to_timestamp(name)) END)"
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

    def aside(self):
        return self.server.client.status()["suspended"]


@pytest.mark.parametrize("expression, words", [(POISONED, "to_timestamp"), (CONSTANT, "Divide by zero")])
def test_a_view_whose_sql_fails_is_set_aside_alone(servers, kafka, tmp_path, expression, words):
    shop = Shop(servers, kafka, tmp_path, expression)
    server = shop.server
    shop.click("ann", BOB, "ann")
    [part] = wait_for(shop.aside, "the view to be set aside")
    assert (part["kind"], part["name"]) == ("view", "odd")
    assert words in part["reason"] and "correct it and apply it" in part["reason"], part
    wait_for(lambda: server.metric("forebay_part_set_aside", kind="view") == 1, "the series of the alert")
    with pytest.raises(Exception, match="view odd cannot be used") as refused:
        shop.get("of_odd", "most", BOB)
    assert words in str(refused.value)

    # Everything else goes on, also over a kill and a start.
    assert shop.get("spending_now", "clicks", "ann", BOB) == [2, 1]
    server.kill()
    server.start()
    shop.click(BOB, "ann")
    wait_for(lambda: shop.get("spending_now", "clicks", "ann", BOB) == [3, 2], "all to be counted")
    assert [part["name"] for part in shop.aside()] == ["odd"]
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"ingest to be well; {server.http('/readyz/ingest')}")
    status = server.client.status()
    assert status["sources"]["clicks"]["dead_letters"] == 0, status

    # What fails so fails again over the archive; corrected it has all events.
    rebuilt = run_binary("rebuild", "odd", "--flight-addr", server.flight, check=False)
    assert rebuilt.returncode != 0 and words in rebuilt.stderr, rebuilt
    apply(server, odd(MENDED))
    assert shop.get("of_odd", "most", "ann", BOB) == [4.5, 3.5]
    assert shop.aside() == []
    assert server.client.action("verify", {"service": "of_odd", "sample": 100})["clean"]


def test_a_view_that_is_set_aside_can_be_dropped(servers, kafka, tmp_path):
    shop = Shop(servers, kafka, tmp_path, POISONED)
    shop.click(BOB)
    wait_for(shop.aside, "the view to be set aside")
    apply(shop.server, "DROP FEATURE SERVICE of_odd;", "DROP FEATURE VIEW odd;")
    assert shop.aside() == []
    shop.click(BOB)
    assert shop.get("spending_now", "clicks", BOB) == [2]
