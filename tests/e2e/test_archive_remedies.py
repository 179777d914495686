"""What the archive, and `forebay training-set` over it, say is to be done is done here, on Apache Kafka: the training set is
then the one of before, and the server reads on and archives every event once.
"""

import json
import os
import pathlib
import re
import shutil
import uuid

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import run_binary, wait_for
from tables import delta, delta_rows, instant
from test_apply import SERVICE, SOURCE, VIEW, apply, click, clicks, total
from test_archive import refused
from test_log import definitions, source
from topics import make_topic

COUNT = 6
ENV = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "20", "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false"}
AT = pa.array([instant("2024-05-02")], pa.timestamp("us", "UTC"))
# One row of spine.
ANN = {"name": ["ann"], "event_time": AT}


def table_of(data_dir):
    return pathlib.Path(data_dir) / "offline" / "clicks"


class Shop:
    """A topic of clicks, and a server that has archived COUNT of them in as many files and was stopped."""

    def __init__(self, servers, kafka, folder):
        self.kafka, self.topic, self.count = kafka, f"clicks.{uuid.uuid4().hex[:8]}", 0
        make_topic(kafka, self.topic)
        self.server = servers(kafka, definitions(folder, self.topic), env=ENV).start()
        for _ in range(COUNT):
            self.click()
            wait_for(lambda: delta_rows(self.server.data_dir, "clicks") == self.count, f"{self.count} archived clicks")
        self.server.stop()

    def click(self):
        click(self.kafka, self.topic, self.count, 1)
        self.count += 1

    def is_whole(self, server):
        """The server has applied and archived every click once."""
        expected = total(self.count)
        wait_for(lambda: clicks(server) == expected, lambda: f"{expected}; {clicks(server)}, {source(server)}")
        wait_for(lambda: delta_rows(server.data_dir, "clicks") >= self.count, lambda: f"archived clicks; {source(server)}")
        assert delta_rows(server.data_dir, "clicks") == self.count
        return True


@pytest.fixture(scope="module")
def shop(module_servers, kafka, tmp_path_factory):
    return Shop(module_servers, kafka, tmp_path_factory.mktemp("archive"))


@pytest.fixture
def copied(shop, tmp_path):
    """A copy of what the server has, without its state, and a backup of the table."""
    shutil.copytree(shop.server.data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("online"))
    shutil.copytree(table_of(shop.server.data_dir), tmp_path / "backup")
    return tmp_path


def written(file, columns):
    pq.write_table(pa.table(columns), file)
    return file


def made_by(options, **env):
    """What `forebay training-set` with these options says, and the row that it makes."""
    service, out = options["service"], options["out"]
    flags = [word for option, value in options.items() if option != "service" for word in (f"--{option}", value)]
    done = run_binary("training-set", service, *flags, check=False, env={**os.environ, **env}, timeout=60)
    row = pq.read_table(out).to_pylist()[0] if done.returncode == 0 else {}
    return done, (row.get("clicks"), row.get("total"))


def training_set(folder, data_dir):
    """The same over the archive in `data_dir`."""
    return made_by({"service": "spending_now", "spine": written(folder / "spine.parquet", ANN), "out": folder / "set.parquet",
                    "data-dir": data_dir})


def parts(table):
    return sorted(table.glob("part-*.parquet"))


def flip(file):
    content = file.read_bytes()
    middle = len(content) // 3
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:])


def lose_file(table):
    parts(table)[2].unlink()


def change_file(table):
    flip(parts(table)[2])


def compacted(table):
    """Another program has joined the files; the backup has it so."""
    deltalake.DeltaTable(str(table)).optimize.compact()
    shutil.rmtree(table.parents[2] / "backup")
    shutil.copytree(table, table.parents[2] / "backup")
    [file] = deltalake.DeltaTable(str(table)).file_uris()
    content = pathlib.Path(file).read_bytes()
    pathlib.Path(file).write_bytes(content[:-8] + b"\xff" * 4 + content[-4:])


