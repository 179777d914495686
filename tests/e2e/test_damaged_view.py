"""A view that deployments read is damaged, on Apache Kafka: events are read and archived, their scores wait, and once the view is
made anew every event has its prediction, once, with the values that it should have.
"""

import json
import os

import pytest

import state_files
from conftest import run_binary, wait_for
from flight_day import DEPLOYMENTS, FIRST, SECOND, Flights, due
from tables import events

VIEW = "aircraft_recent"


@pytest.fixture
def flights(servers, kafka, tmp_path):
    """A running server that has read, scored and monitored the first day."""
    made = Flights(servers, kafka, tmp_path, f"damaged-view-{os.getpid()}")
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
        return all(deployments()[name]["state"] == "retrying" and f"view {VIEW} is damaged" in deployments()[name]["reason"]
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
