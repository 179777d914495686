"""The state of views is made anew from the archive by `forebay rebuild`: the values are those of before to the bit, also
after the state was moved away and retention had cut the log; whatever comes in between leaves the state before in force.
"""

import json
import math
import shutil
import subprocess
import threading

import pytest

from conftest import ROOT, binary, wait_for
from test_apply import VIEW, apply, click, clicks, total
from test_log import forebay, is_halted, shop, source  # noqa: F401 - a fixture
from tables import delta_rows
from topics import delete_records, delete_topic, kcat, make_topic

KEYS = [f"person {number}" for number in range(40)]
# Events of the first day, and reads as of its end: what comes later changes none of those.
AT = "2024-05-01T23:00:00Z"


def amount(number):
    """Of every size, so that a sum in another order has other bits."""
    return (-1) ** number * 1.1 ** (number % 200) + number / 7


def event(number, day=1):
    at = f"2024-05-{day:02}T{number // 3600 % 20:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    return {"name": KEYS[number % len(KEYS)], "amount": amount(number), "at": at}


def send(kafka, topic, numbers, day=1):
    lines = "\n".join(json.dumps(event(number, day)) for number in numbers)
    kcat(kafka, "-P", "-t", topic, data=lines.encode())


def values(server, at=AT):
    """What every key answers."""
    return server.client.get("spending_now", {"name": KEYS}, at=at).to_pydict()


def expected(numbers):
    of = [[amount(n) for n in numbers if n % len(KEYS) == key] for key in range(len(KEYS))]
    return [len(own) for own in of], [math.fsum(own) for own in of]


def told(table):
    return table["clicks"], table["total"]


def begin(server, name):
    command = [binary(), "rebuild", name, "--flight-addr", server.flight]
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def filling(server):
    """The step of a fill that is under way."""
    change = server.client.status()["change"]
    return change if change and change["step"].startswith("fill view spending version 1 (anew)") else None


def test_a_rebuilt_view_answers_to_the_bit_as_before_while_events_flow(shop):  # noqa: F811
    server, topic, kafka = shop
    send(kafka, topic, range(2000))
    server.start()
    wait_for(lambda: source(server).get("rows") == 2000, lambda: f"the events; {source(server)}")
    before = values(server)
    assert told(before) == expected(range(2000))
    done, differing, reads = threading.Event(), [], []

    def read():
        while not done.is_set():
            table = values(server)
            reads.append(1)
            if table != before:
                differing.append(table)

    reader = threading.Thread(target=read)
    reader.start()
    rebuild, sent = begin(server, "spending"), 0
    while rebuild.poll() is None:
        send(kafka, topic, range(2000 + 100 * sent, 2100 + 100 * sent), day=2)
        sent += 1
    done.set()
    reader.join(timeout=60)
    assert rebuild.returncode == 0, rebuild.communicate()
    assert "feature view spending (version 1) was made anew" in rebuild.stdout.read()
    assert reads and not differing, differing[:1]
    count = 2000 + 100 * sent
    wait_for(lambda: source(server)["rows"] == count, lambda: f"{count} events; {source(server)}")
    assert values(server) == before
    assert told(values(server, "2024-05-02T23:00:00Z")) == expected(range(count))
    answer = server.client.action("verify", {"service": "spending_now", "sample": 100})
    assert answer["clean"], answer
    assert server.metric("forebay_backfill_rows_total", view="spending") >= 2000
    assert server.metric("forebay_backfill_expected_rows", view="spending") == 0, "none is under way"
    server.stop()
    server.start()
    assert told(values(server, "2024-05-02T23:00:00Z")) == expected(range(count))


def test_a_source_stands_for_its_views_and_an_unknown_name_for_nothing(shop):  # noqa: F811
    server, topic, kafka = shop
    click(kafka, topic, 0, 5)
    server.start()
    apply(server, VIEW.replace("VIEW spending", "VIEW spending_too"))
    wait_for(lambda: clicks(server) == total(5), "five clicks")
    done = forebay(server, "rebuild", "clicks")
    assert done.returncode == 0, done
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["spending", "spending_too"], done
    assert clicks(server) == total(5)
    refused = forebay(server, "rebuild", "nothing")
    assert refused.returncode == 2 and "spending, spending_too" in refused.stderr and "clicks" in refused.stderr, refused
    assert clicks(server) == total(5)


def lose_state(shop, folder, count):  # noqa: F811
    """The server has read and archived so many clicks, is stopped, and its state is moved away."""
    server, topic, kafka = shop
    click(kafka, topic, 0, count)
    server.start()
    wait_for(lambda: clicks(server) == total(count), f"{count} clicks")
    server.stop()
    (server.data_dir / "online").rename(folder / "moved")


