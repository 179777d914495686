"""Tables as the tests see them: the flights' Parquet files, Delta tables of a data directory (through delta-rs for Python),
and the comparison of two tables cell by cell, doubles by their bits."""

import datetime
import pathlib

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FLIGHTS = pathlib.Path(__file__).resolve().parents[2] / "data" / "nycflights13"
TIME_COLUMNS = {"departures": "dep_time", "arrivals": "arr_time", "weather": "observed_at"}


def instant(text):
    """Microseconds since 1970 of a date or a time in UTC."""
    at = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc)
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def events(source, since="2013-01-01", until="2014-01-02"):
    """The flights' events of one source with since <= event time < until: what `forebay replay` sends."""
    table = pq.read_table(FLIGHTS / f"{source}.parquet")
    at = pc.cast(pc.cast(table.column(TIME_COLUMNS[source]), pa.timestamp("us", "UTC")), pa.int64())
    return table.filter(pc.and_(pc.greater_equal(at, instant(since)), pc.less(at, instant(until))))


def event_counts(since="2013-01-01", until="2014-01-02"):
    return {source: events(source, since, until).num_rows for source in TIME_COLUMNS}


def delta(data_dir, name, columns=None):
    """The newest version of a Delta table of a server's archive."""
    table = deltalake.DeltaTable(str(pathlib.Path(data_dir) / "offline" / name))
    return table.to_pyarrow_dataset().to_table(columns=columns)


def delta_rows(data_dir, name):
    """Number of rows of a Delta table; 0 where there is none yet."""
    path = pathlib.Path(data_dir) / "offline" / name
    if not deltalake.DeltaTable.is_deltatable(str(path)):
        return 0
    return deltalake.DeltaTable(str(path)).to_pyarrow_dataset().count_rows()


def bits(column):
    """A column as (validity, values) in numpy: doubles as the integers of their bits, times as microseconds."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    valid = pc.is_valid(array).to_numpy(zero_copy_only=False)
    if pa.types.is_float64(array.type):
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False).view(np.int64)
    elif pa.types.is_timestamp(array.type):
        values = pc.fill_null(pc.cast(pc.cast(array, pa.timestamp("us", array.type.tz)), pa.int64()), 0)
        values = values.to_numpy(zero_copy_only=False)
    elif pa.types.is_integer(array.type):
        values = pc.fill_null(pc.cast(array, pa.int64()), 0).to_numpy(zero_copy_only=False)
    else:
        values = np.array(["" if v is None else v for v in array.to_pylist()], dtype=object)
    return valid, values


def differences(left, right, columns=None):
    """Cells in which two tables differ: [(column, row, left value, right value)]. Types must agree but for the width of
    integers and the unit of times."""
    assert left.num_rows == right.num_rows, f"{left.num_rows} rows on the left, {right.num_rows} on the right"
    found = []
    for name in columns or left.column_names:
        (valid, values), (other_valid, other_values) = bits(left.column(name)), bits(right.column(name))
        rows = np.flatnonzero((valid != other_valid) | (valid & other_valid & (values != other_values)))
        found += [(name, int(row), left.column(name)[int(row)].as_py(), right.column(name)[int(row)].as_py())
                  for row in rows]
    return found


def assert_equal(left, right, columns=None, context=None):
    """No cell differs; otherwise the first ones are shown, with rows of `context`."""
    found = differences(left, right, columns)
    shown = []
    for name, row, a, b in found[:10]:
        where = context.slice(row, 1).to_pylist()[0] if context is not None else row
        shown.append(f"{name} at {where}: {a!r} / {b!r}")
    assert not found, f"{len(found)} cells differ:\n" + "\n".join(shown)
