"""Every remedy works: what an error text says is to be done is done here, and afterwards the server has all its events, each
once. Gaps, stumps, names and limits have theirs in test_log, test_rebuild, test_archive and test_memory, a damaged batch in
test_matrix.
"""

import json
import pathlib
import re

import pyarrow as pa
import pytest
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, ResourcePatternType,
                                   ResourceType)

import state_files
from conftest import Kafka, wait_for
from tables import delta_rows
from test_apply import ENTITY, SERVICE, SOURCE, VIEW, apply, click, clicks, total
from test_archive import OTHER_VIEW, refused
from test_log import definitions, forebay, is_halted, shop, source  # noqa: F401 - a fixture
from topics import delete_records, kcat, make_topic, produce

COUNT = 6
# Level of the state of rows that are older than the history, in the key of a tile.
FOLDED = 0xF0
LATER = "2024-05-14T00:00:00Z"


def whole(server, count=COUNT):
    """The first `count` clicks are applied and archived, each once."""
    wait_for(lambda: clicks(server) == total(count), lambda: f"{count} clicks; {clicks(server)}, {source(server)}")
    wait_for(lambda: delta_rows(server.data_dir, "clicks") >= count, f"{count} archived clicks")
    assert delta_rows(server.data_dir, "clicks") == count


@pytest.fixture
def stopped(shop):  # noqa: F811
    """A server that has applied and archived some clicks and was stopped."""
    server, topic, kafka = shop
    click(kafka, topic, 0, COUNT)
    server.start()
    whole(server)
    server.stop()
    return server, topic, kafka


def rebuilt_over_a_cut_log(server, topic, kafka, folder):
    """Start on a state directory that was moved away, the log without its head, and rebuild as the text says."""
    delete_records(kafka, topic, COUNT - 1, folder)
    server.start()
    kept = 1, COUNT - 1 + 0.25
    wait_for(lambda: clicks(server) == kept, lambda: f"what the log still holds; {clicks(server)}, {source(server)}")
    done = forebay(server, "rebuild", "clicks")
    assert done.returncode == 0, done
    whole(server)
    click(kafka, topic, COUNT, 1)
    whole(server, COUNT + 1)


def test_shards_are_set_back_or_the_state_is_made_anew_with_others(stopped, tmp_path):
    server, topic, kafka = stopped
    made_with = len(list((server.data_dir / "online").glob("shard-*")))
    server.env["FOREBAY_STATE_SHARDS"] = str(made_with + 1)
    refused(server, f"made with {made_with} shards", f"set shards = {made_with}", "move the directory away",
            "forebay rebuild SOURCE")
    server.env["FOREBAY_STATE_SHARDS"] = str(made_with)
    server.start()
    whole(server)
    server.stop()
    server.env["FOREBAY_STATE_SHARDS"] = str(made_with + 1)
    (server.data_dir / "online").rename(tmp_path / "moved")
    rebuilt_over_a_cut_log(server, topic, kafka, tmp_path)


