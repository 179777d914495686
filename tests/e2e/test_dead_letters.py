"""Records that could not become rows, and rows that a view leaves out, on the command line: listed and shown with key and headers,
and, once the definition is corrected, the records produced once more, each once, beside a running server and without one. What a
view left out is in it again when the view is corrected, and nothing is produced for that.
"""

import json
import re
import uuid

import pytest

from conftest import run_binary, wait_for
from tables import delta, delta_rows
from test_apply import ENTITY, SERVICE, VIEW, apply
from test_failing_view import BOB, DIVIDES, MENDED, odd
from topics import delete_topic, has_topic, kcat, make_topic, placed_records, produce

SOURCE = """CREATE OR REPLACE SOURCE clicks (name VARCHAR NOT NULL, amount DOUBLE{null}, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{topic}', format = 'json');"""
FLAGS = ("-k", "a key", "-H", "trace=a1")


class Shop:
    def __init__(self, servers, kafka, tmp_path, *more, null=" NOT NULL"):
        self.kafka, self.topic = kafka, f"clicks.{uuid.uuid4().hex[:8]}"
        make_topic(kafka, self.topic, 2)
        sql = tmp_path / "sql"
        sql.mkdir()
        (sql / "all.sql").write_text("\n".join([SOURCE.format(null=null, topic=self.topic), ENTITY, VIEW, SERVICE, *more]))
        self.server = servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "300"}).start()
        self.server.sql = None

    def click(self, name, number, flags=(), **more):
        produce(self.kafka, self.topic, {"name": name, "at": f"2024-05-01T00:00:{number:02}Z", **more}, 1, flags)

    def archived(self, table, rows):
        wait_for(lambda: delta_rows(self.server.data_dir, table) == rows, lambda: f"{rows} rows of {table}; {self.server.client.status()}")

    def letters(self, command, *args, bootstrap=None, check=True):
        """`forebay dead-letters`, finished."""
        where = ("--data-dir", self.server.data_dir, "--bootstrap", bootstrap or self.kafka)
        return run_binary("dead-letters", command, *args, *where, check=check)

    def json(self, command, *args):
        return json.loads(self.letters(command, *args, "--json").stdout)

    def clicks(self, name):
        return self.server.client.get("spending_now", {"name": [name]}, at="2024-05-01T01:00:00Z")["clicks"].to_pylist()[0]


@pytest.fixture
def shop(servers, kafka, tmp_path):
    """A server, a record of which its source has no row, and one that is no JSON."""
    shop = Shop(servers, kafka, tmp_path)
    shop.click("ann", 0, amount=0.5)
    shop.click(BOB, 1, FLAGS)
    produce(kafka, shop.topic, b"{", 0)
    shop.archived("dead_letters", 2)
    shop.archived("clicks", 1)
    return shop


def test_a_bad_record_is_listed_shown_and_once_corrected_replayed_once(shop):
    listed = shop.json("list", "--source", "clicks", "--reason", "missing_column")
    assert listed["records"] == 1, listed
    [letter] = listed["dead_letters"]
    assert (letter["partition"], letter["offset"], letter["key"]) == (1, 1, "a key"), letter
    assert letter["headers"] == [{"name": "trace", "value": "a1"}], letter
    text = shop.letters("list").stdout
    assert "a key" in text and re.search(r"clicks +not_json +1\n", text), text

    shown = shop.json("show", "clicks", 1, 1)
    assert json.loads(shown["value"])["name"] == BOB and shown["key"] == "a key", shown
    assert "`amount`" in shown["text"] and "still no row" in shown["next"], shown

    # As long as the definition does not take them nothing is produced.
    before = placed_records(shop.kafka, shop.topic)
    refused = shop.letters("replay", check=False)
    assert refused.returncode == 1 and "2 left: the record is still no row" in refused.stdout, refused.stdout
    assert placed_records(shop.kafka, shop.topic) == before

    # The remedy.
    apply(shop.server, SOURCE.format(null="", topic=shop.topic))
    assert "replay --source clicks 1 1" in shop.json("show", "clicks", 1, 1)["next"]
    assert "clicks: 1 records would be produced" in shop.letters("replay", "--reason", "missing_column", "--dry-run").stdout
    assert placed_records(shop.kafka, shop.topic) == before
    done = shop.letters("replay", "--source", "clicks", 1, 1)
    assert "clicks: 1 records were produced once more" in done.stdout, done.stdout
    wait_for(lambda: shop.clicks(BOB) == 1, "the row to arrive")
    shop.archived("clicks", 2)
    replayed = kcat(shop.kafka, "-C", "-t", shop.topic, "-p", 1, "-o", 2, "-e", "-q", "-f", "%k|%h|%s\n").decode()
    key, headers, value = replayed.strip().split("|")
    assert (key, headers) == ("a key", f"trace=a1,forebay-replay-of={shop.topic}/1/1")
    assert json.loads(value)["name"] == BOB

    # Once: beside the server, and without one.
    after = placed_records(shop.kafka, shop.topic)
    for running in (True, False):
        if not running:
            shop.server.kill()
        again = shop.letters("replay", "--source", "clicks", 1, 1)
        assert "was replayed already" in again.stdout and "records were" not in again.stdout, again.stdout
        rest = shop.letters("replay", check=False)
        assert rest.returncode == 1 and "1 left: the record is still no row" in rest.stdout, rest.stdout
    assert placed_records(shop.kafka, shop.topic) == after
    shop.server.start()
    wait_for(lambda: shop.clicks(BOB) == 1, "the row after a start")
    assert shop.server.client.action("verify", {"service": "spending_now", "sample": 100})["clean"]


