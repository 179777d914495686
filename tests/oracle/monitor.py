"""The figures of the flights' monitor (sql/flights/04_models.sql), written again from what they mean, outside Forebay: plain
loops over the archived predictions, events and labels. It knows no monitor and no watermark of a source, only facts, and gives
what depends on nothing else: rows and labelled rows of each window, how predicted and real classes meet, what became of labels.

A row is late when the log of its own partition was past it by more than the lateness before it came. A late prediction takes
no label, a late label is none. A prediction takes the newest label of its flight that came at most WITHIN after it.
"""

import bisect
import collections

import pyarrow as pa
import pyarrow.compute as pc

HOUR = 3_600_000_000
DAY = 24 * HOUR
WINDOW, LATENESS, WITHIN, DELAY = 7 * DAY, HOUR, DAY, HOUR // 2
LATE_MINUTES, THRESHOLD = 15, 0.5


def times(table, column):
    return pc.cast(pc.cast(table[column], pa.timestamp("us", "UTC")), pa.int64()).to_pylist()


def marks_before(table, time_column):
    """{(partition, offset): event time that the log of the partition had passed before the row, or None}."""
    rows = sorted(zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), times(table, time_column)))
    newest, marks = {}, {}
    for partition, offset, at in rows:
        marks[partition, offset] = newest[partition] - DELAY if partition in newest else None
        newest[partition] = max(at, newest.get(partition, at))
    return marks


def is_late(at, mark):
    return mark is not None and at + LATENESS < mark


def labels_of(arrivals):
    """The punctual labels, each once, by flight: sorted pairs of time and value; how many were late, and how many NULL."""
    marks = marks_before(arrivals, "arr_time")
    flights, late, null = collections.defaultdict(set), 0, 0
    columns = arrivals["_partition"], arrivals["_offset"], arrivals["flight_id"], arrivals["arr_delay"]
    for partition, offset, flight, delay, at in zip(*(c.to_pylist() for c in columns), times(arrivals, "arr_time")):
        if delay is None:
            null += 1
        elif is_late(at, marks[partition, offset]):
            late += 1
        else:
            flights[flight].add((at, delay > LATE_MINUTES))
    return {flight: sorted(values) for flight, values in flights.items()}, late, null


def evaluate(departures, predictions, arrivals):
    """Windows by their start in microseconds, and fates of the labels."""
    marks = marks_before(departures, "dep_time")
    labels, late, null = labels_of(arrivals)
    windows, punctual, late_predictions = {}, collections.defaultdict(list), 0
    columns = (predictions[name] for name in ("source_partition", "source_offset", "flight_id", "score"))
    for partition, offset, flight, score, at in zip(*(c.to_pylist() for c in columns), times(predictions, "event_time")):
        window = windows.setdefault(at // WINDOW * WINDOW, collections.Counter())
        window["rows"] += 1
        if is_late(at, marks[partition, offset]):
            late_predictions += 1
            continue
        punctual[flight].append(at)
        mine = labels.get(flight, [])
        newest = bisect.bisect_right(mine, (at + WITHIN, True)) - 1
        if newest >= 0 and mine[newest][0] >= at:
            truth = "positives" if (score >= THRESHOLD) else "negatives"
            right = "true" if mine[newest][1] == (score >= THRESHOLD) else "false"
            window["labelled"] += 1
            window[f"{right}_{truth}"] += 1
    matched = sum(
        any(0 <= at - predicted <= WITHIN for predicted in punctual.get(flight, []))
        for flight, values in labels.items() for at, _ in values)
    return windows, {"matched": matched, "late": late, "null": null, "late_predictions": late_predictions}


def figures(report):
    """The same figures of a monitor's report."""
    names = ("labelled", "true_positives", "false_positives", "true_negatives", "false_negatives")
    windows = {}
    for series in report["series"]:
        for window in series["windows"]:
            if window["rows"]:
                quality = {name: window["quality"][name] for name in names}
                windows[window["start_us"]] = collections.Counter({"rows": window["rows"], **quality})
    fates = {name: report["labels"][name] for name in ("matched", "late", "null", "late_predictions")}
    return windows, fates
