"""What the evaluator's aggregates give is what DuckDB's give. Neither has anything of the engine: this keeps the evaluator itself honest.
"""

import pathlib
import random
import sys

import duckdb
import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import aggregates  # noqa: E402
import values  # noqa: E402
from rules import PROMISED  # noqa: E402
from values import BIGINT, BOOLEAN, DOUBLE, INTEGER, VARCHAR  # noqa: E402

TRIES = 12
SAMPLES = {
    DOUBLE: (0.0, 1.5, -2.5, 0.25, 7.0, 1e9, -1e-9), BIGINT: (0, 1, -1, 7, -8, 2**40), INTEGER: (0, 3, -3, 255), BOOLEAN: (True, False),
    VARCHAR: ("", "a", "ab", "b")}
# DuckDB's name, where it is another one, and how many units in the last place it may be off: it rounds on the way.
NAMES = {"count distinct": ("count(DISTINCT {})", 0), "first_value": ("first({} ORDER BY place)", 0), "last_value": ("last({} ORDER BY place)", 0),
         "max_by": ("arg_max_null({} ORDER BY place)", 0), "min_by": ("arg_min_null({} ORDER BY place)", 0), "stddev": ("stddev_samp({})", 64),
         "stddev_pop": ("stddev_pop({})", 64), "var": ("var_samp({})", 64), "var_pop": ("var_pop({})", 64), "avg": ("avg({})", 64),
         "sum": ("sum({})", 64), "covar_samp": ("covar_samp({})", 1 << 20), "covar_pop": ("covar_pop({})", 1 << 20), "corr": ("corr({})", 1 << 20)}
# It has no count of values: the last of all of them.
NAMES |= {name: (f"list({{}} ORDER BY place)[-{name.split()[1]}:]", 0) for name in aggregates.AGGREGATES if name.startswith("array_agg")}
# DuckDB has no quantile of cut values.
ABSENT = {"count(*)", "approx_median"}


def calls() -> list:
    found = []
    for name, definition in aggregates.AGGREGATES.items():
        if name not in ABSENT:
            found += [(name, takes) for takes in definition.takes if all(each in SAMPLES for each in takes)]
    return found


@pytest.mark.parametrize(("name", "takes"), calls(), ids=lambda part: part if isinstance(part, str) else "-".join(part))
def test_aggregate_is_duckdbs(name, takes):
    rng, duck = random.Random(f"{name} {takes}"), duckdb.connect()
    definition = aggregates.AGGREGATES[name]
    call, off = NAMES.get(name, (f"{name}({{}})", 0))
    columns = [f"c{at}" for at in range(len(takes))]
    for _ in range(TRIES):
        rows = [tuple(rng.choice((None, *SAMPLES[kind])) for kind in takes) for _ in range(rng.randint(0, 9))]
        declared = ", ".join(f"{column} {kind}" for column, kind in zip(columns, takes))
        duck.execute(f"CREATE OR REPLACE TABLE t (place BIGINT, {declared})")
        if rows:
            marks = ", ".join("?" for _ in range(len(takes) + 1))
            duck.executemany(f"INSERT INTO t VALUES ({marks})", [(place, *row) for place, row in enumerate(rows)])
        (theirs,) = duck.execute(f"SELECT {call.format(', '.join(columns))} FROM t").fetchone()
        ours = definition.value([row[0] if len(row) == 1 else row for row in rows], takes[0], PROMISED)
        if isinstance(theirs, float) and theirs != theirs and name == "corr":
            # DuckDB: 0 / 0 where a column never changes.
            theirs = None
        if ours is None or theirs is None:
            assert ours == theirs, rows
        elif off and isinstance(ours, float):
            assert abs(ours - theirs) <= off * 2**-52 * max(abs(ours), abs(theirs), 1e-9), rows
        else:
            assert values.same(ours, type(ours)(theirs)), rows
