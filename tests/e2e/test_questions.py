"""SHOW, DESCRIBE and EXPLAIN of a running server are those of the folder that it was started with; feature tests need no
server at all.
"""

import json

import pytest

from conftest import DEFINITIONS

STATEMENTS = [
    "show sources",
    "show entities",
    "show feature views",
    "show feature services",
    "show models",
    "show deployments",
    "show monitors",
    "describe feature view airport_traffic",
    "describe delay_features",
    "explain feature view route_history",
]


def test_a_server_and_its_folder_give_the_same_answers(servers, forebay):
    server = servers("", broker="embedded").start()

    def answer(statement, *where):
        return json.loads(forebay(*statement.split(), "--json", *where).stdout)

    for statement in STATEMENTS:
        told = answer(statement, "--flight-addr", server.flight)
        # A server has the files by the paths that it was given.
        told.pop("defined", None)
        own = answer(statement, "--dir", DEFINITIONS)
        own.pop("defined", None)
        assert told == own, statement
    refused = forebay("describe", "nothing", "--flight-addr", server.flight, check=False)
    assert refused.returncode == 2 and "there is no object nothing; known: source arrivals" in refused.stderr, refused


@pytest.mark.parametrize("seed", [1, 7])
def test_the_features_of_the_demo_are_as_their_tests_say(forebay, tmp_path, seed):
    report = tmp_path / "report.json"
    done = forebay("test", DEFINITIONS, "--seed", str(seed), "--json", report)
    told = json.loads(report.read_text())
    assert told["failed"] == 0 and told["passed"] == len(told["tests"]) > 0, done