def test_a_replay_that_fails_again_is_replayed_when_that_is_asked_for(shop):
    # What was produced once more by hand, or by a definition that has changed since, is a letter of its own.
    shop.click(BOB, 2, (*FLAGS, "-H", f"forebay-replay-of={shop.topic}/1/1"))
    shop.archived("dead_letters", 3)
    apply(shop.server, SOURCE.format(null="", topic=shop.topic))
    first = shop.letters("replay", "--source", "clicks", 1, 2)
    assert "1 left: the record is a replay that failed in its turn; --again" in first.stdout, first.stdout
    for again, words in ((("--again",), "1 records were produced"), (("--again",), "was replayed already")):
        done = shop.letters("replay", "--source", "clicks", 1, 2, *again)
        assert words in done.stdout, done.stdout
    text = kcat(shop.kafka, "-C", "-t", shop.topic, "-p", 1, "-o", 3, "-e", "-q", "-f", "%h\n").decode()
    assert text.strip() == f"trace=a1,forebay-replay-of={shop.topic}/1/1"


def test_what_cannot_be_replayed_is_refused_with_its_remedy(shop):
    for args, code, words in [
        (("list", "--source", "clikcs"), 2, ["no source 'clikcs'", "clicks"]),
        (("list", "--view", "spendings"), 2, ["no feature view 'spendings'", "spending"]),
        (("list", "--reason", "bad"), 2, ["no reason 'bad'", "missing_column"]),
        (("show", "clicks", 0, 7), 2, ["neither a dead letter nor an archived row", "list --source clicks"]),
        (("show", "clicks", 1, 0), 2, ["no feature view leaves it out"]),
        (("replay", 1, 1), 2, ["--source"]),
    ]:
        refused = shop.letters(*args, check=False)
        assert refused.returncode == code and all(word in refused.stderr for word in words), refused.stderr
    assert "clicks 1 0 is no dead letter" in shop.letters("replay", "--source", "clicks", 1, 0).stdout

    apply(shop.server, SOURCE.format(null="", topic=shop.topic))
    away = shop.letters("replay", "--source", "clicks", 1, 1, bootstrap="127.0.0.1:9", check=False)
    assert away.returncode == 3 and "--bootstrap" in away.stderr, away.stderr
    shop.server.kill()
    delete_topic(shop.kafka, shop.topic)
    wait_for(lambda: not has_topic(shop.kafka, shop.topic), "the topic to be gone")
    missing = shop.letters("replay", "--source", "clicks", 1, 1, check=False)
    assert missing.returncode == 2 and f"topic {shop.topic} is not there" in missing.stderr, missing.stderr
    make_topic(shop.kafka, shop.topic, 2)
    other = shop.letters("replay", "--source", "clicks", 1, 1, check=False)
    assert other.returncode == 2 and "made anew" in other.stderr, other.stderr
    assert placed_records(shop.kafka, shop.topic) == []


def test_a_row_that_a_view_leaves_out_is_listed_with_key_and_headers_and_not_replayed(servers, kafka, tmp_path):
    shop = Shop(servers, kafka, tmp_path, odd(DIVIDES), null="")
    for number, name in enumerate(["ann", BOB, "ann", BOB]):
        shop.click(name, number, FLAGS if name == BOB else (), amount=number + 0.5)
    shop.archived("clicks", 4)
    listed = shop.json("list", "--view", "odd")
    assert [(row["partition"], row["offset"]) for row in listed["left_out"]] == [(1, 3), (1, 1)], listed
    for row in listed["left_out"]:
        assert (row["view"], row["reason"], row["key"]) == ("odd", "division_by_zero", "a key"), row
        assert row["headers"] == [{"name": "trace", "value": "a1"}], row
    assert listed["by_source_and_reason"] == [{"source": "clicks", "reason": "division_by_zero", "records": 2}]
    shown = shop.json("show", "clicks", 1, 1)
    assert shown["left_out_of"][0]["view"] == "odd" and shown["key"] == "a key", shown
    assert json.loads(shown["row"])["name"] == BOB and "nothing is to be replayed" in shown["next"], shown
    assert shop.letters("list", "--source", "clicks").stdout.count("clicks") == 0
    before = placed_records(kafka, shop.topic)
    assert "clicks 1 1 is no dead letter" in shop.letters("replay", "--source", "clicks", 1, 1).stdout
    assert placed_records(kafka, shop.topic) == before

    # A broker that is away takes the names, and nothing else.
    away = json.loads(shop.letters("list", "--view", "odd", "--json", bootstrap="127.0.0.1:9").stdout)
    assert away["records"] == 2 and "127.0.0.1:9" in away["log_away"], away

    # The remedy: the corrected view has them.
    apply(shop.server, odd(MENDED).replace("CREATE", "CREATE OR REPLACE"))
    listed = shop.json("list", "--view", "odd")
    assert listed["records"] == 0 and listed["left_out"] == [], listed
    assert "takes every archived row" in shop.letters("list", "--view", "odd").stdout


def test_the_table_names_key_and_headers_for_other_readers(shop):
    rows = delta(shop.server.data_dir, "dead_letters", ["_offset", "reason", "key", "headers", "cut"]).to_pylist()
    [row] = [row for row in rows if row["reason"] == "missing_column"]
    assert row["key"] == b"a key" and json.loads(row["headers"]) == [{"name": "trace", "value": "a1"}] and row["cut"] is False