def test_a_damaged_state_is_moved_away_and_made_anew(stopped, tmp_path):
    server, topic, kafka = stopped
    manifest = next((server.data_dir / "online" / "shard-0000").glob("MANIFEST-*"))
    damaged = bytearray(manifest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    manifest.write_bytes(damaged)
    refused(server, "the state of shard 0 is damaged", "move the state directory away", "forebay rebuild SOURCE")
    (server.data_dir / "online").rename(tmp_path / "moved")
    rebuilt_over_a_cut_log(server, topic, kafka, tmp_path)


def test_a_state_directory_that_is_none_is_made_one_again(stopped, tmp_path):
    server, topic, kafka = stopped
    state = server.data_dir / "online"
    state.rename(tmp_path / "kept")
    state.write_text("a file stands in its place")
    refused(server, "online", "cannot be used; check that it exists and is writable")
    state.unlink()
    (tmp_path / "kept").rename(state)
    own, server.data_dir = server.data_dir, server.data_dir / "catalog.json" / "data"
    refused(server, f"cannot make data directory {server.data_dir}; give another with --data-dir")
    server.data_dir = own
    server.start()
    click(kafka, topic, COUNT, 1)
    whole(server, COUNT + 1)


@pytest.fixture
def killed(shop):  # noqa: F811
    """A server that has applied and archived some clicks and was killed: its state stands in RocksDB's log."""
    server, topic, kafka = shop
    server.env["FOREBAY_STATE_SHARDS"] = "1"
    click(kafka, topic, 0, COUNT)
    server.start()
    whole(server)
    server.kill()
    return server, topic, kafka


def test_a_state_of_another_build_is_moved_away_and_made_anew(killed, tmp_path):
    server, topic, kafka = killed

    def of_another_build(value):
        return bytes([value[0] + 1]) + value[1:]

    assert state_files.change(server.data_dir / "online" / "shard-0000", lambda family, key: key == b"store", of_another_build)
    refused(server, "has format 4 and this build reads 3", "start the build that wrote it", "move the state directory away",
            "forebay rebuild SOURCE")
    (server.data_dir / "online").rename(tmp_path / "moved")
    rebuilt_over_a_cut_log(server, topic, kafka, tmp_path)


def test_a_corrupt_aggregate_is_refused_and_made_anew(killed, tmp_path):
    server, topic, kafka = killed

    def corrupt(value):
        return value[:4] + bytes(4) + value[8:]

    assert state_files.change(server.data_dir / "online" / "shard-0000",
                              lambda family, key: family == "tile" and b"ann" in key, corrupt)
    server.start()
    with pytest.raises(pa.ArrowException, match="view spending .* cannot be decoded: .*; `forebay rebuild spending` makes it anew"):
        clicks(server)
    done = forebay(server, "rebuild", "spending")
    assert done.returncode == 0, done
    whole(server)


def test_a_state_whose_own_record_is_corrupt_is_moved_away_and_made_anew(killed, tmp_path):
    server, topic, kafka = killed

    def corrupt(value):
        return value[:1] + b"\xff" * (len(value) - 1)

    assert state_files.change(server.data_dir / "online" / "shard-0000",
                              lambda family, key: key.startswith(b"partition/"), corrupt)
    refused(server, "the progress of a partition of shard 0 cannot be decoded", "move the state directory away",
            "`forebay rebuild SOURCE`")
    (server.data_dir / "online").rename(tmp_path / "moved")
    rebuilt_over_a_cut_log(server, topic, kafka, tmp_path)


# Events behind the one that meets a corrupt state.
BEHIND = 20_000


@pytest.mark.parametrize("others, met", [(0, False), (100_000, True)], ids=["read", "met_by_an_event"])
def test_a_corrupt_state_of_rows_beyond_the_history_is_made_anew_by_a_rebuild_alone(shop, others, met):  # noqa: F811
    server, topic, kafka = shop
    server.env.update(FOREBAY_STATE_SHARDS="1", FOREBAY_STATE_HISTORY_HOURS="1")
    click(kafka, topic, 0, COUNT)
    server.start()

    def click_of(day):
        produce(kafka, topic, {"name": "ann", "amount": 1.0, "at": f"2024-05-{day:02}T00:00:00Z"})

    def has(later):
        expected = COUNT + later, total(COUNT)[1] + later
        wait_for(lambda: clicks(server, LATER) == expected, lambda: f"{expected}; {clicks(server, LATER)}, {source(server)}")
        wait_for(lambda: delta_rows(server.data_dir, "clicks") == COUNT + later + others, "the archived clicks")

    def is_folded():
        try:
            return clicks(server) is None
        except pa.ArrowException as error:
            return "keeps exact values from" in str(error)

    for day in range(2, 12):
        click_of(day)
    # What is older than the history goes when the shards next look for it; of a window without a begin it leaves a state.
    wait_for(is_folded, "the old clicks to become a state")
    event = json.dumps({"name": "bob", "amount": 1.0, "at": "2024-05-11T00:00:00Z"})
    kcat(kafka, "-P", "-t", topic, data="\n".join([event] * others).encode())
    has(10)
    server.kill()
    assert state_files.change(server.data_dir / "online" / "shard-0000",
                              lambda family, key: family == "tile" and b"ann" in key and FOLDED in key,
                              lambda value: value[:23] + b"\xff" + value[24:])
    server.start()
    words = "view spending cannot be used in shard 0: a stored aggregate state is corrupt: .*; `forebay rebuild spending`"
    with pytest.raises(pa.ArrowException, match=words):
        clicks(server, LATER)
    if met:
        click_of(12)
        # The view is set aside alone, and what comes behind the event is read and archived.
        wait_for(lambda: server.client.status()["suspended"], lambda: f"the view to be set aside; {source(server)}")
        kcat(kafka, "-P", "-t", topic, data="\n".join([event] * BEHIND).encode())
        others += BEHIND
        rows = COUNT + 11 + others
        wait_for(lambda: delta_rows(server.data_dir, "clicks") == rows, lambda: f"{rows} archived clicks; {source(server)}")
        assert server.client.status()["failed"] is None
        with pytest.raises(pa.ArrowException, match=words):
            clicks(server, LATER)
    done = forebay(server, "rebuild", "spending")
    assert done.returncode == 0, done
    assert server.client.status()["suspended"] == []
    has(10 + met)
    click_of(13)
    has(11 + met)


def test_of_two_servers_on_one_directory_the_second_takes_it_over_or_gets_another(stopped, servers):
    server, *_ = stopped
    second = servers(server.bootstrap, server.sql, env=server.env)
    own, second.data_dir = second.data_dir, server.data_dir
    server.start()
    refused(second, "is in use by another forebay process", "--data-dir")
    whole(server)
    server.stop()
    second.start()
    whole(second)
    second.stop()
    second.data_dir = own
    server.start()
    second.start()
    whole(second)
    whole(server)


def test_of_two_servers_on_one_archive_one_is_stopped_and_the_other_started_again(stopped, servers):
    server, topic, kafka = stopped
    second = servers(server.bootstrap, server.sql, env=server.env)
    second.data_dir.mkdir()
    (second.data_dir / "offline").symlink_to(server.data_dir / "offline")
    both = server, second
    for one in both:
        one.start()
        whole(one)

    def fenced():
        return next((one for one in both if "another owner" in one.http("/readyz/ingest")[1] + one.log_tail()), None)

    click(kafka, topic, COUNT, 1)
    loser = wait_for(fenced, lambda: f"one to be fenced; {[source(one) for one in both]}")
    assert "stop one of the two processes and start this one again" in loser.http("/readyz/ingest")[1] + loser.log_tail()
    assert clicks(loser)[0] >= COUNT, "reads go on"
    for one in both:
        one.stop()
    loser.start()
    click(kafka, topic, COUNT + 1, 1)
    whole(loser, COUNT + 2)


def with_entity(saved, **changes):
    """A saved catalog with other fields of its entity."""
    catalog = json.loads(saved)
    [entity] = [part for part in catalog["objects"] if part["kind"] == "entity"]
    entity.update(changes)
    return json.dumps(catalog)


def test_a_damaged_catalog_is_restored_or_an_empty_directory_begins_anew(stopped):
    server, *_ = stopped
    catalog = server.data_dir / "catalog.json"
    text = catalog.read_text()
    for damaged, words in {
        text[:len(text) // 2]: ("catalog.json is damaged", "restore it", "empty data directory"),
        with_entity(text, line=1 << 40): ("says that entity person stands at", "which no file has; restore it from a backup"),
        with_entity(text, text=SERVICE): ("the saved catalog holds another statement than that of entity person",
                                          "restore it from a backup, or apply the definitions to an empty one"),
    }.items():
        catalog.write_text(damaged)
        refused(server, *words)
    catalog.write_text(text)
    server.start()
    whole(server)
    server.stop()
    catalog.write_text(with_entity(text, text=SERVICE))
    server.data_dir = server.data_dir.with_name("empty")
    server.start()
    whole(server)


def test_a_catalog_of_another_version_is_read_by_that_version_or_another_directory_begins_anew(stopped):
    server, *_ = stopped
    catalog = server.data_dir / "catalog.json"
    text = catalog.read_text()
    other = re.sub(r'"format":\s*(\d+)', '"format":99', text, count=1)
    assert other != text
    catalog.write_text(other)
    refused(server, "the saved catalog has format 99", "use the version that wrote it", "another data directory")
    # This version wrote what it had before.
    catalog.write_text(text)
    server.start()
    whole(server)
    server.stop()
    catalog.write_text(other)
    server.data_dir = server.data_dir.with_name("another")
    server.start()
    whole(server)


def applied_anew(server, topic, kafka):
    """The saved definitions are moved away, and the folder of the start is applied: every view has all its events."""
    (server.data_dir / "catalog.json").rename(server.data_dir / "catalog.moved")
    server.start()
    whole(server)
    click(kafka, topic, COUNT, 1)
    whole(server, COUNT + 1)
    assert server.client.action("verify", {"service": "spending_now", "sample": 100})["clean"]


def test_saved_definitions_that_do_not_compile_are_set_aside_until_they_are_corrected(stopped):
    server, topic, kafka = stopped
    catalog = server.data_dir / "catalog.json"
    text = catalog.read_text()
    # A start applies its folder, which would correct the view by itself.
    server.sql = None
    catalog.write_text(text.replace("sum(amount)", "sum(nothing)"))
    server.start()
    parts = {(part["kind"], part["name"]): part["reason"] for part in server.client.status()["suspended"]}
    assert set(parts) == {("view", "spending"), ("service", "spending_now")}, parts
    assert "there is no column nothing" in parts["view", "spending"], parts
    assert all("correct the definition and apply it, or drop it" in reason for reason in parts.values()), parts
    click(kafka, topic, COUNT, 1)
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == COUNT + 1, "the click to be archived")
    apply(server, VIEW)
    assert server.client.status()["suspended"] == []
    whole(server, COUNT + 1)
    assert server.client.action("verify", {"service": "spending_now", "sample": 100})["clean"]


def test_a_build_that_takes_a_definition_again_knows_what_its_state_lacks(stopped):
    server, topic, kafka = stopped
    catalog = server.data_dir / "catalog.json"
    text = catalog.read_text()
    server.sql = None
    catalog.write_text(text.replace("sum(amount)", "sum(nothing)"))
    server.start()
    click(kafka, topic, COUNT, 1)
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == COUNT + 1, "the click to be archived")
    server.stop()
    catalog.write_text(text)
    server.start()
    with pytest.raises(pa.ArrowException, match="view spending cannot be used.*no event was folded into it meanwhile"):
        clicks(server)
    assert forebay(server, "rebuild", "spending").returncode == 0
    whole(server, COUNT + 1)


