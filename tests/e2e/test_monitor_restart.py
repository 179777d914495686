"""A monitor's report is a function of the log: the same live at full speed, after a restart from its checkpoint, rebuilt from the
archive without one, and rebuilt where the checkpoint is damaged.
"""

import pathlib
import re

from conftest import FLIGHTS, copy_definitions, wait_for
from tables import delta_rows, event_counts

UNTIL = "2013-02-01"
PREDICTIONS = "predictions_late_arrival"


def report(server):
    """What the monitor says; None while it still begins."""
    monitors = server.client.status()["monitors"]
    return monitors[0] if monitors else None


def checkpoint(server):
    [path] = (server.data_dir / "checkpoints").glob("monitor-*.ckpt")
    return path


def read_at_starts(server):
    """Archived rows that each start has read for monitors and the filter of repeats, beyond their checkpoints."""
    log = pathlib.Path(server.log.name).read_text()
    lines = re.findall(r"have read what the archive has beyond their checkpoints.*", log)
    return [int(re.search(r"rows=(\d+)", line)[1]) for line in lines]


def test_a_restart_changes_no_figure_of_a_monitor(servers, forebay, kafka, tmp_path):
    sql = copy_definitions(tmp_path / "sql")
    forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--until", UNTIL, "--speed", "max")
    expected = event_counts(until=UNTIL)
    server = servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "2000"}).start()
    server.wait_read({**expected, PREDICTIONS: expected["departures"]})
    wait_for(lambda: report(server)["input"]["accepted"] >= expected["departures"], "all predictions to be counted")
    wait_for(lambda: delta_rows(server.data_dir, PREDICTIONS) >= expected["departures"], "predictions in the archive")
    live = report(server)
    assert live["input"]["accepted"] == expected["departures"]
    assert set(read_at_starts(server)) == {0}, "an empty archive"
    begun = len(read_at_starts(server))

    def read():
        """What the newest start has read; it is the only one since the last call."""
        nonlocal begun
        counts = read_at_starts(server)
        assert len(counts) > begun
        begun = len(counts)
        return counts[-1]

    assert live["labels"]["matched"] > 0.9 * expected["departures"] and live["labels"]["unmatched"] == 0
    assert [window["state"] for window in live["series"][0]["windows"]].count("closed") >= 3

    def same():
        return report(server) == live

    def differences():
        """What is not as it was, for whoever reads a failure."""
        now = report(server)
        windows = zip(now["series"][0]["windows"], live["series"][0]["windows"])
        return ([(key, now[key], live[key]) for key in live if key != "series" and now[key] != live[key]],
                [(key, a[key], b[key]) for a, b in windows for key in b if key != "columns" and a[key] != b[key]])

    server.stop()
    assert checkpoint(server).stat().st_size > 0
    server.start()
    wait_for(same, lambda: f"the report of the run before: {differences()}", deadline_s=20)
    assert read() == 0, "the checkpoints of a clean stop have all"

    server.stop()
    checkpoint(server).unlink()
    server.start()
    wait_for(same, lambda: f"the report rebuilt from the archive: {differences()}", deadline_s=20)
    rebuilt = read()
    assert rebuilt >= 2 * expected["departures"], "predictions and what they are of"

    server.stop()
    damaged = bytearray(checkpoint(server).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    checkpoint(server).write_bytes(damaged)
    server.start()
    wait_for(same, lambda: f"the report rebuilt beside a damaged checkpoint: {differences()}", deadline_s=20)
