"""Makes the spine of the late-arrival model: one row a departure, with the request columns of `delay_features`, the moment
as of which features are wanted, and the label.

    python scripts/train/make_spine.py --data data/nycflights13 --out spine.parquet
    forebay training-set delay_features --spine spine.parquet --out train.parquet --sql sql/flights --events data/nycflights13

The label is NULL where the flight never arrived at its destination; such rows stay in the spine and are left out of
training.
"""

import argparse

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LATE_AFTER_MINUTES = 15
REQUEST = ["origin", "dest", "carrier", "tailnum", "distance", "sched_dep", "dep_delay"]


def make_spine(departures, arrivals):
    """`departures` with `event_time` and `late`, in the order of event time, then flight."""
    labels = arrivals.select(["flight_id", "arr_delay"])
    joined = departures.join(labels, keys="flight_id", join_type="left outer")
    joined = joined.sort_by([("dep_time", "ascending"), ("flight_id", "ascending")])
    columns = {name: joined.column(name) for name in ["flight_id", *REQUEST]}
    columns["event_time"] = joined.column("dep_time")
    columns["late"] = pc.greater(joined.column("arr_delay"), LATE_AFTER_MINUTES)
    return pa.table(columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/nycflights13", help="folder with departures.parquet and arrivals.parquet")
    parser.add_argument("--out", required=True, help="Parquet file to write")
    options = parser.parse_args()
    spine = make_spine(pq.read_table(f"{options.data}/departures.parquet"), pq.read_table(f"{options.data}/arrivals.parquet"))
    pq.write_table(spine, options.out, compression="zstd")
    print(f"{options.out}: {spine.num_rows} departures, {spine.column('late').null_count} without a label")


if __name__ == "__main__":
    main()
