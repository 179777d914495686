"""The table of constructs (constructs.txt): each is right, in both lowerings, or clearly refused. Ends with the count of each.

`python tests/constructs/test_constructs.py [WORD ..]` prints what becomes of the rows whose group or name has one of the words.
"""

import collections
import concurrent.futures
import pathlib
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import constructs  # noqa: E402

ROWS = constructs.parse((HERE / "constructs.txt").read_text())
# Kinds of functions, types and aggregates come and go; the table itself only grows.
ROWS_MIN = 404


def outcomes(rows: list) -> list:
    """What becomes of rows, two at a time."""
    def one(row: constructs.Row) -> constructs.Outcome:
        with tempfile.TemporaryDirectory(prefix="constructs-") as folder:
            return constructs.play(row, pathlib.Path(folder))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(zip(rows, pool.map(one, rows)))


def counts(found: list) -> str:
    told = collections.Counter(outcome.kind for _, outcome in found)
    return f"{len(found)} constructs: " + ", ".join(f"{count} {kind}" for kind, count in told.most_common())


def lines(found: list) -> list[str]:
    return [f"{outcome.kind}: {row.group} / {row.name}: {constructs.shown(outcome.told)}" for row, outcome in found if not outcome.good]


def test_every_construct_is_right_or_clearly_refused(capsys: pytest.CaptureFixture) -> None:
    assert len(ROWS) >= ROWS_MIN and all(row.values is not None or row.words for row in ROWS)
    found = outcomes(ROWS)
    with capsys.disabled():
        print(f"\n{counts(found)}")
    bad = lines(found)
    if bad:
        pytest.fail("\n".join([counts(found), *bad]))


def main() -> None:
    words = [word.lower() for word in sys.argv[1:]]
    rows = [row for row in ROWS if not words or any(word in f"{row.group} / {row.name}".lower() for word in words)]
    found = outcomes(rows)
    print("\n".join(lines(found)))
    print(counts(found))


if __name__ == "__main__":
    main()
