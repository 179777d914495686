"""What the evaluator's functions give is what DuckDB's give, but for the differences that are listed with their reason. Neither has
anything of the engine: this keeps the evaluator itself honest.
"""

import datetime
import pathlib
import random
import sys

import duckdb
import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import functions  # noqa: E402
import generate  # noqa: E402
import printing  # noqa: E402
import values  # noqa: E402
from rules import PROMISED  # noqa: E402
from tree import Call, Literal, literal  # noqa: E402
from values import BIGINT, DATE, DOUBLE, INTEGER, INTERVAL, TIMESTAMP, VARCHAR, Fault  # noqa: E402

TRIES = 40
SAMPLES = {
    DOUBLE: (0.0, -0.0, 1.5, 2.5, -2.5, 0.1, -7.25, 1234.567, values.NAN, values.INFINITY, -values.INFINITY, 1e16, 5e-324, 2.675, -1.005),
    BIGINT: (0, 1, -1, 7, -8, 2**40, 2**63 - 1, -2**63 + 1), VARCHAR: generate.WORDS,
    INTEGER: (0, 1, -1, 366), DATE: (datetime.date(1969, 12, 31), datetime.date(2024, 2, 29), datetime.date(1, 1, 1), datetime.date(9999, 12, 31)),
    TIMESTAMP: (0, 951_782_400_000_000, 1_700_000_000_123_456, -86_400_000_001, 1_704_067_199_999_999),
    values.BOOLEAN: (True, False),
    "VARCHAR[]": (("a", None, "b"), ("",), (None,)), "BIGINT[]": ((1, 2**62, None), (0,)), "DOUBLE[]": ((0.5, values.NAN, None, 1.5), (0.0,)),
    "INTEGER[]": ((1, 2, 1), (None,)), "BOOLEAN[]": ((True, None), (False,))}
DIFFERENCES = {
    "round": "DuckDB scales by a power of ten, which rounds twice", "sign": "DuckDB gives 0 for NaN",
    "sqrt": "DuckDB gives NaN below zero", "ln": "DuckDB gives NaN below zero", "log10": "as ln", "log2": "as ln",
    "sin": "DuckDB gives NaN for an infinite angle", "cos": "as sin",
    "<<": "DuckDB refuses to shift a negative number", ">>": "DuckDB gives 0 for a negative number that is shifted far",
    "octet_length": "DuckDB's is of BLOB", "substr": "DuckDB counts a negative start from the end", "split_part": "DuckDB takes part 0",
    "levenshtein": "DuckDB counts bytes", "to_hex": "DuckDB writes capitals", "local hour": "DuckDB's AT TIME ZONE of a TIMESTAMP goes the other way",
    "micros of": "DuckDB casts no INTERVAL", "date plus": "DuckDB adds INTEGER days, and has dates beyond the years 1 to 9999",
    "plus date": "as date plus", "date minus": "as date plus", "make_date": "DuckDB has a year 0",
    "date and time": "an INTERVAL is asked for as its epoch, a DOUBLE, which has no microseconds of millennia",
    "subscript": "DuckDB counts places below 0 from the end",
    "array_to_string": "DuckDB has no text for NULLs"}
ABSENT = {"nanvl", "signum", "iszero", "initcap", "btrim", "regexp_like", "date_bin", "add_days", "array_element"}


def arguments(function, rng):
    made = []
    for takes in function.takes:
        if callable(takes):
            made.append(literal(takes(rng)))
        elif takes == INTERVAL:
            made.append(Call(INTERVAL, "age", tuple(Literal(TIMESTAMP, rng.choice(SAMPLES[TIMESTAMP])) for _ in range(2))))
        else:
            made.append(Literal(takes, rng.choice(SAMPLES[takes])))
    return made


def ours(function, args):
    given = [arg.value if isinstance(arg, Literal) else arg.args[0].value - arg.args[1].value for arg in args]
    try:
        return function.value(*given)
    except Fault:
        return "error"


def theirs(duck, function, sql):
    asked = {TIMESTAMP: f"epoch_us({sql})", INTERVAL: f"CAST(extract(epoch from {sql}) * 1000000 AS BIGINT)"}.get(function.gives, sql)
    try:
        (found,) = duck.execute(f"SELECT {asked}").fetchone()
    except duckdb.CatalogException:
        raise
    except duckdb.Error:
        return "error"
    return found


def equal(function, want, got):
    if "error" in (want, got):
        return want == got
    if got is None:
        return want is None
    if function.approximate:
        return values.ulps_between(want, got) <= 4
    return values.same(want, float(got) if function.gives == DOUBLE else int(got) if function.gives == BIGINT else got)


@pytest.fixture(scope="module")
def duck():
    made = duckdb.connect()
    made.execute("SET TimeZone = 'UTC'")
    return made


FUNCTIONS = {f"{f.name}/{len(f.takes)}": f for f in functions.table(PROMISED) if f.value is not None and f.name not in ABSENT}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_duckdbs_or_its_difference_is_listed(name, duck):
    function, rng, differs = FUNCTIONS[name], random.Random(name), []
    for _ in range(TRIES):
        args = arguments(function, rng)
        sql = printing.expression(Call(function.gives, function.name, tuple(args)))
        want, got = ours(function, args), theirs(duck, function, sql)
        if not equal(function, want, got):
            differs.append((sql, want, got))
    assert not differs or function.name in DIFFERENCES, differs[:3]
