"""What the listeners say of a request that they refuse is done here, on Apache Kafka: what they ask for instead is answered by
the same server, and an event that is pushed is there once. So it is with an address that is refused at a start.
"""

import contextlib
import datetime
import json
import re
import signal
import socket
import time
import uuid

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from conftest import Server, free_port, wait_for
from test_apply import ENTITY, VIEW, apply, click, total
from test_log import forebay as command
from test_remedies import COUNT
from topics import make_topic

SOURCE = """CREATE SOURCE clicks (name VARCHAR NOT NULL, amount DOUBLE, visits BIGINT, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = '{topic}', format = 'json');"""
SERVICE = """CREATE FEATURE SERVICE spending_now (name VARCHAR, visits BIGINT, place INTEGER, share DOUBLE, member BOOLEAN,
    since TIMESTAMP) AS SELECT s.clicks, s.total, request.visits AS visits, request.place AS place, request.share AS share,
    request.member AS member, request.since AS since FROM request LEFT JOIN spending AS s USING (name);"""
COPIES = 64
COPIED = f"""CREATE FEATURE SERVICE copied (note VARCHAR) AS
    SELECT {", ".join(f"request.note AS n{n}" for n in range(COPIES))} FROM request;"""
NOTE = "n" * 200_000
# A row of it takes its time.
REVERSED = f"""CREATE FEATURE SERVICE reversed (name VARCHAR) AS
    SELECT {"reverse(" * 30}request.name{")" * 30} AS same FROM request;"""
AT, MAY = "2024-05-02T00:00:00Z", "2024-05-01T00:00:00Z"
MOST_ROWS = 10_000
LARGE_READS_MAX, LARGE_OF_A_STREAM = 64, 4
MEMORY_MIB = 800
REFUSALS = flight.FlightError, pa.ArrowException, ValueError, KeyError, NotImplementedError

ROW = {"name": "ann", "visits": 7, "place": 3, "share": 0.5, "member": True, "since": MAY}
ANSWER = {"clicks": COUNT, "total": total(COUNT)[1], "visits": 7, "place": 3, "share": 0.5, "member": True,
          "since": datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)}
SCHEMA = pa.schema([("name", pa.string()), ("visits", pa.int64()), ("place", pa.int32()), ("share", pa.float64()),
                    ("member", pa.bool_()), ("since", pa.timestamp("us", "UTC"))])


def rows(count=1, **changes):
    """The first row is that of `ROW`, or these columns of it are lists."""
    return {**{name: [value] * count for name, value in ROW.items()}, **changes}


def without(columns, name):
    return {other: values for other, values in columns.items() if other != name}


def batch_of(count=1, names=None, schema=SCHEMA):
    """So many rows as a batch."""
    columns = {**rows(count), "since": [ANSWER["since"]] * count, "name": names or ["ann"] * count}
    return pa.RecordBatch.from_arrays([pa.array(columns.get(f.name, [1] * count), f.type) for f in schema], schema=schema)


@pytest.fixture(scope="module")
def server(module_servers, kafka, tmp_path_factory):
    """A server that has applied some clicks."""
    topic = f"clicks.{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic)
    click(kafka, topic, 0, COUNT)
    sql = tmp_path_factory.mktemp("requests") / "sql"
    sql.mkdir()
    (sql / "all.sql").write_text("\n".join([SOURCE.format(topic=topic), ENTITY, VIEW, SERVICE, COPIED, REVERSED]))
    env = {"FOREBAY_SERVER_SHUTDOWN_GRACE_MS": "1000", "FOREBAY_MEMORY_LIMIT_MIB": str(MEMORY_MIB),
           "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200"}
    server = module_servers(kafka, sql, env=env).start()
    wait_for(lambda: clicks(server, "ann") == COUNT, "the clicks")
    return server


def clicks(server, name):
    return server.client.get("spending_now", rows(name=[name]), at=AT)["clicks"][0].as_py()


def refused(ask, words):
    """It is refused, and the words have this in them."""
    with pytest.raises(REFUSALS) as error:
        ask()
    said = str(error.value)
    assert re.search(words, said) and "panicked" not in said, said


