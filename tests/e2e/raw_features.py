"""A feature service that shows every feature of the five views as it is, and requests for it."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import flights as oracle
from tables import events, instant

SERVICE = "raw_features"
REQUEST = pa.schema([(name, pa.string()) for name in ("origin", "dest", "carrier", "tailnum")])
ALIASES = {view.alias: view for view in oracle.VIEWS}
VIEW_NAMES = {"t": "airport_traffic", "c": "carrier_punctuality", "r": "route_history", "a": "aircraft_recent",
              "w": "origin_weather"}


def definition():
    """The service's SQL."""
    features = ", ".join(f"{alias}.{feature.name}" for alias, view in ALIASES.items() for feature in view.features)
    joins = "\n".join(f"LEFT JOIN {VIEW_NAMES[alias]} AS {alias} USING ({', '.join(view.keys)})"
                      for alias, view in ALIASES.items())
    columns = ", ".join(f"{name} VARCHAR" for name in REQUEST.names)
    return f"CREATE FEATURE SERVICE {SERVICE} ({columns}) AS\nSELECT {features}\nFROM request\n{joins};\n"


class Keys:
    """The entities of the flights in a range of time."""

    def __init__(self, since, until):
        departures = events("departures", since, until)
        routes = departures.group_by(["origin", "dest"]).aggregate([])
        self.routes = sorted(zip(routes["origin"].to_pylist(), routes["dest"].to_pylist()))
        self.carriers = sorted(pc.unique(departures["carrier"]).to_pylist())
        self.aircraft = sorted(v for v in pc.unique(departures["tailnum"]).to_pylist() if v is not None)

    def everything(self):
        """Rows in which every key occurs."""
        rows = max(len(self.routes), len(self.carriers), len(self.aircraft))
        origins, destinations = zip(*(self.routes[i % len(self.routes)] for i in range(rows)))
        columns = [origins, destinations, [self.carriers[i % len(self.carriers)] for i in range(rows)],
                   [self.aircraft[i % len(self.aircraft)] for i in range(rows)]]
        return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=REQUEST)

    def sample(self, rng, rows):
        """Random rows; now and then a key that nobody knows, or none."""
        routes = [rng.choice(self.routes) for _ in range(rows)]
        aircraft = [rng.choice([*rng.choices(self.aircraft, k=40), "N-UNKNOWN", None]) for _ in range(rows)]
        columns = [[origin for origin, _ in routes], [dest if rng.random() > 0.01 else "XXX" for _, dest in routes],
                   [rng.choice(self.carriers) for _ in range(rows)], aircraft]
        return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=REQUEST)


def instants(rng, count, since, until):
    """Moments where mistakes hide: whole minutes (when flights leave and land, so that events lie on both edges of the
    windows), one microsecond to either side of them, anywhere in between, before the first event and after the last."""
    start, end = instant(since), instant(until)
    day = 86_400_000_000
    found = []
    for _ in range(count):
        minute = rng.randrange(start // 60_000_000, end // 60_000_000) * 60_000_000
        choice = rng.random()
        if choice < 0.5:
            found.append(minute)
        elif choice < 0.75:
            found.append(minute + rng.choice([-1, 1]))
        elif choice < 0.9:
            found.append(rng.randrange(start, end))
        elif choice < 0.95:
            found.append(start + rng.randrange(-day, day))
        else:
            found.append(end + rng.randrange(0, 20 * day))
    return found


def probes(seed, count, rows, since, until):
    """`count` requests of `rows` rows, each with its instant, and all of them as one spine with a column `at`."""
    rng = random.Random(seed)
    keys = Keys(since, until)
    requests = [(at, keys.sample(rng, rows)) for at in instants(rng, count, since, until)]
    spine = pa.Table.from_batches([batch for _, batch in requests])
    at = np.repeat(np.array([at for at, _ in requests], dtype=np.int64), rows)
    return requests, spine.append_column("at", pa.array(at))


def distinct_reads(spine):
    """How many different (view, key, instant) the spine asks for."""
    total = 0
    for view in oracle.VIEWS:
        total += spine.select([*view.keys, "at"]).group_by([*view.keys, "at"]).aggregate([]).num_rows
    return total
