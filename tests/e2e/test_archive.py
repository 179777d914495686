"""The archive as it ages, on Apache Kafka: it belongs to one server, it is known for a stump when it was lost and Kafka has lost
the head of the log, small files are joined beside ingest without a reader noticing, and a flipped bit shows.
"""

import json
import shutil
import threading
import uuid

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest

from conftest import run_binary, wait_for
from tables import assert_equal, delta, delta_rows, instant
from test_apply import SERVICE, VIEW, apply, click, clicks, total
from test_log import definitions, source
from topics import delete_records, make_topic

ENV = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "20", "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false"}
OTHER_VIEW = VIEW.replace("VIEW spending", "VIEW spending_again")
MAY_US = instant("2024-05-01")


@pytest.fixture
def shop(servers, kafka, tmp_path):
    """A server that does not run yet, over one topic with one partition."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    return servers(kafka, definitions(tmp_path, topic), env=ENV), topic, kafka


def archived(server, rows):
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == rows, f"{rows} rows in the archive")


def refused(server, *words):
    """The server does not start, and says why."""
    server.start(ready=False)
    wait_for(lambda: server.process.poll() is not None, "the server to end")
    assert server.process.returncode != 0
    text = server.log_tail()
    for word in words:
        assert word in text, f"{word} is not in:\n{text}"


def test_no_row_is_dated_by_a_clock_that_is_days_away_until_it_is_accepted(shop):
    server, topic, kafka = shop
    click(kafka, topic, 0, 4)
    server.start()
    archived(server, 4)
    server.stop()
    # As a server leaves it whose clock said 2108, of a build before entries had a checksum.
    for entry in (server.data_dir / "offline" / "clicks" / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in entry.read_text().splitlines()]
        for action in actions:
            action.get("commitInfo", {}).pop("forebay.crc32c", None)
            if action.get("txn", {}).get("appId") == "forebay/clicks":
                action["txn"]["version"] = 4386268800000000
        entry.write_text("\n".join(map(json.dumps, actions)))
    server.start()
    click(kafka, topic, 4, 2)
    failing = lambda: " ".join(server.client.status()["failing"].values())  # noqa: E731
    wait_for(lambda: "2108-" in failing(), lambda: f"the reason; {server.client.status()['failing']}")
    assert "archive.clock_gap_max_days" in failing()
    wait_for(lambda: clicks(server) == total(6), lambda: f"reads to go on; {clicks(server)}")
    assert server.http("/readyz")[0] == 200 and delta_rows(server.data_dir, "clicks") == 4
    server.stop()
    server.env["FOREBAY_ARCHIVE_CLOCK_GAP_MAX_DAYS"] = "40000"
    server.start()
    archived(server, 6)
    assert server.client.status()["failing"] == {}
    newest = pc.max(delta(server.data_dir, "clicks", ["_ingest_time"])["_ingest_time"])
    assert newest.as_py().year == 2108, "dates rise"


def test_an_archive_belongs_to_one_server_and_the_name_that_its_refusal_gives_is_taken(shop, servers):
    server, topic, kafka = shop
    click(kafka, topic, 0, 4)
    server.start()
    archived(server, 4)
    server.stop()
    server.env["FOREBAY_SERVER_NAME"] = "other"
    refused(server, "server.name", "forebay", "other")
    # The archive alone, under a new data directory.
    moved = servers(kafka, server.sql, env={**ENV, "FOREBAY_SERVER_NAME": "other"})
    shutil.copytree(server.data_dir / "offline", moved.data_dir / "offline")
    refused(moved, "server.name", "belongs to the server named `forebay`")
    (moved.data_dir / "deployment").unlink(missing_ok=True)
    for again in (server, moved):
        again.env["FOREBAY_SERVER_NAME"] = "forebay"
        again.start()
        wait_for(lambda: clicks(again) == total(4), lambda: f"four clicks; {clicks(again)}")
        again.stop()
        assert delta(again.data_dir, "clicks").num_rows == 4, "nothing is there twice"


def training_set(server, folder, *flags):
    """What `forebay training-set` makes of one row of spine."""
    spine = pa.table({"name": ["ann"], "event_time": pa.array([instant("2024-05-02")], pa.timestamp("us", "UTC"))})
    pq.write_table(spine, folder / "spine.parquet")
    return run_binary("training-set", "spending_now", "--spine", folder / "spine.parquet", "--out", folder / "set.parquet",
                      "--data-dir", server.data_dir, *flags, check=False)


def test_a_training_set_of_before_is_given_again_whatever_came_since(shop, tmp_path):
    server, topic, kafka = shop

    def made(name, *flags):
        folder = tmp_path / name
        folder.mkdir()
        done = training_set(server, folder, *flags)
        assert done.returncode == 0, done
        return pq.read_table(folder / "set.parquet")

    click(kafka, topic, 0, 4)
    server.start()
    archived(server, 4)
    before = made("before")
    click(kafka, topic, 4, 4)
    archived(server, 8)
    assert made("again", "--again", tmp_path / "before" / "set.parquet").equals(before)
    assert not made("now").equals(before), "what came since counts without it"


def test_a_view_is_filled_from_no_stump_and_the_restored_archive_fills_it(shop, tmp_path):
    server, topic, kafka = shop
    click(kafka, topic, 0, 6)
    server.start()
    archived(server, 6)
    server.stop()
    table = server.data_dir / "offline" / "clicks"
    shutil.copytree(table, tmp_path / "backup")
    shutil.rmtree(table)
    delete_records(kafka, topic, 4, tmp_path)
    server.start()
    archived(server, 2)
    assert clicks(server) == total(6), "reads go on"
    again = SERVICE.replace("spending AS s", "spending_again AS s")
    with pytest.raises(pa.ArrowException, match="begins at offset 4 .* backup"):
        apply(server, OTHER_VIEW, again)
    assert clicks(server) == total(6), "what was there stays"
    built = training_set(server, tmp_path)
    assert built.returncode != 0 and "begins at offset 4" in built.stderr and "backup" in built.stderr, built
    server.stop()
    shutil.rmtree(table)
    shutil.copytree(tmp_path / "backup", table)
    server.start()
    apply(server, OTHER_VIEW, again)
    wait_for(lambda: clicks(server) == total(6), lambda: f"six clicks; {clicks(server)}")
    built = training_set(server, tmp_path)
    assert built.returncode == 0, built
    assert pq.read_table(tmp_path / "set.parquet")["clicks"].to_pylist() == [6]


class Trickle(threading.Thread):
    """Pushes clicks one by one until it is told to stop."""

    def __init__(self, server, first):
        super().__init__(daemon=True)
        self.next, self.over = first, threading.Event()
        self.schema = pa.schema([("name", pa.string()), ("amount", pa.float64()), ("at", pa.timestamp("us", "UTC"))])
        place = flight.FlightDescriptor.for_path("source", "clicks")
        self.writer, self.reader = server.client.flight.do_put(place, self.schema)

    def run(self):
        while not self.over.wait(0.02):
            at = MAY_US + self.next * 60_000_000
            row = {"name": ["ann"], "amount": [self.next + 0.25], "at": [at]}
            batch = pa.RecordBatch.from_pydict(row, self.schema)
            self.writer.write_with_metadata(batch, json.dumps({"batch_id": self.next}).encode())
            self.reader.read()
            self.next += 1

    def stop(self):
        """Returns the number of the next click."""
        self.over.set()
        self.join()
        self.writer.close()
        return self.next


def newest(server, **options):
    return deltalake.DeltaTable(str(server.data_dir / "offline" / "clicks"), **options)


def files(server):
    return len(newest(server).file_uris())


def first_rows(table, count):
    return table.sort_by("_offset").slice(0, count)


def test_hundreds_of_small_commits_are_joined_beside_ingest_and_readers_see_the_same_rows(shop):
    server, _, _ = shop
    server.start()
    wait_for(lambda: source(server)["state"] == "reading", lambda: f"reading to begin; {source(server)}")
    trickle = Trickle(server, 0)
    trickle.start()
    wait_for(lambda: files(server) >= 200, lambda: f"200 files; there are {files(server)}", every_s=0.5)
    count = trickle.stop()
    archived(server, count)
    server.stop()
    before, version, many = delta(server.data_dir, "clicks"), newest(server).version(), files(server)
    # Again, with upkeep every second, while events go on coming.
    server.env.update(FOREBAY_ARCHIVE_UPKEEP_INTERVAL_S="1", FOREBAY_ARCHIVE_SCRUB_INTERVAL_S="1")
    server.start()
    trickle = Trickle(server, count)
    trickle.start()

    def compacted():
        return server.metric("forebay_archive_compacted_files_total", table="clicks")

    wait_for(lambda: compacted() >= many and files(server) < 50, lambda: f"few files; {files(server)}, {compacted()}",
             every_s=0.5)
    last = trickle.stop()
    assert last > count, "events came meanwhile"
    archived(server, last)
    rows = first_rows(before, count)
    assert_equal(first_rows(delta(server.data_dir, "clicks"), count), rows)
    old = newest(server, version=version).to_pyarrow_dataset().to_table()
    assert old.num_rows == count, "an older version holds what it held"
    assert_equal(first_rows(old, count), rows)
    # A busy machine takes more than a day of clicks meanwhile, one a minute.
    later = "2024-06-01T00:00:00Z"
    wait_for(lambda: clicks(server, later) == total(last), lambda: f"{total(last)}; {clicks(server, later)}")
    wait_for(lambda: server.metric("forebay_archive_scrub_timestamp_seconds", table="clicks") > 0, "a scrub")
    assert server.client.status()["damaged_files"] == {}
    done = run_binary("verify", "spending_now", "--flight-addr", server.flight)
    assert done.returncode == 0, done.stdout
    assert server.metric("forebay_archive_upkeep_errors_total") == 0, server.log_tail()


def test_a_flipped_bit_shows_in_status_metrics_and_log(shop):
    server, topic, kafka = shop
    server.env.update(FOREBAY_ARCHIVE_SCRUB_INTERVAL_S="1")
    click(kafka, topic, 0, 3)
    server.start()
    archived(server, 3)
    file = next((server.data_dir / "offline" / "clicks").glob("part-*.parquet"))
    good = file.read_bytes()
    file.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    wait_for(lambda: server.metric("forebay_archive_damaged_files", table="clicks") == 1, "the damage to show")
    assert server.client.status()["damaged_files"] == {"clicks": [file.name]}
    assert file.name in server.log_tail()
    # The remedy.
    file.write_bytes(good)
    wait_for(lambda: server.client.status()["damaged_files"] == {}, "the file to be sound")
