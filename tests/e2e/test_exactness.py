"""Online = offline, bit for bit, and both are right.

Three months of flights go through Apache Kafka in an order of arrival that is shuffled within the watermark. Then over
200,000 (key, time) probes, read online `at` their instants through Flight, are compared cell by cell with (a) the training
set that Forebay computes over the same probes from the archived Delta tables, by each of its two lowerings, and (b) an oracle
outside Forebay (tests/oracle): DuckDB and exact arithmetic over the Parquet files. No cell may differ: counts, extremes and
integers are equal, doubles are the correctly rounded exact value.
"""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flights as oracle
import raw_features
from conftest import FLIGHTS, copy_definitions
from tables import TIME_COLUMNS, assert_equal, delta_rows, event_counts, events

SINCE, UNTIL = "2013-01-01", "2013-04-01"
SEED = 20130401
REQUESTS, ROWS = 2_000, 110


@pytest.fixture(scope="module")
def loaded(module_servers, forebay, kafka, tmp_path_factory):
    """A server that has read three months of shuffled flights, its state kept for reads at every past instant."""
    sql = copy_definitions(tmp_path_factory.mktemp("exactness") / "sql", "0[123]_*.sql")
    (sql / "05_raw_features.sql").write_text(raw_features.definition())
    env = {"FOREBAY_STATE_HISTORY_HOURS": "100000", "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "1000"}
    server = module_servers(kafka, sql, env=env).start()
    forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", SINCE, "--until", UNTIL,
            "--shuffle-within", "20m", "--seed", SEED)
    server.wait_read(event_counts(SINCE, UNTIL))
    return server


@pytest.fixture(scope="module")
def probes():
    requests, spine = raw_features.probes(SEED, REQUESTS, ROWS, SINCE, UNTIL)
    assert spine.num_rows >= 200_000
    print(f"\n{spine.num_rows} probes, seed {SEED}: {raw_features.distinct_reads(spine)} different (view, key, instant)")
    return requests, spine


@pytest.fixture(scope="module")
def online(loaded, probes):
    """The probes' answers, with the status and the newest event time of each view."""
    requests, _ = probes
    answers = loaded.client.exchange(raw_features.SERVICE, requests, with_status=True, with_event_time=True)
    return pa.Table.from_batches(answers)


def training_set(forebay, folder, spine, source, *flags):
    """The features of the spine's rows as `forebay training-set` computes them."""
    file, out = folder / "spine.parquet", folder / "training.parquet"
    rows = spine.set_column(spine.column_names.index("at"), "at", spine["at"].cast(pa.timestamp("us", "UTC")))
    pq.write_table(rows, file)
    forebay("training-set", raw_features.SERVICE, "--spine", file, "--out", out, "--time-column", "at", *source, *flags)
    table = pq.read_table(out)
    assert table.column_names[:spine.num_columns] == spine.column_names, "spine columns stand in front"
    assert_equal(table, rows, [name for name in spine.column_names if name != "at"])
    return table


def test_everything_was_read_and_archived_and_nothing_was_late(loaded):
    status = loaded.client.status()
    counts = event_counts(SINCE, UNTIL)
    assert {name: status["sources"][name]["rows"] for name in TIME_COLUMNS} == counts
    assert status["late_rows"] == 0
    assert all(source["dead_letters"] == 0 for source in status["sources"].values())
    loaded.client.action("verify", {"service": raw_features.SERVICE, "sample": 1})
    assert {name: delta_rows(loaded.data_dir, name) for name in TIME_COLUMNS} == counts


def test_online_reads_equal_the_training_set_over_the_archive(loaded, probes, online, forebay, tmp_path):
    _, spine = probes
    offline = training_set(forebay, tmp_path, spine, ["--data-dir", loaded.data_dir])
    assert_equal(online, offline, oracle.FEATURES, spine)


def test_the_batch_lowering_gives_the_same_cells(loaded, probes, online, forebay, tmp_path):
    """DataFusion's own plan of each view, which knows no tiles."""
    _, spine = probes
    offline = training_set(forebay, tmp_path, spine, ["--data-dir", loaded.data_dir], "--lowering", "batch")
    assert_equal(online, offline, oracle.FEATURES, spine)


def test_online_reads_equal_the_oracle(probes, online):
    _, spine = probes
    expected = oracle.Oracle(FLIGHTS, UNTIL).answer(spine)
    # A comparison of NULLs would show nothing: every feature has tens of thousands of values.
    for name in oracle.FEATURES:
        assert spine.num_rows - expected[name].null_count > 20_000, f"{name} is NULL nearly everywhere"
    assert_equal(online, expected, expected.column_names, spine)


def test_do_get_answers_as_the_exchange_does(loaded, probes, online):
    requests, spine = probes
    for number in range(0, len(requests), 100):
        at, batch = requests[number]
        rows = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        answer = loaded.client.get(raw_features.SERVICE, rows, at=at, with_status=True, with_event_time=True)
        part = slice(number * ROWS, (number + 1) * ROWS)
        assert_equal(answer, online.slice(part.start, ROWS), online.column_names, spine.slice(part.start, ROWS))


def test_a_training_set_over_plain_files_equals_the_one_over_the_archive(loaded, probes, online, forebay, tmp_path):
    """SQL can be tried on files, with no broker: the first 20,000 probes within the replayed months."""
    _, spine = probes
    rows = spine.slice(0, 20_000)
    folder = tmp_path / "events"
    folder.mkdir()
    for source in TIME_COLUMNS:
        pq.write_table(events(source, SINCE, UNTIL), folder / f"{source}.parquet")
    offline = training_set(forebay, tmp_path, rows, ["--sql", loaded.sql, "--events", folder])
    assert_equal(online.slice(0, 20_000), offline, oracle.FEATURES, rows)


def test_the_same_values_come_from_disk_after_a_restart(loaded, probes, online):
    requests, spine = probes
    loaded.stop()
    loaded.start()
    part = requests[::10]
    answers = pa.Table.from_batches(loaded.client.exchange(raw_features.SERVICE, part, with_status=True, with_event_time=True))
    rows = [row for number in range(0, len(requests), 10) for row in range(number * ROWS, (number + 1) * ROWS)]
    assert_equal(answers, online.take(rows), online.column_names, spine.take(rows))


def test_forebay_verify_finds_no_difference(loaded, forebay):
    done = forebay("verify", raw_features.SERVICE, "--sample", "2000", "--flight-addr", loaded.flight)
    assert "0 different" in done.stdout, done.stdout
