"""What breaks, breaks alone, on Apache Kafka: one part of a running server is broken, and everything else goes on. Reads are
answered, sources that are whole apply what comes, deployments publish, monitors count, definitions are applied and dropped, and
a stop ends within ten seconds; where the part can be mended, nothing was lost and nothing is there twice.

A view fails for itself in two ways: a new one cannot be filled, and what is stored of one cannot be read. A row that one view
cannot fold is no failure of the view: it is refused for all views of its source, as a dead letter (`test_bad_input.py`).
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

import state_files
from conftest import DEFINITIONS, FLIGHTS, ROOT, free_port, run_binary, wait_for
from disks import FULL, fill
from flight_day import AT, DEPLOYMENTS, EXTRA_VIEW, EXTRA_VIEW_OF_WEATHER, FIRST, FLOWN, SECOND, SOURCES, Flights, due
from make_spine import make_spine
from tables import delta_rows, events
from test_worker import Worker
from topics import answers, delete_topic, make_topic, produce

DISK_MIB = 128
STOP_S = 10
# Of a read on a machine that is busy with a broker's start.
READ_S = 5


@dataclass
class Broken:
    """What goes on although a part is broken, what says so, and how the part is mended after a stop, if it can be: by then the
    server runs again."""

    says: Callable
    sources: tuple = SOURCES
    deployments: tuple = DEPLOYMENTS
    monitor: bool = True
    applies: bool = True
    # What is applied and dropped meanwhile.
    extra: str = EXTRA_VIEW
    # Whether a stop can write all that was read; where it cannot, it says so by its exit code.
    finishes: bool = True
    mend: Callable | None = None


def readiness(flights):
    return flights.server.http("/readyz/ingest")


def broker_folder():
    return pathlib.Path(os.environ["FOREBAY_TEST_KAFKA_STATE"])


def kafka_script(command):
    subprocess.run([ROOT / "scripts" / "kafka", command, broker_folder()], check=True, capture_output=True, timeout=120)


def break_partition(flights):
    """A batch whose bytes have changed on the broker's disk. The server is stopped while they change, so that it cannot have
    fetched them before."""
    flights.server.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)  # a fetch that is under way is answered
    event = {"origin": "JFK", "observed_at": "2013-01-01T23:30:00Z", "temp": 1.0}
    produce(flights.kafka, flights.topic("weather"), event, partition=0)
    log = broker_folder() / "data" / f"{flights.topic('weather')}-0" / f"{0:020}.log"
    with log.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-4, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    flights.server.process.send_signal(signal.SIGCONT)

    def halted():
        return "forebay gap accept weather/0" in (flights.partition("weather", 0)["halted"] or "")

    def mend():
        flights.server.start()
        wait_for(halted, lambda: f"the partition to be halted after a restart too; {flights.state('weather')}")
        run_binary("gap", "accept", "weather/0", "--flight-addr", flights.server.flight)

    wait_for(halted, lambda: f"the partition to be halted; {flights.state('weather')}")
    before = flights.partition("weather", 1)["applied"]
    flights.send(SECOND, ("weather",))
    wait_for(lambda: flights.partition("weather", 1)["applied"] > before and flights.partition("weather", 1)["lag"] == 0,
             lambda: f"the other partition to be read; {flights.state('weather')}")
    return Broken(lambda: halted() and "partition 0 of source weather" in readiness(flights)[1],
                  sources=("departures", "arrivals"), mend=mend)


def break_source(flights):
    """The topic is made anew: another log under the same name."""
    before = flights.state("weather")["rows"]
    delete_topic(flights.kafka, flights.topic("weather"))
    # One that is made anew between two looks at the topic may be read until the second one.
    wait_for(lambda: flights.state("weather")["state"] != "reading", lambda: f"the topic to be missed; {flights.state('weather')}")
    make_topic(flights.kafka, flights.topic("weather"), 2)
    flights.send(SECOND, ("weather",))

    def says():
        state = flights.state("weather")
        assert state["rows"] == before, "a record of the other topic was read"
        return state["state"] == "halted" and "weather" in readiness(flights)[1]

    return Broken(says, sources=("departures", "arrivals"))


def flown(since, until):
    """Flights and miles of each aircraft in these days, by the events alone."""
    rows = events("departures", since, until)
    rows = rows.filter(pc.is_valid(rows["tailnum"])).group_by("tailnum").aggregate([([], "count_all"), ("distance", "sum")])
    return {row["tailnum"]: (row["count_all"], row["distance_sum"]) for row in rows.to_pylist()}


def answered(flights, aircraft):
    """The same as view `flown` answers it."""
    rows = flights.server.client.get("flown_now", {"tailnum": list(aircraft)}, at=AT)
    return dict(zip(aircraft, zip(rows["flights"].to_pylist(), rows["miles"].to_pylist())))


def assert_flown(flights):
    """The view has both days, each event once."""
    expected = flown(FIRST[0], SECOND[1])
    assert answered(flights, expected) == expected


def break_view(flights):
    """It is new and cannot be filled: an archived file of its source has changed."""
    files = (flights.server.data_dir / "offline" / "departures").glob("part-*.parquet")
    file = max(files, key=lambda file: file.stat().st_size)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:])

    def says():
        with pytest.raises(pa.ArrowException) as refused:
            flights.apply(*FLOWN)
        said = "fill view flown version 1", file.name, "restore it from a backup", "the definitions before are in force"
        assert all(words in str(refused.value) for words in said), refused.value
        with pytest.raises(pa.ArrowKeyError):
            answered(flights, ["N14228"])
        return True

    def mend():
        flights.server.start()
        says()
        file.write_bytes(whole)
        flights.apply(*FLOWN)
        assert_flown(flights)

    assert says()
    return Broken(says, extra=EXTRA_VIEW_OF_WEATHER, mend=mend)


def break_state(flights):
    """What is stored of one key of a view that no deployment reads does not decode, and an event of the second day meets it: the
    view is set aside in the shard of that key."""
    flights.apply(*FLOWN)
    expected = flown(FIRST[0], SECOND[1])
    lost, *others = sorted(flown(*FIRST).keys() & flown(*SECOND).keys())
    # Its state stands in RocksDB's log.
    flights.server.kill()
    objects = json.loads((flights.server.data_dir / "catalog.json").read_text())["objects"]
    [view] = [object["view_id"] for object in objects if object["name"] == "flown"]
    shards = sorted((flights.server.data_dir / "online").glob("shard-*"))

    def is_lost(family, key):
        return family == "tile" and key.startswith(view.to_bytes(4, "big")) and lost.encode() in key

    def corrupt(value):
        return value[:4] + bytes(4) + value[8:]

    assert sum(state_files.change(shard, is_lost, corrupt) for shard in shards), f"nothing is stored of {lost}"
    flights.server.start()

    def refused(aircraft):
        try:
            answer = answered(flights, [aircraft])
        except pa.ArrowException as error:
            assert re.search("view flown cannot be used in shard .*cannot be decoded: .*`forebay rebuild flown`", str(error)), error
            return True
        assert answer == {aircraft: expected[aircraft]}
        return False

    def says():
        aside = [(part["kind"], part["name"]) for part in flights.server.client.status()["suspended"]]
        return aside == [("view", "flown")] and refused(lost)

    def mend():
        flights.server.start()
        [part] = flights.server.client.status()["suspended"]
        # Those of other shards are answered, and as they should be.
        shards = len(list((flights.server.data_dir / "online").glob("shard-*")))
        assert shards == 1 or not all([refused(aircraft) for aircraft in others[:40]])
        wait_for(lambda: flights.server.metric("forebay_part_set_aside", kind="view") == 1, "the series of the alert")
        rebuild = re.search("`forebay (rebuild flown)`", part["reason"])[1].split()
        run_binary(*rebuild, "--flight-addr", flights.server.flight)
        assert_flown(flights)
        assert flights.server.client.status()["suspended"] == []

    return Broken(says, mend=mend)


def break_deployment(flights):
    """The topic of its predictions takes none any more."""
    admin = AdminClient({"bootstrap.servers": flights.kafka})
    entry = ConfigEntry("max.message.bytes", "100", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, flights.topic("predictions.late_too"), incremental_configs=[entry])
    for done in admin.incremental_alter_configs([resource]).values():
        done.result()

    def says():
        # Each refusal is noted, and counts as an answer.
        unscored = flights.server.client.status()["deployments"]["late_too"]["unscored"]
        return unscored == {"prediction_refused": due(SECOND, SECOND)["departures"]} and \
            delta_rows(flights.server.data_dir, "settlements") > 0

    return Broken(says, deployments=("late_arrival",))


def break_worker(flights):
    """It hangs with its connection open; the server scores by itself."""
    flights.worker.process.send_signal(signal.SIGSTOP)
    return Broken(lambda: flights.server.metric("forebay_worker_up") == 0)


def break_monitor(flights):
    """The topic of its labels is gone; windows of drift go on."""
    delete_topic(flights.kafka, flights.topic("arrivals"))
    return Broken(lambda: flights.state("arrivals")["state"] == "halted", sources=("departures", "weather"))


def break_reference(flights):
    """The profile that its monitor compares with is gone at a start."""
    flights.server.stop()
    for profile in flights.root.rglob("reference-*.json"):
        profile.unlink()
    # The folder of a start names it no more; the definitions that were applied before do.
    definitions = [file.read_text() for file in sorted(flights.sql.glob("*.sql"))]
    for file in flights.sql.glob("*.sql"):
        if not file.name.startswith("01"):
            file.unlink()
    flights.server.start()

    def mend():
        """As the reason says: a profile of a training set, here of the first weeks of the year."""
        flights.server.start()
        [part] = wait_for(lambda: flights.server.client.status()["suspended"], "what is set aside")
        command = re.search(r"make it with: forebay (profile late_arrival_2013q1 --training-set FILE --model DIR)", part["reason"])
        assert command, part
        spine, file = flights.folder / "spine.parquet", flights.folder / "set.parquet"
        pq.write_table(make_spine(*(events(name, until="2013-01-15") for name in ("departures", "arrivals"))), spine)
        run_binary("training-set", "delay_features", "--spine", spine, "--out", file, "--sql", DEFINITIONS, "--events", FLIGHTS)
        named = {"FILE": file, "DIR": flights.root / "models" / "late_arrival" / "1"}
        run_binary(*(named.get(word, word) for word in command[1].split()))
        flights.apply(*definitions)
        assert flights.server.client.status()["suspended"] == []

    return Broken(lambda: [part["kind"] for part in flights.server.client.status()["suspended"]] == ["monitor"], monitor=False,
                  mend=mend)


def break_disk(flights):
    """The disk of the data directory is full."""
    filler = fill(flights.server.data_dir)
    flights.send(SECOND)

    def says():
        return any(FULL in why for why in flights.server.client.status()["failing"].values())

    def mend():
        filler.unlink()
        flights.server.start()

    return Broken(says, sources=(), deployments=(), monitor=False, applies=False, finishes=False,
                  mend=mend)


def break_broker(flights):
    """It is killed."""
    kafka_script("kill")

    def says():
        return readiness(flights)[0] == 503 and all(flights.state(name)["state"] == "waiting" for name in SOURCES)

    def mend():
        flights.server.start()
        kafka_script("boot")
        wait_for(lambda: answers(flights.kafka), "the broker to answer")
        flights.send(SECOND)

    return Broken(says, sources=(), deployments=(), monitor=False, mend=mend)


BREAKS = {"partition": break_partition, "source": break_source, "view": break_view, "view_state": break_state,
          "deployment": break_deployment, "worker": break_worker, "monitor": break_monitor, "reference": break_reference,
          "disk": break_disk, "broker": break_broker}
# What only a start meets.
AT_START = ("view_state", "reference")


@pytest.fixture
def flights(request, disks, servers, kafka, tmp_path):
    """A running server that has read, scored and monitored the first day; beside it a worker where one is to be broken."""
    part, environment, worker = request.node.callspec.params["part"], {}, None
    if part == "worker":
        port = free_port()
        environment["FOREBAY_INFERENCE_WORKERS"] = f"127.0.0.1:{port}"
        worker = Worker(ROOT / "models" / "late_arrival" / "1", port)
    if part == "disk":
        # A small log for RocksDB, so that the disk is used up soon.
        environment |= {"FOREBAY_STATE_SHARDS": "1", "FOREBAY_STATE_WRITE_BUFFER_MIB": "4"}
    made = Flights(servers, kafka, tmp_path, f"{part}-{os.getpid()}", **environment)
    made.worker = worker
    if part == "disk":
        disks.mount(made.server.data_dir, DISK_MIB)
    try:
        made.begin()
        yield made
    finally:
        if worker:
            worker.process.kill()
        if part == "broker":
            kafka_script("boot")


@contextlib.contextmanager
def reads(flights):
    """Reads are answered all the while, each in time."""
    done, failures, answered = threading.Event(), [], [0]

    def read():
        client = flights.server.client
        while not done.is_set() and not failures:
            begun = time.monotonic()
            try:
                assert flights.features(client)["route_arrivals"] is not None and client.status()
                answered[0] += 1
            except Exception as error:  # noqa: BLE001 - whatever a reader sees is told
                failures.append(error)
            if time.monotonic() - begun > READ_S:
                failures.append(f"a read took {time.monotonic() - begun:.1f} s")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join()
    assert not failures and answered[0] > 3, (failures[:1], answered)


def goes_on(flights, broken):
    """What is whole applies, publishes and counts the second day, and definitions change."""
    if broken.applies:
        assert flights.apply(broken.extra)
    if broken.sources:
        flights.send(SECOND, broken.sources)
    has_second_day(flights, broken)
    wait_for(broken.says, lambda: f"what is broken to be told; {readiness(flights)}, {flights.server.client.status()}")
    if broken.applies:
        assert flights.apply("DROP FEATURE VIEW extra;")
    assert flights.server.http("/readyz")[0] == 200 and flights.server.http("/livez")[0] == 200


def has_second_day(flights, whole):
    """Both days of what is whole are applied, archived and scored once, and monitored."""
    flights.assert_archived_once(due(FIRST, SECOND, whole.sources))
    departures = due(FIRST, SECOND)["departures"]
    flights.assert_scored_once(departures, whole.deployments)
    if whole.monitor:
        flights.wait_monitored(departures)


def stops(flights, finishes):
    begun = time.monotonic()
    flights.server.process.send_signal(signal.SIGTERM)
    code = flights.server.process.wait(timeout=60)
    # No signal and no panic ends it.
    assert code == 0 or not finishes and 0 < code < 100, f"the stop ended with {code}:\n{flights.server.log_tail()}"
    assert time.monotonic() - begun < STOP_S, f"a stop took {time.monotonic() - begun:.1f} s:\n{flights.server.log_tail()}"


@pytest.mark.parametrize("part", BREAKS)
def test_what_breaks_breaks_alone(part, flights):
    if part in AT_START:
        broken = BREAKS[part](flights)
    with reads(flights):
        if part not in AT_START:
            broken = BREAKS[part](flights)
        goes_on(flights, broken)
    stops(flights, broken.finishes)
    if broken.mend is not None:
        broken.mend()
        has_second_day(flights, Broken(says=None))
        wait_for(lambda: readiness(flights)[0] == 200, lambda: f"healthy ingest; {readiness(flights)}")
