"""What is said of records that are no rows, of brokers that do not answer and of topics that are not there is done here, on
Apache Kafka: the record that is produced as the words say is a row, each event is there once, and so is each prediction.
"""

import datetime
import json
import math
import os
import pathlib
import re
import subprocess
import uuid

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import ROOT, copy_definitions, wait_for
from tables import delta, delta_rows
from test_apply import ENTITY, apply
from topics import answers, records

SOURCE = """CREATE SOURCE {name} (name VARCHAR NOT NULL, amount DOUBLE, visits BIGINT, member BOOLEAN, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{topic}', format = 'json');"""
VIEW = """CREATE FEATURE VIEW view_{name} ENTITY person AS
SELECT name, at, count(*) OVER ever AS events, sum(amount) OVER ever AS total, sum(10 / visits) OVER ever AS shares FROM {name}
WINDOW ever AS (PARTITION BY name ORDER BY at);"""
SERVICE = """CREATE FEATURE SERVICE of_{name} (name VARCHAR) AS SELECT v.events, v.total, v.shares FROM request
LEFT JOIN view_{name} AS v USING (name);"""
DEPLOYMENT = "CREATE DEPLOYMENT {name} USING MODEL late_arrival ON {source} INTO TOPIC '{topic}' ROUTE VERSION 1 WEIGHT 100;"
MIB, LARGE = 1 << 20, 4_000_000
HOUR = datetime.timedelta(hours=1)
NOW, AHEAD = (f"{datetime.datetime.now(datetime.timezone.utc) + ahead:%Y-%m-%dT%H:%M:%SZ}" for ahead in (0 * HOUR, HOUR))


def make_topic(kafka, topic, **config):
    """A new topic of one partition."""
    wanted = NewTopic(topic, 1, config={name.replace("_", "."): str(value) for name, value in config.items()})
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    for made in admin.create_topics([wanted]).values():
        made.result(30)


def definitions(name, topic):
    return [text.format(name=name, topic=topic) for text in (SOURCE, VIEW, SERVICE)]


@pytest.fixture(scope="module")
def server(module_servers, kafka, tmp_path_factory):
    """A running server without a source."""
    sql = tmp_path_factory.mktemp("kafka") / "sql"
    sql.mkdir()
    (sql / "all.sql").write_text(ENTITY)
    env = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200", "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false",
           "FOREBAY_KAFKA_DELIVERY_TIMEOUT_MS": "3000"}
    return module_servers(kafka, sql, env=env).start()


