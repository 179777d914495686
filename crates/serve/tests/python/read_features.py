"""Reads the tests' service through `pyarrow.flight` alone, on every way in, and prints one JSON object of what came back.

Usage: read_features.py HOST:PORT
"""

import json
import sys

import pyarrow as pa
import pyarrow.flight as flight

NOON = 1_372_680_000_000_000
ROWS = {"origin": ["JFK", "XXX"], "carrier": ["AA", None], "distance": [1.5, None], "planned": [None, "2013-07-01T12:00:00Z"]}
SCHEMA = pa.schema([("origin", pa.string()), ("carrier", pa.large_string()), ("distance", pa.float32()),
                    ("planned", pa.timestamp("ns"))])

client = flight.FlightClient(f"grpc://{sys.argv[1]}")
found = {}

ticket = json.dumps({"service": "delay", "rows": ROWS, "at": NOON, "with_status": True}).encode()
table = client.do_get(flight.Ticket(ticket)).read_all()
found["get"] = table.to_pylist()
found["as_of_us"] = table.schema.metadata[b"forebay.as_of_us"].decode()

found["flights"] = [[part.decode() for part in info.descriptor.path] for info in client.list_flights()]
info = client.get_flight_info(flight.FlightDescriptor.for_path("delay"))
found["columns"] = info.schema.names
(endpoint,) = client.get_flight_info(flight.FlightDescriptor.for_command(ticket)).endpoints
found["endpoint"] = client.do_get(endpoint.ticket).read_all().equals(table)
found["schema"] = client.get_schema(flight.FlightDescriptor.for_path("delay")).schema.names == info.schema.names

batch = pa.RecordBatch.from_arrays(
    [pa.array(["JFK", "XXX"]), pa.array(["AA", None], pa.large_string()), pa.array([1.5, None], pa.float32()),
     pa.array([None, NOON * 1_000], pa.timestamp("ns"))], schema=SCHEMA)
command = json.dumps({"service": "delay", "with_status": True}).encode()
writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(command))
found["exchange"] = []
with writer:
    writer.begin(SCHEMA)
    for number in range(3):
        meta = {"request_id": number, "at": NOON - number * 300_000_000}
        writer.write_with_metadata(batch, json.dumps(meta).encode())
    writer.write_with_metadata(batch, b'{"request_id": 3, "at": "yesterday"}')
    writer.write_with_metadata(pa.RecordBatch.from_pylist([], schema=SCHEMA), b"")
    writer.done_writing()
    for chunk in reader:
        meta = json.loads(chunk.app_metadata.to_pybytes())
        found["exchange"].append([meta["request_id"], meta["status"], chunk.data.to_pydict().get("t_count")])

found["actions"] = [action.type for action in client.list_actions()]
found["echo"] = b"".join(part.body.to_pybytes() for part in client.do_action(flight.Action("echo", b"hello"))).decode()

pushed = pa.table({"origin": ["JFK", None], "delay": [1.0, 2.0], "dep_time": pa.array([NOON, NOON], pa.timestamp("us", "UTC"))})
writer, reader = client.do_put(flight.FlightDescriptor.for_path("source", "departures"), pushed.schema)
writer.write_with_metadata(pushed.to_batches()[0], b'{"batch_id": 4}')
acknowledged = json.loads(reader.read().to_pybytes())
writer.close()
found["pushed"] = [acknowledged["batch_id"], acknowledged["status"], acknowledged["rows"], len(acknowledged["refused"])]

try:
    client.do_get(flight.Ticket(b'{"service":"fast","rows":{}}')).read_all()
except Exception as error:
    found["refused"] = [type(error).__name__, str(error)]
print(json.dumps(found))