def test_broken_definitions_can_be_dropped(stopped):
    server, topic, kafka = stopped
    catalog = server.data_dir / "catalog.json"
    server.sql = None
    catalog.write_text(catalog.read_text().replace("sum(amount)", "sum(nothing)"))
    server.start()
    apply(server, "DROP FEATURE SERVICE spending_now;", "DROP FEATURE VIEW spending;")
    assert server.client.status()["suspended"] == []
    server.stop()
    server.start()
    apply(server, VIEW, SERVICE)
    whole(server)


def test_a_saved_text_that_was_changed_sets_its_view_aside_until_it_is_rebuilt(stopped):
    server, topic, kafka = stopped
    catalog = server.data_dir / "catalog.json"
    text = catalog.read_text()
    # A start applies its folder, which would make the view anew by itself.
    server.sql = None
    catalog.write_text(text.replace("sum(amount)", "max(amount)"))
    server.start()
    words = r"view spending cannot be used in shard \d+: it was made when the saved definition meant something else.*" \
            "`forebay rebuild spending`"
    with pytest.raises(pa.ArrowException, match=words):
        clicks(server)
    [part] = server.client.status()["suspended"]
    assert (part["kind"], part["name"]) == ("view", "spending")
    click(kafka, topic, COUNT, 1)
    wait_for(lambda: delta_rows(server.data_dir, "clicks") == COUNT + 1, "the archived clicks")
    # The mark outlives the process, and a text that is put back: rows were left out meanwhile.
    server.stop()
    catalog.write_text(text)
    server.start()
    with pytest.raises(pa.ArrowException, match=words):
        clicks(server)
    assert forebay(server, "rebuild", "spending").returncode == 0
    whole(server, COUNT + 1)
    server.stop()
    catalog.write_text(catalog.read_text().replace("sum(amount)", "max(amount)"))
    server.start()
    with pytest.raises(pa.ArrowException, match=words):
        clicks(server)
    assert forebay(server, "rebuild", "spending").returncode == 0
    assert server.client.status()["suspended"] == []
    wait_for(lambda: clicks(server) == (COUNT + 1, total(COUNT + 1)[1] - total(COUNT)[1]), lambda: f"the greatest; {clicks(server)}")


