"""`forebay doctor --topic` on Apache Kafka: what a source makes of its topic's newest records, column by column, without a
guess; and what the server had to guess is in its metrics.
"""

import datetime
import json
import re
import uuid

import pytest

from conftest import run_binary, wait_for
from topics import make_topic, produce

SOURCE = """CREATE SOURCE clicks (userid VARCHAR, amount DOUBLE, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{topic}', format = 'json');"""

FITS = "every column is present, and nothing is refused"


@pytest.fixture
def clicks(kafka, tmp_path):
    """The definition of a source, and its empty topic of two partitions."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic, partitions=2)
    sql = tmp_path / "sql"
    sql.mkdir()
    (sql / "clicks.sql").write_text(SOURCE.format(topic=topic))
    return sql, topic


def doctor(kafka, tmp_path, sql, topic, *args):
    done = run_binary("doctor", "--topic", topic, "--sql", sql, "--bootstrap", kafka, "--data-dir", tmp_path / "none", *args,
                      check=False, timeout=120)
    return done.returncode, done.stdout


def send(kafka, topic, *events, partition=0):
    for event in events:
        produce(kafka, topic, event, partition=partition)


def test_good_records_are_told_as_good(kafka, tmp_path, clicks):
    sql, topic = clicks
    assert doctor(kafka, tmp_path, sql, topic)[0] == 0, "an empty topic is no defect"
    send(kafka, topic, {"userid": "ann", "amount": 1.5, "at": "2024-05-01T00:00:00Z"},
         {"userid": "bob", "amount": 2, "at": "2024-05-01T00:01:00Z"})
    code, text = doctor(kafka, tmp_path, sql, topic)
    assert code == 0, text
    assert "the newest 2 records of 2 partitions; 2 are rows" in text
    assert "event times from 2024-05-01T00:00:00Z to 2024-05-01T00:01:00Z" in text
    assert FITS in text


def test_what_does_not_fit_is_told_with_what_was_meant(kafka, tmp_path, clicks):
    sql, topic = clicks
    at = "2024-05-01T00:05:00Z"
    send(kafka, topic, {"user_id": "ann", "amount": 1, "at": at}, {"user_id": "ann", "amount": "1.5", "at": at},
         {"user_id": "ann", "amount": None, "at": "2024-05-01T00:01:00Z"})
    send(kafka, topic, b"no JSON", {"user_id": "ann", "at": "2024-05-01 00:05:00"}, partition=1)
    code, text = doctor(kafka, tmp_path, sql, topic)
    assert code == 1, text
    for part in ["column userid was never present; the records have user_id", "1 of 5 records become dead letters (wrong_type)",
                 "1 of 5 records become dead letters (not_json)", "1 of 3 rows are behind the watermark",
                 "time_without_zone 1", "skipped: user_id (4)"]:
        assert part in text, text
    code, text = doctor(kafka, tmp_path, sql, topic, "--output", "json", "--records", "1")
    answer = json.loads(text)
    assert (code, answer["report"]["records"], answer["partitions"]) == (1, 2, 2)
    amount = answer["report"]["columns"][1]
    assert (amount["null"], amount["absent"]) == (1, 1), amount


def test_a_definition_that_is_mended_as_the_findings_say_fits_the_same_records(kafka, tmp_path, clicks):
    sql, topic = clicks
    ahead = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    times = ["2024-05-01T00:05:00Z", "2024-05-01T00:05:00Z", "2024-05-01T00:05:00Z", "2024-05-01T00:01:00Z"]
    send(kafka, topic, *({"user_id": "ann", "amount": amount, "at": at} for amount, at in zip((1, 1.5, None, 3), times)))
    send(kafka, topic, {"user_id": "ann", "amount": 1, "at": ahead.strftime("%Y-%m-%dT%H:%M:%SZ")}, partition=1)
    wrong = SOURCE.format(topic=topic).replace("amount DOUBLE", "amount BIGINT NOT NULL")
    # What a finding says, and the definition that does it.
    steps = {
        "column userid was never present; the records have user_id": ("userid", "user_id"),
        "(wrong_type): column `amount`: is BIGINT": ("BIGINT", "DOUBLE"),
        "(missing_column): column `amount`: is NOT NULL and the record has null": ("DOUBLE NOT NULL", "DOUBLE"),
        "(future_time): column `at`": ("format = 'json'", "format = 'json', event_future_max = '2 HOUR'"),
        "1 of 5 rows are behind the watermark of their partition; a longer WATERMARK delay": ("'1' MINUTE", "'10' MINUTE"),
    }
    for finding, (before, mended) in steps.items():
        (sql / "clicks.sql").write_text(wrong)
        code, text = doctor(kafka, tmp_path, sql, topic)
        assert finding in text and code == (0 if "WATERMARK" in finding else 1), text
        wrong = wrong.replace(before, mended)
    (sql / "clicks.sql").write_text(wrong)
    code, text = doctor(kafka, tmp_path, sql, topic)
    assert code == 0 and "the newest 5 records of 2 partitions; 5 are rows" in text and FITS in text, text


def test_milliseconds_are_refused_until_the_source_says_its_unit(kafka, tmp_path, clicks):
    sql, topic = clicks
    send(kafka, topic, {"userid": "ann", "amount": 1.5, "at": 1714521600000})
    code, text = doctor(kafka, tmp_path, sql, topic)
    assert code == 1
    assert "1 of 1 records become dead letters (time_unit)" in text, text
    [remedy] = set(re.findall(r"declare it as (TIMESTAMP FROM EPOCH MILLIS)", text))
    declared = (sql / "clicks.sql").read_text()
    (sql / "clicks.sql").write_text(declared.replace("at TIMESTAMP NOT NULL", f"at {remedy} NOT NULL"))
    code, text = doctor(kafka, tmp_path, sql, topic)
    assert code == 0 and "event times from 2024-05-01T00:00:00Z to 2024-05-01T00:00:00Z" in text and FITS in text, text
    (sql / "clicks.sql").write_text(declared)
    send(kafka, topic, {"userid": "ann", "amount": 1.5, "at": 1714521600000 * 1000},
         {"userid": "ann", "amount": 1.5, "at": "2024-05-01T00:00:01Z"})
    code, text = doctor(kafka, tmp_path, sql, topic, "--records", "2")
    assert code == 0 and "event times from 2024-05-01T00:00:00Z to 2024-05-01T00:00:01Z" in text, text
    assert FITS in text, text


def test_a_field_that_differs_in_case_fills_its_column_and_is_told(kafka, tmp_path, clicks):
    sql, topic = clicks
    send(kafka, topic, {"userId": "ann", "amount": 1.5, "at": "2024-05-01T00:00:00Z"})
    code, text = doctor(kafka, tmp_path, sql, topic)
    assert code == 0 and "1 are rows" in text, text
    [remedy] = re.findall(r"column userid is filled by userId, which differs in case; to have its name, declare (\S+)", text)
    (sql / "clicks.sql").write_text((sql / "clicks.sql").read_text().replace("userid", remedy))
    code, text = doctor(kafka, tmp_path, sql, topic)
    assert code == 0 and FITS in text, text


def test_a_topic_that_no_source_reads_or_that_is_not_there_is_named(kafka, tmp_path, clicks):
    sql, topic = clicks
    for wrong in ("nothing", topic + ".x"):
        done = run_binary("doctor", "--topic", wrong, "--sql", sql, "--bootstrap", kafka, "--data-dir", tmp_path / "none",
                          check=False, timeout=60)
        assert done.returncode == 2 and wrong in done.stderr and topic in done.stderr, done


def test_what_the_server_guessed_is_counted_by_source_and_column(servers, kafka, tmp_path, clicks):
    sql, topic = clicks
    server = servers(kafka, sql).start()
    send(kafka, topic, {"userId": "ann", "amount": 1.5, "at": 1714521600000000},
         {"zone": 1, "amount": 2, "at": "2024-05-01 00:05:00"})
    counted = {("userid", "other_case"): 1, ("userid", "absent"): 1, ("*", "unknown_field"): 1, ("at", "integer_time"): 1, ("at", "time_without_zone"): 1}

    def guesses():
        return {key: server.metric("forebay_decode_guesses_total", source="clicks", column=key[0], kind=key[1])
                for key in counted}

    wait_for(lambda: guesses() == counted, lambda: f"the guesses to be counted: {guesses()}")
    # Looking commits nothing and moves nothing.
    doctor(kafka, tmp_path, sql, topic)
    assert guesses() == counted
