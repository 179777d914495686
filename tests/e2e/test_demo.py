"""The demo's main job, played to its end on both brokers: every event that was sent is read, archived and, where a deployment
asks for it, scored; the summary says so; nothing is lost to the in-process broker's retention.
"""

import json

import pytest

from conftest import copy_definitions, free_port
from tables import delta_rows, event_counts

UNTIL = "2013-01-15"


@pytest.mark.parametrize("broker", ["embedded", "kafka"])
def test_the_demo_loses_nothing(broker, forebay, tmp_path, request):
    flags = []
    if broker == "kafka":
        flags = ["--bootstrap", request.getfixturevalue("kafka"), "--sql", copy_definitions(tmp_path / "sql")]
    summary, data = tmp_path / "summary.json", tmp_path / "data"
    done = forebay("demo", "--until", UNTIL, "--speed", "max", "--summary", summary, "--data-dir", data,
                   "--flight-addr", f"127.0.0.1:{free_port()}", "--http-addr", f"127.0.0.1:{free_port()}", *flags, timeout=300)
    expected = event_counts(until=UNTIL)
    told = json.loads(summary.read_text())
    assert told["sent"] == expected
    for source, count in expected.items():
        assert (told["read"][source], told["archived"][source], delta_rows(data, source)) == (count, count, count)
    assert (told["dead_letters"], told["unscored"], told["late_rows"]) == (0, 0, 0)
    assert told["predictions"] == expected["departures"] == told["archived"]["predictions_late_arrival"]
    (monitor,) = told["monitors"]
    assert monitor["input"]["accepted"] == expected["departures"]
    (series,) = monitor["series"]
    assert series["overall"]["coverage"] > 0.95 and series["overall"]["auc"] > 0.8
    assert "nothing (counted)" in done.stdout and "Try next" in done.stdout
    assert told["peak_rss_bytes"] < 1 << 30
    print(f"\n{sum(expected.values())} events in {told['elapsed_seconds']:.1f} s, {told['peak_rss_bytes'] >> 20} MiB")