KNOWN = "known services: copied, reversed, spending_now"
LONG_NAMES = ["ann"] + ["b" * 1_000] * 4_999
# Of each: what is wrong with the ticket, what is said, and what else is done than to leave that out.
TICKETS = {
    "no service": ({"service": ""}, "names no service; set `service`", {}),
    "another service": ({"service": "spending"}, f"there is no feature service spending; {KNOWN}", {}),
    "another version": ({"version": 9}, "is served in version 1, not 9; leave the version out to read the newest", {}),
    "an unknown field": ({"limit": 1}, "unknown field `limit`, expected one of `service`, `version`, `rows`, `at`", {}),
    "no time": ({"at": "May"}, "is not a time; write RFC 3339 such as 2013-07-01T12:00:00Z, or integer microseconds", {}),
    "seconds in quotes": ({"at": "1714608000"}, "or integer microseconds", {"at": 1_714_608_000_000_000}),
    "nanoseconds": ({"at": 1_714_608_000_000_000_000}, "give microseconds since 1970", {"at": 1_714_608_000_000_000}),
    "no rows": ({"rows": {}}, "has no rows; service spending_now needs: name, visits, place, share, member, since", {}),
    "a column too many": ({"rows": rows(gate=[4])}, "has no request column gate; it has: name, visits, place, share", {}),
    "a column missing": ({"rows": without(rows(), "share")}, "needs column share DOUBLE; the rows have: name, visits", {}),
    "unequal columns": ({"rows": rows(visits=[7, 8])}, "are not equally long: name has 1 rows, visits has 2", {}),
    "a text for a number": ({"rows": rows(visits=["7"])}, "column visits, row 0: expected BIGINT, got a text", {}),
    "64 bits for 32": ({"rows": rows(place=[1 << 40])}, "expected INTEGER, got .* that does not fit in 32 bits", {}),
    "a number in quotes": ({"rows": rows(share=["0.5"])}, r"expected DOUBLE, got .* \(write numbers without quotes\)", {}),
    "a long integer": ({"rows": rows(share=[(1 << 60) + 1])}, "got an integer that a DOUBLE cannot hold exactly", {}),
    "no time in a row": ({"rows": rows(since=["May"])}, "got a text that is not a time such as 2013-07-01T12:00:00Z", {}),
    "a long key": ({"rows": rows(name=["a" * 2_000])}, "key of row 0 is longer than 1024 bytes", {}),
    "many rows": ({"rows": rows(MOST_ROWS + 1)}, "has 10001 rows; send at most 10000 in one request",
                  {"rows": rows(MOST_ROWS)}),
    "many bytes": ({"rows": rows(5_000, name=LONG_NAMES)}, "larger than 4194304 bytes; send fewer rows in each",
                   {"rows": rows(2_500, name=LONG_NAMES[:2_500])}),
    "many columns": ({"rows": rows(**{f"c{n}": [1] for n in range(1_024)})}, "more than 1024 request columns", {}),
    "many brackets": ({"rows": rows(name=json.loads("[" * 40 + "]" * 40))}, "nests deeper than 32 levels", {}),
}


@pytest.mark.parametrize("case", TICKETS)
def test_a_ticket_that_is_mended_is_answered(case, server):
    wrong, words, mended = TICKETS[case]

    def get(changes):
        ticket = {"service": "spending_now", "rows": rows(), "at": AT, **changes}
        return server.client.flight.do_get(flight.Ticket(json.dumps(ticket).encode())).read_all()

    refused(lambda: get(wrong), words)
    answer = get(mended)
    assert answer.slice(0, 1).to_pylist() == [ANSWER] and answer.num_rows == len(mended.get("rows", rows())["name"])