def test_definitions_that_are_older_than_the_state_are_refused_replaced_by_the_newer_ones_or_applied_anew(stopped):
    server, topic, kafka = stopped
    catalog = server.data_dir / "catalog.json"
    older = catalog.read_text()
    server.start()
    changed = VIEW.replace("CREATE FEATURE", "CREATE OR REPLACE FEATURE")
    apply(server, changed.replace("AS total", "AS total, max(amount) OVER ever AS top"))
    server.stop()
    newer = catalog.read_text()
    words = ["catalog.json", "view 'spending' of the saved definitions has no state", "older than the state"]
    catalog.write_text(older)
    refused(server, *words)
    catalog.write_text(newer)
    server.start()
    whole(server)
    server.stop()
    catalog.write_text(older)
    refused(server, *words)
    applied_anew(server, topic, kafka)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_an_archive_file_that_is_restored_fills_views_again(stopped, how):
    server, *_ = stopped
    file = next(pathlib.Path(server.data_dir / "offline" / "clicks").rglob("*.parquet"))
    backup = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        middle = len(backup) // 2
        file.write_bytes(backup[:middle] + bytes([backup[middle] ^ 1]) + backup[middle + 1:])
    server.start()
    again = SERVICE.replace("spending AS s", "spending_again AS s")
    with pytest.raises(pa.ArrowException, match="restore .* from a backup"):
        apply(server, OTHER_VIEW, again)
    assert clicks(server) == total(COUNT), "reads go on"
    file.write_bytes(backup)
    apply(server, OTHER_VIEW, again)
    whole(server)
    assert not server.client.status()["damaged_files"]