@pytest.fixture(scope="module")
def clicks(server, kafka):
    """The server with a source, a view and a service of the name `clicks`, and its topic, which takes large records."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic, max_message_bytes=LARGE)
    apply(server, *definitions("clicks", topic))
    return topic


def source(server, name):
    return server.client.status()["sources"].get(name, {"state": "not begun"})


def features(server, who, name="clicks"):
    return server.client.get(f"of_{name}", {"name": [who]}, at="2100-01-01T00:00:00Z").to_pylist()[0]


def is_there_once(server, who, name="clicks"):
    wait_for(lambda: features(server, who, name)["events"] == 1, lambda: f"the event; {features(server, who, name)}")


def send(kafka, topic, event):
    """Produce bytes as they are, or an object as JSON; the offset of the record."""
    placed = []
    producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": LARGE})
    value = event if isinstance(event, bytes) else json.dumps(event).encode()
    producer.produce(topic, value, partition=0, on_delivery=lambda error, record: placed.append((error, record.offset())))
    producer.flush(30)
    [(error, offset)] = placed
    assert error is None, error
    return offset


def letter(server, name, offset):
    """Reason and detail of the dead letter of a record."""
    def found():
        if not delta_rows(server.data_dir, "dead_letters"):
            return None
        letters = delta(server.data_dir, "dead_letters", ["source", "_offset", "reason", "detail"]).to_pylist()
        of_record = [one for one in letters if (one["source"], one["_offset"]) == (name, offset)]
        return of_record and (of_record[0]["reason"], of_record[0]["detail"])

    return wait_for(found, f"the dead letter at {offset}")


def event(who, without=(), **changes):
    whole = {"name": who, "amount": 1.5, "visits": 1, "member": True, "at": "2024-05-01T00:00:00Z", **changes}
    return {name: value for name, value in whole.items() if name not in without}


WHO = "who is meant"


def text(before="", after=""):
    """An event as bytes, a part of which is replaced."""
    whole = json.dumps(event(WHO))
    assert before in whole
    return whole.replace(before, after, 1).encode()


# Of each: the record, its reason and what is said; then it is produced as the words say.
LETTERS = {
    "no JSON": (text('", ', '" '), "not_json", "expected", event(WHO)),
    "an array": (b"[1]", "not_json", "expected an object", event(WHO)),
    "no UTF-8": (text() + b"\xff", "not_json", "not UTF-8", event(WHO)),
    "a field twice": (text("{", '{"name": "a", '), "not_json", "column `name`: occurs twice in one object", event(WHO)),
    "NaN": (text("1.5", "NaN"), "not_json", 'write them as "NaN", "Infinity", "-Infinity"', event(WHO, amount="NaN")),
    "a field missing": (event(WHO, without=["name"]), "missing_column", "is NOT NULL and the record lacks it", event(WHO)),
    "null": (event(WHO, at=None), "missing_column", "column `at`: is NOT NULL and the record has null", event(WHO)),
    "in quotes": (event(WHO, amount="1.5"), "wrong_type", "`amount`: is DOUBLE and the record has a string other", event(WHO)),
    "a fraction": (event(WHO, visits=1.5), "wrong_type", "BIGINT and the record has a number that is no integer", event(WHO)),
    "no boolean": (event(WHO, member=1), "wrong_type", "is BOOLEAN and the record has a number", event(WHO)),
    "no time": (event(WHO, at="May"), "wrong_type", "a string that is no time; write 2013-01-01T05:15:00Z", event(WHO)),
    "many bytes": (event(WHO, more="m" * MIB), "too_large", "1048576 are allowed", event(WHO, more="m" * (MIB - 1_000))),
    "many brackets": (event(WHO, more=json.loads("[" * 20 + "]" * 20)), "too_deep", "deeper than 16", event(WHO, more=[])),
    "a clock ahead": (event(WHO, at=AHEAD), "future_time", "ahead of the Kafka record's time", event(WHO, at=NOW)),
}


@pytest.mark.parametrize("case", LETTERS)
def test_a_record_that_is_produced_as_its_dead_letter_says_is_a_row(case, server, clicks, kafka):
    wrong, reason, words, mended = LETTERS[case]
    who = f"who produces {case}"

    def of_the_case(record):
        return record.replace(WHO.encode(), who.encode()) if isinstance(record, bytes) else json.loads(
            json.dumps(record).replace(WHO, who))

    told = letter(server, "clicks", send(kafka, clicks, of_the_case(wrong)))
    assert told[0] == reason and re.search(words if "*" in words else re.escape(words), told[1]), told
    send(kafka, clicks, of_the_case(mended))
    is_there_once(server, who)
    total = features(server, who)["total"]
    assert math.isnan(total) if mended["amount"] == "NaN" else total == 1.5


# Of each: an event, its reason, and the definition that takes it: what is written there, and what instead.
DEFINITIONS = {
    "ahead": (event("ann", at=AHEAD), "future_time", 0, "'json'", "'json', event_future_max = '2 HOUR'"),
}

# What a view writes for the number of visits, and what instead takes each event.
GUARDS = {"guarded": "10 / nullif(visits, 0)", "chosen": "CASE WHEN visits <> 0 THEN 10 / visits END"}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_an_event_that_the_definition_is_changed_for_is_a_row(name, server, kafka):
    wrong, reason, place, before, mended = DEFINITIONS[name]
    topic = f"{name}.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    statements = definitions(name, topic)
    apply(server, *statements)
    send(kafka, topic, wrong)
    assert letter(server, name, 0)[0] == reason
    assert before in statements[place]
    apply(server, statements[place].replace(before, mended).replace("CREATE", "CREATE OR REPLACE"))
    send(kafka, topic, wrong)
    is_there_once(server, "ann", name)


@pytest.mark.parametrize("name", GUARDS)
def test_a_view_takes_the_rows_that_it_left_out_once_its_expression_is_guarded(name, server, kafka):
    topic = f"{name}.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    statements = definitions(name, topic)
    apply(server, *statements)
    send(kafka, topic, event("ann", visits=0))
    send(kafka, topic, event("k" * 2_000))
    wait_for(lambda: source(server, name)["left_out"] == {f"view_{name}": 2}, lambda: f"both to be left out; {source(server, name)}")
    assert source(server, name)["rows"] == 2 and source(server, name)["dead_letters"] == 0
    assert features(server, "ann", name)["events"] is None
    view = next(statement for statement in statements if "10 / visits" in statement)
    apply(server, view.replace("10 / visits", GUARDS[name]).replace("CREATE", "CREATE OR REPLACE"))
    is_there_once(server, "ann", name)


def test_a_field_that_is_produced_under_the_name_that_doctor_gives_is_a_row(server, forebay, kafka, tmp_path):
    topic = f"named.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    statements = definitions("named", topic)
    apply(server, *statements)
    send(kafka, topic, {**event("ann", without=["name"]), "na_me": "ann"})
    assert letter(server, "named", 0)[0] == "missing_column"
    (tmp_path / "named.sql").write_text(statements[0])
    done = forebay("doctor", "--topic", topic, "--sql", tmp_path, "--bootstrap", kafka, "--data-dir", tmp_path / "none",
                   check=False)
    assert done.returncode == 1 and "column name was never present; the records have na_me" in done.stdout, done
    send(kafka, topic, event("ann"))
    is_there_once(server, "ann", "named")


def test_a_server_that_asks_nobody_reads_once_its_bootstrap_names_the_broker(servers, kafka, tmp_path):
    topic = f"asked.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    send(kafka, topic, event("ann"))
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "all.sql").write_text("\n".join([ENTITY, *definitions("asked", topic)]))
    server = servers("127.0.0.1:1", tmp_path / "sql", env={"FOREBAY_KAFKA_REQUEST_TIMEOUT_MS": "500"}).start()
    told = wait_for(lambda: source(server, "asked").get("reason"), "the source to say what it waits for")
    assert re.search("no Kafka broker .* at 127.0.0.1:1 .*: check that it runs and that --bootstrap names it", told), told
    server.stop()
    server.bootstrap = kafka
    server.start()
    is_there_once(server, "ann", "asked")


def kafka_script(action):
    folder = pathlib.Path(os.environ["FOREBAY_TEST_KAFKA_STATE"])
    subprocess.run([ROOT / "scripts" / "kafka", action, folder], check=True, capture_output=True, timeout=120)


def push(server, to):
    """Push one event to this source; what is told of it."""
    schema = pa.schema([("name", pa.string()), ("at", pa.timestamp("us", "UTC"))])
    batch = pa.RecordBatch.from_pydict({"name": ["who pushes"], "at": [datetime.datetime(2024, 5, 1)]}, schema)
    writer, reader = server.client.flight.do_put(flight.FlightDescriptor.for_path("source", to), schema)
    writer.write_batch(batch)
    told = json.loads(reader.read().to_pybytes())
    writer.close()
    return told


def test_a_push_whose_topic_is_missing_is_told_so_and_taken_once_the_topic_is_made(server, kafka):
    topic = f"pushed.{uuid.uuid4().hex[:8]}"
    apply(server, *definitions("pushed", topic))
    told = push(server, "pushed")
    assert told["status"] == "NOT_FOUND" and told["rows"] == 0, told
    assert f"topic `{topic}` does not exist at {kafka}: create it" in told["message"], told
    make_topic(kafka, topic)
    told = push(server, "pushed")
    assert (told["status"], told["rows"]) == ("OK", 1), told
    is_there_once(server, "who pushes", "pushed")


def test_events_that_were_not_acknowledged_are_sent_again_once_the_broker_runs(server, clicks, kafka):
    def reason():
        return source(server, "clicks")["reason"]

    send(kafka, clicks, event("who came before"))
    is_there_once(server, "who came before")
    kafka_script("kill")
    try:
        told = push(server, "clicks")
        assert told["status"] == "UNAVAILABLE" and told["rows"] == 0, told
        assert f"1 of 1 records were not acknowledged by the brokers at {kafka}; send them again" in told["message"], told
        wait_for(reason, "the source to say what it waits for")
        assert re.search(f"no Kafka broker .* at {kafka} .*: check that it runs and that --bootstrap", reason()), reason()
        assert features(server, "who came before")["events"] == 1, "reads go on"
    finally:
        kafka_script("boot")
        wait_for(lambda: answers(kafka), "the broker to answer")
    send(kafka, clicks, event("who comes after"))
    is_there_once(server, "who comes after")
    wait_for(lambda: reason() is None, lambda: f"reading to go on; {reason()}")
    told = push(server, "clicks")
    assert (told["status"], told["rows"]) == ("OK", 1), told
    is_there_once(server, "who pushes")


def test_a_file_whose_columns_have_the_types_that_are_named_is_replayed(server, forebay, kafka, tmp_path):
    topic = f"filed.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    statements = definitions("filed", topic)
    apply(server, *statements)
    (tmp_path / "all.sql").write_text("\n".join([ENTITY, *statements]))

    def replayed(amount, visits):
        at = pa.array([datetime.datetime(2024, 5, 1)], pa.timestamp("us", "UTC"))
        table = pa.table({"name": ["ann"], "amount": amount, "visits": visits, "at": at})
        pq.write_table(table, tmp_path / "filed.parquet")
        return forebay("replay", tmp_path, "--bootstrap", kafka, "--sql", tmp_path, check=False)

    money, raw = pa.array([1.5]).cast(pa.decimal128(10, 2)), pa.array([b"2"])
    for amount, visits, words in ((money, pa.array([2]), "column `amount` has type Decimal128"),
                                  (pa.array([1.5]), raw, "column `visits` has type Binary")):
        done = replayed(amount, visits)
        assert done.returncode == 2 and words in done.stderr, done
        assert "cannot hold: use VARCHAR, DOUBLE, BIGINT, INTEGER, BOOLEAN, DATE or TIMESTAMP" in done.stderr, done
    assert replayed(money.cast(pa.float64()), pa.array([2], pa.uint64())).returncode == 0
    is_there_once(server, "ann", "filed")
    assert features(server, "ann", "filed") == {"events": 1, "total": 1.5, "shares": 5}


@pytest.fixture(scope="module")
def flights(module_servers, kafka, tmp_path_factory):
    """A server over the flights that makes no topic of predictions, and what its topics end with."""
    sql = copy_definitions(tmp_path_factory.mktemp("flights") / "sql")
    suffix = re.search(r"topic = 'departures\.(\w+)'", (sql / "01_sources.sql").read_text())[1]
    env = {"FOREBAY_KAFKA_CREATE_TOPICS": "false", "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200"}
    return module_servers(kafka, sql, env=env).start(), suffix


def depart(kafka, suffix, number):
    send(kafka, f"departures.{suffix}", {"flight_id": f"flight {number}", "carrier": "AA", "origin": "JFK", "dest": "LAX",
                                         "dep_time": f"2013-01-03T{number:02}:00:00Z"})


def test_predictions_whose_topic_is_made_at_last_are_published_each_once(flights, kafka):
    server, suffix = flights
    wait_for(lambda: source(server, "departures")["state"] == "reading", lambda: f"reading; {source(server, 'departures')}")
    depart(kafka, suffix, 1)
    predictions = f"predictions.late_arrival.{suffix}"
    words = f"topic '{predictions}' does not exist; create it: reading begins by itself"
    wait_for(lambda: words in server.http("/readyz/ingest")[1], lambda: f"the missing topic; {server.http('/readyz/ingest')}")
    wait_for(lambda: server.client.status()["deployments"]["late_arrival"]["outbox"] == 1, "the score of the departure")
    make_topic(kafka, predictions)
    depart(kafka, suffix, 2)
    wait_for(lambda: delta_rows(server.data_dir, "predictions_late_arrival") == 2,
             lambda: f"both; {server.client.status()['deployments']}")
    assert len(records(kafka, predictions)) == 2
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"healthy ingest; {server.http('/readyz/ingest')}")


def test_a_deployment_and_a_monitor_are_taken_with_what_their_refusals_ask_for(flights, kafka):
    server, suffix = flights
    make_topic(kafka, f"odd.{suffix}")
    odd = f"""CREATE SOURCE odd (origin VARCHAR, dest {{dest}}, carrier VARCHAR, tailnum VARCHAR, distance BIGINT,
        sched_dep TIMESTAMP, dep_delay DOUBLE, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at)
        WITH (connector = 'kafka', topic = 'odd.{suffix}');"""
    deployed = DEPLOYMENT.format(name="odd", source="odd", topic=f"odd.scores.{suffix}")
    apply(server, "DROP MONITOR late_arrival_quality;")
    with pytest.raises(pa.ArrowException, match="column dest of .* is Utf8, in source odd it is Int64; declare both alike"):
        apply(server, odd.format(dest="BIGINT"), deployed)
    apply(server, odd.format(dest="VARCHAR"), deployed)
    apply(server, "DROP DEPLOYMENT odd;", "DROP SOURCE odd;", "DROP DEPLOYMENT late_arrival;")

    text = (server.sql / "04_models.sql").read_text()
    deployment, monitor = (text[text.index(f"CREATE {kind}"):].split(";")[0] + ";" for kind in ("DEPLOYMENT", "MONITOR"))
    with pytest.raises(pa.ArrowException, match="no deployment serves model late_arrival, .* create one"):
        apply(server, monitor)
    apply(server, deployment, monitor)
    assert len(server.client.status()["monitors"]) == 1
    assert server.client.status()["deployments"]["late_arrival"]["state"] == "scoring"


def test_names_of_sources_and_deployments_that_meet_are_changed_as_is_said(flights, kafka):
    server, suffix = flights
    words = "has the name of a table of predictions; rename the source or the deployment"
    topics = [f"{number}.{suffix}" for number in range(2)]
    for topic in topics:
        make_topic(kafka, topic)
    with pytest.raises(pa.ArrowException, match=f"source predictions_late_arrival {words}"):
        apply(server, SOURCE.format(name="predictions_late_arrival", topic=topics[0]))
    apply(server, SOURCE.format(name="predictions_other", topic=topics[0]))
    apply(server, "DROP MONITOR late_arrival_quality;")
    with pytest.raises(pa.ArrowException, match=f"source predictions_other {words}"):
        apply(server, DEPLOYMENT.format(name="other", source="departures", topic=topics[1]))
    apply(server, DEPLOYMENT.format(name="another", source="departures", topic=topics[1]))
    depart(kafka, suffix, 3)
    for name in ("late_arrival", "another"):
        wait_for(lambda: server.client.status()["deployments"][name]["predictions"] > 0, f"a prediction of {name}")
    wait_for(lambda: delta_rows(server.data_dir, "predictions_another") == 1, "the prediction in the archive")
