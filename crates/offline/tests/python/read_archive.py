"""Reads a table of the archive with delta-rs for Python and with DuckDB and prints one JSON line for each:
rows, the sum of offsets, the count of NULL delays, and the bits of the delays in the order of the offsets.

Usage: read_archive.py TABLE_DIRECTORY
"""

import json
import struct
import sys


def summary(reader, rows):
    rows = sorted(rows)
    bits = [None if d is None else struct.pack("<d", d).hex() for _, _, d, _ in rows]
    print(json.dumps({
        "reader": reader,
        "rows": len(rows),
        "offsets": [offset for _, offset, _, _ in rows],
        "delay_bits": bits,
        "labels": [label for _, _, _, label in rows],
    }))


def main(directory):
    import deltalake
    import duckdb

    table = deltalake.DeltaTable(directory)
    columns = table.to_pyarrow_table().to_pydict()
    summary("deltalake", list(zip(
        columns["_partition"], columns["_offset"], columns["dep_delay"],
        [features["label"] for features in columns["features"]], strict=True,
    )))
    # DuckDB's own delta extension is a download; the files that the log names are what it would scan.
    files = table.file_uris()
    found = duckdb.sql(
        f"SELECT _partition, _offset, dep_delay, features.label FROM read_parquet({files!r})"
    ).fetchall()
    summary("duckdb", found)


if __name__ == "__main__":
    main(sys.argv[1])