def appended(offset):
    """Another program has appended a record as one of this offset."""
    def change(table):
        row = deltalake.DeltaTable(str(table)).to_pyarrow_dataset().to_table().slice(0, 1)
        place = row.schema.get_field_index("_offset")
        deltalake.write_deltalake(str(table), row.set_column(place, row.schema.field(place), pa.array([offset], pa.int64())),
                                  mode="append")

    return change


def doubled(table):
    """Another program has appended a record once more."""
    row = deltalake.DeltaTable(str(table)).to_pyarrow_dataset().to_table().slice(0, 1)
    deltalake.write_deltalake(str(table), row, mode="append")


def with_property(name, value):
    def change(table):
        deltalake.DeltaTable(str(table)).alter.set_table_properties({name: value}, raise_if_not_exists=False)

    return change


def restore_file(table, text):
    name = re.search(r"file (\S+) ", text)[1]
    shutil.copy(table.parents[2] / "backup" / name, table / name)


def restore_table(table, _):
    shutil.rmtree(table)
    shutil.copytree(table.parents[2] / "backup", table)


TABLES = {
    "lost": (lose_file, "is missing, which its log names; restore it from a backup", restore_file),
    "changed": (change_file, "has changed since it was written .*; restore it from a backup", restore_file),
    "unreadable": (compacted, r"is not what Parquet readers expect \(.*\); restore it from a backup", restore_file),
    "beyond": (appended(100), "holds offset 100, .* up to 6 only.*; restore the table's directory from a backup as a whole",
               restore_table),
    "doubled": (doubled, "the record at offset . of partition 0 is there twice; restore the events from a backup", restore_table),
    "format": (with_property("forebay.format", "two"),
               "its property forebay.format is `two`, which no build writes; restore the table's directory from a backup",
               restore_table),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_training_set_is_made_once_the_archive_is_restored_as_its_refusal_says(copied, case):
    wrong, words, mend = TABLES[case]
    data_dir = copied / "data"
    wrong(table_of(data_dir))
    done, _ = training_set(copied, data_dir)
    assert done.returncode != 0 and re.search(words, done.stderr), done
    mend(table_of(data_dir), done.stderr)
    done, row = training_set(copied, data_dir)
    assert done.returncode == 0 and row == total(COUNT), done


@pytest.fixture
def server(shop, servers):
    """A server of its own over a copy of what the other one has; it does not run."""
    own = servers(shop.kafka, shop.server.sql, env=dict(ENV))
    shutil.copytree(shop.server.data_dir, own.data_dir)
    return own


def begin_anew(shop, server):
    """As the words say, with an empty data directory."""
    server.stop()
    server.data_dir = server.data_dir.with_name("empty")
    server.start()
    shop.click()
    assert shop.is_whole(server)


def is_told(server, words):
    """It runs, and says these words of the archive."""
    wait_for(lambda: re.search(words, json.dumps(server.client.status(), ensure_ascii=False)),
             lambda: f"{words}; {server.client.status()}")


def unset(table, name):
    """A commit that gives the table the same properties without this one."""
    log = table / "_delta_log"
    entries = sorted(log.glob("*.json"))
    actions = [json.loads(line) for entry in entries for line in entry.read_text().splitlines()]
    metadata = [action["metaData"] for action in actions if "metaData" in action][-1]
    del metadata["configuration"][name]
    commit = {"commitInfo": {"timestamp": 0, "operation": "UNSET TBLPROPERTIES"}}, {"metaData": metadata}
    (log / f"{len(entries):020}.json").write_text("\n".join(map(json.dumps, commit)))


def test_a_table_that_would_forget_offsets_is_read_once_the_property_is_unset(shop, server):
    name = "delta.setTransactionRetentionDuration"
    with_property(name, "interval 7 days")(table_of(server.data_dir))
    server.start()
    is_told(server, f"{name} is set, so it would forget offsets; unset it")
    unset(table_of(server.data_dir), name)
    shop.click()
    assert shop.is_whole(server)


def test_beside_a_table_of_a_newer_build_an_empty_directory_begins_anew(shop, server):
    table = table_of(server.data_dir)
    with_property("forebay.format", "9")(table)
    server.start()
    is_told(server, "it has format 9 of a newer build.*; start the newer build again, or use an empty data directory")
    begin_anew(shop, server)


def test_a_table_of_another_program_is_moved_out_or_an_empty_directory_begins_anew(shop, server, tmp_path):
    rows = delta(server.data_dir, "clicks")
    shutil.rmtree(server.data_dir)
    deltalake.write_deltalake(str(table_of(server.data_dir)), rows)
    server.start(ready=False)
    words = "does not say which server it belongs to.*; move its directory out of the archive, or use an empty data directory"
    wait_for(lambda: re.search(words, server.log_tail()), lambda: server.log_tail())
    server.stop()
    table_of(server.data_dir).rename(tmp_path / "another")
    server.start()
    assert shop.is_whole(server)
    begin_anew(shop, server)


def test_a_table_that_was_lost_is_made_when_its_source_is_applied(shop, server, tmp_path):
    shutil.rmtree(table_of(server.data_dir))
    done, _ = training_set(tmp_path, server.data_dir)
    assert done.returncode == 2 and "has no table `clicks`; it is made when its source is applied" in done.stderr, done
    server.start()
    assert shop.is_whole(server)
    done, row = training_set(tmp_path, server.data_dir)
    assert done.returncode == 0 and row == total(shop.count), done


def test_an_append_that_finds_no_name_for_its_file_is_made_once_the_staged_files_are_deleted(shop, server):
    log = table_of(server.data_dir) / "_delta_log"
    server.start()
    assert shop.is_whole(server)
    entry = f"{len(list(log.glob('*.json'))):020}.json"
    (log / f"{entry}#0").touch()
    for number in range(1, 10_000):
        os.link(log / f"{entry}#0", log / f"{entry}#{number}")
    shop.click()
    is_told(server, "10000 staged files lie beside it; delete those whose names end in `#<n>`")
    for staged in log.glob(f"{entry}#*"):
        staged.unlink()
    assert shop.is_whole(server)


def test_a_view_is_rebuilt_once_a_table_that_has_a_record_twice_is_restored(shop, server, tmp_path):
    table = table_of(server.data_dir)
    shutil.copytree(table, tmp_path / "backup")
    appended(2)(table)
    server.start()
    rebuilt = run_binary("rebuild", "spending", "--flight-addr", server.flight, check=False)
    assert rebuilt.returncode != 0 and re.search("it holds one record of its log twice.*; restore the table from a backup",
                                                 rebuilt.stderr), rebuilt
    server.stop()
    shutil.rmtree(table)
    shutil.copytree(tmp_path / "backup", table)
    server.start()
    run_binary("rebuild", "spending", "--flight-addr", server.flight)
    assert shop.is_whole(server)


def test_a_server_gets_a_name_that_the_archive_can_hold(shop, servers):
    server = servers(shop.kafka, shop.server.sql, env={**ENV, "FOREBAY_SERVER_NAME": "my shop"})
    refused(server, "server.name `my shop` cannot be archived: use up to 128 letters, digits, `_`")
    server.env["FOREBAY_SERVER_NAME"] = "my-shop"
    server.start()
    assert shop.is_whole(server)


def test_a_source_gets_a_name_that_the_archive_can_hold(shop, server):
    server.env["FOREBAY_KAFKA_CREATE_SOURCE_TOPICS"] = "true"
    server.start()
    topic = f"{shop.topic}.other"

    def named(name):
        texts = SOURCE.format(amount="DOUBLE", topic=topic), VIEW.replace("VIEW spending", "VIEW others"), SERVICE
        return [text.replace("SOURCE clicks", f"SOURCE {name}").replace("FROM clicks", f"FROM {name}")
                .replace("SERVICE spending_now", "SERVICE others_now").replace("spending AS", "others AS") for text in texts]

    with pytest.raises(pa.ArrowException, match='source "my clicks" names a table of the archive: use up to 128 letters, digits, `_`'):
        apply(server, *named('"my clicks"'))
    apply(server, *named("my_clicks"))
    click(shop.kafka, topic, 0, 2)
    wait_for(lambda: delta_rows(server.data_dir, "my_clicks") == 2, lambda: f"two archived clicks; {server.client.status()}")
    assert server.client.get("others_now", {"name": ["ann"]}, at="2024-05-02T00:00:00Z")["clicks"].to_pylist() == [2]
    assert shop.is_whole(server)


def test_a_training_set_is_made_once_its_call_is_what_its_refusals_say(shop, copied):
    text, config, events = copied / "text.parquet", copied / "server.toml", copied / "events"
    text.write_text("this is no Parquet file")
    config.write_text(f'[server]\ndata_dir = "{copied / "data"}"\n')
    call = {"service": "spending", "spine": text, "out": copied / "absent" / "set.parquet", "data-dir": copied / "none"}
    for words, mended in [
        ("cannot be written; give another file", {"out": copied / "set.parquet"}),
        ("there is no archive in .*; name a server's data directory with --data-dir or --config, or read files with --sql and "
         "--events", {"data-dir": copied / "data"}),
        ("there is no feature service 'spending'; the server's definitions have: spending_now", {"service": "spending_now"}),
        ("not a Parquet file that can be read .*; check the path", {"spine": written(copied / "late.parquet", ANN)}),
    ]:
        done, _ = made_by(call)
        assert done.returncode == 2 and re.search(words, done.stderr), done
        call |= mended
    done, row = made_by(call)
    assert done.returncode == 0 and row == total(COUNT), done

    # The same by the other two ways that it names: a server's settings, and files.
    del call["data-dir"]
    assert made_by(call | {"config": config})[1] == total(COUNT)
    files = {"sql": shop.server.sql, "events": events}
    done, _ = made_by(call | files)
    assert "is no folder; give one with a NAME.parquet a source" in done.stderr, done
    events.mkdir()
    rows = delta(copied / "data", "clicks", ["name", "amount", "at"])
    pq.write_table(rows, events / "events.parquet")
    done, _ = made_by(call | files)
    assert re.search("--events has no .*clicks.parquet, .*; files are named after the sources", done.stderr), done
    (events / "events.parquet").rename(events / "clicks.parquet")
    assert made_by(call | files)[1] == total(COUNT)

    done, _ = made_by(call | files, FOREBAY_MEMORY_LIMIT_MIB="16")
    found = re.search(r"is too little for a command; the smallest that works is (\d+)", done.stderr)
    assert done.returncode != 0 and found, done
    assert made_by(call | files, FOREBAY_MEMORY_LIMIT_MIB=found[1])[1] == total(COUNT)


# A spine that is refused, what is said of it, and the same as the words want it.
SPINES = [
    ({"name": ["ann"], "event_time": ["2024-05-02"]}, "make it a timestamp", ANN),
    ({"name": ["ann"], "event_time": pa.array([None], AT.type)}, "every row needs an instant", ANN),
    ({"event_time": AT}, "needs column `name` VARCHAR, which the spine lacks", ANN),
    ({**ANN, "name": [1]}, "column `name` of service spending_now is VARCHAR, the spine has Int64", ANN),
    ({**ANN, "clicks": [1]}, "has the name of feature `clicks` of service spending_now; rename the spine column",
     {**ANN, "mine": [1]}),
]


def test_spines_that_are_what_their_refusals_say_are_taken(copied):
    call = {"service": "spending_now", "out": copied / "set.parquet", "data-dir": copied / "data"}
    for wrong, words, mended in SPINES:
        done, _ = made_by(call | {"spine": written(copied / "wrong.parquet", wrong)})
        assert done.returncode == 2 and words in done.stderr, done
        done, row = made_by(call | {"spine": written(copied / "mended.parquet", mended)})
        assert done.returncode == 0 and row == total(COUNT), done
    done, _ = made_by(call | {"spine": written(copied / "wrong.parquet", {"name": ["ann"], "when": AT})})
    assert done.returncode == 2 and "has no time column `event_time`; it has: name, when" in done.stderr, done
    assert made_by(call | {"spine": copied / "wrong.parquet", "time-column": "when"})[1] == total(COUNT)
