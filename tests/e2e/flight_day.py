"""A server over the flights with topics of its own, two deployments and a monitor, as the tests of what breaks use it: days of
events that are sent to it, and waits for what they bring.
"""

import re
import shutil

from conftest import FLIGHTS, ROOT, copy_definitions, run_binary, wait_for
from tables import delta, delta_rows, event_counts

SOURCES = ("departures", "arrivals", "weather")
DEPLOYMENTS = ("late_arrival", "late_too")
FIRST, SECOND, THIRD = (("2013-01-01", "2013-01-02"), ("2013-01-02", "2013-01-03"), ("2013-01-03", "2013-01-04"))
AT = "2013-01-04T00:00:00Z"
# Another model with the same bytes, so that the monitor sees one deployment alone.
SECOND_DEPLOYMENT = """
CREATE MODEL late_too VERSION 1 FROM 'models/late_too/1' FEATURES delay_features;
CREATE DEPLOYMENT late_too ON departures INTO TOPIC 'predictions.late_too.{suffix}' ROUTE VERSION 1 WEIGHT 100;
"""
EXTRA_VIEW = """CREATE FEATURE VIEW extra ENTITY airport AS
SELECT origin, dep_time, count(*) OVER ever AS departures_ever FROM departures
WINDOW ever AS (PARTITION BY origin ORDER BY dep_time);"""
# The same name over another source.
EXTRA_VIEW_OF_WEATHER = """CREATE FEATURE VIEW extra ENTITY airport AS
SELECT origin, observed_at, count(*) OVER ever AS observations_ever FROM weather
WINDOW ever AS (PARTITION BY origin ORDER BY observed_at);"""
# A view that no deployment reads, and what it is asked by.
FLOWN = ("""CREATE FEATURE VIEW flown ENTITY aircraft AS
SELECT tailnum, dep_time, count(*) OVER ever AS flights, sum(distance) OVER ever AS miles FROM departures
WHERE tailnum IS NOT NULL WINDOW ever AS (PARTITION BY tailnum ORDER BY dep_time);""",
         """CREATE FEATURE SERVICE flown_now (tailnum VARCHAR) AS SELECT f.flights, f.miles FROM request
LEFT JOIN flown AS f USING (tailnum);""")


def due(first, last, names=SOURCES):
    """Rows of these sources from the first of `first` to the end of `last`."""
    counts = event_counts(first[0], last[1])
    return {name: counts[name] for name in names}


def table_of(deployment):
    return f"predictions_{deployment}"


class Flights:
    """See the module; `server` does not run yet."""

    def __init__(self, servers, kafka, folder, suffix, **environment):
        self.kafka, self.suffix, self.folder = kafka, suffix, folder
        self.root = folder / "root"
        shutil.copytree(ROOT / "models", self.root / "models")
        self._second_model()
        self.sql = copy_definitions(folder / "sql", topics=suffix)
        (self.sql / "05_second.sql").write_text(SECOND_DEPLOYMENT.format(suffix=suffix))
        env = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "300", "FOREBAY_SERVER_MODEL_ROOT": str(self.root),
               "FOREBAY_INGEST_STALL_S": "2", **environment}
        self.server = servers(kafka, self.sql, env=env)

    def _second_model(self):
        second = self.root / "models" / "late_too" / "1"
        shutil.copytree(self.root / "models" / "late_arrival" / "1", second)
        manifest = second / "manifest.toml"
        manifest.write_text(manifest.read_text().replace('model = "late_arrival"', 'model = "late_too"', 1))

    def topic(self, name):
        return f"{name}.{self.suffix}"

    def send(self, days, sources=SOURCES):
        """The events of `days`, of these sources alone."""
        folder = self.folder / "sent"
        folder.mkdir(exist_ok=True)
        every = re.findall(r"CREATE SOURCE .*?;", (self.sql / "01_sources.sql").read_text(), re.S)
        texts = [text for text in every if text.split()[2] in sources]
        (folder / "sources.sql").write_text("\n".join(texts))
        run_binary("replay", FLIGHTS, "--sql", folder, "--bootstrap", self.kafka, "--from", days[0], "--until", days[1],
                   "--partitions", "2")

    def begin(self, days=FIRST):
        """Start on the events of `days`, and wait until they are read, scored and seen by the monitor."""
        self.send(days)
        self.server.start()
        self.server.wait_read(due(days, days))
        self.wait_scored(due(days, days)["departures"])
        self.wait_monitored(due(days, days)["departures"])

    def state(self, source):
        """What the status says of the source; nothing before ingest begins."""
        return self.server.client.status()["sources"].get(source, {"state": "not begun", "rows": 0, "partitions": []})

    def partition(self, source, number):
        found = [part for part in self.state(source)["partitions"] if part["partition"] == number]
        return found[0] if found else {"halted": None, "waiting": None, "applied": 0, "lag": None}

    def features(self, client=None):
        rows = {"origin": ["JFK"], "dest": ["LAX"], "carrier": ["AA"], "tailnum": [None], "distance": [2475],
                "sched_dep": [None], "dep_delay": [0.0]}
        return (client or self.server.client).get("delay_features", rows, at=AT).to_pylist()[0]

    def apply(self, *statements):
        return self.server.client.action("apply", {"files": [{"path": "change.sql", "text": "\n".join(statements)}]})["changes"]

    def wait_scored(self, count, deployments=DEPLOYMENTS):
        for name in deployments:
            wait_for(lambda: delta_rows(self.server.data_dir, table_of(name)) >= count,
                     lambda: f"{count} predictions of {name} in the archive; {self.server.client.status()['deployments']}")

    def assert_scored_once(self, count, deployments=DEPLOYMENTS):
        self.wait_scored(count, deployments)
        for name in deployments:
            ids = delta(self.server.data_dir, table_of(name), ["prediction_id"])["prediction_id"].to_pylist()
            assert len(ids) == len(set(ids)) == count, f"{len(ids)} predictions of {name}, {len(set(ids))} ids, {count} events"

    def assert_archived_once(self, expected):
        for name, rows in expected.items():
            wait_for(lambda: delta_rows(self.server.data_dir, name) >= rows, f"{rows} archived rows of {name}")
            assert delta_rows(self.server.data_dir, name) == rows, name

    def wait_monitored(self, count):
        def accepted():
            monitors = self.server.client.status()["monitors"]
            return monitors[0]["input"]["accepted"] if monitors else None

        wait_for(lambda: accepted() == count, lambda: f"the monitor to have {count} predictions; it has {accepted()}")