def test_a_source_of_another_schema_gets_another_name_or_the_table_is_moved_away(stopped, tmp_path):
    server, topic, kafka = stopped
    # The folder of a start would bring back what is dropped.
    (server.sql / "all.sql").write_text(ENTITY)
    server.start()
    apply(server, "DROP FEATURE SERVICE spending_now;", "DROP FEATURE VIEW spending;", "DROP SOURCE clicks;")
    changed = SOURCE.format(amount="BIGINT", topic=topic)
    with pytest.raises(pa.ArrowException, match="another name and topic; or drop the source, stop the server, move the table's directory away and start with"):
        apply(server, changed)
    other = f"{topic}.other"
    make_topic(kafka, other)
    renamed = SOURCE.format(amount="BIGINT", topic=other).replace("SOURCE clicks", "SOURCE clicks_too")
    apply(server, renamed, VIEW.replace("FROM clicks", "FROM clicks_too"), SERVICE)
    assert clicks(server) == (None, None)
    apply(server, "DROP FEATURE SERVICE spending_now;", "DROP FEATURE VIEW spending;", "DROP SOURCE clicks_too;")
    server.stop()
    (server.data_dir / "offline" / "clicks").rename(tmp_path / "moved")
    (server.sql / "all.sql").write_text(changed)
    server.start()
    # 0.25 is no BIGINT: each event is refused, and none is lost.
    wait_for(lambda: delta_rows(server.data_dir, "dead_letters") == COUNT, lambda: f"the dead letters; {source(server)}")
    assert source(server)["dead_letters"] == COUNT


def test_a_state_of_another_cluster_goes_on_with_its_own_or_another_directory_follows_this_one(stopped):
    server, topic, kafka = stopped
    own = server.data_dir
    server.broker = "embedded"
    server.env["FOREBAY_KAFKA_CREATE_SOURCE_TOPICS"] = "true"
    server.start()
    wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
    reason = source(server)["reason"]
    assert "follows Kafka cluster" in reason and "kafka.bootstrap" in reason and "--data-dir" in reason, reason
    assert clicks(server) == total(COUNT), "reads go on"
    server.stop()
    server.data_dir = own.with_name("another")
    server.start()
    wait_for(lambda: source(server)["state"] == "reading", lambda: f"the other cluster to be followed; {source(server)}")
    server.stop()
    server.data_dir, server.broker = own, "kafka"
    server.start()
    click(kafka, topic, COUNT, 1)
    whole(server, COUNT + 1)


