"""What commands that send events say is to be done when they stop is done here, on Apache Kafka: they go through then, and every
event is there once.
"""

import json
import re

from confluent_kafka.admin import AdminClient

from conftest import FLIGHTS, copy_definitions
from tables import event_counts
from test_demo import command
from topics import make_topic, records

UNTIL = "2013-01-02"


def test_a_replay_that_stopped_goes_into_new_topics_whole(kafka, forebay, tmp_path):
    def replayed(suffix):
        sql = copy_definitions(tmp_path / suffix, "01_*.sql", topics=f"{tmp_path.name}.{suffix}")
        return forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--until", UNTIL, check=False)

    def sent(suffix):
        return {name: len(records(kafka, f"{name}.{tmp_path.name}.{suffix}")) for name in event_counts()}

    # One of the topics takes no record.
    make_topic(kafka, f"arrivals.{tmp_path.name}.first", max_message_bytes=100)
    stopped = replayed("first")
    assert stopped.returncode != 0, stopped
    said = re.search(r"stopped after (\d+) events, (\d+) of them acknowledged; replay into new topics", stopped.stderr)
    assert said and int(said[2]) == sum(sent("first").values()) < int(said[1]) <= sum(event_counts(until=UNTIL).values()), stopped
    assert replayed("second").returncode == 0
    assert sent("second") == event_counts(until=UNTIL)


def test_a_demo_over_an_earlier_run_plays_in_an_empty_directory_over_topics_that_were_deleted(kafka, forebay, tmp_path):
    sql = copy_definitions(tmp_path / "sql")

    def demo(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return forebay(*command(tmp_path / name, UNTIL, "--bootstrap", kafka, "--sql", sql), check=False)

    def is_whole(name):
        told = json.loads((tmp_path / name / "summary.json").read_text())
        expected = event_counts(until=UNTIL)
        return told["sent"] == expected and {source: told["archived"][source] for source in expected} == expected

    done = demo("first")
    assert done.returncode == 0 and is_whole("first"), done
    again = demo("first")
    assert again.returncode == 2, again
    assert "data holds an earlier run, whose broker is gone; give an empty --data-dir" in again.stderr, again
    again = demo("second")
    assert again.returncode == 2, again
    assert "holds an earlier run" in again.stderr and "so delete these, or give a --bootstrap without them" in again.stderr, again
    used = re.findall(r"(\S+) \(\d+ records\)", again.stderr)
    assert len(used) == 4, used
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    for deleted in admin.delete_topics(used).values():
        deleted.result(30)
    done = demo("second")
    assert done.returncode == 0 and is_whole("second"), done
