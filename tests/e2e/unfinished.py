"""A client over plain HTTP/2 whose streams each begin a message and never finish it."""

import socket
import struct
import time

MESSAGE_BYTES = 3_000_000
SERVICE = "/arrow.flight.protocol.FlightService/"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
FRAME_MAX_BYTES = 16_384


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name, value):
    """Of HPACK the plainest form: a literal, neither indexed nor compressed."""
    return b"".join([b"\x00", bytes([len(name)]), name.encode(), bytes([len(value)]), value.encode()])


class Unfinished:
    """One connection; `sending` are the streams that the server has not ended."""

    def __init__(self, host, port):
        self.address = f"{host}:{port}"
        self.socket = socket.create_connection((host, port))
        self.socket.settimeout(0.05)
        self.window = self.initial = 65_535
        self.windows, self.sending, self.buffer, self.words = {}, {}, b"", b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        self.pump()

    def begin(self, method, count):
        """Open `count` calls of `method`, and send of each message all but its end, as far as the server takes it."""
        named = {":method": "POST", ":scheme": "http", ":path": SERVICE + method, ":authority": self.address,
                 "content-type": "application/grpc", "te": "trailers"}
        block = b"".join(header(*pair) for pair in named.items())
        for stream in range(1, 2 * count, 2):
            self.windows[stream] = self.initial
            self.socket.sendall(frame(HEADERS, END_HEADERS, stream, block))
            self.sending[stream] = (b"\0" + struct.pack(">I", MESSAGE_BYTES), MESSAGE_BYTES - 100_000)

    def send(self, seconds):
        """Go on sending, until every stream has sent all but its end or `seconds` are over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(rest for _, rest in self.sending.values()):
            for stream, (head, rest) in list(self.sending.items()):
                size = min(FRAME_MAX_BYTES - len(head), rest, self.window - len(head), self.windows[stream] - len(head))
                if size <= 0:
                    continue
                self.socket.sendall(frame(DATA, 0, stream, head + b"\x55" * size))
                self.window -= len(head) + size
                self.windows[stream] -= len(head) + size
                self.sending[stream] = (b"", rest - size)
            self.pump()

    def pump(self):
        """Take what the server has sent."""
        try:
            self.buffer += self.socket.recv(1 << 20)
        except TimeoutError:
            return
        while len(self.buffer) >= 9 and len(self.buffer) >= 9 + int.from_bytes(self.buffer[:3], "big"):
            size, kind, flags = int.from_bytes(self.buffer[:3], "big"), self.buffer[3], self.buffer[4]
            stream, payload = int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + size]
            self.buffer = self.buffer[9 + size:]
            self.take(kind, flags, stream, payload)

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at:at + 6])
                if name == INITIAL_WINDOW_SIZE:
                    self.windows = {one: window + value - self.initial for one, window in self.windows.items()}
                    self.initial = value
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(payload, "big")
        elif kind == WINDOW_UPDATE and stream in self.windows:
            self.windows[stream] += int.from_bytes(payload, "big")
        elif kind == RESET or kind == HEADERS and flags & END_STREAM:
            self.words += payload if kind == HEADERS else b""
            self.sending.pop(stream, None)

    def close(self):
        self.socket.close()