def test_a_topic_that_is_made_at_last_is_read(shop):  # noqa: F811
    server, topic, kafka = shop
    missing = f"{topic}.missing"
    text = (server.sql / "all.sql").read_text()
    (server.sql / "all.sql").write_text(text.replace(topic, missing))
    server.start()
    wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
    assert "does not exist; create it" in source(server)["reason"], source(server)
    make_topic(kafka, missing)
    click(kafka, missing, 0, COUNT)
    whole(server)


@pytest.mark.parametrize("how, words, restored", [("empty", "is empty; if it is the newest, move it away", False),
                                                  ("torn", "is not JSON", True), ("missing", "is missing and no checkpoint", True),
                                                  ("hint", "`_last_checkpoint` is not what Delta writes", False)])
def test_what_the_log_of_a_table_wants_makes_it_usable_again(stopped, how, words, restored):
    server, topic, kafka = stopped
    log = server.data_dir / "offline" / "clicks" / "_delta_log"
    entries = sorted(log.glob("*.json"))
    file = {"hint": log / "_last_checkpoint", "missing": entries[-2]}.get(how, entries[-1])
    backup = file.read_bytes() if restored else None
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "torn": b"{\"commitInfo\":", "hint": b"none"}[how])
    server.env["RUST_BACKTRACE"] = "1"
    server.start()
    wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
    assert source(server)["code"] == "table_unusable" and words in source(server)["reason"], source(server)
    assert clicks(server) == total(COUNT), "reads go on"
    # What is wrong with a file is said in words; a trace of calls is for a defect of the program.
    assert not re.search(r"backtrace|^\s*\d+: .*::", server.log_tail(), re.MULTILINE), server.log_tail()
    if restored:
        file.write_bytes(backup)
    else:
        file.unlink()
    click(kafka, topic, COUNT, 1)
    whole(server, COUNT + 1)


@pytest.fixture(scope="module")
def guarded(kafka, tmp_path_factory):
    """Address of a broker of its own that asks who may do what; where nothing is said everybody may."""
    settings = {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found": "true"}
    broker = Kafka(tmp_path_factory.mktemp("guarded") / "kafka", settings)
    yield broker.bootstrap
    broker.stop()


@pytest.mark.parametrize("operation", [AclOperation.READ, AclOperation.DESCRIBE], ids=["read", "describe"])
def test_a_topic_that_is_refused_is_read_on_by_itself_once_it_is_granted(guarded, servers, tmp_path, operation):
    topic = f"clicks.{operation.name.lower()}"
    make_topic(guarded, topic)
    server = servers(guarded, definitions(tmp_path, topic), env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "500",
                                                                 "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false"}).start()
    click(guarded, topic, 0, 3)
    whole(server, 3)
    admin = AdminClient({"bootstrap.servers": guarded, "log_level": 0})
    everybody = ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*"
    rules = [AclBinding(*everybody, op, AclPermissionType.DENY if op == operation else AclPermissionType.ALLOW)
             for op in (AclOperation.READ, AclOperation.DESCRIBE, AclOperation.WRITE)]
    for made in admin.create_acls(rules).values():
        made.result(30)
    told = f"refuses topic '{topic}'"
    wait_for(lambda: told in server.http("/readyz/ingest")[1], lambda: f"the refusal; {server.http('/readyz/ingest')}")
    text = server.http("/readyz/ingest")[1]
    assert "grant it to this client" in text and "[refused]" in text, text
    assert server.metric("forebay_source_halted", source="clicks", code="refused") == 1
    assert clicks(server) == total(3), "reads go on"
    of_topic = AclBindingFilter(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, None, None, AclOperation.ANY,
                                AclPermissionType.ANY)
    for gone in admin.delete_acls([of_topic]).values():
        gone.result(30)
    click(guarded, topic, 3, 3)
    whole(server)
    wait_for(lambda: server.http("/readyz/ingest")[0] == 200, lambda: f"healthy ingest; {server.http('/readyz/ingest')}")
    wait_for(lambda: "forebay_source_halted{" not in server.http("/metrics")[1], "no halt to be shown")
