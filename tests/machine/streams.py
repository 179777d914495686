"""The same cases through a running server with the broker of its own: events are pushed by DoPut, features are read by DoGet at each
row's instant, over one to four partitions and shards, before and after a restart.

Many cases share a server; their names begin with a prefix of their own. Ties of time are broken by partition and offset, which the
archive tells; the evaluator gets them from there.
"""

import collections
import dataclasses
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time
import urllib.request
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.flight as flight

import compare
import engine_runs
import oracle
import printing
from rules import Rules
from tree import Case, Source

DEADLINE_S = 120


class Refused(Exception):
    """The server did not start, or did not read what it was given."""


class Server:
    """One server on a folder."""

    def __init__(self, folder: pathlib.Path, sql: str, seed: int):
        self.folder, self.rng = folder, random.Random(f"server {seed}")
        (folder / "sql").mkdir(parents=True, exist_ok=True)
        (folder / "sql" / "all.sql").write_text(sql)
        self.environment = {
            **os.environ, "FOREBAY_STATE_HISTORY_HOURS": "1000000", "FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200",
            "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "true", "FOREBAY_KAFKA_PARTITIONS": str(self.rng.choice((1, 2, 4))),
            "FOREBAY_STATE_SHARDS": str(self.rng.choice((1, 2, 4))), "FOREBAY_INGEST_EPOCH_MAX_ROWS": str(self.rng.choice((1, 7, 64, 8192)))}
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.flight_port, self.http_port = free_port(), free_port()
        words = [engine_runs.binary(), "server", "--data-dir", self.folder / "data", "--sql", self.folder / "sql", "--broker", "embedded",
                 "--flight-addr", f"127.0.0.1:{self.flight_port}", "--http-addr", f"127.0.0.1:{self.http_port}"]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(list(map(str, words)), cwd=engine_runs.ROOT, env=self.environment, stdout=log, stderr=log)
        self.wait(self.is_ready, "the server to be ready")
        self.client = flight.FlightClient(f"grpc://127.0.0.1:{self.flight_port}")

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-1500:]

    def wait(self, condition: Any, what: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if self.process is None or self.process.poll() is not None:
                raise Refused(f"the server has ended: {self.log()}")
            if time.monotonic() > end:
                raise Refused(f"waited {DEADLINE_S} s for {what}: {self.log()}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def status(self) -> dict:
        parts = self.client.do_action(flight.Action("status", b""))
        return json.loads(b"".join(part.body.to_pybytes() for part in parts))

    def push(self, source: Source) -> None:
        """All rows of a source, in order, in batches of random size."""
        schema = pa.schema([(name, engine_runs.ARROW[kind]) for name, kind, _ in source.columns])
        writer, _ = self.client.do_put(flight.FlightDescriptor.for_path("source", source.name), schema)
        with writer:
            start = 0
            while start < len(source.rows):
                rows = source.rows[start:start + self.rng.choice((1, 5, 50))]
                start += len(rows)
                columns = [engine_runs.array([row[at] for row in rows], kind) for at, (_, kind, _) in enumerate(source.columns)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            writer.done_writing()

    def wait_read(self, wanted: dict[str, int]) -> None:
        def done() -> bool:
            found = self.status()["sources"]
            return all(found.get(name, {}).get("rows", 0) + found.get(name, {}).get("dead_letters", 0) >= rows for name, rows in wanted.items())
        self.wait(done, f"{wanted} rows to be read")

    def archived(self, source: Source) -> Source:
        """The source as the archive has it: its rows with their places."""
        path = self.folder / "data" / "offline" / source.name
        rows: list = []

        def whole() -> bool:
            rows.clear()
            if source.rows and deltalake.DeltaTable.is_deltatable(str(path)):
                table = deltalake.DeltaTable(str(path)).to_pyarrow_dataset().to_table()
                columns = [engine_runs.plain(table.column(name)) for name, _, _ in source.columns]
                places = zip(table.column("_partition").to_pylist(), table.column("_offset").to_pylist())
                rows.extend(zip(zip(*columns), places))
            return len(rows) >= len(source.rows)
        self.wait(whole, f"{len(source.rows)} rows of {source.name} in the archive")
        return dataclasses.replace(source, rows=tuple(row for row, _ in rows), places=tuple(place for _, place in rows))

    def read(self, case: Case, features: Any) -> engine_runs.Answer:
        """The service at every instant of the spine; rows of one instant in one request."""
        by_instant: dict[int, list[int]] = collections.defaultdict(list)
        for number, row in enumerate(case.spine):
            by_instant[row[-1]].append(number)
        schema = pa.schema([(name, engine_runs.ARROW[kind]) for name, kind in case.service.request])
        cells: dict[str, list] = {feature: [None] * len(case.spine) for feature in features}
        descriptor = flight.FlightDescriptor.for_command(json.dumps({"service": case.service.name}).encode())
        writer, reader = self.client.do_exchange(descriptor)
        with writer:
            writer.begin(schema)
            for number, (at, rows) in enumerate(by_instant.items()):
                columns = [engine_runs.array([case.spine[row][place] for row in rows], kind) for place, (_, kind) in enumerate(case.service.request)]
                writer.write_with_metadata(pa.RecordBatch.from_arrays(columns, schema=schema), json.dumps({"request_id": number, "at": at}).encode())
                chunk = reader.read_chunk()
                meta = json.loads(chunk.app_metadata.to_pybytes())
                if meta["status"] != "OK":
                    return engine_runs.Answer(None, f"{meta['status']}: {meta['message']}")
                for feature in features:
                    for row, cell in zip(rows, engine_runs.plain(chunk.data.column(feature))):
                        cells[feature][row] = cell
            writer.done_writing()
        return engine_runs.Answer(cells)


def free_port() -> int:
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as made:
            if made.connect_ex(("127.0.0.1", port)) != 0:
                return port


def can_be_put(case: Case) -> bool:
    """JSON is what a topic holds: -0.0 and the sign of a NaN do not come through it, and texts with NUL are left to files."""
    texts = [cell for source in case.sources for row in source.rows for cell in row if isinstance(cell, str)]
    return not any("\x00" in text for text in texts)


def play(cases: list[Case], folder: pathlib.Path, rules: Rules, seed: int) -> dict[int, compare.Played]:
    """Play cases with names of their own in one server; what differs, by seed."""
    # Only values are compared: a read says of an error cell that it is one in its own way.
    rules = dataclasses.replace(rules, errors_are_listed=False, left_out_is_counted=False)
    server = Server(folder, "\n".join(printing.definitions(case) for case in cases), seed)
    found: dict[int, compare.Played] = {}
    try:
        server.start()
        for case in cases:
            for source in case.sources:
                server.push(source)
        server.wait_read({source.name: len(source.rows) for case in cases for source in case.sources})
        stored = [dataclasses.replace(case, sources=tuple(server.archived(source) for source in case.sources)) for case in cases]
        wanted = [oracle.expected(case, rules) for case in stored]
        for restarted in (False, True):
            if restarted:
                server.stop()
                server.start()
            for case, expected in zip(stored, wanted):
                answer = server.read(case, expected.cells)
                differences = compare.differences(expected, answer, rules, "after a restart" if restarted else "stream")
                cells = sum(map(len, expected.cells.values()))
                before = found.get(case.seed, compare.Played([], 0))
                found[case.seed] = compare.Played(before.differences + differences, before.cells + cells, expected.faults(), sum(expected.left_out.values()))
    finally:
        server.stop()
    return found

