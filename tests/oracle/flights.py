"""The five views of sql/flights, written again from what they mean, outside Forebay: DuckDB counts, adds and compares whole
numbers over the Parquet files, Python finishes doubles exactly and rounds once.

The value of a view for key k at t is the aggregate over the events of k with t - window <= event time <= t. A key without
an event at or before t has NULLs, and so has one whose newest event is older than the view's time to live.

Delays and air times are whole minutes (checked), so their sums and sums of squares are integers; precipitation is not, and
is added by math.fsum, which rounds the exact sum once.
"""

import dataclasses
import functools
import math

import duckdb
import numpy as np
import pyarrow as pa

HOUR = 3_600_000_000
DAY = 24 * HOUR

PRESENT, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 3, 4


@dataclasses.dataclass(frozen=True)
class Feature:
    """`kind` over `column` of the events within `window` microseconds (None: ever) that pass `where`."""

    name: str
    kind: str
    column: str | None = None
    window: int | None = None
    where: str = "TRUE"


@dataclasses.dataclass(frozen=True)
class View:
    """A view by its alias in feature services."""

    alias: str
    source: str
    time: str
    keys: tuple
    features: tuple
    ttl: int | None = None
    where: str = "TRUE"


VIEWS = (
    View("t", "departures", "dep_time", ("origin",), ttl=2 * DAY, features=(
        Feature("departures_1h", "count", None, HOUR),
        Feature("delayed_departures_1h", "count", None, HOUR, "dep_delay > 15"),
        Feature("dep_delay_avg_1h", "avg", "dep_delay", HOUR),
        Feature("dep_delay_stddev_1h", "stddev", "dep_delay", HOUR),
        Feature("dep_delay_avg_24h", "avg", "dep_delay", DAY),
        Feature("dep_delay_max_24h", "max", "dep_delay", DAY),
    )),
    View("c", "arrivals", "arr_time", ("carrier",), ttl=14 * DAY, features=(
        Feature("arrivals_24h", "count", None, DAY),
        Feature("arr_delay_avg_24h", "avg", "arr_delay", DAY),
        Feature("late_arrivals_7d", "count", None, 7 * DAY, "arr_delay > 15"),
        Feature("arrivals_7d", "count", "arr_delay", 7 * DAY),
        Feature("arr_delay_avg_7d", "avg", "arr_delay", 7 * DAY),
        Feature("arr_delay_stddev_7d", "stddev", "arr_delay", 7 * DAY),
    )),
    View("r", "arrivals", "arr_time", ("origin", "dest"), features=(
        Feature("route_arrivals_30d", "count", None, 30 * DAY),
        Feature("route_arr_delay_avg_30d", "avg", "arr_delay", 30 * DAY),
        Feature("route_arr_delay_max_30d", "max", "arr_delay", 30 * DAY),
        Feature("route_arrivals", "count"),
        Feature("route_air_time_avg", "avg", "air_time"),
        Feature("route_air_time_min", "min", "air_time"),
    )),
    View("a", "departures", "dep_time", ("tailnum",), ttl=7 * DAY, features=(
        Feature("aircraft_last_dep_delay", "last", "dep_delay"),
        Feature("aircraft_departures_24h", "count", None, DAY),
        Feature("aircraft_miles_24h", "integer_sum", "distance", DAY),
        Feature("aircraft_dep_delay_max_24h", "max", "dep_delay", DAY),
    )),
    View("w", "weather", "observed_at", ("origin",), ttl=6 * HOUR, features=(
        Feature("temp", "last", "temp"),
        Feature("wind_speed", "last", "wind_speed"),
        Feature("visib", "last", "visib"),
        Feature("pressure", "last", "pressure"),
        Feature("precip_3h", "double_sum", "precip", 3 * HOUR),
        Feature("wind_speed_max_3h", "max", "wind_speed", 3 * HOUR),
        Feature("visib_min_3h", "min", "visib", 3 * HOUR),
    )),
)

FEATURES = [feature.name for view in VIEWS for feature in view.features]


