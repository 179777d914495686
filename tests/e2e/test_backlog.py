"""A server that comes to a full log scores every event of it. Topics are read side by side, so that arrivals may be weeks of event
time ahead of departures; the features of a departure are asked for at its own time all the same, and must still be there.
"""

from applied import applied
from conftest import FLIGHTS, copy_definitions, wait_for
from tables import delta, delta_rows, event_counts

UNTIL = "2013-02-01"
PREDICTIONS = "predictions_late_arrival"


def test_every_event_of_a_backlog_is_scored(servers, forebay, kafka, tmp_path):
    sql = copy_definitions(tmp_path / "sql")
    forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--until", UNTIL, "--speed", "max")
    expected = event_counts(until=UNTIL)
    server = servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "2000"}).start()
    status = server.wait_read({**expected, PREDICTIONS: expected["departures"]})
    assert (status["unscored"], status["late_rows"]) == (0, 0)
    wait_for(lambda: delta_rows(server.data_dir, PREDICTIONS) >= expected["departures"], "predictions in the archive")
    answer = server.client.action("verify", {"service": "delay_features", "sample": 20_000, "predictions": True})
    assert answer["clean"] and answer["report"]["equal"] == 20_000, answer["differences"]
    published = server.metric("forebay_predictions_total", deployment="late_arrival", version="1", role="live")
    assert published == expected["departures"] and server.metric("forebay_unscored_events_total") == 0
    assert 'view="all"' not in server.http("/metrics")[1]
    names = ["applied", "source_topic", "source_partition", "source_offset"]
    predictions = delta(server.data_dir, PREDICTIONS, names).to_pylist()
    assert max(len(p["applied"]) for p in predictions) < 1_000
    for prediction in predictions:
        views = applied(prediction["applied"])
        place = prediction["source_topic"], prediction["source_partition"]
        own = [offsets[place] for offsets in views.values() if place in offsets]
        assert views and all(offset > prediction["source_offset"] for offset in own), "its own event was applied"