def test_after_the_state_was_moved_away_and_the_log_was_cut_a_rebuild_brings_all_back(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    lose_state(shop, tmp_path, 10)
    delete_records(kafka, topic, 7, tmp_path)
    server.start()
    kept = 3, sum(number + 0.25 for number in range(7, 10))
    wait_for(lambda: clicks(server) == kept, lambda: f"what the log still holds; {clicks(server)}, {source(server)}")
    done = forebay(server, "rebuild", "clicks")
    assert done.returncode == 0 and "10 archived rows" in done.stdout, done
    assert clicks(server) == total(10)
    click(kafka, topic, 10, 2)
    wait_for(lambda: clicks(server) == total(12), lambda: f"what comes later; {clicks(server)}")
    answer = server.client.action("verify", {"service": "spending_now", "sample": 100})
    assert answer["clean"], answer
    server.kill()
    server.start()
    wait_for(lambda: clicks(server) == total(12), lambda: f"the same after a crash; {clicks(server)}")


def test_a_topic_made_anew_is_not_mixed_into_the_archive_of_a_state_that_is_lost(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    lose_state(shop, tmp_path, 6)
    delete_topic(kafka, topic)
    make_topic(kafka, topic)
    # More records than were archived: each offset of the archive is there, and is another record's.
    click(kafka, topic, 20, 9)
    for _ in range(2):
        server.start()
        wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
        assert "made anew" in source(server)["reason"] and "--data-dir" in source(server)["reason"], source(server)
        assert clicks(server) == (None, None)
        assert forebay(server, "rebuild", "clicks").returncode == 2
        server.stop()
    assert delta_rows(server.data_dir, "clicks") == 6


def test_of_a_log_without_records_a_rebuild_and_a_new_view_hold_what_the_archive_has(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    lose_state(shop, tmp_path, 6)
    delete_records(kafka, topic, 6, tmp_path)
    # A view that is applied in the first moment of the new state.
    (server.sql / "more.sql").write_text(
        VIEW.replace("VIEW spending", "VIEW spending_too")
        + "CREATE FEATURE SERVICE too (name VARCHAR) AS SELECT s.clicks FROM request LEFT JOIN spending_too AS s USING (name);")
    server.start()
    too = lambda: server.client.get("too", {"name": ["ann"]}, at="2024-05-02T00:00:00Z")["clicks"][0].as_py()  # noqa: E731
    wait_for(lambda: "too" in {s["name"] for s in server.client.action("services")["services"]}, "the service")
    assert too() == 6
    assert clicks(server) == (None, None), "the log holds nothing"
    done = forebay(server, "rebuild", "spending")
    assert done.returncode == 0, done
    assert clicks(server) == total(6) and too() == 6


def test_over_lost_definitions_and_a_lost_state_an_apply_takes_in_what_the_archive_has(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    lose_state(shop, tmp_path, 10)
    (server.data_dir / "catalog.json").unlink()
    delete_records(kafka, topic, 7, tmp_path)
    click(kafka, topic, 10, 2)
    server.start()
    wait_for(lambda: clicks(server) == total(12), lambda: f"archive and log; {clicks(server)}, {source(server)}")
    answer = server.client.action("verify", {"service": "spending_now", "sample": 100})
    assert answer["clean"], answer
    server.kill()
    server.start()
    wait_for(lambda: clicks(server) == total(12), lambda: f"the same after a crash; {clicks(server)}")


def test_over_a_gap_that_nobody_accepted_a_rebuild_of_a_new_state_is_refused_with_the_remedy(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    lose_state(shop, tmp_path, 4)
    click(kafka, topic, 4, 6)
    delete_records(kafka, topic, 7, tmp_path)
    server.start()
    wait_for(lambda: is_halted(server), lambda: f"the source to be halted; {source(server)}")
    refused = forebay(server, "rebuild", "clicks")
    assert refused.returncode == 2 and "forebay gap" in refused.stderr, refused
    assert "definitions before are in force" in refused.stderr, refused
    assert forebay(server, "gap", "accept", "clicks").returncode == 0
    kept = 3, sum(number + 0.25 for number in range(7, 10))
    wait_for(lambda: clicks(server) == kept, lambda: f"what the log still holds; {clicks(server)}, {source(server)}")
    done = forebay(server, "rebuild", "clicks")
    assert done.returncode == 0, done
    counted = [number for number in range(10) if number < 4 or number >= 7]
    assert clicks(server) == (len(counted), sum(number + 0.25 for number in counted))


def test_from_a_table_that_took_the_place_of_a_lost_one_nothing_is_rebuilt(shop, tmp_path):  # noqa: F811
    server, topic, kafka = shop
    click(kafka, topic, 0, 6)
    server.start()
    wait_for(lambda: clicks(server) == total(6), "six clicks")
    server.stop()
    shutil.rmtree(server.data_dir / "offline" / "clicks")
    delete_records(kafka, topic, 4, tmp_path)
    server.start()
    wait_for(lambda: source(server)["state"] == "reading", lambda: f"reading to go on; {source(server)}")
    refused = forebay(server, "rebuild", "spending")
    assert refused.returncode == 2 and "begins at offset 4" in refused.stderr, refused
    assert clicks(server) == total(6)
    click(kafka, topic, 6, 1)
    wait_for(lambda: clicks(server) == total(7), lambda: f"ingest to go on; {clicks(server)}")


def test_a_second_change_is_refused_and_a_crash_leaves_the_state_before(shop):  # noqa: F811
    server, topic, kafka = shop
    count = 40_000
    send(kafka, topic, range(count))
    server.start()
    # What ingest has read the shards have a moment later.
    wait_for(lambda: told(values(server)) == expected(range(count)), lambda: f"the events; {source(server)}")
    before = values(server)
    rebuild = begin(server, "spending")
    wait_for(lambda: filling(server), "the fill to begin", every_s=0.01)
    with pytest.raises(Exception, match="another change is under way: fill view spending version 1.*; try again when it is done"):
        server.client.action("rebuild", {"name": "clicks"})
    assert rebuild.wait(timeout=60) == 0, rebuild.communicate()
    rebuild = begin(server, "clicks")
    wait_for(lambda: filling(server), "the second one to begin", every_s=0.01)
    server.kill()
    assert rebuild.wait(timeout=60) == 3, rebuild.communicate()
    server.start()
    wait_for(lambda: source(server)["state"] == "reading", lambda: f"reading to go on; {source(server)}")
    assert values(server) == before
    done = forebay(server, "rebuild", "spending")
    assert done.returncode == 0 and f"{count} archived rows" in done.stdout, done
    assert values(server) == before