@functools.lru_cache(maxsize=None)
def rounded_root(numerator, denominator):
    """The double nearest to sqrt(numerator / denominator), ties to even."""
    if numerator == 0:
        return 0.0
    shift = max(0, 130 - numerator.bit_length() + denominator.bit_length())
    shift += shift % 2
    quotient, rest = divmod(numerator << shift, denominator)
    root = math.isqrt(quotient)
    inexact = rest != 0 or root * root != quotient
    # One more bit says whether anything was cut off; the conversion to a double then rounds as the true root would.
    return math.ldexp(float(2 * root + inexact), -shift // 2 - 1)


def sample_stddev(count, total, squares):
    """Sample standard deviation, correctly rounded; None below two values."""
    if count < 2:
        return None
    return rounded_root(count * squares - total * total, count * (count - 1))


class Oracle:
    """The flights in `folder` with event time before `until` (a date), as DuckDB sees them."""

    def __init__(self, folder, until):
        self.folder, self.until = folder, until
        self.duck = duckdb.connect()
        self.duck.execute("SET TimeZone = 'UTC'")
        self._check_data()

    def answer(self, probes):
        """Features of each row of `probes` (columns origin, dest, carrier, tailnum and `at`, microseconds) as a table, with
        `<alias>__status` and `<alias>__event_time` of every view."""
        numbered = probes.append_column("probe", pa.array(range(probes.num_rows), pa.int64()))
        self.duck.register("probes", numbered.rename_columns({"at": "us"}))
        columns = {}
        for view in VIEWS:
            columns |= self._view(view, probes.num_rows)
        self.duck.unregister("probes")
        return pa.table(columns)

    def _events(self, view):
        columns = {view.time, *view.keys, *(f.column for f in view.features if f.column)}
        if any("dep_delay" in f.where for f in view.features):
            columns.add("dep_delay")
        if any("arr_delay" in f.where for f in view.features):
            columns.add("arr_delay")
        known = " AND ".join(f"{key} IS NOT NULL" for key in view.keys)
        return (f"SELECT epoch_us({view.time}) AS us, {', '.join(sorted(columns - {view.time}))} "
                f"FROM read_parquet('{self.folder}/{view.source}.parquet') "
                f"WHERE {view.time} < TIMESTAMPTZ '{self.until} 00:00:00+00' AND {known} AND {view.where}")

    def _view(self, view, rows):
        newest = self._newest(view)
        status = np.full(rows, NOT_FOUND, dtype=np.uint8)
        found = newest["event_us"].is_valid().to_numpy(zero_copy_only=False)
        status[found] = PRESENT
        if view.ttl is not None:
            age = newest["us"].to_numpy() - newest["event_us"].fill_null(0).to_numpy()
            status[found & (age > view.ttl)] = OUTSIDE_MAX_AGE
        present = pa.array(status == PRESENT)
        partial = self._windows(view, rows)
        columns = {}
        for feature in view.features:
            if feature.kind == "last":
                values = newest[feature.column].combine_chunks()
            else:
                values = finish(feature, partial)
            columns[feature.name] = pa.compute.if_else(present, values, pa.scalar(None, values.type))
        columns[f"{view.alias}__status"] = pa.array(status)
        columns[f"{view.alias}__event_time"] = newest["event_us"].combine_chunks()
        return columns

    def _newest(self, view):
        """The newest event of each probe's key at or before its instant."""
        last = sorted({f.column for f in view.features if f.kind == "last"})
        keys = " AND ".join(f"p.{key} = e.{key}" for key in view.keys)
        chosen = ", ".join(["p.us", "e.us AS event_us", *(f"e.{column}" for column in last)])
        return self.duck.sql(
            f"SELECT {chosen} FROM probes p ASOF LEFT JOIN ({self._events(view)}) e ON {keys} AND p.us >= e.us "
            "ORDER BY p.probe").to_arrow_table()

    def _windows(self, view, rows):
        """Counts, sums and extremes of each probe's windows as {(kind, column, window, where): array}. Probes are rows among
        the events that contribute nothing themselves."""
        wanted = {}
        for feature in view.features:
            for kind in PARTS[feature.kind]:
                wanted[(kind, feature.column, feature.window, feature.where)] = None
        keys = ", ".join(view.keys)
        windows = {window: f"w{number}" for number, window in enumerate(sorted({w for _, _, w, _ in wanted}, key=str))}
        frames = ", ".join(
            f"{name} AS (PARTITION BY {keys} ORDER BY us RANGE BETWEEN "
            f"{'UNBOUNDED' if window is None else window} PRECEDING AND CURRENT ROW)" for window, name in windows.items())
        chosen = ", ".join(f"{sql(kind, column)} FILTER (probe IS NULL AND {where}) OVER {windows[window]} AS c{number}"
                           for number, (kind, column, window, where) in enumerate(wanted))
        table = self.duck.sql(
            f"WITH rows AS (SELECT *, NULL::BIGINT AS probe FROM ({self._events(view)}) "
            f"UNION ALL BY NAME SELECT {keys}, us, probe FROM probes) "
            f"SELECT probe, {chosen} FROM rows WINDOW {frames} QUALIFY probe IS NOT NULL ORDER BY probe").to_arrow_table()
        assert table.num_rows == rows
        return {part: table[f"c{number}"].combine_chunks() for number, part in enumerate(wanted)}

    def _check_data(self):
        """What the exact sums rest on."""
        for source, columns in {"departures": ["dep_delay"], "arrivals": ["arr_delay", "air_time"]}.items():
            broken = " OR ".join(f"{c} <> round({c}) OR abs({c}) > 1e6 OR (1 / {c} < 0 AND {c} = 0)" for c in columns)
            ((count,),) = self.duck.execute(
                f"SELECT count(*) FROM read_parquet('{self.folder}/{source}.parquet') WHERE {broken}").fetchall()
            assert count == 0, f"{count} rows of {source} have delays that are no whole minutes"
        for source, keys in {"departures": "tailnum, dep_time", "weather": "origin, observed_at"}.items():
            ((count,),) = self.duck.execute(
                f"SELECT count(*) - count(DISTINCT ({keys})) FROM read_parquet('{self.folder}/{source}.parquet')").fetchall()
            assert count == 0, f"{count} events of {source} share key and time: the last value would hang on arrival"


PARTS = {
    "count": ["count"],
    "avg": ["count", "integers"],
    "stddev": ["count", "integers", "squares"],
    "integer_sum": ["integers"],
    "double_sum": ["values"],
    "min": ["min"],
    "max": ["max"],
    "last": [],
}


def sql(kind, column):
    return {
        "count": f"count({column or '*'})",
        "integers": f"sum(CAST({column} AS BIGINT))",
        "squares": f"sum(CAST({column} AS BIGINT) * CAST({column} AS BIGINT))",
        "values": f"list({column})",
        "min": f"min({column})",
        "max": f"max({column})",
    }[kind]


def finish(feature, partial):
    """The feature's values from its window's parts."""
    def part(kind):
        return partial[(kind, feature.column, feature.window, feature.where)]

    def whole(kind):
        return [None if v is None else int(v) for v in part(kind).to_pylist()]

    if feature.kind == "count":
        return part("count").cast(pa.int64())
    if feature.kind in ("min", "max"):
        return part(feature.kind)
    if feature.kind == "integer_sum":
        return pa.array(whole("integers"), pa.int64())
    if feature.kind == "double_sum":
        lists = ([v for v in values or [] if v is not None] for values in part("values").to_pylist())
        return pa.array([math.fsum(values) if values else None for values in lists], pa.float64())
    if feature.kind == "avg":
        # The quotient of two integers is correctly rounded in Python.
        pairs = zip(whole("integers"), whole("count"))
        return pa.array([total / count if count else None for total, count in pairs], pa.float64())
    parts = zip(whole("count"), whole("integers"), whole("squares"))
    return pa.array([sample_stddev(*values) for values in parts], pa.float64())