class Exchange:
    """A stream of requests; what it is opened with may differ."""

    def __init__(self, server, schema=SCHEMA, options=None, descriptor=None, **opening):
        command = json.dumps({"service": "spending_now", **opening}).encode()
        descriptor = descriptor or flight.FlightDescriptor.for_command(command)
        self.schema = schema
        self.writer, self.reader = server.client.flight.do_exchange(descriptor)
        self.writer.begin(schema, options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(*REFUSALS):
            self.writer.close()

    def send(self, batch=None, **meta):
        self.writer.write_with_metadata(batch or batch_of(schema=self.schema),
                                        json.dumps({"request_id": 1, "at": AT, **meta}).encode())

    def receive(self):
        """Metadata and rows of the next answer."""
        chunk = self.reader.read_chunk()
        return json.loads(chunk.app_metadata.to_pybytes()), chunk.data

    def ask(self, batch=None, **meta):
        self.send(batch, **meta)
        return self.receive()

    def answers(self, batch=None, **meta):
        """The rows of an answer, which is no refusal."""
        said, answer = self.ask(batch, **meta)
        assert said["status"] == "OK", said
        return answer.to_pylist()


# The same of a request of an exchange.
REQUESTS = {
    "no id": ({"request_id": None}, "INVALID_ARGUMENT", "is not a RequestMeta: invalid type: null, expected u64", {}),
    "an unknown field": ({"colour": 2}, "INVALID_ARGUMENT", "unknown field `colour`, expected one of `request_id`, `at`", {}),
    "no time": ({"at": "May"}, "INVALID_ARGUMENT", "write RFC 3339 such as 2013-07-01T12:00:00Z, or integer microseconds", {}),
    "a long deadline": ({"deadline_us": 3_600_000_000}, "RESOURCE_EXHAUSTED", "a deadline may be at most 60000 ms",
                        {"deadline_us": 60_000_000}),
    "no time left": ({"deadline_us": 0}, "DEADLINE_EXCEEDED", "ask for fewer rows or more time", {"deadline_us": 10_000_000}),
    "many rows": ({"batch": batch_of(MOST_ROWS + 1)}, "RESOURCE_EXHAUSTED", "has 10001 rows; send at most 10000 in one request",
                  {"batch": batch_of(MOST_ROWS)}),
    "many bytes": ({"batch": batch_of(5_000, LONG_NAMES)}, "RESOURCE_EXHAUSTED",
                   "larger than 4194304 bytes; send fewer rows in each", {"batch": batch_of(2_500, LONG_NAMES[:2_500])}),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_that_is_mended_is_answered_on_the_same_exchange(case, server):
    wrong, status, words, mended = REQUESTS[case]
    with Exchange(server) as exchange:
        said, _ = exchange.ask(**wrong)
        assert said["status"] == status and words in said["message"], said
        answer = exchange.answers(**mended)
        assert answer[0] == ANSWER and len(answer) == mended.get("batch", batch_of()).num_rows


# What an exchange was opened with, and what is said of it: it is opened as the words say.
OPENINGS = {
    "a path": ({"descriptor": flight.FlightDescriptor.for_path("spending_now")},
               "opens with a descriptor of type CMD whose command is an ExchangeOpen"),
    "no service": ({"service": ""}, "the descriptor command names no service; set `service`"),
    "another service": ({"service": "spending"}, KNOWN),
    "another version": ({"version": 9}, "leave the version out to read the newest"),
    "an unknown field": ({"at": AT}, "unknown field `at`, expected one of `service`, `version`, `schema_fingerprint`"),
    "dictionaries": ({"schema": SCHEMA.set(0, pa.field("name", pa.dictionary(pa.int32(), pa.string())))},
                     "dictionary columns are not accepted; send plain columns"),
    "compressed": ({"options": pa.ipc.IpcWriteOptions(compression="lz4")}, "send batches without IPC compression"),
    "many columns": ({"schema": pa.schema([*SCHEMA, *(pa.field(f"c{n}", pa.int64()) for n in range(1_024))])},
                     "the schema has 1030 columns; send at most 1024"),
    "a column missing": ({"schema": SCHEMA.remove(0)}, "needs column name VARCHAR; the rows have: visits, place, share"),
    "another type": ({"schema": SCHEMA.set(1, pa.field("visits", pa.float64()))},
                     "column visits of service spending_now is BIGINT, the rows have Float64"),
}


@pytest.mark.parametrize("case", OPENINGS)
def test_an_exchange_that_is_opened_as_the_words_say_answers(case, server):
    wrong, words = OPENINGS[case]

    def ask():
        with Exchange(server, **wrong) as exchange:
            said, _ = exchange.ask()
        raise ValueError(said["message"])

    refused(ask, words)
    with Exchange(server) as exchange:
        assert exchange.answers() == [ANSWER]


NAMES = pa.schema([("name", pa.string())])


def names(count):
    return pa.RecordBatch.from_pydict({"name": [f"name {n}" for n in range(count)]}, NAMES)


def test_a_deadline_that_passed_is_kept_with_fewer_rows_and_with_more_time(server):
    with Exchange(server, NAMES, service="reversed") as exchange:
        def took():
            begun = time.monotonic()
            exchange.answers(names(2_000))
            return time.monotonic() - begun

        def status(count, deadline_us):
            said, _ = exchange.ask(names(count), deadline_us=deadline_us)
            assert said["status"] == "OK" or "ask for fewer rows or more time" in said["message"], said
            return said["status"]

        short_us = int(min(took() for _ in range(3)) * 1_000_000 / 4)
        wait_for(lambda: status(2_000, short_us) == "DEADLINE_EXCEEDED", "the deadline to pass")
        wait_for(lambda: status(1, short_us) == "OK", "fewer rows in that time")
        assert status(2_000, 60_000_000) == "OK"


def test_what_is_refused_for_load_is_answered_when_it_is_asked_again_in_time(server):
    with contextlib.ExitStack() as stack:
        exchanges = [stack.enter_context(Exchange(server, NAMES, service="reversed"))
                     for _ in range(2 * LARGE_READS_MAX // LARGE_OF_A_STREAM)]

        def overloaded():
            """Refusals of more reads than may be under way, each with its exchange."""
            asked = [exchange for exchange in exchanges for _ in range(LARGE_OF_A_STREAM)]
            for exchange in asked:
                exchange.send(names(500))
            said = [(exchange, exchange.receive()[0]) for exchange in asked]
            return [(exchange, answer) for exchange, answer in said if answer["status"] != "OK"]

        for exchange, said in wait_for(overloaded, "more large reads than may be under way"):
            words = "64 reads of more than 128 rows are under way (LARGE_READS_MAX); try again in 20 ms"
            assert (said["status"], said["message"], said["retry_after_ms"]) == ("RESOURCE_EXHAUSTED", words, 20), said
            time.sleep(0.02)
            assert len(exchange.answers(names(500))) == 500


NOTES = pa.schema([("note", pa.string())])


def notes(count):
    return pa.RecordBatch.from_pydict({"note": [NOTE] * count}, NOTES)


def test_an_answer_that_is_too_large_comes_with_fewer_rows_a_request(server):
    with Exchange(server, NOTES, service="copied") as exchange:
        said, _ = exchange.ask(notes(2))
        assert said["status"] == "RESOURCE_EXHAUSTED", said
        assert "above 16777216; send fewer rows in one request" in said["message"], said
        assert exchange.answers(notes(1)) == [{f"n{n}": NOTE for n in range(COPIES)}]


def test_an_answer_that_the_memory_cannot_hold_comes_with_fewer_rows_and_with_a_higher_limit(server):
    most = server.client.status()["memory"]["parts"]["answers"]["most_bytes"]
    count = most // (COPIES * len(NOTE)) + 1

    def get(count):
        return server.client.get("copied", {"note": [NOTE] * count}).num_rows

    refused(lambda: get(count), r"ask for fewer rows at once, or raise the limit \(memory\.limit_mib\)")
    assert get(1) == 1
    server.stop()
    server.env["FOREBAY_MEMORY_LIMIT_MIB"] = str(4 * MEMORY_MIB)
    server.start()
    assert get(count) == count


def test_a_caller_of_another_fingerprint_is_made_anew_or_gets_the_definition_of_then(server):
    definition = """CREATE OR REPLACE FEATURE SERVICE changing (name VARCHAR) AS SELECT s.{feature} FROM request
        LEFT JOIN spending AS s USING (name);"""
    schema = pa.schema([("name", pa.string())])

    def fingerprint():
        services = server.client.action("services")["services"]
        return next(service["fingerprint"] for service in services if service["name"] == "changing")

    def get(of):
        return server.client.get("changing", {"name": ["ann"]}, at=AT, schema_fingerprint=of).to_pylist()

    def ask(of):
        with Exchange(server, schema, service="changing", schema_fingerprint=of) as exchange:
            return exchange.answers()

    apply(server, definition.format(feature="clicks").replace("OR REPLACE ", ""))
    before = fingerprint()
    with Exchange(server, schema, service="changing") as opened:
        assert opened.answers() == [{"clicks": COUNT}]
        apply(server, definition.format(feature="total"))
        said, _ = opened.ask()
        assert said["status"] == "GOING_AWAY", said
        assert said["message"] == "version 1 of service changing is no longer the one that is served; open a new stream"
        assert opened.receive()[1].to_pylist() == [{"clicks": COUNT}], "it goes on with what it was opened for"
    with Exchange(server, schema, service="changing") as opened:
        assert opened.answers() == [{"total": total(COUNT)[1]}]
    for asked in (get, ask):
        refused(lambda: asked(before), "the caller was made for .*; retrain, or apply the definition of then")
        assert asked(fingerprint()) == [{"total": total(COUNT)[1]}]
    apply(server, definition.format(feature="clicks"))
    for asked in (get, ask):
        assert asked(before) == [{"clicks": COUNT}]
    apply(server, "DROP FEATURE SERVICE changing;")


EVENTS = pa.schema([("name", pa.string()), ("amount", pa.float64()), ("at", pa.timestamp("us", "UTC"))])
BY_PATH = flight.FlightDescriptor.for_path("source", "clicks")
BY_COMMAND = flight.FlightDescriptor.for_command(b'{"source": "clicks"}')
# Of each: what is wrong with a push, what is said, and how it is pushed then where that is not by the path alone.
PUSHES = {
    "another source": ({"to": flight.FlightDescriptor.for_path("source", "click")},
                       "there is no source click; known sources: clicks", {}),
    "another path": ({"to": flight.FlightDescriptor.for_path("clicks")}, r"by the path \[source, NAME\] or the command", {}),
    "no path": ({"to": flight.FlightDescriptor.for_path()}, r'or the command {"source": NAME}', {"to": BY_COMMAND}),
    "a column missing": ({"schema": EVENTS.remove(2)}, "clicks needs column at TIMESTAMP; the rows have: name, amount", {}),
    "a column too many": ({"schema": EVENTS.append(pa.field("gate", pa.int64()))}, "source clicks has no column gate", {}),
    "another type": ({"schema": EVENTS.append(pa.field("visits", pa.string()))},
                     "column visits of source clicks is BIGINT, the rows have Utf8",
                     {"schema": EVENTS.append(pa.field("visits", pa.int64()))}),
    "no value": ({"names": [None]}, "column name is NULL, but is declared NOT NULL", {}),
    "many rows": ({"count": MOST_ROWS + 1}, "has 10001 rows; send at most 10000 in one request", {}),
    "an unknown field": ({"meta": {"id": 1}}, "is not a PushMeta: unknown field `id`, expected `batch_id`", {}),
}


@pytest.mark.parametrize("case", PUSHES)
def test_a_push_that_is_mended_is_there_once(case, server):
    wrong, words, mended = PUSHES[case]
    who = f"who pushes {case}"

    def push(to=BY_PATH, schema=EVENTS, names=None, count=1, meta=None):
        columns = {"name": names or [who] * count, "amount": [0.5] * count, "at": [ANSWER["since"]] * count}
        numbers = pa.array([1] * count)
        arrays = [pa.array(columns[f.name], f.type) if f.name in columns else numbers.cast(f.type) for f in schema]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        writer, reader = server.client.flight.do_put(to, schema)
        writer.write_with_metadata(batch, json.dumps(meta or {"batch_id": 3}).encode())
        answer = reader.read()
        if answer is None:
            writer.close()  # says why
        told = json.loads(answer.to_pybytes())
        with contextlib.suppress(*REFUSALS):
            writer.close()
        if told["status"] != "OK" or told["refused"]:
            raise ValueError(told["message"] or told["refused"][0]["reason"])
        return told

    refused(lambda: push(**wrong), words)
    assert push(**mended)["rows"] == 1
    wait_for(lambda: clicks(server, who) == 1, lambda: f"the event; {clicks(server, who)}")


# Actions of an operator: what is asked, what is said, and what is asked then.
ACTIONS = {
    "another name": (("state", {}), "there is no action \"state\"; known actions: health, services, .* status", ("status", {})),
    "an unknown field": (("verify", {"service": "spending_now", "samples": 5}),
                         "unknown field `samples`, expected one of `service`, `sample`",
                         ("verify", {"service": "spending_now", "sample": 5})),
    "another service": (("verify", {"service": "spending", "sample": 5}), KNOWN,
                        ("verify", {"service": "spending_now", "sample": 5})),
    "a field missing": (("plan", {"files": [{"path": "a.sql"}]}), "missing field `text`",
                        ("plan", {"files": [{"path": "a.sql", "text": ENTITY}]})),
    "another view": (("rebuild", {"name": "spend"}), "no source spend; known views: spending; known sources: clicks",
                     ("rebuild", {"name": "spending"})),
}


@pytest.mark.parametrize("case", ACTIONS)
def test_an_action_that_is_mended_is_carried_out(case, server):
    wrong, words, mended = ACTIONS[case]
    refused(lambda: server.client.action(*wrong), words)
    assert server.client.action(*mended)
    assert clicks(server, "ann") == COUNT


def test_what_the_protocol_has_and_the_server_has_not_is_had_as_it_says(server):
    client = server.client.flight
    refused(lambda: client.authenticate_basic_token("ann", "secret"), "on loopback no authentication is needed")
    assert clicks(server, "ann") == COUNT
    refused(lambda: list(client.list_flights(b"spending")), "takes no criteria; leave the expression empty and filter the list")
    assert b"spending_now" in [info.descriptor.path[0] for info in client.list_flights()]

    def described(*path):
        return client.get_flight_info(flight.FlightDescriptor.for_path(*path)).schema.names

    refused(lambda: described("service", "spending_now"), r"path is \[service\]; got 2 parts")
    assert "clicks" in described("spending_now")


def test_paths_and_names_that_http_gives_are_answered(server):
    code, said = server.http("/status")
    paths = re.findall(r"/\S+", json.loads(said)["message"].split("; see ")[1].replace(",", ""))
    assert code == 404 and len(paths) == 4, said
    for path in paths:
        assert server.http(path)[0] == 200, path
    code, said = server.http("/livez", headers={"Host": "features.example.com"})
    assert code == 403 and "use localhost, 127.0.0.1 or [::1]" in said, said
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert server.http("/livez", headers={"Host": f"{host}:{server.http_port}"})[0] == 200


# Words of `forebay get`: what is asked, what is said, and what is asked then, in one or more ways.
COMMANDS = {
    "no value": (["name"], "'name' is not COLUMN=VALUE; write for example origin=JFK", [["name=ann"]]),
    "a column twice": (["name=ann", "name=bob"], "column 'name' is given twice; give it once", [["name=ann"]]),
    "another column": (["who=ann"], "has no request column 'who'; it has name VARCHAR, visits BIGINT", [["name=ann"]]),
    "no integer": (["name=ann", "visits=7x"], "write a whole number such as 42, or leave the column out for NULL",
                   [["name=ann", "visits=42"], ["name=ann"]]),
    "no number": (["name=ann", "share=half"], "write a number such as 1.5, or leave the column out for NULL",
                  [["name=ann", "share=1.5"]]),
    "no boolean": (["name=ann", "member=yes"], "write true or false, or leave the column out for NULL",
                   [["name=ann", "member=true"]]),
    "no time": (["name=ann", "since=May"], "write 2013-07-01T12:00:00Z or '2013-07-01 12:00:00' (UTC), or leave the column out",
                [["name=ann", "since=2013-07-01T12:00:00Z"], ["name=ann", "since=2013-07-01 12:00:00"]]),
    "no instant": (["name=ann", "--at", "May"], "write 2013-07-01T12:00:00Z, '2013-07-01 12:00:00' (UTC) or 2013-07-01",
                   [["name=ann", "--at", "2024-07-01T12:00:00Z"], ["name=ann", "--at", "2024-07-01 12:00:00"],
                    ["name=ann", "--at", "2024-07-01"]]),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_that_is_mended_reads_the_features(case, server):
    wrong, words, mended = COMMANDS[case]
    done = command(server, "get", "spending_now", *wrong)
    assert done.returncode == 2 and words in done.stderr, done
    for arguments in mended:
        done = command(server, "get", "spending_now", *arguments, "--output", "json")
        assert done.returncode == 0 and json.loads(done.stdout)["features"]["clicks"] == COUNT, done


def test_a_command_at_the_address_of_a_server_that_runs_reads_the_features(server, forebay):
    def get(address):
        return forebay("get", "spending_now", "name=ann", "--output", "json", "--flight-addr", address, check=False)

    for address, words in (("the server", "is not an address; write host:port such as 127.0.0.1:8815"),
                           (f"127.0.0.1:{free_port()}", "start `forebay server`, or give its address"),
                           (f"127.0.0.1:{server.http_port}", "this is its Flight address (by default 8815 is Flight")):
        done = get(address)
        assert done.returncode in (2, 3) and words in done.stderr, done
    done = get(server.flight)
    assert done.returncode == 0 and json.loads(done.stdout)["features"]["clicks"] == COUNT, done


class Elsewhere(Server):
    """A server whose Flight listener has another host."""

    host = "127.0.0.1"

    @property
    def flight(self):
        return f"{self.host}:{self.flight_port}"


def test_a_listener_gets_another_port_or_the_one_that_becomes_free_and_an_address_of_loopback(server, tmp_path):
    other = Elsewhere(tmp_path / "other", server.bootstrap, server.sql, env=server.env)

    def does_not_start(code, words):
        other.start(ready=False)
        assert other.process.wait(timeout=60) == code, other.log_tail()
        assert words in other.log_tail(), other.log_tail()

    def serves():
        other.start()
        wait_for(lambda: clicks(other, "ann") == COUNT, "the clicks")
        other.stop()

    try:
        other.flight_port = server.flight_port
        does_not_start(3, f"cannot listen on {other.flight}; choose a free port, or stop what uses it")
        other.flight_port = free_port()
        serves()
        with socket.socket() as taken:
            other.http_port = free_port()
            taken.bind(("127.0.0.1", other.http_port))
            taken.listen()
            does_not_start(3, f"cannot listen on 127.0.0.1:{other.http_port}; choose a free port, or stop what uses it")
        serves()
        other.host = "0.0.0.0"
        does_not_start(2, "use 127.0.0.1 or [::1] (and a tunnel to reach it from elsewhere)")
        other.host = "[::1]"
        serves()
    finally:
        other.stop()


def test_what_an_exchange_is_told_at_a_stop_holds_of_the_next_start(server):
    with Exchange(server) as leaving, Exchange(server) as staying:
        for exchange in (leaving, staying):
            assert exchange.answers() == [ANSWER]
        server.process.send_signal(signal.SIGTERM)
        for exchange in (leaving, staying):
            said, _ = exchange.receive()
            assert said["status"] == "GOING_AWAY", said
            assert said["message"] == "the server is shutting down; open a new stream elsewhere or later"
        assert staying.answers() == [ANSWER], "until its time is over"
        leaving.writer.close()
        refused(staying.receive, "the server is shutting down; open a new stream")
    assert server.process.wait(timeout=30) == 0
    server.start()
    with Exchange(server) as exchange:
        assert exchange.answers() == [ANSWER]
