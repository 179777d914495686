"""`forebay verify` has an outside witness: the log. Whatever the archive lacks, has twice or has otherwise than Apache Kafka is
found, with topic, partition and offsets, although served values and archive agree with one another. What a finding says is to be
done is done here, and verification then finds nothing.
"""

import pathlib
import re
import shutil
import subprocess
import uuid

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT, binary, wait_for
from tables import delta_rows
from test_apply import ENTITY, SERVICE, SOURCE, VIEW, click, clicks, total
from test_archive import training_set
from topics import delete_records, delete_topic, make_topic, produce


@pytest.fixture
def shop(servers, kafka, tmp_path):
    """A server over one topic with one partition that has read and archived ten clicks and a record that is none, and its
    topic."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    sql = tmp_path / "sql"
    sql.mkdir()
    (sql / "all.sql").write_text("\n".join([SOURCE.format(amount="DOUBLE", topic=topic), ENTITY, VIEW, SERVICE]))
    env = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200", "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false"}
    server = servers(kafka, sql, env=env).start()
    click(kafka, topic, 0, 5)
    produce(kafka, topic, b"no JSON")
    click(kafka, topic, 5, 5)
    wait_for(lambda: clicks(server) == total(10), lambda: f"ten clicks; there are {clicks(server)}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 10, "ten archived clicks")
    return server, topic, kafka


def archive(server):
    return pathlib.Path(server.data_dir) / "offline" / "clicks"


def verify(server, *args):
    """The command's exit code and output."""
    command = [binary(), "verify", "spending_now", "--sample", "50", *args, "--flight-addr", server.flight]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done
    return done.returncode, done.stdout


def found(server, *words):
    """Verification fails, and says these words on one line."""
    code, text = verify(server)
    assert code == 1, text
    lines = [line for line in text.splitlines() if line.startswith("FAILED: ")]
    assert any(all(word in line for word in words) for line in lines), text


def source(server):
    return server.client.status()["sources"].get("clicks", {"state": "not begun"})


def settle(server):
    """Start the server and wait until it reads, or says why it does not."""
    server.start()
    wait_for(lambda: source(server)["state"] in ("reading", "halted"), lambda: f"a decision; {source(server)}")
    return source(server)["state"]


def backup(server, folder):
    """A copy of the archive's table, of a server that does not run."""
    return shutil.copytree(archive(server), folder / "backup")


def restore(server, copy):
    """The server is stopped, and the table is that of the backup again."""
    server.stop()
    shutil.rmtree(archive(server))
    shutil.copytree(copy, archive(server))


def begin_anew(server):
    """The server is stopped, and gets an empty data directory."""
    server.stop()
    server.data_dir = server.data_dir.with_name("empty")


def verified(server, expected, archived):
    """Started on what was mended the server reads, has these events and so many archived rows, and verification finds nothing."""
    assert settle(server) == "reading", source(server)
    wait_for(lambda: clicks(server) == expected, lambda: f"{expected}; there are {clicks(server)}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == archived, f"{archived} archived clicks")
    code, text = verify(server)
    assert code == 0, text


def test_an_archive_that_has_what_the_log_has_is_verified(shop):
    server, topic, kafka = shop
    code, text = verify(server)
    assert code == 0, text
    assert f"clicks: the archive against topic {topic}" in text
    assert "partition 0, offsets 0 to 11: 10 archived (10 compared with the log), 1 dead letters\n" in text, text
    # Nothing was committed, moved or held up.
    click(kafka, topic, 10, 2)
    wait_for(lambda: clicks(server) == total(12), "twelve clicks")
    assert verify(server, "--log-records", "0")[0] == 0


def test_a_topic_made_anew_and_partly_skipped_is_found(shop):
    server, topic, kafka = shop
    server.stop()
    delete_topic(kafka, topic)
    make_topic(kafka, topic)
    click(kafka, topic, 20, 20)
    settle(server)
    found(server, f"{topic}-0", "offsets 0 to 4, 6 to 10 (10 in all)", "other records", "give a new --data-dir")
    begin_anew(server)
    verified(server, (20, sum(number + 0.25 for number in range(20, 40))), 20)


def test_records_of_the_log_that_are_neither_archived_nor_dead_letters_are_found(shop, tmp_path):
    server, topic, kafka = shop
    server.stop()
    copy = backup(server, tmp_path)
    deltalake.DeltaTable(str(archive(server))).delete("_offset >= 2 AND _offset < 4")
    assert settle(server) == "reading"
    found(server, f"{topic}-0", "offsets 2 to 3 (2 in all)", "neither archived nor dead letters", "restore it from a backup",
          "or fill a new --data-dir from the log")
    restore(server, copy)
    verified(server, total(10), 10)
    begin_anew(server)
    verified(server, total(10), 10)


def test_rows_that_the_archive_has_twice_are_found(shop, tmp_path):
    server, topic, kafka = shop
    server.stop()
    copy = backup(server, tmp_path)
    table = deltalake.DeltaTable(str(archive(server)))
    rows = table.to_pyarrow_dataset().to_table()
    deltalake.write_deltalake(table, rows.slice(0, 1), mode="append")
    settle(server)
    found(server, f"{topic}-0", "(1 in all)", "more than once", "restore the table from a backup")
    restore(server, copy)
    verified(server, total(10), 10)


def test_an_archive_that_was_lost_is_found_when_the_log_has_lost_its_head(shop, tmp_path):
    server, topic, kafka = shop
    server.stop()
    copy = backup(server, tmp_path)
    shutil.rmtree(archive(server))
    delete_records(kafka, topic, 8, tmp_path)
    settle(server)
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 3, "the rest of the log to be archived")
    # The dead letter at offset 5 is in another table.
    found(server, "7 of 11 offsets", "--max-unverified")
    found(server, f"{topic}-0", "offsets 0 to 7 (8 in all)", "lost and made anew", "from a backup", "an empty --data-dir")
    restore(server, copy)
    verified(server, total(10), 10)
    begin_anew(server)
    verified(server, (3, 7.25 + 8.25 + 9.25), 3)


