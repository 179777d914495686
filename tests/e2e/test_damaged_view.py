"""A view that deployments read is damaged, on Apache Kafka: events are read and archived, their scores wait, and once the view is
made anew every event has its prediction, once, with the values that it should have.
"""

import json
import re
import uuid

import pytest

import state_files
from conftest import run_binary, wait_for
from flight_day import DEPLOYMENTS, FIRST, SECOND, Flights, due, table_of
from tables import delta, events

VIEW = "aircraft_recent"


@pytest.fixture
def flights(servers, kafka, tmp_path):
    """A running server that has read, scored and monitored the first day."""
    made = Flights(servers, kafka, tmp_path, f"damaged-view-{uuid.uuid4().hex[:8]}")
    made.begin()
    return made


def damage(flights):
    """What is stored of one aircraft that flies on both days does not decode."""
    of_day = [set(events("departures", *day)["tailnum"].to_pylist()) for day in (FIRST, SECOND)]
    lost = min((of_day[0] & of_day[1]) - {None})
    flights.server.kill()
    objects = json.loads((flights.server.data_dir / "catalog.json").read_text())["objects"]
    [view] = [object["view_id"] for object in objects if object["name"] == VIEW]

    def is_lost(family, key):
        return family == "tile" and key.startswith(view.to_bytes(4, "big")) and lost.encode() in key

    shards = (flights.server.data_dir / "online").glob("shard-*")
    assert sum(state_files.change(shard, is_lost, lambda value: value[:4] + bytes(4) + value[8:]) for shard in shards)


def test_scores_that_need_a_view_set_aside_wait_until_it_is_made_anew(flights):
    damage(flights)
    flights.server.start()
    flights.send(SECOND)
    flights.assert_archived_once(due(FIRST, SECOND))
    departures = due(FIRST, SECOND)["departures"]

    def deployments():
        return flights.server.client.status()["deployments"]

    def waits():
        return all(deployments()[name]["state"] == "retrying" and f"view {VIEW} cannot be used" in deployments()[name]["reason"]
                   for name in DEPLOYMENTS)

    wait_for(waits, lambda: f"the deployments to say what they wait for; {deployments()}")
    [part] = flights.server.client.status()["suspended"]
    assert (part["kind"], part["name"]) == ("view", VIEW)
    run_binary("rebuild", VIEW, "--flight-addr", flights.server.flight)
    flights.assert_scored_once(departures)
    wait_for(lambda: {deployments()[name]["state"] for name in DEPLOYMENTS} == {"scoring"}, lambda: f"all to be well; {deployments()}")
    assert flights.server.client.status()["suspended"] == []
    flights.wait_monitored(departures)
    for asked in ({}, {"predictions": True}):
        report = flights.server.client.action("verify", {"service": "delay_features", "sample": 1_000, **asked})
        assert report["clean"], report


def outdate(flights):
    """State and saved definitions are those of a build whose functions mean something else: with other digests."""
    flights.server.kill()
    catalog = flights.server.data_dir / "catalog.json"
    text = catalog.read_text()
    objects = {one["name"]: one for one in json.loads(text)["objects"]}
    for name in (VIEW, "delay_features"):
        text = text.replace(objects[name]["digest"], objects[name]["digest"][::-1])
    catalog.write_text(text)
    record = b"view/" + objects[VIEW]["view_id"].to_bytes(4, "big")

    def is_record(family, key):
        return family == "meta" and key == record

    shard = flights.server.data_dir / "online" / "shard-0000"
    # The digest of the state is that of the definition, or made from it.
    digest = re.compile(rb"[0-9a-f]{32}")
    assert state_files.change(shard, is_record, lambda value: digest.sub(lambda of: of[0][::-1], value)) == 1


def ids_of(flights, table):
    if not (flights.server.data_dir / "offline" / table).exists():
        return []
    return delta(flights.server.data_dir, table, ["prediction_id"])["prediction_id"].to_pylist()


def versions(flights):
    objects = json.loads((flights.server.data_dir / "catalog.json").read_text())["objects"]
    return {one["name"]: one["version"] for one in objects}


@pytest.mark.parametrize("by", ["rebuild", "the folder of the start"])
def test_a_view_of_a_build_with_other_functions_is_made_anew_as_another_version_and_what_waited_is_scored(flights, by):
    before = versions(flights)
    outdate(flights)
    if by == "rebuild":
        flights.server.sql = None
    flights.server.start()
    flights.send(SECOND)
    flights.assert_archived_once(due(FIRST, SECOND))
    departures = due(FIRST, SECOND)["departures"]

    def status():
        return flights.server.client.status()

    if by == "rebuild":
        wait_for(lambda: all(status()["deployments"][name]["state"] == "retrying" for name in DEPLOYMENTS),
                 lambda: f"the deployments to wait; {status()['deployments']}")
        [part] = status()["suspended"]
        assert (part["kind"], part["name"]) == ("view", VIEW)
        assert "by a build whose functions differ" in part["reason"], part
        run_binary("rebuild", VIEW, "--flight-addr", flights.server.flight)
    wait_for(lambda: versions(flights)[VIEW] == 2, lambda: f"another version; {versions(flights)}")
    wait_for(lambda: status()["suspended"] == [], lambda: f"nothing to be set aside; {status()['suspended']}")
    after = versions(flights)
    changed = {name for name in after if after[name] != before[name]}
    assert {VIEW, "delay_features"} <= changed and not changed & set(due(FIRST, SECOND)), (before, after)

    # Predictions have another table where the service has another version; it has those of before too, from the topic.
    def scored(name):
        return ids_of(flights, f"{table_of(name)}_v{after['delay_features']}")

    for name in DEPLOYMENTS:
        wait_for(lambda: len(scored(name)) >= departures, lambda: f"{departures} predictions of {name}; {len(scored(name))}")
        assert len(scored(name)) == len(set(scored(name))) == departures
    # What another version has predicted is not recomputed by this one.
    for asked in ({}, {"predictions": True, "max_unverified": 0.6}):
        report = flights.server.client.action("verify", {"service": "delay_features", "sample": 1_000, **asked})
        assert report["clean"], report
    # It holds after the next start too.
    flights.server.stop()
    flights.server.start()
    assert status()["suspended"] == []
    assert versions(flights) == after
