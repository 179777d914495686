"""What a refused change of definitions says is to be done is done here, on Apache Kafka: the definitions that it asks for are in
force then, over all events, each once. So it is with what is asked of gaps.
"""

import uuid

import pyarrow as pa
import pytest

from conftest import wait_for
from tables import delta_rows
from test_apply import ENTITY, SERVICE, SOURCE, VIEW, apply, click, clicks, total
from test_archive import OTHER_VIEW
from test_log import definitions, forebay, shop, source  # noqa: F401 - a fixture
from test_remedies import COUNT, stopped, whole  # noqa: F401 - a fixture
from topics import delete_records, make_topic

AGAIN = SERVICE.replace("SERVICE spending_now", "SERVICE again").replace("spending AS s", "spending_again AS s")


def refused(server, words, *statements):
    """These statements are refused with these words, and what was there answers as before."""
    with pytest.raises(pa.ArrowException, match=words):
        apply(server, *statements)
    assert clicks(server) == total(COUNT)


def again(server, column="clicks"):
    return server.client.get("again", {"name": ["ann"]}, at="2024-05-02T00:00:00Z")[column][0].as_py()


@pytest.fixture(scope="module")
def reading(module_servers, kafka, tmp_path_factory):
    """A server that has applied and archived some clicks, and its topic."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    click(kafka, topic, 0, COUNT)
    server = module_servers(kafka, definitions(tmp_path_factory.mktemp("change"), topic),
                            env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200"}).start()
    whole(server)
    return server, topic


def test_instead_of_two_sources_over_one_topic_there_is_one_with_two_views(reading):
    server, topic = reading
    other = SOURCE.format(amount="DOUBLE", topic=topic).replace("SOURCE clicks", "SOURCE clicks_too")
    refused(server, f"both read topic '{topic}'.* define one source and two views over it", other,
            OTHER_VIEW.replace("FROM clicks", "FROM clicks_too"), AGAIN)
    apply(server, OTHER_VIEW, AGAIN)
    assert again(server) == COUNT and clicks(server) == total(COUNT)
    apply(server, "DROP FEATURE SERVICE again;", "DROP FEATURE VIEW spending_again;")


def test_a_view_is_filled_without_the_rows_that_it_does_not_take_and_with_them_once_it_does(reading):
    server, _ = reading
    inverse = "sum(10 / CAST(amount AS BIGINT)) OVER ever AS inverse, count(*)"
    of_zero = OTHER_VIEW.replace("count(*)", inverse)
    service = AGAIN.replace("s.clicks", "s.inverse, s.clicks")
    apply(server, of_zero, service)
    assert (again(server), again(server, "inverse")) == (COUNT - 1, sum(10 // number for number in range(1, COUNT)))
    of_zero = of_zero.replace("CREATE", "CREATE OR REPLACE")
    apply(server, of_zero.replace("CAST(amount AS BIGINT)", "nullif(CAST(amount AS BIGINT), 0)"), service)
    assert (again(server), again(server, "inverse")) == (COUNT, sum(10 // number for number in range(1, COUNT)))
    apply(server, "DROP FEATURE SERVICE again;", "DROP FEATURE VIEW spending_again;")


def test_a_service_without_archived_events_is_verified_after_their_first_flush(reading):
    server, topic = reading
    other = f"{topic}.other"
    make_topic(server.bootstrap, other)
    apply(server, SOURCE.format(amount="DOUBLE", topic=other).replace("SOURCE clicks", "SOURCE others"),
          OTHER_VIEW.replace("FROM clicks", "FROM others"), AGAIN)
    empty = forebay(server, "verify", "again")
    assert empty.returncode == 2, empty
    assert "no source of service `again` has archived events yet; verify after the first flush" in empty.stderr, empty
    click(server.bootstrap, other, 0, 1)
    wait_for(lambda: delta_rows(server.data_dir, "others") == 1, "the first flush")
    verified = forebay(server, "verify", "again")
    assert verified.returncode == 0 and "1 rows, 1 equal to the bit" in verified.stdout, verified
    apply(server, "DROP FEATURE SERVICE again;", "DROP FEATURE VIEW spending_again;", "DROP SOURCE others;")


def test_of_a_source_without_a_gap_none_is_accepted_and_the_list_says_what_is_halted(reading):
    server, _ = reading
    for place, words in (("clicks", "source 'clicks' has no gap"), ("clicks/0", "source 'clicks' partition 0 has no gap")):
        done = forebay(server, "gap", "accept", place)
        assert done.returncode == 2 and words in done.stderr and "`forebay gap list` shows what is halted" in done.stderr, done
    listed = forebay(server, "gap", "list")
    assert listed.returncode == 0 and listed.stdout == "every source is read\n", listed


def test_a_source_of_another_name_over_a_topic_that_was_read_gets_its_old_name_or_an_empty_data_directory(stopped):  # noqa: F811
    server, topic, kafka = stopped
    # The folder of a start would bring back what is dropped.
    (server.sql / "all.sql").write_text(ENTITY)
    server.start()
    apply(server, "DROP FEATURE SERVICE spending_now;", "DROP FEATURE VIEW spending;", "DROP SOURCE clicks;")
    source_of_topic = SOURCE.format(amount="DOUBLE", topic=topic)
    renamed = source_of_topic.replace("SOURCE clicks", "SOURCE renamed"), VIEW.replace("FROM clicks", "FROM renamed"), SERVICE
    with pytest.raises(pa.ArrowException, match="by a source of another name.* its old name, or use an empty data directory"):
        apply(server, *renamed)
    apply(server, source_of_topic, VIEW, SERVICE)
    whole(server)
    click(kafka, topic, COUNT, 1)
    whole(server, COUNT + 1)
    server.stop()
    server.data_dir = server.data_dir.with_name("empty")
    server.start()
    apply(server, *renamed)
    wait_for(lambda: clicks(server) == total(COUNT + 1), lambda: f"all clicks; {clicks(server)}, {server.client.status()}")
    wait_for(lambda: delta_rows(server.data_dir, "renamed") == COUNT + 1, "the archived clicks")


def test_what_asks_for_ingest_is_done_once_what_the_log_says_is_mended(stopped, tmp_path):  # noqa: F811
    server, topic, kafka = stopped
    click(kafka, topic, COUNT, 4)
    delete_records(kafka, topic, COUNT + 1, tmp_path)
    entry = max((server.data_dir / "offline" / "_marks" / "_delta_log").glob("*.json"))
    kept = entry.read_bytes()
    entry.write_bytes(kept[:20])
    server.start()
    wait_for(lambda: source(server).get("code") == "table_unusable", lambda: f"the halt; {source(server)}")
    accepted = forebay(server, "gap", "accept", "clicks")
    assert accepted.returncode != 0 and "ingest does not run; try again when it does" in accepted.stderr, accepted
    rebuilt = forebay(server, "rebuild", "spending")
    assert rebuilt.returncode != 0 and "ingest does not run" in rebuilt.stderr, rebuilt
    assert "the log says why: mend that, then rebuild" in rebuilt.stderr, rebuilt
    assert "`_marks` is damaged" in server.log_tail() and "restore it from a backup" in server.log_tail(), server.log_tail()
    entry.write_bytes(kept)
    wait_for(lambda: source(server).get("code") == "gap", lambda: f"ingest to begin; {source(server)}")
    accepted = forebay(server, "gap", "accept", "clicks")
    assert accepted.returncode == 0, accepted
    numbers = [number for number in range(COUNT + 4) if number != COUNT]
    expected = len(numbers), sum(number + 0.25 for number in numbers)
    wait_for(lambda: clicks(server) == expected, lambda: f"what is left; {clicks(server)}, {source(server)}")
    rebuilt = forebay(server, "rebuild", "spending")
    assert rebuilt.returncode == 0 and clicks(server) == expected, rebuilt
