"""A short run of the differential machine, as `make test` has it: new cases every time, and every case that was ever found. Cases and
time are those of FOREBAY_MACHINE_CASES and FOREBAY_MACHINE_SECONDS; FOREBAY_MACHINE_SEED repeats a run.

Beside it what the machine itself rests on: a seed is one case, a kept case reads back as it was, numbers round as they should.
"""

import fractions
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import civil  # noqa: E402
import generate  # noqa: E402
import printing  # noqa: E402
import tree  # noqa: E402
import values  # noqa: E402

CASES = int(os.environ.get("FOREBAY_MACHINE_CASES", "160"))
SECONDS = int(os.environ.get("FOREBAY_MACHINE_SECONDS", "75"))
SEED = int(os.environ.get("FOREBAY_MACHINE_SEED", str(int(time.time()) * 1000)))
FOUND = sorted((HERE / "found").glob("*.json"))


def machine(*args):
    """A run of the machine; its output where it found something."""
    done = subprocess.run([sys.executable, HERE / "run.py", *map(str, args)], capture_output=True, text=True, timeout=900)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_new_cases_equal_the_evaluator():
    machine("--aggregates", "--cases", CASES, "--seconds", SECONDS, "--seed", SEED, "--live-every", 10, "--shrink", 60)


@pytest.mark.parametrize("file", FOUND, ids=[file.stem for file in FOUND])
def test_what_was_found_stays_mended(file):
    machine("--replay", file)


def test_a_seed_is_one_case_and_reads_back():
    for seed in range(20):
        first, second = (generate.make(seed, generate.Options()) for _ in range(2))
        told = json.dumps(tree.to_json(first))
        assert told == json.dumps(tree.to_json(second))
        again = tree.from_json(json.loads(told))
        assert printing.definitions(again) == printing.definitions(first) and json.dumps(tree.to_json(again)) == told


def test_numbers_round_once():
    rng = random.Random(1)
    for _ in range(500):
        x = rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)
        assert values.rounded(values.scaled(x), values.UNIT) == x
        square = fractions.Fraction(x) ** 2 if 1e-150 < abs(x) < 1e150 else fractions.Fraction(9)
        root = values.rounded_root(square.numerator, square.denominator)
        assert root == (abs(x) if 1e-150 < abs(x) < 1e150 else 3.0)
    assert values.rounded(values.DOUBLE_MAX * 4, 1) == math.inf


def test_the_calendar_is_pythons_where_python_has_one():
    import datetime
    for days in range(-200_000, 200_000, 371):
        date = datetime.date(1970, 1, 1) + datetime.timedelta(days=days)
        at = days * civil.DAY + 5 * civil.HOUR
        assert civil.date_of(days) == (date.year, date.month, date.day) and civil.days_of(*civil.date_of(days)) == days
        assert civil.part("week", at) == date.isocalendar().week and civil.part("dow", at) == date.isoweekday() % 7
        assert civil.part("doy", at) == date.timetuple().tm_yday
