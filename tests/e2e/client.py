"""What the tests ask of a server, through `pyarrow.flight` and JSON alone: no stubs, no code of Forebay."""

import json

import pyarrow as pa
import pyarrow.flight as flight


class Refused(Exception):
    """A request of an exchange that was answered with an error; the stream goes on."""

    def __init__(self, meta):
        super().__init__(f"{meta['status']}: {meta['message']}")
        self.status, self.message = meta["status"], meta["message"]


class Client:
    """One connection to a server's Flight listener."""

    def __init__(self, address):
        self.flight = flight.FlightClient(f"grpc://{address}")

    def action(self, name, body=None):
        """The JSON answer of an action; None for an empty one."""
        sent = b"" if body is None else json.dumps(body).encode()
        answer = b"".join(part.body.to_pybytes() for part in self.flight.do_action(flight.Action(name, sent)))
        return json.loads(answer) if answer else None

    def status(self):
        return self.action("status")

    def get(self, service, rows, at=None, **options):
        """Features of `rows` ({request column: [values]}) as a table, by DoGet."""
        ticket = {"service": service, "rows": rows, **options}
        if at is not None:
            ticket["at"] = at
        return self.flight.do_get(flight.Ticket(json.dumps(ticket).encode())).read_all()

    def exchange(self, service, requests, in_flight=64, **options):
        """Answers to `requests`, pairs of an instant (microseconds; None is the present) and a record batch, in their order,
        as record batches. One DoExchange stream with up to `in_flight` requests under way."""
        return [batch for _, batch in self.exchange_with_meta(service, requests, in_flight, **options)]

    def exchange_with_meta(self, service, requests, in_flight=64, **options):
        """The same with each answer's metadata: pairs of an object and a batch."""
        requests = list(requests)
        descriptor = flight.FlightDescriptor.for_command(json.dumps({"service": service, **options}).encode())
        writer, reader = self.flight.do_exchange(descriptor)
        answers = {}

        def receive():
            chunk = reader.read_chunk()
            meta = json.loads(chunk.app_metadata.to_pybytes())
            if meta["status"] != "OK":
                raise Refused(meta)
            answers[meta["request_id"]] = (meta, chunk.data)

        with writer:
            writer.begin(requests[0][1].schema)
            for number, (at, batch) in enumerate(requests):
                while number - len(answers) >= in_flight:
                    receive()
                writer.write_with_metadata(batch, json.dumps({"request_id": number, "at": at}).encode())
            writer.done_writing()
            while len(answers) < len(requests):
                receive()
        return [answers[number] for number in range(len(requests))]


def batch_of(columns, schema):
    """A record batch of {name: values}."""
    return pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