def test_an_archive_that_was_lost_and_filled_anew_from_the_whole_log_is_verified(shop):
    server, topic, kafka = shop
    server.stop()
    shutil.rmtree(archive(server))
    assert settle(server) == "reading"
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 10, "the log to be archived again")
    code, text = verify(server)
    assert code == 0, text


def test_an_archive_that_was_replaced_by_an_older_one_is_found(shop, tmp_path):
    server, topic, kafka = shop
    server.stop()
    shutil.copytree(archive(server), tmp_path / "older")
    server.start()
    click(kafka, topic, 10, 10)
    wait_for(lambda: clicks(server) == total(20), "twenty clicks")
    server.stop()
    copy = backup(server, tmp_path)
    shutil.rmtree(archive(server))
    shutil.move(tmp_path / "older", archive(server))
    delete_records(kafka, topic, 15, tmp_path)
    assert settle(server) == "halted"
    found(server, f"{topic}-0", "offsets 15 to 20 (6 in all)", "neither archived nor dead letters", "restore it from a backup")
    restore(server, copy)
    verified(server, total(20), 20)


def test_a_flipped_bit_in_an_archived_file_is_found(shop):
    server, topic, kafka = shop
    server.stop()
    file = max(archive(server).glob("part-*.parquet"), key=lambda file: file.stat().st_size)
    good = file.read_bytes()
    data = bytearray(good)
    data[len(data) // 3] ^= 0x10
    file.write_bytes(data)
    settle(server)
    found(server, file.name, "has changed since it was written", "restore it from a backup")
    server.stop()
    file.write_bytes(good)
    verified(server, total(10), 10)


def test_instants_that_are_too_old_are_verified_with_a_longer_history_as_its_error_says(shop, tmp_path):
    server, topic, kafka = shop
    server.stop()
    server.env["FOREBAY_STATE_HISTORY_HOURS"] = "1"
    server.start()
    for day in range(2, 12):
        produce(kafka, topic, {"name": "ann", "amount": 1.0, "at": f"2024-05-{day:02}T00:00:00Z"})
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == 20, lambda: f"{source(server)}")

    def is_too_old():
        code, text = verify(server)
        remedy = "a longer history_hours in [state], then `forebay rebuild VIEW`"
        return code == 1 and re.search(r"not verifiable: \d+ \(too old\)", text) and remedy in text

    # What is older than the history goes when the shards next look for it.
    wait_for(is_too_old, "old instants to be refused", every_s=0.5)
    with pytest.raises(pa.ArrowException, match="view spending keeps exact values from .*; ask the offline store"):
        clicks(server)
    built = training_set(server, tmp_path)
    assert built.returncode == 0, built
    assert pq.read_table(tmp_path / "set.parquet")["clicks"].to_pylist() == [11], "of the first day, and of the second's midnight"
    server.stop()
    server.env["FOREBAY_STATE_HISTORY_HOURS"] = "1000"
    server.start()
    command = [binary(), "rebuild", "spending", "--flight-addr", server.flight]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    code, text = verify(server)
    assert code == 0 and "20 rows, 20 equal to the bit" in text, text
